"""A receiver that is killed repeatedly loses no acknowledged heartbeat."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import randrange, uniform
from time import monotonic

from faults.load import (
    SERVERS,
    Exchange,
    beats,
    counted_twice,
    counts,
    miscounted,
    send_all,
    statuses,
    telling,
)
from faults.sqlite import integrity
from messages import Json
from servers import Process, receiver_process

HEARTBEATS = 20_000
LIVES = 10
CONNECTIONS = 32


async def send_and_kill(receiver: Process, remaining: Iterator[Json]) -> tuple[list[Exchange], int]:
    """
    Kill a receiver while it accepts heartbeats.

    Returns the exchanges, and how many of them were in flight and got no answer.
    """
    seen: list[Exchange] = []
    busy = asyncio.Event()
    sent = telling(remaining, busy, after=randrange(200, 1800))
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(send_all(receiver.port, sent, seen, connections=CONNECTIONS))
        await busy.wait()
        await asyncio.sleep(uniform(0, 0.02))  # a random moment within the time of a batch
        before = monotonic()
        await asyncio.to_thread(receiver.kill)
        after = monotonic()
    # Heartbeats that were sent after the kill cannot count.
    life = [each for each in seen if each.status is not None or each.began < after]
    return life, sum(each.status is None and each.began < before for each in life)


async def send_the_rest(receiver: Process, remaining: Iterator[Json]) -> list[Exchange]:
    seen: list[Exchange] = []
    async with asyncio.timeout(60):
        await send_all(receiver.port, remaining, seen, connections=CONNECTIONS)
    return seen


def test_every_acknowledged_heartbeat_survives_kill_9_ten_times_over(
    database_url: str, tmp_path: Path
) -> None:
    remaining = beats(HEARTBEATS, SERVERS)
    seen: list[Exchange] = []
    caught = 0

    for _ in range(LIVES):
        with receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver:
            assert {} == miscounted(seen, counts(receiver.url))
            life, under_way = asyncio.run(send_and_kill(receiver, remaining))
        assert {200} == statuses(life) - {None}
        seen += life
        caught += under_way

    with receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver:
        assert {} == miscounted(seen, counts(receiver.url))
        last = asyncio.run(send_the_rest(receiver, remaining))
        kept = counts(receiver.url)

    seen += last
    assert {200} == statuses(last)
    assert {} == miscounted(seen, kept)
    assert [] == counted_twice(seen)
    assert caught > 0  # the receiver was killed with requests in flight
    if database_url.startswith("sqlite"):
        assert ["ok"] == integrity(tmp_path / "fleet.db")
