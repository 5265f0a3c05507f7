"""Texts of the pages: times, records and events in words, and availability as SVG bars."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from attrs import evolve, frozen

from contract import FAREWELL, Event, EventKind, IpAddresses, ServerRecord, State
from contract.fields import format_moment, parse_moment
from receiver.domain.alerts.reach import Reach
from receiver.domain.alerts.reports import percent
from receiver.domain.alerts.values import AWAY, KEY_EXPIRES
from receiver.domain.databases.silence import Rules
from receiver.domain.grouping.problems import Trouble
from receiver.domain.grouping.timeline import Group
from receiver.domain.keys import KeyScope
from receiver.service.availability import Span

__all__ = [
    "ALARMS",
    "FACTS",
    "KINDS",
    "NAMED_SERVERS",
    "REACHES",
    "SCOPES",
    "STATES",
    "SUMMED_UP",
    "TOPICS",
    "TROUBLES",
    "Fact",
    "Strip",
    "Superseded",
    "Tale",
    "ago",
    "brief",
    "called",
    "clock",
    "duration",
    "exactly",
    "facts",
    "is_seen",
    "many",
    "names",
    "percent",
    "shown",
    "silence_url",
    "span_url",
    "stages",
    "strip",
    "superseded",
    "tale",
    "tale_of_many",
    "titled",
    "window",
]

NAMED_SERVERS = 3
"""How many servers of a problem, or of a group of events, a page names at most."""

SCOPES = {
    KeyScope.VIEWER: "reads the fleet, and changes nothing",
    KeyScope.AGENT: "sends messages of servers, as an Odoo does, and reads nothing",
    KeyScope.REGISTRY: "reads the MCP registry only, by an address, as editors do",
    KeyScope.BADGE: "reads badges only, by an address, for pages that show them",
    KeyScope.ADMIN: "does all: forgets servers, and manages keys and alerts",
}
"""What the holder of a key of each scope does; first the scope that most new keys should have."""

STATES = {
    State.UP: "Heard as promised",
    State.NEW: "Registered, no heartbeat yet",
    State.LATE: "Silent for more than two heartbeats",
    State.DOWN: "Silent for more than four heartbeats",
    State.LEFT: "Said that it sends no more",
}

FACTS = {
    "Identity": {
        "server_id": "Server ID",
        "database": "Database",
        "database_uuid": "Database UUID",
        "node_of": "Node of",
        "node_count": "Other nodes",
        "labels": "Labels",
        "odoo_stage": "Stage",
    },
    "Address": {
        "hostname": "Hostname",
        "ip_addresses": "IP addresses",
        "port": "Port",
        "transport": "Transport",
        "endpoint_url": "Endpoint for MCP clients",
    },
    "Software": {
        "odoo_version": "Odoo",
        "version": "MCP server",
        "status": "Own status",
        "started_at": "Started",
        "uptime_seconds": "Uptime, as last heard",
        "capabilities": "Tools",
        "tools_digest": "Digest of the tools",
    },
    "Heartbeat": {
        "state": "State",
        "state_since": "In this state since",
        "last_seen": "Last seen",
        "heartbeat_interval_seconds": "Heartbeat interval",
        "heartbeat_count": "Heartbeats",
        "sequence": "Number of the last message",
        "timestamp": "Sender's clock, as last heard",
        "first_seen": "First seen",
        "registered_at": "Registered",
        "superseded_by": "Superseded by",
        "twin_of": "Twin of",
        "conflict_since": "Two machines under this ID since",
        "flapping_since": "Flapping since",
    },
}
"""The label of each field of a record, by the title of a group and the name of the field."""


@frozen(kw_only=True)
class Fact:
    """
    A field of a record, in the form in which a page shows it.

    Attributes:
        name: The name of the field.
        label: The label of the field.
        values: The lines of the value; empty when the value is unknown.
        moment: The value if the field is a time; otherwise None.
    """

    name: str
    label: str
    values: tuple[str, ...] = ()
    moment: datetime | None = None


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


@frozen(kw_only=True)
class Bar:
    """
    One of the bars of a `Strip`, a row of SVG bars: the state of a server in a part of some time.

    Attributes:
        x: The left edge of the bar, in SVG units.
        width: The width of the bar, in SVG units.
        state: The worst state of the server in the time of the bar, as in `Strip.states`.
        title: The tooltip, such as `31 Jan 12:00 to 13:00: up`, in UTC.
    """

    x: float
    width: float
    state: str
    title: str


@frozen(kw_only=True)
class Strip:
    """
    The states of a server over some time, as a row of SVG bars of the same width.

    Each bar shows the worst state of its time, so that short outages are visible.

    Attributes:
        start: When the first bar begins.
        length: The time that a bar covers.
        states: For each bar the worst state in its time. The worst one is `down`; then come `late`,
            `flapping`, `up` and `superseded`, and at last `unknown`, where no state is known.
        says: How long the server was in each state, in words, the longest time first; `not known`
            if no state is known.
    """

    start: datetime
    length: timedelta
    states: list[str]
    says: str

    @property
    def bars(self) -> list[Bar]:
        """The bars with positions and tooltips, to be drawn one by one."""
        times = [self.start + n * self.length for n in range(len(self.states) + 1)]
        return [
            Bar(
                x=_BAR_STEP * n,
                width=_BAR_STEP - 1,
                state=state,
                title=f"{times[n]:%d %b %H:%M} to {times[n + 1]:%H:%M}: {state}",
            )
            for n, state in enumerate(self.states)
        ]

    @property
    def paths(self) -> dict[str, str]:
        """
        For each state all of its bars as one SVG path, which needs fewer bytes than single bars.

        Neighbours of the same state are one horizontal line. The page must draw it dashed, so that
        the bars are seen.
        """
        paths: dict[str, str] = {}
        n = 0
        for state, run in groupby(self.states):
            bars = sum(1 for _ in run)
            line = f"M{_BAR_STEP * n} 5h{_BAR_STEP * bars - 1}"
            paths[state] = paths.get(state, "") + line
            n += bars
        return paths


def exactly(moment: datetime) -> str:
    """A time in UTC as a text to the second, such as `2026-01-31 12:00:00 UTC`."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(moment: datetime, now: datetime) -> str:
    """
    A time in UTC as a text to the second, such as `12:00:00`; `31 Jan 12:00:00` on another day.

    The day is another one if it is not that of `now`.
    """
    is_today = moment.date() == now.date()
    return moment.strftime("%H:%M:%S" if is_today else "%d %b %H:%M:%S")


def window(label: str, cut: datetime | None) -> str:
    """
    The name of a period, such as `7 days`, for a heading.

    If the states of the server are known only since a time within the period, `cut` is that time,
    and the text says so, too. Otherwise `cut` is None.
    """
    return label if cut is None else f"{label}, known since {exactly(cut)}"


def ago(moment: datetime, now: datetime) -> str:
    """
    How long ago a time was, in the largest unit of which at least two have passed: `90 s ago`.

    The units are `d`, `h`, `min` and `s`. A time that is less than a second ago, or in the future,
    is `just now`.
    """
    seconds = (now - moment).total_seconds()
    for unit, size in _UNIT_SECONDS.items():
        if seconds >= 2 * size:
            return f"{int(seconds / size)} {unit} ago"
    return "1 s ago" if seconds >= 1 else "just now"


def duration(seconds: float) -> str:
    """
    A duration in the largest unit that fits and the next smaller one, such as `2 h 5 min`.

    The units are `d`, `h`, `min` and `s`. A duration of less than a second, or of a billion seconds
    or more, is told in seconds.
    """
    if not 1 <= seconds < _MAX_SECONDS:
        return f"{seconds:g} s"
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in _UNIT_SECONDS.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(filter(None, parts[:2]))


def is_seen(text: str) -> bool:
    """Whether a text has a visible character."""
    return any(
        unicodedata.category(each) not in _INVISIBLE_CATEGORIES and each not in _BLANK_CHARACTERS
        for each in text
    )


def shown(text: str) -> str:
    """The text, or `(blank)` if it has no visible character."""
    return text if is_seen(text) else "(blank)"


def brief(text: str, most: int = 255) -> str:
    """The text, cut to `most` characters with `…`; `(blank)` if nothing of it is visible."""
    text = shown(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def titled(text: str) -> str:
    """The text with its first letter as a capital letter."""
    return text[:1].upper() + text[1:]


def called(record: ServerRecord) -> str:
    """
    What a page calls a server: the name of its database, or else its `server_id`.

    The `server_id` is taken if the name is unknown or has no visible character. If the `server_id`
    has none either, it is `(blank)`.
    """
    database = record.database or ""
    return shown(database if is_seen(database) else record.server_id)


def stages(found: Sequence[tuple[str, int]]) -> str:
    """
    The stages of some servers in words, such as `all staging` or `3 production, 1 without stage`.

    At most three stages are named; then the text says how many more there are, such as `and 2
    more`.

    Args:
        found: The stages, each with the number of its servers, the most frequent first; "" for
            servers without a stage.
    """
    texts = [brief(stage, 40) if stage else "without stage" for stage, _ in found]
    if len(found) == 1:
        return f"all {texts[0]}"
    counted = [f"{number:,} {text}" for (_, number), text in zip(found, texts, strict=True)]
    more = len(counted) - _MAX_STAGES
    return ", ".join(counted[:_MAX_STAGES]) + (f" and {more} more" if more > 0 else "")


def many(kind: EventKind) -> str:
    """What happened to several servers, such as `are late`, to stand beneath their number."""
    return _MANY.get(kind, KINDS[kind])


def span_url(kinds: Iterable[EventKind], since: datetime, until: datetime, query: str = "") -> str:
    """
    The URL, relative to the home page, of the timeline of a time, in which no events are grouped.

    Args:
        kinds: Only events of these kinds.
        since: When the time begins.
        until: When the time ends.
        query: Only events of servers that match this text of filters; of all servers if it is
            empty.
    """
    times = {"since": format_moment(since), "until": format_moment(until)}
    found = [*(("kind", kind.value) for kind in kinds), *times.items(), ("grouped", "false")]
    found += [("query", query)] if query else []
    return f"timeline?{urlencode(found)}"


def facts(record: ServerRecord) -> dict[str, list[Fact]]:
    """All fields of a record, as a page shows them, by the title of their group."""
    if record.status == FAREWELL and record.state is not State.LEFT:
        record = evolve(record, status=None)  # it sends again, but no status since its farewell
    return {
        group: [_fact(name, label, getattr(record, name)) for name, label in labels.items()]
        for group, labels in FACTS.items()
    }


def _fact(name: str, label: str, value: Any) -> Fact:
    match value:
        case datetime():
            return Fact(name=name, label=label, values=(exactly(value),), moment=value)
        case IpAddresses():
            addresses = dict.fromkeys([value.primary, *value.all])
            return Fact(name=name, label=label, values=tuple(addresses))
        case tuple():
            return Fact(name=name, label=label, values=tuple(map(shown, value)) or ("none",))
        case None:
            return Fact(name=name, label=label)
    if name.endswith("_seconds"):
        return Fact(name=name, label=label, values=(duration(value),))
    return Fact(name=name, label=label, values=(_text(value),))


def tale(event: Event) -> Tale:
    """Describe an event in words for a page."""
    says, more = _of_alarms(event) if event.kind in _OF_ALARMS else _of_servers(event)
    other = next((event.details[name] for name in _OTHERS if event.details.get(name)), None)
    return Tale(says=says, more=more, other=other, among=_among(event))


def tale_of_many(group: Group) -> Tale:
    """
    Describe in words for a page what happened to several servers together.

    If the details of the events are known, the lines of the tale say what became what, such as
    `18.0 → 19.0`, and which tools were added and removed. Of texts that do not hold for all of the
    events, each has the number of events for which it does, as in `18.0 → 19.0 (12)`.
    """
    total = sum(alike.number for alike in group.alike)
    counts: dict[str, Counter[str]] = {}
    for alike in group.alike:
        for label, text in _lines_of_one(group.kind, alike.details):
            counts.setdefault(label, Counter())[text] += alike.number
    says = many(group.kind)
    if group.kind is EventKind.CAPABILITIES_CHANGED and counts:
        tools = {word: [*counts.get(label, ())] for word, label in _GAINED.items()}
        says = f"{says}: {_numbers(tools)}"
    more = [(label, _counted(texts, total)) for label, texts in counts.items()]
    return Tale(says=says, more=more)


def _lines_of_one(kind: EventKind, details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What one of several events says: lines with a label and a text, one for each of its tools."""
    tools = details.get("tools" if kind is EventKind.TOOLS_CHANGED else "capabilities", {})
    match kind:
        case EventKind.CAPABILITIES_CHANGED:
            named = [(_GAINED[word], tools.get(word, ())) for word in _GAINED]
        case EventKind.TOOLS_CHANGED:
            named = [(label, _with_changed(tools, field)) for field, label in OF_TOOLS.items()]
        case _:
            return [line for name, change in details.items() for line in _change(name, change)]
    return [(label, name) for label, names_of_tools in named for name in names_of_tools]


def _counted(texts: Counter[str], total: int) -> str:
    """The most frequent texts; with its number each that is there less than `total` times."""
    found = [
        brief(text, _LONGEST_COUNTED) + (f" ({count:,})" if count < total else "")
        for text, count in texts.most_common(_MAX_COUNTED)
    ]
    more = len(texts) - _MAX_COUNTED
    return ", ".join(found) + (f" and {more:,} more" if more > 0 else "")


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
            says = f"{says}: {_numbers(tools)}"
            more = [(_GAINED[word], names(tools[word])) for word in _GAINED if tools.get(word)]
        case EventKind.TOOLS_CHANGED:
            tools = details.get("tools", {})
            changed = {field: _with_changed(tools, field) for field in OF_TOOLS}
            more = [(OF_TOOLS[field], names(each)) for field, each in changed.items() if each]
        case EventKind.FLEET_SILENT:
            silent, fleet = details.get("silent"), details.get("of")
            says = f"{says}: {silent} of {fleet} servers fell silent at once"
            more = [("Look first at", "the network, and this receiver")]
        case EventKind.RECOVERED:
            says = f"{says} after {duration(details.get('away_seconds', 0))}"
            more = []
        case EventKind.REFUSED_WRITE:
            says = f"{says}: key {_text(details.get('name'))} does not own this server"
            more = [("Key ID", _text(details.get("key")))]
        case EventKind.FLAPPING:
            more = [(_TURNS, f"{details.get('turns')} times; from now on this is only counted")]
        case EventKind.CALM:
            more = [
                (_TURNS, f"{details.get('turns')} times"),
                ("State now", _text(details.get("state"))),
            ]
        case EventKind.COPIES:
            says = f"{details.get('servers')} servers have one database UUID"
            more = [
                ("Database UUID", _text(details.get("database_uuid"))),
                ("What to do", "give each copy of the database a UUID of its own"),
            ]
        case _ if event.kind in _WITHOUT_CHANGES:
            more = []
        case _:
            more = [line for name, change in details.items() for line in _change(name, change)]
    return says, more


def _labelled(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The lines of an event `labelled`, each a label and a text."""
    labels = details.get("labels", {})
    lines = {
        "Added": names(labels.get("gained", ())),
        "Removed": names(labels.get("lost", ())),
        "Note": _text(details.get("note", "")),
        "By": _text(details.get("by", "")),
    }
    return [line for line in lines.items() if line[1]]


def _of_alarms(event: Event) -> tuple[str, list[tuple[str, str]]]:
    """What people did, or that an alarm reached nobody: the sentence, and lines with details."""
    says = KINDS[event.kind]
    if event.kind is EventKind.SILENCED:
        return _silenced(event)
    if event.kind is EventKind.LABELLED:
        return says, _labelled(event.details)
    labels = _OF_ALARMS[event.kind]
    return says, [(label, _text(event.details.get(name))) for name, label in labels.items()]


def _silenced(event: Event) -> tuple[str, list[tuple[str, str]]]:
    """The predicate of an event `silenced`, and its lines, each a label and a text."""
    details = event.details
    until = details.get("until")
    is_over = until == format_moment(event.at)
    says = "is not silenced any more" if is_over else KINDS[event.kind]
    if event.server_id is None:
        query = details.get("query")
        which = f"Alarms of {_text(query)}" if query else "All alarms"
        says = f"{which} {says.replace('is', 'are', 1)}"
    lines = {
        "Until": "" if is_over else _until(until),
        "Reason": _text(details.get("reason")),
        "By": _text(details.get("by")),
    }
    return says, [line for line in lines.items() if line[1]]


def _until(moment: str | None) -> str:
    return "somebody ends it" if moment is None else exactly(parse_moment(moment))


def _change(name: str, change: Mapping[str, Any]) -> list[tuple[str, str]]:
    label, old, new = _LABELS.get(name, name), change.get("from"), change.get("to")
    if name == "ip_addresses" and old and new:
        return _addresses(label, old, new)
    texts = [
        duration(value) if name.endswith("_seconds") and value is not None else _text(value)
        for value in (old, new)
    ]
    return [(label, " → ".join(texts))]


def _addresses(label: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    Lines about changed addresses, each a label and a text.

    Args:
        label: The label of the line about the primary address; other lines extend it.
        old: The addresses before, in the wire form `{"primary": ..., "all": [...]}`.
        new: The addresses after.
    """
    before, after = old["primary"], new["primary"]
    gained = [each for each in new["all"] if each not in (before, after, *old["all"])]
    lost = [each for each in old["all"] if each not in (before, after, *new["all"])]
    lines = {
        label: f"{before} → {after}" if before != after else "",
        f"{label} added": names(gained),
        f"{label} removed": names(lost),
    }
    return [line for line in lines.items() if line[1]] or [(label, "in another order")]


def _text(value: Any) -> str:
    match value:
        case None:
            return "unknown"
        case "":
            return "none"
        case State():
            return value.value
        case {"primary": primary, "all": others}:
            return names([*dict.fromkeys([primary, *others])])
        case list():
            return names(value) or "none"
        case _:
            return shown(str(value))


def names(texts: Sequence[str]) -> str:
    """The first five texts, with commas between them, and how many more there are."""
    first = ", ".join(map(shown, texts[:_MAX_NAMES]))
    return f"{first} and {len(texts) - _MAX_NAMES} more" if len(texts) > _MAX_NAMES else first


def strip(spans: Sequence[Span], *, start: datetime, end: datetime, bars: int) -> Strip:
    """
    Divide a time into bars of the same length, and find the worst state of a server in each.

    Args:
        spans: The states of the server.
        start: When the time begins.
        end: When the time ends.
        bars: How many bars there are.
    """
    length = (end - start) / bars
    worst = ["unknown"] * bars
    total: dict[str, timedelta] = {}
    for span in spans:
        first = min(bars - 1, max(0, int((span.start - start) / length)))
        last = min(bars - 1, int((span.end - start) / length))
        total[span.state] = total.get(span.state, timedelta()) + (span.end - span.start)
        for n in range(first, last + 1):
            worst[n] = max(worst[n], span.state, key=_SEVERITY.__getitem__)

    times = ", ".join(
        f"{state} for {duration(time.total_seconds())}"
        for state, time in sorted(total.items(), key=lambda item: item[1], reverse=True)
    )
    return Strip(start=start, length=length, states=worst, says=times or "not known")


def _numbers(tools: Mapping[str, Sequence[str]]) -> str:
    """How many tools are new and how many are gone, with a sign before each."""
    signs = {"gained": "+", "lost": "\N{MINUS SIGN}"}
    return " ".join(f"{sign}{len(tools[word])}" for word, sign in signs.items() if tools.get(word))


_GAINED = {"gained": "Added", "lost": "Removed"}
_TURNS = "Fell silent or came back"
_BAR_STEP = 4  # SVG units from the left edge of a bar to that of the next
_MAX_NAMES = 5
_MAX_STAGES = 3
_MAX_COUNTED = 4
_LONGEST_COUNTED = 50  # so that four with their numbers have less than the 255 characters of a line
_SUPERSEDED = {
    EventKind.REBUILT: "This server has fallen silent, and its database was rebuilt or moved:",
    EventKind.NODE_LEFT: "This server was one of the nodes of a database, and has fallen silent:",
}
_OTHERS = ("superseded_by", "twin_of", "node_of")


def _with_changed(tools: Mapping[str, Sequence[str]], field: str) -> list[str]:
    return [name for name, changed in tools.items() if field in changed]


OF_TOOLS = {
    "title": "Other title",
    "description": "Other description",
    "annotations": "Other hints",
    "input_schema_digest": "Other arguments",
    "provider": "Other module",
}
"""The labels of those fields of `contract.Tool` that may change or differ, by their names."""

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
_SEVERITY = {"unknown": 0, "superseded": 1, "up": 2, "flapping": 3, "late": 4, "down": 5}
_UNIT_SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_MAX_SECONDS = 1e9  # longer durations are shown in seconds

# Spaces, control and format characters, and combining marks.
_INVISIBLE_CATEGORIES = {"Zs", "Zl", "Zp", "Cc", "Cf", "Mn"}
# Hangul fillers and the empty Braille pattern.
_BLANK_CHARACTERS = "\u115f\u1160\u2800\u3164\uffa0"

_LABELS = {name: label for group in FACTS.values() for name, label in group.items()}

KINDS = {
    EventKind.REGISTERED: "joined the fleet",
    EventKind.MOVED: "moved",
    EventKind.RESTARTED: "restarted",
    EventKind.UPGRADED: "was upgraded",
    EventKind.CAPABILITIES_CHANGED: "tools changed",
    EventKind.TOOLS_CHANGED: "tool descriptions changed",
    EventKind.STAGE_CHANGED: "stage changed",
    EventKind.UPDATED: "details changed",
    EventKind.LATE: "is late",
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
        EventKind.CAPABILITIES_CHANGED,
        EventKind.TOOLS_CHANGED,
        EventKind.STAGE_CHANGED,
        EventKind.UPDATED,
        EventKind.LABELLED,
    ),
    "Coming and going": (
        EventKind.REGISTERED,
        EventKind.LEFT,
        EventKind.DELETED,
        EventKind.REBUILT,
        EventKind.NODE,
        EventKind.NODE_LEFT,
    ),
    "Mix-ups": (
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
    }
)
"""The kinds of events of which `tale_of_many` says what became what, if it knows the details."""

_MANY = {
    EventKind.LATE: "are late",
    EventKind.RECOVERED: "are back",
    EventKind.UPGRADED: "were upgraded",
    EventKind.REBUILT: "were rebuilt",
    EventKind.TWIN: "have twins",
    EventKind.NODE: "became nodes of databases",
    EventKind.NODE_LEFT: "are no longer nodes",
    EventKind.FLAPPING: "are flapping",
    EventKind.DELETED: "were forgotten",
    EventKind.SILENCED: "are silenced",
}
"""What a kind of event says of several servers, where that is not the text in `KINDS`."""

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
