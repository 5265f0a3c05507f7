"""Reads and writes how far the events were looked at for alarms, so that no event counts twice."""

from datetime import datetime, timezone
from typing import Any

from attrs import fields, frozen
from sqlalchemy import Connection, Select, bindparam, exists, func, select, update

from receiver.store.alerts.tables import alert_progress, rules
from receiver.store.tables import Moment, events, watches

__all__ = ["Progress", "Seen", "begin_anew", "has_come_to", "move", "see", "touch"]


@frozen(kw_only=True)
class Progress:
    """
    How far the events were looked at for alarms: the row of the table `alert_progress`.

    Attributes:
        event_id: The number of the last event that was looked at; 0 if there is none.
        event_at: The time of that event; None if there is none.
        pause_ended: The end of the last interruption of the receivers that was looked at; None if
            there is none.
        look_at: When to look again, even if there are no new events.
        revision: A number that every change of channels, rules, silences and alarms raises.
    """

    event_id: int
    event_at: datetime | None
    pause_ended: datetime | None
    look_at: datetime
    revision: int


@frozen(kw_only=True)
class Seen:
    """
    What is read to find out whether it is time to decide on alarms.

    Attributes:
        progress: How far the events were looked at.
        last_id: The number of the newest event in the database; 0 if there is none.
        event_at: The time of the event with the number `progress.event_id` in this database; None
            if it has no such event.
        away_since: When the last interruption of the receivers began; None if there was none.
        heard_since: Since when receivers have been running, which is when that interruption ended;
            None before any receiver has noted that it runs.
        has_rules: Whether there are any rules.
    """

    progress: Progress
    last_id: int
    event_at: datetime | None
    away_since: datetime | None
    heard_since: datetime | None
    has_rules: bool

    @property
    def is_elsewhere(self) -> bool:
        """Whether this database lacks the last event looked at, or has another one in its place."""
        return self.progress.event_at is not None and self.event_at != self.progress.event_at

    def is_idle(self, now: datetime) -> bool:
        """
        Whether there is nothing to decide.

        That is so if there are no rules, or nothing has happened since the events were last looked
        at, and it is not time yet to look again.
        """
        progress = self.progress
        return not self.has_rules or (
            self.last_id <= progress.event_id
            and self.heard_since == progress.pause_ended
            and now < progress.look_at
            and not self.is_elsewhere
        )


def see(connection: Connection) -> Seen:
    """Read what tells whether it is time to decide on alarms: a few rows, each by its key."""
    row = connection.execute(_SEE).one()
    return Seen(
        progress=Progress(**{name: getattr(row, name) for name in _COLUMNS}),
        last_id=row.last_id,
        event_at=row.at_here,
        away_since=row.away_since,
        heard_since=row.heard_since,
        has_rules=row.has_rules,
    )


def has_come_to(connection: Connection, seen: Seen) -> tuple[int, datetime | None]:
    """
    The number and the time of the last event in this database that counts as looked at.

    Usually it is the one that `alert_progress` names. That one is not in the database if it was
    deleted, or if an older copy of the database has taken its place. Then it is the last event that
    is neither later nor has a larger number, so that all events that were written to the older copy
    since are still looked at. 0 and None if there is no such event.
    """
    progress = seen.progress
    if not seen.is_elsewhere:
        return progress.event_id, progress.event_at
    row = connection.execute(_NOT_NEWER, {"at": progress.event_at, "id": progress.event_id}).first()
    return (0, None) if row is None else (row.id, row.at)


def touch(connection: Connection) -> None:
    """
    Have receivers decide on alarms again at once, because the transaction changes what matters.

    To be called first in a transaction that changes channels, rules, silences or alarms. It waits
    for other such transactions, and for one that writes decisions. A decision that was made before
    the commit, and is not written yet, is not written any more.
    """
    connection.execute(_TOUCH, {"now": _LONG_AGO})


def begin_anew(connection: Connection) -> None:
    """Note that all events until now need not be looked at: there was no rule for them."""
    seen = see(connection)
    last = connection.execute(_LAST).first()
    event_id, event_at = (0, None) if last is None else (last.id, last.at)
    connection.execute(
        update(alert_progress).values(
            event_id=event_id, event_at=event_at, pause_ended=seen.heard_since
        )
    )


def move(connection: Connection, progress: Progress) -> bool:
    """
    Write how far the events were looked at, raise the revision, and return True.

    Or write nothing and return False, if the revision in the database is not `progress.revision`
    any more: another receiver has decided on alarms since, or somebody has changed what a decision
    depends on. The same if another transaction is just doing so.
    """
    values = {name: getattr(progress, name) for name in _COLUMNS}
    values["revision"] += 1
    if connection.execute(_REVISION).scalar() != progress.revision:
        return False
    connection.execute(update(alert_progress).values(values))
    return True


_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)
_COLUMNS = [each.name for each in fields(Progress)]
_here = events.alias()


def _see() -> Select[Any]:
    at_here = select(_here.c.at).where(_here.c.id == alert_progress.c.event_id)
    return select(
        *(alert_progress.c[name] for name in _COLUMNS),
        select(func.coalesce(func.max(events.c.id), 0)).scalar_subquery().label("last_id"),
        at_here.correlate(alert_progress).scalar_subquery().label("at_here"),
        select(watches.c.away_since).scalar_subquery().label("away_since"),
        select(watches.c.heard_since).scalar_subquery().label("heard_since"),
        exists(select(rules.c.id)).label("has_rules"),
    )


_SEE = _see()
_NOT_NEWER = (
    select(events.c.id, events.c.at)
    .where(events.c.at <= bindparam("at", type_=Moment), events.c.id <= bindparam("id"))
    .order_by(events.c.at.desc(), events.c.id.desc())
    .limit(1)
)
_LAST = select(events.c.id, events.c.at).order_by(events.c.id.desc()).limit(1)
_TOUCH = update(alert_progress).values(
    revision=alert_progress.c.revision + 1, look_at=bindparam("now", type_=Moment)
)
# Finds no row if another transaction has locked it. To wait would be in vain, because that
# transaction raises the revision, so that a decision made before is not valid any more.
_REVISION = select(alert_progress.c.revision).with_for_update(skip_locked=True)
