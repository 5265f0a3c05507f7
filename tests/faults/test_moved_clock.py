"""The clock of a receiver's machine is set while it runs: no alarm, and no silence is missed."""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from time import monotonic

import httpx
import pytest
from attrs import frozen

from faults.load import SERVERS, Exchange, statuses
from faults.senders import keep_sending
from messages import Json
from postgres import running_postgres
from servers import NO_AUTHORITIES, Process, receiver_process

INTERVAL_SECONDS = 5.0
LATE_SECONDS = 2 * INTERVAL_SECONDS + 5
"""When a server is called late that sends nothing any more."""

HOUR, YEAR = 3600, 365 * 86400
AHEAD = {"sqlite": [-HOUR, 0, HOUR, 0, YEAR, 0], "postgresql": [-HOUR, 0, HOUR, 0]}
"""How far the clock is set ahead, one after the other, in seconds."""

STEADY, QUIET = SERVERS[:20], SERVERS[20]


class FakedClock:
    """
    The clock of one process, which a test may set while it runs, by Debian's libfaketime.

    The monotonic clock is not moved, as it is not when the clock of a machine is set.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert found, "there is no libfaketime here; install it with: apt-get install faketime"
        self._file = folder / "ahead"
        self.set(0)
        self.environ = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # second; else each look at a clock opens the file
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead: int) -> None:
        """Set the clock so many seconds ahead of the right time."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{ahead:+d}\n")
        written.replace(self._file)  # the process may read it at any moment


@frozen(kw_only=True)
class Observed:
    """
    What a receiver did while its clock was set.

    Attributes:
        steps: By how many seconds the clock was moved each time.
        said: What the log said of clocks after each step.
        began: When the first server began to send.
        quiet_since: When the server that fell silent had sent its last heartbeat.
        events: All events, the newest first.
        seen: All heartbeats.
    """

    steps: list[int]
    said: list[list[str]]
    began: datetime
    quiet_since: datetime
    events: list[Json]
    seen: list[Exchange]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Observed]:
    """A receiver on SQLite, and one on PostgreSQL, whose own clock is right; at the same time."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in AHEAD}
    with running_postgres() as postgres, ThreadPoolExecutor() as pool:
        postgres.create_database("fleet")
        urls = {
            "sqlite": f"sqlite:///{folders['sqlite'] / 'fleet.db'}",
            "postgresql": postgres.url("fleet"),
        }
        found = {
            kind: pool.submit(observe, folder, urls[kind], AHEAD[kind])
            for kind, folder in folders.items()
        }
        return {kind: each.result() for kind, each in found.items()}


@pytest.fixture(params=[*AHEAD])
def observed(request: pytest.FixtureRequest, both: dict[str, Observed]) -> Observed:
    return both[request.param]


def observe(folder: Path, url: str, ahead: Sequence[int]) -> Observed:
    clock = FakedClock(folder)
    with receiver_process(folder, FLEET_DATABASE_URL=url, **clock.environ) as receiver:
        return asyncio.run(move_clock(receiver, clock, ahead))


async def move_clock(receiver: Process, clock: FakedClock, ahead: Sequence[int]) -> Observed:
    seen: list[Exchange] = []
    over, quiet = asyncio.Event(), asyncio.Event()
    send = partial(keep_sending, [receiver.port], seen=seen, interval=INTERVAL_SECONDS)
    began = datetime.now(timezone.utc)
    async with asyncio.timeout(150), asyncio.TaskGroup() as group:
        group.create_task(send(STEADY, over=over))
        quieting = group.create_task(send([QUIET], over=quiet))
        await asyncio.sleep(INTERVAL_SECONDS)
        said = [await set_and_listen(receiver, clock, each) for each in ahead]
        # Silence counts from a step on, so the last heartbeat must come after that.
        await asyncio.sleep(INTERVAL_SECONDS - 2)
        quiet.set()
        await quieting
        quiet_since = datetime.now(timezone.utc) - timedelta(
            seconds=monotonic() - max(each.ended for each in seen if each.server_id == QUIET)
        )
        await asyncio.sleep(LATE_SECONDS + 4)
        over.set()
    return Observed(
        steps=[after - before for before, after in zip([0, *ahead], ahead, strict=False)],
        said=said,
        began=began,
        quiet_since=quiet_since,
        events=events(receiver),
        seen=seen,
    )


async def set_and_listen(receiver: Process, clock: FakedClock, ahead: int) -> list[str]:
    """Set the clock; returns what the log says of clocks until it has said nothing for a while."""
    before = receiver.log.stat().st_size

    def said() -> list[str]:
        lines = receiver.log.read_bytes()[before:].decode().splitlines()
        return [line for line in lines if "clock" in line]

    clock.set(ahead)
    async with asyncio.timeout(20):
        while not said():  # noqa: ASYNC110 - a process can only be watched
            await asyncio.sleep(0.1)
    await asyncio.sleep(2.5)  # longer than from one comparison of clocks to the next
    return said()


def events(receiver: Process) -> list[Json]:
    answer = httpx.get(
        f"{receiver.url}/events", params={"limit": 1000}, trust_env=False, verify=NO_AUTHORITIES
    )
    found: list[Json] = answer.raise_for_status().json()["events"]
    return found


def time_of(event: Json) -> datetime:
    return datetime.fromisoformat(event["at"])


def test_each_step_of_the_clock_is_logged_once_with_its_size(both: dict[str, Observed]) -> None:
    sqlite = both["sqlite"]
    for step, lines in zip(sqlite.steps, sqlite.said, strict=True):
        (line,) = lines
        way = "back" if step < 0 else "forward"
        shown = float(re.findall(rf"The clock went {way} by ([\d.]+) s", line)[0])
        assert abs(shown - abs(step)) < 2


def test_each_difference_to_the_clock_of_postgresql_is_logged_once(
    both: dict[str, Observed],
) -> None:
    for ahead, lines in zip(AHEAD["postgresql"], both["postgresql"].said, strict=True):
        (line,) = lines
        if ahead:
            shown = float(re.findall(r"clock is ([-+\d.]+) s ahead of the database's", line)[0])
            assert abs(shown - ahead) < 2
        else:
            assert "This machine's clock is that of the database again" in line


def test_no_server_that_keeps_sending_is_called_silent(observed: Observed) -> None:
    told = {(event["kind"], event["server_id"]) for event in observed.events}

    assert 200 in statuses(observed.seen)
    assert {("late", QUIET)} == {
        pair for pair in told if pair[0] in {"late", "down", "recovered", "fleet_silent"}
    }


def test_server_that_falls_silent_afterwards_is_told_in_its_time(observed: Observed) -> None:
    (late,) = [event for event in observed.events if event["kind"] == "late"]
    after = (time_of(late) - observed.quiet_since).total_seconds()

    assert LATE_SECONDS - 1 < after < LATE_SECONDS + 3


def test_times_of_events_are_those_of_postgresql(both: dict[str, Observed]) -> None:
    found = both["postgresql"]
    times = [time_of(event) for event in found.events]

    assert found.began - timedelta(seconds=1) <= min(times)
    assert max(times) <= datetime.now(timezone.utc)
