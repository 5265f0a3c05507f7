"""Liveness: the state of a server at an instant, and when its state can change next."""

from datetime import datetime

from attrs import evolve

from contract import ServerRecord, State, interval, liveness
from receiver.domain.instants import MICROSECOND, microseconds

__all__ = ["due_after", "state_at"]


def state_at(record: ServerRecord, now: datetime, *, heard_since: datetime) -> State:
    """
    The state of a server at an instant.

    A state that the sweep has written stays until the server is heard again. Silence that
    the sweep has not written yet is counted from `heard_since` on, since when receivers
    could hear servers without an interruption.
    """
    if record.state is State.DOWN:
        return State.DOWN
    state = liveness(_heard(record, heard_since), now)
    return State.LATE if record.state is State.LATE and not state.stale else state


def due_after(silent_since: datetime, record: ServerRecord, *, intervals: int) -> int:
    """The instant just after so many intervals of silence, in microseconds since 1970."""
    return microseconds(silent_since) + intervals * (interval(record) // MICROSECOND) + 1


def _heard(record: ServerRecord, heard_since: datetime) -> ServerRecord:
    return record if record.last_seen >= heard_since else evolve(record, last_seen=heard_since)
