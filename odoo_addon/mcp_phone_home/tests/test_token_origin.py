from odoo.addons.mcp_phone_home.services.phone_home import send_heartbeat
from odoo.addons.mcp_phone_home.services.settings import receiver_settings

from .common import PhoneHomeCase
from .receiver import OK

A = "https://a.example"
B = "https://b.example"


class TokenOriginCase(PhoneHomeCase):
    def token(self):
        """The token that is sent to the current URL; None where none is."""
        return receiver_settings(self.env).token

    def origin(self):
        self.env.invalidate_all()
        return self.env["ir.config_parameter"].get_param("mcp.phone_home_token_origin")

    def sql(self, **values):
        """Set system parameters past the ORM, as an old version or a script has done."""
        self.env.flush_all()
        for name, value in values.items():
            self.env.cr.execute(
                "INSERT INTO ir_config_parameter (key, value) VALUES (%s, %s)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [f"mcp.{name}", value],
            )
        self.env.invalidate_all()
        self.env.registry.clear_cache("stable")

    def save(self, **values):
        changed = {f"mcp_{name}": value for name, value in values.items()}
        self.env["res.config.settings"].create(changed).execute()
        self.env.flush_all()


class TestTokenInTheDatabase(TokenOriginCase):
    def test_token_is_for_the_origin_of_the_url_that_is_there(self):
        for path in ("", "/fleet", ":443/"):
            with self.subTest(path):
                self.set_params(phone_home_url=A + path, phone_home_token=f"secret{path}")
                self.assertEqual((f"secret{path}", A), (self.token(), self.origin()))

    def test_token_that_was_stored_before_any_url_is_for_the_first_one(self):
        self.set_params(phone_home_token="secret")
        self.assertIs(False, self.origin())

        self.set_params(phone_home_url=A)
        self.assertEqual(("secret", A), (self.token(), self.origin()))

    def test_token_is_not_sent_to_another_origin_however_the_url_is_changed(self):
        ways = {
            "set_param": lambda url: self.set_params(phone_home_url=url),
            "write": lambda url: self.parameter().write({"value": url}),
            "delete and create": self.delete_and_create,
            "settings": lambda url: self.save(phone_home_url=url),
            "SQL": lambda url: self.sql(phone_home_url=url),
        }
        for name, change in ways.items():
            for url in (B, A.replace("https", "http"), f"{A}:8443"):
                with self.subTest(name, url=url):
                    self.set_params(phone_home_url=A, phone_home_token="secret")
                    change(url)
                    self.assertIsNone(self.token())
                    change(A)
                    self.assertEqual("secret", self.token())

    def test_token_that_is_stored_again_is_for_the_current_url(self):
        ways = {
            "set_param": lambda: self.set_params(phone_home_token="secret"),
            "settings": lambda: self.save(phone_home_token="secret"),
            "settings, with the URL": lambda: self.save(
                phone_home_url=B, phone_home_token="secret"
            ),
        }
        for name, store in ways.items():
            with self.subTest(name):
                self.set_params(phone_home_url=A, phone_home_token="secret")
                self.set_params(phone_home_url=B)
                store()
                self.assertEqual(("secret", B), (self.token(), self.origin()))

    def test_deleted_token_leaves_no_origin(self):
        self.set_params(phone_home_url=A, phone_home_token="secret")

        self.set_params(phone_home_token=False)
        self.assertIs(False, self.origin())

    def test_header_is_sent_to_the_origin_only(self):
        own = self.receiver(OK)
        self.set_params(phone_home_token="secret")
        other = self.receiver(OK)

        send_heartbeat(self.env)
        self.set_params(phone_home_url=own.url)
        send_heartbeat(self.env)
        self.assertNotIn("authorization", other.heard[0].headers)
        self.assertEqual("Bearer secret", own.heard[0].headers["authorization"])

    def test_refusal_without_the_token_says_for_which_receiver_it_is(self):
        self.set_params(phone_home_url=A, phone_home_token="secret")
        self.receiver((401, b""))

        with self.assert_one_warning(f"The token is for {A} and was not sent."):
            send_heartbeat(self.env)

    def test_form_shows_no_bullets_for_the_token_of_another_receiver_and_says_so(self):
        self.set_params(phone_home_url=A, phone_home_token="secret")
        form = self.env["res.config.settings"].create({})
        self.assertIs(False, form.mcp_token_is_for)

        self.set_params(phone_home_url=B)
        form = self.env["res.config.settings"].create({})
        self.assertEqual((False, A), (form.mcp_phone_home_token, form.mcp_token_is_for))
        form.execute()
        self.set_params(phone_home_url=A)
        self.assertEqual("secret", self.token())

    def parameter(self):
        return self.env["ir.config_parameter"].search([("key", "=", "mcp.phone_home_url")])

    def delete_and_create(self, url):
        self.parameter().unlink()
        self.env["ir.config_parameter"].create({"key": "mcp.phone_home_url", "value": url})


class TestOldToken(TokenOriginCase):
    def test_upgrade_records_the_origin_of_the_url(self):
        self.sql(phone_home_url=A, phone_home_token="secret")

        self.env["mcp.phone.home.state"].init()
        self.assertEqual(("secret", A), (self.token(), self.origin()))

    def test_upgrade_keeps_an_origin(self):
        self.set_params(phone_home_url=A, phone_home_token="secret")
        self.set_params(phone_home_url=B)

        self.env["mcp.phone.home.state"].init()
        self.assertEqual((None, A), (self.token(), self.origin()))

    def test_token_without_an_origin_is_for_the_url_before_a_change(self):
        self.sql(phone_home_url=A, phone_home_token="secret")

        self.set_params(phone_home_url=B)
        self.assertEqual((None, A), (self.token(), self.origin()))

    def test_first_message_records_the_origin(self):
        receiver = self.receiver()
        self.sql(phone_home_token="secret")

        send_heartbeat(self.env)
        self.assertEqual("Bearer secret", receiver.heard[0].headers["authorization"])
        self.assertEqual(receiver.url, self.origin())


class TestTokenOutsideTheDatabase(TokenOriginCase):
    def setUp(self):
        super().setUp()
        self.set_environ(MCP_PHONE_HOME_TOKEN="secret")

    def test_token_is_for_the_first_url(self):
        self.set_params(phone_home_url=A)
        self.assertEqual(("secret", A), (self.token(), self.origin()))

        self.set_params(phone_home_url=B)
        self.assertIsNone(self.token())

    def test_origin_beside_it_goes_before_that_in_the_database(self):
        self.set_params(phone_home_url=A)

        self.set_environ(MCP_PHONE_HOME_TOKEN_ORIGIN=f"{B}/fleet")
        self.assertIsNone(self.token())
        self.set_params(phone_home_url=B)
        self.assertEqual("secret", self.token())

    def test_origin_that_is_no_url_keeps_the_token_from_being_sent(self):
        self.set_environ(MCP_PHONE_HOME_TOKEN_ORIGIN="b.example")

        self.set_params(phone_home_url=A)
        self.assertIsNone(self.token())

    def test_token_in_the_database_does_not_change_its_origin(self):
        self.set_params(phone_home_url=A)
        self.set_params(phone_home_url=B)

        self.set_params(phone_home_token="another")
        self.assertIsNone(self.token())

    def test_origin_outside_is_not_for_a_token_in_the_database(self):
        self.set_environ(MCP_PHONE_HOME_TOKEN=None, MCP_PHONE_HOME_TOKEN_ORIGIN=B)

        self.set_params(phone_home_url=A, phone_home_token="own")
        self.assertEqual("own", self.token())
