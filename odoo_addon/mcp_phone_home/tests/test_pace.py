import json
import logging
import random
import socket
import time
from functools import partial
from unittest.mock import patch

from odoo.addons.mcp_phone_home.services import hosts, phone_home
from odoo.addons.mcp_phone_home.services.hosts import HOST_SECONDS, last_sent
from odoo.addons.mcp_phone_home.services.lifecycle import on_schedule
from odoo.addons.mcp_phone_home.services.pace import GONE_AFTER_INTERVALS, Pace
from odoo.addons.mcp_phone_home.services.phone_home import announced, register_server
from odoo.addons.mcp_phone_home.services.state import stored_pace

from client import host_facts

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


class TestHosts(PhoneHomeCase):
    """Several Odoo servers on one database: the scheduled action runs on one or another."""

    def setUp(self):
        super().setUp()
        # Both are registered, so that no run begins with a registration.
        for host in ("a", "b"):
            self.act_as(host, lambda: register_server(self.env), self.receiver(CREATED))
        self.let_pass(GONE_AFTER_INTERVALS * 60)

    def act_as(self, host, act, receiver):
        """
        Do something as the server on this host.

        Returns the interval that its message declares; None when it sends none.
        """
        before = len(receiver.heard)
        facts = partial(host_facts, hostname=lambda: host)
        with (
            patch.object(phone_home, "host_facts", facts),
            patch.object(hosts, "host_facts", facts),
        ):
            act()
            self.wait_for_threads()
        heard = receiver.heard[before:]
        self.assertLessEqual(len(heard), 1)
        return heard[0].message["heartbeat_interval_seconds"] if heard else None

    def every_minute(self, receiver, hosts):
        """What each heartbeat declares that the action sends, each minute on one of the hosts."""
        declared = []
        for host in hosts:
            self.let_pass(60)
            declared.append(self.act_as(host, lambda: on_schedule(self.env), receiver))
        return declared

    def let_pass(self, seconds):
        """Let all that is stored of heartbeats be that much older."""
        self.env.cr.execute(
            """
            UPDATE mcp_phone_home_state
               SET pace = jsonb_set(
                       pace::jsonb, '{sent_at}', to_jsonb((pace->>'sent_at')::float - %s)
                   ),
                   hosts = (
                       SELECT jsonb_object_agg(key, value::float - %s)
                         FROM jsonb_each_text(hosts::jsonb)
                   )
            """,
            [seconds, seconds],
        )

    def test_hosts_that_take_turns_keep_the_usual_interval(self):
        receiver = self.receiver(asks(600))

        self.assertEqual([60] * 8, self.every_minute(receiver, "abababab")[:8])

    def test_one_host_of_two_does_not_skip_runs(self):
        receiver = self.receiver(asks(600))

        self.assertEqual([60] * 6, self.every_minute(receiver, "baaaaa"))

    def test_usual_interval_is_back_when_another_host_appears(self):
        receiver = self.receiver(asks(600))
        self.assertEqual([60, 120, None, 240], self.every_minute(receiver, "aaaa"))

        self.assertEqual([60] * 4, self.every_minute(receiver, "bbaa"))

    def test_host_that_registers_counts(self):
        receiver = self.receiver(asks(600))
        self.assertEqual([60, 120, None, 240], self.every_minute(receiver, "aaaa"))

        registered = self.act_as("b", lambda: register_server(self.env), receiver)
        self.assertEqual([60, 60, 60], [registered, *self.every_minute(receiver, "aa")])

    def test_wish_is_obeyed_again_when_the_other_host_is_gone(self):
        receiver = self.receiver(asks(600))

        declared = self.every_minute(receiver, "b" + "a" * (GONE_AFTER_INTERVALS + 4))
        self.assertEqual([60] * GONE_AFTER_INTERVALS, declared[:GONE_AFTER_INTERVALS])
        self.assertEqual([120, None, 240], declared[GONE_AFTER_INTERVALS:][:3])

    def test_wish_to_a_host_is_not_obeyed_by_another(self):
        receiver = self.receiver(asks(600))
        self.every_minute(receiver, "aaaa")
        # Nobody knows of the first host any more.
        self.env.cr.execute("UPDATE mcp_phone_home_state SET hosts = NULL")

        self.assertEqual([60, 120], self.every_minute(receiver, "bb"))

    def test_database_keeps_what_each_of_its_hosts_has_declared(self):
        receiver = self.receiver(asks(1e9))
        chosen = random.Random(0)  # noqa: S311 - any hosts will do
        mixed = [chosen.choice("ab") for _ in range(30)]
        hosts = ["b"] + ["a"] * 60 + mixed + ["b"] * 60
        now, last, promised = 0, 0, {}
        for host in hosts:
            now += 60
            (declared,) = self.every_minute(receiver, host)
            lately = [
                seconds
                for seconds, sent_at in promised.values()
                if now - sent_at < GONE_AFTER_INTERVALS * 60
            ]
            self.assertLess(now - last, 2 * min(lately, default=60))
            if declared is not None:
                last, promised[host] = now, (declared, now)
        self.assertEqual(600, promised["b"][0])

    def test_host_is_forgotten(self):
        receiver = self.receiver()
        self.every_minute(receiver, "ab")
        self.assertEqual({"a", "b"}, {*last_sent(self.env.registry, seconds=100)})
        self.assertEqual({"b"}, {*last_sent(self.env.registry, seconds=30)})

        self.let_pass(HOST_SECONDS - 60)
        self.every_minute(receiver, "b")
        self.assertEqual(["b"], list(self.state().hosts))

    def test_database_that_does_not_know_its_hosts_keeps_the_usual_interval(self):
        receiver = self.receiver(asks(600))
        self.env.cr.execute("ALTER TABLE mcp_phone_home_state DROP COLUMN hosts")

        with self.assertNoLogs(LOGGER, logging.INFO):
            for _ in range(3):
                declared = self.act_as("a", lambda: on_schedule(self.env), receiver)
                self.assertEqual(60, declared)


class TestPaceValues(PhoneHomeCase):
    def test_declared_interval_is_at_most_twice_the_accepted_one(self):
        pace = Pace(
            receiver="", hostname="", declared_seconds=100.0, wish_seconds=900.0, sent_at=0.0
        )

        self.assertEqual(200, pace.interval_seconds(usual=60, longest=600))
        self.assertEqual(150, pace.interval_seconds(usual=60, longest=150))
        self.assertEqual(300, pace.interval_seconds(usual=300, longest=150))
