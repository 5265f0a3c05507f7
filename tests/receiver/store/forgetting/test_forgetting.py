"""Forgetting servers in bulk: which go, which stay, and what the others know of them then."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, make_url, text, update

from contract import FAREWELL, ServerRecord, State
from odoos import DATABASE
from receiver.domain.forgetting import Forgettable, Stage, to_forget, without
from receiver.domain.queries import Filter
from receiver.domain.rows import Row
from receiver.store import SqlStore
from receiver.store.forgetting import batches, chosen_after
from receiver.store.tables import watches
from server_records import server_record
from servers import PATIENCE_SECONDS, wait_until
from watched import Watched, at_once, have_patience

ALL = Forgettable()


def forget(
    fleet: Watched, asked: Forgettable = ALL, *, limit: int = 100, is_dry_run: bool = False
) -> list[str]:
    """Forget all servers that may go; returns their ids in the order of the transactions."""
    gone, stage = fleet.store.servers.forget(asked, fleet.now, limit=limit, is_dry_run=is_dry_run)
    while stage is not None:
        ids, stage = fleet.store.servers.forget(
            asked, fleet.now, stage=stage, limit=limit, is_dry_run=is_dry_run
        )
        gone += ids
    return gone


def only(**wanted: Any) -> Forgettable:
    return Forgettable(matching=Filter(**wanted))


def everybody(fleet: Watched) -> list[str]:
    """The ids of all servers, whatever their state is."""
    return sorted(
        fleet.ids()
        + fleet.ids(state="superseded")
        + fleet.ids(state="left")
        + fleet.ids(state="node")
    )


def index_rows(engine: Engine) -> set[str]:
    """The servers that are in the tables by which servers are found."""
    query = "SELECT server_id FROM facets UNION SELECT server_id FROM search_texts"
    with engine.connect() as connection:
        return {*connection.exec_driver_sql(query).scalars()}


def line(fleet: Watched) -> None:
    """Make `a` and `b` nodes of one database, which `a` leads."""
    for n in range(20):
        fleet.beat("ab"[n % 2], sequence=n, **DATABASE)
        fleet.go_on(30)
    assert ("a", 1) == (fleet.record("b").node_of, fleet.record("a").node_count)


# Which servers go


def test_servers_that_are_down_left_or_superseded_are_forgotten(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("down", "other-down", capabilities=("search",))
    fleet.beat("old", **DATABASE)
    fleet.beat("bye")
    fleet.beat("bye", status=FAREWELL)
    fleet.go_on(300)
    fleet.beat("new", **DATABASE)
    fleet.beat("late")
    fleet.go_on(150, "new")
    fleet.register("just registered")
    states = {each: fleet.state(each) for each in ("down", "late", "new", "just registered")}

    gone = forget(fleet)

    assert {"down": "down", "late": "late", "new": "up", "just registered": "new"} == states
    assert ["old", "bye", "down", "other-down"] == gone
    assert ["just registered", "late", "new"] == everybody(fleet)
    assert {"just registered", "late", "new"} == index_rows(engine)
    assert [("deleted", each) for each in gone] == fleet.told()[-4:]


def test_only_servers_that_match_the_filter_are_forgotten(fleet: Watched) -> None:
    fleet.beat("a", odoo_stage="dev", hostname="one")
    fleet.beat("b", odoo_stage="dev", hostname="two")
    fleet.beat("c")
    fleet.beat("d", status=FAREWELL)
    fleet.go_on(300)

    assert ["a"] == forget(fleet, only(stage="dev", words="ONE"))
    assert ["d"] == forget(fleet, only(state="left"))
    assert ["c"] == forget(fleet, only(stage="", state="down"))
    assert ["b"] == everybody(fleet)


def test_only_servers_that_are_silent_for_long_are_forgotten(fleet: Watched) -> None:
    fleet.beat("old", "odd")
    fleet.go_on(3600)
    fleet.beat("young")
    fleet.go_on(600)

    an_hour_ago = fleet.now - timedelta(hours=1)
    asked = Forgettable(heard_before=an_hour_ago)
    assert [] == forget(
        fleet, Forgettable(heard_before=an_hour_ago, same_since=an_hour_ago - timedelta(minutes=9))
    )
    assert ["odd", "old"] == forget(fleet, asked)
    assert ["young"] == everybody(fleet)


def test_dry_run_says_what_would_be_forgotten_and_forgets_nothing(fleet: Watched) -> None:
    ids = [f"s{n}" for n in range(7)]
    fleet.beat(*ids)
    fleet.go_on(300)
    told = fleet.told()

    assert ids == forget(fleet, limit=3, is_dry_run=True)
    assert (ids, told) == (everybody(fleet), fleet.told())
    assert ids == forget(fleet, limit=3)
    assert [] == everybody(fleet)


def test_forgotten_server_is_created_anew_by_its_next_message(fleet: Watched) -> None:
    fleet.beat("a", hostname="web")
    fleet.go_on(300)
    forget(fleet)
    fleet.beat("a")

    assert ("up", 1, None) == (
        fleet.state("a"),
        fleet.record("a").heartbeat_count,
        fleet.record("a").hostname,
    )


def test_second_store_counts_a_forgotten_server_anew(fleet: Watched, other: SqlStore) -> None:
    fleet.beat("a")
    fleet.go_on(300)
    elsewhere = Watched(other)
    elsewhere.clock.now = fleet.now
    assert ["a"] == forget(elsewhere)
    fleet.beat("a")

    assert 1 == fleet.record("a").heartbeat_count


# Databases with several servers


def test_leader_is_forgotten_with_its_nodes(fleet: Watched) -> None:
    line(fleet)
    fleet.go_on(600)
    assert [] == forget(fleet, only(state="superseded"))

    assert ["a", "b"] == forget(fleet, only(state="down"))
    assert [] == everybody(fleet)


def test_leader_whose_node_is_heard_is_kept_also_before_the_sweep_records_it(
    fleet: Watched,
) -> None:
    line(fleet)
    fleet.go_on(600)
    fleet.beat("b")
    assert "down" == fleet.state("a")

    assert [] == forget(fleet)
    fleet.sweep()
    assert ("up", "a") == (fleet.state("a"), fleet.record("b").node_of)


def test_leader_whose_node_was_heard_recently_is_kept(fleet: Watched) -> None:
    line(fleet)
    heard_last = fleet.record("b").last_seen
    assert heard_last > fleet.record("a").last_seen
    fleet.go_on(600)

    assert [] == forget(fleet, Forgettable(heard_before=heard_last))
    assert ["a", "b"] == forget(fleet, Forgettable(heard_before=fleet.now))


def test_database_is_forgotten_with_all_that_it_superseded(fleet: Watched) -> None:
    """Alone, the newest would bring the one before it back, as an alarm."""
    for each in ("first", "second", "third"):
        fleet.beat(each, version=each, **DATABASE)
        fleet.go_on(300)
    told = len(fleet.told())

    assert ["first", "second", "third"] == forget(fleet, only(version="third"))
    fleet.go_on(600)
    assert [("deleted", each) for each in ("first", "second", "third")] == fleet.told()[told:]
    assert [] == everybody(fleet)


def test_server_whose_successor_is_forgotten_has_the_next_one(fleet: Watched) -> None:
    for each in ("first", "second", "third", "fourth"):
        fleet.beat(each, version=each, **DATABASE)
        fleet.go_on(300)
    fleet.beat("fourth")

    some = only(words="d", state="superseded", database="acme")
    fleet.store.servers.forget(some, fleet.now, limit=1)
    assert "third" == fleet.record("first").superseded_by
    assert ["third"] == forget(fleet, only(words="d", state="superseded"))
    assert "fourth" == fleet.record("first").superseded_by
    assert (["first"], ["fourth"]) == (fleet.ids(state="superseded"), fleet.ids())
    assert ["first"] == fleet.ids(state="superseded")


def test_many_superseded_servers_are_forgotten_before_the_one_that_follows_them(
    fleet: Watched,
) -> None:
    for n in range(8):
        fleet.beat(f"s{n}", **DATABASE)
        fleet.go_on(300)
    wanted = only(state="down")
    assert 8 == len(forget(fleet, wanted, limit=3, is_dry_run=True))
    sizes, left = [], []
    stage: Stage | None = Stage("down")
    while stage is not None:
        gone, stage = fleet.store.servers.forget(wanted, fleet.now, stage=stage, limit=3)
        sizes.append(len(gone))
        left += fleet.ids()  # a server whose successor is gone would be listed

    assert ([3, 3, 2], ["s7", "s7"]) == (sizes, left)
    assert [] == everybody(fleet)


def test_forgotten_twin_is_removed_from_the_others(fleet: Watched) -> None:
    for n in range(10):
        fleet.beat("a", database="acme", database_uuid="u-1", sequence=n)
        fleet.beat("b", database="copy", database_uuid="u-1", sequence=n)
        fleet.go_on(60)
    assert "b" == fleet.record("a").twin_of
    for _ in range(10):
        fleet.beat("a")
        fleet.go_on(60)
    assert ("down", "b") == (fleet.state("b"), fleet.record("a").twin_of)

    assert ["b"] == forget(fleet)
    assert (["a"], None) == (everybody(fleet), fleet.record("a").twin_of)


# While others write


def test_server_that_is_heard_between_choice_and_deletion_stays(
    postgresql_url: str, postgresql: Watched
) -> None:
    """Another receiver hears it in a transaction that ends after the choice was made."""
    fleet = postgresql
    fleet.beat("a", "b")
    fleet.go_on(300)
    with (
        psycopg.connect(postgresql_url.replace("+psycopg", "")) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        other.execute("UPDATE liveness SET revision = revision + 1 WHERE server_id = 'a'")
        other.execute("UPDATE servers SET state = 'up', rank = 5 WHERE server_id = 'a'")
        forgetting = thread.submit(forget, fleet)
        wait_until(lambda: is_waiting_for_a_lock(fleet.store))
        other.commit()
        gone = forgetting.result(PATIENCE_SECONDS)

    assert (["b"], ["a"], "up") == (gone, fleet.ids(), fleet.state("a"))


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Watched]:
    store = SqlStore(make_url(postgresql_url))
    have_patience(store)
    yield Watched(store)
    store.close()


def is_waiting_for_a_lock(store: SqlStore) -> bool:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with store.transactions.read() as connection:
        return bool(connection.execute(query).scalar_one())


def test_two_stores_that_forget_at_once_forget_each_server_once(
    fleet: Watched, other: SqlStore
) -> None:
    elsewhere = Watched(other)
    ids = [f"s{n:02}" for n in range(60)]
    fleet.beat(*ids)
    fleet.go_on(300)
    elsewhere.clock.now = fleet.now
    found: list[str] = []

    at_once(
        lambda: found.extend(forget(fleet, limit=7)),
        lambda: found.extend(forget(elsewhere, limit=5)),
        lambda: elsewhere.beat(*ids[::-4]),
    )

    deleted = [str(who) for kind, who in fleet.told() if kind == "deleted"]
    heard = {*ids[::-4]}
    assert sorted(found) == sorted(deleted)
    assert len(deleted) == len({*deleted})
    assert {*ids} - heard <= {*deleted}
    assert sorted(heard) == everybody(fleet)
    assert {"up"} == {fleet.state(each) for each in heard}


def test_servers_are_not_forgotten_in_a_database_that_was_just_restored(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("a")
    fleet.go_on(300)
    fleet.store.watch.note_presence(fleet.now, absent=timedelta(seconds=5))
    with engine.begin() as connection:
        connection.execute(update(watches).values(seen_at=fleet.now - timedelta(hours=1)))

    assert [] == forget(fleet)
    fleet.store.watch.note_presence(fleet.now, absent=timedelta(seconds=5))
    assert ["a"] == forget(fleet)


# What it costs


@pytest.mark.parametrize("state", ["down", "left", "superseded"])
def test_query_for_servers_to_forget_uses_the_index_of_states(
    store: SqlStore, engine: Engine, state: str
) -> None:
    asked = Forgettable(heard_before=NOON, same_since=NOON)

    found = plan(engine, chosen_after(asked, Stage(state, "s1"), 200))

    assert not re.search("SCAN|TEMP B-TREE|Seq Scan|Sort", found)
    assert re.search(r"\(rank=\? AND server_id>\?\)|Index Only Scan|ix_servers_rank", found)


def test_queries_for_what_belongs_to_servers_use_indexes(store: SqlStore, engine: Engine) -> None:
    queries = (
        batches._NODES,  # noqa: SLF001 - its plan is what is tested
        batches._OLDER,  # noqa: SLF001 - its plan is what is tested
        batches._older(9),  # noqa: SLF001 - its plan is what is tested
        batches._TWINS,  # noqa: SLF001 - its plan is what is tested
    )

    for query in queries:
        found = plan(engine, query, ids=["a", "b"])
        assert not re.search("SCAN (servers|older)|Seq Scan on servers", found)


def plan(engine: Engine, query: Any, **parameters: Any) -> str:
    """The query plan of a query, as the database prints it."""
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # or it would scan a table this small
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")

        @event.listens_for(connection, "before_cursor_execute", retval=True)
        def explained(_: object, __: object, sql: str, values: Any, *___: object) -> Any:
            return f"{explain} {sql}", values

        rows = connection.execute(query, parameters).cursor.fetchall()
    return "\n".join(str(row[-1]) for row in rows)


# The rule by itself

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
EARLY, LATELY = NOON - timedelta(days=40), NOON - timedelta(days=1)


def row(server_id: str, state: State = State.DOWN, **fields: Any) -> Row:
    record = server_record(server_id, at=EARLY, heartbeat_count=1, state=state, **fields)
    return Row(record, 1, None)


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Row]:
    """Servers of which some supersede others, or are nodes of others, and some are heard."""
    rows: dict[str, Row] = {}
    for n in range(draw(st.integers(1, 9))):
        named = st.none() | st.sampled_from([*rows]) if rows else st.none()
        by, leader = draw(named), draw(named)
        is_led = by is None and leader is not None and stands(rows[leader].record)
        rows[f"s{n}"] = row(
            f"s{n}",
            draw(st.sampled_from(State)),
            last_seen=draw(st.sampled_from([EARLY, LATELY])),
            superseded_by=by,
            node_of=leader if is_led else None,
            twin_of=draw(named),
        )
    return rows


def stands(record: ServerRecord) -> bool:
    return record.superseded_by is None and record.node_of is None


@given(fleets(), st.data())
def test_servers_kept_after_forgetting_refer_to_no_forgotten_server(
    rows: dict[str, Row], data: st.DataObject
) -> None:
    """None names one that is gone, none is listed that was not, and none that is heard is gone."""
    chosen = [each for each, it in rows.items() if it.record.node_of is None]
    chosen = data.draw(st.lists(st.sampled_from(chosen), unique=True))
    known = data.draw(st.sets(st.sampled_from([*rows]))) | {*chosen}
    known |= {each for each, it in rows.items() if it.record.node_of in known}
    asked = Forgettable(heard_before=data.draw(st.none() | st.just(NOON - timedelta(days=30))))

    gone = to_forget(rows, chosen, asked, known=known)
    left = {
        each: without(it, gone, rows, NOON).record for each, it in rows.items() if each not in gone
    }

    assert gone <= known
    for each in gone:
        before = rows[each].record
        assert before.superseded_by is not None or before.state in {State.DOWN, State.LEFT}
        assert asked.heard_before is None or before.last_seen < asked.heard_before
        assert before.node_of is None or before.node_of in gone
    for each, record in left.items():
        assert not {record.superseded_by, record.twin_of, record.node_of} & gone
        assert stands(rows[each].record) == stands(record)


def test_forgetting_ends_for_servers_that_supersede_each_other_in_a_circle() -> None:
    rows = {
        "a": row("a", superseded_by="b"),
        "b": row("b", superseded_by="a"),
        "c": row("c", superseded_by="a"),
    }
    gone = to_forget(rows, ["a", "b"], ALL, known={"a", "b"})
    left = without(rows["c"], gone, rows, NOON)

    assert {"a", "b"} == gone
    assert (None, True) == (left.record.superseded_by, left.due_at is not None)
