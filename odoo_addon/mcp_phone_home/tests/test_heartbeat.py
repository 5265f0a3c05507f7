import logging
import time
from datetime import datetime, timezone

from odoo.addons.mcp_phone_home.services import phone_home
from odoo.addons.mcp_phone_home.services.clients import client_for
from odoo.addons.mcp_phone_home.services.phone_home import (
    announced,
    prepare_registration,
    send_heartbeat,
)
from odoo.addons.mcp_phone_home.services.settings import receiver_settings

from .common import FIELDS, LOGGER, PhoneHomeCase
from .receiver import CREATED, OK

REFUSAL = (422, b'{"code": "invalid_message", "detail": "The message is not valid"}')


class TestHeartbeat(PhoneHomeCase):
    def sent(self):
        """Send a heartbeat; returns the message that the receiver got."""
        receiver = self.receiver()
        self.assertIs(True, send_heartbeat(self.env))
        return receiver.heard[-1].message

    def started(self, *, seconds_ago):
        self.patch(phone_home, "_server_start_time", time.time() - seconds_ago)

    def test_heartbeat_holds_the_payload_status_and_uptime(self):
        """Proves: Enriched heartbeat contains full server info"""
        fields = FIELDS | {"status", "timestamp", "uptime_seconds"}

        self.assertLessEqual(fields, set(self.sent()))

    def test_heartbeat_is_the_payload_and_six_more_fields(self):
        """Proves: Heartbeat payload uses shared builder"""
        message = self.sent()

        more = ("status", "timestamp", "uptime_seconds", "started_at", "sequence", "tools_digest")
        status, timestamp, uptime_seconds, *_ = map(message.pop, more)
        self.assertEqual(announced(self.env), message)
        self.assertEqual("healthy", status)
        self.assertIsInstance(timestamp, str)
        self.assertIsInstance(uptime_seconds, float)

    def test_timestamp_is_the_current_time_in_utc(self):
        timestamp = self.sent()["timestamp"]

        self.assertTrue(timestamp.endswith("Z"), timestamp)
        sent_at = datetime.fromisoformat(timestamp.removesuffix("Z") + "+00:00")
        self.assertLess(abs((datetime.now(timezone.utc) - sent_at).total_seconds()), 10)

    def test_heartbeat_holds_the_odoo_sh_stage(self):
        """Proves: Heartbeat includes odoo_stage from environment"""
        self.set_environ(ODOO_STAGE="production")

        self.assertEqual("production", self.sent()["odoo_stage"])

    def test_heartbeat_holds_an_empty_stage_outside_odoo_sh(self):
        """Proves: Heartbeat includes odoo_stage empty on self-hosted"""
        self.set_environ(ODOO_STAGE=None)

        self.assertEqual("", self.sent()["odoo_stage"])

    def test_uptime_counts_from_the_start_time(self):
        """Proves: Heartbeat includes uptime"""
        self.started(seconds_ago=300)

        self.assertAlmostEqual(300, self.sent()["uptime_seconds"], delta=10)

    def test_uptime_grows_by_the_time_between_two_heartbeats(self):
        """Proves: Uptime increases between heartbeats"""
        self.started(seconds_ago=300)
        first = self.sent()["uptime_seconds"]
        self.started(seconds_ago=360)
        second = self.sent()["uptime_seconds"]

        self.assertAlmostEqual(60, second - first, delta=10)

    def test_uptime_is_never_negative(self):
        self.started(seconds_ago=-300)

        self.assertEqual(0, self.sent()["uptime_seconds"])

    def test_start_time_is_when_the_module_was_loaded(self):
        self.assertIsInstance(phone_home._server_start_time, float)
        self.assertLess(0, time.time() - phone_home._server_start_time)

    def test_heartbeat_is_delivered_when_the_answer_is_200_or_201(self):
        """Proves: Successful enriched heartbeat"""
        for answer in (OK, CREATED):
            with self.subTest(answer), self.assertNoLogs(LOGGER):
                receiver = self.receiver(answer)

                self.assertIs(True, send_heartbeat(self.env))
                self.assertEqual(["POST /heartbeat"], [each.call for each in receiver.heard])


class TestUndeliveredHeartbeat(PhoneHomeCase):
    def test_refused_heartbeat_is_not_retried(self):
        """Proves: Failed heartbeat"""
        for answer in (REFUSAL, (404, b""), (429, b""), (500, b"oops"), (503, b"")):
            with self.subTest(answer), self.assert_one_warning(str(answer[0])):
                receiver = self.receiver(answer)

                self.assertIs(False, send_heartbeat(self.env))
                self.assertEqual(1, len(receiver.heard))

    def test_log_quotes_the_detail_of_a_refusal(self):
        self.receiver(REFUSAL)

        with self.assert_one_warning("invalid_message", "The message is not valid"):
            send_heartbeat(self.env)

    def test_heartbeat_to_an_unreachable_receiver_fails(self):
        """Proves: Failed heartbeat"""
        url = self.closed_port()
        self.set_params(phone_home_url=url)

        with self.assert_one_warning(url):
            self.assertIs(False, send_heartbeat(self.env))

    def test_heartbeat_with_a_malformed_answer_is_not_retried(self):
        """Proves: Failed heartbeat"""
        receiver = self.receiver((None, b"\x00 what is this?\r\n\r\n"))

        with self.assert_one_warning(receiver.url):
            self.assertIs(False, send_heartbeat(self.env))
        self.assertEqual(1, len(receiver.heard))

    def test_heartbeat_is_not_retried_after_the_timeout(self):
        """Proves: Failed heartbeat"""
        receiver = self.receiver()
        receiver.answering.clear()
        self.set_params(phone_home_timeout="0.3")

        begin = time.monotonic()
        with self.assert_one_warning("0.3 s"):
            self.assertIs(False, send_heartbeat(self.env))
        self.assertLess(time.monotonic() - begin, 3)
        self.assertEqual(1, len(receiver.heard))

    def test_heartbeat_to_an_invalid_url_fails(self):
        for url in ("nonsense", "ftp://fleet.example", "http://", "http://[::"):
            with self.subTest(url), self.assert_one_warning("URL"):
                self.set_params(phone_home_url=url)

                self.assertIs(False, send_heartbeat(self.env))

    def test_invalid_payload_is_not_sent(self):
        receiver = self.receiver()
        host = phone_home.host_facts(hostname=lambda: "h" * 300)
        self.patch(phone_home, "host_facts", lambda: host)

        with self.assert_one_warning("server_id"):
            self.assertIs(False, send_heartbeat(self.env))
        self.assertEqual([], receiver.heard)

    def test_invalid_settings_are_logged_and_replaced_by_defaults(self):
        for name, useless in (
            ("phone_home_timeout", "soon"),
            ("phone_home_timeout", "0"),
            ("phone_home_timeout", "inf"),
            ("phone_home_timeout", "1e12"),
            ("phone_home_retries", "many"),
            ("phone_home_retries", "0"),
        ):
            with self.subTest(name=name, useless=useless), self.assert_one_warning(name, useless):
                self.receiver()
                self.set_params(phone_home_timeout="", phone_home_retries="")
                self.set_params(**{name: useless})

                self.assertIs(True, send_heartbeat(self.env))

    def test_nothing_is_sent_or_logged_without_a_url(self):
        receiver = self.receiver()
        for off in ("", "  ", False):
            with self.subTest(off), self.assertNoLogs(LOGGER):
                self.set_params(phone_home_url=off)

                self.assertIs(False, send_heartbeat(self.env))
        self.assertEqual([], receiver.heard)


class TestToken(PhoneHomeCase):
    def authorization(self):
        receiver = self.receiver()
        self.assertIs(True, send_heartbeat(self.env))
        return receiver.heard[-1].headers.get("authorization")

    def test_request_without_a_token_has_no_authorization(self):
        self.assertIsNone(self.authorization())

    def test_token_is_read_from_the_parameter(self):
        self.set_params(phone_home_token="from-parameter")

        self.assertEqual("Bearer from-parameter", self.authorization())

    def test_odoo_conf_overrides_the_parameter(self):
        self.set_params(phone_home_token="from-parameter")
        self.set_odoo_conf(phone_home_token="from-conf")

        self.assertEqual("Bearer from-conf", self.authorization())

    def test_environment_overrides_odoo_conf(self):
        self.set_params(phone_home_token="from-parameter")
        self.set_odoo_conf(phone_home_token="from-conf")
        self.set_environ(MCP_PHONE_HOME_TOKEN="from-environment")

        self.assertEqual("Bearer from-environment", self.authorization())

    def test_blank_token_counts_as_no_token(self):
        self.set_environ(MCP_PHONE_HOME_TOKEN=" ")
        self.set_odoo_conf(phone_home_token="\t")
        self.set_params(phone_home_token=" from-parameter ")

        self.assertEqual("Bearer from-parameter", self.authorization())

    def test_token_is_never_logged(self):
        self.set_environ(MCP_PHONE_HOME_TOKEN="hush-hush")
        quoted = b'{"code": "hush-hush", "detail": "Bearer hush-hush, aHVzaC1odXNo, %68ush-hush"}'
        for answer in (OK, (401, quoted), (503, quoted), (None, b"hush-hush\r\n\r\n")):
            receiver = self.receiver(answer)
            self.set_environ(MCP_PHONE_HOME_TOKEN_ORIGIN=receiver.url)
            with self.assertLogs(level=logging.DEBUG) as logs:
                send_heartbeat(self.env)
            text = "\n".join(logs.output)
            for spelling in ("hush-hush", "aHVzaC1odXNo", "%68ush"):
                self.assertNotIn(spelling, text)

    def test_no_repr_shows_the_token_or_a_password(self):
        self.set_environ(MCP_PHONE_HOME_TOKEN="hush-hush")
        self.set_params(phone_home_url="https://me:hush-hush@fleet.example")

        outgoing = prepare_registration(self.env)
        self.assertNotIn("hush-hush", repr(outgoing))
        self.assertIn("https://***@fleet.example", repr(outgoing))

    def test_token_that_no_header_can_carry_is_logged(self):
        self.receiver()
        self.set_params(phone_home_token="two\nlines")

        with self.assert_one_warning("token", "mcp_phone_home_token in odoo.conf"):
            self.assertIs(False, send_heartbeat(self.env))

    def test_token_over_plain_http_is_logged_once(self):
        self.set_params(phone_home_url="http://fleet.invalid", phone_home_token="hush-hush")

        with self.assertLogs("client", "WARNING") as logs:
            for _ in range(2):
                client_for(receiver_settings(self.env))
        (record,) = logs.records
        self.assertIn("http://fleet.invalid goes over plain http", record.getMessage())


class TestAdvice(PhoneHomeCase):
    def test_log_advises_the_administrator(self):
        for status, advice in (
            (401, "Set the token that the receiver gave out"),
            (403, "Ask whoever runs the receiver for a key"),
            (404, "Look whether the URL in the settings is the address of the receiver"),
            (503, "This passes by itself"),
            (429, "This passes by itself"),
            (302, "Set the URL in the settings to where the receiver is now"),
        ):
            with self.subTest(status), self.assert_one_warning(str(status), advice):
                self.receiver((status, b'{"code": "no", "detail": "No"}'))

                self.assertIs(False, send_heartbeat(self.env))

    def test_detail_of_a_refusal_is_logged_on_one_line(self):
        self.receiver((422, b'{"code": "a\\n\\u001b[2Jb", "detail": "c\\r\\nd"}'))

        with self.assert_one_warning("(a [2Jb): c d."):
            send_heartbeat(self.env)


class TestAuthority(PhoneHomeCase):
    def test_log_names_a_file_without_authority_and_nothing_is_sent(self):
        receiver = self.receiver()
        for path in ("/nowhere/ca.pem", __file__):
            with self.subTest(path), self.assert_one_warning(path, "mcp_phone_home_ca"):
                self.set_params(phone_home_ca=path)

                self.assertIs(False, send_heartbeat(self.env))
        self.assertEqual([], receiver.heard)

    def test_environment_overrides_odoo_conf_which_overrides_the_parameter(self):
        self.assertIsNone(receiver_settings(self.env).ca)
        self.set_params(phone_home_ca="/of/parameter")
        self.assertEqual("/of/parameter", receiver_settings(self.env).ca)
        self.set_odoo_conf(phone_home_ca="/of/conf")
        self.assertEqual("/of/conf", receiver_settings(self.env).ca)
        self.set_environ(MCP_PHONE_HOME_CA="/of/environment")
        self.assertEqual("/of/environment", receiver_settings(self.env).ca)
