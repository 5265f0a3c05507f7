"""
The operations for which SQLite and PostgreSQL need different code.

Everything else that the store does is the same SQL on both.
"""

from collections.abc import Iterable, Mapping, Sequence
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
    """What the store needs from SQLite or PostgreSQL, each of which does it in its own way."""

    def create_engine(self, url: URL) -> Engine:
        """
        An engine whose commits are durable.

        A connection with the SQLAlchemy execution option `reads` must be used for reading only.
        """

    def check_place(self) -> None:
        """
        Raise StoreUnavailable when connections lead to a file that is no longer the database.

        That is cheap, and never so on PostgreSQL.
        """

    def is_replaced(self) -> bool:
        """
        Whether `follow` has something to do; never so on PostgreSQL.

        Raises StoreUnavailable when there is nothing to connect to.
        """

    def follow(self, connection: Connection) -> None:
        """
        Make a connection to the file that is the database now, if another one was.

        The connection must have no transaction. Raises StoreUnavailable when there is no such
        file. Does nothing on PostgreSQL.
        """

    def identify(self, connection: Connection) -> Identity:
        """Which database the connection leads to."""

    def database_time(self, connection: Connection) -> datetime | None:
        """What the clock of the database server shows; None if there is no server."""

    def lock_migrations(self, connection: Connection) -> None:
        """Keep other processes from migrating until the transaction ends."""

    def is_undisturbed(self, connection: Connection) -> bool:
        """Whether no other connection has committed since the last call of this method."""

    def update_heartbeats(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Update the `HEARTBEAT_COLUMNS` of rows of `servers`, given as they are stored."""

    def update_due(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Update the `DUE_COLUMNS` of rows of `servers`, given as they are stored."""

    def add_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        """Insert rows into `facets`, the inverted index of servers."""

    def remove_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        """Delete rows from `facets`, the inverted index of servers."""

    def lock_events(self, connection: Connection) -> None:
        """
        Keep other processes from numbering events until the transaction ends.

        So events are numbered in the order of the commits. On PostgreSQL, the commit also
        notifies other receivers.
        """

    def record_commit(self, connection: Connection, number: int) -> Identity:
        """Write the number of a transaction, for `was_committed`; do what `identify` does."""

    def was_committed(self, connection: Connection, number: int) -> bool:
        """Whether a transaction was committed whose connection broke during the commit."""

    def forget_old_commits(self, connection: Connection) -> None:
        """Delete what `record_commit` has written more than a day ago."""

    def is_transient(self, error: DBAPIError) -> bool:
        """Whether another transaction made this one fail, so that it may succeed when repeated."""


def dialect_of(url: URL) -> Dialect:
    """The dialect of a database URL."""
    return Sqlite(url) if url.get_backend_name() == "sqlite" else Postgresql()
