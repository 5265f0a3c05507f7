"""A malicious receiver costs a client neither more than the timeout nor much memory."""

import json
import logging
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from client import BadAnswer, CallFailed, HeartbeatReceipt, PhoneHomeClient, Refused, TimedOut
from contract import Heartbeat
from evil import Evil, answer, evil_server, say

BEAT = Heartbeat(server_id="acme_web-1")
TOKEN = "fleetkey_ab12_S3cret"

SHORT, LONG = 0.5, 20.0
"""Timeouts in seconds: one that a test waits for, and one that it never reaches."""

AT_MOST_SECONDS = 10.0  # the timeout, with a margin for a busy machine
AT_MOST_BYTES = 20 * 1024 * 1024
PIECE = bytes(65536)
TEN_MEGABYTES = 160


def endless(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def talk(line: socket.socket) -> None:
        line.sendall(head)
        while True:
            line.sendall(piece)

    return talk


FLOODS = {
    "body of 10 MB": say(answer("200 OK", PIECE * TEN_MEGABYTES)),
    "body of 10 MB in a refusal": say(answer("401 No", PIECE * TEN_MEGABYTES)),
    "one header of 10 MB": say(b"HTTP/1.1 200 OK\r\nx: ", b"x" * 10_000_000, b"\r\n\r\n"),
    "headers of 10 MB": say(b"HTTP/1.1 200 OK\r\n", b"x-padding: x\r\n" * 700_000, b"\r\n"),
    "headers without end": endless(b"HTTP/1.1 200 OK\r\n", b"x-padding: x\r\n" * 1000),
    "status line without end": endless(b"HTTP/1.1 200 ", b"x" * 65536),
    "chunks without end": endless(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"ffff\r\n" + PIECE[1:] + b"\r\n"
    ),
    "chunk size without end": endless(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"f" * 65536
    ),
    "chunk of no length": endless(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1;" + b"x" * 65536
    ),
    "trailers without end": endless(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x-padding: x\r\n" * 1000
    ),
    "1xx without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "early hints without end": endless(b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 100),
    "cookies without end": endless(b"HTTP/1.1 200 OK\r\n", b"set-cookie: a=b\r\n" * 1000),
    "HTTP/0.9 without end": endless(b"", b"<html>" * 10_000),
    "nothing but line ends": endless(b"", b"\r\n" * 10_000),
}


@pytest.mark.serial
@pytest.mark.parametrize("flood", FLOODS)
def test_endless_answer_costs_little_time_and_memory(flood: str) -> None:
    sentence = ""
    with (
        evil_server(FLOODS[flood]) as evil,
        timed(),
        memory() as peak,
        phone(evil, SHORT) as client,
    ):
        try:
            client.heartbeat(BEAT)
        except CallFailed as error:
            sentence = str(error)

    assert sentence == sentence[:1500]
    assert "".join(filter(str.isprintable, sentence)) == sentence
    assert AT_MOST_BYTES > peak[0]


@pytest.mark.serial
@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Hint\r\n\r\n"])
def test_slowly_sent_answer_ends_after_the_timeout(head: bytes) -> None:
    def drip(line: socket.socket) -> None:
        line.sendall(head)
        while True:
            line.sendall(b"H")
            time.sleep(0.02)

    with (
        evil_server(drip) as evil,
        timed(),
        phone(evil, SHORT) as client,
        pytest.raises((TimedOut, BadAnswer)),
    ):
        client.heartbeat(BEAT)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 305])
@pytest.mark.parametrize("scheme", ["http:", ""])
def test_redirect_to_another_host_is_not_followed(status: int, scheme: str) -> None:
    with evil_server(say(answer("200 OK"))) as other:
        place = other.url.replace("http:", scheme)
        redirect = answer(f"{status} Go", b"", f"location: {place}/heartbeat", "refresh: 0")
        with (
            evil_server(say(redirect)) as evil,
            phone(evil) as client,
            pytest.raises(Refused) as caught,
        ):
            client.heartbeat(BEAT)

    assert (other.connections, len(evil.heard)) == (0, 1)
    assert f"it points to {place}/heartbeat, and a redirect is not followed" in str(caught.value)


def test_cookie_is_not_kept() -> None:
    cookies = ("set-cookie: a=b; Path=/", "set-cookie: c=d; Domain=127.0.0.1; Max-Age=999")
    with evil_server(say(answer("200 OK", b"", *cookies))) as evil, phone(evil) as client:
        client.heartbeat(BEAT)
        client.heartbeat(BEAT)

    assert 2 == len(evil.heard)
    assert b"cookie" not in b"".join(evil.heard).lower()


@pytest.mark.parametrize("packing", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_compressed_answer_is_not_decompressed(packing: str) -> None:
    """The body is no valid gzip, so decompressing it would fail."""
    body = b'{"heartbeat_count": 7}'
    with (
        evil_server(say(answer("200 OK", body, f"content-encoding: {packing}"))) as evil,
        phone(evil) as client,
    ):
        receipt = client.heartbeat(BEAT)

    assert b"accept-encoding: identity\r\n" in evil.heard[0].lower()
    assert receipt == HeartbeatReceipt(server_id="acme_web-1", heartbeat_count=7)


@pytest.mark.parametrize(
    "said",
    [
        b"hello",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02F",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 -1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\x00: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n1",
    ],
)
def test_malformed_http_is_a_bad_answer(said: bytes) -> None:
    with (
        evil_server(say(said)) as evil,
        phone(evil) as client,
        pytest.raises(BadAnswer) as caught,
    ):
        client.heartbeat(BEAT)

    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "evil_text",
    [
        "\r\n2026-01-01 00:00:00,000 1 CRITICAL all is lost",
        "\x1b[2J\x1b]0;title\x07",
        "\u2028\u2029\x85\x0b\x0c",
        "\u202etxet desrever\u202c",
        "\x00\x9b31m",
        "x" * 100_000,
    ],
)
def test_error_quotes_a_receiver_on_one_printable_line(evil_text: str) -> None:
    said = {
        "code": evil_text,
        "detail": evil_text,
        "errors": [{"path": evil_text, "message": evil_text}] * 100,
    }
    with (
        evil_server(say(answer("422 No", json.dumps(said).encode()))) as evil,
        phone(evil) as client,
        pytest.raises(Refused) as caught,
    ):
        client.heartbeat(BEAT)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2500


def test_error_quotes_a_redirect_on_one_printable_line() -> None:
    redirect = answer("302 Go", b"", "location: http://a/\x9b31m\x85\xa0b?c")
    with (
        evil_server(say(redirect)) as evil,
        phone(evil) as client,
        pytest.raises(Refused) as caught,
    ):
        client.heartbeat(BEAT)

    assert str(caught.value).isprintable()


def test_httpx_log_quotes_a_reason_phrase_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with evil_server(say(answer("200 \x1b[2J\x9b31m"))) as evil, phone(evil) as client:
        client.heartbeat(BEAT)

    messages = [each.getMessage() for each in caplog.records if each.name.startswith("http")]
    assert any("200 [2J" in each for each in messages)
    assert [] == [each for each in messages if not each.isprintable()]


@pytest.mark.parametrize(
    "results",
    [
        [],
        {},
        None,
        "xx",
        [None, None],
        [[], []],
        [{"status": "ok"}],
        [{"status": "ok"}] * 3,
        [{"status": "ok"}, "ok"],
    ],
)
def test_malformed_results_of_a_batch_are_a_bad_answer(results: object) -> None:
    with batch(results) as client, pytest.raises(BadAnswer):
        client.heartbeats([BEAT, BEAT])


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"status": None},
        {"status": "OK"},
        {"status": 0},
        {"status": True},
        {"status": 1e300},
        {"status": ["ok"]},
        {"status": "ok "},
        {"status": {}, "code": {}, "detail": [], "errors": {}},
        {"status": "no", "errors": [None, [], 1, {"path": {}, "message": []}]},
    ],
)
def test_unknown_result_refuses_only_its_heartbeat(result: object) -> None:
    with batch([result, {"status": "ok", "heartbeat_count": 2**62}]) as client:
        first, second = client.heartbeats([BEAT, BEAT])

    assert isinstance(first, Refused)
    assert (422, False) == (first.status, first.temporary)
    assert second == HeartbeatReceipt(server_id="acme_web-1", heartbeat_count=2**62)


def test_deeply_nested_answer_is_read_or_refused() -> None:
    body = b"[" * 100_000 + b"]" * 100_000
    with (
        evil_server(say(answer("200 OK", body))) as evil,
        phone(evil) as client,
        pytest.raises(BadAnswer),
    ):
        client.health()


@contextmanager
def batch(results: object) -> Iterator[PhoneHomeClient]:
    """A client whose receiver answers a batch with these `results`."""
    body = json.dumps({"results": results}).encode()
    with evil_server(say(answer("200 OK", body))) as evil, phone(evil) as client:
        yield client


def phone(evil: Evil, timeout_seconds: float = LONG) -> PhoneHomeClient:
    return PhoneHomeClient(evil.url, token=TOKEN, timeout=timeout_seconds, attempts=1)


@contextmanager
def timed() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_MOST_SECONDS


@contextmanager
def memory() -> Iterator[list[int]]:
    """Yields a list that receives the peak of Python's memory in the block, in bytes."""
    peak = [0]
    tracemalloc.start()
    try:
        yield peak
        peak[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
