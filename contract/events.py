"""What happens to a server, and what a change of its record tells."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

from attrs import field, frozen

from contract.codec import unstructure
from contract.fields import Moment, Rule, ServerId, format_moment
from contract.record import ServerRecord

__all__ = ["Event", "EventKind", "changes"]


class EventKind(str, Enum):
    """What may happen in a fleet."""

    REGISTERED = "registered"
    MOVED = "moved"
    RESTARTED = "restarted"
    UPGRADED = "upgraded"
    CAPABILITIES_CHANGED = "capabilities_changed"
    STAGE_CHANGED = "stage_changed"
    UPDATED = "updated"
    LATE = "late"
    DOWN = "down"
    RECOVERED = "recovered"
    REBUILT = "rebuilt"
    TWIN = "twin"
    DELETED = "deleted"
    REFUSED_WRITE = "refused_write"
    FLEET_SILENT = "fleet_silent"


_KINDS = [kind.value for kind in EventKind]
Kind = Annotated[
    EventKind, Rule(f"one of {', '.join(_KINDS)}", {"type": "string", "enum": _KINDS}, EventKind)
]


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(value)


Details = Annotated[Mapping[str, Any], Rule("an object", {"type": "object"}, _object)]


@frozen(kw_only=True)
class Event:
    """
    Something that happened.

    Attributes:
        kind: What.
        at: When it was noticed, in UTC.
        server_id: To which server; None for the fleet as a whole.
        details: More, as JSON has it. Of a change, each field that changed:
            `{"hostname": {"from": "web-1", "to": "web-2"}}`, and of the capabilities
            `{"capabilities": {"gained": [...], "lost": [...]}}`.
            `late` and `down`: `{"last_seen": "2026-01-31T12:00:00Z"}`.
            `recovered`: `{"away_seconds": 301.5}`, how long nothing was heard.
            `rebuilt`: `{"superseded_by": "acme_web-2"}`.
            `twin`: `{"twin_of": "acme_web-2"}`.
            `fleet_silent`: `{"silent": 40, "of": 50}`, how many servers fell silent at
            once, and how many were heard before.
            `refused_write`: `{"key": "k3J...", "name": "acme"}`, the id and the name of a
            key that may not write it.
    """

    kind: Kind
    at: Moment
    server_id: ServerId | None
    details: Details = field(factory=dict)


def changes(before: ServerRecord | None, after: ServerRecord, *, at: datetime) -> list[Event]:
    """
    What the change of a record means.

    Every field of a server's description that changed is named in exactly one event; one
    that becomes known is `updated`, and so is a `started_at` that falls. A `started_at`
    later than the last heartbeat was sent tells of a restart also when it becomes known.
    Nothing is said of what changes with every heartbeat, of `status` and
    `uptime_seconds` when they become known, of the order of the capabilities and of the
    addresses but the primary one, nor of an uptime that fell because of a restart that a
    registration has told of.
    A superseded server raises no alarm, but does when it loses its successor and is silent.
    """
    if before is None:
        return [Event(kind=EventKind.REGISTERED, at=at, server_id=after.server_id)]

    told: dict[EventKind, dict[str, Any]] = {kind: {} for kind in EventKind}
    for name, kind in _KIND_OF.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new and not _goes_without_saying(name, before, after):
            is_update = not _restarted(before, after) if name == "started_at" else old is None
            told[EventKind.UPDATED if is_update else kind][name] = _change(name, old, new)
    told |= _news_of_its_life(before, after)

    return [
        Event(kind=kind, at=at, server_id=after.server_id, details=details)
        for kind, details in told.items()
        if details
    ]


def _goes_without_saying(name: str, before: ServerRecord, after: ServerRecord) -> bool:
    if name == "status":
        return before.status is None
    if name == "uptime_seconds":
        old, new = before.uptime_seconds, after.uptime_seconds
        return old is None or new is None or new > old or _started_since(before, before.timestamp)
    if name == "capabilities" and before.capabilities and after.capabilities:
        return {*before.capabilities} == {*after.capabilities}
    if name == "ip_addresses" and before.ip_addresses and after.ip_addresses:
        one, other = before.ip_addresses, after.ip_addresses
        return one.primary == other.primary and {*one.all} == {*other.all}
    return False


def _restarted(before: ServerRecord, after: ServerRecord) -> bool:
    """Whether it says that it started again, later than it said before or was heard."""
    if before.started_at is None:
        return _started_since(after, before.timestamp)
    return _started_since(after, before.started_at)


def _started_since(record: ServerRecord, moment: datetime | None) -> bool:
    return record.started_at is not None and moment is not None and record.started_at > moment


def _change(name: str, old: Any, new: Any) -> dict[str, Any]:
    if name == "capabilities" and old is not None:
        return {"gained": sorted({*new} - {*old}), "lost": sorted({*old} - {*new})}
    return {"from": _plain(old), "to": _plain(new)}


def _plain(value: Any) -> Any:
    return format_moment(value) if isinstance(value, datetime) else unstructure(value)


def _news_of_its_life(before: ServerRecord, after: ServerRecord) -> dict[EventKind, dict[str, Any]]:
    news: dict[EventKind, dict[str, Any]] = {}
    if after.superseded_by not in (None, before.superseded_by):
        news[EventKind.REBUILT] = {"superseded_by": after.superseded_by}
    if after.twin_of not in (None, before.twin_of):
        news[EventKind.TWIN] = {"twin_of": after.twin_of}
    was_so = after.state is before.state and before.superseded_by is None
    if after.state.stale and after.superseded_by is None and not was_so:
        last_seen = format_moment(after.last_seen)
        news[EventKind(after.state.value)] = {"last_seen": last_seen}
    if before.state.stale and not after.state.stale:
        # Another receiver's clock may be a little behind.
        away = max(0.0, (after.last_seen - before.last_seen).total_seconds())
        news[EventKind.RECOVERED] = {"away_seconds": away}
    return news


_KIND_OF = {
    "hostname": EventKind.MOVED,
    "ip_addresses": EventKind.MOVED,
    "port": EventKind.MOVED,
    "transport": EventKind.MOVED,
    "endpoint_url": EventKind.MOVED,
    "started_at": EventKind.RESTARTED,
    "uptime_seconds": EventKind.RESTARTED,
    "version": EventKind.UPGRADED,
    "odoo_version": EventKind.UPGRADED,
    "capabilities": EventKind.CAPABILITIES_CHANGED,
    "odoo_stage": EventKind.STAGE_CHANGED,
    "database": EventKind.UPDATED,
    "database_uuid": EventKind.UPDATED,
    "heartbeat_interval_seconds": EventKind.UPDATED,
    "status": EventKind.UPDATED,
}
