"""Merges messages into rows, and changes the owners of servers, in the caller's transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from random import getrandbits
from time import perf_counter, thread_time

from attrs import evolve, fields
from sqlalchemy import Connection, func, select, union_all

from contract import (
    Event,
    Heartbeat,
    Registration,
    ServerRecord,
    Tool,
    changes,
    interval,
    merge,
    merge_repeated,
    register,
    tool_changes,
)
from receiver.domain.agents.toolsets import toolset_id
from receiver.domain.databases import CONFLICT, damped, family_of, repeats_after
from receiver.domain.databases.decisions import is_alone
from receiver.domain.databases.liveness import due_at
from receiver.domain.errors import Refusal
from receiver.domain.instants import microseconds
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.rows import Row, Turns, catalogue_id
from receiver.store.catalogues import (
    NewCatalogue,
    is_stored,
    read_tools,
    toolset_of,
    write_catalogues,
    write_toolsets,
)
from receiver.store.dialects import Dialect
from receiver.store.events import write_events
from receiver.store.labels import inherited, moved_between_databases, subjects_of
from receiver.store.ownership import Rights
from receiver.store.rows import (
    Change,
    Committed,
    RowCache,
    read_rows,
    write_changes,
    write_due,
    write_heartbeats,
    write_rows,
)
from receiver.store.tables import HEARTBEAT_COLUMNS, among, annotations, constant, servers

__all__ = ["apply", "hand_over"]


def apply(  # noqa: PLR0913 - the transaction, and what is to be written
    dialect: Dialect,
    connection: Connection,
    incoming: Sequence[Incoming],
    cache: RowCache,
    rights: Rights,
    *,
    allowed: Callable[[], float],
) -> tuple[list[Applied | Refusal], Committed]:
    """
    Authorise messages, merge them in their order, and write the rows and events that this changes.

    A message is refused, and changes no row of a server, if its key may not write its server, or if
    the server is new and its key owns as many servers as it may.

    Args:
        dialect: The dialect of the database.
        connection: The transaction.
        incoming: The messages.
        cache: The cached rows of servers.
        rights: Decides about the keys, and counts what they use.
        allowed: Returns how many seconds of processor time all messages of this call may take
            together, to merge them and, by an estimate, to write what they change. This is the
            budget of the whole call, and not what is left of it. It is called after each message,
            because the budget may change meanwhile. Once the messages so far have used it up, the
            remaining ones are left out. The first message is never left out.

    Returns:
        The results of the messages that were not left out, in their order: the first one is that of
        the first message, and the list is shorter than `incoming` if some were left out. And what
        the transaction changes.
    """
    ids = sorted({each.message.server_id for each in incoming})
    rows = read_rows(dialect, connection, ids, cache)
    batch = _Batch(rows, rights, dialect, connection, cache)
    rights.count_servers(
        each.key
        for each in incoming
        if each.key is not None and each.message.server_id not in batch.before
    )
    outcomes: list[Applied | Refusal] = []
    used = _ProcessorTime()
    for each in incoming:
        refusal = None if each.key is None else batch.refusal(each.key, each)
        outcomes.append(refusal or batch.merge(each))
        if used.reaches(allowed() - batch.changed_rows * _SECONDS_PER_ROW):
            break
    return outcomes, batch.write(dialect, connection, ids)


_WORDS_PER_ROW = 20
"""About how many words of a catalogue can be stored in the time that one row takes."""

_TOOLS_PER_ROW = 4
"""About how many names of tools can be indexed in the time that one row takes."""

_FEW_TOOLS = 16
"""Of how many tools it takes about as long to index them as to look whether they are."""

_KNOWN_TOOLS_PER_ROW = 40
"""About how many names of tools a server's row and an event can hold in the time of one row."""

_SECONDS_PER_ROW = 30e-6
"""
About how long it takes to insert, update or delete a row.

On a machine of its own SQLite takes 10 to 20 µs, most of it for the inverted index, and
PostgreSQL 20 to 50.
"""


class _ProcessorTime:
    """The processor time that this thread has used since the object was made."""

    def __init__(self) -> None:
        self._begun = thread_time()
        self._begun_on_wall = perf_counter()

    def reaches(self, seconds: float) -> bool:
        """Whether the thread has used at least so many seconds."""
        # A thread uses no more processor time than passes on the wall, and a look at that costs a
        # tenth: the clock of a thread needs a system call, for each message.
        return (
            perf_counter() - self._begun_on_wall >= seconds
            and thread_time() - self._begun >= seconds
        )


class _Batch:
    """
    The rows of the servers whose messages one transaction merges, before and after that.

    Attributes:
        before: The rows of the servers as they were before the transaction, by `server_id`.
        changed_rows: About how many rows of all tables `write` will change. What takes longer than
            to write a row counts as several.
    """

    def __init__(
        self,
        before: Mapping[str, Row],
        rights: Rights,
        dialect: Dialect,
        connection: Connection,
        cache: RowCache,
    ) -> None:
        self.before = before
        self.changed_rows = 0
        self._rights = rights
        self._cache = cache
        self._after: dict[str, Row] = {}
        self._changes: dict[str, Change] = {}
        """
        The changes of rows in more than `HEARTBEAT_COLUMNS`, by the ids of the servers.

        In `HEARTBEAT_COLUMNS` alone, the rows of `_after` may be newer than these changes.
        """
        self._keys: dict[str, Key | None] = {}
        """The keys of the last messages that changed these rows, by the ids of the servers."""
        self._events: list[Event] = []
        self._entries: dict[str, int] = {}
        """How many rows of the inverted index each server changes."""
        self._dialect = dialect
        self._connection = connection
        self._tools: dict[str, Sequence[Tool]] = {}
        """The tools of the catalogues that servers had, by the ids of the catalogues."""
        self._catalogues: dict[str, NewCatalogue] = {}
        """The catalogues that servers get, by the ids of the catalogues."""
        self._toolsets: dict[int, int] = {}
        """By the id of a set of tool names that servers get, how many changed rows it counts as."""

    def refusal(self, key: Key, incoming: Incoming) -> Refusal | None:
        """Why the key of a message may not write its server; None if it may."""
        server_id = incoming.message.server_id
        row = self._row(server_id)
        if row is None:
            return self._rights.to_create(key, server_id)
        return self._rights.to_write(key, server_id, row.owner, incoming.received_at)

    def merge(self, incoming: Incoming) -> Applied:
        """Merge a message into the row of its server; `write` will write the row and the events."""
        message = incoming.message
        before = self._row(message.server_id)
        after = None if before is None else _repeated(before, incoming)
        if after is None:
            after = _merged(before, incoming)
            if before is None or _is_description_changed(before, after, message):
                after = self._described(before, after, incoming)
        self._after[message.server_id] = after
        self.changed_rows += 1
        record = after.record
        if isinstance(message, Heartbeat):
            return Applied(record, before is None, after.lacks_tools, _is_early(before, record))
        return Applied(record, before is None)

    def _described(self, before: Row | None, after: Row, incoming: Incoming) -> Row:
        """The row after a message that changed its description; notes events and other tables."""
        message, _, key, _ = incoming
        record = after.record
        rows_before = self.changed_rows
        told = changes(before and before.record, record, at=record.last_seen, message=message)
        told += self._tool_changes(before, after, message)
        is_over = key is not None and self._rights.is_over_budget(key)
        after, told = damped(after, told, at=record.last_seen, is_over_budget=is_over)
        told = told if key is None else self._rights.within_budget(key, told)
        self._events += told
        self._keys[record.server_id] = key
        after = after._replace(due_at=_due_at(before, after.record))
        self._count_entries(after)
        self.changed_rows += len(told)
        if key is not None:
            self._rights.rows[key.id] += self.changed_rows - rows_before
        return after

    def write(self, dialect: Dialect, connection: Connection, ids: Sequence[str]) -> Committed:
        """Write the changed rows, in the order of the sorted `ids`, and then the events."""
        rows = [self._after[each] for each in ids if each in self._after]
        alive = [row for row in rows if row.server_id not in self._changes]
        if alive:
            write_heartbeats(dialect, connection, alive)
        described = [
            change if change.after is row else change._replace(after=row)
            for row in rows
            if (change := self._changes.get(row.server_id)) is not None
        ]
        relabelled = self._write_described(dialect, connection, described)
        events = [*self._events, *self._charged(relabelled.events), *self._rights.events]
        write_events(dialect, connection, events)
        after = self._after | relabelled.rows
        return Committed(after, events, described={*self._changes, *relabelled.rows})

    def _write_described(
        self, dialect: Dialect, connection: Connection, described: Sequence[Change]
    ) -> Committed:
        """Write changes of descriptions; returns what `_related` does."""
        if not described:  # as nearly always
            return Committed({}, [])
        write_changes(dialect, connection, described)
        pairs = [(each.before, each.after) for each in described]
        changed = [
            (before and before.catalogue, after.catalogue)
            for before, after in pairs
            if before is None or before.catalogue != after.catalogue
        ]
        new = {name: self._catalogues[name] for _, name in changed if name is not None}
        write_catalogues(connection, new, {name for name, _ in changed if name is not None})
        others = [pair for pair in pairs if _has_other_tools(*pair)]
        write_toolsets(
            dialect,
            connection,
            new=toolset_of(after for _, after in others),
            left=toolset_of(before for before, _ in others),
        )
        return self._related(dialect, connection, pairs)

    def _related(
        self, dialect: Dialect, connection: Connection, pairs: Sequence[tuple[Row | None, Row]]
    ) -> Committed:
        """
        Look whether servers share their databases with others, which may have labels.

        Servers that may join others are checked at once if others have their `database_uuid`, and
        those that are new to their databases get the labels of these.

        Their rows must be written already. Of two transactions that add servers of one database at
        the same time, the second one sees the server of the first one, because the numbering of
        events, which all lock last, is locked before.

        Args:
            dialect: The dialect of the database.
            connection: The transaction.
            pairs: The rows of the servers before and after the transaction.

        Returns the rows that were written again with other labels, and the events to write.
        """
        joining = [
            (family, after)
            for before, after in pairs
            if _may_join(before, after.record) and (family := family_of(after.record)) is not None
        ]
        moved = moved_between_databases(pairs)
        if not (joining or moved):
            return Committed({}, [])
        dialect.lock_events(connection)
        families = [*{family for family, _ in joining}]
        given = {"families": families, "subjects": [*subjects_of(moved)]}
        found = dialect.found_by(connection, _RELATED, given)
        shared = {text for is_annotated, text in found if not is_annotated}
        self._check(dialect, connection, [row for family, row in joining if family in shared])
        if len(shared) == len(found):
            return Committed({}, [])
        return inherited(dialect, connection, moved, self._cache, self._after)

    def _check(self, dialect: Dialect, connection: Connection, rows: Iterable[Row]) -> None:
        """Let servers be checked at once."""
        due = [row._replace(due_at=microseconds(row.record.last_seen)) for row in rows]
        write_due(dialect, connection, due)
        self._after |= {row.server_id: row for row in due}

    def _charged(self, events: Iterable[Event]) -> list[Event]:
        """Those of the events about new labels of servers that the servers' keys may cause."""
        told: list[Event] = []
        for event in events:
            key = self._keys[event.server_id or ""]
            told += [event] if key is None else self._rights.within_budget(key, [event])
        return told

    def _tool_changes(
        self, before: Row | None, after: Row, message: Registration | Heartbeat
    ) -> list[Event]:
        """What has changed in the description of a server's tools; remembers the new one."""
        old, new = before and before.catalogue, after.catalogue
        if old == new:
            return []
        assert isinstance(message, Registration)  # nothing else brings a description
        assert message.tools is not None
        assert new is not None
        if new not in self._catalogues:
            found = NewCatalogue.of(self._connection, new, message.tools)
            self._catalogues[new] = found
            self.changed_rows += 1 + len(found.words or ()) // _WORDS_PER_ROW
        record = after.record
        return tool_changes(record.server_id, self._known(old), message.tools, at=record.last_seen)

    def _known(self, catalogue: str | None) -> Sequence[Tool]:
        """The tools of the catalogue with this id, which a server had; empty for None."""
        if catalogue is None:
            return ()
        if catalogue in self._catalogues:
            return self._catalogues[catalogue].tools
        if catalogue not in self._tools:
            self._tools[catalogue] = read_tools(self._connection, catalogue)
        return self._tools[catalogue]

    def _count_entries(self, after: Row) -> None:
        before = self.before.get(after.server_id)
        change = self._changes[after.server_id] = Change.of(before, after)
        changed = change.cost
        if _has_other_tools(before, after):
            changed += self._rows_of_tools(after)
        self.changed_rows += changed - self._entries.get(after.server_id, 0)
        self._entries[after.server_id] = changed

    def _rows_of_tools(self, row: Row) -> int:
        """The number of changed rows as which a server's new list of tool names counts."""
        names = row.record.capabilities
        number = toolset_id(names)
        if not names or number is None:
            return 0
        if number not in self._toolsets:
            is_known = len(names) > _FEW_TOOLS and is_stored(
                self._dialect, self._connection, number
            )
            self._toolsets[number] = 0 if is_known else 1 + len(names) // _TOOLS_PER_ROW
        return self._toolsets[number] + len(names) // _KNOWN_TOOLS_PER_ROW

    def _row(self, server_id: str) -> Row | None:
        return self._after.get(server_id) or self.before.get(server_id)


def hand_over(
    dialect: Dialect,
    connection: Connection,
    ids: Iterable[str],
    owner: str | None,
    cache: RowCache,
) -> Committed:
    """
    Make the key with the id `owner` the owner of the servers `ids`.

    If `owner` is None, the servers belong to no key at first. The next key that writes one of them
    becomes its owner, unless it is an administrator's.

    Returns what the transaction changes; its `rows` are those of the servers that exist.
    """
    rows = read_rows(dialect, connection, sorted(ids), cache)
    changed = [(row, row._replace(owner=owner, revision=row.revision + 1)) for row in rows.values()]
    write_rows(dialect, connection, changed)
    return Committed({after.server_id: after for _, after in changed}, [])


def _repeated(row: Row, incoming: Incoming) -> Row | None:
    """
    The row after a heartbeat that repeats its record, and changes `HEARTBEAT_COLUMNS` only.

    This is what `_merged` returns, in half of the time. None for a message that may change more.
    """
    message, received_at, key, repeated = incoming
    record = row.record
    if record is not repeated or not isinstance(message, Heartbeat):
        return None
    after = merge_repeated(record, message, received_at=received_at)
    if (
        after.state is not record.state
        or record.superseded_by is not None
        or (row.owner is None and key is not None)
        or row.repeats
        or repeats_after(row, message)
        or _has_restarted(record, after, message)
    ):
        return None
    return Row(
        after, row.revision + 1, row.due_at, row.owner, row.mark, 0, row.turns, row.catalogue
    )


def _merged(row: Row | None, incoming: Incoming) -> Row:
    """The row after merging a message: new record, revision and owner, but the old `due_at`."""
    message, received_at, key, _ = incoming
    record = None if row is None else row.record
    if isinstance(message, Registration):
        after = register(record, message, received_at=received_at)
    else:
        after = merge(record, message, received_at=received_at)
    catalogue = None if row is None else row.catalogue
    if isinstance(message, Registration) and message.tools is not None:
        assert after.tools_digest is not None  # it is that of the tools
        catalogue = catalogue_id(after.tools_digest, message.tools)
    if row is None:
        owner = None if key is None else key.id
        return Row(after, getrandbits(62), None, owner, None, 0, _NO_TURNS, catalogue)
    owner = row.owner
    if owner is None and key is not None and not key.is_admin:
        owner = key.id  # the server was created when no keys were required
    repeats = repeats_after(row, message)
    if repeats >= CONFLICT and after.conflict_since is None:
        after = evolve(after, conflict_since=after.last_seen)
    elif not repeats and after.conflict_since is not None:
        after = evolve(after, conflict_since=None)
    # By place: names take twice as long, and `row._replace` four times.
    return Row(after, row.revision + 1, row.due_at, owner, row.mark, repeats, row.turns, catalogue)


def _is_description_changed(before: Row, after: Row, message: Registration | Heartbeat) -> bool:
    """
    Whether a message changed more of a row than almost every heartbeat does.

    More is any column that is not in `HEARTBEAT_COLUMNS`, and an uptime that fell: a restart,
    unless the message has `started_at`, whose change tells of restarts itself.
    """
    if _apart(before) != _apart(after):
        return True
    if _description(before.record) != _description(after.record):
        return True
    return _has_restarted(before.record, after.record, message)


def _has_restarted(
    before: ServerRecord, after: ServerRecord, message: Registration | Heartbeat
) -> bool:
    """Whether the uptime fell and the message has no `started_at`, which would tell of restarts."""
    old, new = before.uptime_seconds, after.uptime_seconds
    return old is not None and new is not None and new < old and message.started_at is None


def _has_other_tools(before: Row | None, after: Row) -> bool:
    """Whether a server's list of tool names is not the same as before."""
    return before is None or before.record.capabilities != after.record.capabilities


def _is_early(before: Row | None, after: ServerRecord) -> bool:
    """Whether a heartbeat came in less than half of the interval that its server has declared."""
    declared = after.heartbeat_interval_seconds
    if before is None or declared is None or before.record.heartbeat_interval_seconds != declared:
        return False
    passed = after.last_seen - before.record.last_seen
    return passed + passed < interval(after)


def _due_at(before: Row | None, after: ServerRecord) -> int | None:
    """
    The new `due_at` of a server whose record has changed in more than `HEARTBEAT_COLUMNS`.

    In microseconds since 1970. It is the time of the message, so that the server is checked at
    once, when the server may have become the successor, a node or the twin of another server. But
    one without relations to others is taken for the only server of its database, which needs no
    check as long as it sends. `_Batch.write` finds out whether there are others.
    """
    silent_at = due_at(after, heard_since=after.last_seen)
    if before is None:
        return silent_at
    now = microseconds(after.last_seen)
    if silent_at is None:  # it has left
        return now
    if _may_join(before, after):
        is_lone = is_alone([before]) and after.flapping_since is None
        return silent_at if is_lone else now
    return now if before.due_at is None else min(before.due_at, silent_at)


def _may_join(before: Row | None, after: ServerRecord) -> bool:
    """Whether a server may share its database with others from now on: it is new, back or moved."""
    return (
        before is None or before.record.state.stale or _identity(before.record) != _identity(after)
    )


_NO_TURNS = Turns()
_apart = attrgetter("owner", "repeats", "catalogue")
_identity = attrgetter("database_uuid", "database", "odoo_stage", "superseded_by")
_description = attrgetter(
    *(each.name for each in fields(ServerRecord) if each.name not in HEARTBEAT_COLUMNS)
)

_RELATED = union_all(
    select(constant(0), servers.c.family)
    .where(
        among(servers.c.family, "families"),
        servers.c.family.is_not(None),
        servers.c.superseded_by.is_(None),
    )
    .group_by(servers.c.family)
    .having(func.count() > constant(1)),
    select(constant(1), annotations.c.subject).where(among(annotations.c.subject, "subjects")),
)
"""
The `family` values among `families` that several servers share, and the `subjects` with labels or
a note; the first column tells which of both the second one is.
"""
