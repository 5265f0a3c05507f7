"""`FLEET_FORGET_AFTER_DAYS`: nobody is forgotten whom nobody could have heard."""

import logging
from datetime import datetime, timedelta

import pytest
from attrs import evolve
from sqlalchemy import Engine, make_url, select, update

from receiver.app import create_app
from receiver.service.watchdog import Timing, Watchdog
from receiver.store import SqlStore
from receiver.store.tables import pauses, watches
from servers import Clock, Observed, serve, wait_until
from watched import Watched, kept_in

DATABASE = {"database_uuid": "u-1", "database": "acme"}
DAY = timedelta(days=1)
YEAR = 365 * DAY
# A test lets a day pass between two looks, and a pause is longer than that.
TIMING = Timing(absence_seconds=36 * 3600.0, forget_after=30 * DAY, forget_seconds=1.0)


class Receiver:
    """A watchdog that looks once a day of the time that a test lets pass."""

    def __init__(self, fleet: Watched, timing: Timing = TIMING) -> None:
        self._fleet = fleet
        self._timing = timing
        self._seconds = 0.0
        self.restart()

    def restart(self) -> None:
        self._watchdog = Watchdog(
            self._fleet.store, self._timing, clock=self._fleet.clock, elapsed=lambda: self._seconds
        )
        self.look()

    def look(self) -> None:
        """Look as often as it takes to go through all states, and through all that is due."""
        for _ in range(4):
            while self._watchdog.look():
                pass
            self._seconds += 1
            self._fleet.clock.advance(1)

    def go_on(self, length: timedelta, *alive: str) -> None:
        """Let time pass, in which these servers are heard."""
        until = self._fleet.now + length
        while self._fleet.now < until:
            step = min(DAY, until - self._fleet.now).total_seconds()
            self._seconds += step
            self._fleet.clock.advance(step)
            self._fleet.beat(*alive)
            self.look()

    def pause(self, length: timedelta) -> None:
        """Let time pass in which no receiver runs."""
        self._fleet.clock.advance(length.total_seconds())
        self._seconds += length.total_seconds()
        self.restart()

    def set_clock(self, by: timedelta) -> None:
        """Set the clock, while no time passes."""
        self._fleet.clock.now += by
        self.look()


@pytest.fixture
def receiver(fleet: Watched) -> Receiver:
    return Receiver(fleet)


def everybody(fleet: Watched) -> list[str]:
    return sorted(fleet.ids() + fleet.ids(state="superseded") + fleet.ids(state="left"))


def test_servers_are_forgotten_after_so_many_days(fleet: Watched, receiver: Receiver) -> None:
    fleet.beat("old", "new", **DATABASE)
    fleet.beat("bye", status="uninstalled")
    fleet.beat("down", "alive")
    receiver.go_on(2 * DAY, "alive", "new")
    receiver.go_on(27 * DAY, "alive", "new")
    before = everybody(fleet)
    receiver.go_on(3 * DAY, "alive", "new")

    assert ["alive", "bye", "down", "new", "old"] == before
    assert ["alive", "new"] == everybody(fleet)
    assert {("deleted", each) for each in ("bye", "down", "old")} == {*fleet.told()[-3:]}


@pytest.mark.one_database
def test_watchdog_forgets_no_server_without_the_setting(fleet: Watched) -> None:
    receiver = Receiver(fleet, evolve(TIMING, forget_after=None))
    fleet.beat("down", "alive")
    receiver.go_on(100 * DAY, "alive")

    assert ["alive", "down"] == everybody(fleet)


@pytest.mark.one_database
def test_server_is_forgotten_so_many_days_after_it_was_called_down(
    fleet: Watched, receiver: Receiver
) -> None:
    """One that sends every week was silent for a month before it was called down."""
    fleet.beat("weekly", heartbeat_interval_seconds=7 * 86400.0)
    fleet.beat("alive")
    receiver.go_on(58 * DAY, "alive")
    assert ["alive", "weekly"] == everybody(fleet)
    receiver.go_on(3 * DAY, "alive")

    assert ["alive"] == everybody(fleet)


def test_time_in_which_no_receiver_ran_does_not_count_for_forgetting(
    fleet: Watched, receiver: Receiver
) -> None:
    fleet.beat("down", "alive")
    receiver.go_on(DAY, "alive")
    receiver.pause(60 * DAY)
    receiver.go_on(28 * DAY, "alive")
    before = everybody(fleet)
    receiver.go_on(3 * DAY, "alive")

    assert (["alive", "down"], ["alive"]) == (before, everybody(fleet))


@pytest.mark.one_database
def test_time_between_pauses_adds_up_for_forgetting(fleet: Watched, receiver: Receiver) -> None:
    """A machine that restarts every few days forgets all the same."""
    fleet.beat("down", "alive")
    for _ in range(9):
        receiver.go_on(3 * DAY, "alive")
        receiver.pause(2 * DAY)
    before = everybody(fleet)
    receiver.go_on(5 * DAY, "alive")

    assert (["alive", "down"], ["alive"]) == (before, everybody(fleet))


@pytest.mark.one_database
def test_clock_a_year_ahead_for_an_hour_forgets_no_server_and_deletes_no_event(
    fleet: Watched, receiver: Receiver
) -> None:
    fleet.beat("down", "alive")
    fleet.beat("bye", status="uninstalled")
    receiver.go_on(DAY, "alive")
    receiver.set_clock(YEAR)
    receiver.go_on(timedelta(hours=1), "alive")
    receiver.set_clock(-YEAR)
    receiver.go_on(27 * DAY, "alive")

    assert ["alive", "bye", "down"] == everybody(fleet)
    registered = [server_id for kind, server_id in fleet.told(but=()) if kind == "registered"]
    assert ["alive", "bye", "down"] == sorted(map(str, registered))
    receiver.go_on(4 * DAY, "alive")
    assert ["alive"] == everybody(fleet)


@pytest.mark.one_database
@pytest.mark.parametrize("years", [1, -1, 50, -56])
def test_clock_that_stays_wrong_forgets_no_server_too_early(
    fleet: Watched, receiver: Receiver, years: int
) -> None:
    fleet.beat("down", "alive")
    receiver.go_on(DAY, "alive")
    receiver.set_clock(years * YEAR)
    receiver.go_on(28 * DAY, "alive")
    before = everybody(fleet)
    receiver.go_on(3 * DAY, "alive")

    assert (["alive", "down"], ["alive"]) == (before, everybody(fleet))


@pytest.mark.one_database
def test_machine_that_starts_in_1970_and_gets_its_time_later_forgets_no_server(
    fleet: Watched, receiver: Receiver
) -> None:
    fleet.beat("down", "alive")
    receiver.go_on(DAY, "alive")
    now = fleet.now
    fleet.clock.now = datetime(1970, 1, 1, tzinfo=now.tzinfo)
    receiver.restart()
    receiver.set_clock(now - fleet.now)
    receiver.go_on(28 * DAY, "alive")

    assert ["alive", "down"] == everybody(fleet)


def test_database_of_an_earlier_version_counts_from_its_upgrade(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("down", "alive")
    fleet.go_on(300, "alive")
    fleet.clock.advance(YEAR.total_seconds())
    receiver = Receiver(fleet)
    receiver.go_on(29 * DAY, "alive")

    assert ["alive", "down"] == everybody(fleet)
    receiver.go_on(2 * DAY, "alive")
    assert ["alive"] == everybody(fleet)


@pytest.mark.one_database
def test_servers_are_not_forgotten_while_no_server_is_heard(
    fleet: Watched, receiver: Receiver
) -> None:
    """A certificate that has expired keeps all servers from being heard."""
    fleet.beat("a", "b", "c")
    receiver.go_on(90 * DAY)
    assert ["a", "b", "c"] == everybody(fleet)
    fleet.beat("a")
    receiver.go_on(DAY, "a")

    assert ["a"] == everybody(fleet)


def test_servers_are_not_forgotten_for_time_that_no_receiver_has_recorded(
    fleet: Watched, receiver: Receiver
) -> None:
    """The time since a receiver noted last that it runs counts for nothing."""
    fleet.beat("down", "alive")
    receiver.go_on(DAY, "alive")

    step = fleet.store.servers.forget_silent(fleet.now + YEAR, 30 * DAY)

    assert [] == step.ids
    assert ["alive", "down"] == everybody(fleet)


def test_servers_are_not_forgotten_where_no_receiver_has_ever_run(fleet: Watched) -> None:
    fleet.beat("a", "b")
    fleet.go_on(600, "a")
    fleet.clock.advance(YEAR.total_seconds())
    fleet.beat("a")

    assert [] == fleet.store.servers.forget_silent(fleet.now, DAY).ids


def test_many_servers_are_forgotten_in_steps_with_a_line_in_the_log(
    fleet: Watched, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "receiver.service.watchdog")
    ids = [f"s{n:03}" for n in range(450)]
    fleet.beat("alive", *ids)
    receiver.go_on(33 * DAY, "alive")

    lines = [each.getMessage() for each in caplog.records if "forgotten" in each.getMessage()]
    assert [200, 200, 50] == [int(line.partition(" ")[0]) for line in lines]
    assert lines[0].startswith("200 silent servers are forgotten: 's000', 's001', ")
    assert ["alive"] == everybody(fleet)


def test_pauses_with_little_between_them_are_one_row(fleet: Watched, engine: Engine) -> None:
    counts = []
    for seconds in (60, 60, 60, 3601, 60):
        fleet.store.watch.note_presence(fleet.now, absent=timedelta(seconds=5))
        fleet.clock.advance(seconds)
        fleet.store.watch.note_presence(fleet.now, absent=DAY)
        fleet.clock.advance(60)
        with engine.connect() as connection:
            counts.append(len(connection.execute(select(pauses)).all()))

    assert [1, 1, 1, 1, 2] == counts


def test_forget_after_days_setting_reaches_the_watchdog(sqlite_url: str, clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_FORGET_AFTER_DAYS": "1"}
    store = SqlStore(make_url(sqlite_url))
    fleet = Watched(store)
    fleet.clock = clock
    fleet.store.watch.note_presence(clock.now, absent=DAY)
    fleet.beat("down", "alive")
    fleet.go_on(600, "alive")
    clock.advance(2 * 86400)
    with store.transactions.read() as connection:
        connection.execute(update(watches).values(seen_at=clock.now))
        connection.commit()
    fleet.beat("alive")
    with serve(Observed(create_app(environ=environ, clock=clock))):
        wait_until(lambda: ["alive"] == [each.server_id for each in kept_in(store)])
    store.close()
