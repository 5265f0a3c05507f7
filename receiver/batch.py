"""Messages merged into the rows that they concern, within a transaction of somebody else's."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from attrs import asdict, fields
from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from contract import Heartbeat, Registration, ServerRecord, merge, register
from receiver.databases import PULSE, Database
from receiver.tables import FACETS, facet_value, microseconds, servers

__all__ = ["Applied", "Incoming", "Memory", "Row", "apply", "forget", "row_of"]


class Incoming(NamedTuple):
    """A message, and when it was received."""

    message: Registration | Heartbeat
    received_at: datetime


class Applied(NamedTuple):
    """The record after a message, and whether the message made it."""

    record: ServerRecord
    created: bool


class Row(NamedTuple):
    """What a row holds: the record, and which write of it this is."""

    record: ServerRecord
    revision: int


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
    database: Database, connection: Connection, incoming: Sequence[Incoming], memory: Memory
) -> tuple[list[Applied], dict[str, Row]]:
    """
    Merge messages in their order, and write what they changed.

    Gives back what became of each message, and the rows as they are once the transaction
    is committed.
    """
    ids = sorted({each.message.server_id for each in incoming})
    before = _read(database, connection, ids, memory)
    after: dict[str, Row] = {}
    applied = []
    for message, received_at in incoming:
        server_id = message.server_id
        row = after.get(server_id) or before.get(server_id)
        after[server_id] = merged = _merged(row, message, received_at)
        applied.append(Applied(merged.record, row is None))
    _write(database, connection, [(before.get(each), after[each]) for each in ids])

    return applied, after


def forget(database: Database, connection: Connection, server_id: str, memory: Memory) -> bool:
    """Delete what is kept of a server; False when there is nothing."""
    row = _read(database, connection, [server_id], memory).get(server_id)
    if row is None:
        return False
    if lost := _facet_rows(row, _facets(row)):
        database.lose(connection, lost)
    connection.execute(delete(servers).where(servers.c.server_id == server_id))
    return True


def row_of(columns: RowMapping) -> Row:
    """What a row of the table holds."""
    values = dict(columns)
    revision = values.pop("revision")
    return Row(ServerRecord(**values), revision)


def _read(
    database: Database, connection: Connection, ids: Sequence[str], memory: Memory
) -> dict[str, Row]:
    """The rows there are."""
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


def _merged(row: Row | None, message: Registration | Heartbeat, received_at: datetime) -> Row:
    record = None if row is None else row.record
    if isinstance(message, Registration):
        after = register(record, message, received_at=received_at)
    else:
        after = merge(record, message, received_at=received_at)
    return Row(after, microseconds(after.first_seen) if row is None else row.revision + 1)


def _write(
    database: Database, connection: Connection, rows: Iterable[tuple[Row | None, Row]]
) -> None:
    """Write rows, from what they were to what they are, in the order given."""
    new: list[Row] = []
    changed: list[Row] = []
    alive: list[Row] = []
    gained: list[dict[str, str]] = []
    lost: list[dict[str, str]] = []
    for before, after in rows:
        if before is not None and _description(before.record) == _description(after.record):
            alive.append(after)
            continue
        (new if before is None else changed).append(after)
        had, has = _facets(before), _facets(after)
        gained += _facet_rows(after, has - had)
        lost += _facet_rows(after, had - has)

    if alive:
        database.touch(connection, map(_pulse, alive))
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
    return {**asdict(row.record, recurse=False), "revision": row.revision}


def _facets(row: Row | None) -> set[tuple[str, str]]:
    if row is None:
        return set()
    known = {(name, getattr(row.record, field)) for name, field in FACETS.items()}
    able = {("capability", name) for name in row.record.capabilities or ()}
    return {(name, facet_value(text)) for name, text in known | able if text is not None}


def _facet_rows(row: Row, of: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    server_id = row.record.server_id
    return [{"name": name, "value": value, "server_id": server_id} for name, value in of]


_description = attrgetter(*(f.name for f in fields(ServerRecord) if f.name not in PULSE))

_READ = select(servers).where(servers.c.server_id.in_(bindparam("ids", expanding=True)))
_UPDATE = (
    update(servers)
    .where(servers.c.server_id == bindparam("key"))
    .values({column.name: bindparam(column.name) for column in servers.columns})
)
