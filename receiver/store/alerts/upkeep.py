"""Deletes old rows of the tables of alerts, and replaces times in the future."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    case,
    delete,
    select,
    type_coerce,
    update,
)

from receiver.domain.instants import microseconds
from receiver.store.alerts.progress import touch
from receiver.store.alerts.tables import (
    alarms,
    alert_progress,
    channels,
    deliveries,
    rules,
    silences,
)

__all__ = ["is_any_older", "leave_no_future", "trim"]


def is_any_older(connection: Connection, until: datetime) -> bool:
    """Whether there is any row that `trim` would delete."""
    return any(
        connection.execute(select(key).where(*is_old).limit(1)).first() is not None
        for key, is_old in _old(until)
    )


def trim(connection: Connection, until: datetime, limit: int) -> bool:
    """
    Delete old alarms, messages and silences, at most `limit` of each.

    These are alarms that ended before `until`, and about which no message is still to be made;
    messages that were made before and are not to be sent any more; and silences that ended before.
    Returns whether there may be more.
    """
    is_more = False
    for key, is_old in _old(until):
        some = select(key).where(*is_old).limit(limit)
        gone = connection.execute(delete(key.table).where(key.in_(some))).rowcount
        is_more = is_more or gone == limit
    return is_more


def leave_no_future(connection: Connection, now: datetime) -> None:
    """
    Correct all times after `now`, because the clock was set back since they were written.

    Times of something that has happened become `now`. Times that were planned from such a time
    become earlier by the same difference: for an alarm that began after `now`, the time at which it
    is to be told; for a message that was written after `now`, the time of the next attempt to send
    it; for a silence that was made after `now`, its beginning and its end. Then each message is due
    within 8 hours, the longest pause between two attempts.
    """
    touch(connection)
    _move(connection, alarms.c.begun_at, now, (alarms.c.due_at,))
    _move(connection, silences.c.created_at, now, (silences.c.begins_at, silences.c.ends_at))
    for moment in _PAST:
        connection.execute(update(moment.table).where(moment > now).values({moment.name: now}))
    _move(connection, deliveries.c.created_at, now, (deliveries.c.next_at,))
    for moment, longest in _AHEAD.items():
        last = now + longest
        connection.execute(update(deliveries).where(moment > last).values({moment.name: last}))


def _move(
    connection: Connection, made_at: Column[Any], now: datetime, others: Sequence[Column[Any]]
) -> None:
    """Set a time of rows back to `now`, where it is later, and other times by as much."""
    at = type_coerce(made_at, BigInteger)
    moved: dict[str, Any] = {made_at.name: now}
    for column in others:
        time = type_coerce(column, BigInteger)
        moved[column.name] = case((time < _FOREVER, time - at + microseconds(now)), else_=time)
    connection.execute(update(made_at.table).where(made_at > now).values(moved))


def _old(until: datetime) -> Sequence[tuple[Column[Any], Sequence[ColumnElement[bool]]]]:
    """For each table with old rows, the column of its key, and the conditions for old rows."""
    return [
        (alarms.c.id, (alarms.c.ended_at < until, alarms.c.due_at.is_(None))),
        (deliveries.c.id, (deliveries.c.created_at < until, deliveries.c.next_at.is_(None))),
        (silences.c.id, (silences.c.ends_at < until,)),
    ]


_FOREVER = microseconds(datetime.max.replace(tzinfo=timezone.utc))
_AHEAD = {
    deliveries.c.next_at: timedelta(hours=8),
    deliveries.c.leased_until: timedelta(minutes=1),
}
"""Times that are usually in the future, and by how much at most."""

_PAST = (
    alarms.c.told_at,
    alarms.c.reminded_at,
    alarms.c.acknowledged_at,
    alarms.c.ended_at,
    alert_progress.c.event_at,
    alert_progress.c.pause_ended,
    channels.c.created_at,
    channels.c.reported_at,
    rules.c.created_at,
    deliveries.c.sent_at,
    deliveries.c.given_up_at,
)
