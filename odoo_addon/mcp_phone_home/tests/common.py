import os
import socket
import threading
from contextlib import contextmanager
from unittest.mock import patch

from odoo.tests import TransactionCase, tagged
from odoo.tests.common import release_test_lock
from odoo.tools import config

from odoo.addons.mcp_phone_home.services import lifecycle
from odoo.addons.mcp_phone_home.services.background import Background

from .receiver import Receiver

LOGGER = "odoo.addons.mcp_phone_home"

# The fields of every message, whatever the settings are.
FIELDS = {
    "server_id",
    "hostname",
    "ip_addresses",
    "port",
    "transport",
    "version",
    "odoo_version",
    "database",
    "capabilities",
    "odoo_stage",
}


@tagged("post_install", "-at_install")
class PhoneHomeCase(TransactionCase):
    """Base class: no receiver is set in the database, and none in the environment."""

    def setUp(self):
        super().setUp()
        self.startPatcher(patch.dict(os.environ))
        self.set_environ(
            ODOO_STAGE=None,
            MCP_PHONE_HOME_TOKEN=None,
            MCP_PHONE_HOME_TOKEN_ORIGIN=None,
            MCP_PHONE_HOME_CA=None,
        )
        parameters = self.env["ir.config_parameter"]
        parameters.search([("key", "=like", "mcp.%")]).unlink()
        # Makes `registry.cursor()` return savepoints of the test's transaction, so that what
        # the addon commits is rolled back too.
        self.registry_enter_test_mode()
        self.addCleanup(self.wait_for_threads)
        self.patch(lifecycle, "_checked", {})

    def set_environ(self, **values):
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def set_params(self, **values):
        """Set system parameters, by their names without the prefix `mcp.`."""
        for name, value in values.items():
            self.env["ir.config_parameter"].set_param(f"mcp.{name}", value)

    def set_odoo_conf(self, **values):
        """Set options of odoo.conf, by their names without the prefix `mcp_`."""
        options = {f"mcp_{name}": value for name, value in values.items()}
        self.startPatcher(patch.dict(config.options, options))

    def give_sources_their_own_transactions(self):
        """
        Let the sources of foreign tools have cursors on connections of their own, as in a server.

        They do not see then what the test has written. The test waits for their threads at its
        end.
        """
        self.patch(self.registry, "cursor", lambda readonly=False: self.registry._db.cursor())
        self.addCleanup(self.wait_for_sources)

    def wait_for_sources(self):
        """Wait until the threads have finished that list foreign tools."""
        for thread in threading.enumerate():
            if thread.name == "mcp_phone_home" and not isinstance(thread, Background):
                thread.join()

    def wait_for_threads(self):
        """Wait until the addon's background threads have finished."""
        self.env.flush_all()
        with release_test_lock():
            for thread in threading.enumerate():
                if isinstance(thread, Background):
                    thread.join()
        self.env.invalidate_all()

    def state(self):
        """The addon's state row, read from the database and not from the ORM's cache."""
        state = self.env.ref("mcp_phone_home.state")
        state.invalidate_recordset()
        return state

    def receiver(self, *answers):
        """Start a fake receiver with these answers, and set its URL in the database."""
        receiver = Receiver(*answers)
        self.addCleanup(receiver.close)
        self.set_params(phone_home_url=receiver.url)
        return receiver

    def closed_port(self):
        """A URL whose port refuses connections until the test ends."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"

    @contextmanager
    def assert_one_warning(self, *words):
        """Assert that the block logs one warning with these words, in one line, no traceback."""
        with self.assertLogs(LOGGER, "WARNING") as logs:
            yield
        (record,) = logs.records
        text = record.getMessage()
        self.assertEqual(record.levelname, "WARNING")
        self.assertIsNone(record.exc_info)
        self.assertNotIn("\n", text)
        for word in words:
            self.assertIn(word, text)
