"""How servers are read: their JSON, and what need not be read from the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event as listened
from sqlalchemy.engine import Engine

import strategies
from contract import ServerRecord, State
from receiver.domain.queries import ALL_SERVERS, Node, Order, PageRequest
from receiver.service.fleet import Sighting
from receiver.store import SqlStore
from watched import Watched

MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.hypothesis
@given(strategies.records(), st.sampled_from(State), st.booleans())
def test_encoded_server_is_its_json(record: ServerRecord, state: State, has_node: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by its name
    nodes = [Node("acme_web-2", "web-2", MOMENT)] if has_node else []
    seen = Sighting(record=record, state=state, nodes=nodes)

    assert seen.to_json() == orjson.loads(orjson.dumps(seen.encode()))


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL statements that are executed meanwhile."""
    executed: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        executed.append(statement)

    listened.listen(Engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        listened.remove(Engine, "before_cursor_execute", note)


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
    with statements() as executed:
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
