import json

from odoo.addons.mcp_phone_home.services.phone_home import _build_server_payload
from odoo.addons.mcp_phone_home.tools import registry
from odoo.addons.mcp_phone_home.tools.registry import get_tool_registry, mcp_tool

from .common import PhoneHomeCase

HEALTH = b'{"status": "healthy", "uptime_seconds": 1.5, "server_count": 2}'


class TestRegistry(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.patch(registry, "_tools", dict(registry._tools))

    def test_addon_brings_its_own_tools(self):
        self.assertLessEqual({"fleet_status", "server_info"}, set(get_tool_registry()))

    def test_another_addon_adds_a_tool(self):
        @mcp_tool(
            "add",
            description="Adds two numbers.",
            input_schema={"type": "object", "required": ["left", "right"]},
        )
        def add(env, left, right):
            return {"sum": left + right}

        tool = get_tool_registry()["add"]
        self.assertEqual("Adds two numbers.", tool.description)
        self.assertEqual({"sum": 5}, tool.run(self.env, left=2, right=3))
        self.assertIn("add", _build_server_payload(self.env)["capabilities"])

    def test_names_come_out_in_their_order(self):
        for name in ("zebra", "ant", "moth"):
            mcp_tool(name, description="An animal.")(_nothing)

        self.assertEqual(sorted(get_tool_registry()), list(get_tool_registry()))
        self.assertLess({"zebra", "ant", "moth"}, set(get_tool_registry()))

    def test_two_tools_with_one_name_are_refused(self):
        with self.assertRaisesRegex(ValueError, "server_info"):
            mcp_tool("server_info", description="Another one.")(_nothing)

    def test_registry_does_not_change_with_what_was_given_out(self):
        get_tool_registry().clear()

        self.assertIn("server_info", get_tool_registry())

    def test_tool_without_a_schema_takes_no_arguments(self):
        schema = get_tool_registry()["server_info"].input_schema

        self.assertEqual({}, schema["properties"])
        self.assertIs(False, schema["additionalProperties"])

    def test_what_the_own_tools_say_is_json(self):
        for name in ("fleet_status", "server_info"):
            with self.subTest(name):
                json.dumps(get_tool_registry()[name].run(self.env), allow_nan=False)


class TestFleetTools(PhoneHomeCase):
    def run_tool(self, name):
        return get_tool_registry()[name].run(self.env)

    def test_server_info_is_what_the_receiver_is_told(self):
        self.assertEqual(_build_server_payload(self.env), self.run_tool("server_info"))

    def test_fleet_status_is_the_answer_of_the_receiver(self):
        receiver = self.receiver((200, HEALTH))

        expected = {
            "phone_home": True,
            "url": receiver.url,
            "receiver": json.loads(HEALTH),
            "reason": None,
        }
        self.assertEqual(expected, self.run_tool("fleet_status"))
        self.assertEqual(["GET /health"], [each.call for each in receiver.heard])

    def test_fleet_status_says_why_there_is_no_answer(self):
        url = self.closed_port()
        self.set_params(phone_home_url=url)

        status = self.run_tool("fleet_status")
        self.assertEqual(
            (True, url, None), (status["phone_home"], status["url"], status["receiver"])
        )
        self.assertIn("cannot be reached", status["reason"])

    def test_fleet_status_waits_no_longer_than_the_timeout(self):
        receiver = self.receiver()
        receiver.answering.clear()
        self.set_params(phone_home_timeout="0.3")

        self.assertIn("0.3 s", self.run_tool("fleet_status")["reason"])

    def test_fleet_status_says_that_phoning_home_is_off(self):
        status = self.run_tool("fleet_status")

        self.assertEqual(
            (False, "", None), (status["phone_home"], status["url"], status["receiver"])
        )
        self.assertIn("off", status["reason"])

    def test_fleet_status_says_what_is_wrong_with_the_url(self):
        self.set_params(phone_home_url="ftp://fleet.example")

        self.assertIn("http://", self.run_tool("fleet_status")["reason"])

    def test_fleet_status_hides_a_password_in_the_url(self):
        self.set_params(phone_home_url=self.closed_port().replace("//", "//me:hush-hush@"))

        self.assertNotIn("hush-hush", json.dumps(self.run_tool("fleet_status")))


def _nothing(env):
    return {}
