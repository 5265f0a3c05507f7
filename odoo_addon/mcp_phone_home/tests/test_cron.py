import logging
import socket

from psycopg2 import errors

from odoo.addons.mcp_phone_home.services import phone_home

from .common import LOGGER, PhoneHomeCase


class TestCron(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.set_params(last_hostname=socket.gethostname())

    def test_scheduled_action_sends_a_heartbeat(self):
        receiver = self.receiver()

        self.run_action()
        self.assertEqual(["POST /heartbeat"], [each.call for each in receiver.heard])

    def test_heartbeat_can_be_asked_for_by_the_name_of_the_model(self):
        receiver = self.receiver()

        self.env["mcp.heartbeat"]._cron_send_heartbeat()
        self.wait_for_threads()
        self.assertEqual(["POST /heartbeat"], [each.call for each in receiver.heard])

    def test_conflict_with_another_transaction_is_no_error(self):
        self.receiver()
        self.patch(phone_home, "_server_payload", _overtaken)

        with self.assertLogs(LOGGER, logging.INFO) as logs:
            self.run_action()
        self.assertEqual(["INFO"], [record.levelname for record in logs.records])

    def test_scheduled_action_runs_every_minute(self):
        cron = self.env.ref("mcp_phone_home.ir_cron_heartbeat")

        self.assertEqual((1, "minutes"), (cron.interval_number, cron.interval_type))
        self.assertTrue(cron.active)

    def test_scheduled_action_survives_an_unreachable_receiver(self):
        self.set_params(phone_home_url=self.closed_port())

        with self.assert_one_warning("cannot be reached"):
            self.run_action()

    def test_scheduled_action_survives_a_bug(self):
        self.receiver()
        self.patch(phone_home, "_server_payload", _broken)

        with self.assertLogs(LOGGER, "ERROR"):
            self.run_action()

    def test_scheduled_action_does_nothing_without_a_url(self):
        with self.assertNoLogs(LOGGER):
            self.run_action()

    def run_action(self):
        self.env.ref("mcp_phone_home.ir_cron_heartbeat").ir_actions_server_id.run()
        self.wait_for_threads()


def _overtaken(env):
    raise errors.SerializationFailure


def _broken(env):
    raise RuntimeError("this is broken")
