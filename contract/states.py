"""Whether a server is alive, as far as its record tells."""

from datetime import datetime, timedelta

from contract.fields import to_utc
from contract.record import ServerRecord, State

__all__ = ["DEFAULT_INTERVAL_SECONDS", "interval", "liveness"]

DEFAULT_INTERVAL_SECONDS = 60.0


def liveness(record: ServerRecord, now: datetime) -> State:
    """
    The state of a server at a moment.

    A server may be silent for twice the interval that it declared, or 60 seconds: it is
    up then, or new as long as it has registered but sent no heartbeat. Up to four times
    the interval it is late, and beyond that it is down.

    Raises ValueError when `now` has no offset.
    """
    silent = to_utc(now) - record.last_seen
    if silent > 2 * interval(record):
        return State.DOWN if silent > 4 * interval(record) else State.LATE
    return State.UP if record.heartbeat_count else State.NEW


def interval(record: ServerRecord) -> timedelta:
    """How often a server promises to be heard; at most a century, 60 s when it does not say."""
    seconds = record.heartbeat_interval_seconds or DEFAULT_INTERVAL_SECONDS
    return timedelta(seconds=min(seconds, _CENTURY_SECONDS))


_CENTURY_SECONDS = 100 * 365.25 * 86400
