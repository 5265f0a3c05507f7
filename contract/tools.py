"""
The description of a server's MCP tools: what the tools are for, which their names do not say.

A server sends the description of its tools once, in its registration. Its heartbeats carry only a
digest of the description, by which a receiver sees whether it knows the description.
"""

# No `from __future__ import annotations` here: attrs reads the rules from the annotations when
# it builds the classes, so they must be objects and not text.

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any

import orjson
from attrs import asdict, evolve, fields, frozen

from contract.checked import checked
from contract.fields import (
    MOST_TOOLS,
    Digest,
    Distinct,
    Flag,
    LongText,
    ShortText,
    ToolName,
    UrlPath,
)

__all__ = ["Tool", "ToolAnnotations", "Tools", "changed_tools", "shortened", "tools_digest"]

MOST_DESCRIPTION_CHARACTERS = 100_000
"""How many characters all descriptions of a server's tools may have together in a registration."""


@frozen(kw_only=True, field_transformer=checked)
class ToolAnnotations:
    """
    Hints about what a tool does, with the names that MCP gives them.

    None in a field means that the tool gives no such hint. The author of the tool has written the
    hints, and nothing checks whether they are true.

    Attributes:
        readOnlyHint: Whether the tool changes nothing.
        destructiveHint: Whether the tool may delete or overwrite something.
        idempotentHint: Whether a second call with the same arguments changes nothing more.
        openWorldHint: Whether the tool deals with anything outside the server.
    """

    readOnlyHint: Flag | None = None  # noqa: N815 - the name in MCP
    destructiveHint: Flag | None = None  # noqa: N815 - the name in MCP
    idempotentHint: Flag | None = None  # noqa: N815 - the name in MCP
    openWorldHint: Flag | None = None  # noqa: N815 - the name in MCP


@frozen(kw_only=True, field_transformer=checked)
class Tool:
    """
    An MCP tool that a server offers.

    None in a field means that the value is unknown. Raises `InvalidMessage` for a value that
    breaks the contract.

    Attributes:
        name: The name by which a client calls the tool; 1 to 200 characters.
        title: The name that people see; at most 200 characters.
        description: What the tool does; at most 4,000 characters.
        annotations: Hints about what the tool does, see `ToolAnnotations`.
        input_schema_digest: Identifies the JSON Schema of the tool's arguments: another digest
            means another schema. At most 100 letters, digits and characters of `-_:.+/=`.
        provider: The name of the Odoo module that the tool comes from; at most 200 characters.
        endpoint_path: Where the tool can be called, if that is not the `endpoint_url` of the
            server: another path on the same host and port, such as `/other/mcp`; it may have a
            query, but no fragment.
    """

    name: ToolName
    title: ShortText | None = None
    description: LongText | None = None
    annotations: ToolAnnotations | None = None
    input_schema_digest: Digest | None = None
    provider: ShortText | None = None
    endpoint_path: UrlPath | None = None


Tools = Annotated[tuple[Tool, ...], Distinct(MOST_TOOLS)]


def tools_digest(tools: Iterable[Tool]) -> str:
    """
    Return a digest of all fields of some tools: 64 hexadecimal digits (SHA-256).

    The order of the tools does not change the digest, nor does a tool that is repeated. Fields
    that are None do not change it either. So, when a later version adds a field, tools without
    that field keep their digest.
    """
    texts = sorted(orjson.dumps(_known(tool), option=orjson.OPT_SORT_KEYS) for tool in {*tools})
    return sha256(b"\n".join(texts)).hexdigest()


def changed_tools(before: Iterable[Tool], after: Iterable[Tool]) -> Mapping[str, Sequence[str]]:
    """
    Find the tools that two lists describe differently, and the fields in which they differ.

    Tools with the same `name` and `endpoint_path` are compared. A tool that is in one of the lists
    only is left out. A field, or a single hint in `annotations`, that is None in one of the lists
    is not compared, because None means unknown.

    Returns the names of the fields that differ, by the name of the tool. The names of the tools
    are sorted, and the fields are in the order of `Tool`. Tools without a difference are left out.
    """
    old, new = _values(before), _values(after)
    changed: dict[str, set[str]] = defaultdict(set)
    for place in old.keys() & new.keys():
        if old[place] != new[place]:
            name, field, *_ = place
            changed[name].add(field)
    names = [each.name for each in fields(Tool)]
    return {
        tool: [name for name in names if name in told] for tool, told in sorted(changed.items())
    }


def shortened(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """
    Return the tools in their order, with descriptions that are short enough for a registration.

    All descriptions together may have 100,000 characters. If they have more, the longest are cut,
    all to the same length, and each description that is cut ends with `…`.
    """
    lengths = sorted(len(tool.description or "") for tool in tools)
    left = MOST_DESCRIPTION_CHARACTERS
    for place, length in enumerate(lengths):
        share = left // (len(lengths) - place)
        if length > share:
            return tuple(_cut(tool, share) for tool in tools)
        left -= length
    return tuple(tools)


def _cut(tool: Tool, longest: int) -> Tool:
    text = tool.description
    if text is None or len(text) <= longest:
        return tool
    return evolve(tool, description=f"{text[: longest - 1]}…")


def _known(tool: Tool) -> dict[str, Any]:
    """A tool as a dict for JSON, without the fields and the hints that are None."""
    return asdict(tool, filter=lambda _, value: value is not None)


def _values(
    tools: Iterable[Tool],
) -> Mapping[tuple[str, str, str | None, str | None], set[object]]:
    """
    The values of tools, by name of the tool, field, hint and `endpoint_path`.

    The hint is None for all fields but `annotations`. Values that are None are left out. The
    values of an entry are a set, because nothing keeps a sender from describing a name twice.
    """
    values: dict[tuple[str, str, str | None, str | None], set[object]] = defaultdict(set)
    for tool in tools:
        known = _known(tool)
        for hint, value in known.pop("annotations", {}).items():
            values[tool.name, "annotations", hint, tool.endpoint_path].add(value)
        for field, value in known.items():
            values[tool.name, field, None, tool.endpoint_path].add(value)
    return values
