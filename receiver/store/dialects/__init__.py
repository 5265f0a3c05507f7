"""
The operations for which SQLite and PostgreSQL need different code.

Everything else that the store does is the same SQL on both.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import URL, CompoundSelect, Connection, Engine, Select
from sqlalchemy.exc import DBAPIError

from receiver.store.dialects.identity import Identity
from receiver.store.dialects.inserts import IfStored, Inserted
from receiver.store.dialects.listen import listen
from receiver.store.dialects.postgresql import Postgresql
from receiver.store.dialects.sqlite import Sqlite
from receiver.store.dialects.url_parameters import check_url, parse_url
from receiver.store.dialects.waits import LOCK_SECONDS, MIGRATION_SECONDS
from receiver.store.tables import IndexEntry

__all__ = [
    "LOCK_SECONDS",
    "MIGRATION_SECONDS",
    "Dialect",
    "Identity",
    "IfStored",
    "Inserted",
    "check_url",
    "dialect_of",
    "listen",
    "parse_url",
]


class Dialect(Protocol):
    """
    The operations that SQLite and PostgreSQL do in different ways.

    Attributes:
        reading: The SQLAlchemy execution options of a transaction that only reads. With them all of
            its queries see the database as it was at one moment.
        reading_once: The execution options for a single query.
        writer: A name for what writes to the database by this object: for rows that no other
            transaction writes to meanwhile.
    """

    reading: Mapping[str, Any]
    reading_once: Mapping[str, Any]
    writer: str

    def create_engine(self, url: URL) -> Engine:
        """
        An engine whose commits are durable.

        A connection with the SQLAlchemy execution option `reads` must only read; on SQLite, any
        other connection takes the write lock of the file when a transaction begins.
        """

    def check_place(self) -> None:
        """
        Raise StoreUnavailable when the open SQLite file was deleted or replaced by another file.

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
        """Which database the connection leads to, to be compared with an earlier answer."""

    def database_time(self, connection: Connection) -> datetime | None:
        """The time of the database server's clock; None for SQLite, which has no server."""

    def lock_migrations(self, connection: Connection) -> None:
        """
        Keep other processes from changing the tables (migrating) until the transaction ends.

        On PostgreSQL, waits up to `MIGRATION_SECONDS` for another process that changes them, and
        lets the statements of the transaction take as long as they need. Does nothing on SQLite,
        where the transaction holds the lock of the file already.
        """

    def is_undisturbed(self, connection: Connection) -> bool:
        """
        Whether certainly no other connection has committed since the last call of this method.

        Always False on PostgreSQL, where that is not known, and False at the first call.
        """

    def found_by(
        self,
        connection: Connection,
        query: Select[Any] | CompoundSelect[Any],
        parameters: Mapping[str, Any],
    ) -> Sequence[Sequence[Any]]:
        """
        The rows that a query finds, whose values need no conversion: it is a fast way to execute.

        Its parameters must need none either, except for those of `among`. It should always be the
        same object, whose SQL is made only once.
        """

    def insert(self, connection: Connection, *given: Inserted) -> None:
        """
        Insert rows into tables, in their order; no rows are inserted where none are given.

        On PostgreSQL this is one statement, however many tables and rows there are.
        """

    def update_servers(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """
        Set all columns of rows in `servers` that are stored already.

        Each of `rows` has the value of each column of the table by its name. There must be at least
        one row.
        """

    def update_liveness(
        self, connection: Connection, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]
    ) -> None:
        """
        Set some columns of rows in `liveness` that are stored already.

        `columns` are the `HEARTBEAT_COLUMNS`, the `DUE_COLUMNS`, or both. Each of `rows` has the
        new value of each of them, as the driver of the database takes it (an instant is in
        microseconds since 1970), and then the `server_id`.
        """

    def remove_index_entries(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        """Delete rows from `facets`, the inverted index of servers."""

    def add_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        """
        Store the set of tool names with the id `toolset`, and index its names.

        The transaction must have looked whether the set is stored already. If another transaction
        has stored it since, this only locks its row.
        """

    def remove_toolset(self, connection: Connection, toolset: int, names: Collection[str]) -> None:
        """Remove the names of a set from the index; the row of the set must be deleted already."""

    def lock_as_writer(self, connection: Connection) -> None:
        """
        Lock the tables that messages change, in the mode that any number of writers can share.

        So this waits while another transaction, such as one with CREATE INDEX, locks a table
        against all writers. Does nothing on SQLite, where a transaction that writes holds the lock
        of the file.
        """

    def lock_events(self, connection: Connection) -> None:
        """
        Keep other processes from writing events until the transaction ends.

        So the numbers of events rise in the order of the commits. On PostgreSQL, the commit also
        notifies all receivers that there are new events (see `listen`).
        """

    def record_commit(self, connection: Connection, number: int) -> Identity:
        """
        Store the number of the transaction, in that transaction, for a later `was_committed`.

        Stores nothing on SQLite. Returns which database the connection leads to, as `identify`
        does.
        """

    def was_committed(self, connection: Connection, number: int) -> bool:
        """
        Whether the transaction for which `record_commit` stored this number was committed.

        For a transaction whose connection broke during the commit, so that `connection` must be
        another one. Always False on SQLite, where no connection can break.
        """

    def forget_old_commits(self, connection: Connection) -> None:
        """Delete the numbers that `record_commit` stored more than a day ago, in any process."""

    def gather_tallies(self, connection: Connection) -> None:
        """
        Move the numbers in `tallies` that other processes have written into rows of this one.

        Otherwise each process that ever ran would have rows there. Rows to which another
        transaction is writing stay as they are. Does nothing on SQLite, where all processes write
        to the same rows.
        """

    def lock_tallies(self, connection: Connection) -> None:
        """Wait until nobody else writes to `tallies`, and keep others from it until the commit."""

    def lock_out_writers(self, connection: Connection) -> None:
        """
        Wait until no receiver writes, and keep them all from writing until the transaction ends.

        Each write of a receiver after that sees what the transaction has written.
        """

    def allow_pauses(self, connection: Connection) -> None:
        """Keep PostgreSQL from ending the transaction when its client pauses for long."""

    def clear_toolsets(self, connection: Connection) -> None:
        """Delete all rows of sets of tool names, and all entries by which their names are found."""

    def last_number(self, connection: Connection, table: str, column: str) -> int:
        """The largest number that a table ever gave to a row, in a column; 0 if there is none."""

    def continue_after(self, connection: Connection, table: str, column: str, number: int) -> None:
        """Have a table give numbers above `number` to its next rows, in a column."""

    def is_transient(self, error: DBAPIError) -> bool:
        """Whether a transaction failed only because of another one, and may succeed on a retry."""


def dialect_of(url: URL) -> Dialect:
    """The dialect of the database that a URL names."""
    return Sqlite(url) if url.get_backend_name() == "sqlite" else Postgresql()
