"""How servers are read: their JSON, and what need not be read from the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event as listened

import strategies
from contract import ServerRecord, State, unstructure
from receiver.domain.databases.liveness import state_at
from receiver.domain.queries import ALL_SERVERS, Node, Order, PageRequest, SignsOfLife
from receiver.service.fleet import Fleet, Sighting
from receiver.store import SqlStore
from watched import Watched

MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.hypothesis
@given(strategies.records(), st.sampled_from(State), st.booleans())
def test_encoded_server_is_its_json(record: ServerRecord, state: State, has_node: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by its name
    nodes = [Node("acme_web-2", "web-2", MOMENT)] if has_node else []
    seen = Sighting(record=record, state=state, nodes=nodes)

    known = {**unstructure(record), "state": state.value, "stale": state.stale, "lapsed": False}
    listed = [{"server_id": "acme_web-2", "hostname": "web-2", "last_seen": "2026-01-31T12:00:00Z"}]
    expected = {**known, "nodes": listed if has_node else []}
    assert expected == orjson.loads(seen.encode())


@dataclass
class Listening:
    """Stands in for the watchdog: since when receivers have been running."""

    heard_since: datetime | None


@pytest.mark.hypothesis
@given(
    strategies.records(),
    st.sampled_from([State.NEW, State.UP]),
    st.timedeltas(timedelta(-30), timedelta(30)),
    st.none() | st.timedeltas(timedelta(0), timedelta(30)),
)
def test_server_is_heard_as_long_as_it_is_not_late(
    record: ServerRecord, state: State, silence: timedelta, listening: timedelta | None
) -> None:
    record = evolve(record, state=state)
    now = record.last_seen + silence
    heard_since = None if listening is None else now - listening
    watchdog: Any = Listening(heard_since)
    nothing: Any = None
    fleet = Fleet(nothing, nothing, nothing, clock=lambda: now, watchdog=watchdog)
    signs = [
        SignsOfLife(
            owner=None,
            last_seen=record.last_seen,
            interval_seconds=record.heartbeat_interval_seconds,
            has_nodes=has_nodes,
        )
        for has_nodes in (False, True)
    ]

    found = state_at(record, now, heard_since=heard_since or record.last_seen)

    assert [not found.stale, True] == fleet.are_heard(signs)


@contextmanager
def statements(store: SqlStore) -> Iterator[list[str]]:
    """The SQL statements that a store executes meanwhile."""
    executed: list[str] = []
    engine = store.transactions._engine  # noqa: SLF001 - to see what it sends

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        executed.append(statement)

    listened.listen(engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        listened.remove(engine, "before_cursor_execute", note)


def page(store: SqlStore) -> list[ServerRecord]:
    asked = PageRequest(limit=10, now=MOMENT)
    return store.servers.page(ALL_SERVERS, Order.SERVER_ID, asked).records


def one(store: SqlStore) -> list[ServerRecord | None]:
    return [store.servers.get("a"), store.servers.get("b")]


@pytest.mark.parametrize("read", [page, one])
def test_servers_that_a_receiver_has_written_itself_are_not_read_again(
    fleet: Watched, read: Callable[[SqlStore], list[ServerRecord]]
) -> None:
    fleet.beat("a", "b", version="1")
    with statements(fleet.store) as executed:
        found = read(fleet.store)

    assert ["1", "1"] == [each.version for each in found]
    assert not any("version" in each for each in executed)


@pytest.mark.parametrize("read", [page, one])
def test_servers_that_another_receiver_has_written_are_read(
    fleet: Watched, other: SqlStore, read: Callable[[SqlStore], list[ServerRecord]]
) -> None:
    fleet.beat("a", "b", version="1")
    Watched(other).beat("b", version="2")

    assert ["1", "2"] == [each.version for each in read(fleet.store)]
    assert ["1", "2"] == [each.version for each in read(other)]


def test_server_that_is_deleted_is_not_found(fleet: Watched, other: SqlStore) -> None:
    fleet.beat("a", "b")
    other.servers.delete("a", fleet.now)

    assert ["b"] == [each.server_id for each in page(fleet.store)]
    assert None is fleet.store.servers.get("a")
