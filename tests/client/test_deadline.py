"""No receiver can block a caller for longer than the timeout."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import httpx
import pytest
from attrs import frozen

from client import BadAnswer, HeartbeatReceipt, PhoneHomeClient, TimedOut, Unreachable
from contract import Heartbeat

BEAT = Heartbeat(server_id="acme_web-1")
TIMEOUT_SECONDS = 0.3
AT_MOST_SECONDS = 10.0  # the timeout, with a margin for a busy machine
PATIENCE_SECONDS = 60.0  # for what would not end at all without the timeout

OK = b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{"heartbeat_count": 7}'

Talk = Callable[[socket.socket], None]


@frozen
class Server:
    """
    A server for one connection.

    Attributes:
        url: Its URL.
        reached: Set when the client has connected.
    """

    url: str
    reached: threading.Event


def test_silent_server_times_out() -> None:
    with serve(stay) as server:
        error = failure(server.url, reached=server.reached)

    assert str(error) == f"The receiver at {server.url} did not answer within 0.3 s."


def test_slowly_sent_head_times_out_and_its_connection_is_closed() -> None:
    with serve(lambda line: drip(line, b"HTTP/1.1 200 OK\r\nx-padding: ")) as server:
        failure(server.url, reached=server.reached)


def test_slowly_sent_body_times_out_and_its_connection_is_closed() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"
    with serve(lambda line: drip(line, head)) as server:
        failure(server.url, reached=server.reached)


def test_endless_body_is_cut_off_at_the_limit() -> None:
    with serve(flood) as server, phone(server) as client:
        receipt = client.heartbeat(BEAT)

    assert receipt == HeartbeatReceipt(server_id="acme_web-1", heartbeat_count=None)


def test_connection_closed_without_an_answer_is_a_bad_answer() -> None:
    with (
        serve(lambda _: None) as server,
        phone(server) as client,
        pytest.raises(BadAnswer, match="disconnected without sending a response"),
    ):
        client.heartbeat(BEAT)


def test_refused_connection_is_unreachable() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        url = url_of(gone)
    with PhoneHomeClient(url) as client, pytest.raises(Unreachable, match="Connection refused"):
        client.heartbeat(BEAT)


def test_unknown_host_name_is_unreachable() -> None:
    url = "http://" + "a" * 64 + ".invalid"
    with PhoneHomeClient(url) as client, pytest.raises(Unreachable) as caught:
        client.heartbeat(BEAT)

    assert caught.value.url == url


def test_hanging_dns_look_up_times_out_and_its_later_connection_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SlowToConnect(ours)
        error = failure("http://receiver.example", reached=transport.reached, transport=transport)
        transport.connected.set()
        theirs.settimeout(PATIENCE_SECONDS)
        heard = theirs.recv(1)

    assert TIMEOUT_SECONDS == error.timeout_seconds
    assert b"" == heard


def test_connection_with_unread_data_is_not_read_after_the_timeout() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = NeverQuiet(ours)
        failure("http://receiver.example", reached=transport.reached, transport=transport)
        transport.thread.join(PATIENCE_SECONDS)
        transport.is_over.set()

    assert transport.has_ended_by_itself


def test_answer_over_tls_is_read() -> None:
    verify = anybody(ssl.PROTOCOL_TLS_CLIENT)
    with (
        serve(lambda line: line.sendall(OK), tls=True) as server,
        phone(server, verify=verify) as client,
    ):
        receipt = client.heartbeat(BEAT)

    assert 7 == receipt.heartbeat_count


def test_slowly_sent_answer_over_tls_times_out_and_its_connection_is_closed() -> None:
    verify = anybody(ssl.PROTOCOL_TLS_CLIENT)
    with serve(lambda line: drip(line, b"HTTP/1.1 200 OK\r\nx-padding: "), tls=True) as server:
        failure(server.url, reached=server.reached, verify=verify)


def test_server_without_a_trusted_certificate_is_unreachable() -> None:
    with (
        serve(stay, tls=True) as server,
        phone(server) as client,
        pytest.raises(Unreachable, match="no TLS connection can be made"),
    ):
        client.heartbeat(BEAT)


class Stream:
    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def get_extra_info(self, _: str) -> socket.socket:
        return self._line


class SlowToConnect(httpx.BaseTransport):
    """Reports a connection to the `trace` extension, as httpcore does, when the test allows it."""

    def __init__(self, line: socket.socket) -> None:
        self.reached = threading.Event()
        self.connected = threading.Event()
        self._line = line

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.reached.set()
        trace = request.extensions["trace"]
        trace("connection.connect_tcp.started", {})
        self.connected.wait(PATIENCE_SECONDS)
        trace("connection.connect_tcp.complete", {"return_value": Stream(self._line)})
        return httpx.Response(200)


class InterimResponses(Stream):
    """A connection from which interim responses can be read without end."""

    def read(self, max_bytes: int) -> bytes:
        return b"HTTP/1.1 100 Continue\r\n\r\n"[:max_bytes]


class NeverQuiet(httpx.BaseTransport):
    """Reads from a connection until that fails, as httpcore does without a final response."""

    def __init__(self, line: socket.socket) -> None:
        self.thread = threading.current_thread()
        self.reached = threading.Event()
        self.is_over = threading.Event()
        self.has_ended_by_itself = False
        self._line = line

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.thread = threading.current_thread()
        self.reached.set()
        stream = InterimResponses(self._line)
        request.extensions["trace"]("connection.connect_tcp.complete", {"return_value": stream})
        while not self.is_over.is_set():
            try:
                stream.read(65536)
            except OSError:
                self.has_ended_by_itself = True
                raise
        return httpx.Response(200)


def phone(server: Server, **options: Any) -> PhoneHomeClient:
    """A client whose timeout is not reached."""
    return PhoneHomeClient(server.url, timeout=PATIENCE_SECONDS, **options)


def failure(url: str, *, reached: threading.Event, **options: Any) -> TimedOut:
    """
    The TimedOut of a heartbeat; asserts that it is raised within `AT_MOST_SECONDS`.

    Waits for `reached` before it closes the client, which would not connect after that.
    """
    with PhoneHomeClient(url, timeout=TIMEOUT_SECONDS, **options) as client:
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            client.heartbeat(BEAT)
        took = time.monotonic() - began
        assert reached.wait(PATIENCE_SECONDS)

    assert took < AT_MOST_SECONDS
    return caught.value


@contextmanager
def serve(talk: Talk, *, tls: bool = False) -> Iterator[Server]:
    """A server for one connection; asserts at the end that the client has closed it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = url_of(listener).replace("http:", "https:" if tls else "http:")
        server = Server(url, threading.Event())
        thread = threading.Thread(
            target=accept, args=(listener, server.reached, talk), kwargs={"tls": tls}
        )
        thread.start()
        yield server
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the connection is still open"


def accept(listener: socket.socket, reached: threading.Event, talk: Talk, *, tls: bool) -> None:
    line, _ = listener.accept()
    reached.set()
    with line, suppress(OSError):
        if not tls:
            hear(line)
            talk(line)
            return
        with anybody(ssl.PROTOCOL_TLS_SERVER).wrap_socket(line, server_side=True) as secret:
            hear(secret)
            talk(secret)


def hear(line: socket.socket) -> None:
    """
    Read the whole request, since closing with unread data would reset the connection.

    Raises OSError if the client has hung up before the end of the request.
    """
    heard = b""
    while not heard.endswith(b"}"):
        piece = line.recv(65536)
        if not piece:
            raise OSError("the client has hung up")
        heard += piece


def stay(line: socket.socket) -> None:
    """Send nothing until the client closes the connection."""
    line.recv(1)


def drip(line: socket.socket, head: bytes) -> None:
    """Send one byte at a time until the client closes the connection."""
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
    """TLS settings without certificates, for tests only."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
    return context
