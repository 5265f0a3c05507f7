"""Payloads, messages and records have the same fields with the same types."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import NOTHING, evolve, fields

from contract import (
    FAREWELL,
    Heartbeat,
    InvalidMessage,
    IpAddresses,
    Registration,
    ServerPayload,
    ServerRecord,
    Tool,
    tools_digest,
)
from contract.messages import View

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

REQUIRED = [
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
]
OPTIONAL = ["database_uuid", "endpoint_url", "heartbeat_interval_seconds", "sequence"]
VIEW = [*REQUIRED, *OPTIONAL, "tools_digest"]

KNOWN: dict[str, Any] = {
    "server_id": "prod_web-1",
    "hostname": "web-1",
    "ip_addresses": IpAddresses(primary="10.0.0.5", all=("10.0.0.5",)),
    "port": 8768,
    "transport": "http/sse",
    "version": "1.0.0",
    "odoo_version": "19.0",
    "database": "prod",
    "capabilities": ("create", "search"),
    "odoo_stage": "",
}
PAYLOAD = ServerPayload(**KNOWN)
TOOLS = (Tool(name="search", description="Finds records."), Tool(name="create"))


def names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def required(kind: Any) -> list[str]:
    return [field.name for field in fields(kind) if field.default is NOTHING]


def test_a_payload_has_the_fields_of_the_specification() -> None:
    assert [*REQUIRED, *OPTIONAL, "tools"] == names(ServerPayload)


def test_a_payload_requires_the_fields_of_the_specification() -> None:
    assert REQUIRED == required(ServerPayload)


def test_a_view_has_the_fields_of_a_payload_but_a_digest_for_the_tools() -> None:
    assert VIEW == names(View)


def test_a_view_has_the_types_of_a_payload() -> None:
    types: dict[str, Any] = {field.name: field.type for field in fields(ServerPayload)}

    for field in fields(View):
        if field.name != "tools_digest":
            assert field.type in (types[field.name], types[field.name] | None)


def test_a_registration_adds_started_at_and_the_tools() -> None:
    assert [*VIEW, "started_at", "tools"] == names(Registration)


def test_a_registration_has_the_tools_of_a_payload() -> None:
    assert fields(ServerPayload).tools.type == fields(Registration).tools.type


def test_a_heartbeat_adds_status_timestamp_uptime_and_start() -> None:
    assert [*VIEW, "status", "timestamp", "uptime_seconds", "started_at"] == names(Heartbeat)


def test_a_record_has_the_fields_of_all_messages_and_its_own() -> None:
    assert [
        *VIEW,
        "started_at",
        "status",
        "timestamp",
        "uptime_seconds",
        "first_seen",
        "registered_at",
        "last_seen",
        "heartbeat_count",
        "state",
        "state_since",
        "superseded_by",
        "twin_of",
        "node_count",
        "node_of",
        "conflict_since",
        "flapping_since",
        "labels",
    ] == names(ServerRecord)


@pytest.mark.parametrize("kind", [Registration, Heartbeat])
def test_a_record_has_the_types_of_a_message(kind: Any) -> None:
    types = {field.name: field.type for field in fields(ServerRecord)}
    kept = [each for each in fields(kind) if each.name != "tools"]  # a record has their digest
    differing = [each.name for each in kept if each.type != types[each.name]]

    assert ["capabilities"] == differing  # a record keeps those of earlier messages


@pytest.mark.parametrize("kind", [View, Registration, Heartbeat])
def test_a_message_requires_only_the_server_id(kind: Any) -> None:
    assert ["server_id"] == required(kind)


def test_a_payload_without_a_required_field_raises() -> None:
    with pytest.raises(TypeError, match="hostname"):
        ServerPayload(server_id="prod_web-1")  # type: ignore[call-arg]


def test_a_payload_that_breaks_a_rule_raises() -> None:
    with pytest.raises(InvalidMessage, match=r"^hostname: expected text, got null$"):
        evolve(PAYLOAD, hostname=None)  # type: ignore[arg-type]


def test_a_registration_is_made_from_a_payload() -> None:
    made = Registration.from_payload(PAYLOAD, started_at=NOON)

    assert Registration(**KNOWN, started_at=NOON) == made


def test_a_heartbeat_is_made_from_a_payload() -> None:
    told: dict[str, Any] = {"timestamp": NOON, "uptime_seconds": 300.0}

    assert Heartbeat(**KNOWN, **told, status="healthy") == Heartbeat.from_payload(PAYLOAD, **told)


def test_a_heartbeat_may_have_another_status() -> None:
    heartbeat = Heartbeat.from_payload(
        PAYLOAD, timestamp=NOON, uptime_seconds=300.0, status="degraded"
    )

    assert "degraded" == heartbeat.status


def test_a_heartbeat_may_hold_the_start_of_the_server() -> None:
    heartbeat = Heartbeat.from_payload(
        PAYLOAD, timestamp=NOON, uptime_seconds=300.0, started_at=NOON - timedelta(hours=1)
    )

    assert NOON - timedelta(hours=1) == heartbeat.started_at


@pytest.mark.parametrize("ordinal", [None, 0, 1042, 2**63 - 1])
def test_a_message_has_the_sequence_of_its_payload(ordinal: int | None) -> None:
    payload = evolve(PAYLOAD, sequence=ordinal)

    assert [ordinal, ordinal] == [
        Heartbeat.from_payload(payload, timestamp=NOON, uptime_seconds=300.0).sequence,
        Registration.from_payload(payload, started_at=NOON).sequence,
    ]


@pytest.mark.parametrize("tools", [TOOLS, ()])
def test_a_registration_carries_the_tools_and_a_heartbeat_only_their_digest(
    tools: tuple[Tool, ...],
) -> None:
    payload = evolve(PAYLOAD, tools=tools)
    registration = Registration.from_payload(payload, started_at=NOON)
    heartbeat = Heartbeat.from_payload(payload, timestamp=NOON, uptime_seconds=300.0)

    assert tools == registration.tools
    assert tools_digest(tools) == registration.tools_digest == heartbeat.tools_digest


def test_messages_of_a_payload_without_tools_have_no_digest() -> None:
    registration = Registration.from_payload(PAYLOAD, started_at=NOON)
    heartbeat = Heartbeat.from_payload(PAYLOAD, timestamp=NOON, uptime_seconds=300.0)

    assert (None, None, None) == (
        registration.tools,
        registration.tools_digest,
        heartbeat.tools_digest,
    )


def test_a_farewell_is_a_heartbeat_with_the_status_uninstalled() -> None:
    assert "uninstalled" == FAREWELL


@pytest.mark.parametrize(
    "kind",
    [IpAddresses, ServerPayload, View, Registration, Heartbeat, Tool],
)
def test_the_fields_of_a_message_are_keyword_arguments(kind: Any) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        kind("prod_web-1", *["1"] * (len(required(kind)) - 1))


@pytest.mark.parametrize(("kind", "values"), [(Registration, [NOON]), (Heartbeat, [NOON, 300.0])])
def test_the_moment_of_a_message_is_given_by_its_name(kind: Any, values: list[Any]) -> None:
    with pytest.raises(TypeError, match="takes 2 positional arguments"):
        kind.from_payload(PAYLOAD, *values)


@pytest.mark.parametrize("kind", [View, ServerRecord])
def test_a_constructor_does_not_validate_stored_values(kind: Any) -> None:
    moments = {"first_seen": NOON, "last_seen": NOON, "state_since": NOON}
    kept = kind(server_id="", port="8768", **(moments if kind is ServerRecord else {}))

    assert ("", "8768") == (kept.server_id, kept.port)
