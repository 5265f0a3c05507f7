"""What an administrator has set up, read from the system parameters."""

import logging
import os
import re
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import field, frozen

from odoo.tools import config

from client.receiver_url import parse as parse_receiver_url
from contract import Heartbeat, InvalidMessage

_logger = logging.getLogger(__name__)

_PASSWORD = re.compile(r"//.*@")

DEFAULT_PORT = 8768
DEFAULT_TIMEOUT_SECONDS = 5.0
MOST_TIMEOUT_SECONDS = 60
DEFAULT_ATTEMPTS = 3
MOST_ATTEMPTS = 10

# Parameters before which a variable and an option of odoo.conf go: they are no part of a backup.
_OUTSIDE = {
    "mcp.phone_home_token": ("MCP_PHONE_HOME_TOKEN", "mcp_phone_home_token"),
    "mcp.phone_home_ca": ("MCP_PHONE_HOME_CA", "mcp_phone_home_ca"),
}

# Where this addon answers MCP clients.
MCP_PATH = "/mcp/v1"


@frozen(kw_only=True)
class ReceiverSettings:
    """
    How to reach the receiver.

    Attributes:
        url: Its base URL; empty when phoning home is off. Source: `mcp.phone_home_url`.
        token: What it knows this server by, or None. Source: the environment variable
            `MCP_PHONE_HOME_TOKEN`, else `mcp_phone_home_token` in odoo.conf, else the
            parameter `mcp.phone_home_token`.
        ca: The path of a PEM file with the only authorities to trust, or None for those
            that everybody trusts. Source: `MCP_PHONE_HOME_CA`, `mcp_phone_home_ca` or
            `mcp.phone_home_ca`, as with the token.
        timeout_seconds: Of one exchange, from beginning to end. Source:
            `mcp.phone_home_timeout`.
        attempts: How often a registration is tried, the first time included. Source:
            `mcp.phone_home_retries`.
    """

    url: str = field(repr=lambda url: repr(without_password(url)))
    token: str | None = field(repr=lambda token: "None" if token is None else "'***'")
    ca: str | None
    timeout_seconds: float
    attempts: int


@frozen(kw_only=True)
class ServerSettings:
    """
    Where the MCP server of this database is.

    Attributes:
        port: Where it listens. Source: `mcp.server_port`.
        endpoint_url: Where a client connects, or None. Source: `mcp.endpoint_url`, else
            `web.base.url`.
    """

    port: int
    endpoint_url: str | None


def receiver_settings(env):
    """
    The parameters' `ReceiverSettings`; a bad value is logged, and its default is used.

    All are read at once and past Odoo's cache, which may still hold what another process
    has changed: the token of one receiver must not be sent to another.
    """
    found = (
        env["ir.config_parameter"]
        .sudo()
        .search_fetch([("key", "=like", "mcp.phone_home_%")], ["key", "value"])
    )
    values = {each.key: (each.value or "").strip() for each in found}
    read = partial(_read, values)

    return ReceiverSettings(
        url=read("mcp.phone_home_url", str, ""),
        token=_guarded(values, "mcp.phone_home_token"),
        ca=_guarded(values, "mcp.phone_home_ca"),
        timeout_seconds=read("mcp.phone_home_timeout", _seconds, DEFAULT_TIMEOUT_SECONDS),
        attempts=read("mcp.phone_home_retries", _attempts, DEFAULT_ATTEMPTS),
    )


def server_settings(env):
    """The parameters' `ServerSettings`; a bad value is logged, and its default is used."""
    keys = ("mcp.server_port", "mcp.endpoint_url")
    read = partial(_read, {key: parameter(env, key) for key in keys})

    return ServerSettings(
        port=read("mcp.server_port", _port, DEFAULT_PORT),
        endpoint_url=read("mcp.endpoint_url", checked_endpoint_url, endpoint_by_default(env)),
    )


def endpoint_by_default(env):
    """
    Where a client connects when nobody says so, or None where that is not known.

    A `web.base.url` that is good on this machine only, as that of a new database is, says
    so to a receiver on this machine only.
    """
    base_url = parameter(env, "web.base.url").rstrip("/")
    if _is_local(base_url) and not _is_local(parameter(env, "mcp.phone_home_url")):
        return None
    try:
        return checked_endpoint_url(f"{base_url}{MCP_PATH}")
    except ValueError:
        return None


def parameter(env, key) -> str:
    """A system parameter without the blanks around it; empty where there is none."""
    return (env["ir.config_parameter"].sudo().get_param(key) or "").strip()


def outside_the_database(key):
    """What the environment, or else odoo.conf, says in place of a parameter, or None."""
    variable, option = _OUTSIDE[key]
    return _first(os.environ.get(variable), config.get(option))


def without_password(url: str) -> str:
    """A URL as it may be shown; one without a name and a password stays as it is."""
    return _PASSWORD.sub("//***@", url)


def checked_receiver_url(text) -> str:
    """The URL of a receiver as the database keeps it. Raises ValueError for what is none."""
    url = parse_receiver_url(text)
    if any(sign in text for sign in "?#@"):
        raise ValueError("The URL of a receiver holds no ?, no #, no @ and no password.")
    return str(url).rstrip("/")


def checked_endpoint_url(text) -> str:
    """A URL that a client connects to. Raises ValueError for what is none."""
    return _allowed(endpoint_url=text).endpoint_url


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


def _is_local(url):
    """Whether it leads to the machine that follows it, whichever that is."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _guarded(values, key):
    return outside_the_database(key) or values.get(key) or None


def _first(*values):
    """The first value that is there and not blank, or None."""
    return next((value.strip() for value in values if value and value.strip()), None)


def _port(text):
    return _allowed(port=int(text)).port


def _allowed(**fields):
    """Hold values to the contract, which alone knows its rules. Raises ValueError."""
    try:
        return Heartbeat(server_id="any", **fields)
    except InvalidMessage as error:
        raise ValueError(str(error)) from error


def _seconds(text):
    seconds = float(text)
    if not 0 < seconds <= MOST_TIMEOUT_SECONDS:
        most = MOST_TIMEOUT_SECONDS
        raise ValueError(f"expected a number of seconds above 0, {most} at most, got {text!r}")
    return seconds


def _attempts(text):
    attempts = int(text)
    if not 1 <= attempts <= MOST_ATTEMPTS:
        raise ValueError(f"expected 1 to {MOST_ATTEMPTS} attempts, got {text!r}")
    return attempts
