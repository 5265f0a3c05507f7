"""
The history of the last day, week or quarter of a year, divided into parts of equal length (slots).

Pictures and the API show a value for each slot.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import reduce

from attrs import frozen

from receiver.domain.history.hours import Hour, begin_of_hour, silent

__all__ = ["Figures", "Period", "Slot", "figures"]


class Period(str, Enum):
    """
    How much of the history is shown, up to the present hour.

    A day has 24 slots of one hour, a week 56 slots of three hours, and a quarter of a year 92 slots
    of one day.
    """

    DAY = "day"
    WEEK = "week"
    QUARTER = "quarter"

    @property
    def slots(self) -> int:
        """Into how many slots the period is divided."""
        return _SLOTS[self][0]

    @property
    def step(self) -> timedelta:
        """How long a slot is."""
        return _SLOTS[self][1]

    def since(self, now: datetime) -> datetime:
        """
        When the first slot begins of the period whose last slot contains `now`.

        Slots of an hour begin at full hours, slots of three hours at 0, 3, 6 ... o'clock, and slots
        of a day at midnight, all in UTC. So they stay the same when time goes on.
        """
        last = begin_of_hour(now)
        last -= (last - _MIDNIGHT) % self.step
        return last - (self.slots - 1) * self.step


_SLOTS = {
    Period.DAY: (24, timedelta(hours=1)),
    Period.WEEK: (56, timedelta(hours=3)),
    Period.QUARTER: (92, timedelta(days=1)),
}
_AN_HOUR = timedelta(hours=1)
_MIDNIGHT = datetime(1970, 1, 1, tzinfo=timezone.utc)


@frozen(kw_only=True)
class Slot:
    """
    A part of a period.

    Attributes:
        begins_at: When the slot begins.
        ends_at: When it ends, which is when the next one begins. The last slot of a period ends in
            the future.
        hour: What is known of all its hours together; None if no receiver ran in it.
    """

    begins_at: datetime
    ends_at: datetime
    hour: Hour | None


@frozen(kw_only=True)
class Figures:
    """
    The history of the fleet in a period.

    Attributes:
        slots: All parts of the period, oldest first, without a gap.
        whole: What is known of the whole period, as if it were one hour; None if no receiver ran in
            it.
        worst_at: The beginning of the hour in which the most servers were late or down at once;
            None if no server was.
        listened: The share of the minutes in which a receiver ran, 0 to 1, from the end of the
            first hour of the period in which one ran until now; 1 if this hour is not over. None
            if no receiver ran in the period.
    """

    slots: Sequence[Slot]
    whole: Hour | None
    worst_at: datetime | None
    listened: float | None


def figures(hours: Iterable[Hour], period: Period, now: datetime) -> Figures:
    """
    Sum up the history of the fleet in a period that ends now, in slots and as a whole.

    Args:
        hours: What is known of each hour, oldest first, without the hours in which no receiver ran.
            Hours outside of the period are ignored.
        period: How long the period is, and into which slots it is divided.
        now: The present time.
    """
    since = period.since(now)
    known = [each for each in hours if since <= each.begins_at <= now]
    slots = []
    for n in range(period.slots):
        begin, end = since + n * period.step, since + (n + 1) * period.step
        within = [each for each in known if begin <= each.begins_at < end]
        slots.append(Slot(begins_at=begin, ends_at=end, hour=_together(within)))
    worst = max(known, key=lambda each: silent(each.worst), default=None)
    return Figures(
        slots=slots,
        whole=_together(known),
        worst_at=worst.begins_at if worst is not None and silent(worst.worst) else None,
        listened=_listened(known, now),
    )


def _together(hours: Sequence[Hour]) -> Hour | None:
    return reduce(Hour.with_next, hours) if hours else None


def _listened(hours: Sequence[Hour], now: datetime) -> float | None:
    """
    The share of the minutes, after the first known hour, in which the servers were counted.

    The first hour is left out, as the first receiver may have started in it.
    """
    if not hours:
        return None
    first, *others = hours
    passed = (now - first.begins_at - _AN_HOUR) / timedelta(minutes=1)
    counted = sum(each.minutes for each in others)
    return min(1.0, counted / passed) if passed > 0 else 1.0
