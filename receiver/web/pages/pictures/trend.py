"""The last day of the fleet as a small picture, for the front page: how many were late or down."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import frozen

from contract import State
from receiver.domain.history import Figures, Period, Slot
from receiver.web.context import Services
from receiver.web.pages.drawing import Stack, stack

__all__ = ["TROUBLED", "Trend", "partly_known", "trend_of", "troubled"]

TROUBLED = (State.DOWN.value, State.LATE.value)


@frozen(kw_only=True)
class Trend:
    """
    How many servers were late or down in the last day.

    Attributes:
        stack: The picture: how many servers were down or late in each hour, at its worst moment.
        worst: How many servers were late or down at the worst moment of the day.
        of: How many servers there were at that moment.
        worst_at: The beginning of the hour with that moment; None if no server was late or down.
        availability: The share of all servers that was neither late nor down, on average over the
            minutes in which servers were counted, 0 to 1; None if nothing is known of the day.
        minutes: In how many minutes of the day servers were counted, because a receiver ran.
        is_known: Whether anything is known of the day.
    """

    stack: Stack
    worst: int
    of: int
    worst_at: datetime | None
    availability: float | None
    minutes: int
    is_known: bool


def trend_of(found: Services) -> Trend:
    """Read how many servers were late or down in the last day. Blocks; raises StoreUnavailable."""
    day = found.fleet.figures_now(Period.DAY)
    whole = day.whole
    worst = {} if whole is None else whole.worst
    return Trend(
        stack=troubled(day),
        worst=sum(worst.get(state, 0) for state in TROUBLED),
        of=sum(worst.values()),
        worst_at=day.worst_at,
        availability=None if whole is None else whole.availability,
        minutes=0 if whole is None else whole.minutes,
        is_known=whole is not None,
    )


def troubled(found: Figures) -> Stack:
    """Draw how many servers were down or late in each slot of a period, at its worst moment."""
    hours = [slot.hour for slot in found.slots]
    return stack(
        TROUBLED,
        [
            None if hour is None else [hour.worst.get(state, 0) for state in TROUBLED]
            for hour in hours
        ],
        partly=partly_known(found),
    )


def partly_known(found: Figures) -> Sequence[bool]:
    """
    For each slot whether no receiver ran in a good part of it.

    A tenth may be missing, as when a receiver is restarted. The last slot, which is not over, is
    known up to when servers were counted in it last.
    """

    def is_partly_known(slot: Slot) -> bool:
        if slot.hour is None:
            return False
        is_last = slot is found.slots[-1]
        until = slot.hour.counted_at + _MINUTE if is_last else slot.ends_at
        return slot.hour.minutes < _MOSTLY * ((until - slot.begins_at) // _MINUTE)

    return [is_partly_known(slot) for slot in found.slots]


_MINUTE = timedelta(minutes=1)
_MOSTLY = 0.9
