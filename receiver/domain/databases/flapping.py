"""
Flapping: servers that fall silent and come back again and again.

Each of their changes is true, but nobody reads a hundred of them. So the timeline tells once that a
server flaps; its changes are counted from then on, and one event tells when it has calmed down. The
record of the server, its state included, goes on changing as ever.

There are two thresholds, as in Nagios ("flap detection"): a server that changes about as often as
the rule allows must not begin and end to flap itself.
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
    Count the changes of a server's state, and say which events to write.

    Args:
        row: The row of the server after the change.
        events: The events that the change causes.
        at: The time of the change.
        is_over_budget: Whether the key of the server has used up its budget for events: then the
            server flaps with half as many turns.

    Returns the row with the changes counted, and the events to write: without those of the state if
    the server flaps, and with an event `flapping` if it has just begun to.
    """
    count = sum(event.kind in _TURNS for event in events)
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
    End the flapping of a server whose state has not changed for long, or check that again later.

    The time before `heard_since`, since when receivers have been running without an interruption,
    does not count, as nobody knows what the server did then.

    Returns the row, and in a list the event `calm` if the flapping ends. A server that does not
    flap stays as it is.
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
"""The events that tell of a turn: a server stops sending or sends again."""

_FOLLOWING = {EventKind.DOWN}
"""The events of a state that are no turn of their own: a server that is down was late before."""

_MOST_TURNS = 6
"""
With so many turns within `_WITHIN` a server flaps: it has been away three times.

A deployment that goes wrong takes a server away once or twice.
"""

_TURNS_OVER_BUDGET = 3
"""
The same for a server whose key has used up its budget for events.

So whatever a key does, one silence of each server and its end are told: without them nobody could
say when it was available.
"""

_WITHIN = timedelta(hours=1)

_CALM = timedelta(minutes=30)
"""
For how long the state of a server must stay the same until it does not flap any more.

Longer than `_WITHIN` divided by the turns that begin it, so that who turns as often as that does
not calm in between; short enough to hear soon that a server which flapped is down for good.
"""
