"""
Web origins: scheme, host and port of a URL, as in the header `Origin`.

A page of another site can make a browser send requests here. With DNS rebinding, the site's own
host name is then in both `Host` and `Origin`, so comparing them is not enough: only origins that
the database knows are accepted.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from .endpoint import announced_endpoint, parameter

ALLOWED = "mcp.allowed_origins"


def origin_of(url) -> str | None:
    """The origin of an http or https URL, without the default port; None for other texts."""
    try:
        parsed = httpx.URL((url or "").strip())
    except (httpx.InvalidURL, TypeError):
        return None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        return None
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"


def is_known(env, origin, *, host_url, remote_address) -> bool:
    """
    Whether web pages of this origin may send requests to this database.

    Known are the origins of `web.base.url` and of the MCP endpoint's URL (set or announced), and
    those in `mcp.allowed_origins`. Localhost is known to clients on this machine whose header
    `Host` names the same origin.

    Args:
        env: The environment whose system parameters are read.
        origin: The header `Origin`.
        host_url: The URL that Odoo makes of the header `Host`.
        remote_address: The IP address of the client.
    """
    asked = origin_of(origin)
    if asked is None:
        return False
    if asked in _known(env):
        return True
    is_here = _is_loopback(remote_address) and _is_loopback(urlsplit(asked).hostname)
    return is_here and asked == origin_of(host_url)


def _known(env) -> set:
    urls = [
        parameter(env, "web.base.url"),
        parameter(env, "mcp.endpoint_url"),
        announced_endpoint(env),
        *parameter(env, ALLOWED).replace(",", " ").split(),
    ]
    return {origin_of(url) for url in urls} - {None}


def _is_loopback(host) -> bool:
    """Whether a host or an address is that of the machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
