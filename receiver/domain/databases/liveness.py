"""Liveness: the state of a server at an instant, and when its state can change next."""

from datetime import datetime, timedelta

from contract import ServerRecord, State, interval, patience
from contract.states import patience_of
from receiver.domain.instants import MICROSECOND, microseconds

__all__ = ["due_after", "due_at", "silent_before", "state_at"]


def state_at(record: ServerRecord, now: datetime, *, heard_since: datetime) -> State:
    """
    Return the state of a server at `now`, given its record with the state of the last check.

    States change step by step: a server becomes late first, and down no sooner than two heartbeat
    intervals after its record said late. The states down and left do not end until the server sends
    a message. Receivers have been running without an interruption since `heard_since`; the time
    before does not count as silence of the server.
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
    The time after which a server must have sent a message in order not to be late at `now`.

    The server is up or new, and declares `interval_seconds` as the interval between its heartbeats
    (None if it declares none). `state_at` returns late for it if both its last message and
    `heard_since` were before the returned time.
    """
    return now - patience_of(interval_seconds, 2)


def due_at(record: ServerRecord, *, heard_since: datetime) -> int | None:
    """
    When a server must be checked, because its state changes if it sends no message until then.

    Receivers have been running without an interruption since `heard_since`; the time before does
    not count as silence of the server. Returns microseconds since 1970; None for a server that is
    down or has left.
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
    """The first microsecond, counted since 1970, that is more than `delay` after `moment`."""
    return microseconds(moment) + delay // MICROSECOND + 1


def _is_lasting(state: State) -> bool:
    """Whether a state ends only when the server sends a message."""
    return state is State.DOWN or state is State.LEFT
