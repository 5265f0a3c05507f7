"""
The operations for which SQLite and PostgreSQL need different code.

Everything else that the store does is the same SQL on both.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from receiver.store.dialects.identity import Identity
from receiver.store.dialects.listen import listen
from receiver.store.dialects.postgresql import Postgresql
from receiver.store.dialects.sqlite import Sqlite
from receiver.store.dialects.url_parameters import check_url
from receiver.store.tables import LOCK_SECONDS, IndexEntry

__all__ = ["LOCK_SECONDS", "Dialect", "Identity", "check_url", "dialect_of", "listen"]


class Dialect(Protocol):
    """
    The operations that SQLite and PostgreSQL do in different ways.

    Attributes:
        reading: SQLAlchemy execution options with which all queries of a transaction that reads see
            the database at the same moment.
    """

    reading: Mapping[str, Any]

    def create_engine(self, url: URL) -> Engine:
        """
        An engine whose commits are durable.

        A connection with the SQLAlchemy execution option `reads` must only read; on SQLite, any
        other connection takes the write lock of the file when a transaction begins.
        """

    def check_place(self) -> None:
        """
        Raise StoreUnavailable when an SQLite file was deleted or replaced while it is open.

        Costs a few calls of `stat`. Does nothing on PostgreSQL.
        """

    def is_replaced(self) -> bool:
        """
        Whether another file has replaced the open SQLite file, so that `follow` must reconnect.

        Raises StoreUnavailable when there is no complete file to connect to. False on PostgreSQL.
        """

    def follow(self, connection: Connection) -> None:
        """
        Reconnect if another file has replaced the open SQLite file.

        The connection must have no transaction; afterwards it leads to the new file. Raises
        StoreUnavailable when there is no complete file to connect to. Does nothing on PostgreSQL.
        """

    def identify(self, connection: Connection) -> Identity:
        """Which database the connection leads to."""

    def database_time(self, connection: Connection) -> datetime | None:
        """The time of the database server's clock; None for SQLite, which has no server."""

    def lock_migrations(self, connection: Connection) -> None:
        """Keep other processes from migrating until the transaction ends."""

    def is_undisturbed(self, connection: Connection) -> bool:
        """
        Whether no other connection has committed since the last call of this method.

        False where that is not known, as on PostgreSQL.
        """

    def update_heartbeats(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """
        Set the `HEARTBEAT_COLUMNS` of servers that are stored already.

        Each of `rows` has the `server_id` of a server, and the new value of each of these columns
        as the driver of the database takes it: an instant is a number of microseconds.
        """

    def update_due(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Set the `DUE_COLUMNS` of servers that are stored already, as `update_heartbeats` does."""

    def add_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        """Insert rows into `facets`, the inverted index of servers."""

    def remove_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        """Delete rows from `facets`, the inverted index of servers."""

    def add_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        """Store a set of tool names and index its names; lock its row if it is there already."""

    def remove_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        """Remove from the index the names of a set of tool names whose row was deleted."""

    def lock_as_writer(self, connection: Connection) -> None:
        """
        Lock the tables that messages change, in the mode that any number of writers can share.

        So this waits for those who lock a table against all writers. Does nothing on SQLite, where
        a transaction that writes holds the lock of the file.
        """

    def lock_events(self, connection: Connection) -> None:
        """
        Keep other processes from writing events until the transaction ends.

        So the numbers of events rise in the order of the commits. On PostgreSQL, the commit also
        notifies other receivers that there are new events.
        """

    def record_commit(self, connection: Connection, number: int) -> Identity:
        """
        Store the number of the transaction, in that transaction, for a later `was_committed`.

        Returns which database the connection leads to, as `identify` does.
        """

    def was_committed(self, connection: Connection, number: int) -> bool:
        """
        Whether the transaction for which `record_commit` stored this number was committed.

        For a transaction whose connection broke during the commit, so that `connection` must be
        another one.
        """

    def forget_old_commits(self, connection: Connection) -> None:
        """Delete the numbers that `record_commit` has stored more than a day ago."""

    def lock_out_writers(self, connection: Connection) -> None:
        """
        Wait until no receiver writes, and keep all from writing until the transaction ends.

        Each receiver that goes on afterwards sees what the transaction has written.
        """

    def allow_pauses(self, connection: Connection) -> None:
        """Let the transaction wait for its client for any time between two statements."""

    def clear_toolsets(self, connection: Connection) -> None:
        """Delete all sets of tool names, and their index."""

    def last_number(self, connection: Connection, table: str, column: str) -> int:
        """The last number that a table has given to the column of a row, also of a deleted one."""

    def continue_after(self, connection: Connection, table: str, column: str, number: int) -> None:
        """Give numbers above this one to the column of the next rows of a table."""

    def is_transient(self, error: DBAPIError) -> bool:
        """Whether a transaction failed only because of another one, so that a retry may succeed."""


def dialect_of(url: URL) -> Dialect:
    """The dialect of a database URL."""
    return Sqlite(url) if url.get_backend_name() == "sqlite" else Postgresql()
