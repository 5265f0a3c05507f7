import os
import socket
import threading
from contextlib import contextmanager
from unittest.mock import patch

from odoo.tests import TransactionCase, tagged
from odoo.tests.common import release_test_lock
from odoo.tools import config

from odoo.addons.mcp_phone_home.services.background import Background

from .receiver import Receiver

LOGGER = "odoo.addons.mcp_phone_home"

# What every message says, whatever is configured.
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
    """A database where phoning home is off, and an environment that says nothing of it."""

    def setUp(self):
        super().setUp()
        self.startPatcher(patch.dict(os.environ))
        self.set_environ(ODOO_STAGE=None, MCP_PHONE_HOME_TOKEN=None, MCP_PHONE_HOME_CA=None)
        parameters = self.env["ir.config_parameter"]
        parameters.search([("key", "=like", "mcp.%")]).unlink()
        # What is written in transactions of its own is gone with the test's.
        self.registry_enter_test_mode()
        self.addCleanup(self.wait_for_threads)

    def set_environ(self, **values):
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def set_params(self, **values):
        """Set parameters, named without their `mcp.`."""
        for name, value in values.items():
            self.env["ir.config_parameter"].set_param(f"mcp.{name}", value)

    def set_odoo_conf(self, **values):
        """Set options of odoo.conf, named without their `mcp_`."""
        options = {f"mcp_{name}": value for name, value in values.items()}
        self.startPatcher(patch.dict(config.options, options))

    def wait_for_threads(self):
        """Let everything that was begun in the background come to its end."""
        self.env.flush_all()
        with release_test_lock():
            for thread in threading.enumerate():
                if isinstance(thread, Background):
                    thread.join()
        self.env.invalidate_all()

    def state(self):
        """The row that is written in transactions of its own, as it is now."""
        state = self.env.ref("mcp_phone_home.state")
        state.invalidate_recordset()
        return state

    def receiver(self, *answers):
        """Start a receiver, and point the database to it."""
        receiver = Receiver(*answers)
        self.addCleanup(receiver.close)
        self.set_params(phone_home_url=receiver.url)
        return receiver

    def closed_port(self):
        """The URL of a place where nobody listens, for as long as the test lasts."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"

    @contextmanager
    def assert_one_warning(self, *words):
        """One line of warning that holds these words, and no traceback."""
        with self.assertLogs(LOGGER, "WARNING") as logs:
            yield
        (record,) = logs.records
        text = record.getMessage()
        self.assertEqual(record.levelname, "WARNING")
        self.assertIsNone(record.exc_info)
        self.assertNotIn("\n", text)
        for word in words:
            self.assertIn(word, text)
