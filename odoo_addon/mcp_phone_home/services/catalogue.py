"""
What the receiver is told of the MCP tools: `ServerPayload.tools`, and the digest of that.

Each heartbeat carries the digest, so it is made each minute. It is cached by all that it depends
on, so that no process, whichever one sends the heartbeat, tells the digest of an older state.
"""

from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from attrs import evolve

from contract import (
    InvalidMessage,
    ServerPayload,
    Tool,
    ToolAnnotations,
    dumps,
    shortened,
    tools_digest,
)

from ..tools.foreign import AnnouncedTool, warn_once
from .routes import PATHS

# Of a whole registration. A receiver accepts 512 KiB; the rest is for what a message gets when
# it is sent: the start of the server, the number of the message and the digest of the tools.
MOST_BYTES = 504 * 1024

_STEP_BYTES = 8 * 1024

# In characters: a description that is cut to half of that says nothing.
_SHORTEST = 20


def with_tools(payload: ServerPayload, announced: tuple[AnnouncedTool, ...]) -> ServerPayload:
    """
    The payload with what the receiver is told of the tools that this database announces.

    The registration that is made of it has at most `MOST_BYTES`. Where it would have more, the
    descriptions of the tools are shortened, then left out, and then the titles. Where that does
    not suffice, `tools` is None, which is logged once; the names of the tools are in
    `capabilities` all the same.
    """
    left = MOST_BYTES - len(dumps(payload))
    # In steps, so that one digit more of an interval does not change what is told of the tools.
    most_bytes = left // _STEP_BYTES * _STEP_BYTES
    return evolve(payload, tools=described(announced, payload.endpoint_url, most_bytes))


@lru_cache(maxsize=8)  # one for each database of the process; it may hold half a megabyte
def described(
    announced: tuple[AnnouncedTool, ...], endpoint_url: str | None, most_bytes: int
) -> tuple[Tool, ...] | None:
    """
    What the receiver is told of the tools, in at most so many bytes; None if that is impossible.

    `endpoint_url` is the URL that the message announces: a tool that is called elsewhere has a
    path of its own. A tool whose path is not known, or secret, is left out: without a path it
    would be one that is called at the `endpoint_url`. A member of a tool that the contract
    refuses is left out, and logged once.
    """
    tools = shortened(
        [
            _tool(each, _path_at(each.path, endpoint_url))
            for each in announced
            if each.path is not None
        ]
    )
    fitting = next((each for each in _ever_shorter(tools) if _size(each) <= most_bytes), None)
    if fitting is None:
        warn_once(
            f"The receiver is told the names of the {len(tools)} MCP tools only, for what they "
            "tell of themselves does not fit into a message."
        )
    return fitting


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

    Without an endpoint, None is for the tools of this addon.

    A proxy may publish this Odoo below a path, such as `https://example.com/odoo/mcp/v1`.
    """
    endpoint_path = urlsplit(endpoint_url or "").path
    for own in PATHS:
        if endpoint_path.endswith(own):
            path = endpoint_path.removesuffix(own) + path
            return None if path == endpoint_path else path
    # An administrator has set the URL of another MCP server, which calls the tools of this addon,
    # or the URL is not known.
    return None if path in PATHS else path


def _ever_shorter(tools) -> Iterator[tuple[Tool, ...]]:
    """The tools with all that they tell of themselves, and then with less and less of it."""
    yield tools
    longest = max((len(tool.description or "") for tool in tools), default=0)
    while longest > _SHORTEST:
        longest //= 2
        tools = tuple(_cut(tool, longest) for tool in tools)
        yield tools
    tools = tuple(evolve(tool, description=None) for tool in tools)
    yield tools
    yield tuple(evolve(tool, title=None) for tool in tools)


def _cut(tool, longest) -> Tool:
    text = tool.description
    if text is None or len(text) <= longest:
        return tool
    return evolve(tool, description=f"{text[: longest - 1]}…")


def _size(tools) -> int:
    """The bytes that the tools add to a message in JSON."""
    return len(',"tools":[]') + sum(len(dumps(tool)) + 1 for tool in tools)
