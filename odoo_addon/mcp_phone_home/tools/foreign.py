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
from typing import Any

from attrs import define, evolve, field, frozen
from psycopg2.errors import QueryCanceled

from odoo import SUPERUSER_ID, api, models

from contract import MOST_TOOLS, Heartbeat, InvalidMessage

from ..services.routes import paths_of
from .addons import addon_of, is_installed
from .descriptions import Description, description_of

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
# Likewise those that listed their tools in time, and did not describe them.
_slow_to_describe: dict[tuple[str, str], tuple[threading.Thread, float]] = {}


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


@frozen(kw_only=True)
class _Source:
    """
    Where tools are listed.

    Attributes:
        where: Its name in the log.
        module: The addon whose tools they are.
        list_tools: Called with an environment; returns pairs of a name and the tool itself, in
            whatever form the source has it.
        is_secret: Whether the path of the MCP server must not be told.
    """

    where: str
    module: str
    list_tools: Callable[[api.Environment], Iterable[tuple[Any, Any]]]
    is_secret: bool = field(default=False)


@define
class _Listing:
    """
    What a source has listed so far.

    Attributes:
        names: The names of its tools; None while it has not listed them.
        descriptions: What the tools tell of themselves, by name.
        is_complete: Whether the source has ended, with or without an error.
        is_given_up: Whether it took too long, and nobody waits for it any more.
        error: What ended it before it had listed and described all tools.
    """

    names: list | None = None
    descriptions: dict[str, Description] = field(factory=dict)
    is_complete: bool = False
    is_given_up: bool = False
    error: BaseException | None = None


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
            warn_once(
                f"The MCP tools of {source.where} are not announced: another addon answers at "
                f"the path of {source.module}."
            )
            continue
        seconds = min(MOST_SECONDS, deadline - time.monotonic())
        listing = _listing_of(env.registry, source, seconds)
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
        _Source(where=where, module=addon_of(where), list_tools=partial(_listed, registry))
        for where, registry in _registries(env, ours).items()
    ]
    if _MODEL in env:
        found.append(_of_model(env, _MODEL, _active_records))
    if _SERVERS in env and "tool_ids" in env[_SERVERS]._fields:
        found.append(_of_model(env, _SERVERS, _tools_of_servers, is_secret=True))
    if "use_in_mcp" in env[_ACTIONS]._fields:
        field_in_mcp = env[_ACTIONS]._fields["use_in_mcp"]
        module = next(iter(field_in_mcp._modules), "")  # noqa: SLF001 - Odoo has no other name
        found.append(_Source(where=_ACTIONS, module=module, list_tools=_actions_in_mcp))
    return found


def _of_model(env, model, list_tools, *, is_secret=False):
    module = env[model]._original_module  # noqa: SLF001 - Odoo has no other name for it
    return _Source(where=model, module=module, list_tools=list_tools, is_secret=is_secret)


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
        warn_once(f"{left_out} MCP tools are not announced, for a message does not hold them all.")
    return fitting


def _names_in(source, listing) -> list:
    """The names in a listing that are texts. Logs a warning once for each other one."""
    for name in listing.names or ():
        if not isinstance(name, str):
            warn_once(f"An MCP tool of {source.where} is not announced: its name is {name!a:.100}.")
    return [name for name in listing.names or () if isinstance(name, str)]


def _listing_of(registry, source, seconds) -> _Listing:
    """
    What one source lists, in a read-only transaction of its own; logs a warning once if it fails.

    So a source that fails does not break the caller's transaction. It gets so many seconds; its
    thread is left alone then, without a transaction. Tools that it has listed by then are
    announced without those descriptions that are missing.
    """
    listing = _listed_in_time(registry, source, seconds)
    if listing.error is not None:
        what = "MCP tools" if listing.names is None else "descriptions of the MCP tools"
        reason = " ".join(f"{type(listing.error).__name__}: {listing.error}".split())
        warn_once(f"The {what} of {source.where} are not announced: {reason:.300}")
    return listing


def _listed_in_time(registry, source, seconds) -> _Listing:
    """What a source lists. The error is a TimeoutError when it hangs or was too slow lately."""
    key = (registry.db_name, source.where)
    if seconds <= 0 or _is_resting(_slow, key):
        return _Listing(error=TimeoutError(_TOO_SLOW))
    listing = _Listing()
    describes = not _is_resting(_slow_to_describe, key)
    with registry.cursor(readonly=True) as cr:
        # A query that hangs ends before the thread is given up.
        limit = f"{seconds * 800:.0f}ms"
        cr.execute("SELECT set_config('statement_timeout', %s, true)", [limit])
        env = api.Environment(cr, SUPERUSER_ID, {})
        thread = threading.Thread(
            target=_list_into,
            args=(listing, source, env, describes),
            name="mcp_phone_home",
            daemon=True,
        )
        thread.dbname = registry.db_name  # for Odoo's log
        thread.start()
        thread.join(seconds)
        # The thread may go on, so what it has found until now is copied.
        found = evolve(listing, descriptions=dict(listing.descriptions))
        listing.is_given_up = True
    if found.is_complete and not isinstance(found.error, QueryCanceled):
        return found
    slow = _slow if found.names is None else _slow_to_describe
    slow[key] = thread, time.monotonic() + _REST_SECONDS
    return evolve(found, error=TimeoutError(_TOO_SLOW))


def _is_resting(slow, key) -> bool:
    """Whether a source was too slow lately, or its thread still hangs."""
    thread, until = slow.get(key, (None, 0.0))
    return thread is not None and (thread.is_alive() or time.monotonic() < until)


def _list_into(listing, source, env, describes):
    try:
        pairs = list(source.list_tools(env))
        listing.names = [name for name, _ in pairs]
        if describes:
            _describe_into(listing, env, pairs)
    except BaseException as error:  # noqa: BLE001 - the caller's thread logs it
        listing.error = error
    listing.is_complete = True


def _describe_into(listing, env, pairs):
    """Add what each tool tells of itself. A tool that fails costs its own description only."""
    try:
        # One savepoint for all: a source may have a thousand tools.
        with env.cr.savepoint(flush=False):
            listing.descriptions.update({name: description_of(tool) for name, tool in pairs})
    except Exception:
        if listing.is_given_up:
            raise
        for name, tool in pairs:
            _describe_alone_into(listing.descriptions, env, name, tool)


def _describe_alone_into(descriptions, env, name, tool):
    try:
        with env.cr.savepoint(flush=False):
            # Odoo would compute a field for all records that were read together.
            alone = tool.with_prefetch() if isinstance(tool, models.BaseModel) else tool
            descriptions[name] = description_of(alone)
    except QueryCanceled:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warn_once(f"The description of the MCP tool {name!a:.100} is not announced: {reason:.300}")


def _listed(registry, env) -> list:
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


@lru_cache(maxsize=1024)
def warn_once(sentence):
    """Log a warning once in this process, and not with every heartbeat."""
    _logger.warning("%s", sentence)
