import json
import logging
import socket
import time
from unittest.mock import patch

from odoo import fields
from odoo.tests.common import release_test_lock

from odoo.addons.mcp_phone_home.hooks import PARAMETERS, uninstall_hook
from odoo.addons.mcp_phone_home.services import background, lifecycle
from odoo.addons.mcp_phone_home.services.lifecycle import on_health, on_schedule
from odoo.addons.mcp_phone_home.services.outgoing import Outcome
from odoo.addons.mcp_phone_home.services.phone_home import register_server, send_heartbeat
from odoo.addons.mcp_phone_home.services.state import (
    claim_registration,
    own_transaction,
    release_registration,
    remember,
)

from .common import LOGGER, PhoneHomeCase
from .receiver import CREATED, OK

AWAY = (503, b"")
HERE = socket.gethostname()


class LifecycleCase(PhoneHomeCase):
    def calls(self, receiver):
        self.wait_for_threads()
        return [each.call for each in receiver.heard]

    def set_claims(self, claims):
        query = "UPDATE mcp_phone_home_state SET claims = %s"
        self.env.cr.execute(query, [json.dumps(claims)])

    def last_hostname(self):
        return self.env["ir.config_parameter"].get_param("mcp.last_hostname")


class TestRebuild(LifecycleCase):
    def test_schedule_registers_another_hostname_before_its_heartbeat(self):
        receiver = self.receiver(CREATED, OK)
        self.set_params(last_hostname="before")

        on_schedule(self.env)
        self.assertEqual(["POST /register", "POST /heartbeat"], self.calls(receiver))
        self.assertEqual(HERE, self.last_hostname())

    def test_schedule_registers_no_hostname_twice(self):
        receiver = self.receiver(CREATED, OK)

        on_schedule(self.env)
        self.wait_for_threads()
        on_schedule(self.env)
        expected = ["POST /register", "POST /heartbeat", "POST /heartbeat"]
        self.assertEqual(expected, self.calls(receiver))

    def test_health_registers_another_hostname_and_sends_no_heartbeat(self):
        receiver = self.receiver(CREATED)
        self.set_params(last_hostname="before")

        on_health(self.env)
        self.assertEqual(["POST /register"], self.calls(receiver))
        self.assertEqual(HERE, self.last_hostname())

    def test_health_tells_nobody_of_the_same_hostname(self):
        receiver = self.receiver()
        self.set_params(last_hostname=HERE)

        on_health(self.env)
        self.assertEqual([], self.calls(receiver))

    def test_health_tells_nobody_without_a_url(self):
        with self.assertNoLogs(LOGGER):
            on_health(self.env)
            self.wait_for_threads()

    def test_hostname_that_was_not_taken_in_is_not_remembered(self):
        receiver = self.receiver(AWAY)
        self.set_params(last_hostname="before", phone_home_retries="1")

        with self.assertLogs(LOGGER, "WARNING"):
            on_health(self.env)
            self.assertEqual(["POST /register"], self.calls(receiver))
        self.assertEqual("before", self.last_hostname())

    def test_registration_that_failed_is_not_tried_at_each_probe(self):
        receiver = self.receiver(AWAY)
        self.set_params(phone_home_retries="1")

        with self.assertLogs(LOGGER, "WARNING"):
            for _ in range(3):
                on_health(self.env)
                self.wait_for_threads()
        self.assertEqual(["POST /register"], self.calls(receiver))

    def test_registration_that_failed_is_tried_again_a_minute_later(self):
        receiver = self.receiver(AWAY, CREATED)
        self.set_params(phone_home_retries="1")
        with self.assertLogs(LOGGER, "WARNING"):
            on_health(self.env)
            self.wait_for_threads()

        self.let_claims_pass()
        on_health(self.env)
        self.assertEqual(["POST /register", "POST /register"], self.calls(receiver))
        self.assertEqual(HERE, self.last_hostname())

    def test_nodes_of_one_database_do_not_take_turns_at_registering(self):
        receiver = self.receiver(CREATED)
        on_health(self.env)
        self.wait_for_threads()

        self.set_params(last_hostname="the-other-node")
        on_health(self.env)
        self.assertEqual(["POST /register"], self.calls(receiver))

    def test_registration_by_hand_is_remembered_too(self):
        self.receiver(CREATED)

        self.assertIs(True, register_server(self.env))
        self.env.invalidate_all()
        self.assertEqual(HERE, self.last_hostname())

    def test_heartbeat_by_hand_is_no_registration(self):
        self.receiver()

        self.assertIs(True, send_heartbeat(self.env))
        self.env.invalidate_all()
        self.assertIs(False, self.last_hostname())

    def test_health_survives_a_bug(self):
        self.receiver()
        self.patch(lifecycle, "_is_rebuilt", _broken)

        with self.assertLogs(LOGGER, "ERROR"):
            on_health(self.env)

    def let_claims_pass(self):
        self.set_claims({HERE: 1})


class TestClaims(LifecycleCase):
    def test_hostname_is_claimed_once(self):
        first, again = (claim_registration(self.env.registry, "a") for _ in range(2))

        self.assertEqual((True, False), (first, again))

    def test_each_hostname_is_claimed_for_itself(self):
        self.assertIs(True, claim_registration(self.env.registry, "a"))
        self.assertIs(True, claim_registration(self.env.registry, "b"))

    def test_claim_that_was_given_back_can_be_had_again(self):
        claim_registration(self.env.registry, "a")

        release_registration(self.env.registry, "a")
        self.assertIs(True, claim_registration(self.env.registry, "a"))

    def test_claim_that_is_given_back_leaves_those_of_other_hostnames(self):
        claim_registration(self.env.registry, "a")
        claim_registration(self.env.registry, "b")

        release_registration(self.env.registry, "a")
        self.assertEqual(["b"], list(self.state().claims))

    def test_hostname_that_was_registered_meanwhile_stays_settled(self):
        claim_registration(self.env.registry, "a")
        remember(self.env.registry, Outcome(hostname="a"))

        release_registration(self.env.registry, "a")
        self.assertIs(False, claim_registration(self.env.registry, "a"))

    def test_claim_that_is_gone_is_given_back_without_a_word(self):
        with self.assertNoLogs(LOGGER, "WARNING"):
            release_registration(self.env.registry, "a")
        self.assertFalse(self.state().claims)

    def test_claim_of_a_clock_that_was_ahead_does_not_hold(self):
        self.set_claims({"a": time.time() + 86400})

        self.assertIs(True, claim_registration(self.env.registry, "a"))

    def test_claims_that_have_passed_are_forgotten(self):
        self.set_claims({"a": 1})

        claim_registration(self.env.registry, "b")
        self.assertEqual(["b"], list(self.state().claims))

    def test_row_that_somebody_deleted_is_made_anew(self):
        self.env["mcp.phone.home.state"].search([]).unlink()

        first, again = (claim_registration(self.env.registry, "a") for _ in range(2))
        self.assertEqual((True, False), (first, again))

    def test_own_transaction_that_fails_changes_nothing(self):
        with self.assertRaises(RuntimeError), own_transaction(self.env.registry) as env:
            env["ir.config_parameter"].set_param("mcp.server_port", "1")
            raise RuntimeError("half done")

        self.assertIs(False, self.env["ir.config_parameter"].get_param("mcp.server_port"))


class TestWhatIsRemembered(LifecycleCase):
    def test_success_is_remembered_with_its_time(self):
        self.receiver()
        before = fields.Datetime.now()

        send_heartbeat(self.env)
        self.assertLessEqual(before, self.state().last_success_at)
        self.assertIs(False, self.state().last_failure_at)

    def test_failure_is_remembered_with_its_reason(self):
        self.receiver((401, b'{"code": "unauthenticated", "detail": "There is no such key"}'))

        with self.assertLogs(LOGGER, "WARNING"):
            send_heartbeat(self.env)
        self.assertIn("There is no such key", self.state().last_failure_reason)
        self.assertIn("Set the token", self.state().last_failure_reason)
        self.assertIs(False, self.state().last_success_at)

    def test_failure_does_not_erase_the_last_success(self):
        self.receiver(OK, AWAY)

        send_heartbeat(self.env)
        with self.assertLogs(LOGGER, "WARNING"):
            send_heartbeat(self.env)
        self.assertTrue(self.state().last_success_at)
        self.assertTrue(self.state().last_failure_at)

    def test_nothing_is_remembered_when_phoning_home_is_off(self):
        send_heartbeat(self.env)

        self.assertEqual(
            (False, False), (self.state().last_success_at, self.state().last_failure_at)
        )


class TestUninstall(LifecycleCase):
    def test_receiver_is_told_when_it_is_committed(self):
        receiver = self.receiver()

        uninstall_hook(self.env)
        self.assertEqual([], self.calls(receiver))
        self.env.cr.postcommit.run()
        self.assertEqual(["POST /heartbeat"], self.calls(receiver))
        message = receiver.heard[-1].message
        self.assertEqual(("uninstalled", []), (message["status"], message["capabilities"]))

    def test_nobody_is_told_of_one_that_is_rolled_back(self):
        receiver = self.receiver()

        uninstall_hook(self.env)
        self.env.cr.postcommit.clear()
        self.assertEqual([], self.calls(receiver))

    def test_parameters_go_and_those_of_others_stay(self):
        for name in PARAMETERS:
            value = "https://fleet.example" if name.endswith("_url") else "1"
            self.set_params(**{name.removeprefix("mcp."): value})
        self.set_params(something_else="stays")

        uninstall_hook(self.env)
        found = self.env["ir.config_parameter"].search([("key", "=like", "mcp.%")]).mapped("key")
        self.assertEqual(["mcp.something_else"], found)

    def test_receiver_that_is_away_is_warned_of_once(self):
        self.set_params(phone_home_url=self.closed_port())

        uninstall_hook(self.env)
        with self.assert_one_warning("cannot be reached"):
            self.env.cr.postcommit.run()
            self.wait_for_threads()


class TestBackground(LifecycleCase):
    def test_second_heartbeat_is_not_begun_while_one_is_on_its_way(self):
        receiver = self.receiver()
        self.set_params(last_hostname=HERE)
        receiver.answering.clear()

        on_schedule(self.env)
        self.assertTrue(receiver.wait_for(1))
        with self.assert_one_warning("No heartbeat was sent", "still on its way"):
            on_schedule(self.env)
        receiver.answering.set()
        self.assertEqual(["POST /heartbeat"], self.calls(receiver))

    def test_registration_that_was_not_begun_gives_its_claim_back(self):
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

    def test_schedule_without_a_thread_warns_and_gives_the_claim_back(self):
        receiver = self.receiver()
        with self.no_thread_starts(), self.assert_one_warning("No heartbeat", "new thread"):
            on_schedule(self.env)
        self.assertEqual({}, self.state().claims)

        on_schedule(self.env)
        self.assertEqual(["POST /register", "POST /heartbeat"], self.calls(receiver))

    def test_heartbeat_that_cannot_be_prepared_claims_nothing(self):
        self.receiver()
        self.patch(lifecycle, "prepare_heartbeat", _broken)

        with self.assertRaises(RuntimeError):
            on_schedule(self.env)
        self.assertFalse(self.state().claims)

    def test_health_without_a_thread_warns_and_claims_nothing(self):
        self.receiver()

        with self.no_thread_starts(), self.assert_one_warning("not registered", "new thread"):
            on_health(self.env)
        self.assertFalse(self.state().claims)

    def test_health_says_nothing_while_the_registration_is_on_its_way(self):
        receiver = self.receiver(CREATED)
        receiver.answering.clear()
        on_health(self.env)
        with release_test_lock():
            self.assertTrue(receiver.wait_for(1))

        with self.assertNoLogs(LOGGER, "WARNING"):
            on_health(self.env)
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

    def test_heartbeat_that_modules_being_loaded_keep_back_is_warned_of(self):
        receiver = self.receiver()
        self.patch(lifecycle, "_LOADING_SECONDS", 0.0)

        with self.assert_one_warning("nothing was sent after it"):
            on_schedule(self.env)
            self.assertEqual(["POST /register"], self.calls(receiver))

    def test_message_is_sent_also_when_nothing_can_be_remembered(self):
        receiver = self.receiver()
        self.set_params(last_hostname=HERE)
        self.env.cr.execute("ALTER TABLE mcp_phone_home_state RENAME TO moved_away")

        with self.assertLogs(LOGGER, logging.WARNING) as logs:
            on_schedule(self.env)
            self.assertEqual(["POST /heartbeat"], self.calls(receiver))
        self.assertIn("cannot be written down", logs.records[0].getMessage())

    def no_thread_starts(self):
        """The process has as many threads as it may have."""
        return patch.object(
            background.Background, "start", side_effect=RuntimeError("can't start new thread")
        )


def _broken(env):
    raise RuntimeError("this is broken")
