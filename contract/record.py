"""What the receiver keeps of a server."""

from attrs import frozen

from contract.fields import Count, Moment, Seconds, Text
from contract.messages import View

__all__ = ["ServerRecord"]


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
    """

    started_at: Moment | None = None
    status: Text | None = None
    timestamp: Moment | None = None
    uptime_seconds: Seconds | None = None
    first_seen: Moment
    registered_at: Moment | None = None
    last_seen: Moment
    heartbeat_count: Count = 0
