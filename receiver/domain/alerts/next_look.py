"""When alarms must be looked at again, although no event happens."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from contract import EventKind
from receiver.domain.alerts import windows
from receiver.domain.alerts.situations import Book, Situation
from receiver.domain.alerts.telling import GROUPED, reminder_at
from receiver.domain.alerts.values import Alarm

__all__ = ["next_look"]


def next_look(book: Book, situation: Situation, unknown: Collection[int]) -> datetime | None:
    """
    The earliest time at which alarms must be looked at again although no event has happened.

    Then an alarm is due to be told, or may have ended. None if that is so for no alarm.

    Args:
        book: All open and new alarms, after the decision.
        situation: What the decision was made from.
        unknown: The numbers, in the book, of alarms of which it is not known whether they last,
            because the record of a server was not read. If there are any, the time is now.
    """
    if unknown:
        return situation.now
    return min(_times(book, situation), default=None)


def _times(book: Book, situation: Situation) -> Iterator[datetime]:
    now = situation.now
    rules = {rule.id: rule for rule in situation.rules}
    silences = {silence.id: silence for silence in situation.silences}
    for number in book.numbers():
        alarm = book[number]
        silence = silences.get(alarm.silenced_by or "") if alarm.ended_at is None else None
        if silence is not None:
            yield windows.active(silence, now) or now
        elif alarm.due_at is not None:
            yield _told_at(alarm, now)
        if alarm.ended_at is None and alarm.kind in _WITHOUT_EVENT:
            yield now + _PAUSE
        again_at = reminder_at(alarm, rules)
        if again_at is not None:
            yield again_at if again_at > now else now + _PAUSE


def _told_at(alarm: Alarm, now: datetime) -> datetime:
    """When an alarm, or its end, that waits to be told is told, or at least looked at."""
    assert alarm.due_at is not None
    if alarm.due_at > now:
        return alarm.due_at
    if not alarm.id:  # it is told once it is stored
        is_urgent = alarm.kind == EventKind.FLEET_SILENT.value
        return now if is_urgent else max(now, alarm.due_at + GROUPED)
    told_at = alarm.due_at + GROUPED
    return told_at if told_at > now else now + _PAUSE  # the limit of its channel is reached


_WITHOUT_EVENT = (
    EventKind.TWIN.value,
    EventKind.CONFLICT.value,
    EventKind.FLEET_SILENT.value,
)
"""The kinds whose end only records tell, or the number of servers that are away."""

_PAUSE = timedelta(minutes=1)
