"""
The tools of other MCP addons, as far as their names can be had.

They are none of ours to call: whoever offers them answers for them.
"""

import inspect
import json
import logging
import sys
from collections.abc import Mapping
from functools import lru_cache, partial

from odoo import SUPERUSER_ID, api

from contract import Heartbeat, InvalidMessage

_logger = logging.getLogger(__name__)

_REGISTRY = "get_tool_registry"
_MODEL = "llm.tool"


def addon_of(module: str) -> str:
    """The addon that a Python module is of, such as `odoo.addons.stock.models`; else empty."""
    if not module.startswith("odoo.addons."):
        return ""
    return module.split(".")[2]


def is_installed(env, addon: str) -> bool:
    """Whether an addon is installed in this database; a process may have loaded it for others."""
    return addon in env.registry._init_modules  # noqa: SLF001 - Odoo has no other list


def names(env, *, ours) -> set:
    """
    The names that other registries and `llm.tool` give; `ours` is the registry to pass over.

    Whatever one of them raises costs a warning, and its own names only.
    """
    asked = {
        where: partial(_listed, registry) for where, registry in _registries(env, ours).items()
    }
    if _MODEL in env:
        asked[_MODEL] = _active_records
    found = set()
    for where, ask in asked.items():
        found |= _named_by(env.registry, where, ask)
    return found


def can_be_told(name) -> bool:
    """Whether the contract takes it for a capability; when not, that is warned of once."""
    try:
        Heartbeat(server_id="any", capabilities=(name,))
    except InvalidMessage as error:
        _warn(f"The MCP tool {name!a:.100} is not announced: {error}")
        return False
    return True


def _registries(env, ours) -> dict:
    """Those in modules of installed addons, by where they are; each once."""
    seen, found = {id(ours)}, {}
    for name, module in sorted(sys.modules.copy().items()):
        registry = getattr(module, "__dict__", {}).get(_REGISTRY)
        if callable(registry) and is_installed(env, addon_of(name)) and id(registry) not in seen:
            seen.add(id(registry))
            found[name] = registry
    return found


def as_many_as_fit(names, *, most_bytes) -> list:
    """The first of these names, as long as they fit into a message; the rest is warned of once."""
    fitting, left_out = [], 0
    for name in names:
        most_bytes -= len(json.dumps(name)) + 2
        if most_bytes >= 0:
            fitting.append(name)
        else:
            left_out += 1
    if left_out:
        _warn(f"{left_out} MCP tools are not announced, for a message does not hold them all.")
    return fitting


def _named_by(registry, where, ask) -> set:
    """In a transaction that writes nothing, and that nobody else needs afterwards."""
    try:
        with registry.cursor(readonly=True) as cr:
            names = list(ask(api.Environment(cr, SUPERUSER_ID, {})))
    except Exception as error:  # noqa: BLE001 - whatever it is, the heartbeat goes on
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _warn(f"The MCP tools of {where} are not announced: {reason:.300}")
        return set()
    for name in names:
        if not isinstance(name, str):
            _warn(f"An MCP tool of {where} is not announced: its name is {name!a:.100}.")
    return {name for name in names if isinstance(name, str)}


def _listed(registry, env) -> list:
    """What it gives may be a dict by name, or names, dicts with a name, or objects with one."""
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
        # It is written in C, and does not tell.
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
    """Say it once in this process, for heartbeats are sent all the time."""
    _logger.warning("%s", sentence)
