"""Sweeps: states that time changes (late, down), rebuilds and twins, each recorded once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from contract import EventKind, ServerRecord, State, interval, liveness
from receiver.domain.instants import microseconds
from receiver.domain.liveness import due_after, state_at
from receiver.store import Rules, SqlStore
from receiver.store.silence import IS_DUE
from strategies import share_of_examples
from watched import Watched

TIMEOUT_SECONDS = 20
TWO_MINUTES = timedelta(seconds=135)  # and the tolerance
DATABASE = {"database_uuid": "u-1", "database": "acme", "odoo_stage": "production"}


def at_once(*jobs: Callable[[], object]) -> None:
    """Run the jobs in threads that start at the same time."""
    barrier = Barrier(len(jobs))

    def do(job: Callable[[], object]) -> None:
        barrier.wait(TIMEOUT_SECONDS)
        job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        assert len(jobs) == len([*threads.map(do, jobs)])


def due_at(engine: Engine, server_id: str) -> int | None:
    query = "SELECT due_at FROM servers WHERE server_id = '{}'"
    with engine.connect() as connection:
        due: int | None = connection.exec_driver_sql(query.format(server_id)).scalar_one()
    return due


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
    pieces = [fleet.store.servers.sweep(fleet.look()) for _ in range(3)]
    fleet.sweep()

    assert [True, True, False] == pieces
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
        fleet.clock.advance(136)
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
        assert not fleet.store.servers.sweep(fleet.look())
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
    fleet.store.servers.sweep(fleet.look())
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


# Rebuilds: a new server supersedes an old one of the same database


def test_new_server_of_the_same_database_supersedes_a_down_one(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.register("new", **DATABASE)
    fleet.sweep()

    assert ("new", None) == (
        fleet.record("old").superseded_by,
        fleet.record("new").superseded_by,
    )
    assert [("late", "old"), ("down", "old"), ("rebuilt", "old")] == fleet.told()
    assert [{"superseded_by": "new"}] == fleet.details(EventKind.REBUILT)
    assert ["new"] == fleet.ids()
    assert ["old"] == fleet.ids(state="superseded")
    assert [] == fleet.ids(state="down") + fleet.ids(state="late")
    assert {("new", "production"): 1} == dict(fleet.store.servers.tally())


def test_silence_of_a_rebuilt_server_is_no_alarm(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(600, "new")

    assert [("rebuilt", "old")] == fleet.told()
    assert (["new"], ["old"]) == (fleet.ids(), fleet.ids(state="superseded"))


def test_server_whose_silence_is_not_yet_recorded_is_superseded(fleet: Watched) -> None:
    """The sweep checks the new server before it has recorded the old one as late."""
    fleet.beat("old", **DATABASE)
    fleet.sweep()
    fleet.clock.advance(100)
    fleet.beat("old")
    fleet.clock.advance(125)
    fleet.beat("new", **DATABASE)
    fleet.sweep()
    fleet.go_on(600, "new")

    assert ([("rebuilt", "old")], ["new"]) == (fleet.told(), fleet.ids())


def test_events_of_a_successor_include_those_of_superseded_servers(fleet: Watched) -> None:
    fleet.beat("other")
    for each in ("first", "second", "third"):
        fleet.beat(each, **DATABASE)
        fleet.go_on(300, "other")

    assert ["other", "third"] == fleet.ids()
    assert "third" == fleet.record("second").superseded_by
    assert "second" == fleet.record("first").superseded_by
    of_third = [(kind, who) for kind, who in fleet.told(of="third", but=()) if kind != "down"]
    assert [
        ("registered", "first"),
        ("late", "first"),
        ("registered", "second"),
        ("rebuilt", "first"),
        ("late", "second"),
        ("registered", "third"),
        ("rebuilt", "second"),
        ("late", "third"),
    ] == of_third
    assert ["first", "second"] == sorted({str(who) for _, who in fleet.told(of="second", but=())})
    assert [("registered", "other")] == fleet.told(of="other", but=())


def test_short_overlap_is_a_rebuild_without_twins(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(600, "old")
    fleet.register("new", **DATABASE)
    fleet.go_on(110, "old", "new")
    fleet.go_on(600, "new")

    assert [("rebuilt", "old")] == fleet.told()
    assert None is fleet.record("new").twin_of


def test_heartbeat_of_a_superseded_server_makes_it_up_again(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.beat("new", **DATABASE)
    fleet.go_on(60, "new")
    fleet.beat("old")
    fleet.sweep()

    assert (["new", "old"], []) == (fleet.ids(), fleet.ids(state="superseded"))
    assert ("recovered", "old") == fleet.told()[-1]
    assert (None, State.UP) == (fleet.record("old").superseded_by, fleet.record("old").state)


def test_superseded_server_recovers_without_an_earlier_late_event(
    fleet: Watched,
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.sweep()
    fleet.go_on(600, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(180, "new")
    fleet.beat("old")
    fleet.go_on(60, "old", "new")

    assert [("rebuilt", "old"), ("recovered", "old")] == fleet.told()
    assert (fleet.now - timedelta(seconds=60)) == fleet.record("old").state_since
    assert None is fleet.record("old").twin_of


def test_each_repeated_rebuild_has_its_own_event(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(30, "old")
    fleet.beat("new", **DATABASE)
    for _ in range(2):
        fleet.go_on(200, "new", every=20)
        fleet.beat("old")
    fleet.go_on(200, "new", every=20)

    rebuilt, recovered = ("rebuilt", "old"), ("recovered", "old")
    assert [rebuilt, recovered, rebuilt, recovered, rebuilt] == fleet.told()


OTHERS: list[dict[str, str | None]] = [
    {"database_uuid": "another"},
    {"database": "copy"},
    {"odoo_stage": "staging"},
    {"odoo_stage": None},
    {"database_uuid": None},
]


def test_server_of_another_database_or_stage_does_not_supersede(fleet: Watched) -> None:
    old, new = ([f"{age}-{n}" for n in range(len(OTHERS))] for age in ("old", "new"))
    for n, each in enumerate(old):
        fleet.beat(each, **{**DATABASE, "database_uuid": f"u-{n}"})
    fleet.go_on(145)
    for n, (each, other) in enumerate(zip(new, OTHERS, strict=True)):
        fleet.beat(each, **{**DATABASE, "database_uuid": f"u-{n}", **other})
    fleet.go_on(145, *new)

    assert [] == fleet.details(EventKind.REBUILT)
    assert sorted([*old, *new]) == fleet.ids()
    assert old == fleet.ids(state="down")


def test_server_without_a_uuid_does_not_supersede(fleet: Watched) -> None:
    fleet.beat("old", database="acme")
    fleet.go_on(145)
    fleet.beat("new", database="acme")
    fleet.sweep()

    assert ["new", "old"] == fleet.ids()


def test_server_whose_stage_becomes_the_same_supersedes(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(145)
    fleet.beat("new", **{**DATABASE, "odoo_stage": "staging"})
    fleet.go_on(60, "new")
    fleet.beat("new", odoo_stage="production")
    fleet.sweep()

    assert "new" == fleet.record("old").superseded_by


@pytest.mark.parametrize("name", ["odoo_stage", "database"])
@pytest.mark.parametrize(("one", "other"), [(None, ""), ("", None)])
def test_absent_stage_or_database_equals_an_empty_one(
    fleet: Watched, name: str, one: str | None, other: str | None
) -> None:
    fleet.beat("old", **{**DATABASE, name: one})
    fleet.go_on(145)
    fleet.beat("new", **{**DATABASE, name: other})
    fleet.sweep()
    rebuilt = fleet.record("old").superseded_by
    fleet.go_on(300, "old", "new")

    assert ("new", "new") == (rebuilt, fleet.record("old").twin_of)


def test_empty_uuid_counts_as_no_uuid(fleet: Watched) -> None:
    fleet.beat("old", **{**DATABASE, "database_uuid": ""})
    fleet.go_on(145)
    fleet.beat("new", **{**DATABASE, "database_uuid": ""})
    fleet.sweep()

    assert ["new", "old"] == fleet.ids()


def test_newer_server_that_falls_silent_is_superseded_by_the_old_one(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(30, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(600, "old")

    assert ([("rebuilt", "new")], ["old"]) == (fleet.told(), fleet.ids())


def test_recovered_old_server_supersedes_its_silent_successor(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(60, "old", "new")
    fleet.go_on(600, "new")
    fleet.go_on(60, "old", "new")
    fleet.go_on(600, "old")

    assert [("rebuilt", "old"), ("recovered", "old"), ("rebuilt", "new")] == fleet.told()
    assert (["old"], ["new"]) == (fleet.ids(), fleet.ids(state="superseded"))


def test_recovered_old_server_supersedes_a_late_successor(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(600, "new")
    fleet.go_on(145)
    fleet.go_on(600, "old")

    assert [
        ("rebuilt", "old"),
        ("late", "new"),
        ("recovered", "old"),
        ("rebuilt", "new"),
    ] == fleet.told()
    assert (["old"], ["new"]) == (fleet.ids(), fleet.ids(state="superseded"))


def test_servers_that_only_register_are_no_twins(fleet: Watched) -> None:
    fleet.register("old", **DATABASE)
    fleet.clock.advance(1)
    for _ in range(10):
        fleet.register("old")
        fleet.register("new", **DATABASE)
        fleet.go_on(60)
    for _ in range(10):
        fleet.register("old")
        fleet.go_on(60)

    assert ([("rebuilt", "new")], ["old"]) == (fleet.told(), fleet.ids())


def test_silent_newer_server_that_never_sent_a_heartbeat_is_superseded(
    fleet: Watched,
) -> None:
    """A server that registers many times was started again and again, and never ran."""
    fleet.beat("old", **DATABASE)
    fleet.clock.advance(1)
    for _ in range(10):
        fleet.register("new", **DATABASE)
        fleet.go_on(60, "old")
    before = fleet.told()
    fleet.go_on(600, "old")

    assert [] == before
    assert ([("rebuilt", "new")], ["old"]) == (fleet.told(), fleet.ids())
    assert "old" == fleet.record("new").superseded_by


def test_silence_of_old_and_new_server_is_two_alarms(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(30, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(145)

    assert [("late", "new"), ("late", "old")] == sorted(fleet.told())


def test_silent_successor_is_an_alarm_and_the_old_server_stays_superseded(
    fleet: Watched,
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(145)
    fleet.beat("new", **DATABASE)
    fleet.go_on(300)

    assert [("late", "old"), ("rebuilt", "old"), ("late", "new"), ("down", "new")] == fleet.told()
    assert ["new"] == fleet.ids()


def test_newest_server_that_is_up_is_the_successor(fleet: Watched) -> None:
    for each in ("first", "second", "third"):
        fleet.beat(each, **DATABASE)
        fleet.clock.advance(1)
    fleet.clock.advance(100)
    fleet.beat("second", "third")
    fleet.sweep()
    fleet.go_on(45, "second", "third", every=15)

    assert "third" == fleet.record("first").superseded_by
    assert [("rebuilt", "first")] == fleet.told()


def test_concurrent_sweeps_of_two_stores_record_each_rebuild_once(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    for n in range(40):
        uuid = {**DATABASE, "database_uuid": f"u-{n:02}"}
        fleet.beat(f"old-{n:02}", **uuid)
    fleet.clock.advance(136)
    for n in range(40):
        uuid = {**DATABASE, "database_uuid": f"u-{n:02}"}
        other_fleet.clock.now = fleet.now
        other_fleet.beat(f"new-{n:02}", **uuid)
    at_once(fleet.sweep, other_fleet.sweep, fleet.sweep, other_fleet.sweep)

    assert [("rebuilt", f"old-{n:02}") for n in range(40)] == sorted(fleet.told())
    assert [f"new-{n:02}" for n in range(40)] == fleet.ids()


# Deletion of a successor


@pytest.mark.parametrize("new", ["new", "n" * 255])
def test_deleting_a_successor_brings_the_superseded_server_back_as_late(
    fleet: Watched, engine: Engine, new: str
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat(new, **DATABASE)
    fleet.go_on(150, new)
    fleet.store.servers.delete(new, fleet.now)
    states = [fleet.state("old")]
    due = due_at(engine, "old")
    fleet.sweep()
    fleet.go_on(300)

    assert (["late"], microseconds(fleet.now - timedelta(seconds=300))) == (states, due)
    assert [("rebuilt", "old"), ("deleted", new), ("late", "old"), ("down", "old")] == fleet.told()
    assert (["old"], []) == (fleet.ids(state="down"), fleet.ids(state="superseded"))
    assert {("down", "production"): 1} == dict(fleet.store.servers.tally())


def test_deleting_a_successor_brings_a_down_server_back_as_down(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.beat("new", **DATABASE)
    fleet.go_on(60, "new")
    fleet.store.servers.delete("new", fleet.now)
    fleet.go_on(300)

    assert [("rebuilt", "old"), ("deleted", "new"), ("down", "old")] == fleet.told()[2:]


def test_deleting_a_middle_successor_leaves_the_next_as_successor(
    fleet: Watched, engine: Engine
) -> None:
    for each in ("first", "second", "third"):
        fleet.beat(each, **DATABASE)
        fleet.go_on(150, each)
        fleet.go_on(150)
    fleet.go_on(300, "third")
    fleet.store.servers.delete("second", fleet.now)
    events = fleet.told()
    fleet.go_on(300, "third")

    assert [("deleted", "second"), ("rebuilt", "first")] == events[-2:]
    assert events == fleet.told()
    assert ("third", None) == (fleet.record("first").superseded_by, due_at(engine, "first"))
    assert (["third"], ["first"]) == (fleet.ids(), fleet.ids(state="superseded"))
    assert ("registered", "first") in fleet.told(of="third", but=())


def test_server_back_after_its_successor_is_deleted_recovers_in_both_stores(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    fleet.beat("old", **DATABASE)
    fleet.go_on(150)
    fleet.beat("new", **DATABASE)
    fleet.go_on(30, "new")
    other_fleet.clock.now = fleet.now
    other_fleet.beat("new")
    other_fleet.store.servers.delete("new", other_fleet.now)
    for each in (fleet, other_fleet):
        each.beat("old")
        each.sweep()

    assert [("deleted", "new"), ("late", "old"), ("recovered", "old")] == fleet.told()[-3:]
    assert (2 + 1, None) == (
        fleet.record("old").heartbeat_count,
        fleet.record("old").superseded_by,
    )


def test_concurrently_deleted_server_supersedes_none(store: SqlStore, other: SqlStore) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    pairs = [(f"old-{n:02}", f"new-{n:02}") for n in range(20)]
    for n, (old, _) in enumerate(pairs):
        fleet.beat(old, **{**DATABASE, "database_uuid": f"u-{n}"})
    fleet.go_on(145)
    for n, (_, new) in enumerate(pairs):
        fleet.beat(new, **{**DATABASE, "database_uuid": f"u-{n}"})
    at_once(
        fleet.sweep, lambda: [other_fleet.store.servers.delete(new, fleet.now) for _, new in pairs]
    )
    fleet.sweep()

    assert [old for old, _ in pairs] == fleet.ids()


# Twins


def test_two_servers_of_one_database_become_twins_once(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.go_on(600, "a")
    fleet.beat("b", **DATABASE)
    fleet.go_on(120, "a", "b")
    before = fleet.told()
    fleet.go_on(1200, "a", "b")

    assert [] == before
    assert ("b", "a") == (fleet.record("a").twin_of, fleet.record("b").twin_of)
    assert [("twin", "a"), ("twin", "b")] == sorted(fleet.told())
    assert ["a", "b"] == fleet.ids()


def test_copied_database_with_another_name_is_a_twin(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("b", **{**DATABASE, "database": "copy"})
    fleet.go_on(300, "a", "b")

    assert ("b", "a") == (fleet.record("a").twin_of, fleet.record("b").twin_of)


def test_twins_end_when_the_older_one_falls_silent(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.clock.advance(1)
    fleet.beat("b", **DATABASE)
    fleet.go_on(300, "a", "b")
    fleet.go_on(300, "b")

    assert (None, None) == (fleet.record("a").twin_of, fleet.record("b").twin_of)
    assert [("rebuilt", "a"), ("twin", "a"), ("twin", "b")] == sorted(fleet.told())


def test_twins_end_when_the_newer_one_falls_silent(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.clock.advance(1)
    fleet.beat("b", **DATABASE)
    fleet.go_on(300, "a", "b")
    fleet.clock.advance(100)
    fleet.beat("a")
    fleet.clock.advance(36)
    fleet.sweep()

    assert (None, None) == (fleet.record("a").twin_of, fleet.record("b").twin_of)
    assert [("late", "b"), ("twin", "a"), ("twin", "b")] == sorted(fleet.told())


def test_silence_of_the_newer_twin_stays_an_alarm(fleet: Watched) -> None:
    """The newer twin may have been another node of the same database."""
    fleet.beat("a", **DATABASE)
    fleet.clock.advance(1)
    fleet.beat("b", **DATABASE)
    fleet.go_on(300, "a", "b")
    fleet.go_on(1800, "a")

    assert [("twin", "a"), ("twin", "b"), ("late", "b"), ("down", "b")] == fleet.told()
    assert ["a", "b"] == fleet.ids()


def test_silent_newest_of_three_twins_is_an_alarm(fleet: Watched) -> None:
    for each in "abc":
        fleet.beat(each, **DATABASE)
        fleet.clock.advance(1)
    fleet.go_on(300, "a", "b", "c")
    fleet.go_on(600, "b")

    assert "b" == fleet.record("a").superseded_by
    assert (["b", "c"], "down") == (fleet.ids(), fleet.state("c"))


def test_twins_end_when_both_fall_silent(fleet: Watched) -> None:
    fleet.beat("a", "b", **DATABASE)
    fleet.go_on(300, "a", "b")
    fleet.go_on(300)

    assert (None, None) == (fleet.record("a").twin_of, fleet.record("b").twin_of)


def test_recovered_twin_is_a_twin_again_after_two_intervals(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.clock.advance(1)
    fleet.beat("b", **DATABASE)
    fleet.go_on(300, "a", "b")
    fleet.go_on(300, "a")
    fleet.beat("b")
    fleet.go_on(110, "a", "b")
    between = fleet.record("b").twin_of
    fleet.go_on(200, "a", "b")

    assert (None, "a") == (between, fleet.record("b").twin_of)
    assert 4 == len(fleet.details(EventKind.TWIN))


def test_deleted_twin_is_removed_from_the_others(fleet: Watched) -> None:
    fleet.beat("a", "b", "c", "d", **DATABASE)
    fleet.beat("d", database_uuid="u-2")
    fleet.go_on(300, "a", "b", "c", "d")
    twins = [fleet.record(each).twin_of for each in "abcd"]
    fleet.store.servers.delete("a", fleet.now)

    assert ["b", "a", "a", None] == twins
    assert [None, None, None] == [fleet.record(each).twin_of for each in "bcd"]
    assert ("deleted", "a") == fleet.told()[-1]
    fleet.go_on(145, "b", "c", "d")
    assert ["c", "b", None] == [fleet.record(each).twin_of for each in "bcd"]


def test_each_of_three_twins_names_one_that_is_up(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.clock.advance(1)
    fleet.beat("b", "c", **DATABASE)
    fleet.go_on(300, "a", "b", "c")
    all_three = [fleet.record(each).twin_of for each in "abc"]
    fleet.go_on(300, "b", "c")
    two = [fleet.record(each).twin_of for each in "abc"]
    fleet.go_on(300, "c")
    one = [fleet.record(each).twin_of for each in "abc"]

    assert ["b", "a", "a"] == all_three
    assert [None, "c", "b"] == two
    assert [None, None, None] == one
    assert 5 == len(fleet.details(EventKind.TWIN))


def test_servers_of_another_uuid_or_stage_are_no_twins(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("b", **{**DATABASE, "database_uuid": "u-2"})
    fleet.beat("c", **{**DATABASE, "odoo_stage": "dev"})
    fleet.go_on(600, "a", "b", "c")

    assert [] == fleet.told()


def test_twin_whose_stage_changes_is_no_twin_any_more(fleet: Watched) -> None:
    fleet.beat("a", "b", **DATABASE)
    fleet.go_on(300, "a", "b")
    before = [fleet.record(each).twin_of for each in "ab"]
    fleet.beat("a", odoo_stage="staging")
    fleet.sweep()

    assert ["b", "a"] == before
    assert [None, None] == [fleet.record(each).twin_of for each in "ab"]


def test_twins_need_two_of_the_longer_interval(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("b", **DATABASE, heartbeat_interval_seconds=300.0)
    fleet.go_on(600, "a", "b")
    before = fleet.told()
    fleet.go_on(700, "a", "b")

    assert ([], [("twin", "a"), ("twin", "b")]) == (before, sorted(fleet.told()))


def test_server_that_only_registers_is_no_twin(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    for _ in range(10):
        fleet.register("b", **DATABASE)
        fleet.go_on(60, "a")

    assert [] == fleet.told()


def test_concurrent_sweeps_of_two_stores_record_twins_once(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    pairs = [(f"a-{n}", f"b-{n}") for n in range(20)]
    for n, pair in enumerate(pairs):
        fleet.beat(*pair, **{**DATABASE, "database_uuid": f"u-{n}"})
    for _ in range(6):
        fleet.clock.advance(50)
        other_fleet.clock.now = fleet.now
        fleet.beat(*(one for one, _ in pairs))
        other_fleet.beat(*(two for _, two in pairs))
        at_once(fleet.sweep, other_fleet.sweep, fleet.sweep, other_fleet.sweep)

    assert sorted(("twin", each) for pair in pairs for each in pair) == sorted(fleet.told())


# Random histories


NAMES = ["a", "b", "c", "d"]
LONGEST = timedelta(seconds=300)
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 50.0, 134.0, 136.0, 250.0, 676.0]),
        st.lists(st.sampled_from(NAMES), unique=True, max_size=4),
        st.fixed_dictionaries(
            {"database_uuid": st.just("u")},
            optional={
                "database": st.sampled_from(["acme", "copy"]),
                "odoo_stage": st.sampled_from(["production", "dev"]),
                "heartbeat_interval_seconds": st.sampled_from([10.0, 60.0, 300.0]),
            },
        ),
        st.booleans(),
        st.none() | st.sampled_from(NAMES),
    ),
    min_size=1,
    max_size=14,
)


@settings(
    max_examples=share_of_examples(0.5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps)
@example(
    steps=[
        (0.0, ["a"], {"database_uuid": "u"}, False, None),
        (0.0, ["a", "b"], {"database_uuid": "u"}, True, None),
        (676.0, ["a", "b"], {"database_uuid": "u"}, True, None),
        (136.0, ["a"], {"database_uuid": "u"}, False, None),
    ]
)
@example(
    steps=[
        (0.0, ["a", "b"], {"database_uuid": "u"}, False, None),
        (136.0, ["a", "b"], {"database_uuid": "u"}, False, None),
        (0.0, ["a"], {"odoo_stage": "dev", "heartbeat_interval_seconds": 10.0}, False, None),
        (50.0, [], {}, False, None),
    ]
)
def test_random_fleets_keep_the_rules_of_states_rebuilds_and_twins(
    store: SqlStore, steps: list[tuple[float, list[str], dict[str, Any], bool, str | None]]
) -> None:
    fleet = Watched(store)
    for name in NAMES:
        store.servers.delete(name, fleet.now)
    for seconds, heard, said, only_register, deleted in steps:
        if deleted is not None:
            store.servers.delete(deleted, fleet.now)
            left = known(store).values()
            assert deleted not in [*(e.superseded_by for e in left), *(e.twin_of for e in left)]
        seen = store.events.last()
        fleet.clock.advance(seconds)
        if only_register:
            fleet.register(*heard, **said)
        else:
            fleet.beat(*heard, **said)
        before = known(store)
        fleet.sweep()

        now = known(store)
        for record in now.values():
            assert_rules(record, now, fleet.now)
        news = store.events.after(seen, limit=1000)
        seen = store.events.last()
        for each in (e.event for e in news):
            if each.kind in (EventKind.LATE, EventKind.DOWN):
                assert None is now[str(each.server_id)].superseded_by
            if each.kind is EventKind.REBUILT:
                old, successor = before[str(each.server_id)], now[each.details["superseded_by"]]
                assert not liveness(successor, fleet.now).stale
                assert age(old) < age(successor) or overlap(old, successor) <= 2 * LONGEST
        fleet.sweep()
        assert (now, seen) == (known(store), store.events.last())


def known(store: SqlStore) -> dict[str, ServerRecord]:
    found = (store.servers.get(name) for name in NAMES)
    return {record.server_id: record for record in found if record is not None}


def age(record: ServerRecord) -> tuple[datetime, str]:
    return record.first_seen, record.server_id


def overlap(one: ServerRecord, other: ServerRecord) -> timedelta:
    """For how long both servers were up at the same time; zero if one never sent a heartbeat."""
    if not (one.heartbeat_count and other.heartbeat_count):
        return timedelta(0)
    return min(one.last_seen, other.last_seen) - max(one.state_since, other.state_since)


def assert_rules(record: ServerRecord, all_of_them: dict[str, ServerRecord], now: datetime) -> None:
    """Assert the rules that hold for every server after a sweep."""
    if record.superseded_by is not None:
        line = [record]
        while line[-1].superseded_by is not None:
            line.append(all_of_them[line[-1].superseded_by])
            assert len(line) <= len(all_of_them)
        assert record.state.stale
        assert None is record.twin_of
        return
    by_time = liveness(record, now)
    if record.state is not by_time:
        assert (State.LATE, State.DOWN) == (record.state, by_time)
        assert now - record.state_since <= 2 * interval(record)
    if record.twin_of is not None:
        twin = all_of_them[record.twin_of]
        assert not record.state.stale
        assert not twin.state.stale
        assert None is twin.superseded_by
        assert record.heartbeat_count
        assert twin.heartbeat_count
    same = ("database_uuid", "database", "odoo_stage", "superseded_by")
    successors = [
        each
        for each in all_of_them.values()
        if (
            age(each) > age(record)
            or each.state_since > record.last_seen
            or not (each.heartbeat_count and record.heartbeat_count)
        )
        and all(getattr(each, name) == getattr(record, name) for name in same)
        and not each.state.stale
    ]
    assert not (record.state.stale and successors)


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


def test_uuid_that_sixty_servers_share_makes_no_rebuild_and_no_twin(fleet: Watched) -> None:
    ids = [f"copy-{n}" for n in range(60)]
    for each in ids:
        fleet.beat(each, **DATABASE)
        fleet.clock.advance(1)
    fleet.go_on(300, *ids[30:])

    records = [fleet.record(each) for each in ids]
    assert {(None, None)} == {(each.superseded_by, each.twin_of) for each in records}
    assert ["down"] * 30 + ["up"] * 30 == [each.state.value for each in records]
