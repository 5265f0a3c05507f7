"""The lines of a message that tell what is particular about a kind of alarm."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from contract.fields import parse_moment
from receiver.domain.alerts.messages.spelling import exactly, names, safe
from receiver.domain.alerts.values import KEY_EXPIRES, Alarm

__all__ = ["details"]


def details(alarm: Alarm, where: tzinfo) -> list[str]:
    """
    The lines of a message that tell what is particular about an alarm, such as which tools changed.

    Times in them are in the time zone `where`. The list is empty for kinds of alarms of which
    nothing particular is told, such as `down`.
    """
    describe = _DETAILS.get(alarm.kind)
    return [] if describe is None else describe(alarm, where)


def _event_details(alarm: Alarm) -> Mapping[str, Any]:
    """The details of the event that began an alarm, as the API has them."""
    found: Mapping[str, Any] = alarm.known.get("event", {}).get("details", {})
    return found


def _changes(alarm: Alarm, _: tzinfo) -> list[str]:
    """A line for each field that an event has changed."""
    lines: list[str] = []
    for name, change in _event_details(alarm).items():
        if not isinstance(change, Mapping):
            continue
        if "from" in change:
            old, new = _value(change["from"]), _value(change["to"])
            lines.append(f"{_label(name)}: {old} → {new}")
        lines += [
            f"{_label(name)} {word}: {names(change[word])}"
            for word in ("gained", "lost")
            if change.get(word)
        ]
    return lines


def _label(name: str) -> str:
    return safe(name).replace("_", " ").capitalize()


def _value(value: Any) -> str:
    match value:
        case None:
            return "unknown"
        case {"primary": primary}:
            return safe(str(primary))
    return safe(str(value))


def _other(label: str, name: str) -> Callable[[Alarm, tzinfo], list[str]]:
    """A function that names the other server that an event is about."""

    def lines(alarm: Alarm, _: tzinfo) -> list[str]:
        other = _event_details(alarm).get(name)
        return [f"{label}: {safe(str(other), 255)}"] if other else []

    return lines


def _tools(alarm: Alarm, _: tzinfo) -> list[str]:
    tools = _event_details(alarm).get("tools")
    return [f"Tools: {names([*tools])}"] if tools else []


def _turns(alarm: Alarm, _: tzinfo) -> list[str]:
    turns = _event_details(alarm).get("turns")
    return [f"Turned: {turns} times"] if turns else []


def _copies(alarm: Alarm, _: tzinfo) -> list[str]:
    found = _event_details(alarm)
    return [
        f"Servers: {found.get('servers')}",
        f"Database UUID: {safe(str(found.get('database_uuid')))}",
    ]


def _refused(alarm: Alarm, _: tzinfo) -> list[str]:
    found = _event_details(alarm)
    return [f"Key: {safe(str(found.get('name')))} ({safe(str(found.get('key')))})"]


def _undelivered(alarm: Alarm, _: tzinfo) -> list[str]:
    found = _event_details(alarm)
    return [
        f"{label}: {safe(str(found.get(name)), 200)}"
        for label, name in (("Channel", "channel"), ("Message", "title"), ("Error", "error"))
    ]


def _silenced(alarm: Alarm, where: tzinfo) -> list[str]:
    found = _event_details(alarm)
    until = found.get("until")
    return [
        *([f"Silenced until: {exactly(parse_moment(until), where)}"] if until else []),
        f"Reason: {safe(str(found.get('reason')), 200)}",
        f"By: {safe(str(found.get('by')))}",
    ]


def _acknowledged(alarm: Alarm, _: tzinfo) -> list[str]:
    return [f"By: {safe(str(_event_details(alarm).get('by')))}"]


def _labelled(alarm: Alarm, _: tzinfo) -> list[str]:
    found = _event_details(alarm)
    labels = found.get("labels", {})
    lines = {
        "Added": names(labels.get("gained", ())),
        "Removed": names(labels.get("lost", ())),
        "Note": safe(found["note"]) if found.get("note") else "",
        "By": safe(found["by"]) if found.get("by") else "",
    }
    return [f"{label}: {text}" for label, text in lines.items() if text]


def _expires(alarm: Alarm, where: tzinfo) -> list[str]:
    expires_at = parse_moment(alarm.known["key"]["expires_at"])
    return [f"Expires: {exactly(expires_at, where)}"]


_DETAILS: dict[str, Callable[[Alarm, tzinfo], list[str]]] = {
    "moved": _changes,
    "restarted": _changes,
    "upgraded": _changes,
    "capabilities_changed": _changes,
    "tools_changed": _tools,
    "stage_changed": _changes,
    "updated": _changes,
    "rebuilt": _other("Its successor", "superseded_by"),
    "twin": _other("Twin of", "twin_of"),
    "node": _other("Node of", "node_of"),
    "node_left": _other("Was a node of", "node_of"),
    "copies": _copies,
    "conflict": _changes,
    "flapping": _turns,
    "calm": _turns,
    "refused_write": _refused,
    "silenced": _silenced,
    "acknowledged": _acknowledged,
    "undelivered": _undelivered,
    "labelled": _labelled,
    KEY_EXPIRES: _expires,
}
