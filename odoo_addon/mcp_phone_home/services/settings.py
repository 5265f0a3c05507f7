"""What an administrator has set up, read from the system parameters."""

import logging
import math
import os
import re
from functools import partial

from attrs import field, frozen

from odoo.tools import config

from contract import Heartbeat, InvalidMessage

_logger = logging.getLogger(__name__)

_PASSWORD = re.compile(r"//.*@")

DEFAULT_PORT = 8768
DEFAULT_TIMEOUT_SECONDS = 5.0
DEFAULT_ATTEMPTS = 3
MOST_ATTEMPTS = 10


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

    url: str = field(repr=lambda url: repr(_PASSWORD.sub("//***@", url)))
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
        endpoint_url: Where a client connects, or None. Source: `mcp.endpoint_url`.
    """

    port: int
    endpoint_url: str | None


def receiver_settings(env):
    """The parameters' `ReceiverSettings`; a bad value is logged, and its default is used."""
    read = partial(_read, env)

    return ReceiverSettings(
        url=read("mcp.phone_home_url", str, ""),
        token=_first(
            os.environ.get("MCP_PHONE_HOME_TOKEN"),
            config.get("mcp_phone_home_token"),
            _parameter(env, "mcp.phone_home_token"),
        ),
        ca=_first(
            os.environ.get("MCP_PHONE_HOME_CA"),
            config.get("mcp_phone_home_ca"),
            _parameter(env, "mcp.phone_home_ca"),
        ),
        timeout_seconds=read("mcp.phone_home_timeout", _seconds, DEFAULT_TIMEOUT_SECONDS),
        attempts=read("mcp.phone_home_retries", _attempts, DEFAULT_ATTEMPTS),
    )


def server_settings(env):
    """The parameters' `ServerSettings`; a bad value is logged, and its default is used."""
    return ServerSettings(
        port=_read(env, "mcp.server_port", _port, DEFAULT_PORT),
        endpoint_url=_read(env, "mcp.endpoint_url", _endpoint_url, None),
    )


def _read(env, key, parse, default):
    text = _parameter(env, key)
    if not text:
        return default
    try:
        return parse(text)
    except (ValueError, InvalidMessage) as error:
        _logger.warning("The system parameter %s cannot be used, so its default is: %s", key, error)
        return default


def _parameter(env, key):
    return (env["ir.config_parameter"].sudo().get_param(key) or "").strip()


def _first(*values):
    """The first value that is there and not blank, or None."""
    return next((value.strip() for value in values if value and value.strip()), None)


def _port(text):
    return _allowed(port=int(text)).port


def _endpoint_url(text):
    return _allowed(endpoint_url=text).endpoint_url


def _allowed(**fields):
    """Hold values to the contract, which alone knows its rules. Raises InvalidMessage."""
    return Heartbeat(server_id="any", **fields)


def _seconds(text):
    seconds = float(text)
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"expected a number of seconds above 0, got {text!r}")
    return seconds


def _attempts(text):
    attempts = int(text)
    if not 1 <= attempts <= MOST_ATTEMPTS:
        raise ValueError(f"expected 1 to {MOST_ATTEMPTS} attempts, got {text!r}")
    return attempts
