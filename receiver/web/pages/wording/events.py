"""Events in words: what happened, and the lines beneath."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode

from attrs import frozen

from contract import Event, EventKind
from contract.fields import format_moment, parse_moment
from receiver.domain.databases.silence import Rules
from receiver.web.pages.wording.changes import GAINED, change_lines, gains_and_losses, with_changed
from receiver.web.pages.wording.kinds import KINDS, OF_TOOLS
from receiver.web.pages.wording.texts import names, worded
from receiver.web.pages.wording.times import duration, exactly

__all__ = [
    "Superseded",
    "Tale",
    "fits_into_link",
    "silence_url",
    "span_url",
    "superseded",
    "tale",
]


@frozen(kw_only=True)
class Tale:
    """
    An event, in the form in which a page shows it.

    Attributes:
        says: What happened, in lower case. It stands beneath the name of the server, if the event
            is about a server.
        more: Lines with details, each a label and a text.
        other: The `server_id` of a second server that the event is about; None if there is none.
        among: Only for an event `fleet_silent`, which says that many servers fell silent at once:
            the URL, relative to the home page, of the timeline with the events in which these
            servers became late. None for other events.
    """

    says: str
    more: list[tuple[str, str]]
    other: str | None = None
    among: str | None = None


@frozen(kw_only=True)
class Superseded:
    """
    How another server came to take the place of a server.

    Attributes:
        says: A sentence with a colon at its end, after which the page names the other server.
        at: When the receiver noticed it; None if there is no event that tells it any more.
    """

    says: str
    at: datetime | None = None


def span_url(
    kinds: Iterable[EventKind],
    since: datetime,
    until: datetime | None,
    query: str = "",
    *,
    is_grouped: bool = False,
) -> str:
    """
    The URL, relative to the home page, of the timeline of a time.

    Args:
        kinds: Only events of these kinds; of all kinds if there are none.
        since: When the time begins.
        until: When the time ends; None for now.
        query: Only events of servers that match this text of filters; of all servers if it is
            empty.
        is_grouped: Whether events that happened together are one line.
    """
    found = [*(("kind", kind.value) for kind in kinds), ("since", format_moment(since))]
    found += [] if until is None else [("until", format_moment(until))]
    found += [] if is_grouped else [("grouped", "false")]
    found += [("query", query)] if query else []
    return f"timeline?{urlencode(found)}"


def fits_into_link(text: str) -> bool:
    """Whether the text of a filter can be read again, and takes little room in many URLs."""
    return text.isprintable() and len(quote_plus(text)) <= _LONGEST_QUERY


def tale(event: Event) -> Tale:
    """Describe an event in words for a page."""
    says, more = _of_alarms(event) if event.kind in _OF_ALARMS else _of_servers(event)
    other = next((event.details[name] for name in _OTHERS if event.details.get(name)), None)
    return Tale(says=says, more=more, other=other, among=_among(event))


def _among(event: Event) -> str | None:
    """The `Tale.among` of an event."""
    if event.kind is not EventKind.FLEET_SILENT:
        return None
    return silence_url(event.at)


def silence_url(noticed_at: datetime) -> str:
    """
    The URL, relative to the home page, of the timeline of what became late around `noticed_at`.

    That is the time of an event `fleet_silent`, which says that many servers fell silent at once.
    """
    around = Rules().within
    return span_url([EventKind.LATE], noticed_at - around, noticed_at + around)


def superseded(server_id: str, happened: Iterable[Event]) -> Superseded:
    """
    Describe how another server of its database took the place of a server.

    Args:
        server_id: The `server_id` of the server.
        happened: Events, newest first. The newest event `rebuilt` or `node_left` of the server says
            how. Without such an event, the text says only that another server took over the
            database. Events of other servers are ignored.
    """
    for event in happened:
        if event.server_id == server_id and event.kind in _SUPERSEDED:
            return Superseded(says=_SUPERSEDED[event.kind], at=event.at)
    return Superseded(says="Another server has taken over the database of this one:")


def _of_servers(event: Event) -> tuple[str, list[tuple[str, str]]]:
    """What happened to servers: the sentence, and lines with details, each a label and a text."""
    details = event.details
    says = KINDS[event.kind]
    match event.kind:
        case EventKind.CAPABILITIES_CHANGED:
            tools = details.get("capabilities", {})
            says = f"{says}: {gains_and_losses(tools)}"
            more = [(GAINED[word], names(tools[word])) for word in GAINED if tools.get(word)]
        case EventKind.TOOLS_CHANGED:
            tools = details.get("tools", {})
            changed = {field: with_changed(tools, field) for field in OF_TOOLS}
            more = [(OF_TOOLS[field], names(each)) for field, each in changed.items() if each]
        case EventKind.FLEET_SILENT:
            silent, fleet = details.get("silent"), details.get("of")
            says = f"{says}: {silent} of {fleet} servers fell silent"
            more = [("Look first at", "the network, and this receiver")]
        case EventKind.RECOVERED:
            says = f"{says} after {duration(details.get('away_seconds', 0))}"
            more = []
        case EventKind.REFUSED_WRITE:
            says = f"{says}: key {worded(details.get('name'))} does not own this server"
            more = [("Key ID", worded(details.get("key")))]
        case EventKind.FLAPPING:
            more = [(_TURNS, f"{details.get('turns')} times; from now on this is only counted")]
        case EventKind.CALM:
            more = [
                (_TURNS, f"{details.get('turns')} times"),
                ("State now", worded(details.get("state"))),
            ]
        case EventKind.COPIES:
            says = f"{details.get('servers')} servers have one database UUID"
            more = [
                ("Database UUID", worded(details.get("database_uuid"))),
                ("What to do", "give each copy of the database a UUID of its own"),
            ]
        case _ if event.kind in _WITHOUT_CHANGES:
            more = []
        case _:
            more = [line for name, change in details.items() for line in change_lines(name, change)]
    return says, more


def _labelled(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The lines of an event `labelled`, each a label and a text."""
    labels = details.get("labels", {})
    lines = {
        "Added": names(labels.get("gained", ())),
        "Removed": names(labels.get("lost", ())),
        **{label: worded(details[name]) for name, label in _NOTED.items() if name in details},
    }
    return [line for line in lines.items() if line[1]]


_NOTED = {"note": "Note", "by": "By"}


def _of_alarms(event: Event) -> tuple[str, list[tuple[str, str]]]:
    """What people did, or that an alarm reached nobody: the sentence, and lines with details."""
    says = KINDS[event.kind]
    if event.kind is EventKind.SILENCED:
        return _silenced(event)
    if event.kind is EventKind.LABELLED:
        return says, _labelled(event.details)
    labels = _OF_ALARMS[event.kind]
    return says, [(label, worded(event.details.get(name))) for name, label in labels.items()]


def _silenced(event: Event) -> tuple[str, list[tuple[str, str]]]:
    """The predicate of an event `silenced`, and its lines, each a label and a text."""
    details = event.details
    until = details.get("until")
    is_over = until == format_moment(event.at)
    says = "is not silenced any more" if is_over else KINDS[event.kind]
    if event.server_id is None:
        query = details.get("query")
        which = f"Alarms of {worded(query)}" if query else "All alarms"
        says = f"{which} {says.replace('is', 'are', 1)}"
    lines = {
        "Until": "" if is_over else _until(until),
        "Reason": worded(details.get("reason")),
        "By": worded(details.get("by")),
    }
    return says, [line for line in lines.items() if line[1]]


def _until(moment: str | None) -> str:
    return "somebody ends it" if moment is None else exactly(parse_moment(moment))


_TURNS = "Fell silent or came back"
_SUPERSEDED = {
    EventKind.REBUILT: "This server has fallen silent, and its database was rebuilt or moved:",
    EventKind.NODE_LEFT: "This server was one of the nodes of a database, and has fallen silent:",
}
_OTHERS = ("superseded_by", "twin_of", "node_of")

_OF_ALARMS: Mapping[EventKind, Mapping[str, str]] = {
    EventKind.SILENCED: {},
    EventKind.LABELLED: {},
    EventKind.ACKNOWLEDGED: {"kind": "Alarm", "by": "By"},
    EventKind.UNDELIVERED: {"channel": "Channel", "title": "Message", "error": "Last error"},
}
"""The labels of the details of what people did and of alarms; others are written by functions."""

_WITHOUT_CHANGES = {
    EventKind.LATE,
    EventKind.DOWN,
    EventKind.LEFT,
    EventKind.REBUILT,
    EventKind.TWIN,
    EventKind.NODE,
    EventKind.NODE_LEFT,
}

_LONGEST_QUERY = 200
"""How many bytes the text of a filter may have in a URL that a page has many times."""
