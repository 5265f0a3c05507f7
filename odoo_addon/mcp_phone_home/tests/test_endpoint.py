import time
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from unittest.mock import patch

from psycopg2.extras import Json

from odoo.addons.mcp_phone_home.services import endpoint, hosts, phone_home
from odoo.addons.mcp_phone_home.services.endpoint import SETTLED
from odoo.addons.mcp_phone_home.services.hosts import GONE_AFTER_INTERVALS
from odoo.addons.mcp_phone_home.services.phone_home import _build_server_payload, send_heartbeat
from odoo.addons.mcp_phone_home.services.routes import OWN_PATH

from client import host_facts

from .common import PhoneHomeCase

PUBLIC = "https://odoo.example"
OTHER = "https://erp.example"


class EndpointCase(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        # In tests Odoo hashes once, and not 600,000 times as it did for the password before.
        self.env.ref("base.user_admin").write({"password": "admin"})

    def log_in(self, address):
        """Let an administrator log in at an address, as Odoo's login form does."""
        credential = {"type": "password", "login": "admin", "password": "admin"}
        browser = {"base_location": address, "interactive": True}
        self.env["res.users"].authenticate(credential, browser)

    def announced(self):
        """Send a heartbeat; returns its endpoint without the path."""
        receiver = self.receiver()
        send_heartbeat(self.env)
        self.env.invalidate_all()
        endpoint_url = receiver.heard[-1].message.get("endpoint_url")
        return endpoint_url and endpoint_url.removesuffix("/mcp/v1")

    def announced_after_logins(self, *addresses):
        told = []
        for address in addresses:
            self.log_in(address)
            told.append(self.announced())
        return told


class TestAnnouncedEndpoint(EndpointCase):
    def test_path_is_the_one_at_which_this_addon_answers(self):
        self.log_in(PUBLIC)
        self.announced()
        self.patch(endpoint, "mcp_path", lambda env: OWN_PATH)

        self.log_in(OTHER)
        self.assertEqual(f"{PUBLIC}{OWN_PATH}", self.announced())

    def test_login_changes_web_base_url(self):
        self.log_in(PUBLIC)

        self.assertEqual(PUBLIC, self.env["ir.config_parameter"].get_param("web.base.url"))

    def test_endpoint_does_not_follow_logins_at_addresses_of_one_kind(self):
        for kind in (
            (PUBLIC, OTHER),
            ("http://odoo.example", "http://erp.example:8069"),
            ("http://192.168.1.7:8069", "http://odoo:8069", "http://10.0.0.9"),
            ("http://localhost:8069", "http://127.0.0.1:8069"),
        ):
            with self.subTest(kind):
                self.set_params(announced_endpoint=None)

                told = self.announced_after_logins(*kind, *kind)
                self.assertEqual([kind[0]] * len(told), told)

    def test_endpoint_of_a_better_kind_is_announced_at_once_and_stays(self):
        kinds = ["http://localhost:8069", "http://10.0.0.9:8069", "http://odoo.example", PUBLIC]

        self.assertEqual(kinds, self.announced_after_logins(*kinds))
        self.assertEqual([PUBLIC] * 4, self.announced_after_logins(*kinds))

    def test_new_database_announces_its_public_name_after_the_first_login(self):
        self.set_params(phone_home_url="https://fleet.example")
        self.assertNotIn("endpoint_url", _build_server_payload(self.env))

        self.log_in(PUBLIC)
        self.assertEqual(f"{PUBLIC}/mcp/v1", _build_server_payload(self.env)["endpoint_url"])

    def test_endpoint_of_the_same_kind_is_announced_when_it_is_settled(self):
        self.announced_after_logins(PUBLIC, OTHER)
        # Odoo's `now` has no fractions of a second, and that of PostgreSQL has.
        for age, expected in ((0.9 * SETTLED, PUBLIC), (SETTLED + timedelta(seconds=1), OTHER)):
            with self.subTest(age):
                self.env.cr.execute(
                    "UPDATE ir_config_parameter SET write_date = now() AT TIME ZONE 'UTC' - %s"
                    " WHERE key = 'web.base.url'",
                    [age],
                )
                self.env.invalidate_all()

                self.assertEqual(expected, self.announced())

    def test_worse_endpoint_is_not_announced_when_it_is_settled(self):
        self.announced_after_logins(PUBLIC, "http://10.0.0.9:8069")
        self.env.cr.execute(
            "UPDATE ir_config_parameter SET write_date = '2026-01-31' WHERE key = 'web.base.url'"
        )
        self.env.invalidate_all()

        self.assertEqual(PUBLIC, self.announced())

    def test_frozen_web_base_url_is_announced(self):
        self.announced_after_logins(PUBLIC)
        for base_url in (OTHER, "http://10.0.0.9:8069"):
            with self.subTest(base_url):
                self.env["ir.config_parameter"].set_param("web.base.url", base_url)
                self.env["ir.config_parameter"].set_param("web.base.url.freeze", "True")

                self.assertEqual(base_url, self.announced())

    def test_invalid_web_base_url_keeps_what_was_announced(self):
        self.announced_after_logins(PUBLIC)
        self.env["ir.config_parameter"].set_param("web.base.url", "odoo.example")

        self.assertEqual(PUBLIC, self.announced())

    def test_set_endpoint_goes_before_what_was_announced(self):
        self.announced_after_logins(PUBLIC)
        self.set_params(endpoint_url="http://10.0.0.9/mcp")

        self.assertEqual("http://10.0.0.9/mcp", self.announced())
        self.set_params(endpoint_url=None)
        self.assertEqual(PUBLIC, self.announced())

    def test_copy_with_a_new_uuid_forgets_what_its_original_announced(self):
        self.announced_after_logins(PUBLIC)
        self.env["ir.config_parameter"].init(force=True)

        local = self.env["ir.config_parameter"].get_param("web.base.url")
        self.assertIn("localhost", local)
        self.assertEqual(local, self.announced())

    def test_local_endpoint_that_was_announced_is_not_told_to_a_remote_receiver(self):
        self.assertEqual(
            ["http://localhost:8069"], self.announced_after_logins("http://localhost:8069")
        )

        self.set_params(phone_home_url="https://fleet.example")
        self.assertNotIn("endpoint_url", _build_server_payload(self.env))

    def test_endpoint_that_the_receiver_has_not_heard_is_not_kept(self):
        self.set_params(phone_home_url=self.closed_port())
        self.log_in(PUBLIC)
        with self.assert_one_warning("cannot be reached"):
            send_heartbeat(self.env)
        self.env.invalidate_all()

        self.assertEqual([OTHER], self.announced_after_logins(OTHER))


class TestEndpointAfterRebuild(EndpointCase):
    """An Odoo on another host, after the host `old` has announced `PUBLIC`."""

    def setUp(self):
        super().setUp()
        with self.on("old"):
            self.assertEqual([PUBLIC], self.announced_after_logins(PUBLIC))

    @contextmanager
    def on(self, host, *, started_ago=0.0):
        """Let the server run on a host, and have been started so many seconds ago."""
        facts = partial(host_facts, hostname=lambda: host)
        started_at = None if started_ago is None else time.time() - started_ago
        with (
            patch.object(phone_home, "host_facts", facts),
            patch.object(hosts, "host_facts", facts),
            patch.object(endpoint, "server_started_at", lambda: started_at),
        ):
            yield

    def have_sent(self, **seconds_ago):
        """Let just these hosts have sent something, so many seconds ago."""
        sent_at = {host: time.time() - ago for host, ago in seconds_ago.items()}
        self.env.cr.execute("UPDATE mcp_phone_home_state SET hosts = %s", [Json(sent_at)])

    def test_address_of_the_new_host_is_announced_at_once(self):
        self.have_sent(old=300)
        with self.on("new", started_ago=200):
            self.assertEqual(PUBLIC, self.announced())

            self.assertEqual([OTHER], self.announced_after_logins(OTHER))

    def test_new_host_does_not_follow_logins_either(self):
        self.have_sent(old=300)
        with self.on("new", started_ago=200):
            told = self.announced_after_logins(OTHER, PUBLIC, "https://third.example", PUBLIC)

        self.assertEqual([OTHER] * 4, told)

    def test_login_on_the_old_host_is_not_followed_by_the_new_one(self):
        """As when a container is replaced, which has another hostname each time."""
        with self.on("old"):
            self.assertEqual([PUBLIC], self.announced_after_logins(OTHER))
        self.have_sent(old=300)

        with self.on("new", started_ago=200):
            self.assertEqual(PUBLIC, self.announced())

            third = "https://third.example"
            self.assertEqual([third], self.announced_after_logins(third))

    def test_address_that_was_set_before_the_start_of_the_new_host_is_announced(self):
        """As by a script that restores a backup, which leaves the time of the change as it was."""
        self.have_sent(old=300)
        self.env.cr.execute(
            "UPDATE ir_config_parameter SET value = %s WHERE key = 'web.base.url'", [OTHER]
        )
        self.env.invalidate_all()
        self.env.registry.clear_cache()

        with self.on("new", started_ago=200):
            self.assertEqual([OTHER] * 2, [self.announced(), self.announced()])

    def test_address_that_the_receiver_has_not_heard_is_announced_later(self):
        self.have_sent(old=300)
        with self.on("new", started_ago=200):
            self.set_params(phone_home_url=self.closed_port())
            self.log_in(OTHER)
            with self.assert_one_warning("cannot be reached"):
                send_heartbeat(self.env)
            self.env.invalidate_all()

            self.assertEqual(OTHER, self.announced())

    def test_nodes_of_a_database_do_not_follow_logins(self):
        self.have_sent(old=30)
        for host in ("node", "old", "node"):
            with self.subTest(host), self.on(host, started_ago=3600):
                self.assertEqual([PUBLIC] * 2, self.announced_after_logins(OTHER, PUBLIC))

    def test_node_that_is_gone_counts_as_such_after_a_while(self):
        third, fourth = "https://third.example", "https://fourth.example"
        length = GONE_AFTER_INTERVALS * 60
        for ago, started_ago, address, expected in (
            (length - 60, 86400, OTHER, PUBLIC),
            (length - 60, None, third, PUBLIC),
            (length + 60, 86400, fourth, fourth),
        ):
            with self.subTest(address), self.on("node", started_ago=started_ago):
                self.have_sent(old=ago)
                self.assertEqual([expected], self.announced_after_logins(address))

    def test_host_that_was_silent_for_longer_than_is_known_is_gone(self):
        self.have_sent()
        with self.on("new", started_ago=200):
            self.assertEqual([OTHER], self.announced_after_logins(OTHER))

    def test_worse_address_of_the_new_host_is_not_announced(self):
        self.have_sent(old=300)
        with self.on("new", started_ago=200):
            self.assertEqual([PUBLIC], self.announced_after_logins("http://10.0.0.9:8069"))

    def test_host_is_stored_with_a_url_that_an_earlier_version_has_stored(self):
        uuid = self.env["ir.config_parameter"].get_param("database.uuid")
        self.set_params(announced_endpoint=f"{PUBLIC}/mcp/v1 {uuid}")
        self.have_sent(old=300)
        with self.on("new", started_ago=200):
            self.assertEqual([PUBLIC], self.announced_after_logins(OTHER))

        stored = self.env["ir.config_parameter"].get_param("mcp.announced_endpoint")
        self.assertEqual(f"{PUBLIC}/mcp/v1 {uuid} new {OTHER}/mcp/v1", stored)

    def test_database_that_does_not_know_its_hosts_keeps_what_was_announced(self):
        self.log_in(OTHER)
        self.env.cr.execute("ALTER TABLE mcp_phone_home_state DROP COLUMN hosts")

        with self.on("new", started_ago=200):
            payload = _build_server_payload(self.env)
        self.assertEqual(f"{PUBLIC}/mcp/v1", payload["endpoint_url"])

    def test_host_is_not_gone_soon_when_no_action_sends_heartbeats(self):
        self.env.ref("mcp_phone_home.ir_cron_heartbeat").active = False
        self.have_sent(old=86400)
        with self.on("node", started_ago=2 * 86400):
            self.assertEqual([PUBLIC], self.announced_after_logins(OTHER))
