"""
Where the records are kept.

Every method is one transaction and blocks until it is over; a method that writes
returns after the commit. All of them raise StoreUnavailable when the database does
not answer, and nothing has changed then, but for its subclass OutcomeUnknown.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar

from alembic import command
from alembic.config import Config
from attrs import asdict, frozen
from sqlalchemy import URL, ColumnElement, Connection, Select, bindparam, func, select
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contract import ServerRecord
from receiver import batch
from receiver.batch import Applied, Incoming, Memory, forget, row_of
from receiver.databases import PATIENCE_SECONDS, database_of
from receiver.errors import OutcomeUnknown, StoreUnavailable
from receiver.tables import facet_value, facets, servers

__all__ = ["EVERYTHING", "Filter", "SqlStore", "Store"]

T = TypeVar("T")


@frozen(kw_only=True)
class Filter:
    """Which servers are meant: those that match in everything that is not None."""

    stage: str | None = None
    database: str | None = None
    version: str | None = None
    odoo_version: str | None = None
    capability: str | None = None


EVERYTHING = Filter()


class Store(Protocol):
    """What the receiver asks of a store."""

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        """
        Merge messages, in their order, and commit them together.

        Raises OutcomeUnknown when the database went away during the commit.
        """

    def get(self, server_id: str) -> ServerRecord | None:
        """The record of a server."""

    def page(self, matching: Filter, *, after: str | None, limit: int) -> list[ServerRecord]:
        """At most `limit` records in the order of their `server_id`, after the one given."""

    def count(self, matching: Filter) -> int:
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
        remembered: How many rows to remember, so as not to read them again, at most twice
            as many; some 2.5 kB each with a dozen tools.
    """

    def __init__(self, url: URL, *, remembered: int = 100_000) -> None:
        self._database = database_of(url)
        self._engine = self._database.engine(url)
        self._reading = self._engine.execution_options(reads=True)
        with _available():
            self._writing = self._engine.connect()
        # Writers of one process take turns here; in SQLite they would have to poll.
        self._turn = Lock()
        self._batches = count()
        self._memory = Memory(remembered)
        try:
            self._write(self._migrate)
        except BaseException:
            self.close()
            raise

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        with self._turn:
            applied, rows = self._write(
                lambda connection: batch.apply(self._database, connection, incoming, self._memory)
            )
            self._memory.keep(rows)
        return applied

    def get(self, server_id: str) -> ServerRecord | None:
        if not _may_be(server_id):
            return None
        with self.connection() as connection:
            row = connection.execute(_ONE, {"key": server_id}).mappings().one_or_none()
        return None if row is None else row_of(row).record

    def page(self, matching: Filter, *, after: str | None, limit: int) -> list[ServerRecord]:
        query, key = _those(select(servers), matching)
        query = query.order_by(key).limit(limit)
        if after is not None:
            query = query.where(key > after)
        with self.connection() as connection:
            return [row_of(row).record for row in connection.execute(query).mappings()]

    def count(self, matching: Filter) -> int:
        query, _ = _those(select(func.count()).select_from(servers), matching)
        with self.connection() as connection:
            return int(connection.execute(query).scalar_one())

    def delete(self, server_id: str) -> bool:
        if not _may_be(server_id):
            return False
        with self._turn:
            deleted = self._write(
                lambda connection: forget(self._database, connection, server_id, self._memory)
            )
            self._memory.drop(server_id)
        return deleted

    def close(self) -> None:
        self._writing.close()
        self._engine.dispose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to read with."""
        with _available(), self._reading.connect() as connection:
            yield connection

    def _migrate(self, connection: Connection) -> None:
        self._database.wait_for_migrations(connection)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        self._database.tidy(connection)

    def _write(self, work: Callable[[Connection], T]) -> T:
        """Do it in a transaction, and again in another when this one only had bad luck."""
        with _available():
            for _ in range(_TRIES - 1):
                try:
                    return self._transaction(work)
                except DBAPIError as error:
                    if not self._is_worth_another_try(error):
                        raise
            return self._transaction(work)

    def _is_worth_another_try(self, error: DBAPIError) -> bool:
        return error.connection_invalidated or self._database.is_worth_another_try(error)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        number = next(self._batches)
        try:
            self._writing.begin()
            result = work(self._writing)
            self._database.sign(self._writing, number)
            self._commit(number)
        except BaseException:
            self._memory.doubt()
            self._writing.rollback()
            raise
        return result

    def _commit(self, number: int) -> None:
        try:
            self._writing.commit()
        except DBAPIError as error:
            self._writing.rollback()
            if not (error.connection_invalidated and self._was_committed(number)):
                raise

    def _was_committed(self, number: int) -> bool:
        """What became of a transaction whose connection broke during the commit."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._engine.begin() as connection:
                    return self._database.was_committed(connection, number)
            except (OperationalError, PoolTimeout) as error:
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(
                        "the database went away during a commit, which may have succeeded"
                    ) from error
                time.sleep(0.05)


_TRIES = 5

_AWAY = (InterfaceError, InternalError, OperationalError, PoolTimeout)


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


def _may_be(server_id: str) -> bool:
    # PostgreSQL does not even take the question.
    return "\x00" not in server_id


def _those(query: Select[Any], matching: Filter) -> tuple[Select[Any], ColumnElement[str]]:
    """A query of `servers`, of those that match only; and their key, as an index has it."""
    key: ColumnElement[str] = servers.c.server_id
    for name, text in asdict(matching, filter=lambda _, value: value is not None).items():
        facet = facets.alias()
        query = query.join(facet, facet.c.server_id == key).where(
            facet.c.name == name, facet.c.value == facet_value(text)
        )
        key = facet.c.server_id
    return query, key


_ONE = select(servers).where(servers.c.server_id == bindparam("key"))
