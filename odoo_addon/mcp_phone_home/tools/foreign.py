"""
The tools of the other MCP servers in this Odoo, which this addon announces and does not call.

It knows these places:

- functions `get_tool_registry` in modules of other addons
- the active records of the model `llm.tool`
- the tools of OCA's active MCP servers, the model `mcp.server`, which are records of `ai.tool`
- Odoo's own server actions that are available in MCP (`use_in_mcp`)

The path of an MCP server of OCA holds its key, so that path is never read.
"""

import inspect
import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from operator import itemgetter

from attrs import field, frozen

from contract import MOST_TOOLS, Heartbeat, InvalidMessage

from ..services.routes import paths_of
from .addons import addon_of, is_installed
from .descriptions import Description
from .listing import Source, listing_of
from .warnings import warn_once, warn_once_of

_REGISTRY = "get_tool_registry"
_MODEL = "llm.tool"
_SERVERS = "mcp.server"
_ACTIONS = "ir.actions.server"

# How long the tools of one source, and those of all together, may take to be listed.
MOST_SECONDS = 2.0
MOST_SECONDS_OF_ALL = 5.0

# Likewise those of all while a user waits.
MOST_SECONDS_FOR_USER = 0.5

# The key in the context of an environment of `for_user`.
_FOR_USER = "mcp_phone_home_for_user"


@frozen(kw_only=True)
class AnnouncedTool:
    """
    A tool that this database announces.

    Attributes:
        name: Its name.
        module: Technical name of the addon whose tool it is; empty for none.
        path: Path of the MCP endpoint of this Odoo at which it is called; None where that is
            not known, or secret.
        description: What it tells of itself.
    """

    name: str
    module: str
    path: str | None
    description: Description = field(factory=Description)


def for_user(env):
    """
    The environment for what a user looks at, who does not wait for slow sources.

    What is sent to the receiver takes its time instead, as a tool that is missing in a message
    counts as lost.
    """
    return env(context={**env.context, _FOR_USER: True})


def tools(env, *, ours) -> list:
    """
    The tools of the other MCP servers in this Odoo, as `AnnouncedTool`.

    `ours` is this addon's `get_tool_registry`, which is skipped. A source that raises or hangs
    is skipped, and so is one whose MCP server cannot be reached, since another addon answers at
    its path; each is logged once as a warning.

    It takes `MOST_SECONDS_OF_ALL` at most. With an environment of `for_user` it takes
    `MOST_SECONDS_FOR_USER`, and may tell what was so a minute ago.
    """
    is_for_user = _FOR_USER in env.context
    deadline = time.monotonic() + (MOST_SECONDS_FOR_USER if is_for_user else MOST_SECONDS_OF_ALL)
    found = {}
    for source in _sources(env, ours):
        paths = () if source.is_secret else paths_of(env, source.module)
        if paths == () and not source.is_secret:
            warn_once(
                f"The MCP tools of {source.where} are not announced: another addon answers at "
                f"the path of {source.module}."
            )
            continue
        seconds = min(MOST_SECONDS, deadline - time.monotonic())
        listing = listing_of(env.registry, source, seconds, for_user=is_for_user)
        for name in _names_in(source, listing):
            tool = AnnouncedTool(
                name=name,
                module=source.module,
                path=next(iter(paths or ()), None),
                description=listing.descriptions.get(name, Description()),
            )
            found.setdefault(name, tool)
    return list(found.values())


def is_capability(name) -> bool:
    """Whether the name is a valid capability by the contract; logs a warning once if not."""
    try:
        Heartbeat(server_id="any", capabilities=(name,))
    except InvalidMessage as error:
        warn_once(f"The MCP tool {name!a:.100} is not announced: {error}")
        return False
    return True


def _sources(env, ours) -> list:
    found = [
        Source(where=where, module=addon_of(where), list_tools=partial(_in_registry, registry))
        for where, registry in _registries(env, ours).items()
    ]
    if _MODEL in env:
        found.append(_of_model(env, _MODEL, _active_records))
    if _SERVERS in env and "tool_ids" in env[_SERVERS]._fields:
        found.append(_of_model(env, _SERVERS, _tools_of_servers, is_secret=True))
    if "use_in_mcp" in env[_ACTIONS]._fields:
        field_in_mcp = env[_ACTIONS]._fields["use_in_mcp"]
        module = next(iter(field_in_mcp._modules), "")  # noqa: SLF001 - Odoo has no other name
        found.append(Source(where=_ACTIONS, module=module, list_tools=_actions_in_mcp))
    return found


def _of_model(env, model, list_tools, *, is_secret=False):
    module = env[model]._original_module  # noqa: SLF001 - Odoo has no other name for it
    return Source(where=model, module=module, list_tools=list_tools, is_secret=is_secret)


def _registries(env, ours) -> dict:
    """
    The functions `get_tool_registry` of installed addons, by the name of their module.

    A function that several modules import is listed once, by the module that defines it, else by
    one of the same addon, else by the first one.
    """
    found = {}
    for name, module in sys.modules.copy().items():
        registry = getattr(module, "__dict__", {}).get(_REGISTRY)
        if callable(registry) and registry is not ours and is_installed(env, addon_of(name)):
            found.setdefault(id(registry), (registry, []))[1].append(name)
    return dict(
        sorted([(_definer(each, names), each) for each, names in found.values()], key=itemgetter(0))
    )


def _definer(registry, names) -> str:
    """The module to which a function belongs, of those that have it."""
    defined_in = getattr(registry, "__module__", None) or ""
    addon = addon_of(defined_in)
    return min(names, key=lambda name: (name != defined_in, addon_of(name) != addon, name))


def as_many_as_fit(names, *, most_bytes) -> list:
    """
    The first of the names, as many as a message may hold and as fit into `most_bytes` of JSON.

    Logs a warning once for the rest.
    """
    fitting, left_out = [], 0
    for name in names:
        most_bytes -= len(json.dumps(name)) + 2
        if most_bytes >= 0 and len(fitting) < MOST_TOOLS:
            fitting.append(name)
        else:
            left_out += 1
    if left_out:
        sentence = f"{left_out} MCP tools are not announced, for a message does not hold them all."
        warn_once_of("left out", sentence=sentence)
    return fitting


def _names_in(source, listing) -> list:
    """The names in a listing that are texts. Logs a warning once for each other one."""
    for name in listing.names or ():
        if not isinstance(name, str):
            sentence = f"An MCP tool of {source.where} is not announced: its name is {name!a:.100}."
            warn_once_of(source.where, "name", sentence=sentence)
    return [name for name in listing.names or () if isinstance(name, str)]


def _in_registry(registry, env) -> list:
    """
    The tools in a registry's result, with their names.

    That may be a dict by name, or an iterable of names, of dicts with the key `name`, or of
    objects with the attribute `name`.
    """
    tools = registry(env) if _wants_env(registry) else registry()
    if isinstance(tools, str):
        raise TypeError("expected tools, got a text")
    if isinstance(tools, Mapping):
        return [(_name_of(name), tool) for name, tool in tools.items()]
    return [(_name_of(tool), tool) for tool in tools]


def _wants_env(registry) -> bool:
    try:
        inspect.signature(registry).bind()
    except TypeError:
        return True
    except ValueError:
        # A function written in C may have no signature.
        return False
    return False


def _name_of(tool):
    if isinstance(tool, str):
        return tool
    return tool["name"] if isinstance(tool, Mapping) else tool.name


def _active_records(env) -> list:
    return _with_names(env[_MODEL].with_context(active_test=True).search([]))


def _tools_of_servers(env) -> list:
    tools = env[_SERVERS].search([]).mapped("tool_ids")
    return _with_names(tools.filtered("active" if "active" in tools._fields else "id"))


def _actions_in_mcp(env) -> list:
    actions = env[_ACTIONS].search([("use_in_mcp", "=", True)])
    named = "ai_tool_name" if "ai_tool_name" in actions._fields else "name"
    return [(action[named] or action.name, action) for action in actions]


def _with_names(records) -> list:
    return [(record.name, record) for record in records]
