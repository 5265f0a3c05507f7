"""Messages merged into the rows that they concern, within a transaction of somebody else's."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from attrs import asdict, evolve, fields
from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, union, update

from contract import (
    Event,
    EventKind,
    Heartbeat,
    Registration,
    ServerRecord,
    changes,
    merge,
    register,
)
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.store import events as timeline
from receiver.store.dialects import PULSE, Database, FacetRow
from receiver.store.ownership import Rights
from receiver.store.tables import FACETS, due_after, facet_value, facets, microseconds, servers

__all__ = [
    "SUPERSEDED",
    "Applied",
    "Committed",
    "Incoming",
    "Memory",
    "Row",
    "apply",
    "forget",
    "hand_over",
    "read",
    "row_of",
    "write",
]


class Incoming(NamedTuple):
    """A message, when it was received, and the key that it came with, if any was needed."""

    message: Registration | Heartbeat
    received_at: datetime
    key: Key | None = None


class Applied(NamedTuple):
    """The record after a message, and whether the message made it."""

    record: ServerRecord
    created: bool


class Row(NamedTuple):
    """
    What a row holds.

    Attributes:
        record: The record.
        revision: Which write of it this is.
        due_at: When to look at it again, in microseconds since 1970; None is never.
        owner: The id of the key that it belongs to, if it belongs to any.
    """

    record: ServerRecord
    revision: int
    due_at: int | None
    owner: str | None = None


class Committed(NamedTuple):
    """What a transaction leaves behind: the rows as they are now, and what happened."""

    rows: dict[str, Row]
    events: list[Event]


class Memory:
    """
    The rows of the last transactions, so as not to read them again.

    Args:
        size: How many rows to keep at least, once there were as many; at most twice that.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[str, Row] = {}
        self._old: dict[str, Row] = {}
        self._sure: set[str] = set()

    def get(self, server_id: str) -> Row | None:
        """A row as this process last saw it; another may have written it since."""
        return self._young.get(server_id) or self._old.get(server_id)

    def sure(self, ids: Iterable[str]) -> dict[str, Row]:
        """Of these rows, those that no other process has written since."""
        young, old = self._young, self._old
        return {each: young.get(each) or old[each] for each in ids if each in self._sure}

    def doubt(self) -> None:
        """Others have written: be sure of nothing."""
        self._sure.clear()

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Remember what was committed."""
        self._young.update(rows)
        self._sure.update(rows)
        if len(self._young) > self._size:
            self._old, self._young = self._young, {}
            self._sure &= self._old.keys()

    def drop(self, server_id: str) -> None:
        """Forget a row that was deleted."""
        self._young.pop(server_id, None)
        self._old.pop(server_id, None)
        self._sure.discard(server_id)


def apply(
    database: Database,
    connection: Connection,
    incoming: Sequence[Incoming],
    memory: Memory,
    rights: Rights,
) -> tuple[list[Applied | Refusal], Committed]:
    """
    Merge messages in their order, and write what they changed and what that means.

    A message whose key may not write the server, or brings one too many, changes nothing.

    Gives back what became of each message, and what is so once the transaction is
    committed.
    """
    ids = sorted({each.message.server_id for each in incoming})
    before = read(database, connection, ids, memory)
    after: dict[str, Row] = {}
    applied: list[Applied | Refusal] = []
    news: dict[str, None] = {}
    events: list[Event] = []
    if len(before) < len(ids):
        rights.begin(
            key
            for message, _, key in incoming
            if key is not None and message.server_id not in before
        )
    for message, received_at, key in incoming:
        server_id = message.server_id
        row = after.get(server_id) or before.get(server_id)
        if key is not None:
            if row is None:
                refusal = rights.to_bring(key, server_id)
            else:
                refusal = rights.to_write(key, server_id, row.owner, received_at)
            if refusal is not None:
                applied.append(refusal)
                continue
        merged = _merged(row, message, received_at, key)
        if row is None or row.owner != merged.owner or _is_news(row.record, merged.record):
            record = None if row is None else row.record
            told = changes(record, merged.record, at=merged.record.last_seen)
            events += told if key is None else rights.told(key, told)
            news[server_id] = None
            merged = merged._replace(due_at=_due(row, merged.record))
        after[server_id] = merged
        applied.append(Applied(merged.record, row is None))

    alive = [after[each] for each in ids if each in after and each not in news]
    if alive:
        database.touch(connection, map(_pulse, alive))
    write(database, connection, [(before.get(each), after[each]) for each in ids if each in news])
    events += rights.events
    timeline.write(database, connection, events)
    return applied, Committed(after, events)


def forget(
    database: Database, connection: Connection, server_id: str, at: datetime, memory: Memory
) -> Committed:
    """
    Delete what is kept of a server, but not its events; nothing happens when there is none.

    Those that it superseded are superseded by its own successor, or else are back in the
    list, and looked at at once.
    """
    ids = {server_id, *_naming(connection, server_id)}
    rows = read(database, connection, sorted(ids), memory)
    # Who is to name it waits for its row, so that nobody is missing from here on.
    rows |= read(database, connection, sorted({*_naming(connection, server_id)} - ids), memory)
    row = rows.pop(server_id, None)
    if row is None:
        return Committed({}, [])
    changed = [(each, _without(row.record, each, at)) for each in rows.values()]
    database.lose(connection, _facet_rows(row, _facets(row)))
    connection.execute(delete(servers).where(servers.c.server_id == server_id))
    write(database, connection, changed)
    events = [Event(kind=EventKind.DELETED, at=at, server_id=server_id)]
    for before, after in changed:
        events += changes(before.record, after.record, at=at)
    timeline.write(database, connection, events)
    return Committed({after.record.server_id: after for _, after in changed}, events)


def hand_over(
    database: Database,
    connection: Connection,
    ids: Iterable[str],
    owner: str | None,
    memory: Memory,
) -> Committed:
    """Let servers belong to another key, or to the one that writes them next."""
    rows = read(database, connection, sorted(ids), memory)
    changed = [(row, row._replace(owner=owner, revision=row.revision + 1)) for row in rows.values()]
    write(database, connection, changed)
    return Committed({after.record.server_id: after for _, after in changed}, [])


def _naming(connection: Connection, server_id: str) -> list[str]:
    """Those that a server superseded, and those that have it for a twin."""
    uuid = connection.execute(_UUID, {"id": server_id}).scalar()
    names = {"id": server_id, "by": facet_value(server_id), "uuid": facet_value(uuid or "")}
    return [*connection.execute(_NAMING, names).scalars()]


def _without(deleted: ServerRecord, row: Row, at: datetime) -> Row:
    """The row of another server, when one is deleted."""
    by, twin = row.record.superseded_by, row.record.twin_of
    record = evolve(
        row.record,
        superseded_by=deleted.superseded_by if by == deleted.server_id else by,
        twin_of=None if twin == deleted.server_id else twin,
    )
    is_back = by is not None and record.superseded_by is None
    due_at = microseconds(at) if is_back else row.due_at
    return row._replace(record=record, revision=row.revision + 1, due_at=due_at)


def row_of(columns: RowMapping) -> Row:
    """What a row of the table holds."""
    values = dict(columns)
    rest = [values.pop(name) for name in ("revision", "due_at", "owner")]
    return Row(ServerRecord(**values), *rest)


def read(
    database: Database, connection: Connection, ids: Sequence[str], memory: Memory
) -> dict[str, Row]:
    """The rows there are, of ids in their order; nobody else changes them until the end."""
    if not database.is_undisturbed(connection):
        memory.doubt()
    rows = memory.sure(ids)
    unsure = [each for each in ids if each not in rows]
    unknown = []
    revisions = database.revisions(connection, unsure) if unsure else {}
    for server_id, revision in revisions.items():
        row = memory.get(server_id)
        if row is not None and row.revision == revision:
            rows[server_id] = row
        else:
            unknown.append(server_id)
    if unknown:
        for columns in connection.execute(_READ, {"ids": unknown}).mappings():
            rows[columns["server_id"]] = row_of(columns)
    return rows


def _merged(
    row: Row | None, message: Registration | Heartbeat, received_at: datetime, key: Key | None
) -> Row:
    record = None if row is None else row.record
    if isinstance(message, Registration):
        after = register(record, message, received_at=received_at)
    else:
        after = merge(record, message, received_at=received_at)
    if row is None:
        owner = None if key is None else key.id
        return Row(after, microseconds(after.first_seen), None, owner)
    owner = row.owner
    if owner is None and key is not None and not key.is_admin:
        owner = key.id  # it was there before there were keys
    return Row(after, row.revision + 1, row.due_at, owner)


def _is_news(before: ServerRecord, after: ServerRecord) -> bool:
    """Whether more has changed than with every heartbeat."""
    if _description(before) != _description(after):
        return True
    old, new = before.uptime_seconds, after.uptime_seconds
    return old is not None and new is not None and new < old


def _due(before: Row | None, after: ServerRecord) -> int | None:
    """When to look at a server that has changed: at once when it may be another's other self."""
    now = microseconds(after.last_seen)
    if before is None or before.due_at is None or before.record.state.stale:
        return now
    if _identity(before.record) != _identity(after):
        return now
    return min(before.due_at, due_after(after.last_seen, after, intervals=2))


def write(
    database: Database, connection: Connection, rows: Iterable[tuple[Row | None, Row]]
) -> None:
    """Write rows, from what they were to what they are, in the order given."""
    new: list[Row] = []
    changed: list[Row] = []
    gained: list[FacetRow] = []
    lost: list[FacetRow] = []
    for before, after in rows:
        (new if before is None else changed).append(after)
        had, has = _facets(before), _facets(after)
        gained += _facet_rows(after, has - had)
        lost += _facet_rows(after, had - has)

    if new:
        connection.execute(insert(servers), list(map(_columns, new)))
    if changed:
        connection.execute(_UPDATE, [{"key": r.record.server_id, **_columns(r)} for r in changed])
    if gained:
        database.gain(connection, gained)
    if lost:
        database.lose(connection, lost)


def _pulse(row: Row) -> tuple[Any, ...]:
    """The columns that nearly every heartbeat changes, as a database keeps them; the key."""
    record = row.record
    return (
        record.status,
        record.timestamp and microseconds(record.timestamp),
        record.uptime_seconds,
        microseconds(record.last_seen),
        record.heartbeat_count,
        row.revision,
        record.server_id,
    )


def _columns(row: Row) -> dict[str, Any]:
    return {
        **asdict(row.record, recurse=False),
        "revision": row.revision,
        "due_at": row.due_at,
        "owner": row.owner,
    }


def _facets(row: Row | None) -> set[tuple[str, str]]:
    if row is None:
        return set()
    record = row.record
    known = {(name, getattr(record, field)) for name, field in FACETS.items()}
    known |= {("capability", name) for name in record.capabilities or ()}
    if record.superseded_by is None:
        known |= {("state", record.state.value), ("database_uuid", record.database_uuid)}
    else:
        known.add(("state", SUPERSEDED))
    found = {(name, facet_value(text)) for name, text in known if text is not None}
    if record.superseded_by is None:
        found.add(("standing", f"{record.state.value}/{facet_value(record.odoo_stage or '')}"))
    return found


def _facet_rows(row: Row, of: Iterable[tuple[str, str]]) -> list[FacetRow]:
    server_id = row.record.server_id
    return [(name, value, server_id) for name, value in of]


SUPERSEDED = "superseded"
"""The state by which a list finds a server that another one supersedes."""

_identity = attrgetter("database_uuid", "database", "odoo_stage", "superseded_by")
_description = attrgetter("status", *(f.name for f in fields(ServerRecord) if f.name not in PULSE))

_READ = select(servers).where(servers.c.server_id.in_(bindparam("ids", expanding=True)))
_UUID = select(servers.c.database_uuid).where(servers.c.server_id == bindparam("id"))
_NAMING = union(
    select(facets.c.server_id).where(
        facets.c.name == "superseded_by", facets.c.value == bindparam("by")
    ),
    select(facets.c.server_id)
    .join(servers, servers.c.server_id == facets.c.server_id)
    .where(
        facets.c.name == "database_uuid",
        facets.c.value == bindparam("uuid"),
        servers.c.twin_of == bindparam("id"),
    ),
)
_UPDATE = (
    update(servers)
    .where(servers.c.server_id == bindparam("key"))
    .values({column.name: bindparam(column.name) for column in servers.columns})
)
