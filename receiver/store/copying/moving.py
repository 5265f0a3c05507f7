"""
Moves a fleet from one database to another, while receivers write to the first one.

A pass makes the second database like the first, table by table and some rows at a time. It compares
the rows, and writes only those that differ. So a move that was interrupted has only the rest to
write, and the last pass, during which no receiver writes, has little to write.
"""

import time
from collections.abc import Iterator

from attrs import frozen
from sqlalchemy import URL, Connection, func, select

from receiver.domain.copying.moving import Counts, Moved, Progress
from receiver.domain.errors import CopyRefused
from receiver.store.copying.place import Place, tables_of_now
from receiver.store.copying.plain import Key, PlainTable, Row
from receiver.store.dialects import Dialect
from receiver.store.migrations import COMING, MOVED
from receiver.store.tables import servers

__all__ = ["bring_back", "move", "rebuild_toolsets"]


def move(source: URL, target: URL, *, progress: Progress, only_copy: bool = False) -> Moved:
    """
    Move a fleet into an empty database; go on with a move that was interrupted.

    First everything is copied while receivers go on. Then receivers are made to refuse messages,
    which the senders will repeat, and what has changed meanwhile is copied. If the databases then
    have different numbers of rows in any table, CopyRefused is raised. The first database keeps its
    fleet, and a mark that keeps receivers from writing to it again.

    Args:
        source: The URL of the database with the fleet.
        target: The URL of the other database.
        progress: Called with what is being done, and how far.
        only_copy: Whether to stop after the first part, during which receivers go on. A later move
            then has little left to do.
    """
    places = Place(source), Place(target)
    try:
        return _Move(*places, progress).run(only_copy=only_copy)
    finally:
        for place in places:
            place.close()


def bring_back(source: URL) -> None:
    """
    Let receivers write again to a database that a move, finished or interrupted, has marked.

    Raises CopyRefused if the database has no such mark.
    """
    place = Place(source)
    try:
        place.unmark(MOVED)
    finally:
        place.close()


@frozen
class _Move:
    source: Place
    target: Place
    progress: Progress

    def run(self, *, only_copy: bool) -> Moved:
        self.source.check_version(MOVED)
        self.target.prepare()
        self._pass("copying")
        if only_copy:
            return Moved(self._counts(), is_done=False, silent_seconds=0.0)
        begun = time.monotonic()
        self.source.mark(MOVED)
        self._pass("comparing")
        counts = self._counts()
        different = [f"{name} ({n} and {m})" for name, (n, m) in counts.items() if n != m]
        if different:
            raise CopyRefused(
                f"{self.source} and {self.target} have different numbers of rows in "
                f"{', '.join(different)}; does another program write to one of them? Move again, "
                "or go on with the first: move --cancel"
            )
        self._finish()
        return Moved(counts, is_done=True, silent_seconds=time.monotonic() - begun)

    def _pass(self, verb: str) -> None:
        tables = tables_of_now()
        with self.source.reading() as connection:
            numbers = {table.name: table.count(connection) for table in tables}
        for table in tables:
            done = 0
            self.progress(f"{verb} {table.name}", done, numbers[table.name])
            for rows in _like(self.source, self.target, table):
                done += rows
                self.progress(f"{verb} {table.name}", done, max(done, numbers[table.name]))

    def _counts(self) -> Counts:
        found: Counts = {}
        with self.source.reading() as ours, self.target.reading() as theirs:
            for table in tables_of_now():
                found[table.name] = table.count(ours), table.count(theirs)
        return found

    def _finish(self) -> None:
        with self.source.reading() as connection:
            numbers = self.source.last_numbers(connection)
        with self.target.writing() as connection:
            rebuild_toolsets(self.target.dialect, connection)
            self.target.continue_after(connection, numbers)
        self.target.unmark(COMING)


def _like(source: Place, target: Place, table: PlainTable) -> Iterator[int]:
    """Make a table of the target like the source's; yields the number of rows of each step."""
    after: Key | None = None
    is_over = False
    while not is_over:
        with source.reading() as connection:
            ours = table.read(connection, after=after)
        is_over = len(ours) < table.window
        up_to = None if is_over else table.key(ours[-1])
        _make_like(target, table, ours, after=after, up_to=up_to)
        after = up_to
        yield len(ours)


def _make_like(
    target: Place, table: PlainTable, ours: list[Row], *, after: Key | None, up_to: Key | None
) -> None:
    """Make the rows of a range of keys in the target the same as `ours`, in one transaction."""
    wanted = {table.key(row): row for row in ours}
    with target.reading() as connection:
        theirs = {table.key(row): row for row in _range(connection, table, after, up_to)}
    changed = [row for key, row in wanted.items() if theirs.get(key) != row]
    gone = [key for key, row in theirs.items() if wanted.get(key) != row]
    if changed or gone:
        with target.writing() as connection:
            table.remove(connection, gone)
            table.add(connection, changed)


def _range(
    connection: Connection, table: PlainTable, after: Key | None, up_to: Key | None
) -> Iterator[Row]:
    """The rows after the key `after` (None: from the first) up to `up_to` (None: to the last)."""
    if up_to is not None:
        yield from table.read(connection, after=after, up_to=up_to)
        return
    while rows := table.read(connection, after=after):
        yield from rows
        after = table.key(rows[-1])


def rebuild_toolsets(dialect: Dialect, connection: Connection) -> None:
    """Write all sets of tool names that servers have anew, indexed for this kind of database."""
    dialect.clear_toolsets(connection)
    one_of_each = (
        select(servers.c.toolset, func.min(servers.c.server_id))
        .where(servers.c.toolset.is_not(None))
        .group_by(servers.c.toolset)
        .order_by(servers.c.toolset)
    )
    for number, server_id in connection.execute(one_of_each).all():
        names = select(servers.c.capabilities).where(servers.c.server_id == server_id)
        dialect.add_toolset(connection, number, connection.execute(names).scalar_one())
