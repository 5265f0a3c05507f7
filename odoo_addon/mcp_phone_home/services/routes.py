"""
Which addon answers at the paths of MCP, where several addons of one database have one path.

Odoo takes the routes of all installed addons in the order of their names, and the first one that
fits answers. So another addon with a route `/mcp/v1` may answer in place of this one, or this
one in place of the other. This addon therefore has a second path, which no other addon takes.
"""

import logging
import re
from functools import cache, lru_cache

from odoo.http import _generate_routing_rules
from odoo.tools import config

from ..tools.addons import addon_of, installed, needs

_logger = logging.getLogger(__name__)

ADDON = "mcp_phone_home"

MCP_PATH = "/mcp/v1"
OWN_PATH = "/mcp_phone_home/mcp"
"""The second path of the addon's MCP endpoint."""

PATHS = (MCP_PATH, OWN_PATH)

# A path with a part that begins with `mcp`, and without variable parts, which may hold a secret.
_MCP = re.compile(r"(/[^</]+)*/mcp[^</]*(/[^</]+)*")


def mcp_path(env) -> str:
    """The path at which this addon answers MCP clients; logs once when it is not `MCP_PATH`."""
    if owner_of(env, MCP_PATH) in (ADDON, ""):
        return MCP_PATH
    _say(rivals(env))
    return OWN_PATH


def owner_of(env, path) -> str:
    """The addon that answers a POST to this path of MCP; empty for none."""
    return next(iter(_owners(_modules(env)).get(path, ())), "")


def rivals(env) -> tuple[str, ...]:
    """The other addons with a route `MCP_PATH`, whether they answer there or not."""
    return tuple(each for each in _owners(_modules(env)).get(MCP_PATH, ()) if each != ADDON)


def paths_of(env, addon) -> tuple[str, ...] | None:
    """
    The paths at which clients reach the MCP server of another addon; the shortest first.

    That is the addon itself, or one that depends on it. None where no such addon has a route of
    MCP; empty where other addons answer at all of their paths.
    """
    owners = _owners(_modules(env))
    servers = {
        each
        for addons in owners.values()
        for each in addons
        if each != ADDON and (each == addon or needs(each, addon))
    }
    if not servers:
        return None
    own = [path for path, addons in owners.items() if addons[0] in servers]
    return tuple(sorted(own, key=lambda path: (len(path), path)))


def _modules(env) -> tuple[str, ...]:
    # In the order in which Odoo's routing map takes them.
    return tuple(sorted(installed(env).union(config["server_wide_modules"])))


@lru_cache(maxsize=256)
def _owners(modules) -> dict[str, tuple[str, ...]]:
    """
    The addons with a route for POST at each path of MCP, the one that answers first.

    The routing map of `ir.http` would tell the same, but Odoo builds it only after it has loaded
    all modules, and the addon already tells its URL when it is installed.
    """
    found = {}
    for path, endpoint in _generate_routing_rules(modules, nodb_only=False):
        methods = endpoint.routing["methods"]
        if _MCP.fullmatch(path) and (methods is None or "POST" in methods):
            found.setdefault(path, []).append(_addon_of_endpoint(endpoint))
    return {path: tuple(dict.fromkeys(addons)) for path, addons in found.items()}


def _addon_of_endpoint(endpoint) -> str:
    """The addon whose controller it is, also where another addon extends this controller."""
    controller = type(endpoint.func.__self__)
    addons = [addon_of(each.__module__) for each in controller.__mro__]
    return ADDON if ADDON in addons else addon_of(endpoint.func.__func__.__module__)


@cache
def _say(others):
    _logger.warning(
        "The addon %s answers at %s, so this addon answers MCP clients at %s, and announces that",
        " or ".join(others),
        MCP_PATH,
        OWN_PATH,
    )
