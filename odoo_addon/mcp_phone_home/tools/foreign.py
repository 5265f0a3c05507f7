"""
The names of the tools of other MCP addons, which this addon announces and does not call.

It knows two places: functions `get_tool_registry` in modules of other addons, and the records
of the model `llm.tool`.
"""

import inspect
import json
import logging
import sys
from collections.abc import Mapping
from functools import lru_cache, partial

from odoo import SUPERUSER_ID, api

from contract import MOST_TOOLS, Heartbeat, InvalidMessage

_logger = logging.getLogger(__name__)

_REGISTRY = "get_tool_registry"
_MODEL = "llm.tool"


def addon_of(module: str) -> str:
    """The addon of a Python module: `stock` for `odoo.addons.stock.models`; empty for none."""
    if not module.startswith("odoo.addons."):
        return ""
    return module.split(".")[2]


def is_installed(env, addon: str) -> bool:
    """Whether an addon is installed in this database, not only in another of this process."""
    return addon in env.registry._init_modules  # noqa: SLF001 - Odoo has no other list


def names(env, *, ours) -> set:
    """
    The names of the tools that other addons list in `get_tool_registry` or in `llm.tool`.

    `ours` is this addon's `get_tool_registry`, which is skipped. A source that raises is
    skipped and logged as a warning.
    """
    sources = {
        where: partial(_listed, registry) for where, registry in _registries(env, ours).items()
    }
    if _MODEL in env:
        sources[_MODEL] = _active_records
    found = set()
    for where, list_names in sources.items():
        found |= _names_in(env.registry, where, list_names)
    return found


def is_capability(name) -> bool:
    """Whether the name is a valid capability by the contract; logs a warning once if not."""
    try:
        Heartbeat(server_id="any", capabilities=(name,))
    except InvalidMessage as error:
        _warn(f"The MCP tool {name!a:.100} is not announced: {error}")
        return False
    return True


def _registries(env, ours) -> dict:
    """
    The functions `get_tool_registry` of installed addons, by the name of their module.

    A function that several modules import is listed once.
    """
    seen, found = {id(ours)}, {}
    for name, module in sorted(sys.modules.copy().items()):
        registry = getattr(module, "__dict__", {}).get(_REGISTRY)
        if callable(registry) and is_installed(env, addon_of(name)) and id(registry) not in seen:
            seen.add(id(registry))
            found[name] = registry
    return found


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
        _warn(f"{left_out} MCP tools are not announced, for a message does not hold them all.")
    return fitting


def _names_in(registry, where, list_names) -> set:
    """
    The names that one source lists, in a read-only transaction of its own.

    So a source that fails does not break the caller's transaction.
    """
    try:
        with registry.cursor(readonly=True) as cr:
            names = list(list_names(api.Environment(cr, SUPERUSER_ID, {})))
    except Exception as error:  # noqa: BLE001 - another addon's bug must not stop heartbeats
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _warn(f"The MCP tools of {where} are not announced: {reason:.300}")
        return set()
    for name in names:
        if not isinstance(name, str):
            _warn(f"An MCP tool of {where} is not announced: its name is {name!a:.100}.")
    return {name for name in names if isinstance(name, str)}


def _listed(registry, env) -> list:
    """
    The names in a registry's result.

    That may be a dict by name, or an iterable of names, of dicts with the key `name`, or of
    objects with the attribute `name`.
    """
    tools = registry(env) if _wants_env(registry) else registry()
    if isinstance(tools, str):
        raise TypeError("expected tools, got a text")
    return [_name_of(tool) for tool in tools]


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
    return env[_MODEL].with_context(active_test=True).search([]).mapped("name")


@lru_cache(maxsize=1024)
def _warn(sentence):
    """Log a warning once in this process, and not with every heartbeat."""
    _logger.warning("%s", sentence)
