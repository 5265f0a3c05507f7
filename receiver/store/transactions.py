"""
Transactions: the engine, one writer at a time, retries, and commits whose outcome is unknown.

`Transactions.read`, `read_once` and `write` block until their transaction is over, and raise
StoreUnavailable when the database does not answer. Then nothing has changed, unless the error is of
the subclass OutcomeUnknown: the commit may have succeeded or not.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from threading import RLock, local
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine
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
from receiver.store.dialects import LOCK_SECONDS, MIGRATION_SECONDS, Identity, dialect_of

__all__ = ["Transactions", "is_about_a_lock", "unavailable"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ATTEMPTS = 10
"""
How many times a transaction is tried that another one has spoilt.

Receivers that create and delete one server again and again, all at once, need more than five.
"""

_LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE
_NO_SUCH_TABLE_OR_COLUMN = {"42P01", "42703"}  # SQLSTATE
_UNAVAILABLE = (InterfaceError, InternalError, OperationalError, PoolTimeout)


class _Replaced(StoreUnavailable):
    """Another database may have taken the place of the one that was open; caches are not valid."""


class Transactions:
    """
    Runs transactions that read or write one database. The constructor brings its tables up to date,
    or waits up to a minute while another process does.

    When another database, such as a restored backup, takes the place of the open one, the next
    transaction uses that other database. A write raises StoreUnavailable unless the tables of the
    other database are of the version that this receiver uses.

    Args:
        url: The database.
        on_rollback: Called when a write is rolled back, because rows that were read in the
            transaction may be out of date.
        on_other_database: Called when another database, such as a restored backup, may have taken
            the place of the open one, because rows that were read before are not valid any more.
            The transaction that has noticed this then runs again.

    Attributes:
        dialect: The operations for which SQLite and PostgreSQL need different code.
        generation: How many times another database may have taken the place of the open one. Code
            that keeps in memory what it has read can tell by this number whether to read it again.
        turn: A lock that a thread holds while it writes. So the threads of one process wait for
            each other without polling, as they would have to for the lock of an SQLite file. A
            caller of `write` may hold it longer, to finish what belongs to the write before others.
    """

    def __init__(
        self,
        url: URL,
        *,
        on_rollback: Callable[[], None],
        on_other_database: Callable[[], None],
    ) -> None:
        self.dialect = dialect_of(url)
        self.turn = RLock()
        self._shared = local()
        self.generation = 0
        self._on_rollback = on_rollback
        self._on_other_database = on_other_database
        self._is_closed = False
        self._identity: Identity | None = None
        self._engine = self.dialect.create_engine(url)
        self._reading = self._engine.execution_options(reads=True, **self.dialect.reading)
        self._reading_once = self._engine.execution_options(reads=True, **self.dialect.reading_once)
        try:
            with unavailable():
                self._writing = self._engine.connect()
        except StoreUnavailable as error:
            shown = url.render_as_string(hide_password=True)
            raise StoreUnavailable(f"{shown} cannot be opened: {error}") from error
        self._numbers = count()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def read(self) -> AbstractContextManager[Connection]:
        """A context with a connection to read with, in a transaction that ends with the context."""
        return self._connected(self._reading)

    def read_once(self) -> AbstractContextManager[Connection]:
        """
        A context with a connection for a single query, which needs no transaction around it.

        On PostgreSQL the beginning and the end of a transaction take two more round trips. Of two
        queries in the context, the second may see what was committed after the first.
        """
        return self._connected(self._reading_once)

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """
        A context in which all reads of this thread are one transaction, and see one moment.

        Ten reads need one connection then, and one beginning and end of a transaction. Within such
        a context, another one is a part of it.
        """
        if getattr(self._shared, "connection", None) is not None:
            yield
            return
        with self.read() as connection:
            self._shared.connection = connection
            try:
                yield
            finally:
                del self._shared.connection

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        shared: Connection | None = getattr(self._shared, "connection", None)
        if shared is not None:
            yield shared
            return
        if self.dialect.is_replaced():
            with self.turn:
                self.dialect.follow(self._writing)
        pool = self._engine.pool
        try:
            with unavailable(), engine.connect() as connection:
                yield connection
                # With a rollback, psycopg would forget which statements it has prepared.
                connection.commit()
        finally:
            # Another thread may have disposed of the pool meanwhile. That closed idle connections
            # only, and not this one, which has now returned to the old pool.
            if self._engine.pool is not pool:
                pool.dispose()
            if self._is_closed:
                self._engine.dispose()

    def write(self, work: Callable[[Connection], T]) -> T:
        """
        Run `work` in a transaction and commit it; return the result of `work`.

        Waits for writes of other threads first. A transaction that fails for a transient reason,
        such as a deadlock or a lost connection, is rolled back and runs again, up to ten times in
        all, so `work` may be called several times. An error that `work` raises is raised again
        after the rollback.
        """
        with self.turn, unavailable():
            try:
                return self._repeated(work)
            except DBAPIError as error:
                self._blame_tables(error)
                raise

    def close(self) -> None:
        """
        Close all connections to the database.

        Waits until a transaction that writes is over. A connection that is being read from is
        closed after its use.
        """
        self._is_closed = True
        with self.turn:
            if not self._writing.closed:
                self._writing.invalidate()  # closes it, where `close` would return it to the pool
            self._writing.close()
        self._engine.dispose()

    def _repeated(self, work: Callable[[Connection], T]) -> T:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._transaction(work)
            except _Replaced:
                continue
            except DBAPIError as error:
                if not (error.connection_invalidated or self.dialect.is_transient(error)):
                    raise
        return self._transaction(work)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        number = next(self._numbers)
        try:
            self.dialect.follow(self._writing)
            self._writing.begin()
            result = work(self._writing)
            self._check(self.dialect.record_commit(self._writing, number))
            self._commit(number)
        except BaseException:
            self._on_rollback()
            self._writing.rollback()
            raise
        return result

    def _check(self, found: Identity) -> None:
        """
        Raise an error when a transaction, in the database `found`, must not be committed.

        StoreUnavailable when the tables are of another version than this receiver uses; _Replaced
        when the database may be another one than that of the last transaction. The next transaction
        is compared with `found`.
        """
        _refuse(found.versions.split())
        known, self._identity = self._identity, found
        if known in {None, found}:
            return
        self._on_other_database()
        self.generation += 1
        _log.info("The database was restarted, altered or replaced; its rows are read anew")
        raise _Replaced("the database is replaced again and again")

    def _blame_tables(self, error: DBAPIError) -> None:
        """Raise StoreUnavailable if a statement failed because of another version of the tables."""
        if isinstance(error, _UNAVAILABLE) and not _lacks_something(error):
            return
        with self._reading.connect() as connection:
            versions = migrations.applied(connection)
        _refuse(versions, error)

    def _commit(self, number: int) -> None:
        try:
            self._writing.commit()
        except DBAPIError as error:
            self._writing.rollback()
            if not (error.connection_invalidated and self._was_committed(number)):
                raise
        try:
            self.dialect.check_place()
        except StoreUnavailable as error:
            raise OutcomeUnknown(f"the database went away during a commit: {error}") from error

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

    def _start(self) -> None:
        """
        Bring the tables up to date, or wait up to `MIGRATION_SECONDS` while another process does.

        On PostgreSQL, `lock_migrations` waits. On SQLite, the other process holds the lock of the
        file, and a transaction waits for that no longer than any other does; so it is begun again
        and again. SQLite could wait for longer, but would ignore Ctrl-C meanwhile.
        """
        deadline = time.monotonic() + MIGRATION_SECONDS
        may_wait = True
        while True:
            try:
                self.write(self._migrate)
            except StoreUnavailable as error:
                left = deadline - time.monotonic()
                if left <= 0 or not (may_wait and is_about_a_lock(error)):
                    raise
            else:
                return
            # Even if the tables are up to date, there is one more attempt, because the other
            # process may have ended its upgrade after the last one.
            with self.read() as connection:
                may_wait = migrations.is_upgradable(migrations.applied(connection))
            if may_wait:
                _log.warning(_WAITING, left)

    def _migrate(self, connection: Connection) -> None:
        if migrations.trouble(migrations.applied(connection)) is not None:
            self.dialect.lock_migrations(connection)
            _refuse(migrations.applied(connection), is_start=True)
            migrations.upgrade(connection)
        self.dialect.forget_old_commits(connection)
        self.dialect.gather_tallies(connection)


def _refuse(versions: list[str], cause: Exception | None = None, *, is_start: bool = False) -> None:
    """Raise StoreUnavailable if this receiver cannot use tables of these versions."""
    trouble = migrations.trouble(versions, is_start=is_start)
    if trouble is not None:
        raise StoreUnavailable(trouble) from cause


def is_about_a_lock(error: StoreUnavailable) -> bool:
    """Whether a transaction failed because another process has held a lock for too long."""
    reason = getattr(error.__cause__, "orig", None)
    is_busy = getattr(reason, "sqlite_errorname", "").startswith("SQLITE_BUSY")
    return is_busy or getattr(reason, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def _lacks_something(error: DBAPIError) -> bool:
    """Whether a statement failed because a table or a column is missing."""
    if getattr(error.orig, "sqlite_errorname", None) == "SQLITE_ERROR":
        return True
    return getattr(error.orig, "sqlstate", None) in _NO_SUCH_TABLE_OR_COLUMN


@contextmanager
def unavailable() -> Iterator[None]:
    """Raise StoreUnavailable in place of an error that says the database does not answer."""
    try:
        yield
    except (DatabaseError, InterfaceError, PoolTimeout) as error:
        reason = getattr(error, "orig", None) or error
        # Exactly DatabaseError, and no subclass: the file is corrupt, or is no database.
        is_corrupt = type(error) is DatabaseError
        # For a missing table, SQLite raises OperationalError, PostgreSQL ProgrammingError.
        lacks_tables = isinstance(error, DBAPIError) and _lacks_something(error)
        if isinstance(error, _UNAVAILABLE) or is_corrupt or lacks_tables:
            raise StoreUnavailable(f"the database does not answer: {reason}") from error
        raise


_WAITING = (
    "The database is locked, and its tables are not up to date: another process may be upgrading "
    "them, and is waited for, %.0f seconds more at most"
)
