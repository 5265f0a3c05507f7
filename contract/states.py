"""Liveness of a server, as a function of its record and the time."""

from datetime import datetime, timedelta

from contract.fields import to_utc
from contract.record import ServerRecord, State

__all__ = ["DEFAULT_INTERVAL_SECONDS", "interval", "liveness"]

DEFAULT_INTERVAL_SECONDS = 60.0


def liveness(record: ServerRecord, now: datetime) -> State:
    """
    The liveness of a server at the time `now`, by the time since its last message.

    - at most 2 intervals: `up`, or `new` while it has registered and sent no heartbeat
    - more than 2 intervals: `late`
    - more than 4 intervals: `down`

    The interval is that of `interval(record)`. Raises ValueError when `now` has no offset.
    """
    silent = to_utc(now) - record.last_seen
    if silent > 2 * interval(record):
        return State.DOWN if silent > 4 * interval(record) else State.LATE
    return State.UP if record.heartbeat_count else State.NEW


def interval(record: ServerRecord) -> timedelta:
    """
    The time between two heartbeats that a server has declared, or 60 s without a declaration.

    It is capped at a century, which a timedelta can hold four times.
    """
    seconds = record.heartbeat_interval_seconds or DEFAULT_INTERVAL_SECONDS
    return timedelta(seconds=min(seconds, _CENTURY_SECONDS))


_CENTURY_SECONDS = 100 * 365.25 * 86400
