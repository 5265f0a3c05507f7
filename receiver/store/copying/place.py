"""
A database that is copied from or to, and the marks that keep receivers from writing to it.

A mark is a word before the version of the tables, such as `moved-0013` in place of `0013`. Each
transaction of a receiver looks at the version. So a receiver refuses all messages while there is a
mark, even if it was running before.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection, inspect, text

from receiver.domain.errors import CopyRefused, StoreUnavailable
from receiver.store import migrations
from receiver.store.copying.plain import PlainTable, count
from receiver.store.dialects import dialect_of
from receiver.store.migrations import COMING, MOVED, NEWEST
from receiver.store.tables import metadata
from receiver.store.transactions import is_about_a_lock, unavailable

__all__ = ["Place", "tables_in", "tables_of_now"]

T = TypeVar("T")

_DERIVED = ("alembic_version", "commits", "toolset_words", "catalogue_words", "sqlite_")
"""
The beginnings of names of tables that are not copied.

They are the version, what PostgreSQL has of commits under way, the full-text indexes of SQLite, and
what SQLite has for itself.
"""

_TOOLSETS = "toolsets"
"""The sets of tool names, which each database indexes in a way of its own, and makes anew."""

_ATTEMPTS = 15
"""How often, for two seconds each, to wait for locks that receivers hold for some milliseconds."""

_PAUSE_SECONDS = 0.2


class Place:
    """
    A database that is copied from or to.

    Args:
        url: The URL of the database.

    Attributes:
        dialect: The operations for which SQLite and PostgreSQL need different code.
    """

    def __init__(self, url: URL) -> None:
        self.dialect = dialect_of(url)
        self._url = url
        self._engine = self.dialect.create_engine(url)

    def __str__(self) -> str:
        """The URL, with its password masked."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A context with a transaction that reads, at one moment, and lets others write."""
        options = {"reads": True, **self.dialect.reading}
        with (
            unavailable(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A context with a transaction that is committed at the end of the context."""
        with unavailable(), self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    def last_numbers(self, connection: Connection) -> dict[str, int]:
        """By table, the last number that it gave to a row, even if the row was deleted since."""
        return {
            table.name: self.dialect.last_number(connection, table.name, table.number)
            for table in tables_in(connection)
            if table.number is not None
        }

    def continue_after(self, connection: Connection, numbers: Mapping[str, int]) -> None:
        """Have each table give its next rows higher numbers than that in `numbers`."""
        for table in tables_in(connection):
            if table.number is not None and table.name in numbers:
                number = numbers[table.name]
                self.dialect.continue_after(connection, table.name, table.number, number)

    def check_version(self, prefix: str) -> None:
        """Raise CopyRefused unless the tables are of this version, unmarked or marked `prefix`."""
        with self.reading() as connection:
            self._check_version(connection, prefix)

    def _check_version(self, connection: Connection, prefix: str) -> None:
        found = migrations.applied(connection)
        if found not in ([NEWEST], [f"{prefix}{NEWEST}"]):
            raise CopyRefused(f"{self}: {_about(found)}")

    def check_readable(self, connection: Connection) -> None:
        """Raise CopyRefused unless there is a whole fleet, of this version or an earlier one."""
        found = migrations.applied(connection)
        is_whole = len(found) == 1 and migrations.is_known(found[0].removeprefix(MOVED))
        if not is_whole:
            raise CopyRefused(f"{self}: {_about(found)}")

    def mark(self, prefix: str) -> None:
        """
        Set the mark `prefix`, and commit. From then on receivers refuse to write.

        What they have acknowledged before is in the database. Changes nothing if the mark is set
        already. Raises CopyRefused if the tables are of another version than this program's, or
        have another mark.
        """

        def work(connection: Connection) -> None:
            self.dialect.lock_out_writers(connection)
            self._check_version(connection, prefix)
            self.set_version(connection, f"{prefix}{NEWEST}")

        self._attempted(work)

    def unmark(self, prefix: str) -> None:
        """Remove the mark `prefix`, so that receivers can write; raise CopyRefused without it."""

        def work(connection: Connection) -> None:
            found = migrations.applied(connection)
            if found != [f"{prefix}{NEWEST}"]:
                raise CopyRefused(f"{self}: {_about(found)}")
            self.set_version(connection, NEWEST)

        self._attempted(work)

    def prepare(self) -> None:
        """
        Create the tables of a database to which a fleet is copied, and mark it.

        Changes nothing if an earlier copy was interrupted, so that it can go on. Raises CopyRefused
        if the database has a fleet already, or other tables.
        """
        coming = f"{COMING}{NEWEST}"

        def work(connection: Connection) -> None:
            self.dialect.lock_migrations(connection)
            found = migrations.applied(connection)
            if found == [coming]:
                return
            if found not in ([], [NEWEST]):
                raise CopyRefused(f"{self}: {_about(found)}")
            if not found:
                self._refuse_tables(connection)
                migrations.upgrade(connection)
            self._refuse_fleet(connection)
            self.set_version(connection, coming)

        self._attempted(work)

    def prepare_import(self, version: str) -> None:
        """
        Create empty tables of a version for the rows of an export file, and mark the database.

        What an earlier import into tables of this version has left, because it was interrupted, is
        deleted. Raises CopyRefused if the database has a fleet already, or other tables, or if this
        program does not know the version.
        """
        if not migrations.is_known(version):
            raise CopyRefused(
                f"the file has tables of version {version}, and this program knows versions up to "
                f"{NEWEST}; use the version of the program that wrote it, or a newer one"
            )

        def work(connection: Connection) -> None:
            self.dialect.lock_migrations(connection)
            found = migrations.applied(connection)
            if found not in ([], [version], [f"{COMING}{version}"]):
                raise CopyRefused(f"{self}: {_about(found)}")
            if found == [version]:
                self._refuse_fleet(connection)
            if not found:
                self._refuse_tables(connection)
                migrations.upgrade(connection, version)
            for table in tables_in(connection):
                table.clear(connection)
            self.set_version(connection, f"{COMING}{version}")

        self._attempted(work)

    def _refuse_tables(self, connection: Connection) -> None:
        if inspect(connection).get_table_names():
            raise CopyRefused(f"{self} has tables that are not of a fleet; name an empty database")

    def _refuse_fleet(self, connection: Connection) -> None:
        names = {*inspect(connection).get_table_names()}
        counts = {name: count(connection, name) for name in _KEPT if name in names}
        full = [f"{number} {name}" for name, number in counts.items() if number]
        if full:
            raise CopyRefused(
                f"{self} has a fleet already ({', '.join(full)}); name an empty database"
            )

    def set_version(self, connection: Connection, version: str) -> None:
        """Write the version of the tables, or a mark with it."""
        statement = text("UPDATE alembic_version SET version_num = :version")
        connection.execute(statement, {"version": version})

    def _attempted(self, work: Callable[[Connection], T]) -> T:
        """Run a short transaction, again and again while others hold locks for long."""
        for _ in range(_ATTEMPTS - 1):
            try:
                with self.writing() as connection:
                    return work(connection)
            except StoreUnavailable as error:
                if not is_about_a_lock(error):
                    raise
                time.sleep(_PAUSE_SECONDS)
        with self.writing() as connection:
            return work(connection)


_KEPT = ("servers", "keys", "events", "alert_channels", "alert_rules")
"""A database has a fleet if one of these tables has rows; until then a receiver only opened it."""


def tables_of_now() -> list[PlainTable]:
    """The tables that are copied, in the version that this program uses."""
    return [
        PlainTable.of(
            table.name,
            {each.name: each.type for each in table.columns},
            [each.name for each in table.primary_key],
        )
        for table in metadata.sorted_tables
        if _is_copied(table.name)
    ]


def tables_in(connection: Connection) -> list[PlainTable]:
    """The tables that are copied, as a database has them, in whatever version."""
    # Not by MetaData.reflect, which also reads what a copy does not need, such as the indexes.
    inspector = inspect(connection)
    names = [name for name in sorted(inspector.get_table_names()) if _is_copied(name)]
    columns = inspector.get_multi_columns(filter_names=names)
    keys = inspector.get_multi_pk_constraint(filter_names=names)
    return [
        PlainTable.of(
            name,
            {each["name"]: each["type"] for each in columns[None, name]},
            keys[None, name]["constrained_columns"],
        )
        for name in names
    ]


def _is_copied(name: str) -> bool:
    return name != _TOOLSETS and not name.startswith(_DERIVED)


def _about(versions: list[str]) -> str:
    """What is wrong with tables of these versions."""
    if not versions:
        return "there is no fleet; is the URL right?"
    if versions == [NEWEST]:
        return "it is not being moved"
    (version, *_) = versions
    if version.startswith((MOVED, COMING)) and not version.endswith(f"-{NEWEST}"):
        return f"it was marked by another version of this program (tables {version}); use that one"
    found = migrations.trouble(versions)
    assert found is not None  # [NEWEST] has been answered
    return found
