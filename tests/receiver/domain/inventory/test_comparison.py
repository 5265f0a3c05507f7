"""How the tools of two servers differ."""

from contract import Tool
from receiver.domain.inventory.comparison import ToolsCompared, compare_tools

PAY = Tool(name="pay", title="Pay", input_schema_digest="1")
SELL = Tool(name="sell", title="Sell")


def test_tools_of_two_servers_are_compared() -> None:
    other = Tool(name="pay", title="Pay now", input_schema_digest="2")
    gone = Tool(name="gone", title="Other")

    compared = compare_tools(
        (["sell", "pay", "z", "a", "both"], ["pay", "sell", "both", "b"]),
        ([SELL, PAY, Tool(name="gone", title="One")], [other, SELL, gone]),
    )

    assert (
        ToolsCompared(
            only_a=["a", "z"],
            only_b=["b"],
            changed={"pay": ["title", "input_schema_digest"]},
            same=2,
        )
        == compared
    )


def test_servers_without_tools_are_alike() -> None:
    assert ToolsCompared(only_a=[], only_b=[], changed={}, same=0) == compare_tools(
        ([], []), ([], [])
    )
