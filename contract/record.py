"""The record that the receiver keeps of each server."""

from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, TypeVar, cast

from attrs import Attribute, fields_dict, frozen

from contract.fields import Count, Moment, Rule, Seconds, ServerId, Text
from contract.messages import View

__all__ = ["ServerRecord", "State", "draft_of", "finished", "shared"]

T = TypeVar("T")


class State(str, Enum):
    """
    Whether a server is alive, judged by the time since its last message.

    A server is `new` from its registration to its first heartbeat, and then `up`. After two
    heartbeat intervals without a message, and a tolerance, it is `late`, and after four it is
    `down`. After a heartbeat with the status `uninstalled`, which is its last one, it has `left`.
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

    `merge` and `register` make records. A field that comes from messages is None if no message has
    held it.
    The constructor validates nothing, because messages are validated before they are merged.

    Attributes:
        capabilities: Names of the MCP tools. An old record may break the limits of messages (a
            name that is too long, too many names), because earlier versions had no limits.
        started_at: When the server started, from the latest message that held it.
        status: Health, as the server reported it in the latest heartbeat that held it.
        timestamp: Time of sending by the sender's clock, from the latest heartbeat that held
            it.
        uptime_seconds: Seconds since the sender's Python module was loaded, from the latest
            heartbeat that held it.
        first_seen: When the first message was received; never changes.
        registered_at: When the latest registration was received; None if there was none.
        last_seen: When the latest message was received.
        heartbeat_count: Number of heartbeats received since `first_seen`.
        state: Whether the server is alive, as the receiver last determined it. If several servers
            (nodes) send for one database, it is the state of the database.
        state_since: When `state` got its present value. If the server sent again after it was
            superseded, it is the time of the first message after that.
        superseded_by: `server_id` of the server that replaced this one in a rebuild of the
            same database; None if none did. Becomes None again when this server sends a message.
        twin_of: `server_id` of another server that reports the same `database_uuid` but has a
            database of its own: one of the two databases is a copy of the other. None if no such
            server is known. Servers that share one database are nodes, not twins.
        node_count: If several servers (nodes) share one database, lists show one of them in place
            of all. For that server it is the number of the others; for any other server it is 0.
        node_of: The `server_id` of the server that lists show in place of this one, because the
            two share a database; None if lists show this server itself.
        conflict_since: Since when two machines have been sending under this `server_id`, which
            shows in the `sequence` numbers of their messages; None when only one machine sends.
        flapping_since: Since when the state has been changing again and again, so that the
            changes are only counted and cause no events; None when the state is calm.
        labels: Labels that people gave to the database, sorted; all servers with the same
            `database_uuid` have the same. None when there are none.
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
    labels: tuple[Text, ...] | None = None


def shared(name: str, value: T) -> T:
    """
    Return the object that other records have for an equal value of the field `name`, if any.

    A fleet has few versions, stages and lists of tools. If its records share them, it takes a fifth
    less memory, and the processor's cache has them when a heartbeat is compared with its record. Of
    other fields, and for long values, it is always the value itself.
    """
    is_long = isinstance(value, (str, tuple)) and len(value) > _LONGEST_SHARED
    return value if is_long or name not in SHARED else _kept(value)


@lru_cache(maxsize=2**10, typed=True)
def _kept(value: T) -> T:
    return value


class _Draft(ServerRecord):
    """A copy of a record whose fields can be set."""

    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__  # Python sets attributes the fast way if both are ordinary


def draft_of(record: ServerRecord) -> Any:
    """
    Return a copy of a record whose fields can be set, to be made a record by `finished`.

    The constructor of a frozen class sets each field by a function call, which takes 1.8 µs for a
    record. This takes 0.3 µs, because it does nothing but what is written here.
    """
    draft: Any = _new(_Draft)
    draft.server_id = record.server_id
    draft.hostname = record.hostname
    draft.ip_addresses = record.ip_addresses
    draft.port = record.port
    draft.transport = record.transport
    draft.version = record.version
    draft.odoo_version = record.odoo_version
    draft.database = record.database
    draft.capabilities = record.capabilities
    draft.odoo_stage = record.odoo_stage
    draft.database_uuid = record.database_uuid
    draft.endpoint_url = record.endpoint_url
    draft.heartbeat_interval_seconds = record.heartbeat_interval_seconds
    draft.sequence = record.sequence
    draft.tools_digest = record.tools_digest
    draft.started_at = record.started_at
    draft.status = record.status
    draft.timestamp = record.timestamp
    draft.uptime_seconds = record.uptime_seconds
    draft.first_seen = record.first_seen
    draft.registered_at = record.registered_at
    draft.last_seen = record.last_seen
    draft.heartbeat_count = record.heartbeat_count
    draft.state = record.state
    draft.state_since = record.state_since
    draft.superseded_by = record.superseded_by
    draft.twin_of = record.twin_of
    draft.node_count = record.node_count
    draft.node_of = record.node_of
    draft.conflict_since = record.conflict_since
    draft.flapping_since = record.flapping_since
    draft.labels = record.labels
    return draft


def finished(draft: Any) -> ServerRecord:
    """Make a draft a record, whose fields cannot be set any more, and return it."""
    draft.__class__ = ServerRecord
    return cast("ServerRecord", draft)


_new = object.__new__
_LONGEST_SHARED = 64
SHARED = frozenset(
    {
        "port",
        "transport",
        "version",
        "odoo_version",
        "capabilities",
        "odoo_stage",
        "heartbeat_interval_seconds",
        "tools_digest",
        "status",
    }
)
