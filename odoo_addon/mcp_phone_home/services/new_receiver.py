"""
Pointing a database to a receiver because an administrator, or an agent of theirs, says so.

The URL is committed before the receiver is asked, so nobody waits for the network. The
token is for the receiver it was given out by: to another origin it is never sent.
"""

import logging
import math
import os

from psycopg2 import errors

from odoo import SUPERUSER_ID, api
from odoo.exceptions import AccessError

from client import host_facts
from client.receiver_url import parse

from .interval import heartbeat_interval_seconds
from .messages import shown
from .outgoing import Outcome
from .phone_home import NothingToSend, prepare_registration
from .settings import checked_receiver_url, outside_the_database
from .state import (
    ReadOnlyDatabase,
    forget_claims,
    own_transaction,
    remember,
    seconds_until_next_call,
    wait_for_turn,
)

_logger = logging.getLogger(__name__)

MOST_CALLS = 5
PERIOD_SECONDS = 60.0

_ATTEMPTS = 10

_OVERTAKEN = (errors.LockNotAvailable, errors.SerializationFailure, errors.UniqueViolation)


def register_at(env, url) -> dict:
    """
    Store the base URL of a receiver, and register there: one attempt, one timeout at most.

    The answer has these members:

    - `server_id`: what the receiver knows this server by
    - `url_stored`: the URL, without `/register` and without a slash at its end
    - `heartbeat_schedule`: in words, such as "every 60 seconds" or "off"
    - `registered`: whether the receiver has taken the registration in
    - `reason`: why not, in a sentence; else None
    - `token_cleared`: whether a token was removed, since it was for another receiver

    Raises ValueError for a URL that cannot be one, for too many calls, and where the token
    cannot be removed; nothing is changed then. Raises AccessError for whoever is no
    administrator.
    """
    outcome, where = "refused", "a URL that cannot be one"
    try:
        if not env.is_system():
            raise AccessError(env._("Only administrators may choose a receiver."))
        _count_call(env.registry)
        base = _base_url(url)
        where = base
        token_cleared = _committed(env.registry, lambda env: _store(env, base))
        outcome = "stored"
        answer = _registered(env.registry, base, token_cleared=token_cleared)
        outcome = "registered" if answer["registered"] else "stored, but not registered"
        return answer
    finally:
        _logger.info(
            "register_receiver of %s (user %d) with %s: %s",
            *(shown(env.user.login), env.uid, where, outcome),
        )


def _count_call(registry):
    limit = {"most": MOST_CALLS, "period_seconds": PERIOD_SECONDS}
    seconds = _committed(registry, lambda env: seconds_until_next_call(env, **limit))
    if seconds:
        raise ValueError(
            f"There were {MOST_CALLS} calls within {PERIOD_SECONDS:.0f} seconds; "
            f"the next is possible in {math.ceil(seconds)} seconds."
        )


def _base_url(url) -> str:
    """The URL as it is stored. Raises ValueError, which shows nothing of it."""
    if not isinstance(url, str) or not url.strip():
        raise ValueError("The receiver's URL is missing.")
    return checked_receiver_url(url)


def _store(env, base) -> bool:
    """Whether the token was removed. Raises ValueError when it had to be, and cannot."""
    wait_for_turn(env)
    set_param = env["ir.config_parameter"].set_param
    old = (set_param("mcp.phone_home_url", base) or "").strip()
    if old == base:
        return False
    _let_next_action_register(env)
    if not old or _origin(old) == _origin(base):
        return False
    if outside_the_database("mcp.phone_home_token"):
        raise ValueError(
            "The token of this server is set outside the database and is for the receiver at "
            "another address; an administrator of the host must change both."
        )
    return bool((set_param("mcp.phone_home_token", None) or "").strip())


def _let_next_action_register(env):
    """Whatever comes of it now; nobody has told this receiver of this host."""
    env["ir.config_parameter"].set_param("mcp.last_hostname", None)
    forget_claims(env)


def _origin(url):
    """Scheme, host and port; None for what is no URL of a receiver."""
    try:
        parsed = parse(url)
    except ValueError:
        return None
    return parsed.scheme, parsed.host, parsed.port


def _registered(registry, base, *, token_cleared) -> dict:
    with registry.cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        server_id = f"{cr.dbname}_{host_facts().hostname}"
        schedule = _schedule(env)
        try:
            outgoing = prepare_registration(env, attempts=1)
        except NothingToSend as error:
            outgoing, outcome = None, Outcome(reason=str(error))
    if outgoing is not None:
        outcome = _deliver(registry, outgoing, base)

    return {
        "server_id": server_id,
        "url_stored": base,
        "heartbeat_schedule": schedule,
        "registered": outcome.taken_in,
        "reason": outcome.reason or None,
        "token_cleared": token_cleared,
    }


def _deliver(registry, outgoing, base):
    if outgoing.settings.url != base:
        # Its token is for that one.
        return Outcome(reason="Another receiver was chosen meanwhile.")
    outcome = outgoing.deliver()
    remember(registry, outcome)
    return outcome


def _schedule(env) -> str:
    seconds = heartbeat_interval_seconds(env, stage=os.environ.get("ODOO_STAGE", ""))
    return "off" if seconds is None else f"every {seconds:.0f} seconds"


def _committed(registry, work, *, attempts=_ATTEMPTS):
    """What `work(env)` returns, once it is committed. Raises ValueError when it cannot be."""
    try:
        with own_transaction(registry) as env:
            return work(env)
    except ReadOnlyDatabase as error:
        raise ValueError(str(error)) from error
    except _OVERTAKEN as error:
        if attempts > 1:
            return _committed(registry, work, attempts=attempts - 1)
        raise ValueError("The database is busy; nothing was changed. Call again.") from error
