import logging
from datetime import datetime, timezone

from odoo.addons.mcp_phone_home.hooks import post_init_hook
from odoo.addons.mcp_phone_home.services import phone_home
from odoo.addons.mcp_phone_home.services.phone_home import (
    _build_server_payload,
    announced,
    register_server,
)
from odoo.addons.mcp_phone_home.services.server_start import server_started_at

from .common import FIELDS, LOGGER, PhoneHomeCase
from .receiver import CREATED, OK

AWAY = (503, b"")


class TestRegistration(PhoneHomeCase):
    def registered(self):
        """Register at a receiver that accepts; returns the message that it got."""
        receiver = self.receiver(CREATED)
        self.assertIs(True, register_server(self.env))
        return receiver.heard[-1].message

    def test_registration_holds_the_payload_and_the_start(self):
        """Proves: Registration payload uses shared builder"""
        self.assertLessEqual(FIELDS | {"started_at"}, set(self.registered()))

    def test_registration_is_the_payload_and_three_more_fields(self):
        """Proves: Registration payload uses shared builder"""
        message = self.registered()
        del message["started_at"], message["sequence"], message["tools_digest"]

        tools = _build_server_payload(self.env)["tools"]
        self.assertEqual({**announced(self.env), "tools": tools}, message)

    def test_start_is_sent_in_utc(self):
        started_at = self.registered()["started_at"]

        self.assertTrue(started_at.endswith("Z"), started_at)
        self.assertEqual(
            datetime.fromtimestamp(server_started_at(), timezone.utc),
            datetime.fromisoformat(started_at.removesuffix("Z") + "+00:00"),
        )

    def test_registration_answered_with_200_or_201_is_logged_as_info(self):
        for answer in (OK, CREATED):
            with self.subTest(answer), self.assertLogs(LOGGER, logging.INFO) as logs:
                receiver = self.receiver(answer)

                self.assertIs(True, register_server(self.env))
                self.assertEqual(["POST /register"], [each.call for each in receiver.heard])
            self.assertEqual(["INFO"], [record.levelname for record in logs.records])

    def test_registration_is_retried_while_the_receiver_is_unavailable(self):
        receiver = self.receiver(AWAY, CREATED)
        self.set_params(phone_home_retries="2")

        self.assertIs(True, register_server(self.env))
        self.assertEqual(2, len(receiver.heard))

    def test_registration_fails_after_the_last_attempt(self):
        receiver = self.receiver(AWAY)
        self.set_params(phone_home_retries="1")

        with self.assert_one_warning("503"):
            self.assertIs(False, register_server(self.env))
        self.assertEqual(1, len(receiver.heard))

    def test_refused_registration_is_not_retried(self):
        receiver = self.receiver((422, b'{"code": "invalid_message"}'))

        with self.assert_one_warning("invalid_message"):
            self.assertIs(False, register_server(self.env))
        self.assertEqual(1, len(receiver.heard))

    def test_nothing_is_sent_or_logged_without_a_url(self):
        receiver = self.receiver()
        self.set_params(phone_home_url="")

        with self.assertNoLogs(LOGGER):
            self.assertIs(False, register_server(self.env))
        self.assertEqual([], receiver.heard)


class TestRegistrationAfterInstall(PhoneHomeCase):
    def install(self):
        post_init_hook(self.env)

    def commit(self):
        self.env.flush_all()
        self.env.cr.postcommit.run()

    def test_install_registers_after_its_commit(self):
        receiver = self.receiver(CREATED)

        self.install()
        self.assertEqual([], receiver.heard)
        self.commit()
        self.wait_for_threads()
        self.assertEqual(["POST /register"], [each.call for each in receiver.heard])

    def test_install_that_is_rolled_back_registers_nothing(self):
        receiver = self.receiver(CREATED)

        self.install()
        self.env.cr.postcommit.clear()
        self.commit()
        self.assertEqual([], receiver.heard)

    def test_install_does_not_wait_for_the_receiver(self):
        receiver = self.receiver(CREATED)
        receiver.answering.clear()

        self.install()
        self.commit()
        self.assertTrue(receiver.wait_for(1))
        receiver.answering.set()

    def test_install_logs_nothing_without_a_url(self):
        self.install()
        with self.assertNoLogs(LOGGER):
            self.commit()

    def test_install_survives_a_bug(self):
        self.receiver(CREATED)
        self.patch(phone_home, "_server_payload", _broken)

        self.install()
        with self.assertLogs(LOGGER, "ERROR"):
            self.commit()


def _broken(env):
    raise RuntimeError("this is broken")
