"""Registering without letting anybody wait for the network."""

import logging
import threading
from functools import partial

from odoo import SUPERUSER_ID, api
from odoo.service.server import CommonServer

from .phone_home import prepare_registration

_logger = logging.getLogger(__name__)


def register_in_background(registry):
    """
    Register the server of a database, out of what is committed there.

    Everything is read here and now, for the ORM may be in the middle of loading modules,
    where no other thread may use it; the thread only does the talking. A server that stops
    meanwhile, as after `--stop-after-init`, gives it the time of one attempt.

    Never raises.
    """
    try:
        with registry.cursor() as cr:
            outgoing = prepare_registration(api.Environment(cr, SUPERUSER_ID, {}))
        if outgoing is not None:
            _start(outgoing, registry.db_name)
    except Exception:
        _logger.exception("The server was not registered, and this is a bug of the addon")


def _start(outgoing, database):
    thread = threading.Thread(
        target=_run, args=(outgoing,), name="mcp_phone_home.register", daemon=True
    )
    # Odoo's log tells the database by it.
    thread.dbname = database
    thread.start()
    CommonServer.on_stop(partial(thread.join, outgoing.settings.timeout_seconds))


def _run(outgoing):
    try:
        outgoing.deliver()
    except Exception:
        _logger.exception("The server was not registered, and this is a bug of the addon")
