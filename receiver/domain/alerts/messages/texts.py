"""The messages about alarms: a title, a text for people, and JSON for programs."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from attrs import field, frozen

from contract import EventKind
from contract.fields import format_moment, parse_moment
from receiver.domain.alerts.ids import new_message_id
from receiver.domain.alerts.messages.details import details
from receiver.domain.alerts.messages.spelling import duration, exactly, names, safe
from receiver.domain.alerts.values import (
    AWAY,
    KEY_EXPIRES,
    Alarm,
    Channel,
    Delivery,
    DeliveryKind,
    Rule,
)
from receiver.domain.alerts.windows import zone_or_utc
from receiver.domain.grouping.problems import counts_as_production
from receiver.domain.queries import MOST_NAMED_SERVERS

__all__ = ["Message", "Occasion", "delivery", "message", "test_message"]


class Message(NamedTuple):
    """
    What is sent through a channel.

    Attributes:
        title: The subject of the message, one line, for people.
        text: The message for people, without the title.
        body: The JSON that a webhook gets: an object with `type`, `timestamp` and `data`.
    """

    title: str
    text: str
    body: Mapping[str, Any]


@frozen(kw_only=True)
class Occasion:
    """
    What a message about alarms is made from, beside the alarms.

    Attributes:
        kind: Whether the alarms have begun (`ALARM`), last (`REMINDER`) or have ended (`END`).
        channel: The channel that delivers the message, in whose time zone its times are.
        rules: The rules by their ids. An alarm whose rule is missing is told without its name.
        parts: By the id of an alarm `fleet_silent`, the alarms about single servers in place of
            which it is told.
        now: The time.
        public_url: The URL under which people reach the pages; None for a message without links.
    """

    kind: DeliveryKind
    channel: Channel
    rules: Mapping[str, Rule]
    parts: Mapping[int, Sequence[Alarm]] = field(factory=dict)
    now: datetime
    public_url: str | None


def message(alarms: Sequence[Alarm], occasion: Occasion) -> Message:
    """
    Make the message that alarms have begun, last or have ended, as `occasion.kind` says.

    The alarms must be stored, so that each has an id. The message names 20 of them in its text and
    100 in its JSON at most, and says how many there are.
    """
    writer = _Writer(occasion)
    title, text = writer.title(alarms), writer.text(alarms)
    data = {
        "title": title,
        "text": text,
        "total": len(alarms),
        "alarms": [writer.json(alarm) for alarm in alarms[:_MOST_IN_JSON]],
        "url": _link(occasion.public_url, "alerts"),
    }
    return Message(title, text, _body(occasion.kind, occasion.now, data))


def test_message(channel: Channel, *, now: datetime, public_url: str | None) -> Message:
    """
    Make the message with which somebody tests whether a channel works.

    `public_url` is the URL under which people reach the pages; None for a message without a link.
    """
    title = "Test: this channel works"
    lines = [
        f"Somebody has sent a test through the channel {safe(channel.name)}. Nothing is wrong.",
        f"Sent: {exactly(now, zone_or_utc(channel.time_zone))}",
    ]
    url = _link(public_url, "alerts")
    text = "\n".join([*lines, *([f"Alerts: {url}"] if url else [])])
    data = {"title": title, "text": text, "url": url}
    return Message(title, text, _body(DeliveryKind.TEST, now, data))


def delivery(
    kind: DeliveryKind, made: Message, *, channel_id: str, thread: str, now: datetime
) -> Delivery:
    """
    Make the delivery of a message, with a new id, that is due now. It is not stored yet.

    Args:
        kind: What the message is about.
        made: The message.
        channel_id: The id of the channel through which it is delivered.
        thread: An id that messages about the same alarms share.
        now: The time.
    """
    return Delivery(
        id=new_message_id(),
        channel_id=channel_id,
        kind=kind,
        thread=thread,
        title=made.title,
        text=made.text,
        body=made.body,
        created_at=now,
        next_at=now,
    )


def _body(kind: DeliveryKind, now: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": f"fleet.{kind.value}", "timestamp": format_moment(now), "data": data}


def _link(public_url: str | None, path: str) -> str | None:
    return None if public_url is None else f"{public_url.rstrip('/')}/{path}"


def _server_link(public_url: str | None, server_id: str) -> str | None:
    if server_id in {".", ".."}:  # a browser would resolve them in a path
        return _link(public_url, f"by-id/server?id={server_id}")
    return _link(public_url, f"server/{quote(server_id, safe='')}")


def _name(alarm: Alarm) -> str:
    """What people call the server of an alarm: database, stage and host, as far as is known."""
    known = alarm.known.get("server", {})
    database, stage, host = (known.get(each) for each in ("database", "odoo_stage", "hostname"))
    if not database:
        return safe(alarm.server_id or "")
    name = safe(database) + (f" ({safe(stage)})" if stage else "")
    return f"{name} on {safe(host)}" if host else name


def _subject(alarm: Alarm) -> str:
    """What an alarm is about, as the subject of a sentence."""
    if alarm.kind == KEY_EXPIRES:
        key = alarm.known["key"]
        return f"The key {safe(key['name'])} ({key['id']})"
    if alarm.kind == EventKind.FLEET_SILENT.value:
        return f"{alarm.known['silent']} of {alarm.known['of']} servers"
    return _NO_SERVER.get(alarm.kind, "The fleet") if alarm.server_id is None else _name(alarm)


def _not_back(alarms: Sequence[Alarm]) -> str:
    """How many alarms have ended in another way than that the servers are well again."""
    endings = [alarm.ending for alarm in alarms]
    counts = ((endings.count(each), word) for each, word in _GONE.items())
    says = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f" ({says})" if says else ""


class _Writer:
    """Writes about alarms of one message."""

    def __init__(self, occasion: Occasion) -> None:
        self._kind = occasion.kind
        self._zone = zone_or_utc(occasion.channel.time_zone)
        self._rules = occasion.rules
        self._parts = occasion.parts
        self._now = occasion.now
        self._public_url = occasion.public_url

    def title(self, alarms: Sequence[Alarm]) -> str:
        """One line: what, and of which servers."""
        shown = _distinct(alarms)
        if len(shown) == 1:
            return self._title_of_one(shown[0])
        kinds = [alarm.kind for alarm in shown]
        counts = ", ".join(
            f"{kinds.count(kind)} {_HEADINGS[kind].lower()}" for kind in dict.fromkeys(kinds)
        )
        subjects = list(dict.fromkeys(_short(alarm) for alarm in shown))
        more = f" and {len(subjects) - 3} more" if len(subjects) > 3 else ""
        what = {
            DeliveryKind.ALARM: counts[:1].upper() + counts[1:],
            DeliveryKind.REMINDER: f"Still: {counts}",
            DeliveryKind.END: f"Over: {counts}{_not_back(shown)}",
        }[self._kind]
        return f"{what}: {', '.join(subjects[:3])}{more}"

    def text(self, alarms: Sequence[Alarm]) -> str:
        """The whole message."""
        shown = _distinct(alarms)
        if len(shown) == 1:
            paragraphs = [self._whole(shown[0])]
        else:
            paragraphs = [
                [f"- {line}" if place == 0 else f"  {line}" for place, line in enumerate(lines)]
                for lines in map(self._brief, shown[:MOST_NAMED_SERVERS])
            ]
            if len(shown) > MOST_NAMED_SERVERS:
                paragraphs.append([f"and {len(shown) - MOST_NAMED_SERVERS} more"])
        ids = dict.fromkeys(alarm.rule_id for alarm in alarms)
        rules = [rule.name for each in ids if (rule := self._rules.get(each)) is not None]
        url = _link(self._public_url, "alerts")
        paragraphs.append(
            [
                *([f"Rule: {names(rules)}"] if rules else []),
                *([f"All alarms: {url}"] if url else []),
            ]
        )
        return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)

    def json(self, alarm: Alarm) -> dict[str, Any]:
        """An alarm for programs."""
        known = alarm.known
        rule = self._rules.get(alarm.rule_id)
        moments = {
            name: None if (moment := getattr(alarm, name)) is None else format_moment(moment)
            for name in ("begun_at", "told_at", "ended_at", "acknowledged_at")
        }
        parts = self._parts.get(alarm.id, ())
        return {
            "id": alarm.id,
            "kind": alarm.kind,
            "rule": {"id": alarm.rule_id, "name": rule and rule.name},
            "server_id": alarm.server_id,
            **moments,
            "acknowledged_by": alarm.acknowledged_by,
            "ending": alarm.ending,
            "event": known.get("event"),
            "server": known.get("server"),
            "key": known.get("key"),
            "servers": [each.server_id for each in parts[:_MOST_IN_JSON]],
            "url": None
            if alarm.server_id is None
            else _server_link(self._public_url, alarm.server_id),
        }

    def _title_of_one(self, alarm: Alarm) -> str:
        heading, about = _HEADINGS[alarm.kind], _about(alarm)
        match self._kind:
            case DeliveryKind.END:
                return f"Over: {self._ended(alarm)}"
            case DeliveryKind.REMINDER:
                return f"Still {heading.lower()}: {about}, for {duration(self._lasted(alarm))}"
        return f"{heading}: {about}"

    def _says(self, alarm: Alarm) -> str:
        """A sentence about an alarm."""
        if self._kind is DeliveryKind.END:
            return f"{self._ended(alarm)}."
        return f"{_subject(alarm)} {_PREDICATES[alarm.kind]}."

    def _ended(self, alarm: Alarm) -> str:
        """A sentence about the end of an alarm, without its full stop."""
        after = f"after {duration(self._lasted(alarm))}"
        if alarm.kind == EventKind.FLEET_SILENT.value:
            silent = alarm.known["silent"]
            back = silent - alarm.known["still_away"]
            return f"{back} of the {silent} servers that fell silent are back {after}"
        ending = alarm.ending or ""
        says = _ENDINGS.get((alarm.kind, ending)) or _ENDINGS_OF_ALL.get(ending, "is over")
        return f"{_subject(alarm)} {says}" + (f" {after}" if alarm.kind != KEY_EXPIRES else "")

    def _lasted(self, alarm: Alarm) -> timedelta:
        return (alarm.ended_at or self._now) - alarm.begun_at

    def _whole(self, alarm: Alarm) -> list[str]:
        """The lines about the only alarm of a message."""
        server = alarm.known.get("server", {})
        lines = [self._says(alarm), *self._times(alarm), *self._details(alarm)]
        if seen := self._last_seen(server):
            lines.append(seen)
        if known := _last_known(server):
            lines.append(f"Last known: {known}")
        if alarm.server_id is not None:
            lines.append(f"Server ID: {safe(alarm.server_id, 255)}")
            url = _server_link(self._public_url, alarm.server_id)
            lines += [f"Page: {url}"] if url else []
        return lines

    def _brief(self, alarm: Alarm) -> list[str]:
        """The lines about one of several alarms of a message."""
        server = alarm.known.get("server", {})
        times = filter(None, [*self._times(alarm), self._last_seen(server)])
        lines = [self._says(alarm), "; ".join(times), *self._details(alarm)]
        if alarm.server_id is not None:
            url = _server_link(self._public_url, alarm.server_id)
            lines.append(url or f"Server ID: {safe(alarm.server_id, 255)}")
        return lines

    def _last_seen(self, server: Mapping[str, Any]) -> str | None:
        """When a server was last seen as its alarm began; None if that is not known."""
        if not server.get("last_seen"):
            return None
        label = "Last seen before" if self._kind is DeliveryKind.END else "Last seen"
        return f"{label}: {exactly(parse_moment(server['last_seen']), self._zone)}"

    def _times(self, alarm: Alarm) -> list[str]:
        """The lines that say since when, or from when to when."""
        begun = exactly(alarm.begun_at, self._zone)
        if alarm.kind == KEY_EXPIRES:  # that it will expire was known before
            return []
        if alarm.ended_at is None:
            return [f"Since: {begun}, {duration(self._now - alarm.begun_at)} ago"]
        if alarm.ended_at == alarm.begun_at:
            return [f"At: {begun}"]
        return [f"From: {begun}", f"Until: {exactly(alarm.ended_at, self._zone)}"]

    def _details(self, alarm: Alarm) -> list[str]:
        """The lines with what is particular about a kind of alarm."""
        lines = details(alarm, self._zone)
        if alarm.kind == EventKind.FLEET_SILENT.value:
            lines += self._details_of_fleet(alarm)
        if self._kind is DeliveryKind.ALARM and alarm.acknowledged_by:
            lines.append(f"Acknowledged by: {safe(alarm.acknowledged_by)}")
        return lines

    def _details_of_fleet(self, alarm: Alarm) -> list[str]:
        if self._kind is DeliveryKind.END:
            still = alarm.known["still_away"]
            if not still:
                return ["All of them are back."]
            return [f"Still away: {still} of them; they are told in one message if they stay away."]
        lines = ["Look first at: the network, and the receiver"]
        servers = sorted({_name(each) for each in self._parts.get(alarm.id, ())})
        if servers:
            more = len(servers) - MOST_NAMED_SERVERS
            listed = ", ".join(servers[:MOST_NAMED_SERVERS])
            lines.append(f"Among them: {listed}{f' and {more} more' if more > 0 else ''}")
        return lines


def _distinct(alarms: Sequence[Alarm]) -> list[Alarm]:
    """
    The alarms without those that another rule has begun for the same reason.

    Those about servers in production come first, because a message does not name all of many; of
    the others, and of these, the oldest ones.
    """
    found = {
        (alarm.kind, alarm.server_id, alarm.subject, alarm.event_id): alarm
        for alarm in sorted(alarms, key=lambda each: (each.begun_at, each.id), reverse=True)
    }
    oldest_first = [*found.values()][::-1]
    return sorted(oldest_first, key=_is_below_production)


def _is_below_production(alarm: Alarm) -> bool:
    """Whether an alarm is about a server that is not in production."""
    return not counts_as_production(alarm.known.get("server", {}).get("odoo_stage"))


def _about(alarm: Alarm) -> str:
    """What an alarm is about, after a heading."""
    if alarm.kind == KEY_EXPIRES:
        return safe(alarm.known["key"]["name"])
    if alarm.kind == AWAY and alarm.ended_at is not None:
        return f"for {duration(alarm.ended_at - alarm.begun_at)}"
    return _subject(alarm)


def _short(alarm: Alarm) -> str:
    """The shortest name of what an alarm is about."""
    name = alarm.known.get("server", {}).get("database") or alarm.server_id
    return _about(alarm) if name is None else safe(name, 40)


def _last_known(server: Mapping[str, Any]) -> str:
    """What was last known of a server, on one line."""
    address = server.get("endpoint_url") or server.get("ip_address")
    port = server.get("port")
    at = f"{address}:{port}" if address and port and not server.get("endpoint_url") else address
    facts = {
        "Odoo": server.get("odoo_version"),
        "MCP server": server.get("version"),
        "at": at,
        "status": server.get("status"),
    }
    return ", ".join(f"{name} {safe(str(value), 120)}" for name, value in facts.items() if value)


_KINDS: dict[str, tuple[str, str]] = {
    "registered": ("New", "has joined the fleet"),
    "moved": ("Moved", "has moved"),
    "restarted": ("Restarted", "was restarted"),
    "upgraded": ("Upgraded", "was upgraded"),
    "capabilities_changed": ("Tools changed", "has other tools now"),
    "tools_changed": ("Tool descriptions changed", "describes its tools differently"),
    "stage_changed": ("Stage changed", "has another stage now"),
    "updated": ("Details changed", "has sent other details"),
    "late": ("Late", "is late: silent for more than two heartbeats"),
    "down": ("Down", "is down: silent for more than four heartbeats"),
    "recovered": ("Recovered", "is back"),
    "rebuilt": ("Rebuilt", "was rebuilt"),
    "twin": ("Twin", "has a twin: one of the two is a copy of the other's database"),
    "node": ("Node", "became a node of a database"),
    "node_left": ("Node left", "is no longer a node"),
    "copies": ("Copies", "has too many servers with one database UUID to tell them apart"),
    "conflict": ("Conflict", "stands for two machines, which send under one ID"),
    "flapping": ("Flapping", "is flapping: it falls silent and comes back again and again"),
    "calm": ("Calm", "has stopped flapping"),
    "left": ("Left", "has left: it has said that it sends no more"),
    "deleted": ("Forgotten", "was forgotten"),
    "refused_write": ("Refused", "was refused: the key does not own it"),
    "fleet_silent": ("Mass outage", "fell silent"),
    "silenced": ("Silenced", "was silenced"),
    "acknowledged": ("Acknowledged", "has an alarm that somebody has acknowledged"),
    "undelivered": ("Undelivered", "could not be delivered"),
    "labelled": ("Labels changed", "has other labels or another note"),
    KEY_EXPIRES: ("Key expires", "expires soon"),
    AWAY: ("Receiver away", "was not running: what happened meanwhile was not seen"),
}
"""For each kind of alarm a heading, and the predicate of a sentence about it."""

_NO_SERVER = {AWAY: "The receiver", "undelivered": "A message to a channel"}
"""Of what alarms that are about no server are; others are about the whole fleet."""

_HEADINGS = {kind: heading for kind, (heading, _) in _KINDS.items()}
_PREDICATES = {kind: predicate for kind, (_, predicate) in _KINDS.items()}

_ENDINGS = {
    ("late", "recovered"): "is back",
    ("down", "recovered"): "is back",
    ("twin", "over"): "has no twin any more",
    ("conflict", "over"): "is one machine again",
    ("flapping", "calm"): "has stopped flapping",
    (KEY_EXPIRES, "expired"): "has expired",
    (KEY_EXPIRES, "revoked"): "was revoked",
    (KEY_EXPIRES, "renewed"): "does not expire soon any more",
}
_ENDINGS_OF_ALL = {
    "rebuilt": "was rebuilt, and another server has taken its place",
    "left": "has left",
    "deleted": "was forgotten",
    "node": "goes on as a node of its database",
}
_GONE = {"deleted": "forgotten", "left": "left", "rebuilt": "rebuilt"}
_MOST_IN_JSON = 100
