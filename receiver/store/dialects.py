"""
What each kind of database does in its own way.

Everything else that the store does is the same SQL on all of them.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import uuid4

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    URL,
    Column,
    Connection,
    Engine,
    TableValuedAlias,
    Text,
    Update,
    any_,
    bindparam,
    cast,
    column,
    create_engine,
    delete,
    event,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from receiver.domain.errors import InvalidSetting
from receiver.store.tables import commits, facets, servers

__all__ = ["CHANNEL", "PATIENCE_SECONDS", "Database", "FacetRow", "database_of"]

PATIENCE_SECONDS = 2.0
"""How long to wait for what another process has locked: two such waits, the transaction
under way and the next, end before a sender gives up after 5 seconds."""

PULSE = ("status", "timestamp", "uptime_seconds", "last_seen", "heartbeat_count", "revision")
"""The columns that nearly every heartbeat changes; the others stay for weeks."""

DUE = ("due_at", "revision")
"""The columns that change when a server is looked at, and nothing is new."""

CHANNEL = "fleet_events"
"""On which PostgreSQL tells that there are new events."""

FACET = ("name", "value", "server_id")
"""The columns of `facets`."""

FacetRow = tuple[str, str, str]
"""A row of `facets`."""


class Database(Protocol):
    """A kind of database."""

    def engine(self, url: URL) -> Engine:
        """Connections whose transactions are durable, and begin as `begin` says."""

    def wait_for_migrations(self, connection: Connection) -> None:
        """Let no other process migrate until the transaction ends."""

    def tidy(self, connection: Connection) -> None:
        """Remove what receivers that are gone have left, after the migrations."""

    def is_undisturbed(self, connection: Connection) -> bool:
        """Whether nobody else has written since the last time that this was asked."""

    def revisions(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, int]:
        """The revisions of those there are, which nobody changes until the end."""

    def touch(self, connection: Connection, pulses: Iterable[tuple[Any, ...]]) -> None:
        """Write the columns `PULSE`, as the database keeps them, then the `server_id`."""

    def gain(self, connection: Connection, rows: Sequence[FacetRow]) -> None:
        """Add rows to `facets`."""

    def lose(self, connection: Connection, rows: Sequence[FacetRow]) -> None:
        """Take rows out of `facets`."""

    def postpone(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write the columns `DUE`, as the database keeps them, then the `server_id`."""

    def announce(self, connection: Connection) -> None:
        """Let nobody else number events until the end, and tell other receivers then."""

    def sign(self, connection: Connection, batch: int) -> None:
        """Leave a sign in a transaction, by which `was_committed` knows it."""

    def was_committed(self, connection: Connection, batch: int) -> bool:
        """Whether a transaction was committed whose connection broke during the commit."""

    def is_worth_another_try(self, error: DBAPIError) -> bool:
        """Whether only the company it was in made a transaction fail."""


class Sqlite:
    """A file, for one machine. One writes at a time, the others wait."""

    def __init__(self) -> None:
        self._version: int | None = None

    def engine(self, url: URL) -> Engine:
        engine = create_engine(
            url, connect_args={"timeout": PATIENCE_SECONDS}, hide_parameters=True
        )

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _: object) -> None:
            connection.isolation_level = None  # SQLAlchemy begins and commits, not sqlite3
            # A heartbeat changes one row, and writes the page that it is in.
            connection.execute("PRAGMA page_size = 2048")  # bytes, of a new file
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # Rows are heard of in any order: most of the file is in use all the time.
            connection.execute("PRAGMA cache_size = -16384")  # KiB
            connection.execute("PRAGMA wal_autocheckpoint = 16000")  # pages

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # A writer takes its lock at once: what it reads is still so when it writes.
            reads = connection.get_execution_options().get("reads", False)
            with _driver(connection) as driver:
                driver.execute("BEGIN" if reads else "BEGIN IMMEDIATE")

        return engine

    def wait_for_migrations(self, connection: Connection) -> None:
        """The transaction keeps every other writer out as it is."""

    def tidy(self, connection: Connection) -> None:
        """They leave nothing."""

    def is_undisturbed(self, connection: Connection) -> bool:
        # Commits of this connection leave it as it is, those of others change it.
        before = self._version
        with _driver(connection) as driver:
            (self._version,) = driver.execute("PRAGMA data_version").fetchone()
        return before == self._version

    def revisions(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, int]:
        found = connection.exec_driver_sql(_SQLITE_REVISIONS, (_json(ids),))
        return dict(map(tuple, found.all()))

    def touch(self, connection: Connection, pulses: Iterable[tuple[Any, ...]]) -> None:
        with _driver(connection) as driver:
            driver.executemany(_SQLITE_TOUCH, pulses)

    def postpone(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        with _driver(connection) as driver:
            driver.executemany(_SQLITE_POSTPONE, rows)

    def announce(self, connection: Connection) -> None:
        """The transaction keeps every other writer out as it is."""

    def gain(self, connection: Connection, rows: Sequence[FacetRow]) -> None:
        with _driver(connection) as driver:
            driver.executemany(_SQLITE_GAIN, rows)

    def lose(self, connection: Connection, rows: Sequence[FacetRow]) -> None:
        with _driver(connection) as driver:
            driver.executemany(_SQLITE_LOSE, rows)

    def sign(self, connection: Connection, batch: int) -> None:
        """There is no connection that could break."""

    def was_committed(self, _: Connection, __: int) -> bool:
        return False

    def is_worth_another_try(self, _: DBAPIError) -> bool:
        return False


class Postgresql:
    """A server, for many receivers. Each locks the rows that it changes, in the order of keys."""

    def __init__(self) -> None:
        self._writer = uuid4().hex

    def engine(self, url: URL) -> Engine:
        engine = create_engine(
            url,
            connect_args={
                "client_encoding": "utf8",
                "connect_timeout": 2,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
            },
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_timeout=PATIENCE_SECONDS,
        )

        @event.listens_for(engine, "connect", insert=True)  # before anything is asked
        def configure(connection: Any, _: object) -> None:
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise InvalidSetting(
                    f"FLEET_DATABASE_URL: the encoding of the database is {encoding}, which "
                    "cannot hold every name; create it with ENCODING 'UTF8'"
                )
            connection.execute(_POSTGRESQL_SETTINGS)
            connection.commit()

        return engine

    def wait_for_migrations(self, connection: Connection) -> None:
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATIONS)))

    def tidy(self, connection: Connection) -> None:
        connection.execute(_OLD_SIGNS)

    def is_undisturbed(self, _: Connection) -> bool:
        return False

    def revisions(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, int]:
        found = connection.execute(_POSTGRESQL_REVISIONS, {"ids": _json(ids)})
        return dict(map(tuple, found.all()))

    def touch(self, connection: Connection, pulses: Iterable[tuple[Any, ...]]) -> None:
        self._update(connection, PULSE, pulses)

    def postpone(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        self._update(connection, DUE, rows)

    def announce(self, connection: Connection) -> None:
        connection.execute(select(func.pg_advisory_xact_lock(_EVENTS)))
        connection.execute(select(func.pg_notify(CHANNEL, "")))

    def gain(self, connection: Connection, rows: Sequence[FacetRow]) -> None:
        # A server has many of one name: to say both once for all takes half the time.
        values: dict[tuple[str, str], list[str]] = {}
        for name, value, server_id in rows:
            values.setdefault((name, server_id), []).append(value)
        given = ((*key, each) for key, each in values.items())
        connection.execute(_POSTGRESQL_GAIN, _rows(("name", "server_id", "values"), given))

    def lose(self, connection: Connection, rows: Sequence[FacetRow]) -> None:
        connection.execute(_POSTGRESQL_LOSE, _rows(FACET, rows))

    def _update(
        self, connection: Connection, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
    ) -> None:
        # One statement for all: each row by itself would cost a message to and fro.
        connection.execute(_POSTGRESQL_UPDATES[columns], _rows((*columns, "server_id"), rows))

    def sign(self, connection: Connection, batch: int) -> None:
        connection.execute(_SIGN, {"writer": self._writer, "batch": batch})

    def was_committed(self, connection: Connection, batch: int) -> bool:
        # Either statement waits for a transaction that still holds the row.
        connection.execute(_BE_THERE, {"writer": self._writer})
        last = connection.execute(_LAST_SIGN, {"writer": self._writer}).scalar_one()
        return bool(last == batch)

    def is_worth_another_try(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlstate", None) in _BAD_LUCK


def database_of(url: URL) -> Database:
    """The kind of database that an address leads to."""
    return Sqlite() if url.get_backend_name() == "sqlite" else Postgresql()


@contextmanager
def _driver(connection: Connection) -> Iterator[sqlite3.Connection]:
    """
    The driver's own connection, with SQLAlchemy's errors.

    What SQLAlchemy does for one statement costs as much as the update of ten rows.
    """
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        yield driver
    except sqlite3.Error as error:
        raise DBAPIError.instance(None, None, error, sqlite3.Error) from error


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _rows(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Mapping[str, str]:
    """The parameter `rows`: a list of objects in JSON."""
    return {"rows": _json([dict(zip(columns, row, strict=True)) for row in rows])}


_MIGRATIONS = 0x0D00_F1EE
_EVENTS = 0x0D00_F1EF
"""The advisory locks of those that migrate, and of those that write events; nothing else
about the numbers matters."""

_BAD_LUCK = {"40001", "40P01", "23505"}
"""A serialisation failure, a deadlock, a row that somebody else made at the same moment."""

_POSTGRESQL_SETTINGS = """
SET lock_timeout = '2s';
SET idle_in_transaction_session_timeout = '10s';
SET statement_timeout = '30s';
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off'
"""
"""So that nobody waits for a receiver that is gone, or a receiver for ever, and a commit lasts."""

_SQLITE_REVISIONS = """
SELECT server_id, revision FROM servers WHERE server_id IN (SELECT value FROM json_each(?))
"""


def _sqlite_update(columns: Sequence[str]) -> str:
    # Written out, for the values come in the order of these columns, and not of the table's.
    values = ", ".join(f'"{name}" = ?' for name in columns)
    return f"UPDATE servers SET {values} WHERE server_id = ?"  # noqa: S608 - constants


_SQLITE_TOUCH = _sqlite_update(PULSE)
_SQLITE_POSTPONE = _sqlite_update(DUE)

_SQLITE_GAIN = "INSERT INTO facets (name, value, server_id) VALUES (?, ?, ?)"
_SQLITE_LOSE = "DELETE FROM facets WHERE name = ? AND value = ? AND server_id = ?"

_ids = select(func.json_array_elements_text(cast(bindparam("ids", type_=Text), JSON)))
_POSTGRESQL_REVISIONS = (
    select(servers.c.server_id, servers.c.revision)
    .where(servers.c.server_id == any_(func.array(_ids.scalar_subquery(), type_=ARRAY(Text))))
    .order_by(servers.c.server_id)
    .with_for_update()
)


def _given_rows(*columns: Column[Any]) -> TableValuedAlias:
    """The parameter `rows`, a list of objects in JSON, as a table of such columns."""
    return (
        func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
        .table_valued(*(column(each.name, each.type) for each in columns))
        .render_derived(name="given", with_types=True)
    )


_facets = _given_rows(*facets.columns)
_POSTGRESQL_GAIN = text("""
INSERT INTO facets (name, value, server_id)
SELECT name, value, server_id
FROM json_to_recordset(CAST(:rows AS json)) AS given (name text, server_id text, "values" json),
json_array_elements_text("values") AS value
""")
_POSTGRESQL_LOSE = delete(facets).where(*(each == _facets.c[each.name] for each in facets.columns))
_insert = postgresql.insert(commits).values(
    writer=bindparam("writer"), batch=bindparam("batch"), committed_at=func.now()
)
_SIGN = _insert.on_conflict_do_update(
    index_elements=[commits.c.writer],
    set_={"batch": _insert.excluded.batch, "committed_at": func.now()},
)
_OLD_SIGNS = delete(commits).where(commits.c.committed_at < func.now() - text("interval '1 day'"))
_BE_THERE = _insert.values(batch=-1).on_conflict_do_nothing()
_LAST_SIGN = (
    select(commits.c.batch).where(commits.c.writer == bindparam("writer")).with_for_update()
)


def _postgresql_update(columns: Sequence[str]) -> Update:
    given = _given_rows(*(servers.c[name] for name in (*columns, "server_id")))
    return (
        update(servers)
        .where(servers.c.server_id == given.c.server_id)
        .values({name: given.c[name] for name in columns})
    )


_POSTGRESQL_UPDATES: dict[Sequence[str], Update] = {
    columns: _postgresql_update(columns) for columns in (PULSE, DUE)
}
