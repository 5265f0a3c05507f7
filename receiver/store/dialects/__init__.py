"""
What SQLite and PostgreSQL each do in their own way.

Everything else that the store does is the same SQL on both.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from receiver.store.dialects.listen import listen
from receiver.store.dialects.postgresql import Postgresql
from receiver.store.dialects.sqlite import Sqlite
from receiver.store.tables import LOCK_SECONDS, IndexEntry

__all__ = ["LOCK_SECONDS", "Dialect", "dialect_of", "listen"]


class Dialect(Protocol):
    """A kind of database."""

    def create_engine(self, url: URL) -> Engine:
        """An engine whose commits are durable. Connections with the option `reads` only read."""

    def lock_migrations(self, connection: Connection) -> None:
        """Keep other processes from migrating until the transaction ends."""

    def is_undisturbed(self, connection: Connection) -> bool:
        """Whether no other connection has committed since the last call of this method."""

    def update_heartbeats(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Update `HEARTBEAT_COLUMNS` of rows, given as the database stores them."""

    def update_due(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Update `DUE_COLUMNS` of rows, given as the database stores them."""

    def add_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        """Insert rows into the inverted index."""

    def remove_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        """Delete rows from the inverted index."""

    def lock_events(self, connection: Connection) -> None:
        """
        Keep other processes from numbering events until the transaction ends.

        So events are numbered in the order of the commits. Other receivers are notified by
        the commit.
        """

    def record_commit(self, connection: Connection, number: int) -> None:
        """Write the number of a transaction into the database, for `was_committed`."""

    def was_committed(self, connection: Connection, number: int) -> bool:
        """Whether a transaction was committed whose connection broke during the commit."""

    def forget_old_commits(self, connection: Connection) -> None:
        """Delete what `record_commit` has written for receivers that are gone."""

    def is_transient(self, error: DBAPIError) -> bool:
        """Whether a transaction failed because of another one, and may succeed when repeated."""


def dialect_of(url: URL) -> Dialect:
    """The dialect of a database URL."""
    return Sqlite() if url.get_backend_name() == "sqlite" else Postgresql()
