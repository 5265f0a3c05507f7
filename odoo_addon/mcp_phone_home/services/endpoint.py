"""
The URL of this database's MCP endpoint, where no administrator has set one.

It is a path of `web.base.url`, which Odoo overwrites with the address of each administrator's
login: now the public name, now an address in the local network. The receiver would be told that
the server moves each time. The system parameter `mcp.announced_endpoint` therefore holds the
URL that was announced last, with the uuid of the database, as a copy must not announce the URL
of its original. It also holds the host that announced it first, and the URL of `web.base.url` at
the last message: when these change both, as by a rebuild, the URL that was announced leads
nowhere any more.
"""

from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import frozen

from odoo import fields

from contract import Heartbeat, InvalidMessage

from .hosts import GONE_AFTER_INTERVALS, HOST_SECONDS, last_sent, this_host
from .interval import usual_interval_seconds
from .routes import PATHS, mcp_path
from .server_start import server_started_at

# How long all administrators must have logged in at another address of the same kind until that
# address is announced.
SETTLED = timedelta(days=7)

_LOCAL, _PRIVATE, _HTTP, _HTTPS = range(4)


@frozen
class _Announced:
    """
    What `mcp.announced_endpoint` holds; what is not known is empty.

    Attributes:
        url: The endpoint URL that a message has announced last.
        uuid: The uuid of the database that has announced it.
        host: The hostname of the server that has announced it first.
        by_default: The URL that `web.base.url` gave when the last message was sent.
    """

    url: str = ""
    uuid: str = ""
    host: str = ""
    by_default: str = ""

    @classmethod
    def of(cls, env) -> "_Announced":
        return cls(*parameter(env, "mcp.announced_endpoint").split()[:4])


def endpoint_by_default(env) -> str | None:
    """
    The URL of the MCP endpoint, derived from `web.base.url`; None when no usable URL is known.

    It is the URL that was last sent to the receiver, unless `web.base.url` is frozen
    (`web.base.url.freeze`), is of a better kind than that URL, or is of the same kind and either
    has not changed for seven days (`SETTLED`) or has changed since a rebuild (`_is_rebuilt`); then
    it is derived from `web.base.url` anew. The kinds, the best first: https; http; a private
    address or a name without a dot; localhost.

    A URL on localhost, as in a new database, is only usable when the receiver is on localhost
    too.
    """
    current, announced = _current(env), _usable(env, _at_current_path(env))
    if announced is None or parameter(env, "web.base.url.freeze"):
        return current
    return current if current is not None and _replaces(env, current, announced) else announced


def announced_endpoint(env) -> str | None:
    """The endpoint URL that this database has announced last; None if its original has."""
    announced = _Announced.of(env)
    return announced.url if announced.uuid == parameter(env, "database.uuid") else None


def remember_endpoint(env, url):
    """
    Store the endpoint URL that a message of this host announced, unless one is set by hand.

    A URL that was stored before keeps the host that was stored with it.
    """
    if url is None or url != endpoint_by_default(env):
        return
    is_same = url == announced_endpoint(env)
    host = (_Announced.of(env).host if is_same else "") or this_host()
    uuid, current = parameter(env, "database.uuid"), _current(env) or ""
    announced = f"{url} {uuid} {host} {current}".strip()
    if announced != parameter(env, "mcp.announced_endpoint"):
        env["ir.config_parameter"].set_param("mcp.announced_endpoint", announced)


def parameter(env, key) -> str:
    """A system parameter, stripped; empty for a missing one."""
    return (env["ir.config_parameter"].sudo().get_param(key) or "").strip()


def checked_endpoint_url(text) -> str:
    """A valid endpoint URL, unchanged. Raises ValueError for others."""
    return allowed(endpoint_url=text).endpoint_url


def allowed(**fields):
    """A `Heartbeat` with some values; raises ValueError when the contract refuses one of them."""
    try:
        return Heartbeat(server_id="any", **fields)
    except InvalidMessage as error:
        raise ValueError(str(error)) from error


def _current(env):
    base_url = parameter(env, "web.base.url").rstrip("/")
    return _usable(env, f"{base_url}{mcp_path(env)}")


def _at_current_path(env):
    """The URL that was announced last, with the path at which this addon answers now."""
    url = announced_endpoint(env)
    for path in PATHS:
        if url is not None and url.endswith(path):
            return url.removesuffix(path) + mcp_path(env)
    return url


def _usable(env, url):
    """The URL if it is valid, and not on localhost while the receiver is elsewhere; else None."""
    if url is None:
        return None
    try:
        checked_endpoint_url(url)
    except ValueError:
        return None
    is_too_near = _kind(url) is _LOCAL and not _is_local(parameter(env, "mcp.phone_home_url"))
    return None if is_too_near else url


def _replaces(env, current, announced) -> bool:
    if _kind(current) != _kind(announced):
        return _kind(current) > _kind(announced)
    return current == announced or _is_settled(env) or _is_rebuilt(env, current)


def _is_settled(env) -> bool:
    """Whether `web.base.url` has had its value for `SETTLED`."""
    found = (
        env["ir.config_parameter"]
        .sudo()
        .search_fetch([("key", "=", "web.base.url")], ["write_date"])
    )
    return not found.write_date or found.write_date <= fields.Datetime.now() - SETTLED


def _is_rebuilt(env, current) -> bool:
    """
    Whether the host that has announced the last URL is gone, and `web.base.url` has changed since.

    A host is gone when it has sent nothing since this one was started. One that has may be a node
    of the same database, and is gone after `GONE_AFTER_INTERVALS`.
    """
    announced = _Announced.of(env)
    if announced.host in ("", this_host()) or current == announced.by_default:
        return False
    usual = usual_interval_seconds(env)
    seconds = HOST_SECONDS if usual is None else GONE_AFTER_INTERVALS * usual
    hosts = last_sent(env.registry, seconds=seconds)
    if hosts is None:
        return False
    sent_at = hosts.get(announced.host)
    if sent_at is None:
        return True
    started_at = server_started_at()
    return started_at is not None and sent_at < started_at


def _kind(url) -> int:
    if _is_local(url):
        return _LOCAL
    if _is_private(urlsplit(url).hostname or ""):
        return _PRIVATE
    return _HTTPS if urlsplit(url).scheme == "https" else _HTTP


def _is_local(url) -> bool:
    """Whether the URL's host is localhost or a loopback address."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private(host) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host
