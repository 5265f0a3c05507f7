"""
The registry of MCP tools that this Odoo offers to agents.

An addon registers its tools when its modules are imported:

    @mcp_tool("stock_level", description="How much of a product is on hand.")
    def stock_level(env):
        return {"quantity": ...}

What a function may return is said in `services.results`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen
from jsonschema import Draft202012Validator, SchemaError

from ..services.routes import mcp_path
from . import foreign
from .addons import addon_of, is_installed
from .descriptions import description_of

# The hints of MCP about what a tool does; each is True or False.
HINTS = frozenset({"destructiveHint", "idempotentHint", "openWorldHint", "readOnlyHint"})

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
        title: The tool's name for people; None for none.
        annotations: What a client may ask its user about before a call, such as
            `{"readOnlyHint": True}`; see `HINTS`.
        output_schema: JSON Schema of the result; its type is `object`. None for any result.
        module: Technical name of the addon that defines `run`; empty for none.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    run: Callable[..., Any]
    title: str | None = None
    annotations: Mapping[str, bool] = field(factory=dict)
    output_schema: Mapping[str, Any] | None = None
    module: str = field()

    @module.default
    def _module_of_run(self) -> str:
        return addon_of(getattr(self.run, "__module__", None) or "")


_tools: dict[str, McpTool] = {}


# For all names together: less than half of the 64 KiB that a receiver accepts as a message.
_MOST_BYTES = 24 * 1024


def mcp_tool(  # noqa: PLR0913 - each has a name of MCP
    name, *, description, input_schema=None, title=None, annotations=None, output_schema=None
):
    """
    A decorator that registers a function as a tool and returns it unchanged.

    Without an `input_schema` the tool takes no arguments beside `env`. With an `output_schema`,
    a result that does not match it fails the call.
    Raises ValueError when another tool has that name, for an invalid JSON Schema, and for
    annotations other than `HINTS` with True or False.
    """
    schema = NO_ARGUMENTS if input_schema is None else input_schema
    _check_schema(name, "input_schema", schema)
    if output_schema is not None:
        _check_schema(name, "output_schema", output_schema)
        if output_schema.get("type") != "object":
            raise ValueError(f"The output_schema of the MCP tool {name!r} is not of type object.")
    hints = dict(annotations or {})
    if not HINTS.issuperset(hints) or any(type(hint) is not bool for hint in hints.values()):
        known = ", ".join(sorted(HINTS))
        raise ValueError(f"The annotations of the MCP tool {name!r} may be: {known}; each a bool.")

    def add(run):
        if name in _tools:
            raise ValueError(f"There are two MCP tools with the name {name!r}.")
        _tools[name] = McpTool(
            name=name,
            description=description,
            input_schema=schema,
            run=run,
            title=title,
            annotations=hints,
            output_schema=output_schema,
        )
        return run

    return add


def _check_schema(name, which, schema):
    try:
        json.dumps(schema, allow_nan=False)
        Draft202012Validator.check_schema(schema)
    except (TypeError, ValueError, SchemaError) as error:
        reason = getattr(error, "message", error)
        raise ValueError(f"The MCP tool {name!r} has no usable {which}: {reason}") from error


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
        if not tool.module or is_installed(env, tool.module)
    }


def announced_names(env) -> tuple[str, ...]:
    """The names of `announced_tools`, sorted: the capabilities that this database announces."""
    return tuple(tool.name for tool in announced_tools(env))


def announced_tools(env) -> tuple[foreign.AnnouncedTool, ...]:
    """
    All MCP tools of this database that can be called, sorted by name.

    They include those of other MCP servers in this Odoo, by `foreign.tools`. Tools that cannot
    be listed, whose names are no valid capabilities or that do not fit into a message are
    omitted, and each such case is logged once.
    """
    path = mcp_path(env)
    ours = {
        name: foreign.AnnouncedTool(
            name=name, module=tool.module, path=path, description=description_of(tool)
        )
        for name, tool in installed_tools(env).items()
    }
    others = {tool.name: tool for tool in foreign.tools(env, ours=get_tool_registry)}
    found = {**others, **ours}
    # Where not all fit, those of this addon go first.
    names = [*ours, *sorted(others.keys() - ours.keys())]
    fitting = foreign.as_many_as_fit(filter(foreign.is_capability, names), most_bytes=_MOST_BYTES)

    return tuple(found[name] for name in sorted(fitting))
