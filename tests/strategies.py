"""
Hypothesis strategies for valid and almost valid values of the contract.

All objects that are drawn for one test have the same `server_id`, so that records, heartbeats
and registrations can be merged. `heartbeats(server_ids())` draws another one for each object.

Each strategy is built once: Hypothesis takes longer to build and check one than to draw from it.

Field names and kinds are written out here and not read from the contract, so that the tests do
not share an error with the code that they check.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from functools import cache, partial
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast
from zoneinfo import ZoneInfo

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st

from contract import (
    Event,
    EventKind,
    Heartbeat,
    IpAddresses,
    Registration,
    ServerPayload,
    ServerRecord,
    State,
    Tool,
    ToolAnnotations,
)

__all__ = [
    "REQUIRED",
    "addresses",
    "almost_valid",
    "almost_values",
    "bodies",
    "built_once",
    "changed_records",
    "digests",
    "events",
    "heartbeats",
    "intervals",
    "ip_addresses",
    "moments",
    "ordinals",
    "payloads",
    "ports",
    "records",
    "registrations",
    "seconds",
    "server_ids",
    "share_of_examples",
    "texts",
    "this_server",
    "tool_names",
    "tools",
    "urls",
    "wire_messages",
    "wire_moments",
    "wire_values",
]

P = ParamSpec("P")
T = TypeVar("T")
Fields: TypeAlias = dict[str, st.SearchStrategy[Any]]
Wire: TypeAlias = dict[str, Any]


def share_of_examples(share: float) -> int:
    """The number of Hypothesis examples for a test: this share of what the profile says."""
    return round(settings().max_examples * share) or 1


def built_once(build: Callable[P, T]) -> Callable[P, T]:
    """Keep the strategy that a function builds, for each of its arguments."""
    return cast("Callable[P, T]", cache(build))  # whose type takes any arguments


_UTC = timezone.utc
_FIRST = datetime(1, 1, 2)  # noqa: DTZ001 - hypothesis takes naive bounds; a day for offsets
_LAST = datetime(9999, 12, 30)  # noqa: DTZ001
_ZONES = [
    "Africa/Monrovia",  # offsets with seconds
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # summer time of half an hour
    "Europe/Dublin",  # winter time below its standard
    "Pacific/Apia",  # has skipped a day
]
_FIRST_SERVER = "db_host"
_STATES = ["new", "up", "late", "down", "left"]
_KINDS = [
    "registered",
    "moved",
    "restarted",
    "upgraded",
    "capabilities_changed",
    "tools_changed",
    "stage_changed",
    "updated",
    "late",
    "down",
    "recovered",
    "rebuilt",
    "twin",
    "node",
    "node_left",
    "copies",
    "conflict",
    "flapping",
    "calm",
    "left",
    "deleted",
    "refused_write",
    "fleet_silent",
    "silenced",
    "acknowledged",
    "undelivered",
    "labelled",
]
# Fields with a default other than None: a wire object may lack them, but null is invalid.
_NEVER_NULL = {"heartbeat_count", "node_count", "state", "details"}
# The fields of a record that can become None again, by messages of other servers or by numbers in
# `sequence` that no longer conflict, or because people say so.
_MAY_GO = ("superseded_by", "twin_of", "node_of", "conflict_since", "flapping_since", "labels")

REQUIRED: Mapping[type, tuple[str, ...]] = {
    ServerPayload: (
        "server_id",
        "hostname",
        "ip_addresses",
        "port",
        "transport",
        "version",
        "odoo_version",
        "database",
        "capabilities",
        "odoo_stage",
    ),
    Registration: ("server_id",),
    Heartbeat: ("server_id",),
    ServerRecord: ("server_id", "first_seen", "last_seen", "state_since"),
    Event: ("kind", "at", "server_id"),
    Tool: ("name",),
}


# Values of fields


@built_once
def server_ids() -> st.SearchStrategy[str]:
    """Valid server ids: 1 to 255 characters without control characters."""
    characters = st.characters(exclude_categories=["Cc", "Cs"])
    return st.just(_FIRST_SERVER) | st.text(characters, min_size=1, max_size=255)


@built_once
def this_server() -> st.SearchStrategy[str]:
    """One `server_id` that all objects of a test share."""
    return st.shared(server_ids(), key="this server")


@built_once
def texts() -> st.SearchStrategy[str]:
    """Texts that UTF-8 and PostgreSQL can hold, often empty."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.just("") | st.text(characters, max_size=8)


@built_once
def tool_names() -> st.SearchStrategy[str]:
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.sampled_from(["search", "t" * 200]) | st.text(characters, min_size=1, max_size=8)


@built_once
def digests() -> st.SearchStrategy[str]:
    """Digests that a sender may have computed in any way."""
    return st.sampled_from(["sha256:0a/+=", "d" * 100]) | st.from_regex(
        r"[0-9a-f]{1,64}", fullmatch=True
    )


@built_once
def tools() -> st.SearchStrategy[Tool]:
    """Descriptions of tools; any field but the name may be absent."""
    return _wire_tools().map(
        lambda wire: Tool(
            **{**wire, "annotations": ToolAnnotations(**hints)}
            if (hints := wire.get("annotations")) is not None
            else wire
        )
    )


@built_once
def _wire_tools() -> st.SearchStrategy[Wire]:
    fields = _described()
    return st.fixed_dictionaries({"name": fields.pop("name")}, optional=fields)


def _described() -> Fields:
    hints = dict.fromkeys(
        ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"), st.booleans()
    )
    return {
        "name": tool_names(),
        "title": texts(),
        "description": texts() | st.just("d" * 4000),
        "annotations": st.fixed_dictionaries({}, optional=hints),
        "input_schema_digest": digests(),
        "provider": texts(),
        "endpoint_path": st.sampled_from(["/", "/other/mcp", "/a//b?db=c%20d"]),
    }


@built_once
def addresses() -> st.SearchStrategy[str]:
    return st.just("127.0.0.1") | st.ip_addresses().map(str)


@built_once
def ip_addresses() -> st.SearchStrategy[IpAddresses]:
    """IPv4 and IPv6 addresses; `all` may be empty."""
    return st.builds(IpAddresses, primary=addresses(), all=_tuples_of(addresses()))


@built_once
def ports() -> st.SearchStrategy[int]:
    return st.integers(1, 65535)


@built_once
def ordinals() -> st.SearchStrategy[int]:
    """Numbers in a sequence, from 0 to the largest that a database keeps."""
    return st.integers(0, 9) | st.integers(0, 2**63 - 1)


@built_once
def urls() -> st.SearchStrategy[str]:
    schemes = st.sampled_from(["http", "https", "HTTPS"])
    hosts = st.sampled_from(["odoo", "db-1.example.com", "10.0.0.5", "[::1]", "[2001:db8::a:5]"])
    ends = st.just("") | ports().map(":{}".format)
    paths = st.sampled_from(["", "/", "/mcp/sse", "/mcp?db=prod", "/%7Emcp/#tools"])
    return st.builds("{}://{}{}{}".format, schemes, hosts, ends, paths)


@built_once
def seconds() -> st.SearchStrategy[float]:
    """Valid seconds: ints and floats, 0 or more, often 0."""
    return st.sampled_from([0, 0.0, 300.0]) | _numbers(min_value=0)


@built_once
def intervals() -> st.SearchStrategy[float]:
    """Valid intervals in seconds: above 0, from below a microsecond to beyond a century."""
    return st.sampled_from([60, 300.0]) | _numbers(min_value=0).filter(bool)


@built_once
def moments() -> st.SearchStrategy[datetime]:
    """
    Aware datetimes in UTC, with fixed offsets and in zones whose offset has changed.

    They include ambiguous and skipped local times at changes of the offset, and times near both
    ends of the range of `datetime`.
    """
    offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
    zones = st.just(_UTC) | offsets.map(timezone) | st.sampled_from([*map(ZoneInfo, _ZONES)])
    return st.datetimes(_FIRST, _LAST, timezones=zones)


# Objects


@built_once
def payloads(
    server_id: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[ServerPayload]:
    """Valid payloads, with and without the optional fields."""
    fields = _view(server_id) | {"tools": _distinct(tools())}
    fields.pop("tools_digest")
    return _objects(ServerPayload, fields)


@built_once
def registrations(
    server_id: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[Registration]:
    """Valid registrations; any optional field may be absent or empty."""
    more = {"started_at": moments(), "tools": _distinct(tools())}
    return _objects(Registration, _view(server_id) | more)


@built_once
def heartbeats(
    server_id: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[Heartbeat]:
    """Valid heartbeats; any optional field may be absent, empty or 0. Some are farewells."""
    return _objects(Heartbeat, _view(server_id) | _health(moments()) | {"started_at": moments()})


@built_once
def records(
    server_id: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[ServerRecord]:
    """Valid records, also such that no sequence of messages would produce."""
    return _objects(ServerRecord, _view(server_id) | _kept())


@built_once
@st.composite
def changed_records(draw: st.DrawFn) -> tuple[ServerRecord, ServerRecord]:
    """
    Pairs of a record before and after a change of no, one, a few or nearly all fields.

    As with messages, a known field never becomes None, except those of `_MAY_GO`.
    """
    before = draw(records())
    fields = _changes()
    return before, evolve(before, **{name: draw(fields[name]) for name in draw(_changed_names())})


@built_once
def _changes() -> Fields:
    """What each field of a record can change to."""
    fields = {name: value for name, value in (_view(None) | _kept()).items() if name != "server_id"}
    return fields | {name: st.none() | fields[name] for name in _MAY_GO}


@built_once
def _changed_names() -> st.SearchStrategy[list[str]]:
    names = [*_changes()]
    return st.lists(st.sampled_from(names), unique=True, max_size=3) | st.just(names)


@built_once
def events() -> st.SearchStrategy[Event]:
    """Valid events of every kind, about the shared server or about the fleet."""
    utc = moments().map(lambda moment: moment.astimezone(_UTC))
    return _objects(
        Event,
        {
            "kind": st.sampled_from(_KINDS).map(EventKind),
            "at": utc,
            "server_id": st.none() | this_server(),
            "details": _details(),
        },
    )


# What stands on the wire


@built_once
def wire_values() -> st.SearchStrategy[Any]:
    """Any decoded JSON value."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]))
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=6,
    )


@built_once
def wire_moments() -> st.SearchStrategy[str]:
    """Times in the wire format of the contract, in UTC with `Z`."""
    return st.datetimes(_FIRST, _LAST).map(lambda naive: f"{naive.isoformat()}Z")


@built_once
def wire_messages(
    kind: type,
    server_id: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[Wire]:
    """
    Valid wire objects of a class, as dicts.

    Times have the contract's format. Optional fields may be null, and there may be unknown
    fields.
    """
    known = {**_wire_fields(kind, server_id)}
    required = {name: known.pop(name) for name in REQUIRED[kind]}
    optional = {n: v if n in _NEVER_NULL else st.none() | v for n, v in known.items()}
    unknown = st.dictionaries(st.text().map("x_{}".format), wire_values(), max_size=2)
    return st.builds(
        lambda fields, more: {**more, **fields},
        st.fixed_dictionaries(required, optional=optional),
        st.just({}) | unknown,
    )


@built_once
@st.composite
def almost_valid(
    draw: st.DrawFn,
    kind: type,
    server_id: st.SearchStrategy[str] | None = None,
) -> Any:
    """Wire objects of a class in which one value, at any depth, is replaced by another."""
    message = draw(wire_messages(kind, server_id))
    places = list(_places(message))
    place = places[draw(st.integers(0, len(places) - 1))]
    return _replaced(message, place, lambda value: _spoiled(draw, value))


@built_once
@st.composite
def almost_values(draw: st.DrawFn, name: str, kind: type = Heartbeat) -> Any:
    """Valid and almost valid wire values of a field, by default one of a heartbeat."""
    value = draw(_wire_fields(kind, None)[name])
    return value if draw(st.booleans()) else _spoiled(draw, value)


@built_once
@st.composite
def bodies(draw: st.DrawFn, kind: type) -> bytes:
    """
    JSON bodies for an object of a class.

    Some are valid. Most have a few odd values or duplicate fields, and some are no JSON.
    """
    message = draw(_messages(kind))
    if isinstance(message, dict):
        names = draw(_duplicate_names(kind))
        message = [*message.items(), *((name, draw(_odd_values(name))) for name in names)]
    body = _json(message, ascii_only=draw(st.booleans()))
    return draw(st.sampled_from([body] * 9 + [body[:-1], body + b",", b"[%b]" % body]))


@built_once
def _messages(kind: type) -> st.SearchStrategy[Any]:
    return wire_messages(kind) | wire_messages(kind) | almost_valid(kind)


@built_once
def _duplicate_names(kind: type) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([*_wire_fields(kind, None)]), max_size=2)


def _json(value: Any, *, ascii_only: bool) -> bytes:
    """Encode a value; a list of pairs becomes an object, which may have duplicate keys."""
    dumps = partial(json.dumps, ensure_ascii=ascii_only)
    if isinstance(value, list) and all(isinstance(each, tuple) for each in value):
        text = ", ".join(f"{dumps(name)}: {dumps(inner)}" for name, inner in value)
        return f"{{{text}}}".encode(errors="surrogatepass")
    return dumps(value).encode(errors="surrogatepass")


@built_once
def _odd_values(name: str) -> st.SearchStrategy[Any]:
    """Edge cases for a field; some of them are valid."""
    return {
        "ip_addresses": st.fixed_dictionaries(
            {},
            optional={
                "primary": _odd_addresses(),
                "all": st.lists(_odd_addresses(), max_size=12) | _odd_numbers(),
                "public": wire_values(),
            },
        ),
        "port": _odd_numbers(),
        "sequence": _odd_numbers(),
        "tools": st.lists(_odd_tools(), max_size=3) | _odd_texts(),
        "capabilities": st.lists(_odd_texts(), max_size=12) | _odd_texts(),
        "heartbeat_interval_seconds": _odd_numbers(),
        "uptime_seconds": _odd_numbers(),
        "started_at": _odd_times(),
        "timestamp": _odd_times(),
    }.get(name, _odd_texts())


@built_once
def _odd_numbers() -> st.SearchStrategy[Any]:
    edges = [0, 1, 65535, 65536, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]
    signed = [sign * edge for edge in edges for sign in (1, -1)]
    fractions = [-0.0, 0.5, 1.5, 8768.0, 65536.0, 5e-324, 1e16, 1.7976931348623157e308]
    return st.sampled_from([*signed, *fractions, True, False, None, "8768", ""])


@built_once
def _odd_texts() -> st.SearchStrategy[Any]:
    odd = st.sampled_from('\0\x01\t\n\r\x1f\x7f\x85\x9f\u2028\ud800\udfff\ufeff\U0001f40d\\"/')
    long = st.sampled_from(["a" * 200, "a" * 201, "a" * 255, "a" * 256, "é" * 255])
    return st.lists(texts() | odd | long, max_size=3).map("".join) | _odd_numbers()


@built_once
def _odd_tools() -> st.SearchStrategy[Any]:
    odd = st.fixed_dictionaries(
        {"name": _odd_texts()},
        optional={
            "description": _odd_texts(),
            "annotations": wire_values() | st.just({"readOnlyHint": 1}),
            "input_schema_digest": _odd_texts(),
            "endpoint_path": st.sampled_from(["//host/path", "/\\\\host", "mcp", "", "/é", "/mcp"]),
        },
    )
    return odd | _wire_tools() | _odd_texts()


@built_once
def _odd_addresses() -> st.SearchStrategy[Any]:
    odd = ["10.0.0", "10.0.0.05", "10.0.0.5\0", " ::1", "fe80::1%eth0", "::FFFF:10.0.0.5", "[::1]"]
    return addresses() | st.sampled_from(odd) | _odd_numbers()


@built_once
def _odd_times() -> st.SearchStrategy[Any]:
    """Times in many formats, valid and not, also at both ends of the calendar."""
    days = ["2026-01-31", "2026-02-29", "2024-02-29", "0001-01-01", "9999-12-31", "0000-01-01"]
    offsets = ["Z", "z", "+01:00", "-23:59", "+00:00", "-00:00", "+0100", "+01", "+24:00", "+12:60"]
    return (
        st.builds(
            "{}{}{}{}{}{}".format,
            st.sampled_from(days) | st.dates().map(str),
            st.sampled_from("TTTTt _"),
            st.times().map(lambda time: f"{time:%H:%M:%S}")
            | st.sampled_from(["24:00:00", "12:00"]),
            st.just("") | st.text("0123456789", max_size=12).map(".{}".format),
            st.sampled_from([*offsets, ""]),
            st.sampled_from(["", "", "", "", "\n", "\0"]),
        )
        | _odd_numbers()
    )


def _spoiled(draw: st.DrawFn, value: Any) -> Any:
    """A value that differs from the given one, mostly a similar one."""
    alike = _alike(value)
    # Drawing an index is faster than building a strategy of the similar values.
    choice = draw(st.integers(0, len(alike) + 2))
    return alike[choice] if choice < len(alike) else draw(wire_values())


def _alike(value: Any) -> list[Any]:
    alike: list[Any] = [None, str(value), [value], {"value": value}, bool(value), [], {}]
    if isinstance(value, str):
        alike += [f"{value}\n", f" {value}", f"{value}\0", value[:-1], value.upper(), [*value]]
    if isinstance(value, int | float):
        alike += [-value, float(value), value + 0.5, value + 65535]
    if isinstance(value, list):
        alike += [[*value, None], dict.fromkeys(map(str, value)), *value]
    if isinstance(value, dict):
        alike += [[*value], [*value.values()], {name: value[name] for name in [*value][1:]}]
    return alike


def _places(value: Any, place: tuple[Any, ...] = ()) -> Any:
    yield place
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _places(inner, (*place, name))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*place, index))


def _replaced(value: Any, place: tuple[Any, ...], replace: Callable[[Any], Any]) -> Any:
    if not place:
        return replace(value)
    at, *further = place
    changed = _replaced(value[at], tuple(further), replace)
    if isinstance(value, dict):
        return {**value, at: changed}
    return [*value[:at], changed, *value[at + 1 :]]


# Fields of the kinds


@built_once
def _view(server_id: st.SearchStrategy[str] | None) -> Fields:
    return {
        "server_id": this_server() if server_id is None else server_id,
        "hostname": texts(),
        "ip_addresses": ip_addresses(),
        "port": ports(),
        "transport": texts(),
        "version": texts(),
        "odoo_version": texts(),
        "database": texts(),
        "capabilities": st.just(()) | st.lists(tool_names(), max_size=2, unique=True).map(tuple),
        "odoo_stage": texts() | st.sampled_from(["dev", "staging", "production"]),
        "database_uuid": texts() | st.uuids().map(str),
        "endpoint_url": urls(),
        "heartbeat_interval_seconds": intervals(),
        "sequence": ordinals(),
        "tools_digest": digests(),
    }


def _health(times: st.SearchStrategy[Any]) -> Fields:
    return {
        "status": st.sampled_from(["healthy"] * 3 + ["uninstalled"]) | texts(),
        "timestamp": times,
        "uptime_seconds": seconds(),
    }


@built_once
def _kept() -> Fields:
    """The fields of a record beside those of a `View`."""
    utc = moments().map(lambda moment: moment.astimezone(_UTC))
    return _health(utc) | {
        "started_at": utc,
        "first_seen": utc,
        "registered_at": utc,
        "last_seen": utc,
        "heartbeat_count": st.integers(0, 2**63 - 1),
        "state": st.sampled_from(_STATES).map(State),
        "state_since": utc,
        "superseded_by": server_ids(),
        "twin_of": server_ids(),
        "node_count": st.integers(0, 50),
        "node_of": server_ids(),
        "conflict_since": utc,
        "flapping_since": utc,
        "labels": st.lists(texts(), max_size=3).map(tuple),
    }


@built_once
def _details() -> st.SearchStrategy[Wire]:
    return st.just({}) | st.dictionaries(st.text(), wire_values(), max_size=2)


@built_once
def _wire_fields(kind: type, server_id: st.SearchStrategy[str] | None) -> Fields:
    times = wire_moments()
    fields = _view(server_id) | {
        "ip_addresses": st.fixed_dictionaries(
            {"primary": addresses(), "all": st.lists(addresses(), max_size=2)}
        ),
        "capabilities": st.just([]) | st.lists(tool_names(), max_size=2, unique=True),
    }
    started = {"started_at": times}
    described = {"tools": st.lists(_wire_tools(), max_size=2)}
    payload = {name: value for name, value in fields.items() if name != "tools_digest"}
    seen = {
        "first_seen": times,
        "registered_at": times,
        "last_seen": times,
        "heartbeat_count": st.integers(0, 2**63 - 1),
        "state": st.sampled_from(_STATES),
        "state_since": times,
        "superseded_by": server_ids(),
        "twin_of": server_ids(),
        "node_count": st.integers(0, 50),
        "node_of": server_ids(),
        "conflict_since": times,
        "flapping_since": times,
        "labels": st.lists(texts(), max_size=3),
    }
    happened = {
        "kind": st.sampled_from(_KINDS),
        "at": times,
        "server_id": st.none() | fields["server_id"],
        "details": _details(),
    }
    return {
        ServerPayload: payload | described,
        Registration: fields | started | described,
        Heartbeat: fields | started | _health(times),
        ServerRecord: fields | started | _health(times) | seen,
        Event: happened,
        Tool: _described(),
    }[kind]


def _objects(kind: Callable[..., T], fields: Fields) -> st.SearchStrategy[T]:
    required = {name: fields.pop(name) for name in REQUIRED[kind]}  # type: ignore[index]
    return st.fixed_dictionaries(required, optional=fields).map(lambda known: kind(**known))


def _tuples_of(items: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.just(()) | st.lists(items, max_size=2).map(tuple)


def _distinct(items: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return _tuples_of(items).map(lambda drawn: tuple(dict.fromkeys(drawn)))


def _numbers(*, min_value: int) -> st.SearchStrategy[float]:
    whole = st.integers(min_value, 2**53)
    return whole | st.floats(min_value=min_value, allow_infinity=False)
