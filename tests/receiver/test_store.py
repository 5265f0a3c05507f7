"""The store keeps what the contract makes of the messages."""

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url

from contract import Heartbeat, Registration, ServerRecord, merge, register
from receiver.batch import Incoming
from receiver.store import EVERYTHING, SqlStore
from receiver.tables import metadata, servers
from strategies import heartbeats, moments, registrations

MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


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


def test_a_commit_reaches_the_disk(database_url: str) -> None:
    store = SqlStore(make_url(database_url))

    with store.connection() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    store.close()

    assert ("wal", 2) == (mode, synchronous)


def test_columns_are_the_fields_of_a_record() -> None:
    assert [*(field.name for field in fields(ServerRecord)), "revision"] == servers.columns.keys()


def test_opening_a_store_again_keeps_what_is_in_it(database_url: str) -> None:
    first = SqlStore(make_url(database_url))
    first.apply(beats("a"))
    first.close()

    second = SqlStore(make_url(database_url))
    kept = second.get("a")
    second.close()

    assert (
        ServerRecord(server_id="a", first_seen=MOMENT, last_seen=MOMENT, heartbeat_count=1) == kept
    )


def test_two_stores_on_one_database_lose_and_double_nothing(database_url: str) -> None:
    one, other = SqlStore(make_url(database_url)), SqlStore(make_url(database_url))
    one.apply(beats("a", hostname="first"))
    other.apply(beats("a", "b", hostname="second"))
    one.apply(beats("a", "b"))
    one.delete("b")
    other.apply(beats("b"))
    one.apply(beats("b"))

    a, b = one.page(EVERYTHING, after=None, limit=2)
    one.close()
    other.close()
    assert ("second", 3) == (a.hostname, a.heartbeat_count)
    assert (None, 2) == (b.hostname, b.heartbeat_count)


def test_what_a_store_does_not_remember_it_reads_again(database_url: str) -> None:
    forgetful = SqlStore(make_url(database_url), remembered=1)
    ids = [f"s{n}" for n in range(5)]
    forgetful.apply(beats(*ids, hostname="host"))
    for _ in range(2):
        for server_id in ids:
            forgetful.apply(beats(server_id))

    kept = forgetful.page(EVERYTHING, after=None, limit=9)
    forgetful.close()
    assert [(s, "host", 3) for s in ids] == [
        (r.server_id, r.hostname, r.heartbeat_count) for r in kept
    ]


def beats(*ids: str, hostname: str | None = None) -> list[Incoming]:
    return [
        Incoming(message=Heartbeat(server_id=each, hostname=hostname), received_at=MOMENT)
        for each in ids
    ]


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
        incoming = [Incoming(message, moment) for message, moment in batch]
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
