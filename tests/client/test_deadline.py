"""No receiver, however odd, holds a caller longer than the timeout."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import httpx
import pytest

from client import BadAnswer, HeartbeatReceipt, PhoneHomeClient, TimedOut, Unreachable
from contract import Heartbeat

BEAT = Heartbeat(server_id="acme_web-1")
TIMEOUT_SECONDS = 0.3
AT_MOST_SECONDS = 1.5  # on a machine that is busy with other things
PATIENCE_SECONDS = 10.0

OK = b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{"heartbeat_count": 7}'

Talk = Callable[[socket.socket], None]


def test_silent_server_times_out() -> None:
    with serve(stay) as url:
        error = failure(url)

    assert str(error) == f"The receiver at {url} did not answer within 0.3 s."


def test_dripping_head_times_out_and_is_cut_off() -> None:
    with serve(lambda line: drip(line, b"HTTP/1.1 200 OK\r\nx-padding: ")) as url:
        failure(url)


def test_dripping_body_times_out_and_is_cut_off() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"
    with serve(lambda line: drip(line, head)) as url:
        failure(url)


def test_body_without_end_is_cut_off_where_enough_is_read() -> None:
    with serve(flood) as url, PhoneHomeClient(url, timeout=PATIENCE_SECONDS) as client:
        receipt = client.heartbeat(BEAT)

    assert receipt == HeartbeatReceipt(server_id="acme_web-1", heartbeat_count=None)


def test_hanging_up_without_a_word_is_a_bad_answer() -> None:
    with (
        serve(lambda _: None) as url,
        PhoneHomeClient(url) as client,
        pytest.raises(BadAnswer, match="disconnected without sending a response"),
    ):
        client.heartbeat(BEAT)


def test_nobody_there_is_unreachable() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        url = url_of(gone)
    with PhoneHomeClient(url) as client, pytest.raises(Unreachable, match="Connection refused"):
        client.heartbeat(BEAT)


def test_name_that_nobody_has_is_unreachable() -> None:
    url = "http://" + "a" * 64 + ".invalid"
    with PhoneHomeClient(url) as client, pytest.raises(Unreachable) as caught:
        client.heartbeat(BEAT)

    assert caught.value.url == url


def test_look_up_that_hangs_times_out_and_what_follows_is_cut_off() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SlowToConnect(ours)
        error = failure("http://receiver.example", transport=transport)
        transport.connected.set()
        theirs.settimeout(PATIENCE_SECONDS)
        heard = theirs.recv(1)

    assert TIMEOUT_SECONDS == error.timeout_seconds
    assert b"" == heard


def test_answer_over_tls_is_read() -> None:
    verify = anybody(ssl.PROTOCOL_TLS_CLIENT)
    with (
        serve(lambda line: line.sendall(OK), tls=True) as url,
        PhoneHomeClient(url, verify=verify) as client,
    ):
        receipt = client.heartbeat(BEAT)

    assert 7 == receipt.heartbeat_count


def test_dripping_over_tls_times_out_and_is_cut_off() -> None:
    with serve(lambda line: drip(line, b"HTTP/1.1 200 OK\r\nx-padding: "), tls=True) as url:
        failure(url, verify=anybody(ssl.PROTOCOL_TLS_CLIENT))


def test_server_that_cannot_prove_who_it_is_is_unreachable() -> None:
    with (
        serve(stay, tls=True) as url,
        PhoneHomeClient(url) as client,
        pytest.raises(Unreachable, match="no TLS connection can be made"),
    ):
        client.heartbeat(BEAT)


class Stream:
    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def get_extra_info(self, _: str) -> socket.socket:
        return self._line


class SlowToConnect(httpx.BaseTransport):
    """Reports a connection as httpx's own transport does, when a test lets it."""

    def __init__(self, line: socket.socket) -> None:
        self.connected = threading.Event()
        self._line = line

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        trace = request.extensions["trace"]
        trace("connection.connect_tcp.started", {})
        self.connected.wait(PATIENCE_SECONDS)
        trace("connection.connect_tcp.complete", {"return_value": Stream(self._line)})
        return httpx.Response(200)


def failure(url: str, **options: Any) -> TimedOut:
    """The error of a heartbeat that must not take long."""
    with PhoneHomeClient(url, timeout=TIMEOUT_SECONDS, **options) as client:
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            client.heartbeat(BEAT)
        took = time.monotonic() - began

    assert took < AT_MOST_SECONDS
    return caught.value


@contextmanager
def serve(talk: Talk, *, tls: bool = False) -> Iterator[str]:
    """A server for one connection. At the end, the client must have closed it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=accept, args=(server, talk), kwargs={"tls": tls})
        thread.start()
        yield url_of(server).replace("http:", "https:" if tls else "http:")
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the connection is still open"


def accept(server: socket.socket, talk: Talk, *, tls: bool) -> None:
    line, _ = server.accept()
    with line, suppress(OSError):
        if not tls:
            hear(line)
            talk(line)
            return
        with anybody(ssl.PROTOCOL_TLS_SERVER).wrap_socket(line, server_side=True) as secret:
            hear(secret)
            talk(secret)


def hear(line: socket.socket) -> None:
    """Take in the whole request, so that hanging up is no reset of the connection."""
    heard = b""
    while not heard.endswith(b"}"):
        heard += line.recv(65536)


def stay(line: socket.socket) -> None:
    """Say nothing until the other side hangs up."""
    line.recv(1)


def drip(line: socket.socket, head: bytes) -> None:
    """One byte at a time, until the other side hangs up."""
    line.sendall(head)
    line.settimeout(0.02)
    while True:
        line.sendall(b"x")
        with suppress(TimeoutError):
            if line.recv(1) == b"":
                return


def flood(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        line.sendall(bytes(65536))


def url_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def anybody(protocol: int) -> ssl.SSLContext:
    """TLS that needs no certificate, which only a test may want."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
    return context
