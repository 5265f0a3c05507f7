"""Liveness: the state of a server at an instant, and when its state can change next."""

from datetime import datetime, timedelta

from attrs import evolve

from contract import ServerRecord, State, interval, liveness, patience
from receiver.domain.instants import MICROSECOND, microseconds

__all__ = ["due_after", "due_at", "state_at"]


def state_at(record: ServerRecord, now: datetime, *, heard_since: datetime) -> State:
    """
    The state of a server at an instant, given the state in its record, which the watchdog wrote.

    States change step by step: a server becomes late first, and down no sooner than two
    heartbeat intervals after its record said late. Down and left last until the server sends a
    message. The time before `heard_since`, since when receivers have been running without an
    interruption, does not count as silence of the server.
    """
    if record.state in _LASTING:
        return record.state
    state = liveness(_heard(record, heard_since), now)
    if record.state is State.LATE:
        has_waited = now - record.state_since > 2 * interval(record)
        return State.DOWN if state is State.DOWN and has_waited else State.LATE
    return State.LATE if state.stale else state


def due_at(record: ServerRecord, *, heard_since: datetime) -> int | None:
    """
    When the state of a server must be checked next, as it changes then without a new message.

    Receivers have been running without an interruption since `heard_since`. Returns microseconds
    since 1970; None for a server that is down or has left.
    """
    if record.state in _LASTING:
        return None
    silent_since = max(record.last_seen, heard_since)
    if record.state is not State.LATE:
        return due_after(silent_since, patience(record, intervals=2))
    return max(
        due_after(silent_since, patience(record, intervals=4)),
        due_after(record.state_since, 2 * interval(record)),
    )


def due_after(moment: datetime, delay: timedelta) -> int:
    """When more than `delay` has just passed since `moment`, in microseconds since 1970."""
    return microseconds(moment) + delay // MICROSECOND + 1


def _heard(record: ServerRecord, heard_since: datetime) -> ServerRecord:
    return record if record.last_seen >= heard_since else evolve(record, last_seen=heard_since)


_LASTING = {State.DOWN, State.LEFT}
"""The states that end only when the server sends a message."""
