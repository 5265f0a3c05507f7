"""
The tools of a fleet: how many servers offer each, and how its descriptions differ.

Tools of several servers with the same name should do the same. They differ (drift) when the servers
describe them in different ways: with other arguments, for instance, because their Odoos have
different versions of the module that the tool comes from.
"""

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from attrs import frozen

from contract import Tool

__all__ = [
    "ORDERS",
    "StageCount",
    "ToolCounts",
    "ToolOverview",
    "ToolSummary",
    "ToolVariant",
    "Variant",
    "differing",
    "ranked",
    "summarised",
    "variant_of",
]


class ToolCounts(NamedTuple):
    """
    How many of the servers in lists have which set of tools, and which description of tools.

    Attributes:
        servers: How many servers there are in lists.
        offering: How many of them offer any tools.
        toolsets: How many servers have which set of tool names, by the id of the set; of the most
            frequent sets only.
        stages: For each stage, how many of its servers have which of these sets, by the id of the
            set; None stands for servers without tools. The stage is "" for servers without one.
        catalogues: How many servers have which catalogue (description of all tools of a server), by
            the id of the catalogue; of the most frequent catalogues only.
    """

    servers: int
    offering: int
    toolsets: Mapping[int, int]
    stages: Mapping[str, Mapping[int | None, int]]
    catalogues: Mapping[str, int]


class Variant(NamedTuple):
    """
    A way in which servers describe a tool; descriptions that do not differ are one variant.

    Attributes:
        name: The name of the tool.
        title: Its title; None if it is unknown.
        provider: The Odoo module that it comes from; None if it is unknown.
        marks: A hash of each value that is compared, such as that of the field `description`; None
            for a value that is unknown. All variants have the values in the same order.
    """

    name: str
    title: str | None
    provider: str | None
    marks: tuple[Hashable, ...]


@frozen(kw_only=True)
class ToolSummary:
    """
    A tool of the fleet.

    Attributes:
        name: Its name.
        title: The title that most servers give it; None if none does.
        provider: The Odoo module that it comes from on most servers; None if it is unknown.
        server_count: How many of the servers in lists offer a tool with this name.
        variant_count: How many different descriptions of it there are; 0 if no server has described
            it.
        differs_in: The fields of `contract.Tool` in which these descriptions differ; a field that
            is unknown in a description is not compared.
    """

    name: str
    title: str | None
    provider: str | None
    server_count: int
    variant_count: int
    differs_in: tuple[str, ...]


@frozen(kw_only=True)
class ToolOverview:
    """
    All tools of the fleet.

    Attributes:
        tools: The tools, sorted by name.
        servers: How many servers there are in lists.
        offering: How many of them offer any tools.
        counted: How many of them offer tools that are counted in `tools`. It is less than
            `offering` while the names are still being read, or if they need too much memory.
        differing: How many of the tools have descriptions that differ.
    """

    tools: Sequence[ToolSummary]
    servers: int
    offering: int
    counted: int
    differing: int

    def named(self, name: str) -> ToolSummary | None:
        """The tool with a name; None if no server in lists offers it."""
        return next((tool for tool in self.tools if tool.name == name), None)


@frozen(kw_only=True)
class StageCount:
    """
    How many servers of a stage offer a tool, and how many do not.

    Attributes:
        stage: The stage; "" for servers without one.
        offering: How many servers offer the tool.
        lacking: How many servers do not.
    """

    stage: str
    offering: int
    lacking: int


@frozen(kw_only=True)
class ToolVariant:
    """
    A description of a tool, and the servers that describe the tool in this way.

    Attributes:
        tool: The tool with this description.
        server_count: How many servers describe it in this way.
        server_ids: The sorted ids of some of these servers.
        differs_in: The fields of `contract.Tool` in which the description differs from the most
            frequent one of this tool.
    """

    tool: Tool
    server_count: int
    server_ids: Sequence[str]
    differs_in: Sequence[str]


def variant_of(tool: Mapping[str, Any]) -> Variant:
    """Make the variant of a tool that is given as the JSON object of a message."""
    hints = tool.get("annotations") or {}
    values = [(hints if field == _HINTS else tool).get(name) for field, name in _COMPARED]
    marks = tuple(None if value is None else hash((type(value), value)) for value in values)
    return Variant(tool["name"], tool.get("title"), tool.get("provider"), marks)


def differing(variants: Iterable[Variant]) -> tuple[str, ...]:
    """
    The fields of `contract.Tool` in which variants of one tool differ.

    A value that is unknown (None) in a variant is not compared.
    """
    values = zip(*(each.marks for each in variants), strict=True)
    found = [
        field
        for (field, _), marks in zip(_COMPARED, values, strict=True)
        if len({*marks} - {None}) > 1
    ]
    return tuple(dict.fromkeys(found))


def summarised(offered: Mapping[str, int], described: Mapping[Variant, int]) -> list[ToolSummary]:
    """
    Summarise the tools that servers offer; returns them sorted by name.

    Args:
        offered: How many servers offer each tool, by its name.
        described: How many servers describe a tool in a certain way, by this variant of the tool.
    """
    of_name: dict[str, list[Variant]] = {}
    for variant in described:
        of_name.setdefault(variant.name, []).append(variant)
    return [
        _summary(name, offered[name], of_name.get(name, []), described) for name in sorted(offered)
    ]


def _summary(
    name: str, server_count: int, variants: Sequence[Variant], counts: Mapping[Variant, int]
) -> ToolSummary:
    by_count = sorted(variants, key=lambda each: -counts[each])
    return ToolSummary(
        name=name,
        title=next((each.title for each in by_count if each.title), None),
        provider=next((each.provider for each in by_count if each.provider), None),
        server_count=server_count,
        variant_count=len(variants),
        differs_in=differing(variants) if len(variants) > 1 else (),
    )


def ranked(
    tools: Iterable[ToolSummary],
    *,
    search: str = "",
    names: Container[str] = (),
    differs: bool = False,
    order: str = "name",
) -> list[ToolSummary]:
    """
    Choose tools, and sort them.

    Args:
        tools: The tools, sorted by name.
        search: Words with spaces between them. Only tools whose name, title or module contain each
            of these words, ignoring case; all tools if there are no words.
        names: Names of tools that are returned whether they contain the words or not, because
            another search for these words has found them.
        differs: If True, only tools whose descriptions differ.
        order: One of `ORDERS`: `name`, `servers` (fewest first) or `-servers` (most first).
    """
    words = search.casefold().split()
    found = [
        tool
        for tool in tools
        if (not differs or tool.differs_in)
        and (not words or tool.name in names or _has_all(tool, words))
    ]
    key = _ORDERS[order]
    return found if key is None else sorted(found, key=key)


def _has_all(tool: ToolSummary, words: Iterable[str]) -> bool:
    text = f"{tool.name}\n{tool.title or ''}\n{tool.provider or ''}".casefold()
    return all(word in text for word in words)


_HINTS = "annotations"
_COMPARED = (
    ("input_schema_digest", "input_schema_digest"),
    ("description", "description"),
    ("title", "title"),
    (_HINTS, "readOnlyHint"),
    (_HINTS, "destructiveHint"),
    (_HINTS, "idempotentHint"),
    (_HINTS, "openWorldHint"),
    ("provider", "provider"),
)
"""What is compared: a field of `contract.Tool`, and the field, or the name of a hint in it."""

_ORDERS: Mapping[str, Callable[[ToolSummary], Any] | None] = {
    "name": None,
    "-servers": lambda tool: -tool.server_count,
    "servers": lambda tool: tool.server_count,
}
ORDERS = tuple(_ORDERS)
"""The orders of a list of tools: by name, or by the number of servers, most or fewest first."""
