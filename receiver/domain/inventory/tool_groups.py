"""The tools of one server in groups, by the Odoo module that each tool comes from."""

from collections.abc import Iterable, Sequence

from attrs import frozen

from contract import Tool

__all__ = ["ToolGroup", "grouped"]


@frozen(kw_only=True)
class ToolGroup:
    """
    The tools of a server that come from one Odoo module.

    Attributes:
        provider: The technical name of the module; None where it is unknown.
        tools: The tools, sorted by their names.
    """

    provider: str | None
    tools: Sequence[Tool]


def grouped(
    names: Iterable[str], described: Iterable[Tool], *, search: str = ""
) -> list[ToolGroup]:
    """
    Group the tools of a server by the Odoo module that they come from.

    The groups are sorted by the name of the module; the group of tools whose module is unknown
    comes last. Each tool that the server offers is in one group, even if it has not described it.

    Args:
        names: The names of the tools that the server offers.
        described: The tools as the server has described them. Tools with other names are left out,
            because the server offers them no more.
        search: Words with spaces between them. Only tools that contain each of these words in their
            name, title, description or module, ignoring case; all tools if there are no words.
    """
    known: dict[str, Tool] = {}
    for tool in described:
        known.setdefault(tool.name, tool)
    words = search.casefold().split()
    groups: dict[str | None, list[Tool]] = {}
    for name in sorted({*names}):
        tool = known.get(name) or Tool(name=name)
        if not words or _has_all(tool, words):
            groups.setdefault(tool.provider or None, []).append(tool)
    providers = sorted(groups, key=lambda each: (each is None, each or ""))
    return [ToolGroup(provider=each, tools=groups[each]) for each in providers]


def _has_all(tool: Tool, words: Iterable[str]) -> bool:
    texts = (tool.name, tool.title, tool.description, tool.provider)
    text = "\n".join(each for each in texts if each).casefold()
    return all(word in text for word in words)
