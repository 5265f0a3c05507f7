"""The TCP port on which this database's MCP server listens, as far as it can be seen from here."""

import socket

from odoo.tools import config

from .endpoint import parameter

# The connection is one to this very machine, which answers at once.
_SECONDS = 0.5


def listening_port(env, *, configured, addresses) -> int | None:
    """
    The port that the receiver is told of: one that accepts connections, or None.

    It is `configured`, that of the settings, or where no port is set there, Odoo's own HTTP
    port, at which the addon answers. `addresses` are the IP addresses of this host.
    """
    if parameter(env, "mcp.server_port"):
        port = configured
    elif config["http_enable"]:
        port = config["http_port"]
    else:
        return None
    hosts = dict.fromkeys(["127.0.0.1", config["http_interface"], *addresses])
    return port if any(_accepts(host, port) for host in hosts if host) else None


def _accepts(host, port) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_SECONDS):
            return True
    except OSError:
        return False
