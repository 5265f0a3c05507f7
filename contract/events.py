"""Events, and how a change of a record is turned into events."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any

from attrs import field, frozen

from contract.codec import unstructure
from contract.fields import Moment, Rule, ServerId, format_moment
from contract.messages import FAREWELL, Heartbeat, Registration
from contract.record import ServerRecord, State
from contract.spellings import canonical_addresses, canonical_url

__all__ = ["Event", "EventKind", "changes"]


class EventKind(str, Enum):
    """The kinds of events that happen to servers, or to all of them together."""

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
    NODE = "node"
    NODE_LEFT = "node_left"
    COPIES = "copies"
    CONFLICT = "conflict"
    LEFT = "left"
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
    One thing that happened to a server or to the fleet.

    Attributes:
        kind: What happened.
        at: When the receiver noticed, in UTC.
        server_id: The server it happened to; None for the fleet as a whole.
        details: A JSON object that depends on the kind. Kinds that report changed fields
            map each field to its old and new value:
            `{"hostname": {"from": "web-1", "to": "web-2"}}`; the capabilities to
            `{"capabilities": {"gained": [...], "lost": [...]}}`.
            `late` and `down`: `{"last_seen": "2026-01-31T12:00:00Z"}`.
            `recovered`: `{"away_seconds": 301.5}`, the time without a message; when another
            node of its database was heard, the time since its silence was noticed.
            `rebuilt`: `{"superseded_by": "acme_web-2"}`.
            `twin`: `{"twin_of": "acme_web-2"}`.
            `node`: `{"node_of": "acme_web-1"}`, the server is a further node of that
            server's database.
            `node_left`: `{"node_of": "acme_web-1"}`, it has sent nothing for so long that it
            is no longer taken for a node.
            `copies`: `{"database_uuid": "6f1d...", "servers": 51}`, the number of servers with
            this uuid, which are too many to tell by it which of them are of one database.
            `left`: `{"last_seen": "2026-01-31T12:00:00Z"}`, the server has said that it sends
            no more.
            `conflict`: `{"sequence": {"from": 1042, "to": 77}}`, two machines send under
            this `server_id`, and each counts its messages by itself.
            `fleet_silent`: `{"silent": 40, "of": 50}`, how many servers fell silent at
            once, and how many were up before.
            `refused_write`: `{"key": "k3J...", "name": "acme"}`, the id and the name of the
            key that tried to write a server of another key.
    """

    kind: Kind
    at: Moment
    server_id: ServerId | None
    details: Details = field(factory=dict)


def changes(
    before: ServerRecord | None,
    after: ServerRecord,
    *,
    at: datetime,
    message: Heartbeat | Registration | None = None,
) -> list[Event]:
    """
    The events that turn the record `before` (None for a new server) into `after`.

    Each changed field is reported by exactly one event, at most one event for each kind:

    - The kind of a changed field is that of `_KIND_OF`. A field whose old value was None is
      reported as `updated`.
    - A changed `started_at` of a heartbeat is `restarted` when, by the heartbeat's `timestamp`,
      the server has been running no longer than nothing was received from it. Without a
      `timestamp`, and in a registration, it is `restarted` when it is later than the old one
      and than the `timestamp` of the last heartbeat, as far as these are known. Any other
      change of a known start causes no event: it is that of another process, or the sender's
      clock was set. The first start is no restart when no heartbeat came before it.
    - A falling `uptime_seconds` is `restarted` when, by the timestamps, the new start is after
      the last heartbeat: else the heartbeat is of another process that has run all the time,
      or was overtaken. A restart that a registration has reported by its `started_at` is not
      reported again. A heartbeat that holds `started_at` (`message`, if a message caused the
      change) says by that whether the server was restarted, and not by its uptime.
    - Starts that differ by at most 5 s are one, as clocks and their readings differ.

    These changes cause no event: fields that differ in every heartbeat, the first `status`
    and the first `uptime_seconds`, another order of the capabilities or of the addresses
    beside the primary one, another spelling of the same address or URL.

    A superseded server, and a node of another one, causes no `late` and no `down`; a node
    causes no `recovered` and no `left` either. A silent one causes it as soon as it stands for
    itself.

    A farewell causes `left`, once, and no event of another field. A server that is heard again
    afterwards causes `recovered`; its capabilities and its status, which the farewell has
    emptied, cause none.
    """
    details_of: dict[EventKind, dict[str, Any]] = {kind: {} for kind in EventKind}
    if before is None:
        joined = [Event(kind=EventKind.REGISTERED, at=at, server_id=after.server_id)]
        return joined + _events(_farewell(after), after.server_id, at)

    silent = _silent_fields(before, after, message)
    for name in _KIND_OF:
        kind = None if name in silent else _kind_of_change(name, before, after, message)
        if kind is not None:
            details_of[kind][name] = _change(name, getattr(before, name), getattr(after, name))
    details_of |= _details_of_state(before, after) | _details_of_kin(before, after)
    return _events(details_of, after.server_id, at)


def _silent_fields(
    before: ServerRecord, after: ServerRecord, message: Heartbeat | Registration | None
) -> Collection[str]:
    """
    The fields whose change causes no event, whatever their values are.

    A farewell has no status of a server that runs, and no capabilities; it is an event itself.
    """
    if after.state is State.LEFT:
        return _KIND_OF
    silent = {"status", "capabilities"} if before.state is State.LEFT else set()
    return silent | (set() if getattr(message, "started_at", None) is None else {"uptime_seconds"})


def _kind_of_change(
    name: str,
    before: ServerRecord,
    after: ServerRecord,
    message: Heartbeat | Registration | None,
) -> EventKind | None:
    """The kind of the event that reports this field; None when none does."""
    old, new = getattr(before, name), getattr(after, name)
    if old == new or _is_unreported(name, before, after):
        return None
    if name == "started_at" and _restarted(before, after, message):
        return EventKind.RESTARTED
    if old is None:
        return EventKind.UPDATED
    return None if name == "started_at" else _KIND_OF[name]


def _events(
    details_of: Mapping[EventKind, dict[str, Any]], server_id: str, at: datetime
) -> list[Event]:
    return [
        Event(kind=kind, at=at, server_id=server_id, details=details)
        for kind, details in details_of.items()
        if details
    ]


def _is_unreported(name: str, before: ServerRecord, after: ServerRecord) -> bool:
    """Whether the change of this field causes no event."""
    if name == "status":
        return before.status in (None, FAREWELL)  # that a server is back is `recovered`
    if name == "started_at":
        return _differ_little(before.started_at, after.started_at)
    if name == "uptime_seconds":
        return not _has_begun_anew(before, after)
    canonical, old, new = _CANONICAL.get(name), getattr(before, name), getattr(after, name)
    if canonical is None or not old or not new:
        return False
    return canonical(old) == canonical(new)


def _restarted(
    before: ServerRecord, after: ServerRecord, message: Heartbeat | Registration | None
) -> bool:
    """
    Whether a new `started_at` is that of a restart.

    It is none when the record knows of no start and of no heartbeat before.

    A heartbeat says by its timestamp how long the server has been running: not longer than it
    sent nothing, after a restart. A registration has no timestamp: the start must be later than
    the old one and than the last heartbeat.
    """
    known = [each for each in (before.started_at, before.timestamp) if each is not None]
    if not known:
        return False
    if isinstance(message, Heartbeat) and message.timestamp and message.started_at:
        age = message.timestamp - message.started_at
        return age <= after.last_seen - before.last_seen + _TOLERANCE
    return _started_since(after, max(known))


def _started_since(record: ServerRecord, moment: datetime | None) -> bool:
    return record.started_at is not None and moment is not None and record.started_at > moment


def _has_begun_anew(before: ServerRecord, after: ServerRecord) -> bool:
    """Whether the uptime tells of a restart that no registration has reported."""
    old, new = before.uptime_seconds, after.uptime_seconds
    if old is None or new is None or new > old or _started_since(before, before.timestamp):
        return False
    few = _TOLERANCE.total_seconds()
    if before.timestamp is None or after.timestamp is None:
        return old - new > few
    passed = (after.timestamp - before.timestamp).total_seconds()
    return passed + old - new > few and new <= passed + few


def _differ_little(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= _TOLERANCE


def _change(name: str, old: Any, new: Any) -> dict[str, Any]:
    if name == "capabilities" and old is not None:
        return {"gained": sorted({*new} - {*old}), "lost": sorted({*old} - {*new})}
    return {"from": _plain(old), "to": _plain(new)}


def _plain(value: Any) -> Any:
    return format_moment(value) if isinstance(value, datetime) else unstructure(value)


def _details_of_state(before: ServerRecord, after: ServerRecord) -> dict[EventKind, dict[str, Any]]:
    """The details, by kind, of changes of liveness."""
    details: dict[EventKind, dict[str, Any]] = {}
    was_reported = after.state is before.state and _stands_for_itself(before)
    if after.state.stale and _stands_for_itself(after) and not was_reported:
        last_seen = format_moment(after.last_seen)
        details[EventKind(after.state.value)] = {"last_seen": last_seen}
    is_back = before.state.stale or before.state is State.LEFT
    if is_back and after.state.is_heard and before.node_of is None:
        details[EventKind.RECOVERED] = {"away_seconds": _away_seconds(before, after)}
    if before.state is not State.LEFT and after.node_of is None:
        details |= _farewell(after)
    return details


def _details_of_kin(before: ServerRecord, after: ServerRecord) -> dict[EventKind, dict[str, Any]]:
    """The details, by kind, of what other servers of the same database mean for this one."""
    details: dict[EventKind, dict[str, Any]] = {}
    if after.superseded_by not in (None, before.superseded_by):
        if before.node_of is None:
            details[EventKind.REBUILT] = {"superseded_by": after.superseded_by}
        else:
            details[EventKind.NODE_LEFT] = {"node_of": after.superseded_by}
    if after.twin_of not in (None, before.twin_of):
        details[EventKind.TWIN] = {"twin_of": after.twin_of}
    if after.node_of is not None and before.node_of is None:
        details[EventKind.NODE] = {"node_of": after.node_of}
    if after.conflict_since is not None and before.conflict_since is None:
        change = {"from": before.sequence, "to": after.sequence}
        details[EventKind.CONFLICT] = {"sequence": change}
    return details


def _stands_for_itself(record: ServerRecord) -> bool:
    return record.superseded_by is None and record.node_of is None


def _farewell(record: ServerRecord) -> dict[EventKind, dict[str, Any]]:
    if record.state is not State.LEFT:
        return {}
    return {EventKind.LEFT: {"last_seen": format_moment(record.last_seen)}}


def _away_seconds(before: ServerRecord, after: ServerRecord) -> float:
    """The time without a message; since the silence was noticed, when a node broke it."""
    since = before.last_seen if after.last_seen != before.last_seen else before.state_since
    # Receivers that share a database may disagree a little about the time.
    return max(0.0, (max(after.last_seen, after.state_since) - since).total_seconds())


_TOLERANCE = timedelta(seconds=5)
_CANONICAL: Mapping[str, Callable[[Any], object]] = {
    "capabilities": frozenset,
    "ip_addresses": canonical_addresses,
    "endpoint_url": canonical_url,
}
"""Two values of a field are the same when these are equal."""
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
