"""Messages merged into the rows that they concern, within a transaction of somebody else's."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from attrs import asdict, fields, frozen
from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from contract import Heartbeat, Registration, ServerRecord, merge, register
from receiver.tables import microseconds, servers

__all__ = ["Applied", "Incoming", "Row", "apply", "row_of"]


@frozen(kw_only=True)
class Incoming:
    """A message, and when it was received."""

    message: Registration | Heartbeat
    received_at: datetime


@frozen(kw_only=True)
class Applied:
    """The record after a message, and whether the message made it."""

    record: ServerRecord
    created: bool


@frozen
class Row:
    """What a row holds: the record, and which write of it this is."""

    record: ServerRecord
    revision: int


def apply(
    connection: Connection, incoming: Sequence[Incoming], known: Mapping[str, Row]
) -> tuple[list[Applied], dict[str, Row]]:
    """
    Merge messages in their order, and write what they changed.

    A row that is `known` in the revision that is stored is not read again.
    Gives back what became of each message, and the rows as they are once the transaction
    is committed.
    """
    before = _read(connection, {each.message.server_id for each in incoming}, known)
    after: dict[str, Row] = {}
    applied = []
    for each in incoming:
        server_id = each.message.server_id
        row = after.get(server_id) or before.get(server_id)
        after[server_id] = _merged(row, each)
        applied.append(Applied(record=after[server_id].record, created=row is None))
    _write(connection, before, after)

    return applied, after


def row_of(columns: RowMapping) -> Row:
    """What a row of the table holds."""
    values = dict(columns)
    revision = values.pop("revision")
    return Row(ServerRecord(**values), revision)


def _read(connection: Connection, ids: set[str], known: Mapping[str, Row]) -> dict[str, Row]:
    rows = {}
    unknown = []
    for server_id, revision in connection.execute(_REVISIONS, {"ids": list(ids)}):
        row = known.get(server_id)
        if row is not None and row.revision == revision:
            rows[server_id] = row
        else:
            unknown.append(server_id)
    if unknown:
        for columns in connection.execute(_READ, {"ids": unknown}).mappings():
            rows[columns["server_id"]] = row_of(columns)
    return rows


def _merged(row: Row | None, incoming: Incoming) -> Row:
    record = None if row is None else row.record
    message, received_at = incoming.message, incoming.received_at
    if isinstance(message, Registration):
        after = register(record, message, received_at=received_at)
    else:
        after = merge(record, message, received_at=received_at)
    return Row(after, microseconds(after.first_seen) if row is None else row.revision + 1)


def _write(connection: Connection, before: Mapping[str, Row], after: Mapping[str, Row]) -> None:
    new, changed, alive = [], [], []
    for server_id, row in after.items():
        old = before.get(server_id)
        if old is None:
            new.append(_columns(row))
        elif _description(old.record) == _description(row.record):
            alive.append({"key": server_id, **_pulse(row)})
        else:
            changed.append({"key": server_id, **_columns(row)})
    for statement, parameters in ((_INSERT, new), (_UPDATE, changed), (_TOUCH, alive)):
        if parameters:
            connection.execute(statement, parameters)


def _columns(row: Row) -> dict[str, Any]:
    return {**asdict(row.record, recurse=False), "revision": row.revision}


def _pulse(row: Row) -> dict[str, Any]:
    return dict(zip(_PULSE, (row.revision, *_pulse_of(row.record)), strict=True))


_PULSE_FIELDS = ("status", "timestamp", "uptime_seconds", "last_seen", "heartbeat_count")
"""What nearly every heartbeat changes, where the other fields stay for weeks."""

_PULSE = ("revision", *_PULSE_FIELDS)
_pulse_of = attrgetter(*_PULSE_FIELDS)
_description = attrgetter(*(f.name for f in fields(ServerRecord) if f.name not in _PULSE_FIELDS))

_IDS = servers.c.server_id.in_(bindparam("ids", expanding=True))
_ONE = servers.c.server_id == bindparam("key")
_REVISIONS = select(servers.c.server_id, servers.c.revision).where(_IDS)
_READ = select(servers).where(_IDS)
_INSERT = insert(servers)
_UPDATE = (
    update(servers)
    .where(_ONE)
    .values({column.name: bindparam(column.name) for column in servers.columns})
)
_TOUCH = update(servers).where(_ONE).values({name: bindparam(name) for name in _PULSE})
