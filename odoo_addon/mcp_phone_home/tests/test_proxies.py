import logging
import os
import socket
from unittest.mock import patch

from odoo.addons.mcp_phone_home.services.clients import _client
from odoo.addons.mcp_phone_home.services.phone_home import send_heartbeat
from odoo.addons.mcp_phone_home.tools.registry import get_tool_registry

from .common import LOGGER, PhoneHomeCase

RECEIVER = "http://fleet.example"


class TestProxies(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        # httpx reads the environment when a client is made.
        _client.cache_clear()
        self.addCleanup(_client.cache_clear)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            self.set_environ(**{name: None, name.lower(): None})
        self.set_params(phone_home_url=RECEIVER)

    def test_dead_proxy_is_named_without_its_password(self):
        proxy = self.closed_port()
        self.set_environ(http_proxy=proxy.replace("//", "//me:hush-hush@"))

        with self.assertLogs(LOGGER, "WARNING") as logs:
            self.assertFalse(send_heartbeat(self.env))
            status = get_tool_registry()["fleet_status"].run(self.env)
        for told in (logs.output[0], self.state().last_failure_reason, status["reason"]):
            self.assertIn(f"The proxy {proxy}", told)
            self.assertIn(RECEIVER, told)
            self.assertNotIn("hush-hush", told)

    def test_receiver_is_blamed_where_the_proxy_listens_or_is_not_asked(self):
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        alive = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for proxies in (
            {"http_proxy": alive},
            {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"},
            {},
        ):
            url = RECEIVER if proxies.get("http_proxy") == alive else self.closed_port()
            self.set_params(phone_home_url=url, phone_home_timeout="0.5")
            with self.subTest(proxies), patch.dict(os.environ, proxies):
                _client.cache_clear()
                with self.assert_one_warning(f"The receiver at {url}"):
                    send_heartbeat(self.env)


class TestLinesOfHttpx(PhoneHomeCase):
    def lines(self):
        receiver = self.receiver()
        with self.assertLogs("httpx", logging.INFO) as logs:
            logging.getLogger("httpx").warning("the last one")
            self.assertTrue(send_heartbeat(self.env))
            logging.getLogger("httpx").info("HTTP Request: GET http://of.another.addon/")
        self.assertEqual(1, len(receiver.heard))
        return [record.getMessage() for record in logs.records]

    def test_heartbeat_writes_no_line_of_httpx(self):
        # `assertLogs` sets the level of the logger, as somebody does who asks for the lines.
        self.patch(logging.Logger, "setLevel", lambda self, level: None)

        self.assertEqual(
            ["the last one", "HTTP Request: GET http://of.another.addon/"], self.lines()
        )

    def test_lines_of_httpx_are_written_for_whoever_asks_for_them(self):
        self.assertEqual(3, len(self.lines()))
