"""Test helper: valid messages as they are sent, and what the codec makes of a message."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from contract import (
    Event,
    Heartbeat,
    InvalidMessage,
    Registration,
    ServerPayload,
    ServerRecord,
    Tool,
    ToolAnnotations,
    structure,
)
from strategies import almost_valid, wire_messages

__all__ = [
    "EVENT",
    "KINDS",
    "PAYLOAD",
    "RECORD",
    "SERVER",
    "TOOLS",
    "VALID",
    "almost_valid_of_any_kind",
    "any_kind",
    "any_view",
    "outcome",
    "problems",
    "same",
    "shown",
    "wire_of_any_kind",
]

KINDS = [ServerPayload, Registration, Heartbeat, ServerRecord, Event, Tool]
any_kind = pytest.mark.parametrize("kind", KINDS)
any_view = pytest.mark.parametrize("kind", KINDS[:3])

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


def problems(value: object, kind: type) -> list[str]:
    """The problems of a wire value that the codec refuses, as text."""
    with pytest.raises(InvalidMessage) as raised:
        structure(value, kind)
    return [str(problem) for problem in raised.value.problems]


def shown(value: object) -> str:
    """How a problem quotes a wire value."""
    return "a list" if isinstance(value, list) else json.dumps(value)


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
