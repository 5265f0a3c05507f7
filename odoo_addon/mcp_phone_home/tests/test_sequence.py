import logging

from odoo.addons.mcp_phone_home.services import state
from odoo.addons.mcp_phone_home.services.lifecycle import on_health, on_schedule
from odoo.addons.mcp_phone_home.services.phone_home import (
    _build_server_payload,
    register_server,
    send_heartbeat,
)
from odoo.addons.mcp_phone_home.services.state import create_sequence, next_sequence

from .common import LOGGER, PhoneHomeCase
from .receiver import CREATED, OK

AWAY = (503, b"")


class TestSequence(PhoneHomeCase):
    def numbers(self, receiver):
        """The number of each message that the receiver got, None for one without."""
        self.wait_for_threads()
        return [each.message.get("sequence") for each in receiver.heard]

    def test_messages_are_numbered_in_the_order_of_their_sending(self):
        receiver = self.receiver(CREATED, OK)

        on_schedule(self.env)
        self.wait_for_threads()
        send_heartbeat(self.env)
        register_server(self.env)
        numbers = self.numbers(receiver)
        self.assertEqual([numbers[0] + after for after in range(4)], numbers)

    def test_registration_of_a_probe_is_numbered(self):
        receiver = self.receiver(CREATED)
        before = next_sequence(self.env.registry)

        on_health(self.env)
        self.assertEqual([before + 1], self.numbers(receiver))

    def test_repeated_registration_keeps_its_number(self):
        receiver = self.receiver(AWAY, CREATED)
        self.set_params(phone_home_retries="2")

        self.assertIs(True, register_server(self.env))
        first, second = self.numbers(receiver)
        self.assertEqual(first, second)
        self.assertEqual(first + 1, next_sequence(self.env.registry))

    def test_payload_takes_no_number(self):
        before = next_sequence(self.env.registry)

        self.assertNotIn("sequence", _build_server_payload(self.env))
        self.assertEqual(before + 1, next_sequence(self.env.registry))

    def test_registration_that_is_not_sent_takes_no_number(self):
        receiver = self.receiver(OK)
        self.patch(state, "_claim", lambda *args: False)

        before = next_sequence(self.env.registry)
        on_schedule(self.env)
        self.assertEqual([before + 1], self.numbers(receiver))

    def test_nothing_is_numbered_without_a_url(self):
        before = next_sequence(self.env.registry)

        send_heartbeat(self.env)
        on_schedule(self.env)
        self.assertEqual(before + 1, next_sequence(self.env.registry))

    def test_number_that_is_rolled_back_is_not_given_again(self):
        before = next_sequence(self.env.registry)

        with self.assertRaises(RuntimeError), self.env.cr.savepoint():
            next_sequence(self.env.registry)
            raise RuntimeError("half done")
        self.assertEqual(before + 2, next_sequence(self.env.registry))

    def test_upgrade_keeps_the_numbers(self):
        before = next_sequence(self.env.registry)

        create_sequence(self.env.cr)
        self.assertEqual(before + 1, next_sequence(self.env.registry))

    def test_upgrade_makes_a_database_number_its_messages(self):
        self.drop_sequence()

        self.env["mcp.phone.home.state"].init()
        self.assertEqual(1, next_sequence(self.env.registry))

    def test_database_that_is_not_upgraded_sends_without_numbers_and_warnings(self):
        receiver = self.receiver()
        self.drop_sequence()

        with self.assertNoLogs(level=logging.WARNING):
            self.assertIs(True, send_heartbeat(self.env))
            self.assertIs(True, register_server(self.env))
        self.assertEqual([None, None], self.numbers(receiver))

    def test_read_only_transaction_gets_no_number(self):
        with self.assertRaises(RuntimeError), self.env.cr.savepoint():
            self.env.cr.execute("SET LOCAL transaction_read_only = on")
            with self.assertNoLogs(LOGGER, "INFO"):
                self.assertIsNone(next_sequence(self.env.registry))
            raise RuntimeError("a rollback makes it writable again")

    def drop_sequence(self):
        self.env.cr.execute("DROP SEQUENCE mcp_phone_home_state_sequence")
