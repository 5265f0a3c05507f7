"""A store that is closed leaves no connection open, whoever uses one at that moment."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.pool import Pool

from receiver.store import SqlStore


class Connections:
    """
    The connections of all pools: how many were opened and not closed.

    Attributes:
        on_return: Called once, when a connection is about to go back to its pool.
    """

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.on_return: Callable[[], None] | None = None

    def opened(self, connection: Any, _: object) -> None:
        self.open.add(id(connection))

    def closed(self, connection: Any, _: object) -> None:
        self.open.discard(id(connection))

    def returned(self, _: object, __: object) -> None:
        call, self.on_return = self.on_return, None
        if call is not None:
            call()


@pytest.fixture
def connections() -> Iterator[Connections]:
    seen = Connections()
    heard = {"connect": seen.opened, "close": seen.closed, "checkin": seen.returned}
    for name, call in heard.items():
        event.listen(Pool, name, call)
    yield seen
    for name, call in heard.items():
        event.remove(Pool, name, call)


def test_closing_a_store_closes_its_writing_and_reading_connections(
    database_url: str, connections: Connections
) -> None:
    store = SqlStore(make_url(database_url))
    store.servers.get("acme")
    assert connections.open

    store.close()
    assert set() == connections.open

    store.close()
    assert set() == connections.open


def test_connection_that_reads_while_the_store_is_closed_is_closed_after_its_use(
    database_url: str, connections: Connections
) -> None:
    store = SqlStore(make_url(database_url))
    with store.transactions.read():
        store.close()
        assert connections.open

    assert set() == connections.open


def test_connection_that_is_returned_while_the_store_is_closed_is_closed(
    database_url: str, connections: Connections
) -> None:
    store = SqlStore(make_url(database_url))
    connections.on_return = store.close

    store.servers.get("acme")

    assert set() == connections.open


def test_connection_that_is_opened_after_the_store_was_closed_is_closed_after_its_use(
    postgresql_url: str, connections: Connections
) -> None:
    store = SqlStore(make_url(postgresql_url))
    store.close()

    assert store.servers.get("acme") is None
    assert set() == connections.open
