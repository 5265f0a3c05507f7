"""Telling the receiver of a maintenance, so that it tells nobody about this server meanwhile."""

import logging

from client import Refused, host_facts
from contract import FleetError

from .advice import with_advice
from .clients import client_for
from .outgoing import Outcome
from .settings import receiver_settings

_logger = logging.getLogger(__name__)

MOST_MINUTES = 1440

_UNKNOWN = (
    "Register this server first, if the receiver does not know it. A receiver of an earlier "
    "version knows of no maintenance."
)


def begin_maintenance(env, minutes) -> Outcome:
    """
    Ask the receiver to tell nobody about this server for some minutes from now on.

    It takes one timeout at most. A failure is logged as a warning, and raises no exception.
    """
    settings = receiver_settings(env)
    if not settings.url:
        return Outcome(reason="Phoning home is off: no URL of a receiver is set.")
    server_id = f"{env.cr.dbname}_{host_facts().hostname}"
    try:
        client_for(settings).silence(server_id, minutes=minutes)
    except FleetError as error:
        is_unknown = isinstance(error, Refused) and error.status == 404
        reason = f"{error} {_UNKNOWN}" if is_unknown else with_advice(error, settings)
        _logger.warning("The receiver was not told of the maintenance: %s", reason)
        return Outcome(reason=reason)
    _logger.info("A maintenance of %d minutes of %s was announced", minutes, server_id)
    return Outcome()
