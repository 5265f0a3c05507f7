"""
The MCP tools that this Odoo offers to agents.

An addon adds its own when it is loaded:

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
    Something that an agent can ask of this Odoo.

    Attributes:
        name: Unique in this process.
        description: What it is for, in words for an agent.
        input_schema: JSON Schema of its arguments, an object.
        run: Called as `run(env, **arguments)`; returns what JSON can hold.
        module: The addon that brings it; empty for a function that is of no addon.
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


# Less than half of what a receiver reads of a message.
_MOST_BYTES = 24 * 1024


def mcp_tool(name, *, description, input_schema=None):
    """
    Offer the decorated function as a tool; the function itself stays as it is.

    Without an `input_schema` it takes no arguments beside `env`.
    Raises ValueError when another tool has that name, and for what is no JSON Schema.
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
    The tools by name, in the order of their names.

    These are the tools of every addon that this process has loaded, for any of its
    databases. Changing the dict changes nothing.
    """
    return dict(sorted(_tools.items()))


def installed_tools(env) -> dict[str, McpTool]:
    """The tools by name, without those of addons that are not installed in this database."""
    return {
        name: tool
        for name, tool in get_tool_registry().items()
        if not tool.module or foreign.is_installed(env, tool.module)
    }


def announced_names(env) -> tuple[str, ...]:
    """
    The names of all MCP tools of this database, in their order.

    Those of the registry of another MCP addon and of its model `llm.tool` are among them.
    What of these cannot be had, or cannot be told, is left out and warned of once.
    """
    ours = installed_tools(env)
    others = foreign.names(env, ours=get_tool_registry) - ours.keys()
    told = filter(foreign.can_be_told, [*ours, *sorted(others)])

    return tuple(sorted(foreign.as_many_as_fit(told, most_bytes=_MOST_BYTES)))
