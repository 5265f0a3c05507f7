"""The record that the receiver keeps of each server."""

from enum import Enum
from typing import Annotated, Any

from attrs import Attribute, fields_dict, frozen

from contract.fields import Count, Moment, Rule, Seconds, ServerId, Text
from contract.messages import View

__all__ = ["ServerRecord", "State"]


class State(str, Enum):
    """
    Whether a server is alive, judged by the time since its last message.

    `new` from its registration to its first heartbeat, then `up`; `late` and then `down` after
    some heartbeat intervals without a message, see `liveness`; `left` after a heartbeat that
    said that it was the last.
    """

    NEW = "new"
    UP = "up"
    LATE = "late"
    DOWN = "down"
    LEFT = "left"

    @property
    def stale(self) -> bool:
        """Whether the server has been silent for too long: late or down."""
        return self is State.LATE or self is State.DOWN

    @property
    def is_heard(self) -> bool:
        """Whether the server sends its messages in time: new or up."""
        return self is State.NEW or self is State.UP


_STATES = [state.value for state in State]
Noticed = Annotated[
    State, Rule(f"one of {', '.join(_STATES)}", {"type": "string", "enum": _STATES}, State)
]


def _in_the_order_of_view(_: type, attributes: "list[Attribute[Any]]") -> "list[Attribute[Any]]":
    """Sort fields as in `View`: attrs puts a field that a subclass declares again at the end."""
    places = {name: place for place, name in enumerate(fields_dict(View))}
    return sorted(attributes, key=lambda each: places.get(each.name, len(places)))


@frozen(kw_only=True, field_transformer=_in_the_order_of_view)
class ServerRecord(View):
    """
    What the receiver knows of one server. Times are by the receiver's clock, in UTC.

    `merge` and `register` make records; a field that no message has held is None.
    The constructor validates nothing, since messages are validated before they are merged.

    Attributes:
        capabilities: Names of the MCP tools. A record may hold more and other names than a
            message, from a time when messages might hold them.
        started_at: When the server started, from the latest message that held it.
        status: Health, from the latest heartbeat that held it.
        timestamp: Time of sending by the sender's clock, from the latest heartbeat that held
            it.
        uptime_seconds: Seconds since the sender's module was loaded, from the latest
            heartbeat that held it.
        first_seen: When the first message was received; never changes.
        registered_at: When the latest registration was received.
        last_seen: When the latest message was received.
        heartbeat_count: Number of heartbeats received since `first_seen`.
        state: Liveness, as the receiver last determined it; of several nodes of a database,
            that of the database.
        state_since: When the receiver determined that `state`, or when it heard the server again
            that was superseded.
        superseded_by: `server_id` of the server that replaced this one in a rebuild of the
            same database; None again as soon as this one sends again.
        twin_of: `server_id` of another server with the same `database_uuid` that sends in
            parallel: one of the two is a copy of the other's database.
        node_count: How many other servers are nodes of the database that this one stands for.
        node_of: `server_id` of the server that stands for the same database, when several
            servers (nodes) send for one; None for the server that stands for it.
        conflict_since: Since when two machines send under this `server_id`, of which each
            counts its messages by itself; None when only one does.
        flapping_since: Since when the state has been changing again and again, so that the
            changes are counted and cause no events; None when it does not.
    """

    capabilities: tuple[Text, ...] | None = None
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
    node_count: Count = 0
    node_of: ServerId | None = None
    conflict_since: Moment | None = None
    flapping_since: Moment | None = None
