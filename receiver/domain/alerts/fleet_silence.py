"""
A silent fleet: one alarm in place of one for each server.

While an alarm `fleet_silent` of a rule lasts, the rule's alarms about late and down servers are
part of it, and are not told by themselves. It ends when at most half as many servers as it counted
are still away. What is left of its parts is told afterwards, if it lasts.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from contract import Event, EventKind
from receiver.domain.alerts.situations import Book, Situation

__all__ = ["begin_parts", "end_fleet_silence", "known_of_fleet", "still_away"]


def known_of_fleet(event: Event, away: int) -> dict[str, Any]:
    """
    What an alarm about an event `fleet_silent` remembers.

    Servers that were late or down before do not count, so it notes how many these were.
    """
    silent = event.details["silent"]
    return {"silent": silent, "of": event.details["of"], "away_before": max(0, away - silent)}


def still_away(known: Mapping[str, Any], away: int) -> int:
    """How many of the servers that fell silent are still away, of `away` that are late or down."""
    return max(0, away - int(known["away_before"]))


def end_fleet_silence(book: Book, situation: Situation) -> None:
    """End the alarms `fleet_silent` of which at most half of the servers are still away."""
    for number in _fleets(book).values():
        known = book[number].known
        still = still_away(known, situation.away)
        if 2 * still <= known["silent"]:
            book.change(number, known={**known, "still_away": still})
            book.end(number, "recovered", situation.now)


def begin_parts(book: Book, situation: Situation) -> None:
    """
    Make alarms about late and down servers part of an alarm `fleet_silent` that lasts.

    Those that were part of one that has ended are due again, but not at once: where most servers
    of a fleet are back, the others often follow.
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
