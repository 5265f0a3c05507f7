import os
from unittest.mock import patch

import psutil

from odoo.service import server as service

from odoo.addons.mcp_phone_home.services import phone_home, server_start
from odoo.addons.mcp_phone_home.services.phone_home import register_server, send_heartbeat
from odoo.addons.mcp_phone_home.services.server_start import server_started_at

from .common import PhoneHomeCase
from .receiver import OK


class TestServerStart(PhoneHomeCase):
    """Within one process; tests outside the addon start an Odoo with real workers."""

    def test_server_of_threads_was_started_with_its_process(self):
        started_at = server_started_at()

        self.assertEqual(psutil.Process().create_time() // 1, started_at)
        self.assertLess(started_at, phone_home._server_start_time + 1)

    def test_server_of_workers_was_started_with_its_main_process(self):
        with patch.object(service.server, "pid", os.getppid()):
            started_at = server_started_at()

        self.assertEqual(psutil.Process(os.getppid()).create_time() // 1, started_at)

    def test_process_without_a_server_was_started_by_itself(self):
        self.patch(service, "server", None)

        self.assertEqual(psutil.Process().create_time() // 1, server_started_at())

    def test_gevent_process_of_another_program_was_started_by_itself(self):
        self.patch(service, "server", service.GeventServer(None))
        with patch.object(os, "getppid", return_value=1):
            started_at = server_started_at()

        self.assertIn(started_at, (psutil.Process().create_time() // 1, None))

    def test_heartbeat_and_registration_tell_the_same_start(self):
        receiver = self.receiver(OK)

        send_heartbeat(self.env)
        register_server(self.env)
        first, second = (each.message["started_at"] for each in receiver.heard)
        self.assertEqual(first, second)
        self.assertRegex(first, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_start_that_is_not_known_is_in_registrations_only(self):
        for error in (psutil.NoSuchProcess(1), FileNotFoundError(), RuntimeError("no btime")):
            with self.subTest(error), patch.object(psutil, "Process", side_effect=error):
                receiver = self.receiver(OK)
                self.assertIsNone(server_start.server_started_at())
                send_heartbeat(self.env)
                register_server(self.env)

                heartbeat, registration = (each.message for each in receiver.heard)
                self.assertNotIn("started_at", heartbeat)
                self.assertIn("started_at", registration)
                self.assertEqual(
                    phone_home._moment(phone_home._server_start_time),
                    phone_home.announced_start(),
                )
