"""The store keeps what the contract makes of the messages, on each kind of database."""

import random
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from attrs import fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import IntegrityError

import receiver
from contract import Heartbeat, Registration, ServerRecord, merge, register, structure
from receiver.batch import Incoming
from receiver.store import EVERYTHING, Filter, SqlStore
from receiver.tables import metadata, servers
from strategies import heartbeats, moments, registrations

MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

NO_MORE_SERVERS = {
    "sqlite": "CREATE TRIGGER no BEFORE INSERT ON servers BEGIN SELECT RAISE(ABORT, 'no'); END",
    "postgresql": """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER no BEFORE INSERT ON servers FOR EACH ROW EXECUTE FUNCTION no()
    """,
}


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    store = SqlStore(make_url(database_url))
    yield store
    store.close()


@pytest.fixture
def other(database_url: str, store: SqlStore) -> Iterator[SqlStore]:
    """A second receiver's store in the same database."""
    other = SqlStore(make_url(database_url))
    yield other
    other.close()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The database, past the store."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def beats(*ids: str, hostname: str | None = None) -> list[Incoming]:
    return [
        Incoming(message=Heartbeat(server_id=each, hostname=hostname), received_at=MOMENT)
        for each in ids
    ]


def counts(store: SqlStore) -> dict[str, int]:
    kept = store.page(EVERYTHING, after=None, limit=1000)
    return {record.server_id: record.heartbeat_count for record in kept}


# Tables


def migrate(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(receiver.__path__[0]) / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def test_migrations_make_the_tables_that_the_code_expects(store: SqlStore, engine: Engine) -> None:
    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)

    assert [] == difference


def test_columns_are_the_fields_of_a_record() -> None:
    assert [*(field.name for field in fields(ServerRecord)), "revision"] == servers.columns.keys()


def test_migration_finds_the_capabilities_of_the_servers_that_are_there(
    database_url: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        migrate(connection, "0001")
        connection.execute(
            text(
                "INSERT INTO servers"
                " (server_id, capabilities, first_seen, last_seen, heartbeat_count, revision)"
                " VALUES (:id, :names, 0, 0, 1, 0)"
            ),
            [
                {"id": "a", "names": '["search", "create", "search"]'},
                {"id": "b", "names": '["search"]'},
                {"id": "none", "names": "[]"},
                {"id": "unknown", "names": None},
            ],
        )

    store = SqlStore(make_url(database_url))
    found = {
        name: [r.server_id for r in store.page(Filter(capability=name), after=None, limit=9)]
        for name in ("search", "create", "unlink")
    }
    store.close()

    assert {"search": ["a", "b"], "create": ["a"], "unlink": []} == found


def test_a_commit_reaches_the_disk_of_sqlite(sqlite_url: str) -> None:
    store = SqlStore(make_url(sqlite_url))

    with store.connection() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    store.close()

    assert ("wal", 2) == (mode, synchronous)


def test_a_commit_reaches_the_disk_of_postgresql(postgresql_url: str) -> None:
    store = SqlStore(make_url(postgresql_url))

    with store.connection() as connection:
        synchronous = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
    store.close()

    assert "on" == synchronous


def test_postgresql_sorts_server_ids_by_code_point_in_every_locale(postgresql_url: str) -> None:
    SqlStore(make_url(postgresql_url)).close()
    engine = create_engine(postgresql_url)

    with engine.connect() as connection:
        collations = connection.exec_driver_sql(
            "SELECT table_name, collation_name FROM information_schema.columns"
            " WHERE column_name = 'server_id' ORDER BY table_name"
        ).all()
    engine.dispose()

    assert [("facets", "C"), ("servers", "C")] == collations


# What is kept


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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


@pytest.mark.parametrize("length", [3_000, 60_000])
@pytest.mark.parametrize("name", ["database", "odoo_stage", "version", "odoo_version", "hostname"])
def test_text_of_any_length_is_kept_and_found(store: SqlStore, name: str, length: int) -> None:
    long = long_text(length)
    beat = structure({"server_id": "a", name: long}, Heartbeat)

    store.apply([Incoming(beat, MOMENT)])

    found = store.page(Filter(database=beat.database, stage=beat.odoo_stage), after=None, limit=9)
    assert [long] == [getattr(record, name) for record in found]


@pytest.mark.parametrize("length", [3_000, 60_000])
def test_capability_of_any_length_is_kept_and_found(store: SqlStore, length: int) -> None:
    long = long_text(length)

    store.apply([Incoming(Heartbeat(server_id="a", capabilities=(long, "short")), MOMENT)])

    assert ["a"] == [
        record.server_id for record in store.page(Filter(capability=long), after=None, limit=9)
    ]


def long_text(length: int) -> str:
    """Such as nothing makes shorter."""
    return random.Random(length).randbytes(length // 2).hex()


def test_a_batch_may_concern_a_thousand_servers(store: SqlStore) -> None:
    ids = [f"s{n:03}" for n in range(1000)]

    store.apply(beats(*ids, *ids, hostname="host"))
    store.apply(beats(*reversed(ids)))

    assert dict.fromkeys(ids, 3) == counts(store)


# What a store remembers


def test_two_stores_on_one_database_lose_and_double_nothing(
    store: SqlStore, other: SqlStore
) -> None:
    store.apply(beats("a", hostname="first"))
    other.apply(beats("a", "b", hostname="second"))
    store.apply(beats("a", "b"))
    store.delete("b")
    other.apply(beats("b"))
    store.apply(beats("b"))

    a, b = store.page(EVERYTHING, after=None, limit=2)
    assert ("second", 3) == (a.hostname, a.heartbeat_count)
    assert (None, 2) == (b.hostname, b.heartbeat_count)


def test_what_another_store_wrote_is_seen_however_late(store: SqlStore, other: SqlStore) -> None:
    store.apply(beats("a", "b"))
    other.apply(beats("a", hostname="second"))
    for _ in range(2):
        store.apply(beats("b"))

    (applied,) = store.apply(beats("a"))

    assert ("second", 3) == (applied.record.hostname, applied.record.heartbeat_count)


def test_what_another_store_deleted_is_gone_however_late(store: SqlStore, other: SqlStore) -> None:
    store.apply(beats("a", "b", hostname="first"))
    other.delete("a")
    for _ in range(2):
        store.apply(beats("b"))

    (applied,) = store.apply(beats("a"))

    assert (True, None, 1) == (
        applied.created,
        applied.record.hostname,
        applied.record.heartbeat_count,
    )


def test_a_failed_batch_leaves_no_trace_in_what_a_store_remembers(
    store: SqlStore, other: SqlStore, engine: Engine
) -> None:
    store.apply(beats("a", hostname="first"))
    other.apply(beats("a", hostname="second"))
    with engine.begin() as connection:
        connection.exec_driver_sql(NO_MORE_SERVERS[engine.dialect.name])
    with pytest.raises(IntegrityError):
        store.apply(beats("a", "b", hostname="never"))

    (applied,) = store.apply(beats("a"))

    assert ("second", 3) == (applied.record.hostname, applied.record.heartbeat_count)
    assert {"a": 3} == counts(other)


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
