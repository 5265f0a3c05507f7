"""The hours of a day, a week or a quarter of a year, in as many slots as a picture has room for."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import reduce

from attrs import frozen

from receiver.domain.history.hours import Hour, begin_of_hour, silent

__all__ = ["Figures", "Period", "Slot", "figures"]


class Period(str, Enum):
    """How much of the history is shown: up to now, the last hour being that of now."""

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
        When the first slot of the period begins.

        Slots begin at full hours or days in UTC, so that they stay the same when time goes on.
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
        begins_at: When it begins.
        ends_at: When it ends; the last slot of a period ends after now.
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
        slots: The parts of the period, oldest first, without a gap.
        whole: What is known of the whole period; None if nothing is.
        worst_at: The beginning of the hour in which most servers were late or down at once; None if
            there was none.
        listened: The share of the time since the first hour that is known in which a receiver ran,
            0 to 1; None if nothing is known.
    """

    slots: Sequence[Slot]
    whole: Hour | None
    worst_at: datetime | None
    listened: float | None


def figures(hours: Iterable[Hour], period: Period, now: datetime) -> Figures:
    """
    The history of the fleet in a period that ends now.

    Args:
        hours: What is known of each hour, oldest first; hours outside of the period are ignored.
        period: The period.
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
