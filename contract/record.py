"""What the receiver keeps of a server."""

from enum import Enum
from typing import Annotated

from attrs import frozen

from contract.fields import Count, Moment, Rule, Seconds, ServerId, Text
from contract.messages import View

__all__ = ["ServerRecord", "State"]


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


_STATES = [state.value for state in State]
Noticed = Annotated[
    State, Rule(f"one of {', '.join(_STATES)}", {"type": "string", "enum": _STATES}, State)
]


@frozen(kw_only=True)
class ServerRecord(View):
    """
    One server, as far as it is known.

    `merge` and `register` make records; a field that was never heard is None.
    The constructor checks nothing: what goes into a record was checked in a message.

    Attributes:
        started_at: From the latest registration that held it.
        status: From the latest heartbeat that held it.
        timestamp: The sender's clock, from the latest heartbeat that held it.
        uptime_seconds: From the latest heartbeat that held it.
        first_seen: When the first message was received; never changes.
        registered_at: When the latest registration was received.
        last_seen: When the latest message was received.
        heartbeat_count: Heartbeats received since `first_seen`.
        state: As the receiver last noticed it; `liveness` tells what it is at a moment.
        state_since: When the receiver noticed that.
        superseded_by: The server that is the same database after a rebuild; None as soon
            as this one is heard again.
        twin_of: A server that goes on sending at the same time as the same database.
    """

    started_at: Moment | None = None
    status: Text | None = None
    timestamp: Moment | None = None
    uptime_seconds: Seconds | None = None
    first_seen: Moment
    registered_at: Moment | None = None
    last_seen: Moment
    heartbeat_count: Count = 0
    state: Noticed = State.NEW
    state_since: Moment
    superseded_by: ServerId | None = None
    twin_of: ServerId | None = None
