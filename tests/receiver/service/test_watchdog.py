"""Servers had a fair chance to be heard before anybody calls them silent."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import Engine, create_engine, make_url

from contract import Event, EventKind
from receiver.domain.instants import microseconds
from receiver.service.watchdog import Timing, Watchdog
from receiver.store import Look, Rules, SqlStore
from receiver.store.silence import IS_DUE
from servers import Clock, wait_until
from watched import Watched

HALF_A_MINUTE = timedelta(seconds=30)
# Of one who looks in real time, while a test moves the clock.
OFTEN = Timing(look_seconds=0.01, absence_seconds=1e9)


def is_due(fleet: Watched) -> bool:
    """Whether anybody has to be looked at."""
    with fleet.store.transactions.read() as connection:
        return connection.execute(IS_DUE, {"now": microseconds(fleet.now)}).first() is not None


class Watcher:
    """
    A watch, looking once a second, as the time of the fleet goes.

    Attributes:
        seconds: That have passed since it began, which the clock may know nothing of.
    """

    def __init__(self, fleet: Watched, store: SqlStore, timing: Timing = Timing()) -> None:  # noqa: B008 - it is frozen
        self.seconds = 0.0
        self.fleet = fleet
        self.watch = Watchdog(store, timing, clock=fleet.clock, elapsed=lambda: self.seconds)

    def look(self) -> None:
        while self.watch.look():
            pass

    def go_on(self, seconds: int, *alive: str) -> None:
        """Let time pass, in which some are heard every ten seconds."""
        for second in range(1, seconds + 1):
            self.wait(1)
            if second % 10 == 0 and alive:
                self.fleet.beat(*alive)
            self.look()

    def wait(self, seconds: float) -> None:
        """Let time pass, and look at nobody."""
        self.seconds += seconds
        self.fleet.clock.advance(seconds)

    @property
    def heard_since(self) -> datetime:
        assert self.watch.heard_since is not None
        return self.watch.heard_since


# After a start


def test_nobody_is_late_before_there_was_a_chance_to_be_heard(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.beat("slow", heartbeat_interval_seconds=300.0)
    fleet.clock.advance(86400)
    started = fleet.now

    watcher = Watcher(fleet, fleet.store)
    watcher.look()
    assert not is_due(fleet)
    watcher.go_on(120)
    before = fleet.told()
    watcher.go_on(1)

    assert started == watcher.heard_since
    assert ([], [("late", "a")]) == (before, fleet.told())


def test_servers_that_speak_after_a_start_are_never_late(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.clock.advance(86400)

    watcher = Watcher(fleet, fleet.store)
    watcher.go_on(200, "a")

    assert ("up", []) == (fleet.state("a"), fleet.told())


def test_a_short_restart_changes_nothing(fleet: Watched) -> None:
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a")
    watcher.go_on(100)
    first = watcher.heard_since
    fleet.clock.advance(20)

    again = Watcher(fleet, fleet.store)
    again.look()
    again.go_on(2)

    assert first == again.heard_since
    assert [("late", "a")] == fleet.told()


def test_a_long_restart_begins_the_silence_anew(fleet: Watched) -> None:
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a")
    watcher.go_on(100)
    fleet.clock.advance(41)

    again = Watcher(fleet, fleet.store)
    again.look()
    again.go_on(120)

    assert fleet.now - timedelta(seconds=120) == again.heard_since
    assert [] == fleet.told()
    again.go_on(1)
    assert [("late", "a")] == fleet.told()


def test_what_had_been_noticed_before_a_pause_stays(fleet: Watched) -> None:
    watcher = Watcher(fleet, fleet.store)
    watcher.look()
    fleet.beat("down")
    watcher.go_on(130)
    fleet.beat("late")
    watcher.go_on(130)
    told = fleet.told()
    fleet.clock.advance(86400)

    again = Watcher(fleet, fleet.store)
    again.look()
    again.go_on(239)

    assert [("late", "down"), ("down", "down"), ("late", "late")] == told == fleet.told()
    assert ("down", "late") == (fleet.state("down"), fleet.state("late"))
    again.go_on(2)
    assert [*told, ("down", "late")] == fleet.told()


def test_a_pause_does_not_hide_who_was_rebuilt(fleet: Watched) -> None:
    database = {"database_uuid": "u", "database": "acme", "odoo_stage": "production"}
    fleet.beat("old", **database)
    fleet.clock.advance(86400)

    watcher = Watcher(fleet, fleet.store)
    watcher.look()
    fleet.beat("new", **database)
    watcher.go_on(130, "new")

    assert [("rebuilt", "old")] == fleet.told()


# The receiver is away


def test_a_database_that_was_away_too_long_begins_the_silence_anew(fleet: Watched) -> None:
    """Nobody could be heard meanwhile, whatever the watch tried."""
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a")
    watcher.go_on(100)
    watcher.wait(45)
    watcher.look()
    watcher.go_on(120)

    assert fleet.now - timedelta(seconds=120) == watcher.heard_since
    assert [] == fleet.told()
    watcher.go_on(1)
    assert [("late", "a")] == fleet.told()


def test_a_database_that_was_away_a_moment_changes_nothing(fleet: Watched) -> None:
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a")
    watcher.go_on(100)
    first = watcher.heard_since
    watcher.wait(22)
    watcher.look()

    assert first == watcher.heard_since
    assert [("late", "a")] == fleet.told()


def test_while_another_receiver_listens_the_silence_goes_on(
    fleet: Watched, other: SqlStore
) -> None:
    """One starts, stops and hangs as it likes."""
    one, another = Watcher(fleet, fleet.store), Watcher(fleet, other)
    one.look()
    first = one.heard_since
    fleet.beat("a")
    for _ in range(121):
        another.wait(1)
        another.look()
    one.seconds += 121
    one.look()
    late_comer = Watcher(fleet, fleet.store)
    late_comer.look()

    assert (first, first, first) == (
        one.heard_since,
        another.heard_since,
        late_comer.heard_since,
    )
    assert [("late", "a")] == fleet.told()


def test_a_look_that_takes_long_is_no_pause(fleet: Watched) -> None:
    """When many fall silent at once, each piece of the look is a sign of life."""
    ids = [f"s{n:04}" for n in range(1000)]
    watcher = Watcher(fleet, fleet.store)
    watcher.look()
    fleet.beat(*ids)
    for _ in range(12):
        watcher.wait(10)
        watcher.look()
    first = watcher.heard_since
    watcher.wait(1)
    while watcher.watch.look():
        watcher.wait(25)

    assert first == watcher.heard_since
    assert 1000 == len(fleet.details(EventKind.LATE))


def test_a_machine_that_slept_begins_the_silence_anew(fleet: Watched) -> None:
    """Only the clock tells."""
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a", "b")
    watcher.go_on(100, "a", "b")
    fleet.clock.advance(3600)
    watcher.look()
    watcher.go_on(120, "a")
    before = fleet.told()
    watcher.go_on(1, "a")

    assert ([], [("late", "b")]) == (before, fleet.told())


def test_a_clock_that_jumps_a_little_changes_nothing(fleet: Watched) -> None:
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a")
    watcher.go_on(100)
    first = watcher.heard_since
    fleet.clock.advance(22)
    watcher.look()

    assert (first, [("late", "a")]) == (watcher.heard_since, fleet.told())


def test_while_a_clock_that_was_set_back_catches_up_nobody_is_late(fleet: Watched) -> None:
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a", "b")
    watcher.go_on(100, "a", "b")
    first = watcher.heard_since
    fleet.clock.advance(-600)
    watcher.go_on(720, "a")
    before = fleet.told()
    watcher.go_on(1, "a")

    assert first == watcher.heard_since
    assert ([], [("late", "b")]) == (before, fleet.told())


def test_a_clock_that_is_set_back_and_forth_is_no_alarm(fleet: Watched) -> None:
    watcher = Watcher(fleet, fleet.store)
    fleet.beat("a")
    watcher.go_on(100, "a")
    for seconds in (-3600, 3600) * 3:
        fleet.clock.advance(seconds)
        watcher.go_on(20, "a")

    assert ("up", []) == (fleet.state("a"), fleet.told())


def test_two_stores_agree_since_when_servers_can_be_heard(store: SqlStore, other: SqlStore) -> None:
    clock = Clock()
    told: list[datetime] = []
    barrier = Barrier(2)

    def watch(store: SqlStore, behind: float) -> None:
        for n in range(100):
            barrier.wait(20)  # whose clock stands still while the other's goes on has been absent
            now = clock.now + timedelta(seconds=n + behind)
            told.append(store.servers.note_presence(now, absent=HALF_A_MINUTE))

    threads = [Thread(target=watch, args=(store, 0)), Thread(target=watch, args=(other, 0.5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert (200, 1) == (len(told), len({*told}))


def test_presence_is_noted_seldom(fleet: Watched, engine: Engine) -> None:
    def seen_at() -> int:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT seen_at FROM watches").scalar_one())

    watcher = Watcher(fleet, fleet.store)
    watcher.look()
    noted = []
    for _ in range(60):
        noted.append(seen_at())
        watcher.wait(1)
        watcher.look()

    assert 4 <= len({*noted}) <= 7


# What else it does


def test_the_rules_of_the_watch_are_kept(fleet: Watched) -> None:
    timing = Timing(rules=Rules(share=0.9))
    fleet.beat(*"abcdefghij")
    watcher = Watcher(fleet, fleet.store, timing)
    watcher.go_on(130, "a", "b")

    assert 8 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_old_events_are_forgotten_and_the_others_stay(fleet: Watched) -> None:
    timing = Timing(retention=timedelta(days=7))
    fleet.beat("old")
    fleet.clock.advance(86400)
    fleet.beat("young")
    watcher = Watcher(fleet, fleet.store, timing)
    watcher.look()
    fleet.clock.advance(6 * 86400)
    watcher.go_on(59)
    before = fleet.told(but=())
    watcher.go_on(2)
    after = fleet.told(but=())

    assert ("registered", "old") in before
    assert ("registered", "old") not in after
    assert ("registered", "young") in after


def test_many_old_events_are_forgotten_piece_by_piece(fleet: Watched) -> None:
    for n in range(3):
        fleet.beat(*(f"s{n}-{m}" for m in range(700)), heartbeat_interval_seconds=1e9)
    fleet.sweep()
    fleet.clock.advance(91 * 86400)
    fleet.beat("young")
    left = []
    watcher = Watcher(fleet, fleet.store)
    for _ in range(4):
        watcher.look()
        left.append(len(fleet.told(but=())))
        watcher.wait(1)

    assert [1101, 101, 1, 1] == left


# Running


def test_it_looks_again_and_again_until_it_is_cancelled(fleet: Watched) -> None:
    fleet.beat("a")

    with running(Watchdog(fleet.store, OFTEN, clock=fleet.clock)):
        for seconds, state in ((121, "late"), (120, "down")):
            fleet.clock.advance(seconds)
            wait_until(lambda state=state: fleet.state("a") == state)  # type: ignore[misc]

    assert [("late", "a"), ("down", "a")] == fleet.told()


def test_a_crowd_is_looked_at_without_a_rest(fleet: Watched) -> None:
    ids = [f"s{n:03}" for n in range(500)]
    fleet.beat(*ids)

    with running(Watchdog(fleet.store, Timing(look_seconds=3600.0), clock=fleet.clock)):
        wait_until(lambda: not is_due(fleet))

    assert {"up"} == {*map(fleet.state, ids)}


def test_it_survives_that_the_database_is_away_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fleet.db"
    fleet = Watched(SqlStore(make_url(f"sqlite:///{file}")))
    fleet.beat("a")
    engine = create_engine(f"sqlite:///{file}")
    sweep, looks = fleet.store.servers.sweep, list[Look]()

    def noted(look: Look) -> bool:
        looks.append(look)
        return sweep(look)

    monkeypatch.setattr(fleet.store.servers, "sweep", noted)
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE servers RENAME TO gone")
        connection.commit()
        with running(Watchdog(fleet.store, OFTEN, clock=fleet.clock)):
            wait_until(lambda: len(looks) > 2)  # two have failed
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO servers")
            connection.commit()
            for each in ("b", "c"):  # once c is looked at, the look that found b is over
                fleet.beat(each)
                wait_until(lambda: not is_due(fleet))
            fleet.clock.advance(121)
            wait_until(lambda: fleet.state("a") == "late")
    engine.dispose()
    fleet.store.close()

    assert [(logging.WARNING, True)] == [
        (each.levelno, "The silence of servers goes unnoticed" in each.getMessage())
        for each in caplog.records
    ]


def test_it_survives_whatever_goes_wrong(fleet: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """Such as one who is told of events and cannot bear it."""
    fleet.beat("a")
    told: list[Event] = []

    def fail() -> None:
        told.append(fleet.store.events.after(0, limit=9)[-1].event)
        raise RuntimeError("it cannot bear it")

    fleet.on_events = fail
    with running(Watchdog(fleet.store, OFTEN, clock=fleet.clock)):
        for seconds, state in ((121, "late"), (120, "down")):
            fleet.clock.advance(seconds)
            wait_until(lambda state=state: fleet.state("a") == state)  # type: ignore[misc]

    assert [EventKind.LATE, EventKind.DOWN] == [each.kind for each in told]
    assert {"A look at the servers failed"} == {each.getMessage() for each in caplog.records}


class running:  # noqa: N801 - it is used as a function
    """A watch, in a thread with a loop of its own."""

    def __init__(self, watch: Watchdog) -> None:
        self._watch = watch
        self._thread = Thread(target=lambda: asyncio.run(self._run()))
        self._stop: Callable[[], object] = lambda: None

    def __enter__(self) -> None:
        self._thread.start()
        wait_until(lambda: self._watch.heard_since is not None)

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(20)
        self._watch.close()
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.create_task(self._watch.run())
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        with suppress(asyncio.CancelledError):
            await task
