import socket
from unittest.mock import patch

from odoo.tests import HttpCase, tagged
from odoo.tools import config

from odoo.addons.mcp_phone_home.services.phone_home import announced, send_heartbeat

from .common import PhoneHomeCase


class TestListening(PhoneHomeCase):
    def listening(self, host="127.0.0.1"):
        listening = socket.create_server((host, 0))
        self.addCleanup(listening.close)
        return listening.getsockname()[1]

    def set_odoo(self, **options):
        self.startPatcher(patch.dict(config.options, options))

    def told(self):
        """The port in the heartbeat that a receiver gets, and in the tool; None for none."""
        receiver = self.receiver()
        send_heartbeat(self.env)
        message = receiver.heard[-1].message
        port = message.get("port")
        self.assertEqual(port, announced(self.env).get("port"))
        note = self.env["res.config.settings"].create({}).mcp_port_note
        self.assertIn("no port" if port is None else str(port), note)
        return port

    def test_port_that_is_set_is_told_while_something_listens_on_it(self):
        port = self.listening()
        self.set_params(server_port=str(port))

        self.assertEqual(port, self.told())

    def test_port_on_which_nothing_listens_is_not_told(self):
        self.set_params(server_port=self.closed_port().rpartition(":")[2])

        self.assertIsNone(self.told())

    def test_without_a_setting_the_port_of_odoo_is_told_if_it_listens(self):
        port = self.listening()
        self.set_odoo(http_port=port)
        self.assertEqual(port, self.told())

        closed = int(self.closed_port().rpartition(":")[2])
        self.set_odoo(http_port=closed)
        self.assertIsNone(self.told())

    def test_odoo_without_http_tells_no_port(self):
        port = self.listening()
        self.set_odoo(http_port=port, http_enable=False)

        self.assertIsNone(self.told())


@tagged("post_install", "-at_install")
class TestOwnPort(HttpCase):
    def test_odoo_that_answers_tells_its_port(self):
        self.env["ir.config_parameter"].search([("key", "=", "mcp.server_port")]).unlink()

        self.assertEqual(config["http_port"], announced(self.env)["port"])
        self.assertEqual(200, self.url_open("/mcp/v1/health").status_code)
