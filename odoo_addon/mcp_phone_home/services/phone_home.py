"""
What this Odoo tells the fleet's receiver, and the telling of it.

Phoning home is off, and nothing is sent, as long as `mcp.phone_home_url` is empty.
A receiver that is away never raises here: it costs one line in the log, and no more time
than `mcp.phone_home_timeout` for each attempt.
"""

import logging
import os
import time
from datetime import datetime, timezone

from odoo import release

from client import host_facts
from contract import (
    FleetError,
    Heartbeat,
    Registration,
    ServerPayload,
    structure,
    unstructure,
)

from ..tools.registry import get_tool_registry
from .interval import heartbeat_interval_seconds
from .outgoing import Outgoing
from .settings import receiver_settings, server_settings

_logger = logging.getLogger(__name__)

# What uptime counts from, in seconds since the epoch.
_server_start_time = time.time()


def _build_server_payload(env) -> dict:
    """
    Everything that this server says about itself, as it goes over the wire.

    Optional fields that are not known are left out. Raises `contract.InvalidMessage`.
    """
    host = host_facts()
    server = server_settings(env)
    stage = os.environ.get("ODOO_STAGE", "")

    return unstructure(
        ServerPayload(
            server_id=f"{env.cr.dbname}_{host.hostname}",
            hostname=host.hostname,
            ip_addresses=host.ip_addresses,
            port=server.port,
            transport="http/sse",
            version="1.0.0",
            odoo_version=release.version,
            database=env.cr.dbname,
            capabilities=tuple(get_tool_registry()),
            odoo_stage=stage,
            database_uuid=env["ir.config_parameter"].sudo().get_param("database.uuid") or None,
            endpoint_url=server.endpoint_url,
            heartbeat_interval_seconds=heartbeat_interval_seconds(env, stage=stage),
        )
    )


def register_server(env) -> bool:
    """
    Tell the receiver that this server is there, again after a pause if it cannot be reached.

    All attempts and pauses together take some 20 seconds by default, and 2 minutes when the
    receiver asks for patience, so call it where nobody waits for it. True when the receiver
    has taken it in; False when not, which is logged, and when phoning home is off.
    """
    return _deliver(prepare_registration(env))


def send_heartbeat(env) -> bool:
    """
    Tell the receiver that this server is alive: one request, never a second try.

    True when the receiver has taken it in; False when not, which is logged, and when
    phoning home is off.
    """
    return _deliver(_prepare(env, _heartbeat, _send_heartbeat))


def prepare_registration(env) -> Outgoing | None:
    """
    What `register_server` would send, to be delivered later or elsewhere.

    None when phoning home is off, or when there is nothing valid to send, which is logged.
    """
    return _prepare(env, _registration, _send_registration)


def _prepare(env, build, send) -> Outgoing | None:
    settings = receiver_settings(env)
    if not settings.url:
        return None
    try:
        message = build(structure(_build_server_payload(env), ServerPayload))
    except FleetError as error:
        _logger.warning("This server cannot phone home: %s", error)
        return None
    return Outgoing(settings=settings, message=message, send=send)


def _deliver(outgoing) -> bool:
    return outgoing is not None and outgoing.deliver()


def _registration(payload):
    return Registration.from_payload(payload, started_at=_moment(_server_start_time))


def _heartbeat(payload):
    now = time.time()
    # The host's clock may have been set back.
    uptime_seconds = max(0.0, now - _server_start_time)

    return Heartbeat.from_payload(
        payload, status="healthy", timestamp=_moment(now), uptime_seconds=uptime_seconds
    )


def _moment(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc)


def _send_registration(client, registration):
    client.register(registration)
    _logger.info("Registered %s with the receiver at %s", registration.server_id, client.base_url)


def _send_heartbeat(client, heartbeat):
    client.heartbeat(heartbeat)
    _logger.debug("Sent a heartbeat of %s to %s", heartbeat.server_id, client.base_url)
