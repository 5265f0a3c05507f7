"""
Flapping: servers that fall silent and come back again and again.

Nobody reads a hundred events about one server. So one event tells that a server flaps. From then on
its changes are only counted, until one event tells that it has calmed down. The record of the
server and its state go on changing meanwhile.

A turn is a change between sending and not sending: a server stops, or it sends again.

One rule says when a server begins to flap, and another when this ends, like the two thresholds of
Nagios ("flap detection"). With a single rule, a server that has about as many turns as it allows
would begin and end to flap again and again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import evolve

from contract import Event, EventKind
from contract.fields import format_moment
from receiver.domain.instants import MICROSECOND, instant, microseconds
from receiver.domain.queries import SUPERSEDED
from receiver.domain.rows import Row, Turns

__all__ = ["calmed", "damped"]


def damped(
    row: Row, events: Sequence[Event], *, at: datetime, is_over_budget: bool = False
) -> tuple[Row, list[Event]]:
    """
    Count the turns of a server (it stops sending, or sends again), and say which events to write.

    Args:
        row: The row of the server after the change.
        events: The events that the change causes.
        at: The time of the change.
        is_over_budget: Whether the key of the server has caused as many events as it may in an
            hour. If so, 3 turns within an hour make the server flap, otherwise 6.

    Returns the row with the turns counted, and the events to write. If the server flaps, the
    events about its state are left out. If it has just begun to flap, an event `flapping` is added.
    """
    count = sum([event.kind in _TURNS for event in events])
    if row.record.flapping_since is not None:
        turns = row.turns._replace(total=row.turns.total + count)
        return row._replace(turns=turns), _others(events)
    if not count:
        return row, [*events]
    now = microseconds(at)
    most = _TURNS_OVER_BUDGET if is_over_budget else _MOST_TURNS
    kept = (*row.turns.times, *[now] * count)[-_MOST_TURNS:]
    times = kept[-most:]
    if len(times) < most or now - times[0] > _WITHIN // MICROSECOND:
        return row._replace(turns=Turns(kept)), [*events]
    record = evolve(row.record, flapping_since=instant(times[0]))
    flapping = Event(
        kind=EventKind.FLAPPING,
        at=at,
        server_id=row.server_id,
        details={"turns": most, "since": format_moment(instant(times[0]))},
    )
    begun = row._replace(record=record, turns=Turns(total=most))
    return begun, [*_others(events), flapping]


def calmed(row: Row, *, now: datetime, heard_since: datetime) -> tuple[Row, list[Event]]:
    """
    End the flapping of a server if its state has not changed for 30 minutes.

    If the last change is less than 30 minutes ago, the flapping goes on, and `due_at`, the time of
    the next check, becomes 30 minutes after that change, unless it is earlier. Time before
    `heard_since`, since when receivers have been running without an interruption, does not count,
    because nobody knows what the server did then.

    Returns the row after that, and a list with the event `calm`, which is empty unless the flapping
    ends now. The row of a server that does not flap is returned unchanged.
    """
    record = row.record
    if record.flapping_since is None:
        return row, []
    calm_at = max(record.state_since, heard_since) + _CALM
    if now < calm_at:
        at = microseconds(calm_at)
        return row._replace(due_at=at if row.due_at is None else min(row.due_at, at)), []
    details = {
        "turns": row.turns.total,
        "since": format_moment(record.flapping_since),
        "state": record.state.value if record.superseded_by is None else SUPERSEDED,
    }
    calm = Event(kind=EventKind.CALM, at=now, server_id=row.server_id, details=details)
    return row._replace(record=evolve(record, flapping_since=None), turns=Turns()), [calm]


def _others(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.kind not in _TURNS and event.kind not in _FOLLOWING]


_TURNS = {EventKind.LATE, EventKind.RECOVERED, EventKind.LEFT, EventKind.REBUILT}
"""The kinds of events that tell of a turn: a server stops sending, or it sends again."""

_FOLLOWING = {EventKind.DOWN}
"""Kinds of events that are left out with turns, but are no turns: `late` comes before `down`."""

_MOST_TURNS = 6
"""
How many turns within `_WITHIN` make a server flap: it has stopped and come back three times.

That is more than a deployment that goes wrong causes: it takes a server away once or twice.
"""

_TURNS_OVER_BUDGET = 3
"""
How many turns within `_WITHIN` make a server flap whose key has used up its budget for events.

With three, events still tell of one silence of each server and of its end, whatever the key does.
With fewer, nobody could say when the server was available.
"""

_WITHIN = timedelta(hours=1)

_CALM = timedelta(minutes=30)
"""
How long the state of a server must stay the same until the server does not flap any more.

This is longer than `_WITHIN` divided by the number of turns that makes a server flap. So a server
that goes on with just as many turns does not calm down between two of them. It is short enough that
an event soon tells when a server that flapped is down for good.
"""
