"""
Rebuilds and twins: how records change when servers fall silent, or two are of one database.

A server is silent when it sends no message for so long that its state is `late` or `down`.
`store.silence.sweep` passes in the servers whose `due_at` has come, each together with its
family: the servers with the same `database_uuid`. A *rebuild* is a silent server whose database
goes on under another `server_id`; the living server supersedes it. *Twins* are two servers of one
database that both go on sending: one of them is a copy. Everything here is a pure function of
rows and time.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from attrs import evolve

from contract import ServerRecord, State, interval
from receiver.domain.instants import microseconds
from receiver.domain.liveness import due_at, state_at
from receiver.domain.queries import index_text
from receiver.domain.rows import Row

__all__ = ["Decision", "decide"]

Records = Mapping[str, ServerRecord]
"""Records by their `server_id`."""


class Decision(NamedTuple):
    """
    The rows that must be written after servers were checked whose `due_at` has come.

    Attributes:
        changed: Rows whose record changes, each as it was and as it must be written.
        postponed: Rows whose record stays; only `due_at` and `revision` must be written.
    """

    changed: list[tuple[Row, Row]]
    postponed: list[Row]


def decide(
    rows: Mapping[str, Row],
    families: Mapping[str, Sequence[str]],
    now: datetime,
    *,
    heard_since: datetime,
) -> Decision:
    """
    Decide how the records change when the `due_at` of servers has come.

    A family is all servers that share a `database_uuid`.

    Args:
        rows: The rows of these servers and the other rows of their families, by `server_id`.
        families: The `server_id`s of each family, by the `database_uuid` as the index has it
            (`index_text`).
        now: The time of this sweep.
        heard_since: Since when receivers have been running without an interruption.
    """
    due = sorted((row for row in rows.values() if _is_due(row, now)), key=_due_first)
    after = {server_id: row.record for server_id, row in rows.items()}
    for row in due:
        family = [each for each in families.get(_family_of(row.record) or "", ()) if each in rows]
        related = {each for each in family if _are_related(rows[each], after[each], row)}
        relatives = [after[each] for each in family if each in related]
        after |= _looked_at(after[row.server_id], relatives, now, heard_since)
        after |= _without_twin(row, [after[each] for each in family if each not in related])

    changed = [row for row in rows.values() if after[row.server_id] is not row.record]
    return Decision(
        [(row, _changed(row, after[row.server_id], now, heard_since)) for row in changed],
        [_postponed(row, heard_since) for row in due if after[row.server_id] is row.record],
    )


def _is_due(row: Row, now: datetime) -> bool:
    return row.due_at is not None and row.due_at <= microseconds(now)


def _due_first(row: Row) -> tuple[int, str]:
    assert row.due_at is not None  # or it would not be due
    return row.due_at, row.server_id


def _family_of(record: ServerRecord) -> str | None:
    return None if record.database_uuid is None else index_text(record.database_uuid)


def _are_related(one: Row, record: ServerRecord, other: Row) -> bool:
    """
    Whether two rows may be of one database: same uuid, same stage, and not of two keys.

    A key cannot supersede another key's server; a server without owner is open to all keys.

    Args:
        one: The one row.
        record: The record of `one`, which may have changed since; when it is superseded, the
            server is related to no other.
        other: Another row.
    """
    return (
        one.server_id != other.server_id
        and (one.owner == other.owner or None in (one.owner, other.owner))
        and record.superseded_by is None
        and bool(record.database_uuid)
        and record.database_uuid == other.record.database_uuid
        and (record.odoo_stage or "") == (other.record.odoo_stage or "")
    )


def _without_twin(row: Row, strangers: Iterable[ServerRecord]) -> dict[str, ServerRecord]:
    """Records that name a server as their twin but are not related any more, without that twin."""
    return {
        each.server_id: evolve(each, twin_of=None)
        for each in strangers
        if each.twin_of == row.server_id
    }


def _looked_at(
    record: ServerRecord, family: Sequence[ServerRecord], now: datetime, heard_since: datetime
) -> dict[str, ServerRecord]:
    """Check a record whose `due_at` has come; return the changed records of it and its family."""

    def state(of: ServerRecord) -> State:
        return state_at(of, now, heard_since=heard_since)

    if state(record).stale:
        heirs = [each for each in family if _replaces(each, record) and not state(each).stale]
        changed = {record.server_id: _silent(record, state(record), heirs, now)}
    else:
        gone = [each for each in family if _replaces(record, each) and state(each).stale]
        changed = {each.server_id: _superseded(each, record, now) for each in gone}
        changed |= _paired(record, [each for each in family if not state(each).stale])
    return changed | _without_silent_twin(family, changed)


def _silent(
    record: ServerRecord, state: State, heirs: Sequence[ServerRecord], now: datetime
) -> ServerRecord:
    """
    The record of a server that is late or down, with its new state.

    Args:
        record: The record as it is.
        state: Late or down, by how long the server has been silent.
        heirs: Living servers of the same database; the newest of them supersedes this server.
        now: The time of the change.
    """
    if heirs:
        return _superseded(record, max(heirs, key=_age), now)
    if record.state is state:
        return record
    return evolve(record, state=state, state_since=now, twin_of=None)


def _superseded(record: ServerRecord, by: ServerRecord, now: datetime) -> ServerRecord:
    if not record.state.stale:  # so that a `recovered` event follows when it is heard again
        record = evolve(record, state=State.LATE, state_since=now)
    return evolve(record, superseded_by=by.server_id, twin_of=None)


def _paired(record: ServerRecord, heard: Sequence[ServerRecord]) -> dict[str, ServerRecord]:
    """The records of a living server and its twin, when it gets or loses a twin."""
    if record.twin_of is not None:
        if record.twin_of in [each.server_id for each in heard]:
            return {}
        return {record.server_id: evolve(record, twin_of=None)}
    twins = [each for each in heard if _have_both_gone_on(record, each)]
    if not twins:
        return {}
    twin = min(twins, key=_age)
    paired = {record.server_id: evolve(record, twin_of=twin.server_id)}
    if twin.twin_of is None:
        paired[twin.server_id] = evolve(twin, twin_of=record.server_id)
    return paired


def _have_both_gone_on(one: ServerRecord, other: ServerRecord) -> bool:
    """
    Whether two servers have sent in parallel for more than two intervals.

    A server that registers again and again but never sends a heartbeat does not count as sending:
    something restarts it before it gets that far.
    """
    if not (one.heartbeat_count and other.heartbeat_count):
        return False
    both_since = max(_alive_since(one), _alive_since(other))
    enough = 2 * max(interval(one), interval(other))
    return min(one.last_seen, other.last_seen) - both_since > enough


def _alive_since(record: ServerRecord) -> datetime:
    """Since when a server sends without a gap; `first_seen` when it is late or down."""
    return record.first_seen if record.state.stale else record.state_since


def _without_silent_twin(
    family: Iterable[ServerRecord], changed: Records
) -> dict[str, ServerRecord]:
    """The records of servers whose twin has just become late or down, without that twin."""
    silent = {key for key, record in changed.items() if record.state.stale}
    return {
        each.server_id: evolve(each, twin_of=None)
        for each in family
        if each.twin_of in silent and each.server_id not in changed
    }


def _replaces(alive: ServerRecord, silent: ServerRecord) -> bool:
    """
    Whether the database of a server that is late or down goes on as a living server.

    An old server that sends again supersedes its successor, unless both had sent in parallel
    (twins): then the newer server may be another installation, and its silence must raise an
    alarm.
    """
    if (alive.database or "") != (silent.database or ""):
        return False
    return _age(alive) > _age(silent) or not _have_both_gone_on(alive, silent)


def _age(record: ServerRecord) -> tuple[datetime, str]:
    """A sort key: the older server comes first."""
    return record.first_seen, record.server_id


def _changed(row: Row, record: ServerRecord, now: datetime, heard_since: datetime) -> Row:
    # A relative that changes with a server that is due keeps its own time.
    is_looked_at = _is_due(row, now) or record.superseded_by is not None
    due_at = _due_at(record, heard_since) if is_looked_at else row.due_at
    return row._replace(record=record, revision=row.revision + 1, due_at=due_at)


def _postponed(row: Row, heard_since: datetime) -> Row:
    return row._replace(revision=row.revision + 1, due_at=_due_at(row.record, heard_since))


def _due_at(record: ServerRecord, heard_since: datetime) -> int | None:
    """When the state of a server can change next, if it sends nothing until then."""
    return None if record.superseded_by is not None else due_at(record, heard_since=heard_since)
