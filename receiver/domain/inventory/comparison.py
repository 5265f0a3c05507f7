"""Compares the tools of two servers."""

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from contract import Tool
from contract.tools import changed_tools

__all__ = ["ToolsCompared", "compare_tools"]


@frozen(kw_only=True)
class ToolsCompared:
    """
    How the tools of two servers differ.

    Attributes:
        only_a: The sorted names of the tools that only the first server offers.
        only_b: The sorted names of the tools that only the second server offers.
        changed: For tools that both offer and describe in different ways, the names of the fields
            of `contract.Tool` that differ, by the name of the tool.
        same: How many tools both offer and do not describe in different ways.
    """

    only_a: Sequence[str]
    only_b: Sequence[str]
    changed: Mapping[str, Sequence[str]]
    same: int


def compare_tools(
    names: tuple[Collection[str], Collection[str]],
    described: tuple[Sequence[Tool], Sequence[Tool]],
) -> ToolsCompared:
    """
    Compare the tools of two servers.

    Args:
        names: The names of the tools that the first and the second server offer.
        described: The tools as the first and the second server have described them. A field that is
            unknown (None) in one of two descriptions is not compared.
    """
    a, b = ({*each} for each in names)
    changed = {
        name: fields
        for name, fields in changed_tools(*described).items()
        if name in a and name in b
    }
    return ToolsCompared(
        only_a=sorted(a - b),
        only_b=sorted(b - a),
        changed=changed,
        same=len(a & b) - len(changed),
    )
