"""
The registry of MCP tools that this Odoo offers to agents.

An addon registers its tools when its modules are imported:

    @mcp_tool("stock_level", description="How much of a product is on hand.")
    def stock_level(env):
        return {"quantity": ...}
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen
from jsonschema import Draft202012Validator, SchemaError

from . import foreign

NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@frozen(kw_only=True)
class McpTool:
    """
    A function that an agent can call by MCP.

    Attributes:
        name: Unique in this process.
        description: What the tool does, for an agent to read.
        input_schema: JSON Schema of the arguments; its type is `object`.
        run: Called as `run(env, **arguments)`; returns a value that JSON can hold.
        module: Technical name of the addon that defines `run`; empty for none.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    run: Callable[..., dict]
    module: str = field()

    @module.default
    def _module_of_run(self) -> str:
        return foreign.addon_of(getattr(self.run, "__module__", None) or "")


_tools: dict[str, McpTool] = {}


# For all names together: less than half of the 64 KiB that a receiver accepts as a message.
_MOST_BYTES = 24 * 1024


def mcp_tool(name, *, description, input_schema=None):
    """
    A decorator that registers a function as a tool and returns it unchanged.

    Without an `input_schema` the tool takes no arguments beside `env`.
    Raises ValueError when another tool has that name, and for an invalid JSON Schema.
    """
    schema = NO_ARGUMENTS if input_schema is None else input_schema
    try:
        json.dumps(schema, allow_nan=False)
        Draft202012Validator.check_schema(schema)
    except (TypeError, ValueError, SchemaError) as error:
        reason = getattr(error, "message", error)
        raise ValueError(f"The MCP tool {name!r} has no usable input_schema: {reason}") from error

    def add(run):
        if name in _tools:
            raise ValueError(f"There are two MCP tools with the name {name!r}.")
        _tools[name] = McpTool(name=name, description=description, input_schema=schema, run=run)
        return run

    return add


def get_tool_registry() -> dict[str, McpTool]:
    """
    All tools by name, sorted by name, in a dict that the caller may change.

    They include the tools of every addon that this process has loaded for any of its databases.
    """
    return dict(sorted(_tools.items()))


def installed_tools(env) -> dict[str, McpTool]:
    """The tools by name whose addon is installed in this database, sorted by name."""
    return {
        name: tool
        for name, tool in get_tool_registry().items()
        if not tool.module or foreign.is_installed(env, tool.module)
    }


def announced_names(env) -> tuple[str, ...]:
    """
    The names of all MCP tools of this database, sorted: the capabilities that it announces.

    They include the tools of other MCP addons, by `foreign.names`. Names that cannot be read,
    are no valid capabilities or do not fit into a message are omitted, and each such case is
    logged once.
    """
    ours = installed_tools(env)
    others = foreign.names(env, ours=get_tool_registry) - ours.keys()
    valid = filter(foreign.is_capability, [*ours, *sorted(others)])

    return tuple(sorted(foreign.as_many_as_fit(valid, most_bytes=_MOST_BYTES)))
