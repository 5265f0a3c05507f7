"""The addon's settings, read from system parameters, the environment and odoo.conf."""

import logging
import os
import re
from functools import partial

from attrs import field, frozen

from odoo.tools import config

from client.receiver_url import parse as parse_receiver_url

from .endpoint import allowed, checked_endpoint_url, endpoint_by_default, parameter
from .origins import origin_of

_logger = logging.getLogger(__name__)

_PASSWORD = re.compile(r"//.*@")

DEFAULT_PORT = 8768
DEFAULT_LONGEST_INTERVAL_SECONDS = 600
LEAST_LONGEST_INTERVAL_SECONDS = 60
MOST_LONGEST_INTERVAL_SECONDS = 7 * 86400
DEFAULT_TIMEOUT_SECONDS = 5.0
MOST_TIMEOUT_SECONDS = 60
DEFAULT_ATTEMPTS = 3
MOST_ATTEMPTS = 10

URL = "mcp.phone_home_url"
TOKEN = "mcp.phone_home_token"  # noqa: S105 - the name of a parameter
TOKEN_ORIGIN = "mcp.phone_home_token_origin"  # noqa: S105 - as above

# System parameters, each with the environment variable and the option of odoo.conf that override
# it. Unlike a parameter, these are not part of a database backup.
_OUTSIDE = {
    TOKEN: ("MCP_PHONE_HOME_TOKEN", "mcp_phone_home_token"),
    TOKEN_ORIGIN: ("MCP_PHONE_HOME_TOKEN_ORIGIN", "mcp_phone_home_token_origin"),
    "mcp.phone_home_ca": ("MCP_PHONE_HOME_CA", "mcp_phone_home_ca"),
}


@frozen(kw_only=True)
class ReceiverSettings:
    """
    How to reach the receiver.

    Attributes:
        url: Base URL of the receiver; empty when no receiver is set. Source:
            `mcp.phone_home_url`.
        token: Bearer token for the receiver; None without one, and for one that is for another
            receiver. Source: the environment variable
            `MCP_PHONE_HOME_TOKEN`, else `mcp_phone_home_token` in odoo.conf, else the
            parameter `mcp.phone_home_token`.
        token_is_for: The origin of that other receiver, when there is a token for it; else None.
        ca: Path of a PEM file with the only certificate authorities to trust, or None for the
            public ones. Source: `MCP_PHONE_HOME_CA`, `mcp_phone_home_ca` or
            `mcp.phone_home_ca`, as with the token.
        timeout_seconds: For one whole request. Source: `mcp.phone_home_timeout`.
        attempts: How often a registration is tried, the first time included. Source:
            `mcp.phone_home_retries`.
    """

    url: str = field(repr=lambda url: repr(without_password(url)))
    token: str | None = field(repr=lambda token: "None" if token is None else "'***'")
    token_is_for: str | None
    ca: str | None
    timeout_seconds: float
    attempts: int


@frozen(kw_only=True)
class ServerSettings:
    """
    How to reach the MCP server of this database.

    Attributes:
        port: TCP port on which the MCP server listens. Source: `mcp.server_port`.
        endpoint_url: URL to which an MCP client connects, or None when it is not known.
            Source: `mcp.endpoint_url`, else `endpoint_by_default`.
    """

    port: int
    endpoint_url: str | None


def receiver_settings(env):
    """
    The current `ReceiverSettings`. An invalid value is logged and replaced by its default.

    One query reads all parameters, bypassing Odoo's cache: a stale cache could combine the old
    token with a new URL, and so send the token of one receiver to another.
    """
    values = stored(env)
    read = partial(_read, values)
    url = read(URL, str, "")
    token, token_is_for = _token(values, url)

    return ReceiverSettings(
        url=url,
        token=token,
        token_is_for=token_is_for,
        ca=_overridable(values, "mcp.phone_home_ca"),
        timeout_seconds=read("mcp.phone_home_timeout", _seconds, DEFAULT_TIMEOUT_SECONDS),
        attempts=read("mcp.phone_home_retries", _attempts, DEFAULT_ATTEMPTS),
    )


def stored(env) -> dict:
    """The system parameters about the receiver by key, read from the database, not a cache."""
    found = (
        env["ir.config_parameter"]
        .sudo()
        .search_fetch([("key", "=like", "mcp.phone_home_%")], ["key", "value"])
    )
    return {each.key: (each.value or "").strip() for each in found}


def origin_of_token(values) -> str | None:
    """
    The origin (scheme, host and port) that the token is for; None where none was recorded.

    `values` are the parameters that `stored` returns. For a token from the environment or
    odoo.conf, the origin that is set there counts; if that is no valid URL, the result is a text
    that equals no origin, and so the token is not sent.
    """
    outside = outside_the_database(TOKEN) and outside_the_database(TOKEN_ORIGIN)
    if outside:
        return origin_of(outside) or "nowhere"
    return values.get(TOKEN_ORIGIN) or None


def server_settings(env):
    """The current `ServerSettings`. An invalid value is logged and replaced by its default."""
    keys = ("mcp.server_port", "mcp.endpoint_url")
    read = partial(_read, {key: parameter(env, key) for key in keys})

    return ServerSettings(
        port=read("mcp.server_port", _port, DEFAULT_PORT),
        endpoint_url=read("mcp.endpoint_url", checked_endpoint_url, endpoint_by_default(env)),
    )


def longest_interval_seconds(env) -> int:
    """
    To how many seconds the receiver may prolong the interval of the heartbeats.

    Source: `mcp.heartbeat_longest_interval`. An invalid value is logged and replaced by its
    default.
    """
    key = "mcp.heartbeat_longest_interval"
    return _read({key: parameter(env, key)}, key, _longest, DEFAULT_LONGEST_INTERVAL_SECONDS)


def outside_the_database(key):
    """The value that the environment, or else odoo.conf, sets for a parameter; else None."""
    variable, option = _OUTSIDE[key]
    return _first(os.environ.get(variable), config.get(option))


def without_password(url: str) -> str:
    """The URL with *** in place of user and password."""
    return _PASSWORD.sub("//***@", url)


def checked_receiver_url(text) -> str:
    """A receiver's URL in the form that the database stores. Raises ValueError for others."""
    url = parse_receiver_url(text)
    if any(sign in text for sign in "?#@"):
        raise ValueError("The URL of a receiver holds no ?, no #, no @ and no password.")
    return str(url).rstrip("/")


def can_be_sent(token) -> bool:
    """Whether a header can carry a token: visible ASCII characters, and no spaces."""
    return all("!" <= char <= "~" for char in token)


def _read(values, key, parse, default):
    text = values.get(key)
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        _logger.warning("The system parameter %s cannot be used, so its default is: %s", key, error)
        return default


def _overridable(values, key):
    return outside_the_database(key) or values.get(key) or None


def _token(values, url):
    """`(token, None)`, or `(None, origin)` where the token is for another origin than the URL's."""
    token = _overridable(values, TOKEN)
    origin = origin_of_token(values)
    if token is None or origin is None or origin == origin_of(url):
        return token, None
    return None, origin


def _first(*values):
    """The first value that is neither None nor blank, stripped; else None."""
    return next((value.strip() for value in values if value and value.strip()), None)


def _port(text):
    return allowed(port=int(text)).port


def _seconds(text):
    seconds = float(text)
    if not 0 < seconds <= MOST_TIMEOUT_SECONDS:
        most = MOST_TIMEOUT_SECONDS
        raise ValueError(f"expected a number of seconds above 0, {most} at most, got {text!r}")
    return seconds


def _longest(text):
    seconds = int(text)
    least, most = LEAST_LONGEST_INTERVAL_SECONDS, MOST_LONGEST_INTERVAL_SECONDS
    if not least <= seconds <= most:
        raise ValueError(f"expected {least} to {most} seconds, got {text!r}")
    return seconds


def _attempts(text):
    attempts = int(text)
    if not 1 <= attempts <= MOST_ATTEMPTS:
        raise ValueError(f"expected 1 to {MOST_ATTEMPTS} attempts, got {text!r}")
    return attempts
