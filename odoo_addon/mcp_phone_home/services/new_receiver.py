"""
Changing the receiver of a database by the MCP tool `register_receiver`.

The URL is committed before the receiver is called, so no transaction waits for the network.
The token is never sent to an origin (scheme, host and port) that it is not for. An agent must not
decide which origin that is, so the tool removes a token that was stored while no URL was set.
"""

import logging
import math
import os

from odoo import SUPERUSER_ID, api
from odoo.exceptions import AccessError

from client import host_facts

from .interval import heartbeat_interval_seconds
from .messages import shown
from .outgoing import Outcome
from .phone_home import NothingToSend, prepare_registration
from .settings import TOKEN, URL, checked_receiver_url, outside_the_database, stored
from .state import (
    CONFLICTS,
    ReadOnlyDatabase,
    committed,
    forget_claims,
    remember,
    seconds_until_next_call,
    wait_for_turn,
)
from .token_origin import is_token_of_another

_logger = logging.getLogger(__name__)

MOST_CALLS = 5
PERIOD_SECONDS = 60.0


def register_at(env, url) -> dict:
    """
    Store the base URL of a receiver and register there, in one attempt.

    It takes one timeout at most, or two when the receiver refuses the description of the tools for
    its size. The result has these members:

    - `server_id`: the key of this server at the receiver
    - `url_stored`: the URL, without `/register` and without a trailing slash
    - `heartbeat_schedule`: in words, such as "every 60 seconds" or "off"
    - `registered`: whether the receiver has accepted the registration
    - `reason`: a sentence that says why it has not; else None
    - `token_cleared`: whether the stored token was removed, since it belonged to another receiver

    Raises AccessError for a user who is no administrator. Raises ValueError, and changes
    nothing, for an invalid URL, for more than `MOST_CALLS` calls in `PERIOD_SECONDS`, and when
    the token of another receiver cannot be removed.
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
    """The URL in the form to store. Raises ValueError, which does not quote it."""
    if not isinstance(url, str) or not url.strip():
        raise ValueError("The receiver's URL is missing.")
    return checked_receiver_url(url)


def _store(env, base) -> bool:
    """
    Store the URL, and remove the token where it is not for the URL's origin.

    Returns whether a token was removed. Raises ValueError where the token is set outside the
    database and so cannot be removed.
    """
    wait_for_turn(env)
    set_param = env["ir.config_parameter"].set_param
    if stored(env).get(URL) == base:
        return False
    # Ask before the URL is written: a token without an origin counts as one for the stored URL.
    token_cleared = is_token_of_another(env, base)
    if token_cleared:
        _remove_token(env)
    set_param(URL, base)
    _let_next_action_register(env)
    return token_cleared


def _remove_token(env):
    if outside_the_database(TOKEN):
        raise ValueError(
            "The token of this server is set outside the database, and not for this receiver; "
            "an administrator of the host must say that it is, as MCP_PHONE_HOME_TOKEN_ORIGIN or "
            "as mcp_phone_home_token_origin in odoo.conf."
        )
    env["ir.config_parameter"].set_param(TOKEN, None)


def _let_next_action_register(env):
    """Forget what was registered at the old receiver, so the scheduled action registers anew."""
    env["ir.config_parameter"].set_param("mcp.last_hostname", None)
    forget_claims(env)


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
        "reason": outcome.for_agents or outcome.reason or None,
        "token_cleared": token_cleared,
    }


def _deliver(registry, outgoing, base):
    if outgoing.settings.url != base:
        # Somebody has set another URL meanwhile: the settings hold that URL and its token.
        return Outcome(reason="Another receiver was chosen meanwhile.")
    outcome = outgoing.numbered(registry).deliver()
    remember(registry, outcome)
    return outcome


def _schedule(env) -> str:
    seconds = heartbeat_interval_seconds(env, stage=os.environ.get("ODOO_STAGE", ""))
    return "off" if seconds is None else f"every {seconds:.0f} seconds"


def _committed(registry, work):
    """
    What `state.committed` returns.

    Raises ValueError when the transaction cannot be committed.
    """
    try:
        return committed(registry, work)
    except ReadOnlyDatabase as error:
        raise ValueError(str(error)) from error
    except CONFLICTS as error:
        raise ValueError("The database is busy; nothing was changed. Call again.") from error
