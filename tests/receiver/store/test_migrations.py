"""The tables and their migrations, and what the databases promise of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from attrs import fields
from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, select, text

import receiver
from contract import Heartbeat, ServerRecord, State
from long_texts import found_by, long_text
from receiver.domain.databases.silence import SweepOptions
from receiver.domain.errors import StoreUnavailable
from receiver.domain.instants import microseconds
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS, Filter, index_text
from receiver.store import SqlStore, migrations
from receiver.store.tables import COLUMNS, liveness, metadata, servers
from servers import PATIENCE_SECONDS, wait_until
from watched import MOMENT, assert_tallied, beats, counts


def migrate(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(receiver.__path__[0]) / "store/migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.fixture
def new_engine(new_database_url: str) -> Iterator[Engine]:
    """An engine of an empty database, without tables."""
    engine = create_engine(new_database_url)
    yield engine
    engine.dispose()


def test_migrations_create_the_tables_of_the_metadata(
    new_database_url: str, new_engine: Engine
) -> None:
    SqlStore(make_url(new_database_url)).close()

    # Alembic knows neither the full-text tables of SQLite nor indexes of expressions, and the
    # metadata does not have what only PostgreSQL has.
    unknown = ("catalogue_words", "ix_catalogues_words", "toolset_words", "ix_toolsets_hashes")

    def is_known(name: str | None, *_: object) -> bool:
        return name != "hashes" and not (name or "").startswith(unknown)

    with new_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_known})
        difference = compare_metadata(context, metadata)

    assert [] == difference


def test_newest_revision_is_the_head_of_the_migrations() -> None:
    head = ScriptDirectory(Path(migrations.__file__).parent).get_current_head()

    assert head == migrations.NEWEST


def test_columns_of_servers_are_the_fields_of_a_record() -> None:
    names = [field.name for field in fields(ServerRecord)]

    assert sorted(
        [
            *names,
            "revision",
            "due_at",
            "owner",
            "mark_at",
            "mark_heartbeats",
            "mark_sequence",
            "repeats",
            "turns",
            "catalogue",
            "toolset",
            "rank",
            "profile",
            "family",
        ]
    ) == sorted(COLUMNS)
    assert {"server_id"} == {*servers.columns.keys()} & {*liveness.columns.keys()}


def test_migration_counts_the_existing_servers(new_database_url: str, new_engine: Engine) -> None:
    with new_engine.begin() as connection:
        migrate(connection, "0020")
        connection.execute(
            text(
                "INSERT INTO servers (server_id, first_seen, last_seen, heartbeat_count, revision,"
                " profile, rank) VALUES (:id, 0, 0, 1, 0, :profile, :rank)"
            ),
            [{"id": str(n), "profile": n % 2, "rank": n // 3} for n in range(6)],
        )
        connection.execute(text("INSERT INTO profiles (id, stage) VALUES (0, ''), (1, '')"))

    with closing(SqlStore(make_url(new_database_url))) as store:
        assert_tallied(store)


def test_migration_indexes_the_existing_servers_for_filters(
    new_database_url: str, new_engine: Engine
) -> None:
    long = long_text(3_000)
    with new_engine.begin() as connection:
        migrate(connection, "0001")
        connection.execute(
            text(
                "INSERT INTO servers (server_id, odoo_stage, version, capabilities,"
                " first_seen, last_seen, heartbeat_count, revision)"
                " VALUES (:id, :stage, :version, :names, 0, 0, 1, 0)"
            ),
            [
                {"id": "a", "stage": "dev", "version": "1", "names": '["c", "b", "c"]'},
                {"id": "b", "stage": "dev", "version": long, "names": '["c"]'},
                {"id": "none", "stage": "", "version": "1", "names": "[]"},
                {"id": "unknown", "stage": None, "version": None, "names": None},
            ],
        )

    store = SqlStore(make_url(new_database_url))
    found = [
        found_by(store, matching)
        for matching in (
            Filter(capability="c"),
            Filter(capability="b"),
            Filter(stage="dev"),
            Filter(stage=""),
            Filter(version=long),
            Filter(version="1", stage="dev", capability="c"),
        )
    ]
    store.close()

    assert [["a", "b"], ["a"], ["a", "b"], ["none", "unknown"], ["b"], ["a"]] == found


def test_migration_gives_existing_servers_a_state_and_a_due_time(
    new_database_url: str, new_engine: Engine
) -> None:
    """The next sweep checks them, counting silence from the start of the receiver."""
    seen, long = microseconds(MOMENT), long_text(1_000)
    with new_engine.begin() as connection:
        migrate(connection, "0002")
        connection.execute(
            text(
                "INSERT INTO servers (server_id, odoo_stage, database, database_uuid,"
                " first_seen, last_seen, heartbeat_count, revision)"
                " VALUES (:id, :stage, 'acme', :uuid, 0, :seen, :count, 7)"
            ),
            [
                {"id": "up", "stage": "dev", "uuid": "u", "seen": seen, "count": 3},
                {"id": "new", "stage": None, "uuid": None, "seen": seen + 1, "count": 0},
                {"id": "long", "stage": long, "uuid": long, "seen": seen, "count": 1},
            ],
        )

    store = SqlStore(make_url(new_database_url))
    kept = {each: store.servers.get(each) for each in ("up", "new", "long")}
    with store.transactions.read() as connection:
        query = select(liveness.c.server_id, liveness.c.due_at)
        due = dict(map(tuple, connection.execute(query)))
    found = [
        found_by(store, Filter(state="up")),
        found_by(store, Filter(state="new")),
        found_by(store, ALL_SERVERS),
    ]
    standing, last = dict(store.servers.vitals(MOMENT).standing), store.events.last()
    options = SweepOptions(now=MOMENT + timedelta(days=1), heard_since=MOMENT + timedelta(days=1))
    store.watch.sweep(options)
    swept = {each: store.servers.get(each) for each in kept}
    store.servers.apply([Incoming(Heartbeat(server_id="up", database_uuid="v"), MOMENT)])
    store.servers.delete("long", MOMENT)
    store.close()

    up = ServerRecord(
        server_id="up",
        odoo_stage="dev",
        database="acme",
        database_uuid="u",
        first_seen=datetime.fromtimestamp(0, timezone.utc),
        last_seen=MOMENT,
        heartbeat_count=3,
        state=State.UP,
        state_since=MOMENT,
    )
    assert up == kept["up"]
    assert kept == swept
    assert {"up": seen, "new": seen + 1, "long": seen} == due
    assert [["long", "up"], ["new"], ["long", "new", "up"]] == found
    digest = index_text(long)
    assert {("up", "dev"): 1, ("new", ""): 1, ("up", digest): 1} == standing
    assert 0 == last


def test_migration_lets_no_alarm_begin_by_an_older_event(
    new_database_url: str, new_engine: Engine
) -> None:
    """Nor by the time in which no receiver ran before the upgrade, until one has noted it."""
    at = microseconds(MOMENT)
    with new_engine.begin() as connection:
        migrate(connection, "0010")
        connection.execute(
            text(
                "INSERT INTO events (at, kind, server_id, details)"
                " VALUES (:at, 'down', 'a', '{}'), (:at + 1, 'down', 'b', '{}')"
            ),
            {"at": at},
        )
        connection.execute(text("INSERT INTO watches VALUES (1, :at, :at)"), {"at": at})

    store = SqlStore(make_url(new_database_url))
    with store.transactions.read() as connection:
        (progress,) = connection.execute(text("SELECT * FROM alert_progress")).all()
    store.close()

    assert (1, 2, at + 1, at, 0, 0) == tuple(progress)


MOVED = ["sequence", "timestamp", "uptime_seconds", "last_seen", "heartbeat_count", "revision"]
MOVED += ["due_at", "mark_at", "mark_heartbeats", "mark_sequence"]
INSERT = """
INSERT INTO servers (server_id, ip_addresses, odoo_stage, sequence, status, timestamp,
    uptime_seconds, first_seen, last_seen, heartbeat_count, revision, due_at, mark_at,
    mark_heartbeats, mark_sequence, twin_of)
VALUES (:id, '{"primary": "10.0.0.1", "all": []}', 'dev', 1, 'healthy', 2, 3.5, 4, 5, 6, 7, 8, 9,
    10, 11, :twin)
"""


def test_migration_keeps_all_that_was_known_of_servers(
    new_database_url: str, new_engine: Engine
) -> None:
    """Indexes, too, and the defaults of columns."""
    with new_engine.begin() as connection:
        migrate(connection, "0022")
        twins = [{"id": f"s{n}", "twin": "s1" if n % 2 else None} for n in (3, 1, 2)]
        connection.execute(text(INSERT), twins)
        connection.execute(
            text(
                "INSERT INTO servers (server_id, first_seen, last_seen, heartbeat_count, revision)"
                " VALUES ('é', 0, 1, 0, 2)"
            )
        )
        before = described(connection, "SELECT * FROM servers")
    SqlStore(make_url(new_database_url)).close()
    with new_engine.connect() as connection:
        joined = "SELECT * FROM servers JOIN liveness USING (server_id)"
        after = described(connection, joined)

    assert 4 == len(before[0])
    assert before == after


def described(connection: Connection, query: str) -> tuple[list[dict[str, object]], str]:
    """All rows that a query finds, and what is not moved of the table `servers`."""
    rows = [dict(row) for row in connection.exec_driver_sql(query).mappings()]
    inspector = inspect(connection)
    columns = [each for each in inspector.get_columns("servers") if each["name"] not in MOVED]
    indexes = [
        {**each, "dialect_options": {k: str(v) for k, v in each["dialect_options"].items()}}
        for each in inspector.get_indexes("servers")
        if each["column_names"] != ["due_at"]
    ]
    rest = [
        [{**each, "type": str(each["type"])} for each in columns],
        sorted(indexes, key=lambda index: str(index["name"])),
        inspector.get_pk_constraint("servers"),
    ]
    return sorted(rows, key=lambda row: str(row["server_id"])), str(rest)


def test_heartbeats_that_an_older_receiver_commits_during_an_upgrade_are_kept(
    new_postgresql_url: str,
) -> None:
    engine = create_engine(new_postgresql_url)
    with engine.begin() as connection:
        migrate(connection, "0022")
        connection.execute(text(INSERT), {"id": "a", "twin": None})
    older = engine.connect()
    with older, ThreadPoolExecutor(1) as thread, engine.connect() as observer:
        older.exec_driver_sql("UPDATE servers SET heartbeat_count = 7")
        upgrading = thread.submit(SqlStore, make_url(new_postgresql_url))

        def is_waiting() -> bool:
            with observer.begin():
                locks = observer.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return bool(locks.scalar_one())

        wait_until(is_waiting)
        older.commit()
        store = upgrading.result(PATIENCE_SECONDS)
    found = counts(store)
    store.close()
    engine.dispose()

    assert {"a": 7} == found


def test_sqlite_commit_is_synced_to_disk(sqlite_url: str) -> None:
    store = SqlStore(make_url(sqlite_url))

    with store.transactions.read() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    store.close()

    assert ("wal", 2) == (mode, synchronous)


def test_postgresql_commit_is_synced_to_disk(postgresql_url: str) -> None:
    store = SqlStore(make_url(postgresql_url))

    with store.transactions.read() as connection:
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

    assert [
        ("alarms", "C"),
        ("events", "C"),
        ("facets", "C"),
        ("liveness", "C"),
        ("search_texts", "C"),
        ("servers", "C"),
        ("silences", "C"),
    ] == collations


def test_tables_that_vanish_make_the_store_unavailable_until_they_are_back(
    store: SqlStore, engine: Engine
) -> None:
    store.servers.apply(beats("a"))
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE servers RENAME TO gone")
    for call in (
        lambda: store.servers.apply(beats("a")),
        lambda: store.servers.get("a"),
        lambda: store.servers.delete("a", MOMENT),
    ):
        with pytest.raises(StoreUnavailable, match="servers"):
            call()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO servers")
    store.servers.apply(beats("a"))

    record = store.servers.get("a")
    assert record is not None
    assert 2 == record.heartbeat_count
