import socket
from datetime import timedelta

import certifi
from lxml import etree

from odoo import fields
from odoo.exceptions import AccessError, ValidationError
from odoo.tests import new_test_user

from odoo.addons.mcp_phone_home.models.res_config_settings import MASK
from odoo.addons.mcp_phone_home.services.phone_home import _build_server_payload
from odoo.addons.mcp_phone_home.services.settings import receiver_settings
from odoo.addons.mcp_phone_home.tools import registry
from odoo.addons.mcp_phone_home.tools.registry import mcp_tool

from .common import PhoneHomeCase

HEARTBEAT = "mcp_phone_home.action_send_heartbeat_now"
REGISTER = "mcp_phone_home.action_register_now"
MAINTENANCE = "mcp_phone_home.action_begin_maintenance"
BUTTONS = ("action_mcp_register", "action_mcp_send_heartbeat", "action_mcp_begin_maintenance")


class SettingsCase(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.settings = self.env["res.config.settings"]

    def save(self, **values):
        """Change these fields of the form, named without the prefix `mcp_`, and save it."""
        changed = {f"mcp_{name}": value for name, value in values.items()}
        settings = self.settings.create(changed)
        settings.execute()
        self.env.flush_all()
        return settings

    def shown(self, name):
        """The value of a field in a new form."""
        names = [f"mcp_{name}"]
        return self.settings.create({}).read(names)[0][names[0]]

    def parameters(self):
        """The stored system parameters, by their names without the prefix `mcp.`."""
        found = self.env["ir.config_parameter"].search([("key", "=like", "mcp.%")])
        return {each.key.removeprefix("mcp."): each.value for each in found}

    def assert_refused(self, *words, **values):
        """Assert that saving raises an error with these words and stores nothing."""
        before = self.parameters()
        with self.assertRaises(ValidationError) as refused:
            self.save(**values)
        for word in words:
            self.assertIn(word, str(refused.exception))
        self.assertEqual(before, self.parameters())


class TestSettings(SettingsCase):
    def test_form_opens_with_the_defaults(self):
        expected = {
            "phone_home_url": False,
            "phone_home_token": False,
            "phone_home_ca": False,
            "phone_home_timeout": 5.0,
            "phone_home_retries": 3,
            "server_port": 8768,
            "endpoint_url": False,
            "heartbeat_number": 1,
            "heartbeat_unit": "minutes",
            "is_heartbeat_off": False,
            "last_success_at": False,
            "last_failure_at": False,
        }
        self.assertEqual(expected, {name: self.shown(name) for name in expected})

    def test_form_shows_which_tools_are_offered_and_to_whom(self):
        shown = str(self.shown("tools"))
        for words in ("register_receiver", "Choose a receiver", "mcp_phone_home", "/mcp/v1"):
            self.assertIn(words, shown)
        self.assertIn("administrator", self.shown("tools_for"))
        self.assertIs(False, self.shown("path_note"))

        self.set_params(disabled="True")
        self.assertIn("Nobody", self.shown("tools_for"))

    def test_name_of_a_tool_is_no_html(self):
        self.patch(registry, "_tools", dict(registry._tools))
        mcp_tool("<b>bold</b>", description="Bold.", title="<i>")(lambda env: {})

        shown = str(self.shown("tools"))
        self.assertIn("&lt;b&gt;bold", shown)
        self.assertNotIn("<i>", shown)

    def test_form_opens_without_a_state_row(self):
        self.env["mcp.phone.home.state"].search([]).unlink()

        self.assertIs(False, self.shown("last_success_at"))
        self.save(phone_home_url="https://fleet.example")

    def test_defaults_are_not_stored(self):
        self.save()

        self.assertEqual({}, self.parameters())

    def test_what_is_saved_is_stored_and_shown(self):
        values = {
            "phone_home_url": "https://fleet.example/base",
            "phone_home_timeout": 2.5,
            "phone_home_retries": 4,
            "server_port": 9001,
            "endpoint_url": "https://odoo.example/mcp",
        }

        self.save(**values)
        self.assertEqual({name: str(value) for name, value in values.items()}, self.parameters())
        self.assertEqual(values, {name: self.shown(name) for name in values})

    def test_number_can_be_set_back_to_its_default(self):
        self.set_params(server_port="9001")

        self.save(server_port=8768)
        self.assertEqual({"server_port": "8768"}, self.parameters())

    def test_whole_seconds_are_stored_without_a_decimal_point(self):
        self.save(phone_home_timeout=8.0)

        self.assertEqual({"phone_home_timeout": "8"}, self.parameters())

    def test_emptied_texts_are_deleted(self):
        self.set_params(
            phone_home_url="https://fleet.example", endpoint_url="https://odoo.example/mcp"
        )

        self.save(phone_home_url=False, endpoint_url=" ")
        self.assertEqual({}, self.parameters())

    def test_url_is_stored_without_blanks_and_call(self):
        for typed in (" https://fleet.example/base/ ", "https://fleet.example/base/register"):
            with self.subTest(typed):
                self.set_params(phone_home_url="")

                self.save(phone_home_url=typed)
                self.assertEqual("https://fleet.example/base", self.parameters()["phone_home_url"])

    def test_invalid_url_is_refused(self):
        for useless in (
            "fleet.example",
            "ftp://fleet.example",
            "https://",
            "https://me:hush-hush@fleet.example",
            "https://fleet.example/@here",
            "https://fleet.example?a=b",
            "https://fleet.example/?",
            "https://fleet.example:99999",
        ):
            with self.subTest(useless):
                self.assert_refused(
                    "Receiver URL: expected http:// or https:// and a host", phone_home_url=useless
                )

    def test_error_about_a_url_shows_no_password(self):
        with self.assertRaises(ValidationError) as refused:
            self.save(phone_home_url="https://me:hush-hush@fleet.example")

        self.assertNotIn("hush-hush", str(refused.exception))

    def test_password_in_a_stored_url_is_neither_shown_nor_lost(self):
        self.set_params(phone_home_url="https://me:hush-hush@fleet.example")

        self.assertEqual("https://***@fleet.example", self.shown("phone_home_url"))
        self.save(server_port=9001)
        self.assertEqual("https://me:hush-hush@fleet.example", self.parameters()["phone_home_url"])

    def test_invalid_public_url_is_refused(self):
        for useless in ("odoo.example", "ftp://odoo.example", "https://me:hush@odoo.example"):
            with self.subTest(useless):
                self.assert_refused("Public URL: expected http://", endpoint_url=useless)

    def test_invalid_port_is_refused(self):
        for useless in (-1, 0, 65536):
            with self.subTest(useless):
                self.assert_refused(
                    f"MCP Port: expected a number from 1 to 65535, got {useless}.",
                    server_port=useless,
                )

    def test_invalid_timeout_is_refused(self):
        for useless, said in ((-1.0, "-1"), (0.0, "0"), (60.5, "60.5")):
            with self.subTest(useless):
                self.assert_refused(
                    f"Timeout: expected a number of seconds above 0, 60 at most, got {said}.",
                    phone_home_timeout=useless,
                )

    def test_invalid_attempts_are_refused(self):
        for useless in (-1, 0, 11):
            with self.subTest(useless):
                self.assert_refused(
                    f"Attempts: expected a number from 1 to 10, got {useless}.",
                    phone_home_retries=useless,
                )

    def test_longest_interval_is_stored(self):
        self.assertEqual(600, self.shown("heartbeat_longest_interval"))

        self.save(heartbeat_longest_interval=1200)
        self.assertEqual({"heartbeat_longest_interval": "1200"}, self.parameters())
        self.assertEqual(1200, self.shown("heartbeat_longest_interval"))

    def test_invalid_longest_interval_is_refused(self):
        for useless in (-1, 0, 59, 604801):
            with self.subTest(useless):
                self.assert_refused(
                    f"Longest Interval: expected 60 to 604800 seconds, got {useless}.",
                    heartbeat_longest_interval=useless,
                )

    def test_one_invalid_value_keeps_every_value_from_being_stored(self):
        self.assert_refused(
            "MCP Port", phone_home_url="https://fleet.example", phone_home_retries=2, server_port=0
        )

    def test_invalid_value_is_refused_when_the_saved_form_is_changed(self):
        settings = self.settings.create({})

        with self.assertRaisesRegex(ValidationError, "MCP Port"):
            settings.mcp_server_port = 0

    def test_invalid_stored_text_does_not_block_other_settings(self):
        self.set_params(
            endpoint_url="ftp://odoo.example",
            phone_home_ca="/no/such/file.pem",
            phone_home_timeout="120",
            phone_home_token="two words",
            phone_home_url="fleet.example",
        )
        before = self.parameters()

        with self.assertLogs("odoo.addons.mcp_phone_home", "WARNING"):
            self.save(server_port=9001)
        self.assertEqual({**before, "server_port": "9001"}, self.parameters())

    def test_invalid_stored_number_is_shown_as_its_default_and_kept(self):
        self.set_params(server_port="abc")

        with self.assertLogs("odoo.addons.mcp_phone_home", "WARNING"):
            self.assertEqual(8768, self.shown("server_port"))
            self.save()
        self.assertEqual({"server_port": "abc"}, self.parameters())

    def test_unchanged_numbers_are_not_written(self):
        stored = {"phone_home_timeout": "5.0", "phone_home_retries": "03"}
        self.set_params(**stored)

        self.save(server_port=8069)
        self.assertEqual({**stored, "server_port": "8069"}, self.parameters())

    def test_certificate_file_is_stored(self):
        path = certifi.where()

        self.save(phone_home_ca=f" {path} ")
        self.assertEqual({"phone_home_ca": path}, self.parameters())
        self.assertEqual(path, self.shown("phone_home_ca"))

    def test_invalid_certificate_file_is_refused(self):
        for useless in ("/no/such/file.pem", __file__, "/"):
            with self.subTest(useless):
                self.assert_refused(
                    "Certificate File: expected the path of a PEM file",
                    useless,
                    phone_home_ca=useless,
                )

    def test_certificate_file_outside_the_database_is_not_overwritten(self):
        path = certifi.where()
        self.set_environ(MCP_PHONE_HOME_CA=path)

        self.assertEqual((True, path), (self.shown("is_ca_outside"), self.shown("phone_home_ca")))
        self.save(phone_home_ca="/another/file.pem")
        self.assertEqual({}, self.parameters())

    def test_form_shows_the_server_id_of_the_payload(self):
        expected = f"{self.env.cr.dbname}_{socket.gethostname()}"

        self.assertEqual(expected, self.shown("server_id"))
        self.assertEqual(_build_server_payload(self.env)["server_id"], expected)

    def test_form_shows_the_default_public_url(self):
        self.env["ir.config_parameter"].set_param("web.base.url", "https://odoo.example")

        self.assertEqual("https://odoo.example/mcp/v1", self.shown("endpoint_default"))
        self.assertIs(False, self.shown("endpoint_url"))

    def test_form_shows_the_last_success_and_failure(self):
        moment = fields.Datetime.to_datetime("2026-01-31 12:00:00")
        self.state().write(
            {
                "last_success_at": moment,
                "last_failure_at": moment - timedelta(days=1),
                "last_failure_reason": "It was away.",
            }
        )

        self.assertEqual(moment, self.shown("last_success_at"))
        self.assertEqual(moment - timedelta(days=1), self.shown("last_failure_at"))
        self.assertEqual("It was away.", self.shown("last_failure_reason"))


class TestToken(SettingsCase):
    def test_token_is_stored(self):
        self.save(phone_home_token=" new-token ")

        self.assertEqual({"phone_home_token": "new-token"}, self.parameters())

    def test_token_that_is_set_is_shown_as_bullets(self):
        self.set_params(phone_home_token="hush-hush")

        self.assertEqual(MASK, self.shown("phone_home_token"))

    def test_bullets_keep_the_token(self):
        self.set_params(phone_home_token="hush-hush")

        self.save(phone_home_token=MASK)
        self.assertEqual({"phone_home_token": "hush-hush"}, self.parameters())

    def test_emptied_token_is_deleted(self):
        self.set_params(phone_home_token="hush-hush")

        self.save(phone_home_token=False)
        self.assertEqual({}, self.parameters())
        self.assertIs(False, self.shown("phone_home_token"))

    def test_typed_token_is_not_sent_to_the_browser(self):
        settings = self.settings.with_user(self.administrator())
        names = [name for name in settings.fields_get() if name.startswith("mcp_")]

        answer = settings.web_save(
            {"mcp_phone_home_token": "hush-hush"}, {name: {} for name in names}
        )
        self.assertEqual(MASK, answer[0]["mcp_phone_home_token"])
        self.assertNotIn("hush-hush", str(answer))

    def test_typed_token_is_in_no_field_of_the_form(self):
        settings = self.settings.with_user(self.administrator()).create(
            {"mcp_phone_home_token": "hush-hush"}
        )

        self.assertNotIn("hush-hush", str(settings.read()))
        with self.assertRaises(AccessError):
            settings.read(["mcp_typed_token"])

    def test_typed_token_is_stored_only_in_its_parameter(self):
        settings = self.save(phone_home_token="hush-hush")

        self.env.cr.execute(
            "SELECT mcp_typed_token FROM res_config_settings WHERE id = %s", [settings.id]
        )
        self.assertEqual((MASK,), self.env.cr.fetchone())

    def test_token_that_no_header_can_carry_is_refused(self):
        for useless in ("two words", "t\u00f6ken", f"{MASK}more", "line\nbreak"):
            with self.subTest(useless):
                self.assert_refused(
                    "Token: expected visible ASCII characters, and no spaces.",
                    phone_home_token=useless,
                )

    def test_error_about_a_token_does_not_quote_it(self):
        with self.assertRaises(ValidationError) as refused:
            self.save(phone_home_token="hush hush")

        self.assertNotIn("hush", str(refused.exception))

    def test_token_outside_the_database_is_not_overwritten(self):
        for place in (self.set_environ_token, self.set_conf_token):
            with self.subTest(place.__name__):
                place("outside")

                self.assertIs(True, self.shown("is_token_outside"))
                self.assertEqual(MASK, self.shown("phone_home_token"))
                self.save(phone_home_token="typed")
                self.assertEqual({}, self.parameters())
                self.assertEqual("outside", receiver_settings(self.env).token)

    def set_environ_token(self, token):
        self.set_environ(MCP_PHONE_HOME_TOKEN=token)

    def set_conf_token(self, token):
        self.set_environ(MCP_PHONE_HOME_TOKEN=None)
        self.set_odoo_conf(phone_home_token=token)

    def administrator(self):
        return new_test_user(self.env, "administrator", "base.group_system,base.group_user")


class TestInterval(SettingsCase):
    def setUp(self):
        super().setUp()
        self.cron = self.env.ref("mcp_phone_home.ir_cron_heartbeat")

    def test_interval_is_that_of_the_scheduled_action(self):
        self.save(heartbeat_number=2, heartbeat_unit="hours")

        self.assertEqual((2, "hours"), (self.cron.interval_number, self.cron.interval_type))
        self.assertEqual((2, "hours"), self.shown_interval())

    def test_saved_interval_is_declared_to_the_receiver(self):
        self.save(heartbeat_number=3, heartbeat_unit="days")

        self.assertEqual(3 * 86400, _build_server_payload(self.env)["heartbeat_interval_seconds"])

    def test_shorter_interval_brings_the_next_run_forward(self):
        later = fields.Datetime.now() + timedelta(days=20)
        self.cron.write({"interval_number": 1, "interval_type": "months", "nextcall": later})

        self.save(heartbeat_number=5, heartbeat_unit="minutes")
        self.assertLess(self.cron.nextcall, fields.Datetime.now() + timedelta(minutes=6))

    def test_longer_interval_does_not_delay_a_due_run(self):
        due = fields.Datetime.now()
        self.cron.nextcall = due

        self.save(heartbeat_number=5, heartbeat_unit="days")
        self.assertEqual(due, self.cron.nextcall)

    def test_invalid_interval_is_refused(self):
        for number, unit in ((0, "minutes"), (-5, "hours"), (366, "days"), (5, False)):
            with self.subTest(number=number, unit=unit):
                self.assert_refused(
                    "Heartbeat Interval: expected a minute or more, 365 days at most.",
                    heartbeat_number=number,
                    heartbeat_unit=unit,
                )
                self.assertEqual(1, self.cron.interval_number)

    def test_interval_in_weeks_or_months_is_shown_in_days_and_kept(self):
        self.cron.write({"interval_number": 2, "interval_type": "weeks"})

        self.assertEqual((14, "days"), self.shown_interval())
        self.save(server_port=9001)
        self.assertEqual((2, "weeks"), (self.cron.interval_number, self.cron.interval_type))

    def test_form_shows_an_archived_action_and_keeps_it_archived(self):
        self.cron.active = False

        self.assertIs(True, self.shown("is_heartbeat_off"))
        self.save(heartbeat_number=7)
        self.assertEqual((7, False), (self.cron.interval_number, self.cron.active))

    def test_settings_can_be_saved_after_the_action_was_deleted(self):
        self.cron.unlink()

        self.assertIs(True, self.shown("is_heartbeat_off"))
        self.save(heartbeat_number=7, server_port=9001)
        self.assertEqual({"server_port": "9001"}, self.parameters())

    def shown_interval(self):
        return self.shown("heartbeat_number"), self.shown("heartbeat_unit")


class TestNewReceiver(SettingsCase):
    def setUp(self):
        super().setUp()
        self.old = self.receiver()
        self.run_action()
        self.new = self.receiver()
        self.set_params(phone_home_url=self.old.url)

    def test_scheduled_action_registers_at_a_new_receiver(self):
        self.save(phone_home_url=self.new.url)
        self.run_action()

        calls = ["POST /register", "POST /heartbeat"]
        self.assertEqual(calls, [each.call for each in self.old.heard])
        self.assertEqual(calls, [each.call for each in self.new.heard])

    def test_scheduled_action_does_not_register_again_at_the_same_receiver(self):
        self.save(phone_home_url=self.old.url, server_port=9001)
        self.run_action()

        expected = ["POST /register", "POST /heartbeat", "POST /heartbeat"]
        self.assertEqual(expected, [each.call for each in self.old.heard])

    def run_action(self):
        self.env.ref("mcp_phone_home.ir_cron_heartbeat").ir_actions_server_id.run()
        self.wait_for_threads()


class TestButtons(SettingsCase):
    def press(self, button, **values):
        """Change fields, then press a button; returns the parameters of the notification."""
        changed = {f"mcp_{name}": value for name, value in values.items()}
        action = getattr(self.settings.create(changed), button)()
        actions = self.env["ir.actions.server"].with_context(**action["context"])
        told = actions.browse(action["id"]).run()
        self.assertEqual("display_notification", told["tag"])
        return told["params"]

    def test_button_sends_a_heartbeat_to_the_typed_url(self):
        receiver = self.receiver()
        self.set_params(phone_home_url="")

        told = self.press("action_mcp_send_heartbeat", phone_home_url=receiver.url)
        self.assertEqual(["POST /heartbeat"], [each.call for each in receiver.heard])
        self.assertEqual("success", told["type"])
        self.assertEqual("The receiver has taken the heartbeat in.", told["message"])
        self.assertTrue(self.shown("last_success_at"))

    def test_button_registers_with_the_typed_token(self):
        receiver = self.receiver()

        told = self.press("action_mcp_register", phone_home_token="typed")
        (heard,) = receiver.heard
        self.assertEqual("POST /register", heard.call)
        self.assertEqual("Bearer typed", heard.headers["authorization"])
        self.assertEqual("success", told["type"])
        self.assertEqual("The receiver knows this server now.", told["message"])

    def test_button_asks_for_a_maintenance_with_the_kept_token(self):
        receiver = self.receiver((201, b"{}"))
        self.set_params(phone_home_token="kept")

        told = self.press("action_mcp_begin_maintenance", maintenance_minutes=45)
        (heard,) = receiver.heard
        server_id = f"{self.env.cr.dbname}_{socket.gethostname()}"
        self.assertEqual(f"POST /by-id/servers/silence?id={server_id}", heard.call)
        self.assertEqual({"minutes": 45, "reason": "maintenance"}, heard.message)
        self.assertEqual("Bearer kept", heard.headers["authorization"])
        self.assertEqual("success", told["type"])
        self.assertEqual(
            "For the next 45 minutes, the receiver tells nobody about this server.", told["message"]
        )

    def test_form_offers_a_maintenance_of_half_an_hour(self):
        receiver = self.receiver((201, b"{}"))

        self.press("action_mcp_begin_maintenance")
        self.assertEqual(30, receiver.heard[0].message["minutes"])
        self.assertEqual(30, self.shown("maintenance_minutes"))

    def test_maintenance_that_is_too_long_or_none_is_refused(self):
        receiver = self.receiver()

        for useless in (-1, 0, 1441):
            with self.subTest(useless), self.assertRaisesRegex(ValidationError, "1 to 1440, got"):
                self.press("action_mcp_begin_maintenance", maintenance_minutes=useless)
        with self.assertRaisesRegex(ValidationError, "1 to 1440, got"):
            self.env.ref(MAINTENANCE).run()
        self.assertEqual([], receiver.heard)

    def test_maintenance_of_a_server_that_the_receiver_does_not_know_has_advice(self):
        self.receiver((404, b'{"detail": "There is no server."}'))

        with self.assert_one_warning("There is no server", "Register this server first"):
            told = self.press("action_mcp_begin_maintenance")
        self.assertEqual("danger", told["type"])
        self.assertIn("Register this server first", told["message"])

    def test_failed_maintenance_is_no_failure_of_phoning_home(self):
        self.set_params(phone_home_url=self.closed_port())

        with self.assert_one_warning("cannot be reached"):
            told = self.press("action_mcp_begin_maintenance")
        self.assertIn("cannot be reached", told["message"])
        self.assertIs(False, self.shown("last_failure_at"))

    def test_notification_has_the_reason_of_a_failure(self):
        self.set_params(phone_home_url=self.closed_port())

        for button in ("action_mcp_register", "action_mcp_send_heartbeat"):
            with self.subTest(button), self.assert_one_warning("cannot be reached"):
                told = self.press(button)

                self.assertEqual("danger", told["type"])
                self.assertIn("cannot be reached", told["message"])
                self.assertEqual(told["message"], self.shown("last_failure_reason"))

    def test_notification_has_advice_about_a_refusal(self):
        self.receiver((401, b"{}"))

        with self.assert_one_warning("refused with 401"):
            told = self.press("action_mcp_send_heartbeat")
        self.assertIn("Set the token that the receiver gave out", told["message"])

    def test_button_registers_without_retry(self):
        receiver = self.receiver((503, b"{}"))

        with self.assert_one_warning("refused with 503"):
            self.press("action_mcp_register")
        self.assertEqual(1, len(receiver.heard))

    def test_notification_says_that_phoning_home_is_off(self):
        for button in BUTTONS:
            with self.subTest(button):
                told = self.press(button)

                self.assertEqual("danger", told["type"])
                self.assertEqual(
                    "Phoning home is off. Enter the URL of a receiver first.", told["message"]
                )

    def test_notification_reloads_the_form(self):
        told = self.press("action_mcp_send_heartbeat")

        self.assertEqual({"type": "ir.actions.client", "tag": "soft_reload"}, told["next"])

    def test_button_refuses_what_saving_refuses(self):
        receiver = self.receiver()

        with self.assertRaisesRegex(ValidationError, "MCP Port"):
            self.press("action_mcp_send_heartbeat", server_port=0)
        self.assertEqual([], receiver.heard)

    def test_nothing_is_sent_while_odoo_asks_about_modules_to_uninstall(self):
        receiver = self.receiver()
        self.env["ir.module.module"]._get("web_unsplash").state = "installed"

        settings = self.settings.create({"module_web_unsplash": False})
        action = settings.action_mcp_send_heartbeat()
        self.assertEqual("base.module.uninstall", action["res_model"])
        self.assertEqual([], receiver.heard)

    def test_nothing_is_sent_before_the_settings_are_committed(self):
        receiver = self.receiver()

        action = self.settings.create({"mcp_server_port": 9001}).action_mcp_send_heartbeat()
        self.assertEqual(self.env.ref(HEARTBEAT).id, action["id"])
        self.assertEqual([], receiver.heard)


class TestAccess(SettingsCase):
    def setUp(self):
        super().setUp()
        self.set_params(phone_home_url="https://fleet.example", phone_home_token="hush-hush")
        self.user = new_test_user(self.env, "somebody", "base.group_user")
        self.manager = new_test_user(self.env, "manager", "base.group_user,base.group_erp_manager")

    def test_administrator_may_save(self):
        administrator = new_test_user(self.env, "someone", "base.group_user,base.group_system")
        self.settings = self.settings.with_user(administrator)

        self.save(server_port=9001, phone_home_token="new", heartbeat_number=9)
        self.assertEqual("9001", self.parameters()["server_port"])
        self.assertEqual("new", self.parameters()["phone_home_token"])
        self.assertEqual(9, self.env.ref("mcp_phone_home.ir_cron_heartbeat").interval_number)

    def test_other_user_cannot_read_the_settings(self):
        names = ["mcp_phone_home_url", "mcp_phone_home_token", "mcp_server_port"]
        for user in (self.user, self.manager):
            with self.subTest(user.login):
                settings = self.settings.with_user(user)

                self.assertEqual({}, settings.default_get(names))
                self.assertFalse(set(names) & set(settings.fields_get()))
                with self.assertRaises(AccessError):
                    settings.browse(self.settings.create({}).id).read(names)

    def test_other_user_cannot_use_the_buttons(self):
        settings = self.settings.create({})
        for user in (self.user, self.manager):
            for button in BUTTONS:
                with self.subTest(button, user=user.login), self.assertRaises(AccessError):
                    getattr(settings.with_user(user), button)()

    def test_other_user_cannot_run_the_actions_of_the_buttons(self):
        for user in (self.user, self.manager):
            for action in (REGISTER, HEARTBEAT, MAINTENANCE):
                with self.subTest(action, user=user.login), self.assertRaises(AccessError):
                    self.env.ref(action).with_user(user).sudo(False).run()

    def test_only_the_form_of_administrators_has_the_block(self):
        arch = self.settings.get_view(view_type="form")["arch"]

        (block,) = etree.fromstring(arch).xpath(
            "//app[@name='general_settings']/block[@id='mcp_fleet']"
        )
        self.assertEqual("MCP Fleet", block.get("title"))
        (token,) = block.xpath(".//field[@name='mcp_phone_home_token']")
        self.assertEqual("True", token.get("password"))
