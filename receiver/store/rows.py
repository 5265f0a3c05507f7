"""The rows of servers: caches them, reads and locks them, and writes them and their indexes."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from sys import getsizeof
from typing import Any, NamedTuple

from attrs import fields
from sqlalchemy import Connection, RowMapping, Text, delete, select

from contract import Event, ServerRecord
from contract.record import shared
from receiver.domain.agents.toolsets import toolset_id
from receiver.domain.databases import family_of
from receiver.domain.instants import microseconds
from receiver.domain.lists.profiles import Profile, profile_of
from receiver.domain.lists.search_texts import SearchText, search_text_of
from receiver.domain.queries import index_text, rank_of
from receiver.domain.rows import Mark, Row, Turns
from receiver.store.dialects import Dialect, Inserted
from receiver.store.indexes import (
    drop_profiles,
    drop_search_texts,
    drop_tallies,
    inserted_profiles,
    inserted_search_texts,
    inserted_tallies,
    lock_profiles,
)
from receiver.store.tables import (
    COLUMNS,
    DUE_COLUMNS,
    HEARTBEAT_COLUMNS,
    INDEXED_FIELDS,
    LIVENESS_COLUMNS,
    IndexEntry,
    among,
    facets,
    liveness,
    servers,
    whole_servers,
)

__all__ = [
    "WHOLE_ROWS",
    "Change",
    "Committed",
    "RowCache",
    "delete_rows",
    "index_entries",
    "read_rows",
    "records_of",
    "row_of",
    "write_changes",
    "write_due",
    "write_heartbeats",
    "write_rows",
]


class Committed(NamedTuple):
    """
    What a transaction changes once it is committed.

    Attributes:
        rows: The rows that were inserted or updated, by `server_id`.
        events: The events that were inserted.
        deleted: The `server_id`s of the rows that were deleted.
        described: The `server_id`s of those of `rows` whose size in memory may have changed much.
    """

    rows: dict[str, Row]
    events: list[Event]
    deleted: Sequence[str] = ()
    described: Collection[str] = ()


class RowCache:
    """
    A cache of rows that this process has written.

    A cached row is *current* when no other process can have changed it since it was written. Any
    other cached row is valid only if the row in the database has the same revision.

    Args:
        max_bytes: About how many bytes of memory the rows may take at most. Whenever the rows that
            were written since the last such time take half of that, all older rows are dropped.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_young_bytes = max_bytes // 2
        self._young_bytes = 0
        self._young: dict[str, Row] = {}
        self._old: dict[str, Row] = {}
        self._current: set[str] = set()

    def get(self, server_id: str) -> Row | None:
        """The cached row of a server, whether current or not; None if it is not cached."""
        return self._young.get(server_id) or self._old.get(server_id)

    def current(self, ids: Iterable[str]) -> dict[str, Row]:
        """The cached rows with these ids that are current, by `server_id`."""
        young, old = self._young, self._old
        return {each: young.get(each) or old[each] for each in ids if each in self._current}

    def invalidate(self) -> None:
        """Make no row current any more, because another process may have changed rows."""
        self._current.clear()

    def clear(self) -> None:
        """Empty the cache, because the store is now connected to another database."""
        self._young.clear()
        self._young_bytes = 0
        self._old.clear()
        self._current.clear()

    def keep(self, committed: Committed) -> None:
        """Cache the rows that a committed transaction of this process wrote; drop deleted ones."""
        young, rows = self._young, committed.rows
        # Not `rows.keys() - young.keys()`, which looks at each cached row.
        new = {server_id for server_id in rows if server_id not in young}
        for server_id in new.union(committed.described):
            self._young_bytes += _bytes_of(rows[server_id]) - _bytes_of(young.get(server_id))
        young.update(rows)
        self._current.update(rows)
        for server_id in committed.deleted:
            self._young_bytes -= _bytes_of(young.pop(server_id, None))
            self._old.pop(server_id, None)
            self._current.discard(server_id)
        if self._young_bytes > self._max_young_bytes:
            self._old, self._young = young, {}
            self._young_bytes = 0
            self._current &= self._old.keys()


def _bytes_of(row: Row | None) -> int:
    """About how many bytes of memory a row takes; 0 for None."""
    if row is None:
        return 0
    record = row.record
    addresses = record.ip_addresses.all if record.ip_addresses else ()
    texts = [
        *filter(None, _texts(record)),
        *(record.capabilities or ()),
        *(record.labels or ()),
        *addresses,
    ]
    return _BYTES_WITHOUT_TEXTS + 8 * len(texts) + sum(map(getsizeof, texts))


_BYTES_WITHOUT_TEXTS = 1_000
_FIELDS = [each.name for each in fields(ServerRecord)]
_texts = attrgetter(
    *(each.name for each in servers.c if each.name in _FIELDS and isinstance(each.type, Text))
)


def read_rows(
    dialect: Dialect, connection: Connection, ids: Sequence[str], cache: RowCache
) -> dict[str, Row]:
    """
    Read rows and lock them; return them by `server_id`, without those that do not exist.

    The ids must be sorted. The servers are locked in this order until the transaction ends, by
    their rows in `liveness`; on SQLite the lock of the file protects them. If the cache holds the
    same revision of a row as the database, the row is taken from the cache.
    """
    if not dialect.is_undisturbed(connection):
        cache.invalidate()
    rows = cache.current(ids)
    unsure = [each for each in ids if each not in rows]
    if not unsure:
        return rows
    changed = []
    for server_id, revision in dialect.found_by(connection, _REVISIONS, {"ids": unsure}):
        row = cache.get(server_id)
        if row is not None and row.revision == revision:
            rows[server_id] = row
        else:
            changed.append(server_id)
    if changed:
        for columns in connection.execute(_READ, {"ids": changed}).mappings():
            rows[columns["server_id"]] = row_of(columns)
    return rows


def records_of(
    connection: Connection, found: Sequence[tuple[str, int]], cache: RowCache
) -> list[ServerRecord]:
    """
    The records of the servers `found`, given by `server_id` and revision, in their order.

    If the cache holds this revision of a record, the record is taken from the cache; otherwise it
    is read. A server that was changed or deleted since the revisions were read is left out; in a
    transaction that sees one moment there is none.
    """
    records: dict[str, ServerRecord] = {}
    others: dict[str, int] = {}
    for server_id, revision in found:
        row = cache.get(server_id)
        if row is not None and row.revision == revision:
            records[server_id] = row.record
        else:
            others[server_id] = revision
    query = _READ_RECORDS, {"ids": [*others]}
    for columns in connection.execute(*query).mappings() if others else ():
        values = dict(columns)
        if values.pop("revision") == others[values["server_id"]]:
            records[values["server_id"]] = ServerRecord(**values)
    return [records[server_id] for server_id, _ in found if server_id in records]


def row_of(columns: RowMapping) -> Row:
    """Make a `Row` from the columns that `WHOLE_ROWS` finds for a server."""
    values = dict(columns)
    for name in _DERIVED:
        del values[name]
    rest = {name: values.pop(name) for name in _REST}
    at, *sent = (values.pop(name) for name in _MARK_COLUMNS)
    mark = None if at is None else Mark(at, *sent)
    total, *times = values.pop("turns") or (0,)
    turns = Turns(tuple(times), total)
    known = {name: shared(name, value) for name, value in values.items()}
    return Row(ServerRecord(**known), mark=mark, turns=turns, **rest)


class Change(NamedTuple):
    """
    A row before and after a change, and what that changes in the tables that servers are found by.

    Attributes:
        before: The row as it is in the database; None for a new server.
        after: The row to be written.
        gained: The rows that the table `facets`, the inverted index, gets.
        lost: The rows that `facets` loses.
        old_profile: What the server had in common with others; None for a new server.
        profile: What it has in common with others now: stage, versions, network, key and tools.
        search_text: The texts by which the server is searched; None if they stay as they are.
    """

    before: Row | None
    after: Row
    gained: Sequence[IndexEntry]
    lost: Sequence[IndexEntry]
    old_profile: Profile | None
    profile: Profile
    search_text: SearchText | None

    @classmethod
    def of(cls, before: Row | None, after: Row) -> "Change":
        """The change from the row `before`, which is None for a new server, to the row `after`."""
        has, new = _indexed(after.record), search_text_of(after.record)
        profile = profile_of_row(after)
        if before is None:
            return cls(None, after, _entries(after.server_id, has), (), None, profile, new)
        had, old = _indexed(before.record), search_text_of(before.record)
        return cls(
            before,
            after,
            gained=_entries(after.server_id, has - had),
            lost=_entries(after.server_id, had - has),
            old_profile=profile_of_row(before),
            profile=profile,
            search_text=None if new == old else new,
        )

    @property
    def cost(self) -> int:
        """
        About how many rows of other tables than `servers` and `events` change, too.

        Four more for a server that is new or in another state: its row moves in the indexes of
        `servers`, its numbers in `tallies` change, and others of its database are looked for.
        """
        before, after = self.before, self.after
        is_moved = before is None or rank_of(before.record) is not rank_of(after.record)
        changed = len(self.gained) + len(self.lost) + (self.search_text is not None)
        return changed + 2 * (self.profile != self.old_profile) + 4 * is_moved


def write_rows(
    dialect: Dialect, connection: Connection, rows: Iterable[tuple[Row | None, Row]]
) -> None:
    """
    Insert or update whole rows, and what the tables have of them by which lists find servers.

    These are `facets`, `profiles`, `tallies` and `search_texts`.

    Args:
        dialect: The dialect of the database.
        connection: The transaction.
        rows: For each server, its row as it is in the database (None if it is new), and the row to
            write.
    """
    write_changes(dialect, connection, [Change.of(before, after) for before, after in rows])


def write_changes(dialect: Dialect, connection: Connection, changes: Sequence[Change]) -> None:
    """Write the rows of changes as `write_rows` does; for who has computed the changes already."""
    new = [each for each in changes if each.before is None]
    old = [each for each in changes if each.before is not None]
    added = [entry for each in changes for entry in each.gained]
    removed = [entry for each in changes for entry in each.lost]

    texts = [(each.after.server_id, each.search_text) for each in changes if each.search_text]
    others = [each for each in changes if each.profile != each.old_profile]
    left = [each.old_profile for each in others if each.old_profile is not None]

    # The profiles that servers lose are locked with those that they get, all in one order.
    dialect.insert(
        connection,
        Inserted(servers, _STANDING_COLUMNS, [*map(_standing_values, new)]),
        Inserted(liveness, _MOVING_COLUMNS, [_moving_values(each.after) for each in new]),
        inserted_search_texts(texts),
        Inserted(facets, IndexEntry._fields, added),
        inserted_profiles([*(each.profile for each in others), *left]),
        inserted_tallies(dialect, _tallied(changes)),
    )
    if old:
        values = map(_standing_values, old)
        dialect.update_servers(
            connection, [dict(zip(_STANDING_COLUMNS, each, strict=True)) for each in values]
        )
        rows = (_liveness_values(each.after) for each in old)
        dialect.update_liveness(connection, LIVENESS_COLUMNS, rows)
    if removed:
        dialect.remove_index_entries(connection, removed)
    if left:
        drop_profiles(connection, left)
        drop_tallies(connection, left)


def _tallied(changes: Iterable[Change]) -> Mapping[tuple[int, int], int]:
    """By the id of a profile and a rank, how many servers more have both after changes."""
    found: Counter[tuple[int, int]] = Counter()
    for each in changes:
        found[each.profile.id, rank_of(each.after.record).value] += 1
        if each.before is not None and each.old_profile is not None:
            found[each.old_profile.id, rank_of(each.before.record).value] -= 1
    return found


def profile_of_row(row: Row) -> Profile:
    """What a server has in common with others: stage, versions, network, key and tools."""
    return profile_of(row.record, row.owner)


def delete_rows(dialect: Dialect, connection: Connection, rows: Iterable[Row]) -> None:
    """Delete rows, and what `facets`, `profiles`, `tallies` and `search_texts` have of them."""
    gone = sorted(rows, key=lambda row: row.server_id)
    ids = [row.server_id for row in gone]
    entries = [entry for row in gone for entry in sorted(index_entries(row))]
    dialect.remove_index_entries(connection, entries)
    for statement in _DELETES:
        connection.execute(statement, {"ids": ids})
    drop_search_texts(connection, ids)
    left = [*map(profile_of_row, gone)]
    lock_profiles(dialect, connection, left)
    drop_profiles(connection, left)
    lost = Counter(
        (profile.id, rank_of(row.record).value) for profile, row in zip(left, gone, strict=True)
    )
    tallied = {place: -number for place, number in lost.items()}
    dialect.insert(connection, inserted_tallies(dialect, tallied))
    drop_tallies(connection, left)


def write_heartbeats(dialect: Dialect, connection: Connection, rows: Iterable[Row]) -> None:
    """Update the `HEARTBEAT_COLUMNS` of rows whose other columns have not changed."""
    dialect.update_liveness(connection, HEARTBEAT_COLUMNS, map(_heartbeat_values, rows))


def write_due(dialect: Dialect, connection: Connection, rows: Iterable[Row]) -> None:
    """Update the `DUE_COLUMNS` of rows whose other columns have not changed."""
    due = [*map(_due_values, rows)]
    if due:
        dialect.update_liveness(connection, DUE_COLUMNS, due)


def index_entries(row: Row) -> list[IndexEntry]:
    """The rows that the table `facets`, the inverted index, must have for a server."""
    return _entries(row.server_id, _indexed(row.record))


def _indexed(record: ServerRecord) -> set[tuple[str, str | None]]:
    """Pairs of `name` and `value` for the rows of a server in `facets`; None stands for no row."""
    texts = {(name, getattr(record, field)) for name, field in INDEXED_FIELDS.items()}
    return texts | {("label", text) for text in record.labels or ()}


def _entries(server_id: str, texts: Iterable[tuple[str, str | None]]) -> list[IndexEntry]:
    return [
        IndexEntry(name, index_text(text), server_id) for name, text in texts if text is not None
    ]


def _heartbeat_values(row: Row) -> tuple[Any, ...]:
    """The values of `HEARTBEAT_COLUMNS` and the `server_id`, as the database stores them."""
    record = row.record
    return (
        record.sequence,
        record.timestamp and microseconds(record.timestamp),
        record.uptime_seconds,
        microseconds(record.last_seen),
        record.heartbeat_count,
        row.revision,
        record.server_id,
    )


def _due_values(row: Row) -> tuple[Any, ...]:
    """The values of `DUE_COLUMNS` and the `server_id`, as the database stores them."""
    mark = row.mark or _NO_MARK
    return (row.due_at, *mark, row.revision, row.server_id)


def _liveness_values(row: Row) -> tuple[Any, ...]:
    """The values of `LIVENESS_COLUMNS` and the `server_id`, as the database stores them."""
    *sent, _, _ = _heartbeat_values(row)
    return (*sent, *_due_values(row))


def _standing_values(change: Change) -> tuple[Any, ...]:
    """The values of `_STANDING_COLUMNS`: the row of a server in `servers`."""
    row = change.after
    record = row.record
    return (
        *_standing(record),
        row.owner,
        row.repeats,
        row.catalogue,
        toolset_id(record.capabilities),
        rank_of(record).value,
        change.profile.id,
        family_of(record),
        [row.turns.total, *row.turns.times] if any(row.turns) else None,
    )


def _moving_values(row: Row) -> tuple[Any, ...]:
    """The values of `_MOVING_COLUMNS`: the row of a server in `liveness`."""
    return (*_moving(row.record), *(row.mark or _NO_MARK), row.revision, row.due_at)


_DERIVED = ("toolset", "rank", "profile", "family")
"""Columns that follow from others."""

_REST = ("revision", "due_at", "owner", "repeats", "catalogue")
_MARK_COLUMNS = ("mark_at", "mark_heartbeats", "mark_sequence")
_NO_MARK = (None, None, None)


_STANDING_FIELDS = [name for name in _FIELDS if name in servers.c]
_standing = attrgetter(*_STANDING_FIELDS)
_STANDING_COLUMNS = (
    *_STANDING_FIELDS,
    "owner",
    "repeats",
    "catalogue",
    "toolset",
    "rank",
    "profile",
    "family",
    "turns",
)
_MOVING_FIELDS = [name for name in _FIELDS if name in liveness.c]
_moving = attrgetter(*_MOVING_FIELDS)
_MOVING_COLUMNS = (*_MOVING_FIELDS, *_MARK_COLUMNS, "revision", "due_at")

WHOLE_ROWS = select(*COLUMNS.values()).select_from(whole_servers)
"""The query for all columns of servers, of both of their rows, as `row_of` takes them."""

_REVISIONS = (
    select(liveness.c.server_id, liveness.c.revision)
    .where(among(liveness.c.server_id, "ids"))
    .order_by(liveness.c.server_id)
    .with_for_update()
)
_READ = WHOLE_ROWS.where(among(servers.c.server_id, "ids")).order_by(servers.c.server_id)
_READ_RECORDS = (
    select(liveness.c.revision, *(COLUMNS[each.name] for each in fields(ServerRecord)))
    .select_from(whole_servers)
    .where(among(servers.c.server_id, "ids"))
)
_DELETES = [delete(each).where(among(each.c.server_id, "ids")) for each in (servers, liveness)]
