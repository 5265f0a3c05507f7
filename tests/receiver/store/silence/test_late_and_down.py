"""Sweeps: states that time changes (late, down), rebuilds and twins, each recorded once."""

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from contract import EventKind, ServerRecord, State, liveness
from receiver.domain.databases.liveness import due_after, state_at
from receiver.domain.databases.silence import Rules
from receiver.domain.instants import microseconds
from receiver.store import SqlStore
from receiver.store.silence import IS_DUE
from watched import Watched, at_once, due_at

TWO_MINUTES = timedelta(seconds=135)  # and the tolerance
DATABASE = {"database_uuid": "u-1", "database": "acme", "odoo_stage": "production"}


# Silence


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


# due_at: when a sweep checks a server next


def test_sweep_moves_due_at_and_a_heartbeat_does_not(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a")
    new = due_at(engine, "a")
    fleet.sweep()
    first = due_at(engine, "a")
    fleet.clock.advance(100)
    fleet.beat("a")
    lazy = due_at(engine, "a")
    fleet.clock.advance(50)
    fleet.sweep()

    heard = fleet.record("a").last_seen
    assert microseconds(fleet.heard_since) == new
    assert first == lazy == due_after(fleet.heard_since, TWO_MINUTES)
    assert due_after(heard, TWO_MINUTES) == due_at(engine, "a")
    assert [] == fleet.told()


def test_note_that_a_receiver_runs_tells_whether_any_server_is_due(fleet: Watched) -> None:
    def is_any_due() -> bool:
        return fleet.store.watch.note_presence(fleet.now, absent=timedelta.max).is_any_due

    found = [is_any_due(), is_any_due()]  # the first note does not ask
    fleet.beat("a")
    found.append(is_any_due())
    fleet.sweep()
    found.append(is_any_due())
    fleet.clock.advance(136)
    found.append(is_any_due())

    assert [True, False, True, False, True] == found


def test_down_and_superseded_servers_are_never_due(fleet: Watched, engine: Engine) -> None:
    fleet.beat("down")
    fleet.go_on(150)
    fleet.beat("old", **DATABASE)
    fleet.go_on(145)
    late = due_at(engine, "old")
    fleet.beat("new", **DATABASE)
    fleet.sweep()

    assert late is not None
    assert ("down", "new") == (fleet.state("down"), fleet.record("old").superseded_by)
    assert (None, None) == (due_at(engine, "down"), due_at(engine, "old"))
    fleet.beat("down", "old")
    assert {microseconds(fleet.now)} == {due_at(engine, "down"), due_at(engine, "old")}


def test_shorter_interval_makes_a_server_late_sooner(fleet: Watched) -> None:
    fleet.beat("a", heartbeat_interval_seconds=86400.0)
    fleet.sweep()
    fleet.clock.advance(60)
    fleet.beat("a", heartbeat_interval_seconds=10.0)
    fleet.clock.advance(26)
    fleet.sweep()

    assert ("late", [("updated", "a"), ("late", "a")]) == (fleet.state("a"), fleet.told())


def test_longer_interval_makes_a_server_late_later(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.sweep()
    fleet.beat("a", heartbeat_interval_seconds=300.0)
    fleet.go_on(600)

    assert ("up", [("updated", "a")]) == (fleet.state("a"), fleet.told())


NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {})"
    " SELECT n FROM n) AS n",
    "postgresql": "generate_series(1, {}) AS n(n)",
}


def insert_many(engine: Engine, number: int, due: int) -> None:
    """Insert servers whose `due_at` is within two minutes after `due`, in microseconds."""
    numbers = NUMBERS[engine.dialect.name].format(number)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO servers (server_id, first_seen, last_seen, heartbeat_count, state,"
                " state_since, revision, due_at) SELECT 's' || n, 0, 0, 1, 'up', 0, 0,"
                f" {due} + (n % 120) * 1000000 FROM {numbers}"
            )
        )


def plan(engine: Engine, query: Any, **values: Any) -> str:
    """The query plan of a query, as the database prints it."""
    sql = str(query.compile(engine, compile_kwargs={"literal_binds": True}, **values))
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {sql}"))


@pytest.mark.parametrize("late_statistics", [False, True])
def test_query_for_due_servers_uses_the_index_when_none_is_due(
    fleet: Watched, engine: Engine, *, late_statistics: bool
) -> None:
    """Also when the statistics of the planner are older than an UPDATE of every `due_at`."""
    now = microseconds(fleet.now)
    insert_many(engine, 100_000, now - 130_000_000 if late_statistics else now + 1)
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")
        if late_statistics:
            connection.exec_driver_sql("UPDATE servers SET due_at = due_at + 131000000")

    found = plan(engine, IS_DUE.params(now=now))

    assert "ix_servers_due_at" in found
    assert "SCAN servers" not in found
    assert "Seq Scan" not in found


@pytest.mark.serial
def test_duration_of_an_empty_sweep_does_not_grow_with_the_fleet(
    fleet: Watched, engine: Engine
) -> None:
    few = shortest_sweep(fleet)
    insert_many(engine, 100_000, microseconds(fleet.now) + 1_000_000)
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")
    many = shortest_sweep(fleet)

    assert many < 5 * few + 0.002


def shortest_sweep(fleet: Watched) -> float:
    def once() -> float:
        begun = time.perf_counter()
        assert not fleet.store.watch.sweep(fleet.sweep_options())
        return time.perf_counter() - begun

    return min(once() for _ in range(30))


# fleet_silent: a large share of the fleet is late at once


@pytest.mark.parametrize(
    ("silent", "of", "is_told"),
    [
        (4, 4, False),
        (5, 5, True),
        (5, 10, True),
        (5, 11, False),
        (5, 100, False),
        (49, 100, False),
        (50, 100, True),
        (200, 200, True),
        (260, 300, True),
        (600, 700, True),
    ],
)
def test_fleet_silent_event_follows_when_half_the_fleet_and_five_servers_are_late(
    fleet: Watched, silent: int, of: int, *, is_told: bool
) -> None:
    ids = [f"s{n:03}" for n in range(of)]
    fleet.beat(*ids)
    fleet.go_on(100, *ids[silent:], every=50)
    fleet.clock.advance(36)
    fleet.sweep()

    assert silent == len(fleet.details(EventKind.LATE))
    assert [{"silent": silent, "of": of}] * is_told == fleet.details(EventKind.FLEET_SILENT)


def test_one_outage_has_one_fleet_silent_event(fleet: Watched) -> None:
    ids = [f"s{n}" for n in range(20)]
    for n in range(10):
        fleet.beat(*ids[: 20 - n])
        fleet.clock.advance(15)
    fleet.go_on(270, every=15)

    kinds = [kind for kind, _ in fleet.told()]
    assert (20, 1) == (kinds.count("late"), kinds.count("fleet_silent"))


def test_servers_late_within_five_minutes_make_a_fleet_silent_event(fleet: Watched) -> None:
    for n in range(5):
        fleet.beat(f"s{n}")
        fleet.go_on(74, "x", "y", every=37)
    fleet.go_on(75, "x", "y", every=25)

    assert [{"silent": 5, "of": 7}] == fleet.details(EventKind.FLEET_SILENT)


def test_servers_late_one_by_one_make_no_fleet_silent_event(fleet: Watched) -> None:
    for n in range(8):
        fleet.beat(f"s{n}")
        fleet.go_on(76, every=38)
    fleet.go_on(304, every=38)

    assert 8 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_few_servers_that_flap_make_no_fleet_silent_event(fleet: Watched) -> None:
    ids = ["a", "b", "c", "d"]
    for _ in range(3):
        fleet.beat(*ids, heartbeat_interval_seconds=10.0)
        fleet.go_on(30, every=5)

    assert 12 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_recovered_servers_do_not_count_as_silent(fleet: Watched) -> None:
    some, others = ["a", "b", "c"], ["d", "e", "f"]
    fleet.beat(*some, *others)
    fleet.go_on(145, *others)
    fleet.go_on(145, *some)

    assert 6 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_server_late_twice_counts_once_as_silent(fleet: Watched) -> None:
    few, many = ["a", "b", "c"], [f"s{n}" for n in range(7)]
    fleet.beat(*few, *many, heartbeat_interval_seconds=10.0)
    for _ in range(3):
        fleet.go_on(30, *many, every=5)
        fleet.beat(*few)
    fleet.go_on(30, *many[2:], every=5)

    assert [{"silent": 5, "of": 10}] == fleet.details(EventKind.FLEET_SILENT)


def test_second_outage_has_a_second_fleet_silent_event(fleet: Watched) -> None:
    ids = [f"s{n}" for n in range(6)]
    for _ in range(2):
        fleet.beat(*ids)
        fleet.go_on(145)
        fleet.go_on(300, *ids)

    assert [{"silent": 6, "of": 6}] * 2 == fleet.details(EventKind.FLEET_SILENT)


def test_second_outage_right_after_a_recovery_has_a_second_event(fleet: Watched) -> None:
    ids = [f"s{n}" for n in range(10)]
    fleet.beat(*ids, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*ids)
    fleet.go_on(30, every=5)

    assert [{"silent": 10, "of": 10}] * 2 == fleet.details(EventKind.FLEET_SILENT)


def test_minority_that_flaps_after_an_outage_makes_no_second_event(fleet: Watched) -> None:
    ids = [f"s{n:02}" for n in range(20)]
    fleet.beat(*ids, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*ids[:9])
    fleet.go_on(30, every=5)

    assert 29 == len(fleet.details(EventKind.LATE))
    assert [{"silent": 20, "of": 20}] == fleet.details(EventKind.FLEET_SILENT)


def test_large_outage_after_a_small_one_has_its_own_event(fleet: Watched) -> None:
    few, many = [f"few-{n}" for n in range(5)], [f"many-{n}" for n in range(100)]
    fleet.beat(*few, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*many, heartbeat_interval_seconds=10.0)
    fleet.go_on(120, every=5)

    assert [{"silent": 5, "of": 5}, {"silent": 100, "of": 100}] == fleet.details(
        EventKind.FLEET_SILENT
    )


def test_outage_that_long_intervals_tell_later_has_one_event(fleet: Watched) -> None:
    """All fell silent at once, and were found to be silent nine minutes apart."""
    fleet.beat(*(f"often-{n}" for n in range(10)), heartbeat_interval_seconds=60.0)
    fleet.beat(*(f"rarely-{n}" for n in range(10)), heartbeat_interval_seconds=300.0)
    fleet.go_on(900, every=15)

    assert 20 == len(fleet.details(EventKind.LATE))
    assert [{"silent": 10, "of": 20}] == fleet.details(EventKind.FLEET_SILENT)


def test_servers_still_down_do_not_count_in_a_second_outage(fleet: Watched) -> None:
    ids = [f"s{n:02}" for n in range(20)]
    fleet.beat(*ids, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*ids[:12])
    fleet.go_on(30, *ids[:6], every=5)

    assert [{"silent": 20, "of": 20}] == fleet.details(EventKind.FLEET_SILENT)[:1]
    assert [{"silent": 6, "of": 12}] == fleet.details(EventKind.FLEET_SILENT)[1:]


def test_sweep_that_another_store_finishes_makes_the_fleet_silent_event(
    fleet: Watched, other: SqlStore
) -> None:
    other_fleet = Watched(other)
    ids = [f"s{n:03}" for n in range(450)]
    fleet.beat(*ids)
    fleet.go_on(30, *ids)
    fleet.clock.advance(136)
    other_fleet.clock.now = fleet.now
    fleet.store.watch.sweep(fleet.sweep_options())
    before = fleet.details(EventKind.FLEET_SILENT)
    other_fleet.sweep()

    assert [] == before
    assert [{"silent": 450, "of": 450}] == fleet.details(EventKind.FLEET_SILENT)


def test_concurrent_sweeps_of_two_stores_make_one_fleet_silent_event(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    ids = [f"s{n:03}" for n in range(500)]
    fleet.beat(*ids)
    fleet.sweep()
    fleet.clock.advance(136)
    other_fleet.clock.now = fleet.now
    at_once(fleet.sweep, other_fleet.sweep, fleet.sweep, other_fleet.sweep)

    assert [{"silent": 500, "of": 500}] == fleet.details(EventKind.FLEET_SILENT)


@pytest.mark.parametrize(("share", "is_told"), [(0.7, True), (0.71, False), (1.0, False)])
def test_share_setting_decides_when_the_fleet_is_silent(
    fleet: Watched, share: float, *, is_told: bool
) -> None:
    fleet.rules = Rules(share=share)
    ids = [f"s{n}" for n in range(10)]
    fleet.beat(*ids)
    fleet.go_on(145, *ids[7:])

    assert is_told == bool(fleet.details(EventKind.FLEET_SILENT))


def test_servers_down_or_superseded_before_do_not_count_as_fleet(fleet: Watched) -> None:
    gone = [f"gone-{n}" for n in range(20)]
    for n, each in enumerate(gone):
        fleet.beat(each, **{**DATABASE, "database_uuid": f"u-{n % 10}"})
        fleet.go_on(1)
    fleet.go_on(900)
    ids = [f"s{n}" for n in range(10)]
    fleet.beat(*ids)
    fleet.go_on(145, *ids[5:])

    assert {"silent": 5, "of": 10} == fleet.details(EventKind.FLEET_SILENT)[-1]


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
    record = ServerRecord(
        server_id="a",
        first_seen=NOON,
        last_seen=last_seen,
        heartbeat_count=1,
        state=noticed,
        state_since=NOON,
    )

    state = state_at(record, now, heard_since=heard_since)

    silent = (now - max(last_seen, heard_since)).total_seconds()
    has_been_late = noticed is State.LATE and (now - NOON).total_seconds() > 120
    by_time = State.UP if silent <= 135 else State.LATE
    if silent > 255 and has_been_late:
        by_time = State.DOWN
    worse = max(by_time, noticed, key=[State.UP, State.LATE, State.DOWN].index)
    assert worse is state
