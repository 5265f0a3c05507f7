"""SQLite: a database in a file, for the processes of one machine; one process writes at a time."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any, TypeVar
from zlib import crc32

from sqlalchemy import (
    URL,
    CompoundSelect,
    Connection,
    Engine,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    create_engine,
    event,
    update,
)
from sqlalchemy import Dialect as SQLAlchemyDialect
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from receiver.domain.agents.toolsets import tool_word
from receiver.domain.errors import StoreUnavailable
from receiver.store.dialects.identity import Identity
from receiver.store.dialects.inserts import IfStored, Inserted, converter_of, resolved
from receiver.store.dialects.sqlite_file import DatabaseFile
from receiver.store.dialects.waits import LOCK_SECONDS
from receiver.store.tables import IndexEntry, servers

__all__ = ["Sqlite"]

T = TypeVar("T")


class Sqlite:
    """
    The dialect of SQLite.

    Args:
        url: The URL of a file. It is created if it is missing, unless the URL has `mode=rw`.
    """

    reading: Mapping[str, Any] = MappingProxyType({})  # each transaction sees one snapshot
    reading_once: Mapping[str, Any] = reading
    writer = ""  # only one transaction writes at a time

    def __init__(self, url: URL) -> None:
        self._version: int | None = None
        may_create = url.query.get("mode") != "rw"
        self._file = DatabaseFile(url.database or "", may_create=may_create)

    def create_engine(self, url: URL) -> Engine:
        engine = create_engine(
            url.set(query={}),
            connect_args={"timeout": LOCK_SECONDS},
            hide_parameters=True,
            pool_timeout=LOCK_SECONDS,
        )

        @event.listens_for(engine, "do_connect")
        def connect(_: object, __: object, ___: object, options: dict[str, Any]) -> Any:
            return self._file.connect(options)

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _: object) -> None:
            connection.isolation_level = None  # SQLAlchemy begins and commits, not sqlite3
            # A heartbeat changes one row, and the commit writes the whole page of that row.
            connection.execute("PRAGMA page_size = 2048")  # bytes, of a new file
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # Servers send in any order, so that most pages of the file are in use all the time.
            connection.execute("PRAGMA cache_size = -16384")  # KiB
            connection.execute("PRAGMA wal_autocheckpoint = 16000")  # pages
            connection.execute("PRAGMA schema_version")  # the first read creates the WAL
            connection.create_function("hashtext", 1, _hash_text, deterministic=True)
            self._file.note_opened()

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # A writer takes the write lock before it reads: nobody changes what it has read.
            reads = connection.get_execution_options().get("reads", False)
            with _driver(connection) as driver:
                driver.execute("BEGIN" if reads else "BEGIN IMMEDIATE")

        return engine

    def check_place(self) -> None:
        self._file.check()

    def is_replaced(self) -> bool:
        return self._file.is_replaced()

    def follow(self, connection: Connection) -> None:
        if not self.is_replaced():
            return
        if not (self._file.is_another() or connection.invalidated):
            _save_lost_log(connection)
        connection.invalidate()
        connection.engine.dispose()
        self._file.leave()

    def identify(self, connection: Connection) -> Identity:
        with _driver(connection) as driver:
            versions, schema = driver.execute(_IDENTITY).fetchone()
        return Identity(versions or "", (self._file.inode, schema))

    def database_time(self, connection: Connection) -> datetime | None:  # noqa: ARG002 - no server
        return None

    def lock_migrations(self, connection: Connection) -> None:
        """Do nothing, because the transaction already holds the write lock of the file."""

    def is_undisturbed(self, connection: Connection) -> bool:
        # Only commits of other connections change the pragma.
        before = self._version
        with _driver(connection) as driver:
            (self._version,) = driver.execute("PRAGMA data_version").fetchone()
        return before == self._version

    def found_by(
        self,
        connection: Connection,
        query: Select[Any] | CompoundSelect[Any],
        parameters: Mapping[str, Any],
    ) -> Sequence[Sequence[Any]]:
        sql, values_of = _prepared(query, connection.dialect)
        with _driver(connection) as driver:
            found: Sequence[Sequence[Any]] = driver.execute(sql, values_of(parameters)).fetchall()
        return found

    def insert(self, connection: Connection, *given: Inserted) -> None:
        for each in given:
            if each.rows:
                _insert_all(connection, each)

    def update_servers(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        # The id is not set: SQLite writes each index anew that has a column which a statement sets.
        given = [
            {"key" if name == "server_id" else name: value for name, value in row.items()}
            for row in rows
        ]
        sql, values_of = _prepared(_UPDATE_SERVERS, connection.dialect, tuple(given[0]))
        with _driver(connection) as driver:
            driver.executemany(sql, map(values_of, given))

    def update_liveness(
        self, connection: Connection, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]
    ) -> None:
        with _driver(connection) as driver:
            driver.executemany(_update_liveness(columns), rows)

    def remove_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        with _driver(connection) as driver:
            driver.executemany(_REMOVE_ENTRY, entries)

    def add_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        with _driver(connection) as driver:
            driver.execute("INSERT INTO toolsets (id) VALUES (?)", (toolset,))
            driver.execute(_ADD_WORDS, (toolset, _words_of(names)))

    def remove_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        with _driver(connection) as driver:
            driver.execute(_REMOVE_WORDS, (toolset, _words_of(names)))

    def lock_as_writer(self, connection: Connection) -> None:
        """Do nothing, because the transaction already holds the write lock of the file."""

    def lock_events(self, connection: Connection) -> None:
        """Do nothing, because the transaction already holds the write lock of the file."""

    def record_commit(self, connection: Connection, number: int) -> Identity:  # noqa: ARG002 - see below
        # A file on this machine has no connection that could break in a commit.
        return self.identify(connection)

    def was_committed(self, connection: Connection, number: int) -> bool:  # noqa: ARG002 - see above
        return False

    def forget_old_commits(self, connection: Connection) -> None:
        """Do nothing, because `record_commit` writes nothing on SQLite."""

    def gather_tallies(self, connection: Connection) -> None:
        """Do nothing, because all processes write to the same rows."""

    def lock_tallies(self, connection: Connection) -> None:
        """Do nothing, because the transaction already holds the write lock of the file."""

    def lock_out_writers(self, connection: Connection) -> None:
        """Do nothing, because the transaction already holds the write lock of the file."""

    def allow_pauses(self, connection: Connection) -> None:
        """Do nothing, because SQLite does not end a transaction that pauses."""

    def clear_toolsets(self, connection: Connection) -> None:
        with _driver(connection) as driver:
            driver.execute("DELETE FROM toolsets")
            driver.execute("INSERT INTO toolset_words (toolset_words) VALUES ('delete-all')")

    def last_number(self, connection: Connection, table: str, column: str) -> int:
        with _driver(connection) as driver:
            (highest,) = driver.execute(f"SELECT max({column}) FROM {table}").fetchone()  # noqa: S608 - names of a table
            counted = driver.execute(_COUNTED, (table,)).fetchone()
        return max(highest or 0, counted[0] if counted else 0)

    def continue_after(
        self,
        connection: Connection,
        table: str,
        column: str,  # noqa: ARG002 - see below
        number: int,
    ) -> None:
        # SQLite counts by the name of the table, and only for those that are made to count.
        with _driver(connection) as driver:
            driver.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            driver.execute(_COUNT, {"table": table, "number": number})

    def is_transient(self, error: DBAPIError) -> bool:  # noqa: ARG002 - of no kind
        return False


def _words_of(names: Iterable[str]) -> str:
    return " ".join(sorted({tool_word(name) for name in names}))


def _hash_text(text: str) -> int:
    """A hash of 32 bits of a text, for SQL that calls the function `hashtext` of PostgreSQL."""
    return crc32(text.encode())


def _save_lost_log(connection: Connection) -> None:
    """
    Copy into the database all commits in its write-ahead log, a file that was deleted but is open.

    Raises StoreUnavailable while other connections read the database.
    """
    with _driver(connection) as driver:
        (is_busy, *_) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise StoreUnavailable("the write-ahead log of the database was deleted")


@contextmanager
def _driver(connection: Connection) -> Iterator[sqlite3.Connection]:
    """
    The connection of `sqlite3` behind one of SQLAlchemy; its errors are raised as DBAPIError.

    For speed: SQLAlchemy's own work for one statement takes as long as the update of ten rows.
    """
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        yield driver
    except sqlite3.Error as error:
        raise DBAPIError.instance(None, None, error, sqlite3.Error) from error


def _insert_all(connection: Connection, given: Inserted) -> None:
    """Insert rows, some at a time: each statement opens the table and all of its indexes anew."""
    sql, values_of = _insert(given.table, given.columns, given.if_stored, connection.dialect)
    values = [*map(values_of, given.rows)]
    rest = len(values) - len(values) % _AT_ONCE
    some = (values[place : place + _AT_ONCE] for place in range(0, rest, _AT_ONCE))
    with _driver(connection) as driver:
        if rest:
            driver.executemany(_of_several_rows(sql), ([*chain(*each)] for each in some))
        driver.executemany(sql, values[rest:])


@lru_cache
def _of_several_rows(sql: str) -> str:
    """The INSERT of `_AT_ONCE` rows for one of a single row."""
    before, values, row = sql.partition(" VALUES ")
    row, end, after = row.partition(")")
    return f"{before}{values}{', '.join([row + end] * _AT_ONCE)}{after}"


@lru_cache
def _insert(
    table: Table, columns: tuple[str, ...], if_stored: IfStored, dialect: SQLAlchemyDialect
) -> tuple[str, Callable[[Sequence[Any]], Sequence[Any]]]:
    """The SQL of an INSERT, and a function that makes its parameters from the values of a row."""
    # The numbers that the database gives to the rows are not asked for.
    statement = resolved(sqlite.insert(table).inline(), table, if_stored)
    compiled = _compiled(statement, dialect, columns)
    places = [columns.index(name) for name in compiled.positiontup or ()]
    in_order = list if places == sorted(places) else itemgetter(*places)
    return str(compiled), _values(in_order, _converters(compiled, dialect))


@lru_cache
def _prepared(
    statement: Update | Select[Any] | CompoundSelect[Any],
    dialect: SQLAlchemyDialect,
    names: tuple[str, ...] | None = None,
) -> tuple[str, Callable[[Mapping[str, Any]], Sequence[Any]]]:
    """
    The SQL of a statement, and a function that makes its parameters from values by their names.

    SQLAlchemy makes the parameters, too, but takes as long for it as SQLite to write a new server.
    An UPDATE needs the `names` of the values.
    """
    compiled = _compiled(statement, dialect, names)
    places = compiled.positiontup or []

    def in_order(given: Mapping[str, Any]) -> Iterable[Any]:
        return map(given.__getitem__, places)

    return str(compiled), _values(in_order, _converters(compiled, dialect))


def _compiled(
    statement: Insert | Update | Select[Any] | CompoundSelect[Any],
    dialect: SQLAlchemyDialect,
    names: tuple[str, ...] | None,
) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect, column_keys=names)
    assert isinstance(compiled, SQLCompiler)
    return compiled


def _converters(
    compiled: SQLCompiler, dialect: SQLAlchemyDialect
) -> Sequence[tuple[int, Callable[[Any], Any]]]:
    """By the place of a parameter: what makes of a value of Python one that the driver takes."""
    return [
        (place, converter)
        for place, name in enumerate(compiled.positiontup or ())
        if (converter := converter_of(compiled.binds[name].type, dialect)) is not None
    ]


def _values(
    in_order: Callable[[T], Iterable[Any]], converters: Sequence[tuple[int, Callable[[Any], Any]]]
) -> Callable[[T], Sequence[Any]]:
    """A function that makes the parameters of a statement from what `in_order` puts in order."""

    def values_of(given: T) -> Sequence[Any]:
        values = [*in_order(given)]
        for place, convert in converters:
            value = values[place]
            if value is not None:
                values[place] = convert(value)
        return values

    return values_of


_AT_ONCE = 6
"""How many rows an INSERT has, of those with more: the fastest of 1 to 32."""

_IDENTITY = """
SELECT (SELECT group_concat(version_num, ' ') FROM alembic_version), schema_version
FROM pragma_schema_version
"""
"""
The versions of the tables, and SQLite's own counter of changes of the schema.

The counter rises when another database is restored into the same file.
"""


_COUNTED = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_COUNT = """
INSERT INTO sqlite_sequence (name, seq)
SELECT name, :number FROM sqlite_schema
WHERE type = 'table' AND name = :table AND sql LIKE '%AUTOINCREMENT%'
"""


@lru_cache
def _update_liveness(columns: tuple[str, ...]) -> str:
    # By place: the names of seven values take SQLite's driver as long as a fifth of the update.
    values = ", ".join(f"{name} = ?" for name in columns)
    return f"UPDATE liveness SET {values} WHERE server_id = ?"  # noqa: S608 - constants


_UPDATE_SERVERS = update(servers).where(servers.c.server_id == bindparam("key"))
_REMOVE_ENTRY = (
    f"DELETE FROM facets WHERE {' AND '.join(f'{name} = ?' for name in IndexEntry._fields)}"  # noqa: S608 - constants
)
_ADD_WORDS = "INSERT INTO toolset_words (rowid, words) VALUES (?, ?)"
# The full-text table has no copy of the words, so it must be told which ones go.
_REMOVE_WORDS = """
INSERT INTO toolset_words (toolset_words, rowid, words) VALUES ('delete', ?, ?)
"""
