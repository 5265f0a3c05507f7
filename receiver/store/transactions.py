"""
Transactions: the engine, one writer at a time, retries, and commits whose outcome is unknown.

Every method blocks until its transaction is over, and raises StoreUnavailable when the database
does not answer. Then nothing has changed, unless the error is its subclass OutcomeUnknown.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import RLock
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.store import migrations
from receiver.store.dialects import LOCK_SECONDS, dialect_of

__all__ = ["Transactions"]

T = TypeVar("T")

_ATTEMPTS = 5
_NO_SUCH_TABLE_OR_COLUMN = {"42P01", "42703"}  # SQLSTATE
_UNAVAILABLE = (InterfaceError, InternalError, OperationalError, PoolTimeout)


class Transactions:
    """
    Reads and writes of one database. Opening it brings the tables up to date.

    Args:
        url: The database.
        on_rollback: Called after each rollback of a write: what was read in that transaction
            may be out of date.

    Attributes:
        dialect: What SQLite or PostgreSQL does in its own way.
        turn: A lock that the writing thread holds. The writers of one process wait for it,
            because for the lock of SQLite they would have to poll.
    """

    def __init__(self, url: URL, *, on_rollback: Callable[[], None]) -> None:
        self.dialect = dialect_of(url)
        self.turn = RLock()
        self._on_rollback = on_rollback
        self._engine = self.dialect.create_engine(url)
        self._reading = self._engine.execution_options(reads=True)
        try:
            with _unavailable():
                self._writing = self._engine.connect()
        except StoreUnavailable as error:
            shown = url.render_as_string(hide_password=True)
            raise StoreUnavailable(f"{shown} cannot be opened: {error}") from error
        self._numbers = count()
        try:
            self.write(self._migrate)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read with, in a transaction of its own."""
        with _unavailable(), self._reading.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """
        Run `work` in a transaction and commit it.

        A transaction that fails for a transient reason, such as a deadlock or a lost
        connection, is rolled back and runs again, so `work` may be called several times.
        """
        with self.turn, _unavailable():
            for _ in range(_ATTEMPTS - 1):
                try:
                    return self._transaction(work)
                except DBAPIError as error:
                    if not (error.connection_invalidated or self.dialect.is_transient(error)):
                        raise
            return self._transaction(work)

    def close(self) -> None:
        """Close all connections, once the writer is done."""
        with self.turn:
            self._writing.close()
        self._engine.dispose()

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        number = next(self._numbers)
        try:
            self._writing.begin()
            result = work(self._writing)
            self.dialect.record_commit(self._writing, number)
            self._commit(number)
        except BaseException:
            self._on_rollback()
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
        """Whether a transaction was committed whose connection broke during the commit."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                with self._engine.begin() as connection:
                    return self.dialect.was_committed(connection, number)
            except (DBAPIError, PoolTimeout) as error:  # by a standby, for instance
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(
                        "the database went away during a commit, which may have succeeded"
                    ) from error
                time.sleep(0.05)

    def _migrate(self, connection: Connection) -> None:
        if not migrations.is_newest(connection):
            self.dialect.lock_migrations(connection)
            migrations.upgrade(connection)
        self.dialect.forget_old_commits(connection)


@contextmanager
def _unavailable() -> Iterator[None]:
    """Raise StoreUnavailable in place of an error that says the database does not answer."""
    try:
        yield
    except (DatabaseError, InterfaceError, PoolTimeout) as error:
        reason = getattr(error, "orig", None) or error
        # Exactly DatabaseError, and no subclass: the file is torn, or is no database.
        is_torn = type(error) is DatabaseError
        # SQLite says so by an OperationalError, PostgreSQL by a ProgrammingError.
        lacks_tables = getattr(reason, "sqlstate", None) in _NO_SUCH_TABLE_OR_COLUMN
        if isinstance(error, _UNAVAILABLE) or is_torn or lacks_tables:
            raise StoreUnavailable(f"the database does not answer: {reason}") from error
        raise
