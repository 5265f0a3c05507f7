"""
The occasions on which the addon sends messages: install, schedule, rebuild, uninstall.

A rebuild changes the hostname, and so the `server_id`. The system parameter
`mcp.last_hostname` holds the hostname that was registered last. The scheduled action and the
health route compare it with the current hostname, and register the server when they differ.
`state.claim_registration` lets only one of several processes do so.

The hostnames also differ where several servers (nodes) run on one database and the action runs
on each in turn. Such a node is registered once since its start, and again after a day.

A receiver that does not know what the tools of this server are for asks for a registration in its
answer to a heartbeat. It follows in the same run; `state.claim_description` lets only one of
several processes send it, and not again for a while.

Anybody may ask the health route, so a process looks at most once in `CHECK_SECONDS` whether the
server must be registered, and builds a message only when it could claim the registration.
"""

import functools
import logging
import time

from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

from contract import Registration

from .background import NotStarted, StillRunning, in_background, wait_for_others
from .conflicts import RETRIED, conflicts_are_no_errors
from .hosts import this_host
from .interval import usual_interval_seconds
from .pace import is_too_early
from .phone_home import (
    NothingToSend,
    announced_start,
    prepare_farewell,
    prepare_heartbeat,
    prepare_registration,
)
from .state import (
    claim_description,
    claim_registration,
    is_claimed,
    release_registration,
    remember,
)

_logger = logging.getLogger(__name__)

# Loading the modules of a large database takes minutes.
_LOADING_SECONDS = 600.0

# Longer than a heartbeat takes, but shorter than a registration with many retries.
_FAREWELL_WAIT_SECONDS = 60.0

CHECK_SECONDS = 60.0

# When this process has last looked whether to register, in seconds of `time.monotonic`, by the
# name of the database.
_checked: dict[str, float] = {}
_now = time.monotonic


def on_schedule_safely(env):
    """Do what `on_schedule` does, and log what it raises."""
    try:
        with conflicts_are_no_errors():
            on_schedule(env)
    except RETRIED as error:
        _logger.info(
            "No heartbeat was sent this time, for another transaction was first: %s", error
        )
    except Exception:  # whatever it is, Odoo's own work goes on
        _logger.exception("The heartbeat was not sent, and this is a bug of the addon")


def on_schedule(env):
    """
    Send a heartbeat in a background thread; before it a registration if the host was rebuilt.

    Sends no heartbeat in a run that the receiver has asked to skip. Logs a warning and sends
    nothing while the thread of the previous call is still running.

    The messages are built here and not in the thread: after its scheduled actions, Odoo closes
    all connections to a database, also those of other threads.
    """
    try:
        registration = _registration(env)
        if registration is None and _is_too_early(env):
            return
        heartbeat = prepare_heartbeat(env)
    except NothingToSend:
        return
    # Claim after the steps that may fail, so that no failure leaves a claim behind.
    claimed = _claimed(env.registry, registration)
    messages = [each.numbered(env.registry) for each in (*claimed, heartbeat)]
    try:
        _deliver_in_background(env.registry, "schedule", messages)
    except NotStarted as error:
        _logger.warning("No heartbeat was sent. %s", error)
        for each in claimed:
            release_registration(env.registry, each.message.hostname)


def on_health(env):
    """
    Register the server in a background thread if the host was rebuilt. Never raises.

    It looks at most once in `CHECK_SECONDS` in each process. The thread reads the database
    itself, so that the health route stays fast.
    """
    try:
        if _is_time_to_check(env.cr.dbname) and _is_rebuilt(env):
            in_background(
                env.cr.dbname, "health", functools.partial(_register_if_claimed, env.registry)
            )
    except StillRunning:
        # The running thread registers the same host, so there is nothing to warn about.
        return
    except NotStarted as error:
        _logger.warning("The server was not registered after a rebuild. %s", error)
    except Exception:  # whatever it is, Odoo's own work goes on
        _logger.exception("A rebuild was not noticed, and this is a bug of the addon")


def after_install(registry):
    """
    Register the server in a background thread, after the install was committed. Never raises.

    The message is built here and not in the thread: while Odoo loads modules, no other thread
    may use the ORM. A process that exits, as after `--stop-after-init`, waits for one attempt.
    """
    try:
        with registry.cursor() as cr:
            message = prepare_registration(api.Environment(cr, SUPERUSER_ID, {}))
        _deliver_in_background(registry, "install", [message.numbered(registry)])
    except NothingToSend:
        return
    except NotStarted as error:
        _logger.warning("The server was not registered after its installation. %s", error)
    except Exception:  # whatever it is, Odoo's own work goes on
        _logger.exception("The server was not registered, and this is a bug of the addon")


def before_uninstall(env):
    """
    Send the farewell, the last heartbeat, once the uninstallation is committed; without retry.

    The message gets its number now, since the uninstallation drops the sequence of numbers.
    """
    try:
        farewell = prepare_farewell(env).numbered(env.registry)
    except NothingToSend:
        return
    send = functools.partial(_send_farewell_in_background, env.cr.dbname, farewell)
    env.cr.postcommit.add(send)


def _send_farewell_in_background(database, farewell):
    try:
        in_background(database, "uninstall", functools.partial(_send_farewell, farewell))
    except NotStarted as error:
        _logger.warning("The receiver was not told of the uninstallation. %s", error)


def _send_farewell(farewell, thread):
    """
    Send the farewell after the messages of other threads.

    The receiver would take a message that arrives after the farewell for a return of the server.
    """
    wait_for_others(thread, most_seconds=_FAREWELL_WAIT_SECONDS)
    _deliver([farewell], None, thread)


def _is_time_to_check(database) -> bool:
    now, last = _now(), _checked.get(database)
    if last is not None and now - last < CHECK_SECONDS:
        return False
    _checked[database] = now
    return True


def _is_rebuilt(env) -> bool:
    """
    Whether a receiver is set and the hostname differs from the one registered last.

    False for a node (one of several servers of this database) that has been registered since its
    start, and while another process registers this host.
    """
    parameter = env["ir.config_parameter"].sudo().get_param
    hostname = this_host()
    if not parameter("mcp.phone_home_url") or parameter("mcp.last_hostname") == hostname:
        return False
    return not is_claimed(env.registry, hostname, started_at=announced_start())


def _is_too_early(env) -> bool:
    return is_too_early(env, usual=usual_interval_seconds(env), hostname=this_host())


def _registration(env):
    """The registration to send if the host was rebuilt, else None. Raises NothingToSend."""
    return prepare_registration(env) if _is_rebuilt(env) else None


def _claimed(registry, registration) -> list:
    """`[registration]` if this process could claim it; `[]` for None or another's claim."""
    if registration is None:
        return []
    message = registration.message
    if not claim_registration(registry, message.hostname, started_at=message.started_at):
        return []
    return [registration]


def _register_if_claimed(registry, thread):
    """Register the server; it builds the message only after it could claim the registration."""
    hostname = this_host()
    if not claim_registration(registry, hostname, started_at=announced_start()):
        return
    try:
        with registry.cursor(readonly=True) as cr:
            registration = prepare_registration(api.Environment(cr, SUPERUSER_ID, {}))
    except NothingToSend:
        release_registration(registry, hostname)
        return
    _deliver([registration.numbered(registry)], registry, thread)


def _deliver_in_background(registry, occasion, messages):
    work = functools.partial(_deliver, messages, registry)
    in_background(registry.db_name, occasion, work)


def _deliver(messages, registry, thread):
    """
    Send the messages in order; with a registry, store the outcome of each in the database.

    After a heartbeat whose answer asks for a registration, one follows, unless a registration is
    among the messages or this one was sent a short while ago.
    """
    registers = any(isinstance(each.message, Registration) for each in messages)
    for message in messages:
        outcome = _delivered(message, thread)
        if registry is None:
            continue
        current = _loaded(registry)
        if current is None:
            return
        remember(current, outcome)
        if outcome.wants_registration and not registers:
            _register_again(message, current, thread)


def _delivered(message, thread):
    thread.exit_wait_seconds = message.settings.timeout_seconds
    try:
        return message.deliver()
    finally:
        thread.exit_wait_seconds = 1.0


def _register_again(heartbeat, registry, thread):
    """Send the registration that belongs to a heartbeat, unless a process has just done so."""
    hostname, digest = heartbeat.message.hostname, heartbeat.message.tools_digest
    if not claim_description(registry, hostname, digest):
        return
    registration = heartbeat.registration().numbered(registry)
    outcome = _delivered(registration, thread)
    current = _loaded(registry)
    if current is not None:
        remember(current, outcome)


def _loaded(registry):
    """
    The current registry of the same database, after all its modules were loaded.

    None when that takes longer than `_LOADING_SECONDS`, which is logged, and when the addon was
    uninstalled.
    """
    deadline = time.monotonic() + _LOADING_SECONDS
    while time.monotonic() < deadline:
        current = Registry.registries.get(registry.db_name, registry)
        if current.ready:
            return current if "mcp.phone.home.state" in current else None
        time.sleep(0.05)
    _logger.warning(
        "The outcome of a message was not written down, and nothing was sent after it: the "
        "modules of this database were not loaded within %.0f s",
        _LOADING_SECONDS,
    )
    return None
