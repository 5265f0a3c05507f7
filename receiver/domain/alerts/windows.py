"""
When silences are active: once, or in windows that a cron expression begins again and again.

A silence that is active only once has a single window, from its beginning to its end.
"""

from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from receiver.domain.alerts.values import Silence
from receiver.domain.instants import MICROSECOND

__all__ = ["FOREVER", "active", "check", "zone", "zone_or_utc"]

FOREVER = datetime.max.replace(tzinfo=timezone.utc)
"""The time that stands for the end of a window without an end: `datetime.max` in UTC."""


def active(silence: Silence, now: datetime) -> datetime | None:
    """
    When the window of a silence ends that is open at `now`; None if the silence is not active now.

    It is `FOREVER` for a window without an end. If several windows overlap, it is the end of the
    one that ends last.

    A window lasts for its duration in real time. When the clocks are set forward, a window that
    begins daily in the hour that there is not begins right after it; when they are set back, a
    window that begins in the hour that there is twice begins in the first of the two.
    """
    ends_at = silence.ends_at or FOREVER
    if not silence.begins_at <= now < ends_at:
        return None
    if silence.cron is None:
        return ends_at
    begun_at = _latest(silence.cron, zone(silence.time_zone), now)
    if begun_at is None or begun_at < silence.begins_at:
        return None
    closes_at = min(begun_at + (silence.duration or timedelta()), ends_at)
    return closes_at if now < closes_at else None


def check(cron: str, time_zone: str) -> None:
    """
    Check a cron expression and the name of a time zone.

    Raises ValueError, whose message is a sentence for people, if one of them is not valid, or if
    the time that the expression means never comes.
    """
    where = zone(time_zone)
    if len(cron) > _LONGEST or len(cron.split()) != len(_FIELDS):
        raise ValueError(
            f"A cron expression has {len(_FIELDS)} fields, {', '.join(_FIELDS)}, such as "
            '"30 2 * * SUN" for Sundays at half past two.'
        )
    try:
        comes = next(CronSim(cron, _ANY_TIME.astimezone(where)), None)
    except CronSimError as error:
        raise ValueError(f'"{cron}" is no cron expression: {error}.') from error
    if comes is None:
        raise ValueError(f'The time that "{cron}" means never comes.')


def zone(name: str) -> ZoneInfo:
    """
    The time zone with an IANA name, such as `Europe/Berlin`.

    Raises ValueError, whose message is a sentence for people, if there is no zone of this name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # it reads a file of this name
        raise ValueError(
            f"There is no time zone {name!r}; names are like Europe/Berlin or UTC."
        ) from error


def zone_or_utc(name: str) -> tzinfo:
    """The time zone with an IANA name; UTC if this machine does not know it any more."""
    try:
        return zone(name)
    except ValueError:
        return timezone.utc


def _latest(cron: str, where: ZoneInfo, now: datetime) -> datetime | None:
    """The latest time, in UTC, at which a cron expression began a window; None if there is none."""
    # The library goes back by what clocks show. Where they are set back, what they show may be
    # less than at a time that was before, so the search begins after the change.
    is_steady = (now - _CHANGE).astimezone(where).utcoffset() == (
        (now + _CHANGE).astimezone(where).utcoffset()
    )
    # It goes back to what is before the time that it is given, and `now` counts too.
    start = now + MICROSECOND if is_steady else now + _CHANGE
    # Two times of one zone are compared by what clocks show, so these are converted first.
    times = (
        each.astimezone(timezone.utc)
        for each in CronSim(cron, start.astimezone(where), reverse=True)
    )
    return next((each for each in times if each <= now), None)


_CHANGE = timedelta(hours=3)  # no clocks are set by more
_ANY_TIME = datetime(2026, 1, 1, tzinfo=timezone.utc)
_LONGEST = 200
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
