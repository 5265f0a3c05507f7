"""Tools, which are objects in a list."""

import json
from typing import Any

import pytest
from attrs import fields

from contract import Heartbeat, Registration, Tool, ToolAnnotations, dumps, structure
from wire import KINDS, SERVER, TOOLS, VALID, problems
from wrong_values import PATH, SHORT_TEXT, TOOL

any_tools = pytest.mark.parametrize("kind", KINDS[:2])


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
