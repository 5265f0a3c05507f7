"""Events, such as `moved` or `down`, and how a change of a server's record causes them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any

from attrs import field, frozen

from contract.codec import unstructure
from contract.fields import Moment, Rule, ServerId, format_moment
from contract.messages import FAREWELL, Heartbeat, Registration
from contract.record import ServerRecord, State
from contract.spellings import canonical_addresses, canonical_url
from contract.tools import Tool, changed_tools

__all__ = ["Event", "EventKind", "changes", "tool_changes"]


class EventKind(str, Enum):
    """What can happen to a server or to the fleet; `Event.details` explains each kind."""

    REGISTERED = "registered"
    MOVED = "moved"
    RESTARTED = "restarted"
    UPGRADED = "upgraded"
    CAPABILITIES_CHANGED = "capabilities_changed"
    TOOLS_CHANGED = "tools_changed"
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
    FLAPPING = "flapping"
    CALM = "calm"
    LEFT = "left"
    DELETED = "deleted"
    REFUSED_WRITE = "refused_write"
    FLEET_SILENT = "fleet_silent"
    SILENCED = "silenced"
    ACKNOWLEDGED = "acknowledged"
    UNDELIVERED = "undelivered"
    LABELLED = "labelled"


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
        at: When the receiver noticed the event, in UTC.
        server_id: The server that the event is about; None if it is not about a single server.
        details: A JSON object that depends on the kind; empty for `registered` (the first message
            of a server) and `deleted`.
            `moved`, `restarted`, `upgraded`, `capabilities_changed`, `stage_changed` and `updated`
            map the name of each changed field to its old and its new value:
            `{"hostname": {"from": "web-1", "to": "web-2"}}`. The field `capabilities` is mapped to
            the names of the new and of the lost tools instead, if the old ones were known:
            `{"capabilities": {"gained": [...], "lost": [...]}}`.
            `tools_changed`: `{"tools": {"confirm_order": ["description"]}}`, for each tool that
            the server had before and now describes otherwise, the changed fields of `Tool`.
            `late` and `down`: `{"last_seen": "2026-01-31T12:00:00Z"}`, the time of the last
            message.
            `recovered`: `{"away_seconds": 301.5}`, how long the server sent no message. If another
            server of the same database (a node) has sent a message in its place, the time counts
            from the moment at which the receiver noticed the silence.
            `rebuilt`: `{"superseded_by": "acme_web-2"}`, the server that now runs the database.
            `twin`: `{"twin_of": "acme_web-2"}`, a server with the same `database_uuid` but another
            database: one of the two databases is a copy of the other.
            `node`: `{"node_of": "acme_web-1"}`, this server and that one run one database, such
            as two Odoo processes of a cluster, and lists show that one for both.
            `node_left`: `{"node_of": "acme_web-1"}`, this server has sent nothing for so long that
            it no longer counts as one of the servers that run the database of that server.
            `copies`: `{"database_uuid": "6f1d...", "servers": 51}`, the number of servers with
            this uuid. There are too many of them to find out which belong to one database.
            `left`: `{"last_seen": "2026-01-31T12:00:00Z"}`, the time of the last message, which
            said that the server sends no more.
            `conflict`: `{"sequence": {"from": 1042, "to": 77}}`, the numbers of two messages in
            the order of their arrival. Two machines send under this `server_id`, and each numbers
            its messages by itself.
            `flapping`: `{"turns": 6, "since": "2026-01-31T12:00:00Z"}`, the server has stopped
            sending or sent again `turns` times since that time. From now on its changes are only
            counted, and cause no `late`, `down`, `recovered`, `rebuilt` and `left`, until an
            event `calm`.
            `calm`: `{"turns": 42, "since": "2026-01-31T12:00:00Z", "state": "up"}`, the state of a
            server that flapped has not changed for 30 minutes. `turns` is how often the server has
            stopped sending or sent again since that time, and `state` is its state now (or
            `superseded`).
            `fleet_silent`: `{"silent": 40, "of": 50}`, how many servers stopped sending at
            once, and how many were up before.
            `refused_write`: `{"key": "k3J...", "name": "acme"}`, the id and the name of the
            key that tried to write a server of another key.
            `silenced`: `{"until": "2026-01-31T12:00:00Z", "reason": "upgrade", "by": "acme"}`,
            until when alarms are not told, why, and the name of the key that asked for it. `until`
            is null if the silence has no end, and the time of the event if somebody has ended it
            early. If the silence is not one of a single server, `server_id` is None, and `query`
            is the text of a filter that says of which servers it is.
            `acknowledged`: `{"kind": "down", "by": "acme"}`, the kind of an alarm, and the name
            of the key of somebody who has taken note of it.
            `undelivered`: `{"channel": "Mail", "title": "acme is down", "error": "..."}`, the
            first line of a message that could not be delivered to a channel within a day, and
            why the last attempt failed.
            `labelled`: `{"labels": {"gained": ["gold"], "lost": []}, "note": "changed",
            "by": "acme"}`, which labels of the database were added and removed, whether its note
            was `written`, `changed` or `removed`, and the name of the key of whoever did that.
            `labels` is missing if they stayed the same, and `note` if it did. `by` is missing if
            nobody did that: the server has reported another `database_uuid` than before, and has
            the labels and the note of that database now.
            In each of these, `by` is `somebody without a key` if the receiver requires no keys.
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
    The events that a change of a server's record causes.

    Args:
        before: The record before the change; None for a new server.
        after: The record after the change.
        at: When the receiver noticed the change; becomes the `at` of the events.
        message: The message that caused the change; None when no message did, for instance when
            a server has stopped sending.

    Returns at most one event of each kind, which report each changed field at most once:

    - `moved` reports `hostname`, `ip_addresses`, `port`, `transport` and `endpoint_url`,
      `upgraded` reports `version` and `odoo_version`, `capabilities_changed` and `stage_changed`
      report `capabilities` and `odoo_stage`, and `updated` reports `database`, `database_uuid`,
      `heartbeat_interval_seconds` and `status`. A field that was None is reported as `updated`
      instead, except a `started_at` that shows a restart.
    - A new `started_at` is reported as `restarted` if the server has started since its last
      message. A heartbeat with a `timestamp` shows this if the time from its `started_at` to its
      `timestamp` is no longer than the time since the last message. In any other message,
      `started_at` must be later than the old `started_at` and than the `timestamp` of the last
      heartbeat, as far as these are known; while neither is known, there is no restart. Any other
      change of a known start causes no event, because the message comes from another process of
      the server, or because the sender's clock was set.
    - A lower `uptime_seconds` is reported as `restarted` if the start that it implies is after the
      `timestamp` of the last heartbeat, or if no earlier heartbeat had a `timestamp`. Otherwise
      the heartbeat comes from another process that has run all the time, or arrived after a
      heartbeat that was sent later. A lower `uptime_seconds` does not count when `message` has a
      `started_at`, or when a registration has reported the restart.
    - Starts that differ by at most 5 s count as the same, because clocks differ.

    These changes cause no event: a change of a field that differs in every heartbeat, the first
    `status` and the first `uptime_seconds`, another order of the capabilities or of the addresses
    after the primary one, another spelling of the same address or URL, and another
    `tools_digest`, because `tool_changes` reports how the description of the tools has changed.

    A server that was superseded (replaced in a rebuild of its database), or that is a node (lists
    show another server of the same database in its place), causes no `late` and no `down`; a node
    causes no `recovered` and no `left` either. If a late or down server ceases to be superseded or
    a node, that change causes its `late` or `down`.

    A farewell (a heartbeat with the status `uninstalled`) causes `left`, once, and no event for
    another field. A server that sends a message after its farewell causes `recovered`, and no
    event for its status and its capabilities, which the farewell had emptied.
    """
    if before is None:
        joined = [Event(kind=EventKind.REGISTERED, at=at, server_id=after.server_id)]
        left = _farewell(after)
        return joined + _events(left, after.server_id, at) if left else joined

    details_of: dict[EventKind, dict[str, Any]] = {kind: {} for kind in EventKind}
    silent = _silent_fields(before, after, message)
    for name in _KIND_OF:
        kind = None if name in silent else _kind_of_change(name, before, after, message)
        if kind is not None:
            details_of[kind][name] = _change(name, getattr(before, name), getattr(after, name))
    details_of |= _details_of_state(before, after) | _details_of_kin(before, after)
    return _events(details_of, after.server_id, at)


def tool_changes(
    server_id: str, before: Iterable[Tool], after: Iterable[Tool], *, at: datetime
) -> list[Event]:
    """
    Compare two descriptions of a server's tools, and report the difference as `tools_changed`.

    Returns a list with this event, at the time `at`; an empty list if no tool is described
    differently. A tool that only one of the descriptions has is not compared, because
    `capabilities_changed` reports it; nor is a field that is None (unknown) in one of them.
    """
    changed = changed_tools(before, after)
    details = {"tools": {name: [*fields] for name, fields in changed.items()}}
    kind = EventKind.TOOLS_CHANGED
    return [Event(kind=kind, at=at, server_id=server_id, details=details)] if changed else []


def _silent_fields(
    before: ServerRecord, after: ServerRecord, message: Heartbeat | Registration | None
) -> Collection[str]:
    """
    The names of the fields whose change causes no event, whatever their values are.

    A farewell (the last heartbeat of a server) is an event itself, so none of its fields is
    reported; nor are the status and the capabilities with which the server returns. If a message
    has `started_at`, a restart shows in that field, so `uptime_seconds` is not reported.
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
    """The kind of the event that reports the change of a field; None when no event does."""
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
    """Whether a changed field causes no event, for instance if a URL is only spelled otherwise."""
    if name == "status":
        return before.status in (None, FAREWELL)  # `recovered` reports that a server is back
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
    Whether a changed `started_at` means that the server was restarted.

    False when the old record has neither a start nor the timestamp of a heartbeat.

    The timestamp of a heartbeat tells how long the server has been running; if it was restarted,
    this is no longer than the time since its last message. A registration has no timestamp, so its
    start must be later than the old start and than the last heartbeat.
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
    """Whether a changed `uptime_seconds` shows a restart that no registration has reported."""
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
    """The details, by kind, of the events that a change of `state` causes."""
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
    """The details, by kind, of the events about rebuilds, copies, nodes and conflicts."""
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
    if record.state is not _LEFT:
        return {}
    return {EventKind.LEFT: {"last_seen": format_moment(record.last_seen)}}


def _away_seconds(before: ServerRecord, after: ServerRecord) -> float:
    """
    For how many seconds a server that is back was silent.

    They count from its last message. If another server of the same database (a node) has sent in
    its place, they count from the time at which the receiver noticed the silence.
    """
    since = before.last_seen if after.last_seen != before.last_seen else before.state_since
    # Receivers that share a database may disagree a little about the time.
    return max(0.0, (max(after.last_seen, after.state_since) - since).total_seconds())


_LEFT = State.LEFT  # an attribute look-up on the enum costs as much as all else of a new server
_TOLERANCE = timedelta(seconds=5)
_CANONICAL: Mapping[str, Callable[[Any], object]] = {
    "capabilities": frozenset,
    "ip_addresses": canonical_addresses,
    "endpoint_url": canonical_url,
}
"""For each field, a function that returns equal results for two spellings of the same value."""
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
