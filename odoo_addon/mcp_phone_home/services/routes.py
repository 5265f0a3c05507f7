"""
Which addon answers at the paths of MCP, where several addons of one database have one path.

Odoo takes the routes of all installed addons in the order of their names, and the first one that
fits answers. So another addon with a route `/mcp/v1` may answer in place of this one, or this
one in place of the other. This addon therefore has a second path, which no other addon takes.
"""

import logging
import re
from collections.abc import Callable
from functools import cache, lru_cache

from attrs import frozen

from odoo.http import _generate_routing_rules
from odoo.tools import config

from ..tools.addons import addon_of, installed, needs

_logger = logging.getLogger(__name__)

ADDON = "mcp_phone_home"

MCP_PATH = "/mcp/v1"
OWN_PATH = "/mcp_phone_home/mcp"
"""The second path of the addon's MCP endpoint."""

PATHS = (MCP_PATH, OWN_PATH)

# A path that ends with `mcp`, or with that and a version or `server`, and without variable parts,
# which may hold a secret. At others, such as `/mcp/auth`, an addon answers other requests.
_MCP = re.compile(r"(/[^</]+)*/mcp(/server|/v\d+)?/?")


@frozen(kw_only=True)
class _Route:
    """
    An addon's route for POST at a path of MCP.

    Attributes:
        addon: The technical name of the addon.
        function: What answers there.
        is_for_clients: Whether a client of MCP may call it, which has neither the session of a
            browser nor a token of Odoo's against forged requests.
    """

    addon: str
    function: Callable
    is_for_clients: bool


def mcp_path(env) -> str:
    """The path at which this addon answers MCP clients; logs once when it is not `MCP_PATH`."""
    if owner_of(env, MCP_PATH) in (ADDON, ""):
        return MCP_PATH
    _say(rivals(env))
    return OWN_PATH


def owner_of(env, path) -> str:
    """The addon that answers a POST to this path of MCP; empty for none."""
    return next((each.addon for each in _routes(_modules(env)).get(path, ())), "")


def rivals(env) -> tuple[str, ...]:
    """The other addons with a route `MCP_PATH`, whether they answer there or not."""
    addons = [each.addon for each in _routes(_modules(env)).get(MCP_PATH, ())]
    return tuple(each for each in dict.fromkeys(addons) if each != ADDON)


def paths_of(env, addon) -> tuple[str, ...] | None:
    """
    The paths at which clients reach the MCP server of another addon; the shortest first.

    That is the addon itself, or one that depends on it. None where no such addon has a route of
    MCP, and where they have several that are not answered by one function; empty where other
    addons answer at all of their paths.
    """
    routes = _routes(_modules(env))
    servers = {
        each
        for others in routes.values()
        for each in others
        if each.is_for_clients and each.addon != ADDON
        if each.addon == addon or needs(each.addon, addon)
    }
    own = [path for path, others in routes.items() if others[0] in servers]
    if not servers or len({routes[path][0].function for path in own}) > 1:
        return None
    return tuple(sorted(own, key=lambda path: (len(path), path)))


def _modules(env) -> tuple[str, ...]:
    # In the order in which Odoo's routing map takes them.
    return tuple(sorted(installed(env).union(config["server_wide_modules"])))


@lru_cache(maxsize=256)
def _routes(modules) -> dict[str, tuple[_Route, ...]]:
    """
    The routes for POST at each path of MCP, the one that answers first.

    The routing map of `ir.http` would tell the same, but Odoo builds it only after it has loaded
    all modules, and the addon already tells its URL when it is installed.
    """
    found = {}
    for path, endpoint in _generate_routing_rules(modules, nodb_only=False):
        methods = endpoint.routing["methods"]
        if _MCP.fullmatch(path) and (methods is None or "POST" in methods):
            route = _Route(
                addon=_addon_of_endpoint(endpoint),
                function=endpoint.func.__func__,
                is_for_clients=_is_for_clients(endpoint.routing),
            )
            found.setdefault(path, []).append(route)
    return {path: tuple(routes) for path, routes in found.items()}


def _is_for_clients(routing) -> bool:
    is_checked = routing["type"] == "http" and routing.get("csrf", True)
    return routing["auth"] != "user" and not is_checked


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
