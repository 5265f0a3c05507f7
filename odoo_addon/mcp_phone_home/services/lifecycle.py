"""
When a server phones home without being asked: installed, on schedule, rebuilt, uninstalled.

A rebuild gives the host another name, and so the server another `server_id`. The hostname
that was registered last is in `mcp.last_hostname`; the health route and the scheduled
action compare it, and register the new one. Of many at once one does so.
"""

import functools
import logging
import time

from odoo import SUPERUSER_ID, api

from client import host_facts

from .background import in_background
from .phone_home import (
    NothingToSend,
    prepare_farewell,
    prepare_heartbeat,
    prepare_registration,
)
from .state import claim_registration, remember

_logger = logging.getLogger(__name__)

# Loading the modules of a large database takes minutes; the next heartbeat registers else.
_LOADING_SECONDS = 600.0


def on_schedule(env):
    """
    Send a heartbeat in the background, after a registration when this host is another one.

    It is read here and now: Odoo closes all connections to a database when it is done with
    its scheduled actions, also those of other threads.
    """
    try:
        messages = [*_claimed_registration(env), prepare_heartbeat(env)]
    except NothingToSend:
        return
    _deliver_in_background(env.registry, "schedule", messages)


def on_health(env):
    """Register after a rebuild, in the background and read there. Never raises."""
    try:
        if _is_rebuilt(env):
            in_background(
                env.cr.dbname, "health", functools.partial(_register_if_claimed, env.registry)
            )
    except Exception:
        _logger.exception("A rebuild was not noticed, and this is a bug of the addon")


def after_install(registry):
    """
    Register in the background what is committed in a database. Never raises.

    It is read here and now: the ORM may be in the middle of loading modules, where no other
    thread may use it. A server that stops meanwhile, as after `--stop-after-init`, gives it
    the time of one attempt.
    """
    try:
        with registry.cursor() as cr:
            message = prepare_registration(api.Environment(cr, SUPERUSER_ID, {}))
        _deliver_in_background(registry, "install", [message])
    except NothingToSend:
        return
    except Exception:
        _logger.exception("The server was not registered, and this is a bug of the addon")


def before_uninstall(env):
    """Tell the receiver, once it is committed, that this was all; at best once."""
    try:
        farewell = prepare_farewell(env)
    except NothingToSend:
        return
    work = functools.partial(_deliver, [farewell], None)
    env.cr.postcommit.add(functools.partial(in_background, env.cr.dbname, "uninstall", work))


def _is_rebuilt(env) -> bool:
    """Whether there is a receiver, and this host is not the one that it knows."""
    parameter = env["ir.config_parameter"].sudo().get_param
    if not parameter("mcp.phone_home_url"):
        return False
    return parameter("mcp.last_hostname") != host_facts().hostname


def _claimed_registration(env) -> list:
    """A registration if there was a rebuild and nobody else is at it; else nothing."""
    if not _is_rebuilt(env):
        return []
    registration = prepare_registration(env)
    claimed = claim_registration(env.registry, registration.message.hostname)
    return [registration] if claimed else []


def _register_if_claimed(registry, thread):
    try:
        with registry.cursor() as cr:
            messages = _claimed_registration(api.Environment(cr, SUPERUSER_ID, {}))
    except NothingToSend:
        return
    _deliver(messages, registry, thread)


def _deliver_in_background(registry, occasion, messages):
    work = functools.partial(_deliver, messages, registry)
    in_background(registry.db_name, occasion, work)


def _deliver(messages, registry, thread):
    for message in messages:
        thread.patience_seconds = message.settings.timeout_seconds
        outcome = message.deliver()
        thread.patience_seconds = 1.0
        # An addon that was uninstalled has left nothing to remember in.
        if registry is not None and _is_loaded(registry):
            remember(registry, outcome)


def _is_loaded(registry) -> bool:
    """Wait until all modules are loaded; False when that takes too long."""
    deadline = time.monotonic() + _LOADING_SECONDS
    while not registry.ready:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
