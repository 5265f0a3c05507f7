"""The limits on what follows the headers of a request, and on how slowly an answer is read."""

import asyncio
import contextlib
import json
import select
import socket
from itertools import repeat

import pytest

import messages
from raw_http import (
    CHUNKED,
    LAST,
    POST,
    Small,
    Timer,
    answered,
    connected,
    is_open,
    rest,
    send_all,
    served,
    talk,
    timed,
    wait_until_read,
)
from receiver.app import Tuning, create_app
from receiver.connections import Careful
from servers import Clock, serve, wait_until


def test_trailers_are_not_added_to_the_headers(port: int) -> None:
    end = b"0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    whole = talk(port, CHUNKED + end + LAST)
    later = talk(port, CHUNKED, end, LAST)

    for answer in (whole, later):
        assert b"<5 host,transfer-encoding>" in answer
        assert answer.endswith(b"<0 host,connection>")


@pytest.mark.parametrize("path", [b"/echo", b"/rude"])
@pytest.mark.parametrize(
    "endless",
    [b"v" * 1000, b"a:\r\n" * 20],
    ids=["one", "many"],
)
def test_endless_trailers_are_cut_off(port: int, path: bytes, endless: bytes) -> None:
    with connected(port) as raw:
        raw.sendall(CHUNKED.replace(b"/echo", path) + b"0\r\nX: ")
        wait_until_read(port)
        sent = send_all(raw, repeat(endless, 100_000))

    assert sent < 10_000_000


@pytest.mark.parametrize("path", [b"/echo", b"/rude"])
def test_many_short_trailers_are_cut_off(path: bytes) -> None:
    class Roomy(Careful):
        max_body_bytes = 10**9

    with served(Roomy) as port, connected(port) as raw:
        raw.sendall(CHUNKED.replace(b"/echo", path) + b"0\r\n")
        wait_until_read(port)
        sent = send_all(raw, repeat(b"a:\r\n" * 1000, 10_000))

    assert sent < 10_000_000


def test_endless_chunk_extension_is_cut_off(port: int) -> None:
    with connected(port) as raw:
        raw.sendall(CHUNKED + b"5;a=")
        sent = send_all(raw, repeat(b"v" * 1000, 100_000))

    assert sent < 10_000_000


def test_endless_unread_body_is_cut_off(port: int) -> None:
    with connected(port) as raw:
        raw.sendall(POST.replace(b"echo", b"rude") + b"Content-Length: 99999999999\r\n\r\n")
        wait_until_read(port)
        sent = send_all(raw, repeat(bytes(1000), 100_000))

    assert sent < 10_000_000


def test_slow_unread_body_times_out() -> None:
    timer = Timer()
    with served(timed(timer)) as port, connected(port) as raw:
        raw.sendall(POST.replace(b"echo", b"rude") + b"Content-Length: 1000\r\n\r\n")
        assert answered(raw).startswith(b"HTTP/1.1 200 ")
        for _ in range(4):
            raw.sendall(b"a")
            wait_until_read(port)
            timer.advance(0.0625)
            assert is_open(raw)
        timer.advance(0.0625)

        assert b"" == rest(raw)


def test_short_unread_body_is_drained(port: int) -> None:
    rude = POST.replace(b"echo", b"rude") + b"Content-Length: 10\r\n\r\n"

    answers = talk(port, rude, b"hello", b"hello", LAST, pause=0.05)

    assert 2 == answers.count(b"HTTP/1.1 200 ")


def test_slow_body_is_timed_out_by_the_app(sqlite_url: str, clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url}
    receiver = create_app(environ=environ, clock=clock, tuning=Tuning(body_seconds=0.5))
    head = b"POST /heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with serve(receiver, http=Small) as client, connected(client.base_url.port or 0) as raw:
        raw.sendall(head + b"Content-Length: 2000\r\n\r\n")
        with contextlib.suppress(ConnectionError):  # the connection may be closed already
            # Whoever was given more time for each byte would be answered after 20 seconds, by 400.
            while not select.select([raw], [], [], 0.01)[0]:
                raw.sendall(b" ")
        answer = rest(raw)
        content = json.dumps(messages.heartbeat()).encode()
        with connected(client.base_url.port or 0) as other:
            other.sendall(head + b"Content-Length: %d\r\n\r\n" % len(content) + content)
            taken = other.recv(10_000)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_too_slow" in answer
    assert taken.startswith(b"HTTP/1.1 200 ")


def test_client_that_does_not_read_its_answer_is_disconnected() -> None:
    seen: list[Careful] = []

    class Seen(Small):
        head_timeout_seconds = 0.2  # an eighth of it passes between two checks
        write_timeout_seconds = 0.4

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
            super().connection_made(transport)
            self._waiting_since = None  # however late the request comes

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(self)
            super().connection_lost(exc)

    with served(Seen) as port, connected(port) as raw:
        raw.sendall(b"GET /large HTTP/1.1\r\nHost: f\r\n\r\n")
        wait_until(lambda: bool(seen))
        assert len(rest(raw)) < 50_000_000


def test_slowly_read_answer_is_sent_completely() -> None:
    """It takes 1.25 seconds by the timer, five times what a client may take that reads nothing."""
    timer = Timer()
    with served(timed(timer)) as port, connected(port) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 300_000)
        raw.sendall(b"GET /large HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n")
        received = 0
        for part in range(1, 11):
            # The end is more than fits into buffers of the system: the server has it still.
            while received < part * 4_000_000:
                received += len(raw.recv(100_000))
            timer.advance(0.125)
        received += len(rest(raw))

    assert received > 50_000_000
