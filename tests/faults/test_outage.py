"""PostgreSQL is stopped for 5 seconds under load."""

import asyncio
from collections.abc import Iterable, Iterator
from statistics import median
from time import monotonic

import pytest
from attrs import frozen

from faults.load import (
    SERVERS,
    Exchange,
    beats,
    connected,
    counted_twice,
    counts,
    miscounted,
    send_all,
    statuses,
    telling,
)
from messages import Json
from postgres import Postgres
from servers import receiver_process

AWAY_SECONDS = 5.0


@frozen(kw_only=True)
class Times:
    """
    The times of the outage, in seconds by `time.monotonic`.

    Attributes:
        gone: PostgreSQL had stopped.
        starting: The command to start PostgreSQL began.
        back: PostgreSQL had started.
    """

    gone: float
    starting: float
    back: float


@frozen(kw_only=True)
class Outage:
    """
    The requests around an outage, and the stored result.

    Attributes:
        heartbeats: Heartbeats from before the outage until after it.
        questions: `GET /health` requests over the same time.
        kept: `heartbeat_count` of each server at the end.
    """

    times: Times
    heartbeats: list[Exchange]
    questions: list[Exchange]
    kept: dict[str, int]

    def during(self) -> tuple[list[Exchange], list[Exchange]]:
        """The heartbeats and the health requests that were answered during the outage."""
        return self._away(self.heartbeats), self._away(self.questions)

    def _away(self, seen: list[Exchange]) -> list[Exchange]:
        return [each for each in seen if self.times.gone < each.ended < self.times.starting]


@pytest.fixture(scope="module")
def outage(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Outage:
    folder = tmp_path_factory.mktemp("outage")
    heartbeats: list[Exchange] = []
    questions: list[Exchange] = []
    with (
        postgres.new_database() as name,
        receiver_process(folder, FLEET_DATABASE_URL=postgres.url(name)) as receiver,
    ):
        times = asyncio.run(observe_outage(postgres, receiver.port, heartbeats, questions))
        kept = counts(receiver.url)
    return Outage(times=times, heartbeats=heartbeats, questions=questions, kept=kept)


async def observe_outage(
    postgres: Postgres, port: int, heartbeats: list[Exchange], questions: list[Exchange]
) -> Times:
    busy, over = asyncio.Event(), asyncio.Event()
    sent = until(over, telling(beats(50_000, SERVERS), busy, after=1000))
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(send_all(port, sent, heartbeats, connections=16))
        group.create_task(ask(port, over, questions))
        await busy.wait()
        times = await stop_and_start(postgres)
        await asyncio.sleep(2)
        over.set()
    return times


async def stop_and_start(postgres: Postgres) -> Times:
    await asyncio.to_thread(postgres.stop)
    gone = monotonic()
    try:
        await asyncio.sleep(AWAY_SECONDS)
    finally:
        starting = monotonic()
        await asyncio.to_thread(postgres.start)
    return Times(gone=gone, starting=starting, back=monotonic())


async def ask(port: int, over: asyncio.Event, questions: list[Exchange]) -> None:
    async with connected(port) as connection:
        while not over.is_set():
            questions.append(await connection.get("/health"))
            await asyncio.sleep(0.05)


def until(over: asyncio.Event, heartbeats: Iterable[Json]) -> Iterator[Json]:
    for beat in heartbeats:
        if over.is_set():
            return
        yield beat


def test_no_acknowledged_heartbeat_is_lost_in_an_outage(outage: Outage) -> None:
    assert {} == miscounted(outage.heartbeats, outage.kept)
    assert [] == counted_twice(outage.heartbeats)


def test_requests_during_an_outage_get_503_with_retry_after(outage: Outage) -> None:
    for answers in outage.during():
        assert {503} == statuses(answers)
        assert {"5"} == {each.headers["retry-after"] for each in answers}
        assert {each.code for each in answers} <= {"store_unavailable", "outcome_unknown"}


def test_outage_causes_only_200_and_503(outage: Outage) -> None:
    assert {200, 503} == statuses(outage.heartbeats)
    assert {200, 503} == statuses(outage.questions)


def test_requests_do_not_wait_during_an_outage(outage: Outage) -> None:
    for answers in outage.during():
        assert median(each.seconds for each in answers) < 0.2
    assert max(each.seconds for each in outage.heartbeats + outage.questions) < 3


def test_heartbeats_are_accepted_a_second_after_the_database_is_back(outage: Outage) -> None:
    for seen in (outage.heartbeats, outage.questions):
        after = [each for each in seen if each.ended > outage.times.starting]
        again = min(each.ended for each in after if each.status == 200)
        late = [each for each in after if each.began > outage.times.back + 1]

        assert again - outage.times.back < 1
        assert {200} == statuses(late)
