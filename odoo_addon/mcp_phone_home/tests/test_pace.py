import json
import logging
import socket
import time

from odoo.addons.mcp_phone_home.services.lifecycle import on_schedule
from odoo.addons.mcp_phone_home.services.pace import Pace
from odoo.addons.mcp_phone_home.services.phone_home import announced, register_server
from odoo.addons.mcp_phone_home.services.state import stored_pace

from .common import LOGGER, PhoneHomeCase
from .receiver import CREATED, OK

AWAY = (503, b"")


def asks(seconds):
    return 200, json.dumps({"status": "ok", "next_heartbeat_seconds": seconds}).encode()


class TestPace(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.set_params(last_hostname=socket.gethostname())

    def run_action(self, receiver, *, after=0.0):
        """
        Run the scheduled action so many seconds after the heartbeat before.

        Returns the interval that its heartbeat declares; None when it sends none.
        """
        before = len(receiver.heard)
        self.env.cr.execute(
            """
            UPDATE mcp_phone_home_state
               SET pace = jsonb_set(pace::jsonb, '{sent_at}', to_jsonb(%s::float))
             WHERE pace IS NOT NULL
            """,
            [time.time() - after],
        )
        on_schedule(self.env)
        self.wait_for_threads()
        heard = receiver.heard[before:]
        self.assertLessEqual(len(heard), 1)
        return heard[0].message["heartbeat_interval_seconds"] if heard else None

    def every_minute(self, receiver, *, minutes):
        """`run_action` once a minute: what each heartbeat declares, None for each run without."""
        declared, after = [], 0.0
        for _ in range(minutes):
            after += 60.0
            declared.append(self.run_action(receiver, after=after))
            after = after if declared[-1] is None else 0.0
        return declared

    def test_longer_interval_is_declared_before_it_is_used(self):
        receiver = self.receiver(asks(120))

        self.assertEqual([60, 120, None, 120, None, 120], self.every_minute(receiver, minutes=6))

    def test_interval_is_doubled_at_most_and_no_longer_than_allowed(self):
        receiver = self.receiver(asks(1e9))
        self.set_params(heartbeat_longest_interval="250")

        expected = [60, 120, None, 240, None, None, None, 250, None, None, None, 250]
        self.assertEqual(expected, self.every_minute(receiver, minutes=12))

    def test_no_wait_is_longer_than_what_the_receiver_has_accepted(self):
        receiver = self.receiver(asks(1e9))
        self.set_params(heartbeat_longest_interval="3600")
        accepted, waited = 60, 0

        for declared in self.every_minute(receiver, minutes=200):
            waited += 60
            self.assertLess(waited, 2 * accepted)
            if declared is not None:
                self.assertLessEqual(declared, 2 * accepted)
                accepted, waited = declared, 0
        self.assertEqual(3600, accepted)

    def test_interval_is_ten_minutes_at_most_by_default(self):
        receiver = self.receiver(asks(1e9))

        declared = self.every_minute(receiver, minutes=60)
        self.assertEqual(600, max(each for each in declared if each))
        self.assertEqual(600, announced(self.env)["heartbeat_interval_seconds"])

    def test_usual_interval_is_back_at_once_without_a_wish(self):
        receiver = self.receiver(*[asks(1e9)] * 3, OK)

        expected = [60, 120, None, 240, None, None, None, 480, 60, 60]
        # The fourth answer, to the heartbeat that declares 480 s, has no wish.
        self.assertEqual(expected, self.every_minute(receiver, minutes=10))
        self.assertIsNone(stored_pace(self.env.registry))

    def test_shorter_wish_is_obeyed_at_once(self):
        receiver = self.receiver(*[asks(1e9)] * 2, asks(120))

        expected = [60, 120, None, 240, None, 120, None, 120]
        self.assertEqual(expected, self.every_minute(receiver, minutes=8))

    def test_wish_for_the_usual_interval_or_less_writes_nothing(self):
        for wish in (1, 60):
            receiver = self.receiver(asks(wish))
            self.assertEqual([60, 60], self.every_minute(receiver, minutes=2))
            self.assertIsNone(stored_pace(self.env.registry))

    def test_useless_wish_is_ignored(self):
        for wish in (0, -5, "soon", None, True, [600]):
            with self.subTest(wish), self.assertNoLogs(LOGGER, logging.INFO):
                receiver = self.receiver(asks(wish))
                self.assertEqual([60, 60, 60], self.every_minute(receiver, minutes=3))

    def test_administrator_may_allow_no_longer_interval(self):
        receiver = self.receiver(asks(600))
        self.set_params(heartbeat_longest_interval="60")

        self.assertEqual([60] * 4, self.every_minute(receiver, minutes=4))

    def test_invalid_setting_is_logged_and_replaced_by_the_default(self):
        receiver = self.receiver(asks(1e9))
        self.run_action(receiver)
        for useless in ("soon", "59", "604801", "1e3"):
            with (
                self.subTest(useless),
                self.assert_one_warning("mcp.heartbeat_longest_interval", useless),
            ):
                self.set_params(heartbeat_longest_interval=useless)
                self.assertEqual(120, announced(self.env)["heartbeat_interval_seconds"])

    def test_run_that_is_skipped_builds_no_message(self):
        receiver = self.receiver(asks(120))
        self.every_minute(receiver, minutes=2)

        sequence = receiver.heard[-1].message["sequence"]
        self.assertIsNone(self.run_action(receiver, after=60))
        self.assertEqual(120, self.run_action(receiver, after=120))
        self.assertEqual(sequence + 1, receiver.heard[-1].message["sequence"])

    def test_jitter_of_the_scheduler_skips_no_run_more(self):
        receiver = self.receiver(asks(120))
        self.every_minute(receiver, minutes=2)

        self.assertIsNone(self.run_action(receiver, after=63))
        self.assertEqual(120, self.run_action(receiver, after=118))

    def test_failed_heartbeat_is_made_up_for_in_the_next_run(self):
        receiver = self.receiver(asks(120), asks(120), AWAY, asks(120))
        self.every_minute(receiver, minutes=3)

        with self.assertLogs(LOGGER, "WARNING"):
            self.assertEqual(120, self.run_action(receiver, after=120))
        self.assertEqual(120, self.run_action(receiver, after=180))
        self.assertIsNone(self.run_action(receiver, after=60))

    def test_clock_that_was_set_back_skips_nothing(self):
        receiver = self.receiver(asks(120))
        self.every_minute(receiver, minutes=2)

        self.assertEqual(120, self.run_action(receiver, after=-3600))

    def test_registration_declares_the_interval_that_is_in_use(self):
        receiver = self.receiver(asks(120))
        self.every_minute(receiver, minutes=2)

        register_server(self.env)
        self.assertEqual(120, receiver.heard[-1].message["heartbeat_interval_seconds"])
        self.assertIsNone(self.run_action(receiver, after=60))

    def test_rebuilt_host_is_registered_in_a_run_that_would_be_skipped(self):
        receiver = self.receiver(asks(120), asks(120), CREATED, asks(120))
        self.every_minute(receiver, minutes=2)
        self.set_params(last_hostname="before")

        on_schedule(self.env)
        self.wait_for_threads()
        calls = [each.call for each in receiver.heard[2:]]
        self.assertEqual(["POST /register", "POST /heartbeat"], calls)

    def test_wish_is_for_the_receiver_that_has_it(self):
        self.every_minute(self.receiver(asks(120)), minutes=2)

        self.assertEqual([60, 60], self.every_minute(self.receiver(), minutes=2))

    def test_stored_wish_holds_no_password(self):
        receiver = self.receiver(asks(120))
        self.set_params(phone_home_url=receiver.url.replace("//", "//me:hush-hush@"))

        self.assertEqual([60, 120, None], self.every_minute(receiver, minutes=3))
        self.assertNotIn("hush", str(stored_pace(self.env.registry)))

    def test_state_of_another_version_is_ignored(self):
        receiver = self.receiver()
        self.env.cr.execute("UPDATE mcp_phone_home_state SET pace = '{\"other\": 1}'")

        on_schedule(self.env)
        self.wait_for_threads()
        self.assertEqual(60, receiver.heard[-1].message["heartbeat_interval_seconds"])

    def test_interval_of_an_administrator_that_is_longer_is_kept(self):
        receiver = self.receiver(asks(1e9))
        self.env.ref("mcp_phone_home.ir_cron_heartbeat").interval_number = 60

        for _ in range(3):
            self.assertEqual(3600, self.run_action(receiver, after=3600))

    def test_archived_action_declares_nothing_and_obeys_nothing(self):
        receiver = self.receiver(asks(120))
        self.every_minute(receiver, minutes=2)
        self.env.ref("mcp_phone_home.ir_cron_heartbeat").active = False

        on_schedule(self.env)
        self.wait_for_threads()
        self.assertNotIn("heartbeat_interval_seconds", receiver.heard[-1].message)

    def test_database_that_is_not_upgraded_keeps_the_usual_interval(self):
        receiver = self.receiver(asks(600))
        self.env.cr.execute("ALTER TABLE mcp_phone_home_state DROP COLUMN pace")

        with self.assertNoLogs(LOGGER, logging.INFO):
            for _ in range(2):
                on_schedule(self.env)
                self.wait_for_threads()
        declared = [each.message["heartbeat_interval_seconds"] for each in receiver.heard]
        self.assertEqual([60, 60], declared)
        self.env.cr.execute("SELECT last_success_at IS NOT NULL FROM mcp_phone_home_state")
        self.assertEqual((True,), self.env.cr.fetchone())


class TestPaceValues(PhoneHomeCase):
    def test_declared_interval_is_at_most_twice_the_accepted_one(self):
        pace = Pace(receiver="", declared_seconds=100.0, wish_seconds=900.0, sent_at=0.0)

        self.assertEqual(200, pace.interval_seconds(usual=60, longest=600))
        self.assertEqual(150, pace.interval_seconds(usual=60, longest=150))
        self.assertEqual(300, pace.interval_seconds(usual=300, longest=150))
