"""`tool_changes` reports other descriptions of the same tools."""

import json
from datetime import datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from changed import NOON
from contract import (
    Event,
    EventKind,
    Tool,
    ToolAnnotations,
    changed_tools,
    dumps,
    loads,
    tool_changes,
)
from strategies import moments, tools

CONFIRM = Tool(name="confirm_order", description="Confirms an order.", provider="sale")
SEARCH = Tool(name="search", title="Search", annotations=ToolAnnotations(readOnlyHint=True))


def test_tools_that_have_changed_are_one_event() -> None:
    after = [
        evolve(SEARCH, annotations=ToolAnnotations(readOnlyHint=False), title="Find"),
        evolve(CONFIRM, description="Confirms an order and pays it."),
    ]

    (event,) = tool_changes("acme_web-1", [CONFIRM, SEARCH], after, at=NOON)

    assert {
        "kind": "tools_changed",
        "at": "2026-01-31T12:00:00Z",
        "server_id": "acme_web-1",
        "details": {
            "tools": {"confirm_order": ["description"], "search": ["title", "annotations"]}
        },
    } == json.loads(dumps(event))
    assert event == loads(dumps(event), Event)


@pytest.mark.parametrize(
    "after",
    [
        [CONFIRM, SEARCH],
        [SEARCH, CONFIRM],
        [CONFIRM],
        [],
        [CONFIRM, SEARCH, Tool(name="create")],
        [Tool(name="confirm_order"), Tool(name="search")],
        [evolve(CONFIRM, input_schema_digest="0a"), SEARCH],
        [evolve(CONFIRM, endpoint_path="/mcp", description=""), SEARCH],
    ],
)
def test_tools_that_are_new_gone_or_better_known_cause_no_event(after: list[Tool]) -> None:
    assert [] == tool_changes("acme_web-1", [CONFIRM, SEARCH], after, at=NOON)


@given(st.lists(tools(), max_size=4), st.lists(tools(), max_size=4), moments())
def test_an_event_tells_what_has_changed_in_the_tools(
    before: list[Tool], after: list[Tool], at: datetime
) -> None:
    changed = {name: [*names] for name, names in changed_tools(before, after).items()}

    assert [
        Event(
            kind=EventKind.TOOLS_CHANGED,
            at=at,
            server_id="acme_web-1",
            details={"tools": changed},
        )
        for _ in range(bool(changed))
    ] == tool_changes("acme_web-1", iter(before), iter(after), at=at)
