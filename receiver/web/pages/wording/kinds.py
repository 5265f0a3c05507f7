"""What pages call the kinds of things: states, events, troubles, alarms, scopes of keys."""

from contract import EventKind, State
from receiver.domain.alerts.reach import Reach
from receiver.domain.alerts.values import AWAY, KEY_EXPIRES
from receiver.domain.grouping.problems import Trouble
from receiver.domain.keys import KeyScope

__all__ = [
    "ALARMS",
    "BY_IMPORTANCE",
    "FEW_SERVERS",
    "HINTS",
    "KINDS",
    "NAMED_SERVERS",
    "OF_TOOLS",
    "REACHES",
    "SCOPES",
    "STATES",
    "SUMMED_UP",
    "TOPICS",
    "TROUBLES",
    "counted",
    "many",
]

NAMED_SERVERS = 3
"""How many servers of a problem, or of a group of events, a page names at most."""

FEW_SERVERS = 5
"""Of a group of events of so many servers at most, a page names all of them."""

SCOPES = {
    KeyScope.VIEWER: "reads the fleet, and changes nothing",
    KeyScope.AGENT: "sends messages of servers, as an Odoo does, and reads nothing",
    KeyScope.REGISTRY: "reads the MCP registry only, by an address, as editors do",
    KeyScope.BADGE: "reads badges only, by an address, for pages that show them",
    KeyScope.ADMIN: "does all: forgets servers, and manages keys and alerts",
}
"""What the holder of a key of each scope does; first the scope that most new keys should have."""

STATES = {
    State.UP: "Heartbeats come in time",
    State.NEW: "Registered, no heartbeat yet",
    State.LATE: "Silent for more than two heartbeats",
    State.DOWN: "Silent for more than four heartbeats",
    State.LEFT: "Said that it sends no more",
}


def many(kind: EventKind, number: int = 2) -> str:
    """What happened to this number of servers, such as `are back`, to stand beneath the number."""
    return KINDS[kind] if number == 1 else _MANY.get(kind, KINDS[kind])


def counted(kind: EventKind, number: int, more: str = "") -> str:
    """
    How often something happened, such as `4 went down`.

    Between the number and a text in `KINDS` that is a heading, such as `tools changed`, stands a
    multiplication sign, since it is not the number of tools.

    Args:
        kind: What happened.
        number: How often.
        more: What stands behind the number, such as `+` if it may have happened more often.
    """
    sign = " \N{MULTIPLICATION SIGN}" if kind in _HEADINGS else ""
    return f"{number:,}{more}{sign} {many(kind, number)}"


OF_TOOLS = {
    "title": "Other title",
    "description": "Other description",
    "annotations": "Other hints",
    "input_schema_digest": "Other arguments",
    "provider": "Other module",
}
"""The labels of those fields of `contract.Tool` that may change or differ, by their names."""

KINDS = {
    EventKind.REGISTERED: "joined the fleet",
    EventKind.MOVED: "moved",
    EventKind.RESTARTED: "restarted",
    EventKind.UPGRADED: "was upgraded",
    EventKind.CAPABILITIES_CHANGED: "tools changed",
    EventKind.TOOLS_CHANGED: "tool descriptions changed",
    EventKind.STAGE_CHANGED: "stage changed",
    EventKind.UPDATED: "details changed",
    EventKind.LATE: "became late",
    EventKind.DOWN: "went down",
    EventKind.RECOVERED: "is back",
    EventKind.REBUILT: "was rebuilt",
    EventKind.TWIN: "has a twin",
    EventKind.NODE: "became a node of a database",
    EventKind.NODE_LEFT: "is no longer a node",
    EventKind.COPIES: "too many copies of a database",
    EventKind.CONFLICT: "two machines under one ID",
    EventKind.FLAPPING: "is flapping",
    EventKind.CALM: "stopped flapping",
    EventKind.LEFT: "left",
    EventKind.DELETED: "was forgotten",
    EventKind.REFUSED_WRITE: "refused",
    EventKind.FLEET_SILENT: "mass outage",
    EventKind.SILENCED: "is silenced",
    EventKind.ACKNOWLEDGED: "alarm acknowledged",
    EventKind.UNDELIVERED: "message not delivered",
    EventKind.LABELLED: "labels or note changed",
}
"""
For each kind of event the text, in lower case, that stands beneath the name of the server.

Some are predicates of a sentence about the server, such as `went down`, and some are headings, such
as `tools changed`.
"""

TOPICS = {
    "Outages": (
        EventKind.DOWN,
        EventKind.LATE,
        EventKind.RECOVERED,
        EventKind.FLEET_SILENT,
        EventKind.FLAPPING,
        EventKind.CALM,
    ),
    "Upgrades": (EventKind.UPGRADED,),
    "Tools changed": (EventKind.CAPABILITIES_CHANGED, EventKind.TOOLS_CHANGED),
    "All changes": (
        EventKind.UPGRADED,
        EventKind.RESTARTED,
        EventKind.MOVED,
        EventKind.REBUILT,
        EventKind.CAPABILITIES_CHANGED,
        EventKind.TOOLS_CHANGED,
        EventKind.STAGE_CHANGED,
        EventKind.UPDATED,
        EventKind.LABELLED,
    ),
    "Joined and left": (
        EventKind.REGISTERED,
        EventKind.LEFT,
        EventKind.DELETED,
        EventKind.REBUILT,
        EventKind.NODE,
        EventKind.NODE_LEFT,
    ),
    "Conflicts": (
        EventKind.CONFLICT,
        EventKind.TWIN,
        EventKind.COPIES,
        EventKind.REFUSED_WRITE,
    ),
    "Alerts": (EventKind.SILENCED, EventKind.ACKNOWLEDGED, EventKind.UNDELIVERED),
}
"""
The kinds of events, by the topic that somebody may look for in the timeline.

Each kind has a topic. What people look for most often has one of its own, besides a larger one.
"""

SUMMED_UP = frozenset(
    {
        EventKind.UPGRADED,
        EventKind.CAPABILITIES_CHANGED,
        EventKind.TOOLS_CHANGED,
        EventKind.STAGE_CHANGED,
        EventKind.UPDATED,
    }
)
"""The kinds of events of which `tale_of_many` says what became what, if it knows the details."""

_MANY = {
    EventKind.RECOVERED: "are back",
    EventKind.UPGRADED: "were upgraded",
    EventKind.REBUILT: "were rebuilt",
    EventKind.TWIN: "have twins",
    EventKind.NODE: "became nodes of databases",
    EventKind.NODE_LEFT: "are no longer nodes",
    EventKind.FLAPPING: "are flapping",
    EventKind.DELETED: "were forgotten",
    EventKind.FLEET_SILENT: "mass outages",
    EventKind.SILENCED: "are silenced",
    EventKind.ACKNOWLEDGED: "alarms acknowledged",
    EventKind.UNDELIVERED: "messages not delivered",
}
"""What a kind of event says of several servers, where that is not the text in `KINDS`."""

_HEADINGS = frozenset(
    {
        EventKind.CAPABILITIES_CHANGED,
        EventKind.TOOLS_CHANGED,
        EventKind.STAGE_CHANGED,
        EventKind.UPDATED,
        EventKind.COPIES,
        EventKind.CONFLICT,
        EventKind.REFUSED_WRITE,
        EventKind.LABELLED,
    }
)
"""The kinds of events whose text in `KINDS` is a heading, which cannot follow a number."""

BY_IMPORTANCE = (
    EventKind.FLEET_SILENT,
    EventKind.DOWN,
    EventKind.LATE,
    EventKind.CONFLICT,
    EventKind.REFUSED_WRITE,
    EventKind.COPIES,
    EventKind.TWIN,
    EventKind.FLAPPING,
    EventKind.UNDELIVERED,
    EventKind.RECOVERED,
    EventKind.CALM,
    EventKind.UPGRADED,
    EventKind.CAPABILITIES_CHANGED,
    EventKind.TOOLS_CHANGED,
    EventKind.MOVED,
    EventKind.STAGE_CHANGED,
    EventKind.REBUILT,
    EventKind.LEFT,
    EventKind.DELETED,
    EventKind.RESTARTED,
    EventKind.SILENCED,
    EventKind.ACKNOWLEDGED,
    EventKind.LABELLED,
    EventKind.REGISTERED,
    EventKind.NODE,
    EventKind.NODE_LEFT,
    EventKind.UPDATED,
)
"""
All kinds of events, in the order in which somebody wants to hear of them.

What is wrong comes first, then what has become of it, and then what changed, from an upgrade, which
may explain a trouble, to details.
"""

TROUBLES = {
    Trouble.DOWN: ("is down", "are down"),
    Trouble.LATE: ("is late", "are late"),
    Trouble.CONFLICT: ("shares its ID with another machine", "share their IDs with other machines"),
    Trouble.TWIN: ("shares its database UUID", "share their database UUIDs"),
    Trouble.FLAPPING: ("is flapping", "are flapping"),
}
"""What is said of one server with a trouble, and of several."""

REACHES = {
    Reach.NO_CHANNEL: "nobody was told: there is no channel",
    Reach.NO_RULE: "nobody was told: no rule is about this",
    Reach.MISSED: "nobody was told: the rule about this was made or changed after it began",
    Reach.LATER: "nobody is told yet: it has to last longer",
    Reach.TOLD: "told",
}
"""Whether anybody is told of a trouble, or why not."""

ALARMS = {
    **{kind.value: says for kind, says in KINDS.items()},
    KEY_EXPIRES: "expires soon",
    AWAY: "was away",
}
"""For each kind of alarm the text that stands beneath the name of the server, key or receiver."""

HINTS = {
    EventKind.REGISTERED.value: "was heard for the first time",
    EventKind.MOVED.value: "has another host, address or endpoint",
    EventKind.RESTARTED.value: "has started anew",
    EventKind.UPGRADED.value: "its version, or that of Odoo, is another one",
    EventKind.CAPABILITIES_CHANGED.value: "offers other tools",
    EventKind.TOOLS_CHANGED.value: "describes the same tools in another way",
    EventKind.STAGE_CHANGED.value: "its stage is another one",
    EventKind.UPDATED.value: "something else of it has changed",
    EventKind.LATE.value: "silent for more than two heartbeats",
    EventKind.DOWN.value: "silent for more than four heartbeats",
    EventKind.RECOVERED.value: "is heard again",
    EventKind.REBUILT.value: "takes the place of what the database ran before",
    EventKind.TWIN.value: "two databases have one UUID",
    EventKind.NODE.value: "joined others that run the same database",
    EventKind.NODE_LEFT.value: "has sent nothing for long, unlike others of its database",
    EventKind.COPIES.value: "a database UUID has too many copies",
    EventKind.CONFLICT.value: "two machines send under one ID",
    EventKind.FLAPPING.value: "falls silent and comes back, again and again",
    EventKind.CALM.value: "does not flap any more",
    EventKind.LEFT.value: "said that it sends no more",
    EventKind.DELETED.value: "was forgotten",
    EventKind.REFUSED_WRITE.value: "a key wrote to what is not its own",
    EventKind.FLEET_SILENT.value: "a large part of the fleet fell silent at once",
    EventKind.SILENCED.value: "somebody made a silence for it",
    EventKind.ACKNOWLEDGED.value: "somebody took note of an alarm",
    EventKind.UNDELIVERED.value: "a message could not be delivered for a day",
    EventKind.LABELLED.value: "somebody changed its labels or its note",
    KEY_EXPIRES: "in less than two weeks, or in the second half of its time",
    AWAY: "no receiver was running for a time",
}
"""For each kind of alarm when it begins, as the form of a rule tells it."""
