from odoo.addons.mcp_phone_home.services import endpoint
from odoo.addons.mcp_phone_home.services.endpoint import SETTLED
from odoo.addons.mcp_phone_home.services.phone_home import _build_server_payload, send_heartbeat
from odoo.addons.mcp_phone_home.services.routes import OWN_PATH

from .common import PhoneHomeCase

PUBLIC = "https://odoo.example"
OTHER = "https://erp.example"


class TestAnnouncedEndpoint(PhoneHomeCase):
    def log_in(self, address):
        """Let an administrator log in at an address, as Odoo's login form does."""
        credential = {"type": "password", "login": "admin", "password": "admin"}
        browser = {"base_location": address, "interactive": True}
        self.env["res.users"].authenticate(credential, browser)

    def announced(self):
        """Send a heartbeat; returns its endpoint without the path."""
        receiver = self.receiver()
        send_heartbeat(self.env)
        self.env.invalidate_all()
        endpoint_url = receiver.heard[-1].message.get("endpoint_url")
        return endpoint_url and endpoint_url.removesuffix("/mcp/v1")

    def announced_after_logins(self, *addresses):
        told = []
        for address in addresses:
            self.log_in(address)
            told.append(self.announced())
        return told

    def test_path_is_the_one_at_which_this_addon_answers(self):
        self.log_in(PUBLIC)
        self.announced()
        self.patch(endpoint, "mcp_path", lambda env: OWN_PATH)

        self.log_in(OTHER)
        self.assertEqual(f"{PUBLIC}{OWN_PATH}", self.announced())

    def test_login_changes_web_base_url(self):
        self.log_in(PUBLIC)

        self.assertEqual(PUBLIC, self.env["ir.config_parameter"].get_param("web.base.url"))

    def test_endpoint_does_not_follow_logins_at_addresses_of_one_kind(self):
        for kind in (
            (PUBLIC, OTHER),
            ("http://odoo.example", "http://erp.example:8069"),
            ("http://192.168.1.7:8069", "http://odoo:8069", "http://10.0.0.9"),
            ("http://localhost:8069", "http://127.0.0.1:8069"),
        ):
            with self.subTest(kind):
                self.set_params(announced_endpoint=None)

                told = self.announced_after_logins(*kind, *kind)
                self.assertEqual([kind[0]] * len(told), told)

    def test_endpoint_of_a_better_kind_is_announced_at_once_and_stays(self):
        kinds = ["http://localhost:8069", "http://10.0.0.9:8069", "http://odoo.example", PUBLIC]

        self.assertEqual(kinds, self.announced_after_logins(*kinds))
        self.assertEqual([PUBLIC] * 4, self.announced_after_logins(*kinds))

    def test_new_database_announces_its_public_name_after_the_first_login(self):
        self.set_params(phone_home_url="https://fleet.example")
        self.assertNotIn("endpoint_url", _build_server_payload(self.env))

        self.log_in(PUBLIC)
        self.assertEqual(f"{PUBLIC}/mcp/v1", _build_server_payload(self.env)["endpoint_url"])

    def test_endpoint_of_the_same_kind_is_announced_when_it_is_settled(self):
        self.announced_after_logins(PUBLIC, OTHER)
        for age, expected in ((0.9 * SETTLED, PUBLIC), (SETTLED, OTHER)):
            with self.subTest(age):
                self.env.cr.execute(
                    "UPDATE ir_config_parameter SET write_date = now() AT TIME ZONE 'UTC' - %s"
                    " WHERE key = 'web.base.url'",
                    [age],
                )
                self.env.invalidate_all()

                self.assertEqual(expected, self.announced())

    def test_worse_endpoint_is_not_announced_when_it_is_settled(self):
        self.announced_after_logins(PUBLIC, "http://10.0.0.9:8069")
        self.env.cr.execute(
            "UPDATE ir_config_parameter SET write_date = '2026-01-31' WHERE key = 'web.base.url'"
        )
        self.env.invalidate_all()

        self.assertEqual(PUBLIC, self.announced())

    def test_frozen_web_base_url_is_announced(self):
        self.announced_after_logins(PUBLIC)
        for base_url in (OTHER, "http://10.0.0.9:8069"):
            with self.subTest(base_url):
                self.env["ir.config_parameter"].set_param("web.base.url", base_url)
                self.env["ir.config_parameter"].set_param("web.base.url.freeze", "True")

                self.assertEqual(base_url, self.announced())

    def test_invalid_web_base_url_keeps_what_was_announced(self):
        self.announced_after_logins(PUBLIC)
        self.env["ir.config_parameter"].set_param("web.base.url", "odoo.example")

        self.assertEqual(PUBLIC, self.announced())

    def test_set_endpoint_goes_before_what_was_announced(self):
        self.announced_after_logins(PUBLIC)
        self.set_params(endpoint_url="http://10.0.0.9/mcp")

        self.assertEqual("http://10.0.0.9/mcp", self.announced())
        self.set_params(endpoint_url=None)
        self.assertEqual(PUBLIC, self.announced())

    def test_copy_with_a_new_uuid_forgets_what_its_original_announced(self):
        self.announced_after_logins(PUBLIC)
        self.env["ir.config_parameter"].init(force=True)

        local = self.env["ir.config_parameter"].get_param("web.base.url")
        self.assertIn("localhost", local)
        self.assertEqual(local, self.announced())

    def test_local_endpoint_that_was_announced_is_not_told_to_a_remote_receiver(self):
        self.assertEqual(
            ["http://localhost:8069"], self.announced_after_logins("http://localhost:8069")
        )

        self.set_params(phone_home_url="https://fleet.example")
        self.assertNotIn("endpoint_url", _build_server_payload(self.env))

    def test_endpoint_that_the_receiver_has_not_heard_is_not_kept(self):
        self.set_params(phone_home_url=self.closed_port())
        self.log_in(PUBLIC)
        with self.assert_one_warning("cannot be reached"):
            send_heartbeat(self.env)
        self.env.invalidate_all()

        self.assertEqual([OTHER], self.announced_after_logins(OTHER))
