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
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial

from attrs import field, frozen
from psycopg2.errors import QueryCanceled

from odoo import SUPERUSER_ID, api

from contract import MOST_TOOLS, Heartbeat, InvalidMessage

from ..services.routes import paths_of
from .addons import addon_of, is_installed

_logger = logging.getLogger(__name__)

_REGISTRY = "get_tool_registry"
_MODEL = "llm.tool"
_SERVERS = "mcp.server"
_ACTIONS = "ir.actions.server"

_TOO_SLOW = "it does not list them in time"

# How long the tools of one source, and those of all together, may take to be listed.
MOST_SECONDS = 2.0
MOST_SECONDS_OF_ALL = 5.0

# How long a source that did not list its tools in time is left alone.
_REST_SECONDS = 600.0

# Sources that did not list their tools in time, by the name of the database and of the source:
# the thread that lists them, and until when it is left alone, in seconds of `time.monotonic`.
_slow: dict[tuple[str, str], tuple[threading.Thread, float]] = {}


@frozen(kw_only=True)
class AnnouncedTool:
    """
    A tool that this database announces.

    Attributes:
        name: Its name.
        module: Technical name of the addon whose tool it is; empty for none.
        path: Path of the MCP endpoint of this Odoo at which it is called; None where that is
            not known, or secret.
    """

    name: str
    module: str
    path: str | None


@frozen(kw_only=True)
class _Source:
    """
    Where tools are listed.

    Attributes:
        where: Its name in the log.
        module: The addon whose tools they are.
        list_names: Called with an environment; returns the names.
        is_secret: Whether the path of the MCP server must not be told.
    """

    where: str
    module: str
    list_names: Callable[[api.Environment], Iterable]
    is_secret: bool = field(default=False)


def tools(env, *, ours) -> list:
    """
    The tools of the other MCP servers in this Odoo, as `AnnouncedTool`.

    `ours` is this addon's `get_tool_registry`, which is skipped. A source that raises or hangs
    is skipped, and so is one whose MCP server cannot be reached, since another addon answers at
    its path; each is logged once as a warning.
    """
    deadline = time.monotonic() + MOST_SECONDS_OF_ALL
    found = {}
    for source in _sources(env, ours):
        paths = () if source.is_secret else paths_of(env, source.module)
        if paths == () and not source.is_secret:
            _warn(
                f"The MCP tools of {source.where} are not announced: another addon answers at "
                f"the path of {source.module}."
            )
            continue
        seconds = min(MOST_SECONDS, deadline - time.monotonic())
        for name in _names_in(env.registry, source, seconds):
            tool = AnnouncedTool(
                name=name, module=source.module, path=next(iter(paths or ()), None)
            )
            found.setdefault(name, tool)
    return list(found.values())


def is_capability(name) -> bool:
    """Whether the name is a valid capability by the contract; logs a warning once if not."""
    try:
        Heartbeat(server_id="any", capabilities=(name,))
    except InvalidMessage as error:
        _warn(f"The MCP tool {name!a:.100} is not announced: {error}")
        return False
    return True


def _sources(env, ours) -> list:
    found = [
        _Source(where=where, module=addon_of(where), list_names=partial(_listed, registry))
        for where, registry in _registries(env, ours).items()
    ]
    if _MODEL in env:
        found.append(_of_model(env, _MODEL, _active_records))
    if _SERVERS in env and "tool_ids" in env[_SERVERS]._fields:
        found.append(_of_model(env, _SERVERS, _tools_of_servers, is_secret=True))
    if "use_in_mcp" in env[_ACTIONS]._fields:
        field_in_mcp = env[_ACTIONS]._fields["use_in_mcp"]
        module = next(iter(field_in_mcp._modules), "")  # noqa: SLF001 - Odoo has no other name
        found.append(_Source(where=_ACTIONS, module=module, list_names=_actions_in_mcp))
    return found


def _of_model(env, model, list_names, *, is_secret=False):
    module = env[model]._original_module  # noqa: SLF001 - Odoo has no other name for it
    return _Source(where=model, module=module, list_names=list_names, is_secret=is_secret)


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


def _names_in(registry, source, seconds) -> list:
    """
    The names that one source lists, in a read-only transaction of its own.

    So a source that fails does not break the caller's transaction. It gets so many seconds; its
    thread is left alone then, without a transaction.
    """
    try:
        names = _listed_in_time(registry, source, seconds)
    except Exception as error:  # noqa: BLE001 - another addon's bug must not stop heartbeats
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _warn(f"The MCP tools of {source.where} are not announced: {reason:.300}")
        return []
    for name in names:
        if not isinstance(name, str):
            _warn(f"An MCP tool of {source.where} is not announced: its name is {name!a:.100}.")
    return [name for name in names if isinstance(name, str)]


def _listed_in_time(registry, source, seconds) -> list:
    """The names that a source lists. Raises what it raises, and TimeoutError when it hangs."""
    key = (registry.db_name, source.where)
    if seconds <= 0 or _is_resting(key):
        raise TimeoutError(_TOO_SLOW)
    outcome = []
    with registry.cursor(readonly=True) as cr:
        # A query that hangs ends before the thread is given up.
        limit = f"{seconds * 800:.0f}ms"
        cr.execute("SELECT set_config('statement_timeout', %s, true)", [limit])
        env = api.Environment(cr, SUPERUSER_ID, {})
        thread = threading.Thread(
            target=_list_into, args=(outcome, source, env), name="mcp_phone_home", daemon=True
        )
        thread.dbname = registry.db_name  # for Odoo's log
        thread.start()
        thread.join(seconds)
        names, error = outcome[0] if outcome else ([], TimeoutError(_TOO_SLOW))
    if isinstance(error, (TimeoutError, QueryCanceled)):
        _slow[key] = thread, time.monotonic() + _REST_SECONDS
        raise TimeoutError(_TOO_SLOW)
    if error is not None:
        raise error
    return names


def _is_resting(key) -> bool:
    """Whether a source was too slow lately, or its thread still hangs."""
    thread, until = _slow.get(key, (None, 0.0))
    return thread is not None and (thread.is_alive() or time.monotonic() < until)


def _list_into(outcome, source, env):
    try:
        outcome.append((list(source.list_names(env)), None))
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        outcome.append(([], error))


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


def _tools_of_servers(env) -> list:
    tools = env[_SERVERS].search([]).mapped("tool_ids")
    return tools.filtered("active" if "active" in tools._fields else "id").mapped("name")


def _actions_in_mcp(env) -> list:
    actions = env[_ACTIONS].search([("use_in_mcp", "=", True)])
    named = "ai_tool_name" if "ai_tool_name" in actions._fields else "name"
    return [action[named] or action.name for action in actions]


@lru_cache(maxsize=1024)
def _warn(sentence):
    """Log a warning once in this process, and not with every heartbeat."""
    _logger.warning("%s", sentence)
