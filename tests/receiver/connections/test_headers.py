"""Limits on slow or oversized HTTP clients."""

import asyncio
import contextlib
import json
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

import messages
from receiver.app import Tuning, create_app
from receiver.connections import Careful, max_connections
from servers import DIRECT, PATIENCE_SECONDS, Clock, Process, serve, wait_until

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


@pytest.fixture
def release() -> Iterator[Callable[[], None]]:
    """A function that lets requests of /held be answered."""
    released.clear()
    held.clear()
    yield released.set
    released.set()  # or a server would wait for the end of what a failed test has asked for


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


@pytest.fixture
def port() -> Iterator[int]:
    with served() as port:
        yield port


@contextmanager
def served(protocol: type[Careful] = Small, **options: Any) -> Iterator[int]:
    """A server of `app`, which by itself keeps an idle connection longer than any test takes."""
    kept = {"timeout_keep_alive": 10 * int(PATIENCE_SECONDS), **options}
    with serve(app, http=protocol, lifespan="off", **kept) as client:
        assert client.base_url.port is not None
        yield client.base_url.port


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as raw:
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


def header(length: int, n: int = 0) -> bytes:
    return b"x-%04d: %s\r\n" % (n, b"v" * length)


@pytest.mark.parametrize(
    "piece",
    [b"v" * 1000, header(20), b"\r\n " * 100, b"a:\r\n" * 10],
    ids=["a long one", "many", "a folded one", "short ones"],
)
def test_endless_headers_are_cut_off(port: int, piece: bytes) -> None:
    with connected(port) as raw:
        raw.sendall(POST + b"X: ")
        sent = send_all(raw, repeat(piece, 100_000))

    assert sent < 10_000_000  # most of it in buffers of the system


def test_endless_request_target_is_cut_off(port: int) -> None:
    with connected(port) as raw:
        for piece in [b"GET /", *[b"a" * 1000] * 5]:
            raw.sendall(piece)
            time.sleep(0.04)
        answer = rest(raw)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"headers_too_large"' in answer
    assert b"application/problem+json" in answer
    assert b"\r\nconnection: close\r\n" in answer
    assert b"\r\nx-content-type-options: nosniff\r\n" in answer


@pytest.mark.parametrize("pause", [0.0, 0.05])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([header(1, n) for n in range(98)], 200),
        ([header(1, n) for n in range(99)], 431),
        ([header(4000)], 200),
        ([header(4096)], 431),
        ([header(1000, n) for n in range(4)], 200),
        ([header(1000, n) for n in range(5)], 431),
    ],
)
def test_headers_over_number_or_size_are_refused(
    port: int, headers: list[bytes], status: int, pause: float
) -> None:
    head = LAST[:-2] + b"".join(headers) + b"\r\n"
    pieces = [head[: len(head) // 2], head[len(head) // 2 :]] if pause else [head]

    answers = talk(port, *pieces, pause=pause)
    later = talk(port, GET, *pieces, pause=0.05)

    assert answers.startswith(b"HTTP/1.1 %d " % status)
    assert 1 == answers.count(b"HTTP/1.1 ")
    assert [b"200", b"%d" % status] == [part[:3] for part in later.split(b"HTTP/1.1 ")[1:]]


def test_slow_headers_time_out() -> None:
    timer = Timer()
    with served(timed(timer)) as port, connected(port) as raw:
        for n in range(4):
            raw.sendall(POST[n : n + 1])
            wait_until_read(port)  # others are answered
            timer.advance(0.0625)
            assert is_open(raw)
        timer.advance(0.0625)
        answer = rest(raw)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"headers_too_slow"' in answer


def test_headers_of_a_later_request_get_the_full_timeout() -> None:
    timer = Timer()
    with served(timed(timer)) as port:
        with connected(port) as raw:
            raw.sendall(GET)
            answers = answered(raw)
            timer.advance(0.1875)
            raw.sendall(GET[:10])
            wait_until_read(port)
            timer.advance(0.1875)
            raw.sendall(GET[10:])
            answers += answered(raw)
            raw.sendall(GET)
            answers += answered(raw)
            timer.advance(0.0625)
            raw.sendall(GET[:10])
            wait_until_read(port)
            timer.advance(0.3125)
            answers += rest(raw)
        with connected(port) as raw:
            raw.sendall(GET)
            answers += answered(raw)
            timer.advance(0.0625)
            raw.sendall(GET[:10])
            wait_until_read(port)
            timer.advance(0.3125)
            answers += rest(raw)

    assert [b"200"] * 3 + [b"408", b"200", b"408"] == [
        part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]
    ]


@pytest.mark.parametrize("first", [b"", GET])
@pytest.mark.parametrize("said", [b"", b"\r\n"])
def test_connection_without_a_request_is_closed_without_an_answer(
    first: bytes, said: bytes
) -> None:
    timer = Timer()
    with served(timed(timer), timeout_keep_alive=1) as port, connected(port) as raw:
        raw.sendall(first)
        answers = answered(raw) if first else b""
        with contextlib.suppress(ConnectionError):  # an idle connection may be closed already
            for _ in range(3):
                raw.sendall(said)
                wait_until_read(port)
        timer.advance(0.3125)
        answers += rest(raw)

    assert (1 if first else 0) == answers.count(b"HTTP/1.1 ")


def test_invalid_http_is_refused_with_a_problem(port: int) -> None:
    answer = talk(port, b"what?\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_request"' in answer


def test_invalid_http_behind_an_unanswered_request_gets_no_problem(
    port: int, release: Callable[[], None]
) -> None:
    answer = talk(port, HELD + b"what?\r\n\r\n")
    release()

    assert b"malformed_request" not in answer


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_pipelined_requests_are_answered_in_order_in_any_chunks(port: int, pieces: int) -> None:
    post = POST + b"Content-Length: 100000\r\n\r\n" + bytes(100_000)
    small = POST + b"Content-Length: 5\r\n\r\nhello"
    said = GET + small + post + GET + small + small + post + LAST
    size = len(said) // pieces + 1

    answers = talk(port, *(said[at : at + size] for at in range(0, len(said), size)), pause=0.02)

    bodies = [part.split(b" ")[0] for part in answers.split(b"<")[1:]]
    assert [b"0", b"5", b"100000", b"0", b"5", b"5", b"100000", b"0"] == bodies


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
        time.sleep(0.05)
        sent = send_all(raw, repeat(endless, 100_000))

    assert sent < 10_000_000


@pytest.mark.parametrize("path", [b"/echo", b"/rude"])
def test_many_short_trailers_are_cut_off(path: bytes) -> None:
    class Roomy(Careful):
        max_body_bytes = 10**9

    with served(Roomy) as port, connected(port) as raw:
        raw.sendall(CHUNKED.replace(b"/echo", path) + b"0\r\n")
        time.sleep(0.05)
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
        time.sleep(0.05)
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


class Counted(Careful):
    """The protocol, which counts the connections of a server."""

    made: ClassVar[list[Careful]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)  # which closes others, if there are too many
        self.made.append(self)


def of_room(connections: int) -> type[Counted]:
    class Narrow(Counted):
        max_connections = staticmethod(lambda: connections)
        head_timeout_seconds = PATIENCE_SECONDS
        made: ClassVar[list[Careful]] = []

    return Narrow


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


def wait_until_open(connections: Sequence[socket.socket], most: int) -> None:
    """Wait until no more connections than this are open."""
    wait_until(lambda: most >= sum(is_open(each) for each in connections))


def test_longest_idle_connection_is_closed_for_a_new_one(release: Callable[[], None]) -> None:
    protocol = of_room(5)
    with served(protocol) as port, ExitStack() as stack:
        busy = stack.enter_context(connected(port))
        busy.sendall(HELD)
        slow = stack.enter_context(connected(port))
        slow.sendall(GET[:10])
        wait_until(lambda: 2 == len(protocol.made))
        time.sleep(0.01)  # the loop may count whole milliseconds
        kept = stack.enter_context(connected(port))
        kept.sendall(GET)
        assert answered(kept).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: bool(held))
        others = []
        for expected in (
            [True, True, True],
            [True, True, True, True],
            [False, True, True, True, True],
            [False, False, True, True, True, True],
            [False, False, False, True, True, True, True],
        ):
            time.sleep(0.01)  # so that each is idle for a different time
            others.append(stack.enter_context(connected(port)))
            wait_until(lambda: 3 + len(others) == len(protocol.made))
            states = [slow, kept, *others]
            wait_until_open(states, sum(expected))
            assert expected == [is_open(each) for each in states]

        release()
        assert answered(busy).startswith(b"HTTP/1.1 200 ")


def test_connection_with_a_request_is_not_closed_for_a_new_one(
    release: Callable[[], None],
) -> None:
    with served(of_room(3)) as port, ExitStack() as stack:
        busy = [stack.enter_context(connected(port)) for _ in range(3)]
        for each in busy:
            each.sendall(HELD)
        wait_until(lambda: 3 == len(held))
        newest = stack.enter_context(connected(port))
        wait_until(lambda: not is_open(newest))
        release()

        assert all(answered(each).startswith(b"HTTP/1.1 200 ") for each in busy)


def test_burst_of_connections_closes_no_more_than_needed() -> None:
    protocol = of_room(50)
    with served(protocol) as port, ExitStack() as stack:
        connections = [stack.enter_context(connected(port)) for _ in range(80)]
        wait_until(lambda: 80 == len(protocol.made))
        wait_until_open(connections, 50)

        assert 50 == sum(is_open(each) for each in connections)


class Wire(asyncio.Transport):
    """A fake transport that stays open after `close`."""

    closing = False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


def test_connection_already_closing_counts_as_room() -> None:
    async def scenario() -> list[int]:
        config = uvicorn.Config(app, log_config=None)
        state = ServerState()
        wires = []
        closed = []
        for _ in range(104):
            wires.append(Wire())
            of_room(100)(config, state, {}).connection_made(wires[-1])
            closed.append(sum(wire.closing for wire in wires))
        return closed

    assert [0, 2, 2, 4, 4] == asyncio.run(scenario())[99:]


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(256, 192), (1024, 768), (1_000_000, 10_000), (resource.RLIM_INFINITY, 10_000)],
)
def test_connection_limit_follows_the_limit_of_file_descriptors(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, connections: int
) -> None:
    monkeypatch.setattr("receiver.connections.getrlimit", lambda _: (descriptors, descriptors))

    assert connections == max_connections.__wrapped__()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Lower the limit of file descriptors, which a process started by the test inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("workers", [(), ("--workers=2",)])
def test_receiver_never_runs_out_of_file_descriptors(
    tmp_path: Path, workers: tuple[str, ...], few_descriptors: None
) -> None:
    receiver = Process(tmp_path, "--http=receiver.connections:Careful", *workers)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    receiver.wait_until_healthy()
    with ExitStack() as stack:
        for n in range(600):
            raw = stack.enter_context(connected(receiver.port))
            with contextlib.suppress(ConnectionError):
                raw.sendall(GET if n % 2 else GET[:20])
        answers = [httpx.get(f"{receiver.url}/health", **DIRECT) for _ in range(10)]
        taken = httpx.post(f"{receiver.url}/heartbeat", json=messages.heartbeat(), **DIRECT)
    receiver.terminate()
    receiver.wait()
    log = receiver.log.read_text()

    assert {200} == {each.status_code for each in (*answers, taken)}
    assert "Errno" not in log
    assert "Traceback" not in log


def test_uvicorn_has_the_internals_that_the_protocol_uses() -> None:
    """Internals of uvicorn that the protocol relies on and that no other test covers."""
    made: list[Careful] = []

    class Made(Small):
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            made.append(self)

    with served(Made) as port:
        talk(port, LAST)

    (protocol,) = made
    overridden: list[Callable[..., object]] = [
        HttpToolsProtocol.connection_made,
        HttpToolsProtocol.data_received,
        HttpToolsProtocol.on_headers_complete,
        HttpToolsProtocol.send_400_response,
    ]
    assert {name for each in overridden for name in [each.__name__]} <= {*vars(HttpToolsProtocol)}
    assert protocol.cycle.scope is protocol.scope
    assert protocol.scope["headers"] == protocol.headers
    assert {"more_body", "response_complete", "response_started", "expected_content_length"} <= {
        *vars(protocol.cycle)
    }
    assert {"url", "connections", "timeout_keep_alive_task", "timeout_keep_alive"} <= {
        *vars(protocol)
    }


# Other protocols and a missing Host


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("framing", ["length", "chunked", "pieces"])
def test_body_of_a_request_that_asks_for_another_protocol_is_read(
    port: int, protocol: bytes, framing: str
) -> None:
    """As Java's HttpClient and `curl --http2` do."""
    upgrade = H2C.replace(b"h2c", protocol)
    if framing == "chunked":
        pieces = [
            POST + upgrade + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + LAST
        ]
    else:
        pieces = [POST + upgrade + b"Content-Length: 5\r\n\r\nhello" + LAST]
    if framing == "pieces":
        pieces = [pieces[0][n : n + 40] for n in range(0, len(pieces[0]), 40)]

    answers = talk(port, *pieces)

    assert 2 == answers.count(b"HTTP/1.1 200 OK")
    assert b"<5 host," in answers
    assert b"upgrade" not in answers.lower()


@pytest.mark.parametrize("number", [2, 3, 2000])
def test_upgrades_of_many_requests_in_one_read_are_ignored(port: int, number: int) -> None:
    asked = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"

    answers = talk(port, asked * number + LAST)

    assert number == answers.count(b"<5 host,")
    assert number + 1 == answers.count(b"HTTP/1.1 200 OK")


def test_upgrade_of_http_1_0_needs_no_host(port: int) -> None:
    asked = b"GET /echo HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

    assert 1 == talk(port, asked).count(b" 200 OK")


def test_request_that_asks_for_an_upgrade_may_close_the_connection(port: int) -> None:
    """Otherwise the server would keep it, until reading from it takes longer than it may."""
    asked = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n")

    assert 1 == talk(port, asked).count(b"HTTP/1.1 200 OK")


def test_upgrade_is_ignored_with_each_request_of_a_connection(port: int) -> None:
    asked = POST + H2C + b"Content-Length: 5\r\n\r\nhello"

    answers = talk(port, asked, asked + GET, LAST)

    assert 4 == answers.count(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n"])
def test_request_without_one_host_is_refused(port: int, hosts: bytes) -> None:
    answer = talk(port, b"GET /echo HTTP/1.1\r\n" + hosts + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert b'"code":"host_missing"' in answer


def test_request_of_http_1_0_needs_no_host(port: int) -> None:
    assert b" 200 OK" in talk(port, b"GET /echo HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("target", [b"fleet:443", b"/echo", b"http://fleet/echo"])
@pytest.mark.parametrize("upgrade", [b"", H2C])
def test_connect_is_refused(port: int, target: bytes, upgrade: bytes) -> None:
    """Its parser stops after the headers, too."""
    answer = talk(port, b"CONNECT " + target + b" HTTP/1.1\r\nHost: fleet\r\n" + upgrade + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")


def parted(answer: bytes) -> tuple[list[bytes], bytes]:
    """The lines of an answer's head in small letters, and its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower().split(b"\r\n"), body


@pytest.mark.parametrize("version", [b"0.9", b"1.0"])
@pytest.mark.parametrize("asked", [b"", b"Connection: keep-alive\r\n"])
def test_answer_without_length_ends_with_the_connection_for_http_1_0(
    port: int, version: bytes, asked: bytes
) -> None:
    lines, body = parted(talk(port, b"GET /stream HTTP/%b\r\n%b\r\n" % (version, asked)))

    assert b"one,two" == body
    assert b"connection: close" in lines
    assert not {b"transfer-encoding: chunked", b"connection: keep-alive"} & {*lines}


@pytest.mark.parametrize("path", [b"/stream", b"/echo"])
def test_head_of_http_1_0_has_no_body(port: int, path: bytes) -> None:
    lines, body = parted(talk(port, b"HEAD %b HTTP/1.0\r\n\r\n" % path))

    assert (b"", False) == (body, b"transfer-encoding: chunked" in lines)


def test_answer_with_length_keeps_its_length_for_http_1_0(port: int) -> None:
    lines, body = parted(talk(port, b"GET /echo HTTP/1.0\r\n\r\n"))

    assert (b"<0 >", True) == (body, b"content-length: 4" in lines)


def test_answer_without_length_is_chunked_for_http_1_1(port: int) -> None:
    answer = talk(port, LAST.replace(b"/echo", b"/stream"))

    lines, body = parted(answer)
    assert b"transfer-encoding: chunked" in lines
    assert b"4\r\none,\r\n3\r\ntwo\r\n0\r\n\r\n" == body


def test_http_1_0_gets_no_continue(port: int) -> None:
    head = b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

    assert talk(port, head, b"hello", pause=0.3).startswith(b"HTTP/1.1 200 ")


class Recorder(asyncio.Transport):
    """A transport that notes what it writes."""

    written: ClassVar[list[bytes]] = []

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattribute__(self, name: str) -> Any:
        own = name in {"_transport", "write", "written"}
        return super().__getattribute__(name) if own else getattr(self._transport, name)

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))
        self._transport.write(data)


class Recorded(Small):
    """The protocol, of which a `Recorder` notes what it writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(Recorder(transport))


@pytest.mark.parametrize(
    ("request_line", "pieces"),
    [
        (b"GET /echo HTTP/1.1", [b"200 OK...<0 host,connection>"]),
        (b"GET /echo HTTP/1.0", [b"200 OK...<0 host,connection>"]),
        (b"HEAD /echo HTTP/1.1", [b"200 OK..."]),
        (b"GET /stream HTTP/1.1", [b"200 OK...", b"4", b"", b"3", b"0"]),
        (b"GET /stream HTTP/1.0", [b"200 OK...", b"one,", b"", b"two", b""]),
        (b"GET /broken HTTP/1.1", [b"200 OK..."]),
    ],
)
def test_head_of_an_answer_is_written_with_its_body(
    request_line: bytes, pieces: list[bytes]
) -> None:
    Recorder.written.clear()
    with served(Recorded) as port:
        answer = talk(port, request_line + b"\r\nHost: fleet\r\nConnection: close\r\n\r\n")

    assert answer == b"".join(Recorder.written)
    assert pieces == [shortened(each) for each in Recorder.written]


def shortened(piece: bytes) -> bytes:
    """A head as its status, dots and the body behind it; of a chunk the length."""
    if not piece.startswith(b"HTTP/1.1 "):
        return piece.partition(b"\r\n")[0]
    head, _, body = piece.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ") + b"..." + body


def test_100_continue_is_written_at_once(port: int) -> None:
    head = (
        b"POST /echo HTTP/1.1\r\nHost: fleet\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    with connected(port) as raw:
        raw.sendall(head)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == raw.recv(1000)
        raw.sendall(b"hello")
        assert answered(raw).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [b"/events/stream", b"/sd/prometheus"])
def test_streams_of_the_receiver_are_sent_plain_to_http_1_0(
    sqlite_url: str, clock: Clock, path: bytes
) -> None:
    receiver = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)
    with serve(receiver, http=Small) as client, connected(client.base_url.port or 0) as raw:
        raw.sendall(b"GET %b HTTP/1.0\r\n\r\n" % path)
        answer = b""
        while not answer.endswith((b"\n\n", b"[]")):
            piece = raw.recv(1000)
            assert piece, answer
            answer += piece

    lines, body = parted(answer)
    assert b"connection: close" in lines
    assert not {b"transfer-encoding: chunked", b"connection: keep-alive"} & {*lines}
    assert body in {b"[]", b"id: 0\nretry: 2000\n\n"}
