"""
PostgreSQL, which several receivers may use at once.

Each receiver locks the rows that it changes in the order of their keys, so that no two wait for
each other.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import orjson
from sqlalchemy import (
    JSON,
    URL,
    BigInteger,
    ClauseElement,
    Column,
    CompoundSelect,
    Connection,
    Engine,
    ExceptionContext,
    Insert,
    Select,
    Table,
    TableValuedAlias,
    Text,
    Update,
    bindparam,
    cast,
    column,
    create_engine,
    delete,
    event,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy import Dialect as SQLAlchemyDialect
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from receiver.domain.agents.toolsets import tool_hash
from receiver.domain.errors import InvalidSetting
from receiver.store.dialects.identity import Identity
from receiver.store.dialects.inserts import IfStored, Inserted, converter_of, resolved
from receiver.store.dialects.listen import CHANNEL
from receiver.store.dialects.pooler import ASK, is_pooled
from receiver.store.dialects.stale import replace_closed_connections
from receiver.store.dialects.waits import LOCK_SECONDS, MIGRATION_SECONDS
from receiver.store.tables import (
    IndexEntry,
    Json,
    commits,
    facets,
    liveness,
    servers,
)

__all__ = ["Postgresql"]


class Postgresql:
    """The dialect of PostgreSQL."""

    # A list is read by two queries: a server that is deleted in between would end it early.
    reading: Mapping[str, Any] = MappingProxyType({"isolation_level": "REPEATABLE READ"})
    reading_once: Mapping[str, Any] = MappingProxyType({"isolation_level": "AUTOCOMMIT"})

    def __init__(self) -> None:
        self.writer = uuid4().hex

    def create_engine(self, url: URL) -> Engine:
        engine = create_engine(
            url,
            # Parameters in the URL override these.
            connect_args={
                **{name: value for name, value in _CONNECT.items() if name not in url.query},
                "client_encoding": "utf8",
            },
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_timeout=LOCK_SECONDS,
            use_native_hstore=False,  # saves a query for this type in each new connection
        )

        # Inserted before SQLAlchemy's own listeners, which send queries.
        event.listen(engine, "connect", _configure, insert=True)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            if connection.info["is_pooled"]:
                # Also for a single query, since the settings are those of a transaction.
                _driver(connection).autocommit = False
                connection.exec_driver_sql(_SETTINGS.format(is_local="true"))

        replace_closed_connections(engine)

        @event.listens_for(engine, "handle_error")
        def leave_standby(context: ExceptionContext) -> None:
            """Replace all connections after a failover: they may lead to the old primary."""
            if _is_read_only(context.original_exception):
                context.is_disconnect = True

        return engine

    def check_place(self) -> None:
        """Do nothing, because only the file of SQLite can be replaced while it is open."""

    def is_replaced(self) -> bool:
        return False

    def follow(self, connection: Connection) -> None:
        """Do nothing, because only the file of SQLite can be replaced while it is open."""

    def identify(self, connection: Connection) -> Identity:
        return _identity(*connection.execute(select(*_IDENTITY)).one())

    def database_time(self, connection: Connection) -> datetime | None:
        shown: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return shown.astimezone(timezone.utc)

    def lock_migrations(self, connection: Connection) -> None:
        connection.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_SECONDS:.0f}s'"))
        # It would end the wait for the lock, too, and a statement that rewrites a large table.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATIONS_LOCK)))

    def is_undisturbed(self, connection: Connection) -> bool:  # noqa: ARG002 - it cannot tell
        return False

    def found_by(
        self,
        connection: Connection,
        query: Select[Any] | CompoundSelect[Any],
        parameters: Mapping[str, Any],
    ) -> Sequence[Sequence[Any]]:
        with _executed(connection, query, parameters) as cursor:
            found: Sequence[Sequence[Any]] = cursor.fetchall()
        return found

    def insert(self, connection: Connection, *given: Inserted) -> None:
        some = [each for each in given if each.rows]
        if not some:
            return
        statement = _insert_given(
            tuple((each.table, each.columns, each.if_stored) for each in some)
        )
        parameters = {
            f"rows{place}": _json(_plain(each.table, each.columns, each.rows, connection.dialect))
            for place, each in enumerate(some)
        }
        with _executed(connection, statement, parameters):
            pass

    def update_servers(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = tuple(rows[0])
        given = _plain(servers, columns, (row.values() for row in rows), connection.dialect)
        connection.execute(_UPDATE_SERVERS, _json_rows(given))

    def update_liveness(
        self, connection: Connection, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]
    ) -> None:
        given = _arrays((*columns, "server_id"), rows)
        with _executed(connection, _update_liveness(columns), given):
            pass

    def remove_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        connection.execute(_REMOVE_ENTRIES, _json_rows(each._asdict() for each in entries))

    def add_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        hashes = sorted({tool_hash(name) for name in names})
        connection.execute(_ADD_TOOLSET, {"toolset": toolset, "hashes": hashes})

    def remove_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        """
        Do nothing.

        The hashes of the names, by which sets of tools are searched, are in the row of the set,
        which the caller has deleted.
        """

    def lock_as_writer(self, connection: Connection) -> None:
        connection.execute(_LOCK_AS_WRITER)

    def lock_events(self, connection: Connection) -> None:
        # Once in a transaction: to ask again would take a round trip, and change nothing.
        transaction = connection.get_transaction()
        if connection.info.get(_LOCK_EVENTS) is not transaction:
            with _executed(connection, _LOCK_EVENTS, {}):
                pass
            connection.info[_LOCK_EVENTS] = transaction

    def record_commit(self, connection: Connection, number: int) -> Identity:
        given = {"writer": self.writer, "batch": number}
        with _executed(connection, _RECORD_COMMIT, given) as cursor:
            return _identity(*cursor.fetchone())

    def was_committed(self, connection: Connection, number: int) -> bool:
        # Both statements wait while the broken transaction still holds the lock of the row.
        connection.execute(_ENSURE_RECORD, {"writer": self.writer})
        last = connection.execute(_LAST_COMMIT, {"writer": self.writer}).scalar_one()
        return bool(last == number)

    def forget_old_commits(self, connection: Connection) -> None:
        connection.execute(_FORGET_OLD_COMMITS)

    def gather_tallies(self, connection: Connection) -> None:
        connection.execute(_GATHER_TALLIES, {"writer": self.writer})

    def lock_tallies(self, connection: Connection) -> None:
        connection.execute(text("LOCK TABLE tallies IN SHARE ROW EXCLUSIVE MODE"))

    def lock_out_writers(self, connection: Connection) -> None:
        # Each transaction of a receiver writes its number here before it commits.
        connection.execute(text("LOCK TABLE commits IN EXCLUSIVE MODE"))

    def allow_pauses(self, connection: Connection) -> None:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))

    def clear_toolsets(self, connection: Connection) -> None:
        connection.execute(text("DELETE FROM toolsets"))

    def last_number(self, connection: Connection, table: str, column: str) -> int:
        highest = connection.scalar(text(f"SELECT max({column}) FROM {table}"))  # noqa: S608 - names of a table
        sequence = _sequence(connection, table, column)
        if sequence is None:
            return int(highest or 0)
        counted = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608 - a name
        return max(highest or 0, connection.scalar(counted) or 0)

    def continue_after(self, connection: Connection, table: str, column: str, number: int) -> None:
        sequence = _sequence(connection, table, column)
        if sequence is not None:
            # A sequence that has given no number is at 1.
            given = {"sequence": sequence, "number": max(number, 1), "is_given": number > 0}
            connection.execute(text("SELECT setval(:sequence, :number, :is_given)"), given)

    def is_transient(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlstate", None) in _TRANSIENT


def _configure(connection: Any, record: Any) -> None:
    """Configure a new connection. Raises InvalidSetting for a database that is not in UTF-8."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise InvalidSetting(
            f"FLEET_DATABASE_URL: the encoding of the database is {encoding}, which "
            "cannot hold every name; create it with ENCODING 'UTF8'"
        )
    (backend_pid,) = connection.execute(ASK).fetchone()
    record.info["is_pooled"] = is_pooled(connection, backend_pid)
    if record.info["is_pooled"]:
        connection.prepare_threshold = None
    else:
        connection.execute(_SETTINGS.format(is_local="false"))
    connection.commit()


def _driver(connection: Connection) -> Any:
    """The connection of psycopg."""
    return connection.connection.driver_connection


@contextmanager
def _executed(
    connection: Connection, statement: ClauseElement, parameters: Mapping[str, Any]
) -> Iterator[Any]:
    """
    The cursor of psycopg after a statement; its errors are raised as SQLAlchemy raises them.

    For the statements of every transaction: SQLAlchemy's own work for one takes 40 µs. Values are
    not converted.
    """
    driver = _driver(connection)
    try:
        yield driver.execute(_sql(statement, connection.dialect), parameters)
    except connection.dialect.loaded_dbapi.Error as error:
        is_lost = _is_read_only(error) or connection.dialect.is_disconnect(error, driver, None)
        if is_lost:
            connection.invalidate(error)
            connection.engine.dispose()  # the others are probably lost, too
        raise DBAPIError.instance(
            None,
            None,
            error,
            connection.dialect.loaded_dbapi.Error,
            connection_invalidated=is_lost,
        ) from error


@lru_cache
def _sql(statement: ClauseElement, dialect: SQLAlchemyDialect) -> str:
    return str(statement.compile(dialect=dialect))


def _is_read_only(error: BaseException) -> bool:
    """Whether a write failed because the connection leads to a standby."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


def _sequence(connection: Connection, table: str, column: str) -> str | None:
    """The name of the sequence that gives numbers to a column; None when there is none."""
    asked = text("SELECT pg_get_serial_sequence(:table, :column)")
    found: str | None = connection.scalar(asked, {"table": table, "column": column})
    return found


def _identity(versions: str | None, *database: Hashable) -> Identity:
    return Identity(versions or "", database)


def _json_rows(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """The parameter `rows` of a statement: the rows as a JSON array of objects."""
    return {"rows": _json(rows)}


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps([*rows]).decode()


def _arrays(names: Iterable[str], rows: Iterable[Sequence[Any]]) -> Mapping[str, str]:
    """
    The parameters of `_given_arrays`: for each column, by its name, the values of all rows.

    These must be numbers, or texts without control characters, such as ids of servers. Of these,
    PostgreSQL writes an array as JSON does, but for the brackets.
    """
    columns = map(orjson.dumps, zip(*rows, strict=True))
    return {
        name: f"{{{values[1:-1].decode()}}}" for name, values in zip(names, columns, strict=True)
    }


def _plain(
    table: Table,
    columns: tuple[str, ...],
    rows: Iterable[Iterable[Any]],
    dialect: SQLAlchemyDialect,
) -> Iterator[Mapping[str, Any]]:
    """Rows of a table as `_json` takes them; without those of their values that are None."""
    converters = _converters(table, columns, dialect)
    for row in rows:
        plain = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        for name, convert in converters:
            if name in plain:
                plain[name] = convert(plain[name])
        yield plain


@lru_cache
def _converters(
    table: Table, columns: tuple[str, ...], dialect: SQLAlchemyDialect
) -> Sequence[tuple[str, Callable[[Any], Any]]]:
    """By the name of a column: what makes a value that `_json` takes out of one of Python."""
    found = {name: converter_of(table.c[name].type, dialect) for name in columns}
    return [
        (name, _fragment(converter) if isinstance(table.c[name].type, JSON | Json) else converter)
        for name, converter in found.items()
        if converter is not None
    ]


def _fragment(converter: Callable[[Any], str]) -> Callable[[Any], orjson.Fragment]:
    return lambda value: orjson.Fragment(converter(value))


_MIGRATIONS_LOCK = 0x0D00_F1EE
_EVENTS_LOCK = 0x0D00_F1EF
"""The numbers of two advisory locks; any numbers that nobody else uses would do."""

_TRANSIENT = {"40001", "40P01", "23505"}
"""SQLSTATE: a serialization failure, a deadlock, and a new row whose key another one has taken."""

_READ_ONLY = "25006"
"""SQLSTATE: a write was sent to a standby, which only reads."""

_CONNECT = {
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_SETTINGS = """
SELECT set_config('lock_timeout', '2s', {is_local}),
    set_config('idle_in_transaction_session_timeout', '10s', {is_local}),
    set_config('statement_timeout', '30s', {is_local}),
    CASE current_setting('synchronous_commit')
        WHEN 'off' THEN set_config('synchronous_commit', 'on', {is_local})
    END
"""
"""
Settings with which commits are durable, and no receiver waits for ever for another one, even if
that one has died.

They are set once for each connection or, behind a pooler, in each transaction (`is_local`).
"""


def _given_rows(*columns: Column[Any], parameter: str = "rows") -> TableValuedAlias:
    """A parameter of a statement, a JSON array of objects, as a table with columns."""
    return (
        func.json_to_recordset(cast(bindparam(parameter, type_=Text), JSON))
        .table_valued(*(column(each.name, each.type) for each in columns))
        .render_derived(name="given", with_types=True)
    )


def _given_arrays(*columns: Column[Any]) -> TableValuedAlias:
    """
    Parameters with the names of columns, each an array of their values, as a table.

    PostgreSQL reads them faster than `_given_rows`. It also expects few rows, and looks up each of
    them, where it expects a hundred in JSON and would rather read a table of 13,000 servers.
    """
    kinds = [Text() if isinstance(each.type, Text) else each.type for each in columns]
    arrays = [
        cast(bindparam(each.name, type_=Text), postgresql.ARRAY(kind))
        for each, kind in zip(columns, kinds, strict=True)
    ]
    names = [column(each.name, kind) for each, kind in zip(columns, kinds, strict=True)]
    return func.unnest(*arrays).table_valued(*names).render_derived(name="given")


def _update(table: Table, columns: Sequence[str], given: TableValuedAlias) -> Update:
    return (
        update(table)
        .where(table.c.server_id == given.c.server_id)
        .values({name: given.c[name] for name in columns})
    )


@cache
def _update_liveness(columns: Sequence[str]) -> Update:
    given = _given_arrays(*(liveness.c[name] for name in (*columns, "server_id")))
    return _update(liveness, columns, given)


@cache
def _insert_given(given: Sequence[tuple[Table, Sequence[str], IfStored]]) -> Insert:
    """
    One statement that inserts rows into tables: the parameters `rows0`, `rows1` and so on.

    One for each row would take several times as long, and one for each table a round trip each.
    PostgreSQL executes the main statement first, and then those in WITH, the last one first: so
    they lock in the order in which they are given, as transactions must that run at once.
    """
    statements = []
    for place, (table, names, if_stored) in enumerate(given):
        rows = _given_rows(*(table.c[name] for name in names), parameter=f"rows{place}")
        every: Select[Any] = select(literal_column("*")).select_from(rows)
        statement = postgresql.insert(table).from_select(names, every)
        statements.append(resolved(statement, table, if_stored))
    first, *others = statements
    named = [each.cte(f"inserted{place}") for place, each in enumerate(others)]
    return first.add_cte(*reversed(named))


_UPDATE_SERVERS = _update(
    servers,
    [each.name for each in servers.columns if not each.primary_key],
    _given_rows(*servers.columns),
)

_entries = _given_rows(*facets.columns)
_LOCK_AS_WRITER = text(
    "LOCK TABLE servers, liveness, facets, profiles, tallies, search_texts, events, catalogues, "
    "toolsets IN ROW EXCLUSIVE MODE"
)

# An update that changes nothing, for the lock of a row that another transaction has just inserted.
_ADD_TOOLSET = text(
    "INSERT INTO toolsets (id, hashes) VALUES (:toolset, :hashes) "
    "ON CONFLICT (id) DO UPDATE SET id = excluded.id"
).bindparams(bindparam("hashes", type_=postgresql.ARRAY(BigInteger)))
_REMOVE_ENTRIES = delete(facets).where(*(each == _entries.c[each.name] for each in facets.columns))

_GATHER_TALLIES = text("""
WITH others AS (
    SELECT profile, rank, writer FROM tallies WHERE writer <> :writer FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM tallies USING others
    WHERE tallies.profile = others.profile AND tallies.rank = others.rank
        AND tallies.writer = others.writer
    RETURNING tallies.profile, tallies.rank, tallies.number
)
INSERT INTO tallies (profile, rank, writer, number)
SELECT profile, rank, :writer, sum(number) FROM gone GROUP BY profile, rank HAVING sum(number) <> 0
""")
_LOCK_EVENTS = text(f"SELECT pg_advisory_xact_lock({_EVENTS_LOCK}), pg_notify('{CHANNEL}', '')")

_IDENTITY = (
    text("(SELECT string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version)"),
    text("(SELECT oid FROM pg_database WHERE datname = current_database())"),
    text("to_regclass('servers')::oid"),
    text("pg_postmaster_start_time()"),
)
"""
The attributes of `Identity`: the versions of the tables, and three values that tell whether the
database was replaced. Restored tables have another oid. A standby that took over after a failover,
perhaps without the last commits, has another start time.
"""

_insert = postgresql.insert(commits).values(
    writer=bindparam("writer"), batch=bindparam("batch"), committed_at=func.now()
)
_RECORD_COMMIT = _insert.on_conflict_do_update(
    index_elements=[commits.c.writer],
    set_={"batch": _insert.excluded.batch, "committed_at": func.now()},
).returning(*_IDENTITY)
_ENSURE_RECORD = _insert.values(batch=-1).on_conflict_do_nothing()
_LAST_COMMIT = (
    select(commits.c.batch).where(commits.c.writer == bindparam("writer")).with_for_update()
)
_FORGET_OLD_COMMITS = delete(commits).where(
    commits.c.committed_at < func.now() - text("interval '1 day'")
)
