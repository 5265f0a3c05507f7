"""The tools of a fleet: how they are summarised, compared, chosen and sorted."""

from typing import Any

import pytest

from receiver.domain.inventory.tools import (
    ToolSummary,
    Variant,
    differing,
    ranked,
    summarised,
    variant_of,
)

KNOWN: dict[str, Any] = {
    "name": "pay",
    "title": "Pay",
    "description": "Pays.",
    "annotations": {"readOnlyHint": False, "destructiveHint": None},
    "input_schema_digest": "d1",
    "provider": "account",
}


def variant(**changed: Any) -> Variant:
    return variant_of({**KNOWN, **changed})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ()),
        ({"title": "Pays"}, ("title",)),
        ({"description": "Pays twice.", "provider": "sale"}, ("description", "provider")),
        ({"input_schema_digest": "d2"}, ("input_schema_digest",)),
        ({"annotations": {"readOnlyHint": True}}, ("annotations",)),
        ({"endpoint_path": "/other"}, ()),
        # What is unknown differs from nothing.
        ({"title": None, "description": None, "input_schema_digest": None}, ()),
        ({"annotations": None, "provider": None}, ()),
        ({"annotations": {"destructiveHint": True}}, ()),
    ],
)
def test_tool_descriptions_differ_only_in_fields_that_both_have(
    changed: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert expected == differing([variant(), variant(**changed)])


def test_several_changed_hints_of_a_tool_are_one_difference() -> None:
    turned = {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": True}
    one = {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": False}

    assert ("annotations",) == differing([variant(annotations=turned), variant(annotations=one)])


def test_differences_between_any_two_descriptions_of_a_tool_count() -> None:
    silent = variant_of({"name": "pay"})

    assert ("title",) == differing([silent, variant(), silent, variant(title="Pays")])


def test_summary_of_a_tool_has_the_description_of_most_servers() -> None:
    described = {
        variant(title=None, provider=None): 7,
        variant(title="Pay"): 2,
        variant(title="Pays", provider="sale"): 3,
        variant(name="sell"): 1,
        variant(name="gone"): 1,
    }

    tools = summarised({"pay": 12, "sell": 1, "bare": 4}, described)

    assert [
        ToolSummary(
            name="bare", title=None, provider=None, server_count=4, variant_count=0, differs_in=()
        ),
        ToolSummary(
            name="pay",
            title="Pays",
            provider="sale",
            server_count=12,
            variant_count=3,
            differs_in=("title", "provider"),
        ),
        ToolSummary(
            name="sell",
            title="Pay",
            provider="account",
            server_count=1,
            variant_count=1,
            differs_in=(),
        ),
    ] == tools


def tool(name: str, **known: Any) -> ToolSummary:
    return ToolSummary(
        **{
            "name": name,
            "title": None,
            "provider": None,
            "server_count": 1,
            "variant_count": 0,
            "differs_in": (),
            **known,
        }
    )


TOOLS = [
    tool("invoice_pay", title="Pay an invoice", provider="account", server_count=5),
    tool("order_confirm", title="Confirm an ORDER", server_count=9, differs_in=("title",)),
    tool("order_ship", server_count=5),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "invoice_pay order_confirm order_ship"),
        ({"search": "ORD"}, "order_confirm order_ship"),
        ({"search": "an order"}, "order_confirm"),
        ({"search": " Account  pay "}, "invoice_pay"),
        ({"search": "moon"}, ""),
        ({"search": "moon", "names": {"order_ship"}}, "order_ship"),
        ({"differs": True}, "order_confirm"),
        ({"order": "-servers"}, "order_confirm invoice_pay order_ship"),
        ({"order": "servers"}, "invoice_pay order_ship order_confirm"),
    ],
)
def test_tools_are_chosen_and_sorted(asked: dict[str, Any], expected: str) -> None:
    assert expected.split() == [each.name for each in ranked(TOOLS, **asked)]
