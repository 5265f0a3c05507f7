"""Whether a server is alive, as a function of its record and the time."""

from datetime import datetime, timedelta
from functools import lru_cache

from contract.fields import to_utc
from contract.record import ServerRecord, State

__all__ = ["DEFAULT_INTERVAL_SECONDS", "interval", "liveness", "patience", "patience_of"]

DEFAULT_INTERVAL_SECONDS = 60.0
"""The interval between heartbeats, in seconds, of a server that has declared none."""


def liveness(record: ServerRecord, now: datetime) -> State:
    """
    Return the state of a server at the time `now`, by the time that has passed since its last
    message:

    - until `patience(record, intervals=2)`, which is two heartbeat intervals and a tolerance: `up`,
      or `new` if the server has registered but has not sent a heartbeat yet
    - from then until `patience(record, intervals=4)`: `late`
    - after that: `down`

    A server whose record says `left` stays `left`.

    Raises ValueError when `now` has no offset.
    """
    silent = to_utc(now) - record.last_seen
    if record.state is State.LEFT:
        return State.LEFT
    if silent > patience(record, intervals=2):
        return State.DOWN if silent > patience(record, intervals=4) else State.LATE
    return State.UP if record.heartbeat_count else State.NEW


def patience(record: ServerRecord, *, intervals: int) -> timedelta:
    """
    The time without a message after which `intervals` heartbeats count as missed.

    That is `intervals` times the server's interval, and a tolerance of a quarter of an interval,
    at least 5 s. The tolerance is needed because Odoo runs a job that is due each minute every
    62 to 63 s, and after 126 to 128 s when it skips a run.
    """
    return patience_of(record.heartbeat_interval_seconds, intervals)


def interval(record: ServerRecord) -> timedelta:
    """
    The time between two heartbeats that a server has declared, or 60 s without a declaration.

    An interval below 5 s is raised to 5 s, because the network may pause for that long. An
    interval above 7 days is lowered to 7 days, so that every silence is noticed some day.
    """
    return _interval(record.heartbeat_interval_seconds)


# Lists ask for the state of each server, and most of a fleet declares the same few intervals.
@lru_cache
def _interval(declared: float | None) -> timedelta:
    seconds = declared or DEFAULT_INTERVAL_SECONDS
    return timedelta(seconds=min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS))


@lru_cache
def patience_of(declared: float | None, intervals: int) -> timedelta:
    """
    The time without a message after which `intervals` heartbeats of a server count as missed.

    It is what `patience` returns, but needs no record: `declared` is the interval in seconds that
    the server has declared, or None if it has declared none.
    """
    each = _interval(declared)
    return intervals * each + max(each / 4, _LEAST_TOLERANCE)


_SHORTEST_SECONDS = 5.0
_LONGEST_SECONDS = 7 * 86400.0
_LEAST_TOLERANCE = timedelta(seconds=5)
