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
from odoo.modules.registry import Registry

from client import host_facts

from .background import NotStarted, StillRunning, in_background, wait_for_others
from .phone_home import (
    NothingToSend,
    prepare_farewell,
    prepare_heartbeat,
    prepare_registration,
)
from .state import claim_registration, release_registration, remember

_logger = logging.getLogger(__name__)

# Loading the modules of a large database takes minutes; the next heartbeat registers else.
_LOADING_SECONDS = 600.0

# Longer than a heartbeat takes; a registration that is tried again and again is not awaited.
_LEAVING_SECONDS = 60.0


def on_schedule(env):
    """
    Send a heartbeat in the background, after a registration when this host is another one.

    It is read here and now: Odoo closes all connections to a database when it is done with
    its scheduled actions, also those of other threads.
    """
    try:
        registration = _registration(env)
        heartbeat = prepare_heartbeat(env)
    except NothingToSend:
        return
    # Claimed last: nothing that fails before it keeps another process from registering.
    claimed = _claimed(env.registry, registration)
    try:
        _deliver_in_background(env.registry, "schedule", [*claimed, heartbeat])
    except NotStarted as error:
        _logger.warning("No heartbeat was sent. %s", error)
        for each in claimed:
            release_registration(env.registry, each.message.hostname)


def on_health(env):
    """Register after a rebuild, in the background and read there. Never raises."""
    try:
        if _is_rebuilt(env):
            in_background(
                env.cr.dbname, "health", functools.partial(_register_if_claimed, env.registry)
            )
    except StillRunning:
        # It registers this host, so nothing is lost.
        return
    except NotStarted as error:
        _logger.warning("The server was not registered after a rebuild. %s", error)
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
    except NotStarted as error:
        _logger.warning("The server was not registered after its installation. %s", error)
    except Exception:
        _logger.exception("The server was not registered, and this is a bug of the addon")


def before_uninstall(env):
    """Tell the receiver, once it is committed, that this was all; at best once."""
    try:
        farewell = prepare_farewell(env)
    except NothingToSend:
        return
    env.cr.postcommit.add(functools.partial(_take_leave_in_background, env.cr.dbname, farewell))


def _take_leave_in_background(database, farewell):
    try:
        in_background(database, "uninstall", functools.partial(_take_leave, farewell))
    except NotStarted as error:
        _logger.warning("The receiver was not told of the uninstallation. %s", error)


def _take_leave(farewell, thread):
    """After all that is on its way, or the receiver would take it for a return."""
    wait_for_others(thread, most_seconds=_LEAVING_SECONDS)
    _deliver([farewell], None, thread)


def _is_rebuilt(env) -> bool:
    """Whether there is a receiver, and this host is not the one that it knows."""
    parameter = env["ir.config_parameter"].sudo().get_param
    if not parameter("mcp.phone_home_url"):
        return False
    return parameter("mcp.last_hostname") != host_facts().hostname


def _registration(env):
    """A registration if there was a rebuild, else None. Raises NothingToSend."""
    return prepare_registration(env) if _is_rebuilt(env) else None


def _claimed(registry, registration) -> list:
    """The registration, if there is one and nobody else is at it; else nothing."""
    if registration is None or not claim_registration(registry, registration.message.hostname):
        return []
    return [registration]


def _register_if_claimed(registry, thread):
    try:
        # Also where nothing can be written; then nothing is claimed.
        with registry.cursor(readonly=True) as cr:
            registration = _registration(api.Environment(cr, SUPERUSER_ID, {}))
    except NothingToSend:
        return
    _deliver(_claimed(registry, registration), registry, thread)


def _deliver_in_background(registry, occasion, messages):
    work = functools.partial(_deliver, messages, registry)
    in_background(registry.db_name, occasion, work)


def _deliver(messages, registry, thread):
    """Send one after the other, and remember what came of each where there is a registry."""
    for message in messages:
        thread.patience_seconds = message.settings.timeout_seconds
        outcome = message.deliver()
        thread.patience_seconds = 1.0
        if registry is None:
            continue
        current = _loaded(registry)
        if current is None:
            return
        remember(current, outcome)


def _loaded(registry):
    """
    The registry of that database as it is when all modules are loaded.

    None when that takes too long, which is logged, and when this addon is not there any more.
    """
    deadline = time.monotonic() + _LOADING_SECONDS
    while time.monotonic() < deadline:
        current = Registry.registries.get(registry.db_name, registry)
        if current.ready:
            return current if "mcp.phone.home.state" in current else None
        time.sleep(0.05)
    _logger.warning(
        "What came of a message was not written down, and nothing was sent after it: the modules "
        "of this database were not loaded within %.0f s",
        _LOADING_SECONDS,
    )
    return None
