"""
What a server says about itself.

`ServerPayload` is the complete view that a sender builds.
`Registration` and `Heartbeat` are what it sends: partial views, in which None
means unknown, never empty.
"""

# Annotations stay objects here, for the rules are read from them when the
# classes are made: no `from __future__ import annotations`.

from datetime import datetime
from typing import Any

from attrs import fields, frozen

from contract.checked import checked
from contract.fields import (
    HttpUrl,
    Interval,
    IpAddress,
    Moment,
    Port,
    Seconds,
    ServerId,
    Text,
)

__all__ = ["Heartbeat", "IpAddresses", "Registration", "ServerPayload", "View"]


@frozen(kw_only=True, field_transformer=checked)
class IpAddresses:
    """
    Where a server can be reached, as it sees itself.

    Attributes:
        primary: The address it reaches the network from; loopback when there is no
            network.
        all: Every address, both families. Source: the host's interfaces.
    """

    primary: IpAddress
    all: tuple[IpAddress, ...]


@frozen(kw_only=True, field_transformer=checked)
class ServerPayload:
    """
    The complete view of a server, as its sender builds it.

    Raises `InvalidMessage` for a value that breaks the contract.

    Attributes:
        server_id: The key, `{database}_{hostname}`; 1 to 255 characters, no control
            characters.
        hostname: The host's name. Source: `socket.gethostname()`.
        ip_addresses: Where the host can be reached.
        port: Where the MCP server listens. Source: `mcp.server_port`.
        transport: How MCP is spoken there, `http/sse`.
        version: Of the MCP server.
        odoo_version: Of Odoo. Source: `odoo.release.version`.
        database: Name of the database.
        capabilities: Names of the MCP tools, sorted.
        odoo_stage: `dev`, `staging`, `production`, or empty off Odoo.sh. Source:
            `ODOO_STAGE`.
        database_uuid: What stays the same when a rebuild changes the `server_id`;
            copies of a database share it. Source: Odoo's `database.uuid`.
        endpoint_url: Where an MCP client connects; http or https.
        heartbeat_interval_seconds: How often the sender promises to be heard.
    """

    server_id: ServerId
    hostname: Text
    ip_addresses: IpAddresses
    port: Port
    transport: Text
    version: Text
    odoo_version: Text
    database: Text
    capabilities: tuple[Text, ...]
    odoo_stage: Text
    database_uuid: Text | None = None
    endpoint_url: HttpUrl | None = None
    heartbeat_interval_seconds: Interval | None = None


@frozen(kw_only=True)
class View:
    """
    What may be known of a server: the fields of `ServerPayload`, all but the key
    optional.
    """

    server_id: ServerId
    hostname: Text | None = None
    ip_addresses: IpAddresses | None = None
    port: Port | None = None
    transport: Text | None = None
    version: Text | None = None
    odoo_version: Text | None = None
    database: Text | None = None
    capabilities: tuple[Text, ...] | None = None
    odoo_stage: Text | None = None
    database_uuid: Text | None = None
    endpoint_url: HttpUrl | None = None
    heartbeat_interval_seconds: Interval | None = None


@frozen(kw_only=True, field_transformer=checked)
class Registration(View):
    """
    Sent once, when a server starts.

    Raises `InvalidMessage` for a value that breaks the contract.

    Attributes:
        started_at: When the server started, in UTC.
    """

    started_at: Moment | None = None

    @classmethod
    def from_payload(cls, payload: ServerPayload, *, started_at: datetime) -> "Registration":
        """The full message of a server that started at that time."""
        return cls(**_fields_of(payload), started_at=started_at)


@frozen(kw_only=True, field_transformer=checked)
class Heartbeat(View):
    """
    Sent on a schedule.

    Raises `InvalidMessage` for a value that breaks the contract.

    Attributes:
        status: How the sender feels, `healthy`.
        timestamp: The sender's clock, in UTC.
        uptime_seconds: Since the sender was loaded.
    """

    status: Text | None = None
    timestamp: Moment | None = None
    uptime_seconds: Seconds | None = None

    @classmethod
    def from_payload(
        cls,
        payload: ServerPayload,
        *,
        timestamp: datetime,
        uptime_seconds: float,
        status: str = "healthy",
    ) -> "Heartbeat":
        """The full message of a server at that time."""
        return cls(
            **_fields_of(payload),
            status=status,
            timestamp=timestamp,
            uptime_seconds=uptime_seconds,
        )


def _fields_of(payload: ServerPayload) -> dict[str, Any]:
    return {a.name: getattr(payload, a.name) for a in fields(ServerPayload)}
