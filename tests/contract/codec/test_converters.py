"""The fast converter and the one that tells every problem agree."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import (
    Heartbeat,
    IpAddresses,
    Registration,
    ServerPayload,
    Tool,
    ToolAnnotations,
    structure,
)
from contract.codec import structure_in_detail
from strategies import almost_valid, built_once, wire_messages, wire_values
from wire import PAYLOAD, SERVER, TOOLS, outcome, same


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
