import functools
import json
import logging
import socket
import time
from datetime import datetime, timedelta, timezone
from unittest.mock import patch

import psycopg2

from odoo import fields
from odoo.tests.common import release_test_lock

from odoo.addons.mcp_phone_home.hooks import PARAMETERS, uninstall_hook
from odoo.addons.mcp_phone_home.services import background, lifecycle, phone_home
from odoo.addons.mcp_phone_home.services.hosts import this_host
from odoo.addons.mcp_phone_home.services.lifecycle import on_health, on_schedule
from odoo.addons.mcp_phone_home.services.outgoing import Outcome
from odoo.addons.mcp_phone_home.services.phone_home import register_server, send_heartbeat
from odoo.addons.mcp_phone_home.services.state import (
    REGISTERED_SECONDS,
    SETTLED_SECONDS,
    claim_registration,
    committed,
    is_claimed,
    next_sequence,
    own_transaction,
    release_registration,
    remember,
)

from contract import InvalidMessage

from .common import LOGGER, PhoneHomeCase
from .receiver import CREATED, OK

START = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
AWAY = (503, b"")
HERE = socket.gethostname()

claim = functools.partial(claim_registration, started_at=START)


class LifecycleCase(PhoneHomeCase):
    def calls(self, receiver):
        self.wait_for_threads()
        return [each.call for each in receiver.heard]

    def probe(self):
        """Answer a health probe that comes `CHECK_SECONDS` after the one before."""
        lifecycle._checked.clear()
        on_health(self.env)

    def set_claims(self, claims):
        query = "UPDATE mcp_phone_home_state SET claims = %s"
        self.env.cr.execute(query, [json.dumps(claims)])

    def last_hostname(self):
        return self.env["ir.config_parameter"].get_param("mcp.last_hostname")

    def no_thread_starts(self):
        """Let `Thread.start` fail, as when the process has reached its limit of threads."""
        return patch.object(
            background.Background, "start", side_effect=RuntimeError("can't start new thread")
        )


class TestRebuild(LifecycleCase):
    def test_schedule_registers_a_changed_hostname_before_its_heartbeat(self):
        receiver = self.receiver(CREATED, OK)
        self.set_params(last_hostname="before")

        on_schedule(self.env)
        self.assertEqual(["POST /register", "POST /heartbeat"], self.calls(receiver))
        self.assertEqual(HERE, self.last_hostname())

    def test_schedule_registers_a_hostname_once(self):
        receiver = self.receiver(CREATED, OK)

        on_schedule(self.env)
        self.wait_for_threads()
        on_schedule(self.env)
        expected = ["POST /register", "POST /heartbeat", "POST /heartbeat"]
        self.assertEqual(expected, self.calls(receiver))

    def test_health_registers_a_changed_hostname_and_sends_no_heartbeat(self):
        receiver = self.receiver(CREATED)
        self.set_params(last_hostname="before")

        self.probe()
        self.assertEqual(["POST /register"], self.calls(receiver))
        self.assertEqual(HERE, self.last_hostname())

    def test_health_sends_nothing_for_an_unchanged_hostname(self):
        receiver = self.receiver()
        self.set_params(last_hostname=HERE)

        self.probe()
        self.assertEqual([], self.calls(receiver))

    def test_health_sends_nothing_without_a_url(self):
        with self.assertNoLogs(LOGGER):
            self.probe()
            self.wait_for_threads()

    def test_hostname_of_a_failed_registration_is_not_stored(self):
        receiver = self.receiver(AWAY)
        self.set_params(last_hostname="before", phone_home_retries="1")

        with self.assertLogs(LOGGER, "WARNING"):
            self.probe()
            self.assertEqual(["POST /register"], self.calls(receiver))
        self.assertEqual("before", self.last_hostname())

    def test_failed_registration_is_not_retried_at_the_next_probe(self):
        receiver = self.receiver(AWAY)
        self.set_params(phone_home_retries="1")

        with self.assertLogs(LOGGER, "WARNING"):
            for _ in range(3):
                self.probe()
                self.wait_for_threads()
        self.assertEqual(["POST /register"], self.calls(receiver))

    def test_failed_registration_is_retried_after_its_claim_expires(self):
        receiver = self.receiver(AWAY, CREATED)
        self.set_params(phone_home_retries="1")
        with self.assertLogs(LOGGER, "WARNING"):
            self.probe()
            self.wait_for_threads()

        self.expire_claims()
        self.probe()
        self.assertEqual(["POST /register", "POST /register"], self.calls(receiver))
        self.assertEqual(HERE, self.last_hostname())

    def test_nodes_of_one_database_do_not_register_in_turns(self):
        receiver = self.receiver(CREATED, OK)
        self.probe()
        self.wait_for_threads()

        for seconds in (0, SETTLED_SECONDS, REGISTERED_SECONDS - SETTLED_SECONDS - 10):
            self.let_pass(seconds)
            self.set_params(last_hostname="the-other-node")
            self.probe()
            on_schedule(self.env)
            self.wait_for_threads()
        expected = ["POST /register", *["POST /heartbeat"] * 3]
        self.assertEqual(expected, self.calls(receiver))

    def test_node_registers_again_after_a_day(self):
        receiver = self.receiver(CREATED)
        self.probe()
        self.wait_for_threads()

        self.let_pass(REGISTERED_SECONDS)
        self.set_params(last_hostname="the-other-node")
        self.probe()
        self.assertEqual(["POST /register"] * 2, self.calls(receiver))

    def test_node_registers_again_after_its_restart(self):
        receiver = self.receiver(CREATED)
        self.probe()
        self.wait_for_threads()

        self.let_pass(SETTLED_SECONDS)
        self.set_params(last_hostname="the-other-node")
        restarted_at = phone_home.announced_start() + timedelta(hours=1)
        self.patch(phone_home, "server_started_at", restarted_at.timestamp)
        self.probe()
        self.assertEqual(["POST /register"] * 2, self.calls(receiver))

    def test_node_that_is_registered_starts_no_thread_for_a_probe(self):
        self.receiver(CREATED)
        self.probe()
        self.wait_for_threads()

        self.set_params(last_hostname="the-other-node")
        with self.no_thread_starts(), self.assertNoLogs(LOGGER, "WARNING"):
            self.probe()

    def test_registration_by_hand_stores_the_hostname(self):
        self.receiver(CREATED)

        self.assertIs(True, register_server(self.env))
        self.env.invalidate_all()
        self.assertEqual(HERE, self.last_hostname())

    def test_heartbeat_by_hand_stores_no_hostname(self):
        self.receiver()

        self.assertIs(True, send_heartbeat(self.env))
        self.env.invalidate_all()
        self.assertIs(False, self.last_hostname())

    def test_health_survives_a_bug(self):
        self.receiver()
        self.patch(lifecycle, "_is_rebuilt", _broken)

        with self.assertLogs(LOGGER, "ERROR"):
            self.probe()

    def expire_claims(self):
        self.set_claims({HERE: 1})

    def let_pass(self, seconds):
        """Let all claims on a registration expire so many seconds earlier."""
        self.set_claims({claimed: t - seconds for claimed, t in self.state().claims.items()})


class TestCostOfProbes(LifecycleCase):
    def setUp(self):
        super().setUp()
        self.now = 1000.0
        self.built = []
        self.patch(lifecycle, "_now", lambda: self.now)
        build = phone_home._server_payload
        self.patch(phone_home, "_server_payload", lambda env: self.built.append(1) or build(env))

    def probe_every_second(self, *, seconds):
        for _ in range(seconds):
            on_health(self.env)
            self.now += 1

    def test_database_is_looked_at_once_a_minute(self):
        self.receiver(AWAY)
        looked = []
        self.patch(lifecycle, "_is_rebuilt", lambda env: looked.append(self.now))

        self.probe_every_second(seconds=150)
        self.assertEqual([1000.0, 1060.0, 1120.0], looked)

    def test_probes_between_two_looks_cost_no_query(self):
        self.receiver()
        self.set_params(last_hostname="before")
        self.patch(lifecycle, "in_background", lambda *_: None)
        on_health(self.env)

        with self.assertQueryCount(0):
            self.probe_every_second(seconds=59)

    def test_payload_is_not_built_for_a_registered_server(self):
        self.receiver()
        self.set_params(last_hostname=HERE)

        self.probe_every_second(seconds=150)
        self.wait_for_threads()
        self.assertEqual([], self.built)

    def test_payload_is_not_built_where_no_claim_can_be_stored(self):
        self.receiver()
        self.patch(lifecycle, "claim_registration", lambda *_, **__: False)

        for _ in range(3):
            self.probe()
            self.wait_for_threads()
        self.assertEqual([], self.built)

    def test_probes_of_a_server_that_cannot_phone_home_warn_once_a_minute(self):
        self.receiver()
        self.patch(phone_home, "ServerPayload", _invalid)

        with self.assertLogs(LOGGER, "WARNING") as logs:
            for _ in range(2):
                self.probe_every_second(seconds=60)
                self.wait_for_threads()
        self.assertEqual((2, 2), (len(self.built), len(logs.records)))
        self.assertEqual({}, self.state().claims)

    def test_hostname_is_that_of_the_messages(self):
        self.assertEqual(phone_home.host_facts().hostname, this_host())


class TestClaims(LifecycleCase):
    def test_hostname_is_claimed_once(self):
        first, again = (claim(self.env.registry, "a") for _ in range(2))

        self.assertEqual((True, False), (first, again))

    def test_claims_of_two_hostnames_are_independent(self):
        self.assertIs(True, claim(self.env.registry, "a"))
        self.assertIs(True, claim(self.env.registry, "b"))

    def test_released_hostname_can_be_claimed_again(self):
        claim(self.env.registry, "a")

        release_registration(self.env.registry, "a")
        self.assertIs(True, claim(self.env.registry, "a"))

    def test_release_keeps_the_claims_of_other_hostnames(self):
        claim(self.env.registry, "a")
        claim(self.env.registry, "b")

        release_registration(self.env.registry, "a")
        self.assertEqual(["b"], list(self.state().claims))

    def test_release_keeps_the_claim_of_a_registered_hostname(self):
        claim(self.env.registry, "a")
        remember(self.env.registry, Outcome(hostname="a", started_at=START))

        release_registration(self.env.registry, "a")
        self.assertIs(False, claim(self.env.registry, "a"))

    def test_release_without_a_claim_does_nothing(self):
        with self.assertNoLogs(LOGGER, "WARNING"):
            release_registration(self.env.registry, "a")
        self.assertFalse(self.state().claims)

    def test_claim_too_far_in_the_future_is_ignored(self):
        self.set_claims({"a": time.time() + 86400})

        self.assertIs(True, claim(self.env.registry, "a"))

    def test_registered_server_is_claimed_by_its_hostname_and_by_its_start(self):
        remember(self.env.registry, Outcome(hostname="a", started_at=START))
        registry = self.env.registry

        self.assertTrue(is_claimed(registry, "a", started_at=START))
        self.assertTrue(is_claimed(registry, "a", started_at=START + timedelta(seconds=1)))
        self.set_claims({each: t for each, t in self.state().claims.items() if each != "a"})
        self.assertTrue(is_claimed(registry, "a", started_at=START))
        self.assertFalse(is_claimed(registry, "a", started_at=START + timedelta(seconds=1)))
        self.assertFalse(is_claimed(registry, "b", started_at=START))

    def test_nothing_is_claimed_without_the_row_or_the_table(self):
        self.env["mcp.phone.home.state"].search([]).unlink()
        self.assertFalse(is_claimed(self.env.registry, "a", started_at=START))

        self.env.cr.execute("ALTER TABLE mcp_phone_home_state RENAME TO moved_away")
        with self.assertNoLogs(LOGGER, "INFO"):
            self.assertFalse(is_claimed(self.env.registry, "a", started_at=START))

    def test_expired_claims_are_deleted(self):
        self.set_claims({"a": 1})

        claim(self.env.registry, "b")
        self.assertEqual(["b"], list(self.state().claims))

    def test_deleted_state_row_is_recreated(self):
        self.env["mcp.phone.home.state"].search([]).unlink()

        first, again = (claim(self.env.registry, "a") for _ in range(2))
        self.assertEqual((True, False), (first, again))

    def test_work_is_done_once_though_other_processes_cannot_be_told(self):
        for failures, told in ((1, ()), (2, ("cannot connect",))):
            done = []
            outcomes = [psycopg2.OperationalError("cannot connect")] * failures + [None]
            with (
                patch.object(self.env.registry, "signal_changes", side_effect=outcomes),
                self.assert_one_warning(*told) if told else self.assertNoLogs(LOGGER, "WARNING"),
            ):
                committed(self.env.registry, lambda env, done=done: done.append(env))
            self.assertEqual(1, len(done))

    def test_failed_own_transaction_is_rolled_back(self):
        with self.assertRaises(RuntimeError), own_transaction(self.env.registry) as env:
            env["ir.config_parameter"].set_param("mcp.server_port", "1")
            raise RuntimeError("half done")

        self.assertIs(False, self.env["ir.config_parameter"].get_param("mcp.server_port"))


class TestStoredOutcome(LifecycleCase):
    def test_success_is_stored_with_its_time(self):
        self.receiver()
        before = fields.Datetime.now()

        send_heartbeat(self.env)
        self.assertLessEqual(before, self.state().last_success_at)
        self.assertIs(False, self.state().last_failure_at)

    def test_failure_is_stored_with_its_reason(self):
        self.receiver((401, b'{"code": "unauthenticated", "detail": "There is no such key"}'))

        with self.assertLogs(LOGGER, "WARNING"):
            send_heartbeat(self.env)
        self.assertIn("There is no such key", self.state().last_failure_reason)
        self.assertIn("Set the token", self.state().last_failure_reason)
        self.assertIs(False, self.state().last_success_at)

    def test_failure_keeps_the_last_success(self):
        self.receiver(OK, AWAY)

        send_heartbeat(self.env)
        with self.assertLogs(LOGGER, "WARNING"):
            send_heartbeat(self.env)
        self.assertTrue(self.state().last_success_at)
        self.assertTrue(self.state().last_failure_at)

    def test_no_outcome_is_stored_without_a_url(self):
        send_heartbeat(self.env)

        self.assertEqual(
            (False, False), (self.state().last_success_at, self.state().last_failure_at)
        )


class TestUninstall(LifecycleCase):
    def test_committed_uninstall_sends_a_farewell(self):
        receiver = self.receiver()

        uninstall_hook(self.env)
        self.assertEqual([], self.calls(receiver))
        self.env.cr.postcommit.run()
        self.assertEqual(["POST /heartbeat"], self.calls(receiver))
        message = receiver.heard[-1].message
        self.assertEqual(("uninstalled", []), (message["status"], message["capabilities"]))

    def test_farewell_is_numbered_and_tells_the_start(self):
        receiver = self.receiver()
        before = next_sequence(self.env.registry)

        uninstall_hook(self.env)
        self.env.cr.execute("DROP SEQUENCE mcp_phone_home_state_sequence")
        self.env.cr.postcommit.run()
        self.assertEqual(["POST /heartbeat"], self.calls(receiver))
        message = receiver.heard[-1].message
        started_at = datetime.fromisoformat(message["started_at"].removesuffix("Z") + "+00:00")
        expected = (before + 1, phone_home.announced_start())
        self.assertEqual(expected, (message["sequence"], started_at))

    def test_uninstall_that_is_rolled_back_sends_nothing(self):
        receiver = self.receiver()

        uninstall_hook(self.env)
        self.env.cr.postcommit.clear()
        self.assertEqual([], self.calls(receiver))

    def test_uninstall_deletes_only_the_parameters_of_the_addon(self):
        for name in PARAMETERS:
            value = "https://fleet.example" if name.endswith("_url") else "1"
            self.set_params(**{name.removeprefix("mcp."): value})
        self.set_params(something_else="stays")

        uninstall_hook(self.env)
        found = self.env["ir.config_parameter"].search([("key", "=like", "mcp.%")]).mapped("key")
        self.assertEqual(["mcp.something_else"], found)

    def test_farewell_to_an_unreachable_receiver_logs_one_warning(self):
        self.set_params(phone_home_url=self.closed_port())

        uninstall_hook(self.env)
        with self.assert_one_warning("cannot be reached"):
            self.env.cr.postcommit.run()
            self.wait_for_threads()


class TestBackground(LifecycleCase):
    def test_heartbeat_is_dropped_with_a_warning_while_the_last_one_is_sent(self):
        receiver = self.receiver()
        self.set_params(last_hostname=HERE)
        receiver.answering.clear()

        on_schedule(self.env)
        self.assertTrue(receiver.wait_for(1))
        with self.assert_one_warning("No heartbeat was sent", "still on its way"):
            on_schedule(self.env)
        receiver.answering.set()
        self.assertEqual(["POST /heartbeat"], self.calls(receiver))

    def test_dropped_registration_releases_its_claim(self):
        receiver = self.receiver()
        self.set_params(last_hostname=HERE)
        receiver.answering.clear()
        on_schedule(self.env)
        self.assertTrue(receiver.wait_for(1))

        self.set_params(last_hostname="before")
        with self.assert_one_warning("still on its way"):
            on_schedule(self.env)
        self.assertEqual({}, self.state().claims)

        receiver.answering.set()
        self.wait_for_threads()
        on_schedule(self.env)
        expected = ["POST /heartbeat", "POST /register", "POST /heartbeat"]
        self.assertEqual(expected, self.calls(receiver))

    def test_schedule_without_a_thread_warns_and_releases_the_claim(self):
        receiver = self.receiver()
        with self.no_thread_starts(), self.assert_one_warning("No heartbeat", "new thread"):
            on_schedule(self.env)
        self.assertEqual({}, self.state().claims)

        on_schedule(self.env)
        self.assertEqual(["POST /register", "POST /heartbeat"], self.calls(receiver))

    def test_failure_to_build_a_heartbeat_leaves_no_claim(self):
        self.receiver()
        self.patch(lifecycle, "prepare_heartbeat", _broken)

        with self.assertRaises(RuntimeError):
            on_schedule(self.env)
        self.assertFalse(self.state().claims)

    def test_health_without_a_thread_warns_and_leaves_no_claim(self):
        self.receiver()

        with self.no_thread_starts(), self.assert_one_warning("not registered", "new thread"):
            self.probe()
        self.assertFalse(self.state().claims)

    def test_health_logs_nothing_while_the_registration_is_sent(self):
        receiver = self.receiver(CREATED)
        receiver.answering.clear()
        self.probe()
        with release_test_lock():
            self.assertTrue(receiver.wait_for(1))

        with self.assertNoLogs(LOGGER, "WARNING"):
            self.probe()
        receiver.answering.set()
        self.assertEqual(["POST /register"], self.calls(receiver))

    def test_install_without_a_thread_warns(self):
        self.receiver()

        with self.no_thread_starts(), self.assert_one_warning("not registered", "new thread"):
            lifecycle.after_install(self.env.registry)

    def test_uninstall_without_a_thread_warns_and_does_not_fail(self):
        self.receiver()

        uninstall_hook(self.env)
        with self.no_thread_starts(), self.assert_one_warning("uninstallation", "new thread"):
            self.env.cr.postcommit.run()

    def test_heartbeat_is_dropped_with_a_warning_while_modules_load(self):
        receiver = self.receiver()
        self.patch(lifecycle, "_LOADING_SECONDS", 0.0)

        with self.assert_one_warning("nothing was sent after it"):
            on_schedule(self.env)
            self.assertEqual(["POST /register"], self.calls(receiver))

    def test_message_is_sent_when_its_outcome_cannot_be_stored(self):
        receiver = self.receiver()
        self.set_params(last_hostname=HERE)
        self.env.cr.execute("ALTER TABLE mcp_phone_home_state RENAME TO moved_away")

        with self.assertLogs(LOGGER, logging.WARNING) as logs:
            on_schedule(self.env)
            self.assertEqual(["POST /heartbeat"], self.calls(receiver))
        self.assertIn("cannot be written down", logs.records[0].getMessage())


def _broken(env):
    raise RuntimeError("this is broken")


def _invalid(**_):
    raise InvalidMessage([])
