"""Slow clients, which send a byte a second, do not block other clients."""

import asyncio
import json
import resource
from collections.abc import Iterator
from statistics import median
from time import monotonic

import pytest
from attrs import frozen

import messages
from faults.load import SERVERS, Exchange, beats, connected, head, send_all, statuses
from servers import receiver_process

SLOW = 500
BODY = json.dumps(messages.heartbeat()).encode()
HEAD = head("/heartbeat", len(BODY))


@frozen(kw_only=True)
class Crowd:
    """
    The requests during an attack by 500 slow clients.

    Attributes:
        heartbeats: The heartbeats of normal clients.
        questions: The `GET /health` requests of normal clients.
        dawdling: Number of slow clients that were still connected after those.
        in_the_body: The requests of slow clients that send their body slowly.
    """

    heartbeats: list[Exchange]
    questions: list[Exchange]
    dawdling: int
    in_the_body: list[Exchange]


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    """Raise the limit of open files, in this process and in the receiver, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 4 * SLOW if hard == resource.RLIM_INFINITY else min(4 * SLOW, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def crowd(many_files: None, tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    with receiver_process(tmp_path_factory.mktemp("slow")) as receiver:
        return asyncio.run(gather(receiver.port))


async def gather(port: int) -> Crowd:
    heartbeats: list[Exchange] = []
    questions: list[Exchange] = []
    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        ready = asyncio.Barrier(SLOW + 1)
        in_the_head = [group.create_task(dawdle(port, ready, b"")) for _ in range(SLOW // 2)]
        in_the_body = [group.create_task(dawdle(port, ready, HEAD)) for _ in range(SLOW // 2)]
        await ready.wait()
        await asyncio.sleep(2)
        await send_all(port, beats(200, SERVERS), heartbeats, connections=8)
        async with connected(port) as connection:
            questions += [await connection.get("/health") for _ in range(10)]
        dawdling = [each for each in in_the_head + in_the_body if not each.done()]
        bodies = [await each for each in in_the_body]
        for each in in_the_head:
            each.cancel()
    return Crowd(
        heartbeats=heartbeats,
        questions=questions,
        dawdling=len(dawdling),
        in_the_body=bodies,
    )


async def dawdle(port: int, ready: asyncio.Barrier, at_once: bytes) -> Exchange:
    """Send the start of a heartbeat at once, then a byte a second until there is an answer."""
    async with connected(port) as connection:
        await ready.wait()
        began = monotonic()
        connection.send(at_once)
        answer = asyncio.create_task(connection.answer(began=began))
        try:
            for byte in (HEAD + BODY).removeprefix(at_once):
                connection.send(bytes([byte]))
                done, _ = await asyncio.wait([answer], timeout=1)
                if done:
                    break
            return await answer
        finally:
            answer.cancel()


def test_slow_clients_do_not_stop_the_others(crowd: Crowd) -> None:
    assert 200 == len(crowd.heartbeats)
    assert {200} == statuses(crowd.heartbeats)
    assert {200} == statuses(crowd.questions)
    assert SLOW == crowd.dawdling


def test_slow_clients_do_not_delay_the_others(crowd: Crowd) -> None:
    assert median(each.seconds for each in crowd.heartbeats) < 0.1
    assert median(each.seconds for each in crowd.questions) < 0.1


def test_slow_bodies_are_cut_off_after_ten_seconds(crowd: Crowd) -> None:
    assert SLOW // 2 == len(crowd.in_the_body)
    assert {(408, "body_too_slow")} == {(each.status, each.code) for each in crowd.in_the_body}
    assert min(each.seconds for each in crowd.in_the_body) >= 9.9
    assert max(each.seconds for each in crowd.in_the_body) < 15
