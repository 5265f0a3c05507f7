"""The silences in the database."""

from datetime import datetime, timedelta
from typing import Any

from attrs import asdict, evolve
from sqlalchemy import Connection, RowMapping, bindparam, insert, or_, select, update

from contract import Event, EventKind
from contract.fields import format_moment
from receiver.domain.alerts.values import Silence
from receiver.store.alerts.progress import touch
from receiver.store.alerts.tables import silences
from receiver.store.dialects import Dialect
from receiver.store.events import write_events
from receiver.store.tables import Moment

__all__ = ["add_silence", "end_silence", "lasts", "read_silence", "read_silences"]


def read_silences(connection: Connection, now: datetime, *, ended: bool) -> list[Silence]:
    """The silences that have not ended by `now`, or with `ended` all silences; oldest first."""
    query = _SILENCES if ended else _LASTING
    parameters = {} if ended else {"now": now}
    return [_silence(row) for row in connection.execute(query, parameters).mappings()]


def read_silence(connection: Connection, silence_id: str) -> Silence | None:
    """The silence with this id; None if there is none."""
    row = connection.execute(_ONE, {"key": silence_id}).mappings().one_or_none()
    return None if row is None else _silence(row)


def add_silence(
    dialect: Dialect, connection: Connection, silence: Silence, at: datetime
) -> list[Event]:
    """Store a silence, and the event that tells of it at the time `at`; return the event."""
    touch(connection)
    columns = asdict(silence)
    duration = columns.pop("duration")
    seconds = None if duration is None else duration // _SECOND
    connection.execute(insert(silences), {**columns, "duration_seconds": seconds})
    return _tell(dialect, connection, silence, at, by=silence.author)


def end_silence(
    dialect: Dialect, connection: Connection, silence_id: str, at: datetime, by: str
) -> list[Event]:
    """
    End a silence at the time `at`, and tell so by an event, which is returned.

    `by` is the name of the key that asks for it. If there is no such silence, or it has ended
    before, nothing is written, and the returned list is empty.
    """
    touch(connection)
    row = connection.execute(_ONE.where(lasts), {"key": silence_id, "now": at}).mappings().first()
    if row is None:
        return []
    connection.execute(update(silences).where(silences.c.id == silence_id).values(ends_at=at))
    return _tell(dialect, connection, evolve(_silence(row), ends_at=at), at, by=by)


def _tell(
    dialect: Dialect, connection: Connection, silence: Silence, at: datetime, *, by: str
) -> list[Event]:
    until = None if silence.ends_at is None else format_moment(silence.ends_at)
    details: dict[str, Any] = {"until": until, "reason": silence.reason, "by": by}
    if silence.server_id is None:
        details["query"] = silence.query
    told = Event(kind=EventKind.SILENCED, at=at, server_id=silence.server_id, details=details)
    write_events(dialect, connection, [told])
    return [told]


def _silence(row: RowMapping) -> Silence:
    columns: dict[str, Any] = {**row}
    seconds = columns.pop("duration_seconds")
    return Silence(**columns, duration=None if seconds is None else seconds * _SECOND)


lasts = or_(silences.c.ends_at.is_(None), silences.c.ends_at > bindparam("now", type_=Moment))
"""The condition that a silence has not ended by the parameter `now`; it may begin later."""

_SECOND = timedelta(seconds=1)
_SILENCES = select(silences).order_by(silences.c.created_at, silences.c.id)
_LASTING = _SILENCES.where(lasts)
_ONE = select(silences).where(silences.c.id == bindparam("key"))
