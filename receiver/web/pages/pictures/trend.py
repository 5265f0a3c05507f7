"""The last day of the fleet as a small picture, for the front page: how many were late or down."""

from datetime import datetime

from attrs import frozen

from contract import State
from receiver.domain.history import Figures, Period
from receiver.web.context import Services
from receiver.web.pages.drawing import Stack, stack

__all__ = ["TROUBLED", "Trend", "trend_of", "troubled"]

TROUBLED = (State.DOWN.value, State.LATE.value)


@frozen(kw_only=True)
class Trend:
    """
    The last day of the fleet.

    Attributes:
        stack: How many servers were down or late in each hour, at the worst moment of it.
        worst: How many were late or down at once at most.
        of: Of how many servers.
        worst_at: The beginning of the hour in which that was; None if none was late or down.
        availability: The share of all servers, over the time, that was neither late nor down; None
            if nothing is known.
        is_known: Whether anything is known of the day.
    """

    stack: Stack
    worst: int
    of: int
    worst_at: datetime | None
    availability: float | None
    is_known: bool


async def trend_of(found: Services) -> Trend:
    """The last day of the fleet, up to now."""
    day = await found.fleet.figures(Period.DAY)
    worst = {} if day.whole is None else day.whole.worst
    return Trend(
        stack=troubled(day),
        worst=sum(worst.get(state, 0) for state in TROUBLED),
        of=sum(worst.values()),
        worst_at=day.worst_at,
        availability=None if day.whole is None else day.whole.availability,
        is_known=day.whole is not None,
    )


def troubled(found: Figures) -> Stack:
    """How many servers were down or late in each slot, at the worst moment of it."""
    hours = [slot.hour for slot in found.slots]
    return stack(
        TROUBLED,
        [
            None if hour is None else [hour.worst.get(state, 0) for state in TROUBLED]
            for hour in hours
        ],
    )
