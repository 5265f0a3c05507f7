"""Test helper: HTTP by hand, and a small app that is served by the receiver's protocol."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Receive, Scope, Send

from receiver.connections import Careful
from servers import PATIENCE_SECONDS, serve, wait_until

__all__ = [
    "CHUNKED",
    "GET",
    "HELD",
    "LAST",
    "POST",
    "Small",
    "Timer",
    "answered",
    "app",
    "connected",
    "held",
    "is_open",
    "released",
    "rest",
    "send_all",
    "served",
    "talk",
    "timed",
    "wait_until_read",
]

POST = b"POST /echo HTTP/1.1\r\nHost: fleet\r\n"
GET = b"GET /echo HTTP/1.1\r\nHost: fleet\r\n\r\n"
HELD = b"GET /held HTTP/1.1\r\nHost: fleet\r\n\r\n"
LAST = b"GET /echo HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


class Small(Careful):
    """The protocol with limits of size that are small enough for tests, and with long timeouts."""

    max_head_bytes = 4096
    max_body_bytes = 300_000
    head_timeout_seconds = PATIENCE_SECONDS
    write_timeout_seconds = PATIENCE_SECONDS


class Timer:
    """
    The clock by which a protocol measures its timeouts, which stands still until a test moves it.

    Attributes:
        now: The time, in seconds.
        checks: How often the connections were checked.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.checks = 0

    def advance(self, seconds: float) -> None:
        """Move the clock, and wait until the connections were checked at the new time."""
        self.now += seconds
        # The next check may have read the clock before.
        before = self.checks
        wait_until(lambda: self.checks >= before + 2)


class TimedLoop:
    """An event loop that shows the time of a timer; what it is to call later, it calls as ever."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timer: Timer) -> None:
        self._loop = loop
        self.time = lambda: timer.now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def timed(timer: Timer) -> type[Careful]:
    """The protocol with timeouts of a quarter of a second by a timer."""

    class Timed(Small):
        # An eighth of it, by the real clock, passes between two checks of the connections.
        head_timeout_seconds = 0.25
        write_timeout_seconds = 0.25

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.loop = TimedLoop(self.loop, timer)  # type: ignore[assignment]  # passes all else on

        def _check_connections(self) -> None:
            super()._check_connections()
            timer.checks += 1

    return Timed


released = threading.Event()
"""Set when requests of /held are to be answered."""

held: list[Scope] = []
"""The requests of /held."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the request; paths below /rude are answered without reading the body."""
    if scope["type"] == "lifespan":
        return
    body = b""
    more = not scope["path"].startswith("/rude")
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    if scope["path"] == "/held":
        held.append(scope)
        while not released.is_set():  # noqa: ASYNC110 - it is set by another thread
            await asyncio.sleep(0.01)
    if scope["path"] == "/broken":
        headers = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise ValueError("there is no body")
    if scope["path"] == "/stream":
        headers = [(b"connection", b"keep-alive")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in (b"one,", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
        return
    names = b",".join(name for name, _ in scope["headers"])
    answer = b"<%d %s>" % (len(body), names)
    if scope["path"] == "/large":
        answer = bytes(50_000_000)
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@contextmanager
def served(protocol: type[Careful] = Small, **options: Any) -> Iterator[int]:
    """A server of `app`, which by itself keeps an idle connection longer than any test takes."""
    kept = {"timeout_keep_alive": 10 * int(PATIENCE_SECONDS), **options}
    with serve(app, http=protocol, lifespan="off", **kept) as client:
        assert client.base_url.port is not None
        yield client.base_url.port


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection that sends at once what it is given, whether or not the last was received."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield raw


def wait_until_read(port: int) -> None:
    """Wait until the server has read what was sent to it before, by another request."""
    answer = talk(port, LAST)
    assert answer.startswith(b"HTTP/1.1 200 ")


def rest(raw: socket.socket) -> bytes:
    """Everything that the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := raw.recv(1_000_000):
            received += piece
    return received


def answered(raw: socket.socket) -> bytes:
    """The next answer of /echo."""
    received = b""
    while not received.endswith(b">"):
        piece = raw.recv(10_000)
        assert piece, received
        received += piece
    return received


def send_all(raw: socket.socket, pieces: Iterator[bytes]) -> int:
    """Send chunks until the server closes the connection; the number of bytes sent."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            raw.sendall(piece)
            sent += len(piece)
    return sent


def talk(port: int, *pieces: bytes, pause: float = 0.05) -> bytes:
    """Send chunks with pauses between them; the answer of the server."""
    with connected(port) as raw:
        for n, piece in enumerate(pieces):
            time.sleep(pause if n else 0)
            raw.sendall(piece)
        return rest(raw)


def is_open(raw: socket.socket) -> bool:
    raw.settimeout(0.01)
    try:
        return raw.recv(10_000) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    finally:
        raw.settimeout(PATIENCE_SECONDS)
