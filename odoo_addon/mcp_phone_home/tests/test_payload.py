import socket

from odoo import release

from odoo.addons.mcp_phone_home.services.phone_home import _build_server_payload
from odoo.addons.mcp_phone_home.tools.registry import get_tool_registry

from .common import FIELDS, PhoneHomeCase


class TestPayload(PhoneHomeCase):
    def payload(self):
        return _build_server_payload(self.env)

    def test_payload_has_every_field(self):
        """Proves: Payload builder returns all required fields"""
        self.assertLessEqual(FIELDS, set(self.payload()))

    def test_payload_describes_this_server(self):
        """Proves: Payload builder returns all required fields"""
        payload = self.payload()

        hostname = socket.gethostname()
        expected = {
            "server_id": f"{self.env.cr.dbname}_{hostname}",
            "hostname": hostname,
            "port": 8768,
            "transport": "http/sse",
            "version": "1.0.0",
            "odoo_version": release.version,
            "database": self.env.cr.dbname,
            "odoo_stage": "",
        }
        self.assertEqual(expected, {name: payload[name] for name in expected})

    def test_payload_has_the_primary_address_among_all(self):
        addresses = self.payload()["ip_addresses"]

        self.assertEqual({"primary", "all"}, set(addresses))
        self.assertIn(addresses["primary"], addresses["all"])

    def test_capabilities_are_the_names_of_the_tools(self):
        capabilities = self.payload()["capabilities"]

        self.assertEqual(list(get_tool_registry().keys()), capabilities)
        self.assertLessEqual({"fleet_status", "server_info"}, set(capabilities))

    def test_stage_is_read_from_the_environment(self):
        """Proves: Odoo.sh production stage detected"""
        self.set_environ(ODOO_STAGE="production")

        self.assertEqual("production", self.payload()["odoo_stage"])

    def test_stage_is_empty_outside_odoo_sh(self):
        """Proves: Non-Odoo.sh environment"""
        self.set_environ(ODOO_STAGE=None)

        self.assertEqual("", self.payload()["odoo_stage"])

    def test_port_is_read_from_the_parameter(self):
        self.set_params(server_port="9001")

        self.assertEqual(9001, self.payload()["port"])

    def test_invalid_port_is_logged_and_replaced_by_the_default(self):
        for useless in ("abc", "0", "65536", "-1", "87.5"):
            with self.subTest(useless), self.assert_one_warning("mcp.server_port", useless):
                self.set_params(server_port=useless)

                self.assertEqual(8768, self.payload()["port"])

    def test_endpoint_is_read_from_the_parameter(self):
        self.set_params(endpoint_url="https://odoo.example/mcp/sse")

        self.assertEqual("https://odoo.example/mcp/sse", self.payload()["endpoint_url"])

    def test_payload_without_an_endpoint_omits_it(self):
        self.assertNotIn("endpoint_url", self.payload())

    def test_invalid_endpoint_is_logged_and_omitted(self):
        self.set_params(endpoint_url="ftp://odoo.example")

        with self.assert_one_warning("mcp.endpoint_url", "ftp://odoo.example"):
            self.assertNotIn("endpoint_url", self.payload())

    def test_endpoint_defaults_to_a_path_of_web_base_url(self):
        for base_url in ("https://odoo.example", "https://odoo.example/"):
            with self.subTest(base_url):
                self.set_base_url(base_url)

                self.assertEqual("https://odoo.example/mcp/v1", self.payload()["endpoint_url"])

    def test_local_endpoint_is_omitted_for_a_remote_receiver(self):
        self.set_params(phone_home_url="https://fleet.example")
        for base_url in (
            "http://localhost:8069",
            "http://odoo.localhost",
            "http://127.0.0.2:8069",
            "http://[::1]:8069",
        ):
            with self.subTest(base_url):
                self.set_base_url(base_url)

                self.assertNotIn("endpoint_url", self.payload())

    def test_local_endpoint_is_sent_to_a_local_receiver(self):
        self.set_base_url("http://localhost:8069")
        for url in ("http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"):
            with self.subTest(url):
                self.set_params(phone_home_url=url)

                self.assertEqual("http://localhost:8069/mcp/v1", self.payload()["endpoint_url"])

    def test_invalid_web_base_url_is_omitted(self):
        for base_url in ("https://me:hush-hush@odoo.example", "odoo.example", "http://[::1"):
            with self.subTest(base_url):
                self.set_base_url(base_url)

                self.assertNotIn("endpoint_url", self.payload())

    def set_base_url(self, base_url):
        self.env["ir.config_parameter"].set_param("web.base.url", base_url)

    def test_database_uuid_is_odoos(self):
        uuid = self.env["ir.config_parameter"].get_param("database.uuid")

        self.assertEqual(uuid, self.payload()["database_uuid"])


class TestDeclaredInterval(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.cron = self.env.ref("mcp_phone_home.ir_cron_heartbeat")

    def promised(self):
        return _build_server_payload(self.env).get("heartbeat_interval_seconds")

    def test_declared_interval_is_a_minute_by_default(self):
        self.assertEqual(60, self.promised())

    def test_interval_is_that_of_the_scheduled_action(self):
        self.cron.write({"interval_number": 2, "interval_type": "hours"})

        self.assertEqual(7200, self.promised())

    def test_no_interval_is_declared_for_an_archived_action(self):
        self.cron.active = False

        self.assertIsNone(self.promised())

    def test_no_interval_is_declared_for_a_deleted_action(self):
        self.cron.unlink()

        self.assertIsNone(self.promised())

    def test_interval_is_at_least_five_minutes_on_odoo_sh(self):
        self.set_environ(ODOO_STAGE="staging")

        self.assertEqual(300, self.promised())
