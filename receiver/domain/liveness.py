"""Liveness: the state of a server at an instant, and when its state can change next."""

from datetime import datetime, timedelta

from contract import ServerRecord, State, interval, patience
from receiver.domain.instants import MICROSECOND, microseconds

__all__ = ["due_after", "due_at", "state_at"]


def state_at(record: ServerRecord, now: datetime, *, heard_since: datetime) -> State:
    """
    The state of a server at an instant.

    A state that the sweep has written stays until the server sends again. A server that the
    sweep has not called late yet is at most late, and one that it has called late is down
    after two more intervals at the earliest. Silence is counted from `heard_since` on, since
    when receivers could hear servers without an interruption.
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


def due_at(record: ServerRecord, *, heard_since: datetime) -> int | None:
    """
    When the state of a server can change next, unless it sends something.

    Returns microseconds since 1970; None for a server that is down or has left.
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
    """The first microsecond, since 1970, at which more than a delay has passed since a moment."""
    return microseconds(moment) + delay // MICROSECOND + 1


def _is_lasting(state: State) -> bool:
    """Whether only a message ends a state."""
    return state is State.DOWN or state is State.LEFT
