from odoo import release
from odoo.tests import HttpCase, tagged


@tagged("post_install", "-at_install")
class TestHealth(HttpCase):
    def test_health_route_needs_no_login(self):
        answer = self.url_open("/mcp/v1/health")

        expected = {"status": "healthy", "version": "1.0.0", "odoo_version": release.version}
        self.assertEqual((200, expected), (answer.status_code, answer.json()))
        self.assertEqual("no-store", answer.headers["Cache-Control"])
        self.assertNotIn("Set-Cookie", answer.headers)
