"""
A silent fleet: one alarm in place of one for each server.

An event `fleet_silent` says that many servers have stopped sending at once, and begins an alarm of
this kind for each rule about silent servers. While it lasts, the rule's alarms about late and down
servers are parts of it, and are not told by themselves. It ends when at most half of the servers
that it counted are still away, which means late or down. Parts that still last are told after that.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from contract import Event, EventKind
from receiver.domain.alerts.situations import Book, Situation

__all__ = ["begin_parts", "end_fleet_silence", "known_of_fleet", "still_away"]


def known_of_fleet(event: Event, away: int) -> dict[str, Any]:
    """
    Return what an alarm `fleet_silent` has to remember, as a part of `Alarm.known`.

    `silent` and `of` are the numbers in the event: how many servers stopped sending at once, and
    how many were up before. `away_before` is how many servers were late or down already, without
    those that the event counts.

    Args:
        event: The event `fleet_silent`.
        away: How many servers of the fleet are late or down when the alarm begins.
    """
    silent = event.details["silent"]
    return {"silent": silent, "of": event.details["of"], "away_before": max(0, away - silent)}


def still_away(known: Mapping[str, Any], away: int) -> int:
    """
    Estimate how many of the servers that an alarm `fleet_silent` has counted are still silent.

    Which servers these are is not remembered. So it is how many servers more are late or down now
    than were so before the alarm began; 0 if there are not more.

    Args:
        known: What the alarm remembers, as `known_of_fleet` returns it.
        away: How many servers of the fleet are late or down now.
    """
    return max(0, away - int(known["away_before"]))


def end_fleet_silence(book: Book, situation: Situation) -> None:
    """
    End each alarm `fleet_silent` if at most half of the servers that it has counted are still away.

    The number of those that are still away is noted in `Alarm.known`, for the message.
    """
    for number in _fleets(book).values():
        known = book[number].known
        still = still_away(known, situation.away)
        if 2 * still <= known["silent"]:
            book.change(number, known={**known, "still_away": still})
            book.end(number, "recovered", situation.now)


def begin_parts(book: Book, situation: Situation) -> None:
    """
    Make alarms about late and down servers parts of the alarm `fleet_silent` of the same rule.

    That concerns alarms that were not told yet, and began no earlier than ten minutes before that
    alarm. When it has ended, the alarms that were its parts and still last are due to be told by
    themselves after two minutes, or after the time that the rule says if that is longer: when most
    servers of a fleet are back, the others often follow.
    """
    after = {rule.id: rule.after for rule in situation.rules}
    fleets = _fleets(book)
    for number in book.lasting():
        alarm = book[number]
        if alarm.kind not in _SILENCES:
            continue
        fleet = book[fleets[alarm.rule_id]] if alarm.rule_id in fleets else None
        if (
            fleet is not None
            and alarm.told_at is None
            and alarm.begun_at >= fleet.begun_at - _BEFORE
        ):
            if alarm.part_of != fleet.id:
                book.change(number, part_of=fleet.id, due_at=None)
        elif alarm.part_of is not None:
            wait = max(after[alarm.rule_id], _OTHERS_FOLLOW)
            book.change(number, part_of=None, due_at=situation.now + wait)


def _fleets(book: Book) -> dict[str, int]:
    """The numbers of the alarms `fleet_silent` that last, by the ids of their rules."""
    return {
        book[number].rule_id: number
        for number in book.lasting_of(None)
        if book[number].kind == EventKind.FLEET_SILENT.value
    }


_SILENCES = (EventKind.LATE.value, EventKind.DOWN.value)
_BEFORE = timedelta(minutes=10)
_OTHERS_FOLLOW = timedelta(minutes=2)
