"""
Building the messages about this Odoo server, and sending them to the receiver.

A registration holds the description of the tools, and a heartbeat only its digest.

Nothing is sent while the system parameter `mcp.phone_home_url` is empty.
A receiver that cannot be reached raises no exception here: it costs one warning in the log, and
at most `mcp.phone_home_timeout` seconds for each attempt.
"""

import logging
import os
import time
from datetime import datetime, timezone
from functools import partial

from attrs import evolve

from odoo import release

from client import host_facts
from contract import (
    FAREWELL,
    FleetError,
    Heartbeat,
    Registration,
    ServerPayload,
    unstructure,
)

from ..tools.registry import announced_tools
from .catalogue import digest_of, with_tools
from .interval import heartbeat_interval_seconds
from .listening import listening_port
from .outgoing import Outcome, Outgoing
from .pace import declared_interval_seconds
from .server_start import server_started_at
from .settings import receiver_settings, server_settings
from .state import is_too_large, remember, stored_pace

_logger = logging.getLogger(__name__)

MCP_VERSION = "1.0.0"

# When this module was loaded, in seconds since 1970: the zero of `uptime_seconds`.
_server_start_time = time.time()


def _build_server_payload(env) -> dict:
    """
    The wire form of `contract.ServerPayload` for this server, as a dict.

    Optional fields whose value is not known are omitted, and so is `sequence`, the number that
    a message gets when it is sent. `port` is that of the settings; a message has another one, or
    none, where nothing listens on it: see `announced`. Raises `contract.InvalidMessage`.
    """
    return unstructure(_server_payload(env))


def _server_payload(env) -> ServerPayload:
    host = host_facts()
    server = server_settings(env)
    stage = os.environ.get("ODOO_STAGE", "")
    tools = announced_tools(env)
    usual = heartbeat_interval_seconds(env, stage=stage)

    payload = ServerPayload(
        server_id=f"{env.cr.dbname}_{host.hostname}",
        hostname=host.hostname,
        ip_addresses=host.ip_addresses,
        port=server.port,
        transport="http/sse",
        version=MCP_VERSION,
        odoo_version=release.version,
        database=env.cr.dbname,
        capabilities=tuple(tool.name for tool in tools),
        odoo_stage=stage,
        database_uuid=env["ir.config_parameter"].sudo().get_param("database.uuid") or None,
        endpoint_url=server.endpoint_url,
        heartbeat_interval_seconds=declared_interval_seconds(
            env, usual=usual, hostname=host.hostname
        ),
    )
    return with_tools(payload, tools)


def announced(env) -> dict:
    """
    What a heartbeat tells of this server: `_build_server_payload` with the port that listens.

    The description of the tools is left out.
    """
    payload = _server_payload(env)
    port = _listening_port(env, payload)
    told = unstructure(evolve(payload, tools=None))
    del told["port"]
    return told if port is None else {**told, "port": port}


def _listening_port(env, payload) -> int | None:
    addresses = payload.ip_addresses.all
    return listening_port(env, configured=payload.port, addresses=addresses)


class NothingToSend(Exception):
    """No receiver is set, or the payload is invalid; the message is a sentence that says which."""


def register_server(env) -> bool:
    """
    Register this server at the receiver, with retries and back-off.

    It blocks for up to 21 seconds by default, and for more than 2 minutes when the receiver
    sends `Retry-After`, so do not call it in a request. Returns True when the receiver has
    accepted the registration. Returns False when it has not, which is logged as a warning, and
    when no receiver is set.
    """
    return register(env).taken_in


def send_heartbeat(env) -> bool:
    """
    Send one heartbeat, without retry.

    Returns True when the receiver has accepted it. Returns False when it has not, which is
    logged as a warning, and when no receiver is set.
    """
    return beat(env).taken_in


def register(env, *, attempts=None) -> Outcome:
    """
    Register this server at the receiver, as `register_server` does; returns what came of it.

    `attempts` replaces the setting `mcp.phone_home_retries`.
    """
    return _deliver(env, lambda: prepare_registration(env, attempts=attempts))


def beat(env) -> Outcome:
    """Send one heartbeat, as `send_heartbeat` does; returns what came of it."""
    return _deliver(env, lambda: prepare_heartbeat(env))


def prepare_registration(env, *, attempts=None) -> Outgoing:
    """
    Build the registration of this server, to number and send it later or in another thread.

    It lacks the description of the tools when the receiver has refused that for its size a while
    ago; a receiver that asks for it gets it. `attempts` overrides the setting. Raises
    NothingToSend.
    """
    settings, payload, port = _prepare(env)
    if payload.tools is not None and is_too_large(env.registry, digest_of(payload.tools)):
        payload = evolve(payload, tools=None)
    if attempts is not None:
        settings = evolve(settings, attempts=attempts)
    return _registration_of(settings, payload, port)


def prepare_heartbeat(env) -> Outgoing:
    """
    Build a heartbeat, to number and send it later or in another thread. Raises NothingToSend.

    Its answer may ask for a registration, which `Outgoing.registration` makes then.
    """
    settings, payload, port = _prepare(env)
    return Outgoing(
        settings=settings,
        message=evolve(_heartbeat(payload), port=port),
        send=_send_heartbeat,
        has_pace=bool(stored_pace(env.registry)),
        registration=partial(_registration_of, settings, payload, port),
    )


def prepare_farewell(env) -> Outgoing:
    """
    Build the farewell: a heartbeat with the status `uninstalled` and no capabilities.

    Raises NothingToSend.
    """
    settings, payload, port = _prepare(env)
    farewell = evolve(_farewell(payload), port=port)
    return Outgoing(settings=settings, message=farewell, send=_send_heartbeat)


def _deliver(env, prepare) -> Outcome:
    try:
        outgoing = prepare()
    except NothingToSend as error:
        return Outcome(reason=str(error))
    outcome = outgoing.numbered(env.registry).deliver()
    remember(env.registry, outcome)
    return outcome


def _prepare(env) -> tuple:
    """
    `(settings, payload, port)`: those of the receiver, and the port that listens or None.

    Raises NothingToSend.
    """
    settings = receiver_settings(env)
    if not settings.url:
        raise NothingToSend("Phoning home is off: no URL of a receiver is set.")
    try:
        payload = _server_payload(env)
    except FleetError as error:
        _logger.warning("This server cannot phone home: %s", error)
        raise NothingToSend(f"This server cannot phone home: {error}") from error
    return settings, payload, _listening_port(env, payload)


def _registration_of(settings, payload, port) -> Outgoing:
    registration = evolve(_registration(payload), port=port)
    return Outgoing(settings=settings, message=registration, send=_send_registration)


def announced_start() -> datetime:
    """
    When the server was started, as a registration announces it.

    Where the operating system does not tell, it is when this module was loaded: a registration
    must have a start.
    """
    return _moment(server_started_at() or _server_start_time)


def _registration(payload):
    return Registration.from_payload(payload, started_at=announced_start())


def _heartbeat(payload, *, status="healthy"):
    now = time.time()
    # None is better than `_server_start_time`, which differs between workers: the receiver would
    # report restarts that never happened.
    started_at = server_started_at()

    heartbeat = Heartbeat.from_payload(
        evolve(payload, tools=None),
        status=status,
        timestamp=_moment(now),
        # The host's clock may have been set back.
        uptime_seconds=max(0.0, now - _server_start_time),
        started_at=None if started_at is None else _moment(started_at),
    )
    if payload.tools is None:
        return heartbeat
    return evolve(heartbeat, tools_digest=digest_of(payload.tools))


def _farewell(payload):
    return _heartbeat(evolve(payload, capabilities=(), tools=None), status=FAREWELL)


def _moment(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc)


def _send_registration(client, registration):
    receipt = client.register(registration)
    _logger.info("Registered %s with the receiver at %s", registration.server_id, client.base_url)
    return receipt


def _send_heartbeat(client, heartbeat):
    receipt = client.heartbeat(heartbeat)
    _logger.debug("Sent a heartbeat of %s to %s", heartbeat.server_id, client.base_url)
    return receipt
