"""The TCP port on which this database's MCP server listens, as far as it can be seen from here."""

import selectors
import socket
import time
from contextlib import ExitStack, suppress

from odoo.tools import config

from .endpoint import parameter

# For all addresses together. They are those of this very machine, which answers at once, unless a
# firewall drops what comes.
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
    return port if _accepts([host for host in hosts if host], port) else None


def _accepts(hosts, port) -> bool:
    """Whether one of the hosts accepts a connection; all are asked at the same time."""
    deadline = time.monotonic() + _SECONDS
    with ExitStack() as opened, selectors.DefaultSelector() as waiting:
        for host in hosts:
            with suppress(OSError):
                asking = _asking(host, port)
                opened.enter_context(asking)
                waiting.register(asking, selectors.EVENT_WRITE)
        while waiting.get_map() and (seconds := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(seconds):
                if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    return True
                waiting.unregister(key.fileobj)
    return False


def _asking(host, port):
    """A socket that has begun to connect. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    asking = socket.socket(family, kind, protocol)
    asking.settimeout(0)
    asking.connect_ex(address)
    return asking
