"""The limit on the number of connections."""

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

import messages
from raw_http import GET, HELD, answered, app, connected, held, is_open, served
from receiver.connections import Careful, max_connections
from servers import DIRECT, PATIENCE_SECONDS, Process, wait_until


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
    monkeypatch.setattr(
        "receiver.connections.careful.getrlimit", lambda _: (descriptors, descriptors)
    )

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
