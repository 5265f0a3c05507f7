"""The store keeps what the contract makes of the messages."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url

from contract import Heartbeat, Registration, ServerRecord, merge, register
from receiver.store import Incoming, SqlStore
from receiver.tables import metadata, servers
from strategies import heartbeats, moments, registrations


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    folder: Path = tmp_path_factory.mktemp("store")
    store = SqlStore(make_url(f"sqlite:///{folder / 'fleet.db'}"))
    yield store
    store.close()


def test_migrations_make_the_tables_that_the_code_expects(database_url: str) -> None:
    SqlStore(make_url(database_url)).close()

    engine = create_engine(database_url)
    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert [] == difference


def test_columns_are_the_fields_of_a_record() -> None:
    assert [field.name for field in fields(ServerRecord)] == list(servers.columns.keys())


def test_opening_a_store_again_keeps_what_is_in_it(database_url: str) -> None:
    first = SqlStore(make_url(database_url))
    moment = datetime.fromisoformat("2026-01-31T12:00:00+00:00")
    first.apply([Incoming(message=Heartbeat(server_id="a"), received_at=moment)])
    first.close()

    second = SqlStore(make_url(database_url))
    kept = second.get("a")
    second.close()

    assert (
        ServerRecord(server_id="a", first_seen=moment, last_seen=moment, heartbeat_count=1) == kept
    )


@given(
    batches=st.lists(
        st.lists(st.tuples(heartbeats() | registrations(), moments()), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_store_keeps_exactly_what_merging_makes(
    store: SqlStore, batches: list[list[tuple[Heartbeat | Registration, datetime]]]
) -> None:
    expected = None
    for batch in batches:
        incoming = [Incoming(message=message, received_at=moment) for message, moment in batch]
        for each in incoming:
            expected = merged(expected, each)
        last = store.apply(incoming)[-1].record
    kept = store.get(last.server_id)
    store.delete(last.server_id)

    assert expected == last == kept


def merged(before: ServerRecord | None, incoming: Incoming) -> ServerRecord:
    if isinstance(incoming.message, Registration):
        return register(before, incoming.message, received_at=incoming.received_at)
    return merge(before, incoming.message, received_at=incoming.received_at)
