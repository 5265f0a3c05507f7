"""Writes what a receiver counts into the row of its hour, and reads the rows of a period."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import fields
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from receiver.domain.history import (
    MOST_HOURS,
    Census,
    Hour,
    Minute,
    Taken,
    begin_of_hour,
    begin_of_minute,
)
from receiver.store.history.tables import hours
from receiver.store.tables import Moment
from receiver.store.transactions import Transactions

__all__ = ["Hours", "is_counted", "leave_no_future", "note_minute"]


class Hours:
    """Reads the history of the fleet. Raises StoreUnavailable when the database does not answer."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def since(self, moment: datetime) -> Sequence[Hour]:
        """The hours that began at `moment` or later and in which a receiver ran, oldest first."""
        with self._transactions.read_once() as connection:
            return [_hour(row) for row in connection.execute(_SINCE, {"since": moment})]


def is_counted(connection: Connection, now: datetime) -> tuple[bool, bool]:
    """
    Whether servers were last counted in the minute of `now`; and whether they were in its hour.

    Only counts in the hour of `now` are looked at. If the last one was after the minute of `now`,
    because the clock was set back since, the first answer is False.
    """
    row = connection.execute(_COUNTED, {"begins_at": begin_of_hour(now)}).first()
    if row is None:
        return False, False
    return begin_of_minute(row.counted_at) == begin_of_minute(now), True


def note_minute(connection: Connection, minute: Minute) -> None:
    """
    Add to the rows of hours what a receiver notes once in a minute.

    Of several receivers that have counted the servers in the same minute, only the census of the
    first one is added. If there is no row for the hour in which `minute.taken` came, because nobody
    could count in it, `minute.taken` is lost.
    """
    if minute.census is not None:
        _note_census(connection, minute.census)
    if any(minute.taken):
        taken_in = {"hour": begin_of_hour(minute.taken_at), **minute.taken._asdict()}
        connection.execute(_ADD_TAKEN, taken_in)


def _note_census(connection: Connection, census: Census) -> None:
    begins_at = begin_of_hour(census.at)
    row = connection.execute(_LOCK, {"begins_at": begins_at}).first()
    if row is None:
        connection.execute(insert(hours), _columns(Hour.begun_by(census)))
        connection.execute(_TRIM)
        return
    hour = _hour(row)
    if hour.lacks(census):
        connection.execute(_UPDATE, {"hour": begins_at, **_columns(hour.counted(census))})


def leave_no_future(connection: Connection, now: datetime) -> None:
    """
    Delete the hours that begin after `now`, because the clock was set back since they were counted.

    If the servers were last counted after `now` in another hour, that time becomes `now`.
    """
    connection.execute(delete(hours).where(hours.c.begins_at > now))
    connection.execute(update(hours).where(hours.c.counted_at > now).values(counted_at=now))


def _hour(row: Any) -> Hour:
    return Hour(**{name: _as_value(name, getattr(row, name)) for name in _NAMES})


def _columns(hour: Hour) -> Mapping[str, Any]:
    return {name: getattr(hour, name) for name in _NAMES}


def _as_value(name: str, value: Any) -> Any:
    return [tuple(pair) for pair in value] if name in _SHARES else value


_NAMES = [each.name for each in fields(Hour)]
_SHARES = {"stages", "odoo_versions", "versions"}
_at_begin = hours.c.begins_at == bindparam("begins_at", type_=Moment)
_SINCE = (
    select(hours)
    .where(hours.c.begins_at >= bindparam("since", type_=Moment))
    .order_by(hours.c.begins_at)
)
_COUNTED = select(hours.c.counted_at).where(_at_begin)
_LOCK = select(hours).where(_at_begin).with_for_update()
_of_hour = hours.c.begins_at == bindparam("hour", type_=Moment)
_UPDATE = update(hours).where(_of_hour).values({each: bindparam(each) for each in _NAMES})
_ADD_TAKEN = (
    update(hours)
    .where(_of_hour)
    .values({name: hours.c[name] + bindparam(name) for name in Taken._fields})
)
_oldest = select(hours.c.begins_at).order_by(hours.c.begins_at.desc()).offset(MOST_HOURS).limit(1)
_TRIM = delete(hours).where(hours.c.begins_at <= _oldest.scalar_subquery())
