"""The watchdog: sweeps regularly, and counts no silence while no receiver was running."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from contract import FAREWELL, Event, EventKind
from receiver.domain.databases.silence import Rules, SweepOptions
from receiver.domain.errors import StoreUnavailable
from receiver.domain.history import Taken
from receiver.domain.instants import microseconds
from receiver.service.clock import GivenClock
from receiver.service.watchdog import Timing, Watchdog
from receiver.store import SqlStore
from receiver.store.silence import IS_DUE
from servers import PATIENCE_SECONDS, Clock, wait_until
from watched import Watched, lock

HALF_A_MINUTE = timedelta(seconds=30)
# For a watchdog that sweeps in real time, while a test moves the clock.
FAST = Timing(look_seconds=0.01, absence_seconds=1e9)


def is_due(fleet: Watched) -> bool:
    """Whether a sweep would check any server."""
    with fleet.store.transactions.read() as connection:
        return connection.execute(IS_DUE, {"now": microseconds(fleet.now)}).first() is not None


class SteppedWatchdog:
    """
    A watchdog that sweeps once a second of the time that a test lets pass.

    Attributes:
        seconds: Monotonic seconds; a test may move the clock of the fleet independently.
    """

    def __init__(self, fleet: Watched, store: SqlStore, timing: Timing = Timing()) -> None:  # noqa: B008 - it is frozen
        self.seconds = 0.0
        self.fleet = fleet
        self.watchdog = Watchdog(store, timing, clock=fleet.clock, elapsed=lambda: self.seconds)

    def look(self) -> None:
        while self.watchdog.look():
            pass

    def go_on(self, seconds: int, *alive: str) -> None:
        """Sweep every second; every ten seconds, `alive` servers send heartbeats."""
        for second in range(1, seconds + 1):
            self.wait(1)
            if second % 10 == 0 and alive:
                self.fleet.beat(*alive)
            self.look()

    def wait(self, seconds: float) -> None:
        """Let time pass without a sweep."""
        self.seconds += seconds
        self.fleet.clock.advance(seconds)

    @property
    def heard_since(self) -> datetime:
        assert self.watchdog.heard_since is not None
        return self.watchdog.heard_since


# After a start


def test_server_is_late_only_two_intervals_after_a_start(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.beat("slow", heartbeat_interval_seconds=300.0)
    fleet.clock.advance(86400)
    started = fleet.now

    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    assert not is_due(fleet)
    watchdog.go_on(135)
    before = fleet.told()
    watchdog.go_on(1)

    assert started == watchdog.heard_since
    assert ([], [("late", "a")]) == (before, fleet.told())


def test_servers_that_send_heartbeats_after_a_start_stay_up(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.clock.advance(86400)

    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.go_on(200, "a")

    assert ("up", []) == (fleet.state("a"), fleet.told())


def test_short_restart_keeps_counting_silence(fleet: Watched) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a")
    watchdog.go_on(100)
    first = watchdog.heard_since
    fleet.clock.advance(4)

    again = SteppedWatchdog(fleet, fleet.store)
    again.look()
    again.go_on(34)

    assert first == again.heard_since
    assert [("late", "a")] == fleet.told()


def test_long_restart_starts_counting_silence_again(fleet: Watched) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a")
    watchdog.go_on(100)
    fleet.clock.advance(41)

    again = SteppedWatchdog(fleet, fleet.store)
    again.look()
    again.go_on(135)

    assert fleet.now - timedelta(seconds=135) == again.heard_since
    assert [] == fleet.told()
    again.go_on(1)
    assert [("late", "a")] == fleet.told()


def test_states_recorded_before_a_restart_stay(fleet: Watched) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    fleet.beat("down")
    watchdog.go_on(145)
    fleet.beat("late")
    watchdog.go_on(145)
    told = fleet.told()
    fleet.clock.advance(86400)

    again = SteppedWatchdog(fleet, fleet.store)
    again.look()
    again.go_on(254)

    assert [("late", "down"), ("down", "down"), ("late", "late")] == told == fleet.told()
    assert ("down", "late") == (fleet.state("down"), fleet.state("late"))
    again.go_on(2)
    assert [*told, ("down", "late")] == fleet.told()


def test_rebuild_is_recorded_after_a_long_restart(fleet: Watched) -> None:
    database = {"database_uuid": "u", "database": "acme", "odoo_stage": "production"}
    fleet.beat("old", **database)
    fleet.clock.advance(86400)

    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    fleet.beat("new", **database)
    watchdog.go_on(145, "new")

    assert [("rebuilt", "old")] == fleet.told()


# No receiver or no database for a while


def test_long_database_outage_starts_counting_silence_again(fleet: Watched) -> None:
    """No heartbeat could be stored meanwhile."""
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a")
    watchdog.go_on(100)
    watchdog.wait(45)
    watchdog.look()
    watchdog.go_on(135)

    assert fleet.now - timedelta(seconds=135) == watchdog.heard_since
    assert [] == fleet.told()
    watchdog.go_on(1)
    assert [("late", "a")] == fleet.told()


def test_short_database_outage_keeps_counting_silence(fleet: Watched) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a")
    watchdog.go_on(134)
    first = watchdog.heard_since
    watchdog.wait(4)
    watchdog.look()

    assert first == watchdog.heard_since
    assert [("late", "a")] == fleet.told()


@pytest.mark.parametrize(
    ("database_url", "table"),
    [
        ("sqlite", "watches"),
        *(("postgresql", each) for each in ("watches", "servers", "facets", "events")),
    ],
    indirect=["database_url"],
)
def test_database_that_cannot_be_written_starts_counting_silence_again(
    fleet: Watched, engine: Engine, table: str
) -> None:
    """A look that fails is not one at which a message could have been stored."""
    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    fleet.beat("a", heartbeat_interval_seconds=5.0)
    with engine.begin() as other:
        other.execute(text(lock(engine, table)))
        watchdog.wait(5)
        with pytest.raises(StoreUnavailable):
            watchdog.look()
    watchdog.wait(5)
    watchdog.look()

    assert fleet.now == watchdog.heard_since
    watchdog.go_on(15)
    assert [] == fleet.told()
    watchdog.go_on(1)
    assert [("late", "a")] == fleet.told()


def test_silence_is_counted_while_another_receiver_runs(fleet: Watched, other: SqlStore) -> None:
    """One of two receivers hangs, and a third one starts late."""
    one, another = SteppedWatchdog(fleet, fleet.store), SteppedWatchdog(fleet, other)
    one.look()
    first = one.heard_since
    fleet.beat("a")
    for _ in range(136):
        another.wait(1)
        another.look()
    one.seconds += 136
    one.look()
    third = SteppedWatchdog(fleet, fleet.store)
    third.look()

    assert (first, first, first) == (
        one.heard_since,
        another.heard_since,
        third.heard_since,
    )
    assert [("late", "a")] == fleet.told()


def test_long_sweep_counts_as_no_outage(fleet: Watched) -> None:
    """Each part of a sweep of many servers notes the presence of the receiver."""
    ids = [f"s{n:04}" for n in range(1000)]
    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    fleet.beat(*ids)
    for _ in range(45):
        watchdog.wait(3)
        watchdog.look()
    first = watchdog.heard_since
    watchdog.wait(1)
    while watchdog.watchdog.look():
        watchdog.wait(4)

    assert first == watchdog.heard_since
    assert 1000 == len(fleet.details(EventKind.LATE))


def test_suspended_machine_starts_counting_silence_again(fleet: Watched) -> None:
    """Monotonic time stands still while a machine is suspended; only the clock advances."""
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a", "b")
    watchdog.go_on(100, "a", "b")
    fleet.clock.advance(3600)
    watchdog.look()
    watchdog.go_on(135, "a")
    before = fleet.told()
    watchdog.go_on(1, "a")

    assert ([], [("late", "b")]) == (before, fleet.told())


def test_slow_answer_to_the_question_for_the_time_is_no_step_of_the_clock(
    fleet: Watched, store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    watched = SteppedWatchdog(fleet, store)
    takes = iter((0, 3, 0))

    def compare(_: object) -> bool:
        watched.wait(next(takes))
        return False

    watched.watchdog = Watchdog(
        store, Timing(), clock=fleet.clock, compare=compare, elapsed=lambda: watched.seconds
    )
    for _ in range(3):
        watched.look()
        watched.wait(2)

    assert [] == [*takes]
    assert [] == caplog.messages


def test_small_clock_jump_keeps_counting_silence(fleet: Watched) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a")
    watchdog.go_on(134)
    first = watchdog.heard_since
    fleet.clock.advance(4)
    watchdog.look()

    assert (first, [("late", "a")]) == (watchdog.heard_since, fleet.told())


@pytest.mark.parametrize("back", [2, 600, 3600, 365 * 86400])
def test_silence_is_told_in_time_after_the_clock_went_back(
    fleet: Watched, back: int, caplog: pytest.LogCaptureFixture
) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a", "b")
    watchdog.go_on(100, "a", "b")
    fleet.clock.advance(-back)
    watchdog.go_on(134, "a")
    before = fleet.told()
    watchdog.go_on(3, "a")

    assert ([], [("late", "b")]) == (before, fleet.told())
    assert [
        f"The clock went back by {back}.0 s",
        "2 servers had times in the future, which are now",
    ] == caplog.messages


def test_clock_that_was_ahead_and_is_corrected_hides_no_silence(fleet: Watched) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a", "b")
    watchdog.go_on(20, "a", "b")
    fleet.clock.advance(3600)
    watchdog.go_on(60, "a", "b")
    fleet.clock.advance(-3600)
    watchdog.go_on(140, "a")

    assert [("late", "b")] == fleet.told()


def test_start_with_a_right_clock_writes_no_server(fleet: Watched, engine: Engine) -> None:
    def rows() -> list[list[tuple[Any, ...]]]:
        with engine.connect() as connection:
            return [
                [*map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table}"))]
                for table in ("servers", "liveness")
            ]

    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    fleet.beat("a")
    watchdog.look()
    written = rows()
    fleet.clock.advance(2)

    SteppedWatchdog(fleet, fleet.store).look()

    assert written == rows()


def test_first_start_that_notes_itself_leaves_no_time_in_the_future(
    fleet: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """The database was made by a version that did not note that it ran."""
    fleet.beat("a")
    fleet.clock.advance(-3600)

    SteppedWatchdog(fleet, fleet.store).look()

    assert ["1 servers had times in the future, which are now"] == caplog.messages


def test_clock_that_went_back_while_no_receiver_ran_leaves_no_time_in_the_future(
    fleet: Watched, caplog: pytest.LogCaptureFixture, engine: Engine
) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    fleet.register("a")
    fleet.beat("a", "b")
    watchdog.go_on(300, "a")
    fleet.clock.advance(-3600)

    again = SteppedWatchdog(fleet, fleet.store)
    again.look()

    now = microseconds(fleet.now)
    columns = "first_seen, registered_at, last_seen, state_since, coalesce(due_at, 0)"
    with engine.connect() as connection:
        times = connection.exec_driver_sql(
            f"SELECT {columns} FROM servers JOIN liveness USING (server_id) ORDER BY server_id"
        ).all()
        told = connection.exec_driver_sql("SELECT max(at) FROM events").scalar_one()
        watched = connection.exec_driver_sql("SELECT heard_since, seen_at FROM watches").one()
    assert [(now, now, now, now), (now, None, now, now)] == [row[:4] for row in times]
    assert (now, (now, now)) == (told, tuple(watched))
    assert ["2 servers had times in the future, which are now"] == caplog.messages
    again.go_on(137, "b")
    assert ("late", "up") == (fleet.state("a"), fleet.state("b"))


@pytest.mark.one_database
@pytest.mark.parametrize("interval", [5.0, 10.0, 60.0])
@pytest.mark.parametrize("pause", [4, 6, 8, 12, 21, 45, 3600])
@pytest.mark.parametrize("kind", ["restart", "process stopped", "machine suspended", "clock set"])
def test_servers_that_send_as_promised_around_a_pause_are_never_late(
    fleet: Watched, kind: str, pause: int, interval: float
) -> None:
    """Five servers, so that the fleet would be silent, too."""
    ids = [f"s{n}" for n in range(5)]
    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    fleet.beat(*ids, heartbeat_interval_seconds=interval)
    for second in range(1, 64):
        watchdog.wait(1)
        if second % interval == 0:
            fleet.beat(*ids)
        watchdog.look()
    if kind in ("machine suspended", "clock set"):
        fleet.clock.advance(pause)
    else:
        watchdog.wait(pause)
    if kind == "restart":
        watchdog = SteppedWatchdog(fleet, fleet.store)
    for second in range(int(interval * 4)):
        watchdog.look()  # before the servers get through
        watchdog.wait(1)
        if second % interval == interval - 1:
            fleet.beat(*ids)

    assert [] == fleet.told()


def test_clock_set_back_and_forth_causes_no_alarm(fleet: Watched) -> None:
    watchdog = SteppedWatchdog(fleet, fleet.store)
    fleet.beat("a")
    watchdog.go_on(100, "a")
    for seconds in (-3600, 3600) * 3:
        fleet.clock.advance(seconds)
        watchdog.go_on(20, "a")

    assert ("up", []) == (fleet.state("a"), fleet.told())


def test_two_stores_agree_since_when_a_receiver_runs(store: SqlStore, other: SqlStore) -> None:
    clock = Clock()
    starts: list[datetime] = []
    barrier = Barrier(2)

    def watch(store: SqlStore, behind: float) -> None:
        for n in range(100):
            # Or the clock of one store runs ahead, which looks like an outage.
            barrier.wait(PATIENCE_SECONDS)
            now = clock.now + timedelta(seconds=n + behind)
            starts.append(store.watch.note_presence(now, absent=HALF_A_MINUTE).heard_since)

    threads = [Thread(target=watch, args=(store, 0)), Thread(target=watch, args=(other, 0.5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert (200, 1) == (len(starts), len({*starts}))


def test_presence_is_written_every_two_seconds(fleet: Watched, engine: Engine) -> None:
    def seen_at() -> int:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT seen_at FROM watches").scalar_one())

    watchdog = SteppedWatchdog(fleet, fleet.store)
    watchdog.look()
    noted = []
    for _ in range(60):
        noted.append(seen_at())
        watchdog.wait(1)
        watchdog.look()

    assert 25 <= len({*noted}) <= 35


# Settings and retention


def test_watchdog_passes_its_rules_to_the_sweep(fleet: Watched) -> None:
    timing = Timing(rules=Rules(share=0.9))
    fleet.beat(*"abcdefghij")
    watchdog = SteppedWatchdog(fleet, fleet.store, timing)
    watchdog.go_on(145, "a", "b")

    assert 8 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_watchdog_trims_events_older_than_the_retention(fleet: Watched) -> None:
    timing = Timing(retention=timedelta(days=7), absence_seconds=7 * 86400)
    fleet.beat("old")
    watchdog = SteppedWatchdog(fleet, fleet.store, timing)
    watchdog.look()
    fleet.clock.advance(86400)
    fleet.beat("young")
    watchdog.look()
    fleet.clock.advance(6 * 86400)
    watchdog.go_on(59)
    before = fleet.told(but=())
    watchdog.go_on(2)
    after = fleet.told(but=())

    assert ("registered", "old") in before
    assert ("registered", "old") not in after
    assert ("registered", "young") in after


def test_watchdog_trims_at_most_a_thousand_events_per_sweep(fleet: Watched) -> None:
    fleet.beat(*(f"s{n}" for n in range(1050)), status=FAREWELL)  # two events of each
    watchdog = SteppedWatchdog(fleet, fleet.store, Timing(absence_seconds=92 * 86400))
    watchdog.look()
    watchdog.wait(91 * 86400)
    fleet.beat("young")
    left = []
    for _ in range(4):
        watchdog.watchdog.look()
        left.append(len(fleet.told(but=())))
        watchdog.wait(1)

    assert [1101, 101, 1, 1] == left


# Running


def test_watchdog_sweeps_until_it_is_cancelled(fleet: Watched) -> None:
    fleet.beat("a")

    with running(Watchdog(fleet.store, FAST, clock=fleet.clock, elapsed=seconds_of(fleet))):
        for seconds, state in ((136, "late"), (121, "down")):
            fleet.clock.advance(seconds)
            wait_until(lambda state=state: fleet.state("a") == state)  # type: ignore[misc]

    assert [("late", "a"), ("down", "a")] == fleet.told()


def test_large_sweep_continues_without_a_pause(fleet: Watched) -> None:
    ids = [f"s{n:03}" for n in range(500)]
    fleet.beat(*ids)

    with running(
        Watchdog(
            fleet.store, Timing(look_seconds=3600.0), clock=fleet.clock, elapsed=seconds_of(fleet)
        )
    ):
        wait_until(lambda: not is_due(fleet))

    assert {"up"} == {*map(fleet.state, ids)}


def test_watchdog_survives_a_failing_database_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fleet.db"
    fleet = Watched(SqlStore(make_url(f"sqlite:///{file}")))
    fleet.beat("a")
    engine = create_engine(f"sqlite:///{file}")
    sweep, looks = fleet.store.watch.sweep, list[SweepOptions]()

    def noted(options: SweepOptions) -> bool:
        looks.append(options)
        return sweep(options)

    monkeypatch.setattr(fleet.store.watch, "sweep", noted)
    watchdog = Watchdog(fleet.store, FAST, clock=fleet.clock, elapsed=seconds_of(fleet))
    with engine.connect() as connection, running(watchdog):
        connection.exec_driver_sql("ALTER TABLE liveness RENAME TO gone")
        connection.commit()
        seen = len(looks)
        wait_until(lambda: len(looks) > seen + 3)  # two have failed
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO liveness")
        connection.commit()
        for each in ("b", "c"):  # when c was checked, the sweep of b has ended
            fleet.beat(each)
            wait_until(lambda: not is_due(fleet))
        fleet.clock.advance(136)
        wait_until(lambda: fleet.state("a") == "late")
    engine.dispose()
    fleet.store.close()

    assert [(logging.WARNING, True)] == [
        (each.levelno, "The silence of servers goes unnoticed" in each.getMessage())
        for each in caplog.records
    ]


@pytest.mark.parametrize("error", [StoreUnavailable("read-only"), RuntimeError("a fault")])
def test_watchdog_trouble_is_the_last_error_until_a_look_succeeds(
    fleet: Watched, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(fleet.store, FAST, clock=fleet.clock, elapsed=seconds_of(fleet))
    sweep, fails = fleet.store.watch.sweep, [False]

    def fail_or_sweep(options: SweepOptions) -> bool:
        if fails[0]:
            raise error
        return sweep(options)

    monkeypatch.setattr(fleet.store.watch, "sweep", fail_or_sweep)
    with running(watchdog):
        wait_until(lambda: watchdog.trouble() is None)
        fails[0] = True
        wait_until(lambda: str(error) in (watchdog.trouble() or ""))
        fails[0] = False
        wait_until(lambda: watchdog.trouble() is None)


def test_heartbeats_of_the_last_minute_are_noted_at_the_end(fleet: Watched) -> None:
    taken = [Taken(3)]
    watchdog = Watchdog(fleet.store, clock=fleet.clock, timing=FAST, taken=lambda: taken[-1])
    watchdog.look()
    taken.append(Taken(10, 2))
    watchdog.close()

    (hour,) = fleet.store.hours.since(fleet.now)
    assert (1, 10, 2) == (hour.minutes, hour.heartbeats, hour.turned_away)


def test_watchdog_ends_when_the_database_is_gone(fleet: Watched, engine: Engine) -> None:
    taken = [Taken()]
    watchdog = Watchdog(fleet.store, clock=fleet.clock, timing=FAST, taken=lambda: taken[-1])
    watchdog.look()
    taken.append(Taken(10))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE hours")
    watchdog.close()

    assert watchdog.trouble() is None


def test_watchdog_look_that_does_not_end_is_trouble(
    fleet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(fleet.store, FAST, clock=fleet.clock, elapsed=seconds_of(fleet))
    before = watchdog.trouble()
    began = monotonic()
    monkeypatch.setattr("receiver.service.watchdog.monotonic", lambda: began + 10.5)

    after = watchdog.trouble()
    watchdog.close()

    assert before is None
    assert after is not None
    assert after.startswith("the database has not answered for 1")


def test_watchdog_survives_an_unexpected_error(
    fleet: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """For example an error in a listener of events."""
    fleet.beat("a")
    announced: list[Event] = []

    def fail() -> None:
        announced.append(fleet.store.events.after(0, limit=9)[-1].event)
        raise RuntimeError("a listener fails")

    fleet.on_events = fail
    with running(Watchdog(fleet.store, FAST, clock=fleet.clock, elapsed=seconds_of(fleet))):
        for seconds, state in ((136, "late"), (121, "down")):
            fleet.clock.advance(seconds)
            wait_until(lambda state=state: fleet.state("a") == state)  # type: ignore[misc]

    assert [EventKind.LATE, EventKind.DOWN] == [each.kind for each in announced]
    assert {"A look at the servers failed"} == {each.getMessage() for each in caplog.records}


def seconds_of(fleet: Watched) -> Callable[[], float]:
    """A monotonic clock that advances with the clock of a fleet."""
    return GivenClock(fleet.clock).elapsed


class running:  # noqa: N801 - it is used as a function
    """Runs a watchdog in a thread with an event loop of its own."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._thread = Thread(target=lambda: asyncio.run(self._run()))
        self._stop: Callable[[], object] = lambda: None

    def __enter__(self) -> None:
        self._thread.start()
        wait_until(lambda: self._watchdog.heard_since is not None)

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(PATIENCE_SECONDS)
        self._watchdog.close()
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.create_task(self._watchdog.run())
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        with suppress(asyncio.CancelledError):
            await task
