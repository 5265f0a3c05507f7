"""Which servers the sweep looks at, and how soon it finds them."""

import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, text

from contract import FAREWELL
from odoos import DATABASE
from receiver.domain.databases.liveness import due_after
from receiver.domain.instants import microseconds
from receiver.store import SqlStore
from receiver.store.silence import IS_DUE
from watched import Watched, at_once, due_at

TWO_MINUTES = timedelta(seconds=135)  # and the tolerance


def test_sweep_moves_due_at_and_a_heartbeat_does_not(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a")
    first = due_at(engine, "a")
    fleet.clock.advance(100)
    fleet.beat("a")
    lazy = due_at(engine, "a")
    fleet.clock.advance(50)
    fleet.sweep()

    heard = fleet.record("a").last_seen
    assert first == lazy == due_after(fleet.heard_since, TWO_MINUTES)
    assert due_after(heard, TWO_MINUTES) == due_at(engine, "a")
    assert [] == fleet.told()


def test_note_that_a_receiver_runs_tells_whether_any_server_is_due(fleet: Watched) -> None:
    def is_any_due() -> bool:
        return fleet.store.watch.note_presence(fleet.now, absent=timedelta.max).is_any_due

    found = [is_any_due(), is_any_due()]  # the first note does not ask
    fleet.beat("a", "b", **DATABASE)
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
    assert due_after(fleet.now, TWO_MINUTES) == due_at(engine, "down")
    assert microseconds(fleet.now) == due_at(engine, "old")


def test_new_server_is_checked_at_once_only_if_others_have_its_database(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("alone", database_uuid="other")
    fleet.beat("without")
    fleet.beat("left", status=FAREWELL)
    fleet.beat("first", **DATABASE)
    first = due_at(engine, "first")
    fleet.beat("second", **DATABASE)
    fleet.beat("third", "fourth", database_uuid="third")

    later = due_after(fleet.now, TWO_MINUTES)
    assert [later] * 3 == [due_at(engine, "alone"), due_at(engine, "without"), first]
    assert None is due_at(engine, "left")
    related = {due_at(engine, each) for each in ("second", "third", "fourth")}
    assert {microseconds(fleet.now)} == related


def test_server_that_is_back_is_checked_at_once_if_others_have_its_database(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("alone", database_uuid="other")
    fleet.beat("one", database="one", database_uuid="u")
    fleet.beat("two", database="two", database_uuid="u")
    fleet.go_on(400)
    fleet.beat("alone", "one", "two")

    assert due_after(fleet.now, TWO_MINUTES) == due_at(engine, "alone")
    assert {microseconds(fleet.now)} == {due_at(engine, "one"), due_at(engine, "two")}


def test_of_servers_of_one_database_that_two_stores_add_at_once_one_is_checked(
    store: SqlStore, other: SqlStore, engine: Engine
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)

    def add(to: Watched, server_id: str, uuid: str) -> None:
        to.beat(server_id, database_uuid=uuid)

    for n in range(20):
        uuid = f"u{n}"
        at_once(partial(add, fleet, f"a{n}", uuid), partial(add, other_fleet, f"b{n}", uuid))

    now = microseconds(fleet.now)
    for n in range(20):
        assert now in {due_at(engine, f"a{n}"), due_at(engine, f"b{n}")}


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
                "INSERT INTO servers (server_id, first_seen, state, state_since)"
                f" SELECT 's' || n, 0, 'up', 0 FROM {numbers}"
            )
        )
        connection.execute(
            text(
                "INSERT INTO liveness (server_id, last_seen, heartbeat_count, revision, due_at)"
                f" SELECT 's' || n, 0, 1, 0, {due} + (n % 120) * 1000000 FROM {numbers}"
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
            connection.exec_driver_sql("UPDATE liveness SET due_at = due_at + 131000000")

    found = plan(engine, IS_DUE.params(now=now))

    assert "ix_liveness_due_at" in found
    assert "SCAN liveness" not in found
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
