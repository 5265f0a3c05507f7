"""The JSON schemas accept the same values as the codec."""

import json
from functools import cache
from typing import Any

import pytest
from attrs import fields, frozen
from hypothesis import assume, given
from jsonschema import Draft202012Validator

from contract import (
    Event,
    EventKind,
    Heartbeat,
    HeartbeatAnswer,
    InvalidMessage,
    IpAddresses,
    Registration,
    RegistrationAnswer,
    RejectedAnswer,
    ServerPayload,
    ServerRecord,
    Tool,
    ToolAnnotations,
    dumps,
    json_schema,
    structure,
)
from contract.fields import Count, Port, Text
from strategies import (
    REQUIRED,
    events,
    heartbeats,
    payloads,
    records,
    registrations,
    tools,
)
from wire import KINDS, almost_valid_of_any_kind, any_kind

INNER = [IpAddresses, ToolAnnotations]
ANSWERS = [RegistrationAnswer, HeartbeatAnswer, RejectedAnswer]

# Rules that JSON Schema cannot express in full: a URL needs a host, a time must exist in UTC.
BEYOND_A_SCHEMA = {
    "expected an http or https URL",
    "expected an ISO 8601 time with an offset",
}


@cache
def validator(kind: type) -> Draft202012Validator:
    return Draft202012Validator(
        json_schema(kind), format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def refusals(value: object, kind: type) -> set[str]:
    """The "expected ..." part of each problem that the codec reports; empty if it accepts."""
    try:
        structure(value, kind)
    except InvalidMessage as error:
        return {problem.message.partition(", got ")[0] for problem in error.problems}
    return set()


@pytest.mark.parametrize("kind", [*KINDS, *INNER, *ANSWERS])
def test_a_schema_is_of_2020_12(kind: type) -> None:
    Draft202012Validator.check_schema(json_schema(kind))


@pytest.mark.parametrize("kind", [*KINDS, *INNER, *ANSWERS])
def test_a_schema_is_json(kind: type) -> None:
    assert json_schema(kind) == json.loads(json.dumps(json_schema(kind)))


@pytest.mark.parametrize("name", ["date-time", "ipv4", "ipv6"])
def test_the_validator_checks_formats(name: str) -> None:
    assert name in Draft202012Validator.FORMAT_CHECKER.checkers


@any_kind
def test_a_schema_has_every_field_in_order(kind: Any) -> None:
    assert [field.name for field in fields(kind)] == [*json_schema(kind)["properties"]]


@any_kind
def test_a_schema_requires_what_the_codec_requires(kind: type) -> None:
    assert [*REQUIRED[kind]] == json_schema(kind)["required"]


@pytest.mark.parametrize("kind", [*KINDS, *INNER, *ANSWERS])
def test_a_schema_describes_every_field(kind: type) -> None:
    for field in json_schema(kind)["properties"].values():
        assert field["description"]


@given(payloads() | registrations() | heartbeats() | records() | events() | tools())
def test_encoded_objects_match_their_schema(thing: object) -> None:
    kind: type = type(thing)

    validator(kind).validate(json.loads(dumps(thing)))


@given(almost_valid_of_any_kind)
def test_schema_and_codec_agree(told: tuple[type, Any]) -> None:
    kind, wire = told
    # JSON Schema takes 1.0 for an integer, and the codec does not.
    assume(not isinstance(wire, dict) or not isinstance(wire.get("port"), float))
    assume(not isinstance(wire, dict) or not isinstance(wire.get("heartbeat_count"), float))

    if validator(kind).is_valid(wire):
        assert refusals(wire, kind) <= BEYOND_A_SCHEMA
    else:
        assert refusals(wire, kind)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server_id", "prod_web-1\n"),
        ("server_id", "\n"),
        ("server_id", "a\x9fb"),
        ("server_id", ""),
        ("server_id", "a" * 256),
        ("hostname", "a\0b"),
        ("hostname", "\0\n"),
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("port", "8768"),
        ("capabilities", [None]),
        ("capabilities", [""]),
        ("capabilities", ["t" * 201]),
        ("capabilities", [f"tool_{n}" for n in range(1001)]),
        ("ip_addresses", {"primary": "10.0.0", "all": []}),
        ("ip_addresses", {"primary": "fe80::5%eth0", "all": []}),
        ("ip_addresses", {"primary": "10.0.0.5"}),
        ("endpoint_url", "ftp://odoo.example"),
        ("heartbeat_interval_seconds", 0),
        ("uptime_seconds", -1),
        ("sequence", -1),
        ("sequence", 2**63),
        ("sequence", True),
        ("sequence", "7"),
        ("started_at", "2026-01-31"),
        ("timestamp", "2026-01-31"),
        ("timestamp", "2026-01-31T12:00:00"),
        ("timestamp", "2026-01-31T12:00:00+00:60"),
        ("tools_digest", ""),
        ("tools_digest", "d" * 101),
        ("tools_digest", "0a\n"),
        ("tools_digest", "0 a"),
    ],
)
def test_schema_and_codec_refuse_the_same_values(name: str, value: object) -> None:
    wire = {"server_id": "prod_web-1", name: value}

    assert not validator(Heartbeat).is_valid(wire)
    assert refusals(wire, Heartbeat)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", "t" * 201),
        ("title", "t" * 201),
        ("title", "a\0b"),
        ("description", "d" * 4001),
        ("description", 5),
        ("annotations", []),
        ("annotations", {"readOnlyHint": 1}),
        ("annotations", {"openWorldHint": "true"}),
        ("input_schema_digest", "d" * 101),
        ("provider", "t" * 201),
        ("endpoint_path", ""),
        ("endpoint_path", "mcp"),
        ("endpoint_path", "//host"),
        ("endpoint_path", "/\\host"),
        ("endpoint_path", "/mcp\n"),
        ("endpoint_path", "/m%7"),
        ("endpoint_path", "/mcp#tools"),
    ],
)
def test_schema_and_codec_refuse_the_same_values_of_a_tool(name: str, value: object) -> None:
    tool = {"name": "search", name: value}
    wire = {"server_id": "prod_web-1", "tools": [{"name": "create"}, tool]}

    assert not validator(Tool).is_valid(tool)
    assert not validator(Registration).is_valid(wire)
    assert refusals(tool, Tool) == refusals(wire, Registration) != set()


@pytest.mark.parametrize("path", ["/", "/mcp", "/a//b", "/mcp?db=acme&x=%C3%BC", "/?", "/m?a?b"])
def test_schema_and_codec_accept_the_same_paths(path: str) -> None:
    tool = {"name": "search", "endpoint_path": path}

    assert validator(Tool).is_valid(tool)
    assert path == structure(tool, Tool).endpoint_path


def test_schema_and_codec_refuse_too_many_tools() -> None:
    tools = [{"name": f"tool_{n}"} for n in range(1001)]

    for count, is_valid in [(1000, True), (1001, False)]:
        wire = {"server_id": "prod_web-1", "tools": tools[:count]}
        assert [is_valid] * 2 == [
            validator(Registration).is_valid(wire),
            not refusals(wire, Registration),
        ]


def test_a_schema_may_be_changed_by_the_caller() -> None:
    json_schema(Heartbeat)["properties"]["port"]["anyOf"].clear()

    assert json_schema(Heartbeat)["properties"]["port"]["anyOf"]


@pytest.mark.parametrize(
    ("kind", "name", "schema"),
    [
        (Heartbeat, "server_id", {"type": "string", "minLength": 1, "maxLength": 255}),
        (ServerPayload, "hostname", {"type": "string", "pattern": r"^[^\u0000]*$"}),
        (ServerPayload, "port", {"type": "integer", "minimum": 1, "maximum": 65535}),
        (ServerPayload, "capabilities", {"type": "array", "maxItems": 1000}),
        (
            IpAddresses,
            "primary",
            {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        ),
        (ServerRecord, "last_seen", {"type": "string", "format": "date-time"}),
        (ServerRecord, "heartbeat_count", {"type": "integer", "minimum": 0}),
        (ServerRecord, "node_count", {"type": "integer", "minimum": 0}),
        (ServerRecord, "state", {"type": "string", "enum": ["new", "up", "late", "down", "left"]}),
        (Event, "kind", {"type": "string", "enum": [kind.value for kind in EventKind]}),
        (Event, "details", {"type": "object"}),
        (Tool, "name", {"type": "string", "minLength": 1, "maxLength": 200}),
        (RegistrationAnswer, "status", {"const": "registered"}),
        (HeartbeatAnswer, "status", {"const": "ok"}),
        (RejectedAnswer, "status", {"const": "rejected"}),
        (HeartbeatAnswer, "heartbeat_count", {"type": "integer", "minimum": 0}),
        (RejectedAnswer, "errors", {"type": "array"}),
    ],
)
def test_a_schema_says_what_a_field_may_hold(kind: type, name: str, schema: dict[str, Any]) -> None:
    assert schema.items() <= json_schema(kind)["properties"][name].items()


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        (
            "endpoint_url",
            {"type": "string", "format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"},
        ),
        ("heartbeat_interval_seconds", {"type": "number", "exclusiveMinimum": 0}),
        ("uptime_seconds", {"type": "number", "minimum": 0}),
        ("timestamp", {"type": "string", "format": "date-time"}),
        ("started_at", {"type": "string", "format": "date-time"}),
        ("sequence", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}),
    ],
)
def test_a_field_that_may_be_absent_may_be_null(name: str, schema: dict[str, Any]) -> None:
    assert [schema, {"type": "null"}] == json_schema(Heartbeat)["properties"][name]["anyOf"]


@pytest.mark.parametrize(
    ("kind", "name", "schema"),
    [
        (Tool, "title", {"type": "string", "maxLength": 200}),
        (Tool, "description", {"type": "string", "maxLength": 4000}),
        (Tool, "provider", {"type": "string", "maxLength": 200}),
        (ToolAnnotations, "readOnlyHint", {"type": "boolean"}),
        (ToolAnnotations, "destructiveHint", {"type": "boolean"}),
        (ToolAnnotations, "idempotentHint", {"type": "boolean"}),
        (ToolAnnotations, "openWorldHint", {"type": "boolean"}),
        (Registration, "tools", {"type": "array", "maxItems": 1000}),
        (HeartbeatAnswer, "wants", {"type": "array"}),
        (HeartbeatAnswer, "next_heartbeat_seconds", {"type": "number", "exclusiveMinimum": 0}),
    ],
)
def test_a_field_of_a_tool_or_an_answer_that_may_be_absent_may_be_null(
    kind: type, name: str, schema: dict[str, Any]
) -> None:
    told, null = fields_of(kind)[name]["anyOf"]

    assert schema.items() <= told.items()
    assert {"type": "null"} == null


def test_the_schema_of_a_tool_stands_in_that_of_a_registration() -> None:
    told, _ = fields_of(Registration)["tools"]["anyOf"]

    assert json_schema(Tool) == told["items"]


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("sequence", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}),
        ("node_of", {"type": "string", "minLength": 1, "maxLength": 255}),
        ("conflict_since", {"type": "string", "format": "date-time"}),
        ("flapping_since", {"type": "string", "format": "date-time"}),
    ],
)
def test_a_field_of_a_record_that_may_be_absent_may_be_null(
    name: str, schema: dict[str, Any]
) -> None:
    told, null = fields_of(ServerRecord)[name]["anyOf"]

    assert schema.items() <= told.items()
    assert {"type": "null"} == null


@pytest.mark.parametrize(
    "kind", ["node", "node_left", "copies", "conflict", "flapping", "calm", "left"]
)
def test_a_schema_includes_the_events_of_nodes_copies_and_farewells(kind: str) -> None:
    assert kind in fields_of(Event)["kind"]["enum"]


def test_a_description_is_what_the_docstring_of_a_class_says_of_its_attributes() -> None:
    @frozen(kw_only=True)
    class Weather:
        """
        What is measured.

        before: Not an attribute.

        Attributes:
            rain: How much there was,
                in millimetres;
                snow too.
            port: Where to ask.

        after: Not one either.
        """

        rain: Count
        port: Port | None = None
        after: Text = ""

    @frozen(kw_only=True)
    class Tides(Weather):
        """
        What is measured at sea.

        Attributes:
            port: Which harbour.
        """

    described = {
        kind: {name: field.get("description") for name, field in fields_of(kind).items()}
        for kind in (Weather, Tides)
    }

    assert {
        "rain": "How much there was, in millimetres; snow too.",
        "port": "Where to ask.",
        "after": None,
    } == described[Weather]
    assert described[Weather] | {"port": "Which harbour."} == described[Tides]


def test_a_field_without_a_description_is_described_as_in_a_payload() -> None:
    @frozen(kw_only=True)
    class Door:
        port: Port

    assert fields_of(ServerPayload)["port"] == fields_of(Door)["port"]


def fields_of(kind: type) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = json_schema(kind)["properties"]
    return properties


def test_a_schema_contains_the_schemas_of_nested_objects() -> None:
    addresses = {**json_schema(IpAddresses)}
    described = fields_of(ServerPayload)["ip_addresses"]

    assert described.pop("description")
    assert addresses == described
    assert {"type", "properties", "required"} == {*addresses}


def test_no_part_of_a_schema_is_shared_with_the_next_caller() -> None:
    fields_of(IpAddresses)["primary"]["anyOf"].clear()
    fields_of(ServerRecord)["state"]["enum"].clear()

    assert 2 == len(fields_of(IpAddresses)["primary"]["anyOf"])
    assert 5 == len(fields_of(ServerRecord)["state"]["enum"])
