"""Servers that fall silent are late, then down, and recover."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import EventKind, State, liveness
from receiver.domain.databases.liveness import state_at
from receiver.store import SqlStore
from server_records import server_record
from watched import Watched, at_once


@pytest.mark.parametrize(
    ("interval", "late", "down"),
    [(None, 135, 255), (300.0, 675, 1275), (0.5, 15, 25), (1e7, 1_360_800, 2_570_400)],
)
def test_sweep_records_late_and_down_once_after_two_and_four_intervals(
    fleet: Watched, interval: float | None, late: float, down: float
) -> None:
    heard = "2026-01-31T12:00:00Z"
    fleet.beat("a", heartbeat_interval_seconds=interval)
    seen = []
    for seconds in (0, late, late + 1e-6, down, down + 1e-5, 3 * down):
        fleet.clock.now = fleet.heard_since + timedelta(seconds=seconds)
        fleet.sweep()
        fleet.sweep()
        record = fleet.record("a")
        assert record.state is liveness(record, fleet.now)
        seen.append(record.state.value)

    assert ["up", "up", "late", "late", "down", "down"] == seen
    assert [("late", "a"), ("down", "a")] == fleet.told()
    assert [{"last_seen": heard}] == fleet.details(EventKind.LATE)
    assert [{"last_seen": heard}] == fleet.details(EventKind.DOWN)


def test_late_event_and_new_state_have_the_time_of_the_sweep(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.clock.advance(145)
    fleet.sweep()

    (late,) = fleet.store.events.after(1, limit=9)

    assert (fleet.now, fleet.now) == (late.event.at, fleet.record("a").state_since)


def test_server_with_a_huge_heartbeat_interval_is_late_after_two_weeks(fleet: Watched) -> None:
    fleet.beat("a", heartbeat_interval_seconds=1e300)
    fleet.go_on(15 * 86400, every=86400)
    before = fleet.told()
    fleet.go_on(86400, every=86400)

    assert ([], [("late", "a")]) == (before, fleet.told())


def test_server_that_only_registered_becomes_late(fleet: Watched) -> None:
    fleet.register("a")
    fleet.sweep()
    before = fleet.state("a")
    fleet.clock.advance(136)
    fleet.sweep()

    assert ("new", "late") == (before, fleet.state("a"))


def test_late_sweep_records_late_for_two_intervals_before_down(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.clock.advance(1000)

    states = []
    for seconds in (0, 119, 2, 500):
        fleet.clock.advance(seconds)
        fleet.sweep()
        states.append(fleet.state("a"))

    assert ["late", "late", "down", "down"] == states
    assert [("late", "a"), ("down", "a")] == fleet.told()


def test_server_that_sends_heartbeats_stays_up(fleet: Watched) -> None:
    fleet.beat("a")

    fleet.go_on(1800, "a", every=59)

    assert ("up", []) == (fleet.state("a"), fleet.told())


@pytest.mark.parametrize(("silent", "noticed"), [(134, False), (136, True), (500, True)])
def test_recovered_event_follows_only_a_recorded_late_event(
    fleet: Watched, silent: float, *, noticed: bool
) -> None:
    fleet.beat("a")
    fleet.go_on(silent, every=10)
    fleet.beat("a")
    fleet.sweep()

    assert "up" == fleet.state("a")
    assert noticed == (("recovered", "a") in fleet.told())
    assert [{"away_seconds": float(silent)}] * noticed == fleet.details(EventKind.RECOVERED)


def test_silence_that_ends_before_the_sweep_leaves_no_event(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.clock.advance(500)
    fleet.beat("a")
    fleet.sweep()

    assert ("up", []) == (fleet.state("a"), fleet.told())


def test_each_silence_has_its_own_late_event(fleet: Watched) -> None:
    for _ in range(3):
        fleet.beat("a")
        fleet.go_on(145)

    assert [("late", "a"), ("recovered", "a")] * 2 + [("late", "a")] == fleet.told()


def test_registration_of_a_down_server_is_a_recovery(fleet: Watched) -> None:
    fleet.register("a")
    fleet.go_on(300)
    fleet.register("a")

    assert "new" == fleet.state("a")
    assert [("late", "a"), ("down", "a"), ("recovered", "a")] == fleet.told()


def test_sweep_of_many_servers_is_split_and_records_each_once(fleet: Watched) -> None:
    ids = [f"s{n:03}" for n in range(450)]
    fleet.beat(*ids)
    fleet.go_on(30, *ids)
    fleet.clock.advance(136)
    pieces = [fleet.store.watch.sweep(fleet.sweep_options()) for _ in range(9)]
    fleet.sweep()

    assert [*[True] * 8, False] == pieces
    assert sorted(ids) == sorted(str(who) for kind, who in fleet.told() if kind == "late")


def test_concurrent_sweeps_of_two_stores_record_each_silence_once(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    ids = [f"s{n:03}" for n in range(300)]
    fleet.beat(*ids)
    for seconds in (136, 121):
        fleet.clock.advance(seconds)
        other_fleet.clock.now = fleet.now
        at_once(fleet.sweep, other_fleet.sweep, fleet.sweep, other_fleet.sweep)

    events = fleet.told(but=(EventKind.REGISTERED, EventKind.FLEET_SILENT))
    assert sorted((kind, who) for who in ids for kind in ("down", "late")) == sorted(events)
    assert 300 == fleet.counts["late"] + other_fleet.counts["late"]


def test_heartbeats_during_concurrent_sweeps_pair_each_late_with_a_recovery(
    store: SqlStore, other: SqlStore
) -> None:
    """In any order of sweeps and heartbeats, every server is up in the end."""
    fleet, other_fleet = Watched(store), Watched(other)
    ids = [f"s{n:02}" for n in range(60)]
    for _ in range(4):
        fleet.beat(*ids)
        fleet.clock.advance(3600)  # so that no server flaps
        other_fleet.clock.now = fleet.now
        at_once(
            fleet.sweep,
            other_fleet.sweep,
            lambda: beat_in_turn(fleet, [ids[n : n + 5] for n in range(0, 60, 5)]),
            lambda: beat_in_turn(other_fleet, [[each] for each in ids[::-7]]),
        )

    kinds = [kind for kind, _ in fleet.told(but=(EventKind.REGISTERED, EventKind.FLEET_SILENT))]
    assert kinds.count("late") == kinds.count("recovered")
    assert {"up"} == {*map(fleet.state, ids)}


def beat_in_turn(fleet: Watched, batches: list[list[str]]) -> None:
    for batch in batches:
        fleet.beat(*batch)


NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SECONDS = st.integers(0, 2000).map(lambda seconds: NOON + timedelta(seconds=seconds))


@given(
    last_seen=SECONDS,
    heard_since=SECONDS,
    now=SECONDS,
    noticed=st.sampled_from([State.UP, State.LATE, State.DOWN]),
)
def test_silence_is_counted_from_the_start_of_the_receiver(
    last_seen: datetime, heard_since: datetime, now: datetime, noticed: State
) -> None:
    record = server_record(at=NOON, last_seen=last_seen, heartbeat_count=1, state=noticed)

    state = state_at(record, now, heard_since=heard_since)

    silent = (now - max(last_seen, heard_since)).total_seconds()
    has_been_late = noticed is State.LATE and (now - NOON).total_seconds() > 120
    by_time = State.UP if silent <= 135 else State.LATE
    if silent > 255 and has_been_late:
        by_time = State.DOWN
    worse = max(by_time, noticed, key=[State.UP, State.LATE, State.DOWN].index)
    assert worse is state
