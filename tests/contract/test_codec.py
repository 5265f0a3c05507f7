"""The codec never coerces a value, and reports every problem."""

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from contract import (
    Event,
    EventKind,
    FleetError,
    Heartbeat,
    InvalidMessage,
    IpAddresses,
    MalformedJSON,
    Problem,
    Registration,
    ServerPayload,
    ServerRecord,
    Tool,
    ToolAnnotations,
    dumps,
    loads,
    parse,
    structure,
    unstructure,
)
from contract.codec import structure_in_detail
from contract.fields import Text
from strategies import (
    REQUIRED,
    almost_valid,
    almost_values,
    built_once,
    events,
    heartbeats,
    moments,
    payloads,
    records,
    registrations,
    wire_messages,
    wire_values,
)

KINDS = [ServerPayload, Registration, Heartbeat, ServerRecord, Event, Tool]
any_kind = pytest.mark.parametrize("kind", KINDS)
any_view = pytest.mark.parametrize("kind", KINDS[:3])
any_tools = pytest.mark.parametrize("kind", KINDS[:2])

wire_of_any_kind, almost_valid_of_any_kind = (
    st.one_of(*[st.tuples(st.just(kind), wires(kind)) for kind in KINDS])
    for wires in (wire_messages, almost_valid)
)

SERVER: dict[str, Any] = {"server_id": "prod_web-1"}
PAYLOAD: dict[str, Any] = SERVER | {
    "hostname": "web-1",
    "ip_addresses": {"primary": "10.0.0.5", "all": ["10.0.0.5", "fd00::5"]},
    "port": 8768,
    "transport": "http/sse",
    "version": "1.0.0",
    "odoo_version": "19.0",
    "database": "prod",
    "capabilities": ["create", "search"],
    "odoo_stage": "",
}
RECORD: dict[str, Any] = SERVER | {
    "first_seen": "2026-01-31T12:00:00Z",
    "last_seen": "2026-01-31T12:00:00Z",
    "state_since": "2026-01-31T12:00:00Z",
}
EVENT: dict[str, Any] = SERVER | {"kind": "late", "at": "2026-01-31T12:00:00Z"}
VALID: dict[type, dict[str, Any]] = {
    ServerPayload: PAYLOAD,
    Registration: SERVER,
    Heartbeat: SERVER,
    ServerRecord: RECORD,
    Event: EVENT,
    Tool: {"name": "search"},
    ToolAnnotations: {},
}

TOOLS: list[dict[str, Any]] = [
    {"name": "search"},
    {
        "name": "confirm_order",
        "title": "Confirm",
        "description": "Confirms an order.",
        "annotations": {"readOnlyHint": False, "destructiveHint": True},
        "input_schema_digest": "sha256:0a",
        "provider": "sale",
        "endpoint_path": "/other/mcp?db=acme",
    },
]

NO_TEXTS = [5, 0, 1.5, True, False, [], ["web-1"], {}, {"a": "b"}, "a\0b", "\0", "\ud800"]
NO_NUMBERS = ["5", "5.0", "", True, False, [], [5], {}, "NaN", float("nan"), float("inf"), 10**400]
NO_ORDINALS = [*NO_NUMBERS, "7", -1, -1.0, 1.5, 2**63, float(2**63), 2**64]
NO_LISTS = ["abc", "", 5, 0, True, False, {}, {"0": "abc"}]
NO_TIMES = [
    5,
    1769860800,
    1769860800.0,
    True,
    [],
    {},
    "",
    "now",
    "2026-01-31",
    "2026-01-31T12:00:00",
    "2026-01-31T12:00:00.5",
    "2026-01-31T12:00Z",
    "2026-01-31T12Z",
    "2026-01-31_12:00:00Z",
    "20260131T120000Z",
    "2026-W05-6T12:00:00Z",
    "2026-031T12:00:00Z",
    "2026-01-31T12:00:00+00",
    "9999-12-31T23:59:59.9999995Z",
    "2026-01-31T12:00:00+00:00:00",
    "2026-01-31T12:00:00+24:00",
    "2026-01-31T12:00:00+00:60",
    "2026-01-31T12:00:00+12:99",
    "2026-01-31T12:00:00 Z",
    "2026-01-31T12:00:00ZZ",
    "2026-01-31T12:00:00Z\n",
    " 2026-01-31T12:00:00Z",
    "2026-01-31T12:00:00.Z",
    "2026-01-31T12:00:00,5Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T12:60:00Z",
    "2026-01-31T23:59:60Z",
    "2026-02-29T12:00:00Z",
    "2026-00-31T12:00:00Z",
    "2026-13-31T12:00:00Z",
    "0000-01-31T12:00:00Z",
    "12026-01-31T12:00:00Z",
    "-2026-01-31T12:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "\uff12026-01-31T12:00:00Z",
]
NO_ADDRESSES: list[Any] = [
    5,
    3232235521,
    True,
    None,
    [],
    {},
    "",
    "10.0.0",
    "10.0.0.0/8",
    "fd00::/8",
    "10.0.0.256",
    "10.0.0.05",
    "10.0.0.5 ",
    " 10.0.0.5",
    "10.0.0.5\n",
    "10.0.0.5:8768",
    "[fd00::5]",
    "fd00:::5",
    "fe80::5%eth0",
    "fe80::5%e\nth0",
    "localhost",
    "\uff110.0.0.5",
    "10.0.0.5\0",
]
NO_URLS = [
    5,
    True,
    [],
    {},
    "",
    "odoo.example",
    "//odoo.example",
    "ftp://odoo.example",
    "javascript:alert(1)//http://",
    "http:odoo.example",
    "http://",
    "http:///mcp",
    "http://?mcp",
    "http://:8768",
    "http://odoo.example:0",
    "http://odoo.example:65536",
    "http://odoo.example:-1",
    "http://odoo.example:\uff18768",
    "http://odoo.example:80:80",
    "http://[fd00::5",
    "http://[odoo]",
    "http://odoo example",
    "http://odoo.example/a b",
    "http://odoo.example\n",
    " http://odoo.example",
    "http://odoo.example\\mcp",
    'http://odoo.example/"onclick="alert(1)',
    "http://odoo.example/<script>",
    "http://odøø.example",
    "http://odoo.example/\u2028",
    "http://odoo.example/\0",
]

NO_DIGESTS = [*NO_TEXTS, "", "d" * 101, "a b", "a,b", "sha256:\n", "0a\n", "é", "\uff10"]
NO_FLAGS = ["true", "", 5, 0, 1, 0.0, 1.0, [], {}]
NO_PATHS = [
    *NO_TEXTS,
    "",
    "mcp",
    "//host",
    "//host/mcp",
    "/\\host",
    "\\/host",
    " /mcp",
    "/m cp",
    "/mcp\n",
    "/m\tcp",
    "/mcp\x7f",
    "/m%7",
    "/é",
    "/mcp#tools",
    "?db=acme",
    "http://host/mcp",
]

TEXT = "text"
TOOL = "text of 1 to 200 characters"
PORT = "a port from 1 to 65535"
TIME = "an ISO 8601 time with an offset"
SERVER_ID = "1 to 255 characters, none of them a control character"
STATE = "one of new, up, late, down, left"
ORDINAL = "a whole number from 0 to 9223372036854775807"
KIND = (
    "one of registered, moved, restarted, upgraded, capabilities_changed, tools_changed, "
    "stage_changed, updated, late, down, recovered, rebuilt, twin, node, node_left, copies, "
    "conflict, flapping, calm, left, deleted, refused_write, fleet_silent, silenced, acknowledged, "
    "undelivered, labelled"
)
DIGEST = "a digest: 1 to 100 letters, digits and characters of -_:.+/="
SHORT_TEXT = "text of at most 200 characters"
PATH = "the path of a URL, beginning with a single slash"
NO_IDS = [*NO_TEXTS, "", "a" * 256, "a\nb", "a\n", "\t", "a\x7f", "a\x9fb", None]

# For each field: its class, its name, its rule in words, and values that break the rule.
WRONG: list[tuple[type, str, str, list[Any]]] = [
    (Heartbeat, "server_id", SERVER_ID, NO_IDS),
    (Registration, "server_id", SERVER_ID, NO_IDS),
    (Heartbeat, "hostname", TEXT, NO_TEXTS),
    (Heartbeat, "ip_addresses", "an object", [*NO_LISTS[:-2], [], ["10.0.0.5"]]),
    (Heartbeat, "port", PORT, [*NO_NUMBERS, "8768", 0, -1, 65536, 65536.0, 8768.5, 2**64]),
    (Heartbeat, "transport", TEXT, NO_TEXTS),
    (Heartbeat, "version", TEXT, [*NO_TEXTS, 1.0]),
    (Heartbeat, "odoo_version", TEXT, [*NO_TEXTS, 19.0]),
    (Heartbeat, "database", TEXT, NO_TEXTS),
    (Heartbeat, "capabilities", "a list", NO_LISTS),
    (Heartbeat, "odoo_stage", TEXT, NO_TEXTS),
    (Heartbeat, "database_uuid", TEXT, NO_TEXTS),
    (Heartbeat, "endpoint_url", "an http or https URL", NO_URLS),
    (
        Heartbeat,
        "heartbeat_interval_seconds",
        "a number of seconds above 0",
        [*NO_NUMBERS, 0, 0.0, -0.0, -1],
    ),
    (Heartbeat, "status", TEXT, NO_TEXTS),
    (Heartbeat, "timestamp", TIME, NO_TIMES),
    (
        Heartbeat,
        "uptime_seconds",
        "a number of seconds, 0 or more",
        [*NO_NUMBERS, -1, -0.1, "300"],
    ),
    (Heartbeat, "sequence", ORDINAL, NO_ORDINALS),
    (Registration, "sequence", ORDINAL, NO_ORDINALS),
    (ServerPayload, "sequence", ORDINAL, NO_ORDINALS),
    (Heartbeat, "tools_digest", DIGEST, NO_DIGESTS),
    (Registration, "tools_digest", DIGEST, NO_DIGESTS),
    (Registration, "tools", "a list", NO_LISTS),
    (ServerPayload, "tools", "a list", NO_LISTS),
    (Heartbeat, "started_at", TIME, NO_TIMES),
    (Registration, "started_at", TIME, NO_TIMES),
    (ServerPayload, "hostname", TEXT, [*NO_TEXTS, None]),
    (ServerPayload, "port", PORT, [None, "8768"]),
    (ServerPayload, "capabilities", "a list", [*NO_LISTS, None]),
    (ServerRecord, "first_seen", TIME, [*NO_TIMES, None]),
    (ServerRecord, "registered_at", TIME, NO_TIMES),
    (ServerRecord, "last_seen", TIME, [*NO_TIMES, None]),
    (
        ServerRecord,
        "heartbeat_count",
        "a whole number, 0 or more",
        [*NO_NUMBERS[:-1], None, -1, -1.0, 1.5],
    ),
    (ServerRecord, "state", STATE, [*NO_TEXTS, None, "", "UP", "up ", "State.UP", "superseded"]),
    (ServerRecord, "state_since", TIME, [*NO_TIMES, None]),
    (ServerRecord, "superseded_by", SERVER_ID, NO_IDS[:-1]),
    (ServerRecord, "twin_of", SERVER_ID, NO_IDS[:-1]),
    (ServerRecord, "node_count", "a whole number, 0 or more", [*NO_NUMBERS[:-1], None, -1, 1.5]),
    (ServerRecord, "node_of", SERVER_ID, NO_IDS[:-1]),
    (ServerRecord, "conflict_since", TIME, NO_TIMES),
    (ServerRecord, "flapping_since", TIME, NO_TIMES),
    (ServerRecord, "labels", "a list", NO_LISTS),
    (Event, "kind", KIND, [*NO_TEXTS, None, "", "LATE", "EventKind.LATE", "new"]),
    (Event, "at", TIME, [*NO_TIMES, None]),
    (Event, "server_id", SERVER_ID, NO_IDS[:-1]),
    (Event, "details", "an object", [*NO_LISTS[:-2], None, [], [["silent", 40]]]),
    (Tool, "name", TOOL, [*NO_TEXTS, None, "", "t" * 201]),
    (Tool, "title", SHORT_TEXT, [*NO_TEXTS, "t" * 201]),
    (Tool, "description", "text of at most 4000 characters", [*NO_TEXTS, "d" * 4001]),
    (Tool, "annotations", "an object", [*NO_LISTS[:-2], [], [["readOnlyHint", True]]]),
    (Tool, "input_schema_digest", DIGEST, NO_DIGESTS),
    (Tool, "provider", SHORT_TEXT, [*NO_TEXTS, "t" * 201]),
    (Tool, "endpoint_path", PATH, NO_PATHS),
    (ToolAnnotations, "readOnlyHint", "true or false", NO_FLAGS),
    (ToolAnnotations, "destructiveHint", "true or false", NO_FLAGS),
    (ToolAnnotations, "idempotentHint", "true or false", NO_FLAGS),
    (ToolAnnotations, "openWorldHint", "true or false", NO_FLAGS),
]
# For each place in a list or object: a heartbeat's field with a value there, the path of the place,
# its rule in words, and values that break the rule.
WRONG_ITEMS: list[tuple[Callable[[Any], dict[str, Any]], str, str, list[Any]]] = [
    (
        lambda value: {"capabilities": ["create", value, "search"]},
        "capabilities[1]",
        TOOL,
        [*NO_TEXTS, None, "", "t" * 201],
    ),
    (
        lambda value: {"ip_addresses": {"primary": "10.0.0.5", "all": ["10.0.0.5", value]}},
        "ip_addresses.all[1]",
        "an IP address",
        NO_ADDRESSES,
    ),
    (
        lambda value: {"ip_addresses": {"primary": value, "all": []}},
        "ip_addresses.primary",
        "an IP address",
        NO_ADDRESSES,
    ),
]


def problems(value: object, kind: type) -> list[str]:
    """The problems of a wire value that the codec refuses, as text."""
    with pytest.raises(InvalidMessage) as raised:
        structure(value, kind)
    return [str(problem) for problem in raised.value.problems]


def is_one_problem(value: object, kind: type, expected: str) -> bool:
    """Whether the codec refuses a wire value for one reason, which begins with these words."""
    try:
        structure(value, kind)
    except InvalidMessage as error:
        first, *others = map(str, error.problems)
        return first.startswith(f"{expected}, got ") and not others
    return False


def shown(value: object) -> str:
    return "a list" if isinstance(value, list) else json.dumps(value)


# No coercion


@pytest.mark.parametrize(
    ("kind", "name", "expected", "wrong"),
    WRONG,
    ids=[f"{kind.__name__}-{name}" for kind, name, _, _ in WRONG],
)
def test_an_invalid_value_of_a_field_is_refused(
    kind: type, name: str, expected: str, wrong: list[Any]
) -> None:
    def is_refused(value: Any) -> bool:
        return is_one_problem(VALID[kind] | {name: value}, kind, f"{name}: expected {expected}")

    assert [] == [value for value in wrong if not is_refused(value)]


@pytest.mark.parametrize(("wire", "path", "expected", "wrong"), WRONG_ITEMS)
def test_an_invalid_item_of_a_list_is_refused(
    wire: Callable[[Any], dict[str, Any]], path: str, expected: str, wrong: list[Any]
) -> None:
    def is_refused(value: Any) -> bool:
        return is_one_problem(SERVER | wire(value), Heartbeat, f"{path}: expected {expected}")

    assert [] == [value for value in wrong if not is_refused(value)]


def test_every_field_has_invalid_values_in_the_table() -> None:
    told = {name for _, name, _, _ in WRONG}

    assert {field.name for kind in VALID for field in fields(kind)} == told


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        ({"port": 1}, 1),
        ({"port": 65535}, 65535),
        ({"sequence": 0}, 0),
        ({"sequence": 2**63 - 1}, 2**63 - 1),
        ({"uptime_seconds": 0}, 0.0),
        ({"uptime_seconds": 300}, 300.0),
        ({"heartbeat_interval_seconds": 5e-324}, 5e-324),
        ({"server_id": "a"}, "a"),
        ({"server_id": "é" * 255}, "é" * 255),
        ({"server_id": "db host/ü?#%"}, "db host/ü?#%"),
        ({"hostname": "\n\t\x7f\U0001f40d"}, "\n\t\x7f\U0001f40d"),
        ({"capabilities": []}, ()),
        ({"capabilities": ["search", "create", "search"]}, ("search", "create")),
        ({"timestamp": "2026-01-31T12:00:00Z"}, datetime(2026, 1, 31, 12, tzinfo=timezone.utc)),
        ({"endpoint_url": "https://[fd00::5]:8768/mcp"}, "https://[fd00::5]:8768/mcp"),
        ({"ip_addresses": {"primary": "::1", "all": []}}, IpAddresses(primary="::1", all=())),
    ],
)
def test_a_valid_value_is_kept(wire: dict[str, Any], kept: object) -> None:
    (name,) = wire

    assert kept == getattr(structure(SERVER | wire, Heartbeat), name)


@pytest.mark.parametrize("kind", [Heartbeat, Registration])
def test_null_in_a_message_is_read_as_absent(kind: type) -> None:
    nothing: dict[str, Any] = {field.name: None for field in fields(kind)}

    assert kind(**SERVER) == structure(nothing | SERVER, kind)


@pytest.mark.parametrize("field", [f for f in fields(ServerRecord) if f.default is None])
def test_null_in_a_record_is_read_as_none(field: Any) -> None:
    assert getattr(structure(RECORD | {field.name: None}, ServerRecord), field.name) is None


def test_null_server_of_an_event_is_none() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

    assert Event(kind=EventKind.LATE, at=noon, server_id=None) == structure(
        EVENT | {"server_id": None}, Event
    )


def test_details_of_an_event_may_be_any_json() -> None:
    details = {"silent": 40, "of": {"all": [1.5, None, "text"]}}

    assert details == structure(EVENT | {"details": details}, Event).details


@any_kind
@pytest.mark.parametrize("value", [None, True, 5, 1.5, "text", [], [SERVER]])
def test_other_json_than_an_object_is_refused(kind: type, value: object) -> None:
    assert [f"expected an object, got {shown(value)}"] == problems(value, kind)


# The constructor and the codec agree


@pytest.mark.parametrize(
    "name",
    [
        f.name
        for f in fields(Heartbeat)
        if f.name not in {"ip_addresses", "timestamp", "started_at"}
    ],
)
@given(data=st.data())
def test_the_constructor_and_the_codec_agree(name: str, data: st.DataObject) -> None:
    value = data.draw(almost_values(name))
    message = SERVER | {name: value}

    assert same(
        outcome(lambda: Heartbeat(**message)), outcome(lambda: structure(message, Heartbeat))
    )


@pytest.mark.parametrize("name", [f.name for f in fields(Tool) if f.name != "annotations"])
@given(data=st.data())
def test_the_constructor_and_the_codec_agree_on_tools(name: str, data: st.DataObject) -> None:
    tool = {"name": "search", name: data.draw(almost_values(name, Tool))}

    assert same(outcome(lambda: Tool(**tool)), outcome(lambda: structure(tool, Tool)))


@pytest.mark.parametrize("hint", [True, False, None, 0, 1, 1.0, "true", [], {}])
@pytest.mark.parametrize("name", [f.name for f in fields(ToolAnnotations)])
def test_the_constructor_and_the_codec_agree_on_hints(name: str, hint: Any) -> None:
    hints = {name: hint}

    assert same(
        outcome(lambda: ToolAnnotations(**hints)),
        outcome(lambda: structure(hints, ToolAnnotations)),
    )


@given(almost_values("ip_addresses"))
def test_the_constructor_and_the_codec_agree_on_addresses(value: Any) -> None:
    told = dict.fromkeys(["primary", "all"]) | (value if isinstance(value, dict) else {})
    primary: Any = told["primary"]
    all_: Any = told["all"]

    assert same(
        outcome(lambda: IpAddresses(primary=primary, all=all_)),
        outcome(lambda: structure(told, IpAddresses)),
    )


@given(moments())
def test_the_constructor_and_the_codec_agree_on_moments(moment: datetime) -> None:
    wire = moment.astimezone(timezone.utc).isoformat()

    assert Heartbeat(**SERVER, timestamp=moment) == structure(
        SERVER | {"timestamp": wire}, Heartbeat
    )


def outcome(make: Callable[[], object]) -> object:
    """The result of `make`, or the InvalidMessage that it raises."""
    try:
        return make()
    except InvalidMessage as error:
        return error


def same(one: object, other: object) -> bool:
    """Whether two outcomes are equal objects, or errors that begin with the same problem."""
    if isinstance(one, InvalidMessage) and isinstance(other, InvalidMessage):
        return one.problems[0] == other.problems[0]
    return one == other


# The problems of an error


def test_an_error_quotes_the_invalid_value() -> None:
    wire = SERVER | {"ip_addresses": {"primary": "10.0.0", "all": []}}

    assert ['ip_addresses.primary: expected an IP address, got "10.0.0"'] == problems(
        wire, Heartbeat
    )


def test_an_error_lists_every_problem() -> None:
    wire = {
        "server_id": "",
        "hostname": 5,
        "ip_addresses": {"all": ["10.0.0.5", "10.0.0", None]},
        "port": "8768",
        "capabilities": ["search", None, "unlink", 5],
        "endpoint_url": "odoo.example",
        "heartbeat_interval_seconds": 0,
        "status": True,
        "timestamp": "2026-01-31T12:00:00",
        "uptime_seconds": -0.5,
    }

    assert [
        'server_id: expected 1 to 255 characters, none of them a control character, got ""',
        "hostname: expected text, got 5",
        "ip_addresses.primary: is required",
        'ip_addresses.all[1]: expected an IP address, got "10.0.0"',
        "ip_addresses.all[2]: expected an IP address, got null",
        'port: expected a port from 1 to 65535, got "8768"',
        f"capabilities[1]: expected {TOOL}, got null",
        f"capabilities[3]: expected {TOOL}, got 5",
        'endpoint_url: expected an http or https URL, got "odoo.example"',
        "heartbeat_interval_seconds: expected a number of seconds above 0, got 0",
        "status: expected text, got true",
        'timestamp: expected an ISO 8601 time with an offset, got "2026-01-31T12:00:00"',
        "uptime_seconds: expected a number of seconds, 0 or more, got -0.5",
    ] == problems(wire, Heartbeat)


def test_a_problem_is_a_path_and_a_message() -> None:
    with pytest.raises(InvalidMessage) as raised:
        structure(SERVER | {"port": True}, Heartbeat)

    assert (Problem("port", "expected a port from 1 to 65535, got true"),) == raised.value.problems


@pytest.mark.parametrize("kind", KINDS)
def test_every_missing_field_is_reported(kind: type) -> None:
    assert [f"{name}: is required" for name in REQUIRED[kind]] == problems({}, kind)


@given(st.dictionaries(st.sampled_from([*PAYLOAD]), st.just({"no": "value"})))
def test_every_invalid_field_is_reported(wrong: dict[str, Any]) -> None:
    paths = [path for path in PAYLOAD if path in wrong]
    wire = PAYLOAD | wrong

    try:
        structure(wire, ServerPayload)
    except InvalidMessage as error:
        told = dict.fromkeys(problem.path.split(".")[0] for problem in error.problems)
    else:
        told = {}

    assert paths == [*told]


@given(almost_valid_of_any_kind)
def test_every_problem_has_path_and_message(told: tuple[type, Any]) -> None:
    kind, wire = told

    refusal = outcome(lambda: structure(wire, kind))

    if isinstance(refusal, InvalidMessage):
        assert all(problem.message for problem in refusal.problems)
        assert str(refusal).isprintable()
        assert refusal.problems


# Unknown fields, which another version may have added


def test_unknown_fields_are_ignored() -> None:
    assert Heartbeat(**SERVER) == structure(SERVER | {"load": {"1m": 0.5}}, Heartbeat)


def test_unknown_fields_are_ignored_at_depth() -> None:
    addresses = {"primary": "::1", "all": [], "public": "203.0.113.5"}

    assert IpAddresses(primary="::1", all=()) == (
        structure(SERVER | {"ip_addresses": addresses}, Heartbeat).ip_addresses
    )


# Bytes


NOT_JSON = [
    b"",
    b" ",
    b"\0",
    b"{",
    b"{}",
    b"[]",
    b"null",
    b'{"server_id": "a"',
    b'{"server_id": "a",}',
    b"{'server_id': 'a'}",
    b'{"server_id": "a"} {"server_id": "b"}',
    b'{"server_id": "a"}\0',
    b'\xef\xbb\xbf{"server_id": "a"}',
    '{"server_id": "a"}'.encode("utf-16"),
    b'{"server_id": "\xff"}',
    b'{"server_id": "\xed\xa0\x80"}',
    b'{"server_id": "\\ud800"}',
    b'{"server_id": "\\udc00\\ud800"}',
    b'{"server_id": "\\u0000"}',
    b'{"server_id": "a", "uptime_seconds": NaN}',
    b'{"server_id": "a", "uptime_seconds": Infinity}',
    b'{"server_id": "a", "uptime_seconds": -Infinity}',
    b'{"server_id": "a", "uptime_seconds": 1e400}',
    b'{"server_id": "a", "uptime_seconds": ' + b"9" * 5000 + b"}",
    b'{"server_id": "a", "port": ' + b"9" * 300 + b"}",
    b'{"server_id": "a", "port": -' + b"9" * 30 + b"}",
    b'{"server_id": "a", "port": 08768}',
    b'{"server_id": "a", "hostname": ' + b"[" * 900 + b"]" * 900 + b"}",
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"server_id": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'"' + b"a" * 1_000_000 + b'"',
]


@pytest.mark.parametrize("data", NOT_JSON, ids=range(len(NOT_JSON)))
def test_bytes_that_are_no_json_are_refused(data: bytes) -> None:
    with pytest.raises((MalformedJSON, InvalidMessage)):
        loads(data, Heartbeat)


@any_kind
@given(data=st.binary() | st.text().map(json.dumps) | st.text())
def test_any_bytes_give_an_object_or_a_fleet_error(kind: type, data: bytes | str) -> None:
    assert isinstance(read(data, kind), kind | FleetError)


@given(wire_of_any_kind, st.integers(0, 1000), st.integers(0, 3), st.binary(max_size=3))
def test_corrupted_json_gives_an_object_or_a_fleet_error(
    told: tuple[type, Any], start: int, length: int, other: bytes
) -> None:
    kind, wire = told
    text = json.dumps(wire, ensure_ascii=False).encode()
    broken = text[:start] + other + text[start + length :]

    assert isinstance(read(broken, kind), kind | FleetError)


@any_kind
@given(value=wire_values())
def test_any_json_gives_an_object_or_a_fleet_error(kind: type, value: object) -> None:
    assert isinstance(read(json.dumps(value), kind), kind | FleetError)


def read(data: bytes | str, kind: type) -> object:
    try:
        return loads(data, kind)
    except FleetError as error:
        return error


@pytest.mark.parametrize("data", [b"{", "{", b"\xff", b"NaN"])
def test_other_text_than_json_raises_malformed_json(data: bytes | str) -> None:
    with pytest.raises(MalformedJSON, match="not valid JSON: "):
        parse(data)


def test_the_last_of_two_equal_keys_is_read() -> None:
    twice = b'{"server_id": "a", "port": "8768", "server_id": "b", "port": 8768}'

    assert Heartbeat(server_id="b", port=8768) == loads(twice, Heartbeat)


def test_json_text_is_read_like_json_bytes() -> None:
    assert loads(b'{"server_id": "\xc3\xbc"}', Heartbeat) == loads('{"server_id": "ü"}', Heartbeat)


# Encoding


@given(payloads() | registrations() | heartbeats() | records() | events())
def test_encoded_objects_decode_to_equal_ones(thing: object) -> None:
    assert thing == loads(dumps(thing), type(thing))


@given(heartbeats() | records() | events())
def test_encoded_objects_are_read_by_other_json_libraries(thing: object) -> None:
    assert unstructure(thing) == json.loads(dumps(thing))


def test_an_encoded_message_omits_absent_fields() -> None:
    assert b'{"server_id":"prod_web-1","port":8768,"capabilities":[]}' == dumps(
        Heartbeat(**SERVER, port=8768, capabilities=())
    )


def test_an_encoded_record_has_null_for_unknown_fields() -> None:
    never = [field.name for field in fields(ServerRecord) if field.default is None]

    counts = {"heartbeat_count": 0, "node_count": 0}

    assert dict.fromkeys(never) | RECORD | counts | {"state": "new"} == json.loads(
        dumps(structure(RECORD, ServerRecord))
    )


def test_an_encoded_payload_is_that_of_the_specification() -> None:
    assert PAYLOAD == json.loads(dumps(structure(PAYLOAD, ServerPayload)))


@pytest.mark.parametrize(
    ("wire", "written"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500000Z"),
    ],
)
def test_times_are_written_in_utc_with_z(wire: str, written: str) -> None:
    assert written == unstructure(structure(SERVER | {"timestamp": wire}, Heartbeat))["timestamp"]


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, 10**20, 10**300])
def test_numbers_beyond_64_bits_are_encoded(number: int) -> None:
    heartbeat = Heartbeat(**SERVER, uptime_seconds=number, heartbeat_interval_seconds=number)

    assert heartbeat == loads(dumps(heartbeat), Heartbeat)


def test_subclasses_of_float_are_encoded() -> None:
    class Float64(float):
        """A float64 of NumPy is a subclass of float, too."""

    heartbeat = Heartbeat(**SERVER, uptime_seconds=Float64(300.5))

    assert heartbeat == loads(dumps(heartbeat), Heartbeat)


def test_reading_stops_after_ten_invalid_items() -> None:
    wire = {"server_id": "prod_web-1", "capabilities": [1] * 30_000}

    with pytest.raises(InvalidMessage) as caught:
        structure(wire, Heartbeat)

    problems = caught.value.problems
    assert 11 == len(problems)
    assert "capabilities[9]" == problems[9].path
    assert "and perhaps more: the rest of the list was not looked at" == problems[10].message


@pytest.mark.parametrize(
    "url",
    [
        "http://user:password@odoo.example/",
        "http://[fd00::5]x",
        "http://a[::1]",
        "http://a/b#c#d",
        "http://a/%zz",
    ],
)
def test_an_invalid_url_or_one_with_a_password_is_refused_as_endpoint(url: str) -> None:
    with pytest.raises(InvalidMessage, match="expected an http or https URL"):
        structure({"server_id": "prod_web-1", "endpoint_url": url}, Heartbeat)


@pytest.mark.parametrize(
    "url",
    [
        "https://odoo.example",
        "HTTP://odoo.example:8069/mcp/v1?db=acme#tools",
        "http://[fd00::5]:8768/sse",
        "http://10.0.0.5?x=1",
    ],
)
def test_ordinary_urls_are_accepted_as_endpoint(url: str) -> None:
    assert url == structure({"server_id": "a", "endpoint_url": url}, Heartbeat).endpoint_url


def test_problems_of_a_bare_list_have_its_indexes() -> None:
    with pytest.raises(InvalidMessage, match=r"\[1\]: expected text, got 5"):
        structure(["a", 5], tuple[Text, ...])


@built_once
def any_wire(kind: type) -> st.SearchStrategy[Any]:
    return wire_messages(kind) | almost_valid(kind) | wire_values()


@pytest.mark.parametrize("kind", [Heartbeat, Registration, ServerPayload, Tool])
@given(data=st.data())
def test_the_fast_and_the_slow_converter_agree(kind: type, data: st.DataObject) -> None:
    wire = data.draw(any_wire(kind))

    quick = outcome(lambda: structure(wire, kind))
    assert same(quick, outcome(lambda: structure_in_detail(wire, kind)))


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        (ServerPayload, PAYLOAD),
        (Registration, PAYLOAD | {"started_at": "2026-01-31T12:00:00Z"}),
        (Heartbeat, PAYLOAD | {"timestamp": "2026-01-31T12:00:00Z", "uptime_seconds": 300}),
        (Heartbeat, SERVER | {"port": None, "timestamp": None, "ip_addresses": None}),
        (IpAddresses, PAYLOAD["ip_addresses"]),
        (Tool, TOOLS[1]),
        (ToolAnnotations, {"readOnlyHint": False, "of_another_version": 5}),
        (Registration, SERVER | {"tools": TOOLS, "tools_digest": "0a"}),
        (Registration, SERVER | {"tools": [], "started_at": None}),
        (ServerPayload, PAYLOAD | {"tools": TOOLS}),
    ],
)
def test_a_valid_message_is_read_without_the_slow_converter(
    kind: type, wire: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: object = structure_in_detail(wire, kind)

    monkeypatch.delattr("contract.codec.structure_in_detail")

    assert expected == structure(wire, kind)


@pytest.mark.parametrize(("count", "told"), [(9, 9), (10, 11), (11, 11)])
def test_up_to_ten_invalid_items_of_a_list_are_reported(count: int, told: int) -> None:
    wire = SERVER | {"capabilities": [*[5] * count, "search"]}

    assert told == len(problems(wire, Heartbeat))


def test_an_invalid_item_does_not_hide_later_invalid_items() -> None:
    assert [
        f"capabilities[0]: expected {TOOL}, got 5",
        f"capabilities[2]: expected {TOOL}, got 7",
    ] == problems(SERVER | {"capabilities": [5, "search", 7]}, Heartbeat)


@any_view
def test_a_thousand_different_tools_are_kept_and_no_more(kind: type) -> None:
    names = [f"tool_{n}" for n in range(1000)]
    kept: Any = structure(VALID[kind] | {"capabilities": [*names, *names]}, kind)

    assert tuple(names) == kept.capabilities
    assert ["capabilities: expected at most 1000 different items, got 1001"] == problems(
        VALID[kind] | {"capabilities": [*names, "one_more"]}, kind
    )


def test_a_stored_record_keeps_any_names_and_number_of_tools() -> None:
    names = [*(f"tool_{n}" for n in range(1001)), "", "t" * 201]

    assert tuple(names) == structure(RECORD | {"capabilities": names}, ServerRecord).capabilities


# Tools, which are objects in a list


def test_tools_are_read_in_their_order_and_each_once() -> None:
    confirm = Tool(
        name="confirm_order",
        title="Confirm",
        description="Confirms an order.",
        annotations=ToolAnnotations(readOnlyHint=False, destructiveHint=True),
        input_schema_digest="sha256:0a",
        provider="sale",
        endpoint_path="/other/mcp?db=acme",
    )

    read = structure(SERVER | {"tools": [*TOOLS, *TOOLS]}, Registration)

    assert (Tool(name="search"), confirm) == read.tools


def test_tools_are_written_without_what_is_not_known() -> None:
    wire = SERVER | {"tools": TOOLS}

    assert json.dumps(wire, separators=(",", ":")).encode() == dumps(structure(wire, Registration))


def test_an_empty_list_of_tools_differs_from_unknown_tools() -> None:
    none: dict[str, Any] = {"tools": []}
    unknown = {"tools": None}

    assert () == structure(SERVER | none, Registration).tools
    assert structure(SERVER | unknown, Registration).tools is None


@pytest.mark.parametrize("name", [f.name for f in fields(Tool) if f.name != "name"])
def test_null_in_a_tool_is_read_as_absent(name: str) -> None:
    assert Tool(name="search") == structure({"name": "search", name: None}, Tool)


def test_null_in_the_annotations_of_a_tool_is_read_as_absent() -> None:
    hints = dict.fromkeys(field.name for field in fields(ToolAnnotations))

    assert ToolAnnotations() == structure(hints, ToolAnnotations)


def test_unknown_members_of_a_tool_and_of_its_annotations_are_ignored() -> None:
    tool = {"name": "search", "icons": [{}], "annotations": {"readOnlyHint": True, "cost": 5}}

    assert (Tool(name="search", annotations=ToolAnnotations(readOnlyHint=True)),) == (
        structure(SERVER | {"tools": [tool]}, Registration).tools
    )


@any_tools
def test_every_problem_of_every_tool_is_told_with_its_path(kind: type) -> None:
    tools = [
        {"name": "search", "title": 5},
        5,
        TOOLS[1],
        {"annotations": {"readOnlyHint": 1, "openWorldHint": "no"}, "endpoint_path": "mcp"},
        None,
        ["search"],
        {"name": "", "annotations": []},
    ]

    assert [
        f"tools[0].title: expected {SHORT_TEXT}, got 5",
        "tools[1]: expected an object, got 5",
        "tools[3].name: is required",
        "tools[3].annotations.readOnlyHint: expected true or false, got 1",
        'tools[3].annotations.openWorldHint: expected true or false, got "no"',
        f'tools[3].endpoint_path: expected {PATH}, got "mcp"',
        "tools[4]: expected an object, got null",
        "tools[5]: expected an object, got a list",
        f'tools[6].name: expected {TOOL}, got ""',
        "tools[6].annotations: expected an object, got a list",
    ] == problems(VALID[kind] | {"tools": tools}, kind)


def test_problems_of_tools_stand_among_those_of_the_other_fields() -> None:
    wire: dict[str, Any] = SERVER | {
        "port": 0,
        "tools": [{}],
        "tools_digest": "",
        "started_at": "now",
    }

    assert ["port", "tools_digest", "started_at", "tools[0].name"] == [
        problem.partition(": ")[0] for problem in problems(wire, Registration)
    ]


@pytest.mark.parametrize(("count", "told"), [(9, 18), (10, 21), (11, 21), (30_000, 21)])
def test_up_to_ten_wrong_tools_are_told_with_all_their_problems(count: int, told: int) -> None:
    wrong = {"title": 5}  # and no name

    found = problems(SERVER | {"tools": [*[wrong] * count, TOOLS[0]]}, Registration)

    assert told == len(found)
    assert f"tools[{min(count, 10) - 1}].title: expected {SHORT_TEXT}, got 5" in found
    assert (count > 9) == (
        "tools: and perhaps more: the rest of the list was not looked at" == found[-1]
    )


@any_tools
def test_a_thousand_different_descriptions_are_kept_and_no_more(kind: type) -> None:
    tools = [{"name": "search", "title": f"{n}"} for n in range(1000)]
    kept: Any = structure(VALID[kind] | {"tools": [*tools, *tools]}, kind)

    assert [f"{n}" for n in range(1000)] == [tool.title for tool in kept.tools]
    assert ["tools: expected at most 1000 different items, got 1001"] == problems(
        VALID[kind] | {"tools": [*tools, TOOLS[0]]}, kind
    )


def test_the_tools_of_a_heartbeat_are_ignored() -> None:
    assert Heartbeat(**SERVER) == structure(SERVER | {"tools": [5]}, Heartbeat)


def test_a_missing_nested_field_is_reported_with_its_path() -> None:
    assert ["ip_addresses.primary: is required", "ip_addresses.all: is required"] == problems(
        SERVER | {"ip_addresses": {}}, Heartbeat
    )


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ([], Heartbeat, "expected an object, got a list"),
        ({}, tuple[Text, ...], "expected a list, got an object"),
        (5, Text, "expected text, got 5"),
    ],
)
def test_a_problem_of_the_whole_value_has_no_path(value: object, kind: Any, told: str) -> None:
    assert [told] == problems(value, kind)


@pytest.mark.parametrize("count", [0, 1, 2**63])
def test_a_count_is_any_whole_number_from_0(count: int) -> None:
    assert count == structure(RECORD | {"heartbeat_count": count}, ServerRecord).heartbeat_count


@pytest.mark.parametrize("count", [-1, -1.0, True, 0.5, "0"])
def test_a_count_that_is_no_whole_number_from_0_is_refused(count: object) -> None:
    assert [f"heartbeat_count: expected a whole number, 0 or more, got {shown(count)}"] == problems(
        RECORD | {"heartbeat_count": count}, ServerRecord
    )


@pytest.mark.parametrize(
    ("sequence", "quoted"),
    [(-1, "-1"), (2**63, "9223372036854775808"), (True, "true"), ("7", '"7"')],
)
@pytest.mark.parametrize("kind", [Heartbeat, Registration, ServerPayload, ServerRecord])
def test_a_sequence_out_of_range_is_refused_in_words(
    kind: type, sequence: object, quoted: str
) -> None:
    assert [
        f"sequence: expected a whole number from 0 to 9223372036854775807, got {quoted}"
    ] == problems(VALID[kind] | {"sequence": sequence}, kind)


@pytest.mark.parametrize("whole", [8768, 8768.0])
def test_a_whole_number_with_a_zero_fraction_is_an_integer(whole: float) -> None:
    """As in JSON Schema, by which senders check what they send."""
    heartbeat = loads(b'{"server_id": "a", "port": %b}' % str(whole).encode(), Heartbeat)

    assert [(8768, int)] * 2 == [
        (port, type(port))
        for port in (heartbeat.port, Heartbeat(server_id="a", port=whole).port)  # type: ignore[arg-type]  # as JSON
    ]


@pytest.mark.parametrize(
    ("url", "quoted"),
    [
        ("https://user:S3cret@host:99999", "https://***@host:99999"),
        ("https://S3cret@", "https://***@"),
        ("//a:S3cret@b", "//***@b"),
        ("ftp://S3cret@h/x@y", "ftp://***@h/x@y"),
    ],
)
def test_a_problem_does_not_quote_the_password_of_a_url(url: str, quoted: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        structure({"server_id": "a", "endpoint_url": url}, Heartbeat)

    assert f"endpoint_url: expected an http or https URL, got {json.dumps(quoted)}" == str(
        refused.value
    )


def test_errors_about_malformed_json_begin_alike() -> None:
    with pytest.raises(MalformedJSON, match=r"^not valid JSON: "):
        parse(b"{")


def test_a_list_of_a_record_is_kept_as_a_tuple() -> None:
    record = structure(RECORD | {"capabilities": ["create", "search"]}, ServerRecord)

    assert ("create", "search") == record.capabilities


# What was sent before there were numbers of messages, starts in heartbeats, and descriptions of
# tools

EARLIER_HEARTBEAT = (
    b'{"server_id":"acme_web-1","hostname":"web-1",'
    b'"ip_addresses":{"primary":"10.0.0.5","all":["10.0.0.5","fd00::5"]},"port":8768,'
    b'"transport":"http/sse","version":"1.0.0","odoo_version":"19.0","database":"acme",'
    b'"capabilities":["create","search"],"odoo_stage":"production","database_uuid":"7b2f",'
    b'"endpoint_url":"https://acme.example/mcp","heartbeat_interval_seconds":300.0,'
    b'"status":"healthy","timestamp":"2026-01-31T12:00:00Z","uptime_seconds":3540.0}'
)
EARLIER_REGISTRATION = EARLIER_HEARTBEAT.partition(b',"status"')[0] + (
    b',"started_at":"2026-01-31T11:01:00Z"}'
)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Heartbeat, EARLIER_HEARTBEAT),
        (Registration, EARLIER_REGISTRATION),
        (Heartbeat, b'{"server_id":"acme_web-1","capabilities":[],"status":"uninstalled"}'),
        (Heartbeat, b'{"server_id":"acme_web-1"}'),
        (Registration, b'{"server_id":"acme_web-1"}'),
    ],
)
def test_a_message_of_an_earlier_sender_is_read_and_written_as_it_was(
    kind: type, body: bytes
) -> None:
    assert body == dumps(loads(body, kind))


def test_a_record_of_an_earlier_receiver_is_read() -> None:
    record = structure(RECORD | {"state": "down", "twin_of": "acme_web-2"}, ServerRecord)

    assert (None, None, 0, None, None, None) == (
        record.sequence,
        record.tools_digest,
        record.node_count,
        record.node_of,
        record.conflict_since,
        record.flapping_since,
    )
