"""
The messages that a server sends about itself.

A sender (the process that reports a server) first builds a `ServerPayload`, the complete
description of the server. The methods `from_payload` make a message of it: a `Registration` or a
`Heartbeat`. Every field of these messages but `server_id` is optional; None means that the sender
does not know the value, not that the value is empty.
"""

# No `from __future__ import annotations` here: attrs reads the rules from the annotations when
# it builds the classes, so they must be objects and not text.

from datetime import datetime
from typing import Any

from attrs import fields, frozen

from contract.checked import checked
from contract.fields import (
    Digest,
    HttpUrl,
    Interval,
    IpAddress,
    Moment,
    Ordinal,
    Port,
    Seconds,
    ServerId,
    Text,
    ToolNames,
)
from contract.tools import Tools, tools_digest

__all__ = ["FAREWELL", "Heartbeat", "IpAddresses", "Registration", "ServerPayload", "View"]

FAREWELL = "uninstalled"
"""The `status` of a server's last heartbeat, which says that the server will send no more."""


@frozen(kw_only=True, field_transformer=checked)
class IpAddresses:
    """
    The IP addresses of a server's host, as the host itself reports them.

    Attributes:
        primary: The source address of the host's default route; without such a route, another
            address of the host, or loopback if it has no other.
        all: All addresses, IPv4 and IPv6, with the primary one. Source: the host's interfaces.
            Loopback and link-local IPv6 addresses may be left out.
    """

    primary: IpAddress
    all: tuple[IpAddress, ...]


@frozen(kw_only=True, field_transformer=checked)
class ServerPayload:
    """
    The complete description of a server, as its sender builds it.

    None in an optional field means that the sender does not know the value. Raises
    `InvalidMessage` for a value that breaks the contract.

    Attributes:
        server_id: Identifies the server, by custom `{database}_{hostname}`; 1 to 255 characters,
            no control characters.
        hostname: Name of the host. Source: `socket.gethostname()`.
        ip_addresses: IP addresses of the host.
        port: TCP port on which the MCP server listens. Source: the system parameter
            `mcp.server_port` of Odoo.
        transport: The MCP transport that the server speaks, `http/sse`.
        version: Version of the MCP server.
        odoo_version: Version of Odoo. Source: `odoo.release.version`.
        database: Name of the database.
        capabilities: Names of the MCP tools, sorted; at most 1,000 different ones, of 1 to 200
            characters each. A name that is repeated is kept once.
        odoo_stage: `dev`, `staging`, `production`, or empty outside Odoo.sh. Source: the
            environment variable `ODOO_STAGE`.
        database_uuid: Identifies the database: a rebuild changes the `server_id` and keeps
            the uuid. A copy of a database has the same uuid as the original. Source: Odoo's
            `database.uuid`.
        endpoint_url: The http or https URL to which an MCP client connects.
        heartbeat_interval_seconds: Seconds between two heartbeats, as the sender promises.
        sequence: The number of the message among all that were sent for this database, counted
            in the database itself. Several servers of one database continue each other's
            numbers, and may skip some; a copy of the database repeats numbers of the original.
        tools: The description of the tools: what they are for. Only a registration carries it; a
            heartbeat carries its digest.
    """

    server_id: ServerId
    hostname: Text
    ip_addresses: IpAddresses
    port: Port
    transport: Text
    version: Text
    odoo_version: Text
    database: Text
    capabilities: ToolNames
    odoo_stage: Text
    database_uuid: Text | None = None
    endpoint_url: HttpUrl | None = None
    heartbeat_interval_seconds: Interval | None = None
    sequence: Ordinal | None = None
    tools: Tools | None = None


@frozen(kw_only=True)
class View:
    """
    The base class of messages and records: what is known of a server.

    It has the fields of `ServerPayload`, but `tools_digest` in place of `tools`, and only
    `server_id` is required. None means that a value is not known.

    Attributes:
        tools_digest: Digest of the description of the server's tools, which only a registration
            carries in full; the function `tools_digest` computes one. At most 100 letters, digits
            and characters of `-_:.+/=`.
    """

    server_id: ServerId
    hostname: Text | None = None
    ip_addresses: IpAddresses | None = None
    port: Port | None = None
    transport: Text | None = None
    version: Text | None = None
    odoo_version: Text | None = None
    database: Text | None = None
    capabilities: ToolNames | None = None
    odoo_stage: Text | None = None
    database_uuid: Text | None = None
    endpoint_url: HttpUrl | None = None
    heartbeat_interval_seconds: Interval | None = None
    sequence: Ordinal | None = None
    tools_digest: Digest | None = None


@frozen(kw_only=True, field_transformer=checked)
class Registration(View):
    """
    The message that a server sends when it starts, and again if a receiver asks for it.

    Raises `InvalidMessage` for a value that breaks the contract.

    Attributes:
        started_at: When the server started, in UTC.
        tools: The description of the tools: what they are for; at most 1,000 tools. If the
            registration has no `tools_digest`, the receiver computes it from them.
    """

    started_at: Moment | None = None
    tools: Tools | None = None

    @classmethod
    def from_payload(cls, payload: ServerPayload, *, started_at: datetime) -> "Registration":
        """Make a registration with every field of `payload`, and the digest of its tools."""
        return cls(**_fields_of(payload), started_at=started_at, tools=payload.tools)


@frozen(kw_only=True, field_transformer=checked)
class Heartbeat(View):
    """
    The message that a server sends periodically.

    Raises `InvalidMessage` for a value that breaks the contract.

    Attributes:
        status: Health of the sender, as it reports it: `healthy`, or `uninstalled` (`FAREWELL`)
            in the last heartbeat, after which it sends no more.
        timestamp: Time of sending by the sender's clock, in UTC.
        uptime_seconds: Seconds since the sender's Python module was loaded. Each worker process
            of a server loads it for itself, so this may fall without a restart.
        started_at: When the main process of the server, not one of its workers, started, in UTC.
    """

    status: Text | None = None
    timestamp: Moment | None = None
    uptime_seconds: Seconds | None = None
    started_at: Moment | None = None

    @classmethod
    def from_payload(
        cls,
        payload: ServerPayload,
        *,
        timestamp: datetime,
        uptime_seconds: float,
        status: str = "healthy",
        started_at: datetime | None = None,
    ) -> "Heartbeat":
        """Make a heartbeat with every field of `payload`, but with the digest of the tools only."""
        return cls(
            **_fields_of(payload),
            status=status,
            timestamp=timestamp,
            uptime_seconds=uptime_seconds,
            started_at=started_at,
        )


def _fields_of(payload: ServerPayload) -> dict[str, Any]:
    values = {a.name: getattr(payload, a.name) for a in fields(ServerPayload)}
    tools = values.pop("tools")
    return {**values, "tools_digest": None if tools is None else tools_digest(tools)}
