"""Instants as the database stores them: whole microseconds since 1970-01-01T00:00:00Z."""

from datetime import datetime, timedelta, timezone

__all__ = ["MICROSECOND", "instant", "microseconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """An instant in whole microseconds since 1970-01-01T00:00:00Z; it must have a UTC offset."""
    return (moment - _EPOCH) // MICROSECOND


def instant(since_1970: int) -> datetime:
    """The instant, in UTC, that is a number of microseconds after 1970-01-01T00:00:00Z."""
    return _EPOCH + timedelta(0, 0, since_1970)  # by place, which takes two thirds of the time
