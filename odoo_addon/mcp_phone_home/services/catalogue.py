"""
What the receiver is told of the MCP tools: `ServerPayload.tools`, and the digest of that.

Each heartbeat carries the digest, so it is made each minute. It is cached by all that it depends
on, so that no process, whichever one sends the heartbeat, tells the digest of an older state.
"""

from functools import lru_cache
from urllib.parse import urlsplit

from attrs import evolve

from contract import InvalidMessage, Tool, ToolAnnotations, dumps, shortened, tools_digest

from ..tools.foreign import AnnouncedTool, warn_once
from .routes import PATHS

# For all tools together. A receiver accepts a registration of 1 MiB, in which each name is
# repeated as a capability.
MOST_BYTES = 900 * 1024


@lru_cache(maxsize=8)  # one for each database of the process; it may hold a megabyte
def described(announced: tuple[AnnouncedTool, ...], endpoint_url: str | None) -> tuple[Tool, ...]:
    """
    What the receiver is told of the tools that this database announces.

    `endpoint_url` is the URL that the message announces: a tool that is called elsewhere has a
    path of its own. A member of a tool that the contract refuses is left out, and logged once.
    """
    tools = tuple(_tool(each, _path_at(each.path, endpoint_url)) for each in announced)
    return _fitting(shortened(tools))


@lru_cache(maxsize=8)
def digest_of(tools: tuple[Tool, ...]) -> str:
    """`contract.tools_digest`, which takes 20 ms for a thousand tools, and their hash 0.2 ms."""
    return tools_digest(tools)


def _tool(announced, path) -> Tool:
    told = announced.description
    members = {
        "title": told.title,
        "description": told.text,
        "annotations": ToolAnnotations(**dict(told.hints)) if told.hints else None,
        "input_schema_digest": told.schema_digest,
        "provider": announced.module or None,
        "endpoint_path": path,
    }
    try:
        return Tool(name=announced.name, **members)
    except InvalidMessage:
        return Tool(
            name=announced.name,
            **{name: value for name, value in members.items() if _is_valid(announced, name, value)},
        )


def _is_valid(announced, name, value) -> bool:
    try:
        Tool(name=announced.name, **{name: value})
    except InvalidMessage as error:
        warn_once(f"The {name} of the MCP tool {announced.name!a:.100} is not announced: {error}")
        return False
    return True


def _path_at(path, endpoint_url) -> str | None:
    """
    The path at which a tool is called on the host of the endpoint; None for that of the endpoint.

    A proxy may publish this Odoo below a path, such as `https://example.com/odoo/mcp/v1`.
    """
    if path is None or endpoint_url is None:
        return None
    endpoint_path = urlsplit(endpoint_url).path
    for own in PATHS:
        if endpoint_path.endswith(own):
            path = endpoint_path.removesuffix(own) + path
            return None if path == endpoint_path else path
    # An administrator has set the URL of another MCP server, which calls the tools of this addon.
    return None if path in PATHS else path


def _fitting(tools) -> tuple[Tool, ...]:
    """
    The tools with descriptions that are so short that all fit into `MOST_BYTES`.

    A character may take four bytes, or six where JSON must escape it. Titles go last.
    """
    longest = max((len(tool.description or "") for tool in tools), default=0)
    while longest and _size(tools) > MOST_BYTES:
        longest //= 2
        tools = tuple(
            evolve(tool, description=(tool.description or "")[:longest] or None) for tool in tools
        )
    if _size(tools) > MOST_BYTES:
        return tuple(evolve(tool, title=None) for tool in tools)
    return tools


def _size(tools) -> int:
    """The bytes of the tools in JSON."""
    return sum(len(dumps(tool)) + 1 for tool in tools)
