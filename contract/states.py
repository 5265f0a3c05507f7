"""Whether a server is alive, as far as its record tells."""

from datetime import datetime, timedelta
from enum import Enum

from contract.fields import to_utc
from contract.record import ServerRecord

__all__ = ["DEFAULT_INTERVAL_SECONDS", "State", "liveness"]

DEFAULT_INTERVAL_SECONDS = 60.0


class State(str, Enum):
    """How long a server has been silent, in intervals of its heartbeat."""

    NEW = "new"
    UP = "up"
    LATE = "late"
    DOWN = "down"

    @property
    def stale(self) -> bool:
        """Whether an alarm is due: late or down."""
        return self in {State.LATE, State.DOWN}


def liveness(record: ServerRecord, now: datetime) -> State:
    """
    The state of a server at a moment.

    A server may be silent for twice the interval that it declared, or 60 seconds: it is
    up then, or new as long as it has registered but sent no heartbeat. Up to four times
    the interval it is late, and beyond that it is down.

    Raises ValueError when `now` has no offset.
    """
    silent = to_utc(now) - record.last_seen
    if silent > _times(4, record):
        return State.DOWN
    if silent > _times(2, record):
        return State.LATE
    return State.UP if record.heartbeat_count else State.NEW


def _times(factor: int, record: ServerRecord) -> timedelta:
    seconds = factor * (record.heartbeat_interval_seconds or DEFAULT_INTERVAL_SECONDS)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max
