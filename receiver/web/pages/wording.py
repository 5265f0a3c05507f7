"""How the pages say it: times, changes and states, in words and as a picture."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from contract import Event, EventKind, IpAddresses, ServerRecord, State
from receiver.service.availability import Span

__all__ = [
    "FACTS",
    "KINDS",
    "STATES",
    "Fact",
    "Strip",
    "Tale",
    "ago",
    "duration",
    "exactly",
    "facts",
    "is_seen",
    "percent",
    "shown",
    "strip",
    "tale",
]

STATES = {
    State.UP: "Heard as promised",
    State.NEW: "Registered, no heartbeat yet",
    State.LATE: "Missed two heartbeats",
    State.DOWN: "Missed four heartbeats",
}

FACTS = {
    "Identity": {
        "server_id": "Server ID",
        "database": "Database",
        "database_uuid": "Database UUID",
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
        "status": "Says of itself",
        "started_at": "Started",
        "uptime_seconds": "Uptime, as last heard",
        "capabilities": "Tools",
    },
    "Heartbeat": {
        "state": "State",
        "state_since": "In this state since",
        "last_seen": "Last seen",
        "heartbeat_interval_seconds": "Promised every",
        "heartbeat_count": "Heartbeats",
        "timestamp": "Its own clock, as last heard",
        "first_seen": "First seen",
        "registered_at": "Registered",
        "superseded_by": "Superseded by",
        "twin_of": "Twin of",
    },
}
"""Every field of a record, in groups, and what people call it."""


@frozen(kw_only=True)
class Fact:
    """
    A field of a record, for people.

    Attributes:
        values: Nothing when it is not known.
        moment: When the value is one.
    """

    name: str
    label: str
    values: tuple[str, ...] = ()
    moment: datetime | None = None


@frozen(kw_only=True)
class Tale:
    """
    An event, for people.

    Attributes:
        says: What the server did, or what happened to the fleet.
        more: Each line a subject and what is said of it.
        other: The server that it has to do with as well.
    """

    says: str
    more: list[tuple[str, str]]
    other: str | None = None


@frozen(kw_only=True)
class Bar:
    """A part of a strip: from where, how wide, and the worst that happened in it."""

    x: float
    width: float
    state: str
    title: str


@frozen(kw_only=True)
class Strip:
    """
    The states of a server over a time, as bars of the same width.

    A bar shows the worst of its time, so that a short silence is seen too.

    Attributes:
        start: When the first bar begins.
        length: How much time each bar is.
        states: Of each bar.
        says: The same in words.
    """

    start: datetime
    length: timedelta
    states: list[str]
    says: str

    @property
    def bars(self) -> list[Bar]:
        """Each for itself, with its time."""
        times = [self.start + n * self.length for n in range(len(self.states) + 1)]
        return [
            Bar(
                x=_STEP * n,
                width=_STEP - 1,
                state=state,
                title=f"{times[n]:%d %b %H:%M} to {times[n + 1]:%H:%M}: {state}",
            )
            for n, state in enumerate(self.states)
        ]

    @property
    def paths(self) -> dict[str, str]:
        """All that are in a state as one SVG path."""
        paths: dict[str, str] = {}
        for n, state in enumerate(self.states):
            bar = f"M{_STEP * n} 0h{_STEP - 1}v10h-{_STEP - 1}z"
            paths[state] = paths.get(state, "") + bar
        return paths


def exactly(moment: datetime) -> str:
    """To the second, in UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(moment: datetime, now: datetime) -> str:
    """How long ago a moment was, in the largest unit of which there are two."""
    seconds = (now - moment).total_seconds()
    for unit, size in _UNITS.items():
        if seconds >= 2 * size:
            return f"{int(seconds / size)} {unit} ago"
    return "1 s ago" if seconds >= 1 else "just now"


def duration(seconds: float) -> str:
    """In the largest unit that fits, and the one below it."""
    if not 1 <= seconds < _ENDLESS:
        return f"{seconds:g} s"
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(filter(None, parts[:2]))


def percent(share: float | None) -> str:
    """One decimal, and never 100% when something was missing."""
    if share is None:
        return _UNKNOWN
    return "100%" if share >= 1 else f"{min(share * 100, 99.9):.1f}%"


def is_seen(text: str) -> bool:
    """Whether there is anything in a text that leaves ink."""
    return any(
        unicodedata.category(each) not in _WITHOUT_INK and each not in _BLANK_LETTERS
        for each in text
    )


def shown(text: str) -> str:
    """A text, or words in place of one that nobody sees and nobody can click on."""
    return text if is_seen(text) else "(blank)"


def facts(record: ServerRecord) -> dict[str, list[Fact]]:
    """Every field of a record, in groups."""
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
    """What an event tells, in a sentence whose subject is the server."""
    details = event.details
    says = KINDS[event.kind]
    match event.kind:
        case EventKind.CAPABILITIES_CHANGED:
            tools = details.get("capabilities", {})
            more = [(word, _names(tools[word])) for word in ("gained", "lost") if tools.get(word)]
        case EventKind.FLEET_SILENT:
            says = f"{details.get('silent')} of {details.get('of')} servers {says}"
            more = [("Look first at", "the network, and this receiver")]
        case EventKind.RECOVERED:
            says = f"{says} after {duration(details.get('away_seconds', 0))}"
            more = []
        case EventKind.REFUSED_WRITE:
            more = [("Key", f"{_text(details.get('name'))} ({_text(details.get('key'))})")]
        case EventKind.LATE | EventKind.DOWN | EventKind.REBUILT | EventKind.TWIN:
            more = []
        case _:
            more = [line for name, change in details.items() for line in _change(name, change)]
    other = details.get("superseded_by") or details.get("twin_of")
    return Tale(says=says, more=more, other=other)


def _change(name: str, change: Mapping[str, Any]) -> list[tuple[str, str]]:
    label, old, new = _LABELS.get(name, name), change.get("from"), change.get("to")
    if name == "ip_addresses" and old and new:
        return _addresses(label, old, new)
    said = [
        duration(value) if name.endswith("_seconds") and value is not None else _text(value)
        for value in (old, new)
    ]
    return [(label, " → ".join(said))]


def _addresses(label: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a server is reached now, when that is elsewhere, and what else came and went."""
    before, after = old["primary"], new["primary"]
    gained = [each for each in new["all"] if each not in (before, after, *old["all"])]
    lost = [each for each in old["all"] if each not in (before, after, *new["all"])]
    said = {
        label: f"{before} → {after}" if before != after else "",
        f"{label} gained": _names(gained),
        f"{label} lost": _names(lost),
    }
    return [line for line in said.items() if line[1]] or [(label, "in another order")]


def _text(value: Any) -> str:
    match value:
        case None:
            return "unknown"
        case "":
            return "none"
        case State():
            return value.value
        case {"primary": primary, "all": others}:
            return _names([*dict.fromkeys([primary, *others])])
        case list():
            return _names(value) or "none"
        case _:
            return shown(str(value))


def _names(names: Sequence[str]) -> str:
    first = ", ".join(map(shown, names[:_NAMES]))
    return f"{first} and {len(names) - _NAMES} more" if len(names) > _NAMES else first


def strip(spans: Sequence[Span], *, start: datetime, end: datetime, bars: int) -> Strip:
    """What the spans are from a start to an end, in so many bars."""
    length = (end - start) / bars
    worst = ["unknown"] * bars
    total: dict[str, timedelta] = {}
    for span in spans:
        first = min(bars - 1, max(0, int((span.start - start) / length)))
        last = min(bars - 1, int((span.end - start) / length))
        total[span.state] = total.get(span.state, timedelta()) + (span.end - span.start)
        for n in range(first, last + 1):
            worst[n] = max(worst[n], span.state, key=_RANK.__getitem__)

    said = ", ".join(
        f"{state} for {duration(time.total_seconds())}"
        for state, time in sorted(total.items(), key=lambda item: item[1], reverse=True)
    )
    return Strip(start=start, length=length, states=worst, says=said or "not known")


_STEP = 4
_UNKNOWN = "\N{EN DASH}"
_NAMES = 5
_RANK = {"unknown": 0, "superseded": 1, "up": 2, "late": 3, "down": 4}
_UNITS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_ENDLESS = 1e9

_WITHOUT_INK = {"Zs", "Zl", "Zp", "Cc", "Cf", "Mn"}  # spaces, controls, marks upon nothing
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # fillers of Hangul, a cell of Braille

_LABELS = {name: label for group in FACTS.values() for name, label in group.items()}

KINDS = {
    EventKind.REGISTERED: "joined the fleet",
    EventKind.MOVED: "moved",
    EventKind.RESTARTED: "restarted",
    EventKind.UPGRADED: "was upgraded",
    EventKind.CAPABILITIES_CHANGED: "offers other tools",
    EventKind.STAGE_CHANGED: "changed its stage",
    EventKind.UPDATED: "told more of itself",
    EventKind.LATE: "is late",
    EventKind.DOWN: "went down",
    EventKind.RECOVERED: "is back",
    EventKind.REBUILT: "was rebuilt",
    EventKind.TWIN: "has a twin",
    EventKind.DELETED: "was deleted",
    EventKind.REFUSED_WRITE: "was written to by a key that may not",
    EventKind.FLEET_SILENT: "fell silent at once",
}
"""What is said of each kind of event; the subject is the server."""
