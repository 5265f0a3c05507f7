"""
Where the records are kept.

Every method is one transaction and blocks until it is over; a method that writes
returns after the commit. All of them raise StoreUnavailable when the database does
not answer, and nothing has changed then.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, func, select
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contract import ServerRecord
from receiver import batch
from receiver.batch import Applied, Incoming, Row, row_of
from receiver.errors import StoreUnavailable
from receiver.tables import servers

__all__ = ["SqlStore", "Store"]


class Store(Protocol):
    """What the receiver asks of a store."""

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        """Merge messages, in their order, and commit them together."""

    def get(self, server_id: str) -> ServerRecord | None:
        """The record of a server."""

    def page(self, *, after: str | None, limit: int) -> list[ServerRecord]:
        """At most `limit` records in the order of their `server_id`, after the one given."""

    def count(self) -> int:
        """How many servers there are."""

    def delete(self, server_id: str) -> bool:
        """Forget a server; False when there is none."""

    def close(self) -> None:
        """Let go of the database."""


class SqlStore:
    """
    A store in a SQL database. Opening it brings its tables up to date.

    Args:
        url: Where the database is.
        remembered: About how many rows to remember, so as not to read them again; some
            2 kB each.
    """

    def __init__(self, url: URL, *, remembered: int = 100_000) -> None:
        self._writing = _engine(url)
        self._reading = self._writing.execution_options(begin="BEGIN")
        # Writers of one process take turns here; in SQLite they would have to poll.
        self._turn = Lock()
        self._known: dict[str, Row] = {}
        self._remembered = remembered
        with self._transaction() as connection:
            _migrate(connection)

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        with self._transaction() as connection:
            applied, rows = batch.apply(connection, incoming, self._known)
        if len(self._known) > self._remembered:
            self._known = {}
        self._known.update(rows)
        return applied

    def get(self, server_id: str) -> ServerRecord | None:
        query = select(servers).where(servers.c.server_id == server_id)
        with self.connection() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else row_of(row).record

    def page(self, *, after: str | None, limit: int) -> list[ServerRecord]:
        query = select(servers).order_by(servers.c.server_id).limit(limit)
        if after is not None:
            query = query.where(servers.c.server_id > after)
        with self.connection() as connection:
            return [row_of(row).record for row in connection.execute(query).mappings()]

    def count(self) -> int:
        with self.connection() as connection:
            return connection.execute(select(func.count()).select_from(servers)).scalar_one()

    def delete(self, server_id: str) -> bool:
        with self._transaction() as connection:
            done = connection.execute(delete(servers).where(servers.c.server_id == server_id))
        return done.rowcount == 1

    def close(self) -> None:
        self._writing.dispose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to read with."""
        with _available(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._turn, _available(), self._writing.begin() as connection:
            yield connection


_PATIENCE_SECONDS = 2.0
"""How long to wait for a database that another process has locked: two such waits, the
transaction under way and the next, end before a sender gives up after 5 seconds."""

_AWAY = (InterfaceError, OperationalError, PoolTimeout)


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (DatabaseError, InterfaceError, PoolTimeout) as error:
        # A DatabaseError that is none of its subclasses: the file is no database, or torn.
        if isinstance(error, _AWAY) or type(error) is DatabaseError:
            reason = getattr(error, "orig", None) or error
            raise StoreUnavailable(f"the database does not answer: {reason}") from error
        raise


def _engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _PATIENCE_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins and commits, not sqlite3
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: what it reads is still so when it writes.
        connection.exec_driver_sql(
            connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
        )

    return engine


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
