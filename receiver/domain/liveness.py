"""Liveness: the state of a server at an instant, and when its state can change next."""

from datetime import datetime, timedelta

from contract import ServerRecord, State, interval, patience
from contract.states import patience_of
from receiver.domain.instants import MICROSECOND, microseconds

__all__ = ["due_after", "due_at", "silent_before", "state_at"]


def state_at(record: ServerRecord, now: datetime, *, heard_since: datetime) -> State:
    """
    The state of a server at an instant, given the state in its record, which the watchdog wrote.

    States change step by step: a server becomes late first, and down no sooner than two
    heartbeat intervals after its record said late. Down and left last until the server sends a
    message. The time before `heard_since`, since when receivers have been running without an
    interruption, does not count as silence of the server.
    """
    if _is_lasting(record.state):
        return record.state
    silence = now - max(record.last_seen, heard_since)
    if record.state is State.LATE:
        has_waited = now - record.state_since > 2 * interval(record)
        is_down = has_waited and silence > patience(record, intervals=4)
        return State.DOWN if is_down else State.LATE
    if silence > patience(record, intervals=2):
        return State.LATE
    return State.UP if record.heartbeat_count else State.NEW


def silent_before(interval_seconds: float | None, now: datetime) -> datetime:
    """
    The time since which servers that are up or new must have been heard.

    `state_at` says late if both their last message and `heard_since` were before that time. They
    declare `interval_seconds`, or None.
    """
    return now - patience_of(interval_seconds, 2)


def due_at(record: ServerRecord, *, heard_since: datetime) -> int | None:
    """
    When the state of a server must be checked next, as it changes then without a new message.

    Receivers have been running without an interruption since `heard_since`. Returns microseconds
    since 1970; None for a server that is down or has left.
    """
    if _is_lasting(record.state):
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


def _is_lasting(state: State) -> bool:
    """Whether a state ends only when the server sends a message."""
    return state is State.DOWN or state is State.LEFT
