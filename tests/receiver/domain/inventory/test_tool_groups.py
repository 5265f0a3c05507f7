"""The tools of one server in groups."""

from contract import Tool
from receiver.domain.inventory.tool_groups import grouped

CONFIRM = Tool(name="order_confirm", title="Confirm an order", provider="sale")
CANCEL = Tool(name="order_cancel", description="Cancels a quotation.", provider="sale")
PAY = Tool(name="invoice_pay", provider="account")


def names(*args: object, **options: str) -> list[tuple[str | None, list[str]]]:
    found = grouped(*args, **options)  # type: ignore[arg-type]  # as given
    return [(group.provider, [tool.name for tool in group.tools]) for group in found]


def test_tools_are_grouped_by_module_and_sorted() -> None:
    offered = ["order_confirm", "undescribed", "invoice_pay", "order_cancel", "order_confirm"]

    assert [
        ("account", ["invoice_pay"]),
        ("sale", ["order_cancel", "order_confirm"]),
        (None, ["undescribed"]),
    ] == names(offered, [CONFIRM, CANCEL, PAY, Tool(name="order_confirm", provider="other")])


def test_described_tool_that_is_no_more_offered_is_left_out() -> None:
    assert [("sale", ["order_cancel"])] == names(["order_cancel"], [CONFIRM, CANCEL])
    assert [] == names([], [CONFIRM])


def test_tool_search_finds_words_in_all_texts_of_a_tool() -> None:
    offered = [tool.name for tool in (CONFIRM, CANCEL, PAY)]

    def finding(search: str) -> list[str]:
        found = names(offered, [CONFIRM, CANCEL, PAY], search=search)
        return [name for _, each in found for name in each]

    assert ["order_confirm"] == finding("  AN confirm ")
    assert ["order_cancel"] == finding("quotation sale")
    assert ["invoice_pay"] == finding("account")
    assert [] == finding("confirm quotation")
