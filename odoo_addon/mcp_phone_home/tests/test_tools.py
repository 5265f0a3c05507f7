import json
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

from odoo.addons.mcp_phone_home.services.phone_home import _build_server_payload
from odoo.addons.mcp_phone_home.tools import foreign, registry
from odoo.addons.mcp_phone_home.tools.registry import (
    announced_names,
    get_tool_registry,
    installed_tools,
    mcp_tool,
)

from .common import LOGGER, PhoneHomeCase

HEALTH = b'{"status": "healthy", "uptime_seconds": 1.5, "server_count": 2}'


class TestRegistry(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.patch(registry, "_tools", dict(registry._tools))

    def test_addon_brings_its_own_tools(self):
        own = {"fleet_status", "register_receiver", "server_info"}
        self.assertLessEqual(own, set(get_tool_registry()))

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

    def test_schema_that_is_none_is_refused_when_the_tool_is_offered(self):
        for schema in ({"type": "objekt"}, {"maximum": float("nan")}, {"enum": {1}}, "object"):
            with self.subTest(schema), self.assertRaisesRegex(ValueError, "input_schema"):
                mcp_tool("useless", description="None.", input_schema=schema)(_nothing)
        self.assertNotIn("useless", get_tool_registry())

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


class TestInstalledTools(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.patch(registry, "_tools", dict(registry._tools))

    def offer(self, module):
        """Offer a tool whose function is of that Python module; the tool."""
        run = SimpleNamespace(__call__=_nothing, __module__=module)
        mcp_tool("another", description="Of another addon.")(run)
        return get_tool_registry()["another"]

    def test_tool_tells_the_addon_that_it_is_of(self):
        self.assertEqual("mcp_phone_home", get_tool_registry()["server_info"].module)
        self.assertEqual("stock", self.offer("odoo.addons.stock.models.mcp").module)

    def test_tool_of_no_addon_is_offered_everywhere(self):
        self.assertEqual("", self.offer("some_library.tools").module)
        self.assertIn("another", installed_tools(self.env))
        self.assertIn("another", announced_names(self.env))

    def test_tool_of_an_addon_that_is_installed_is_offered(self):
        self.offer("odoo.addons.base.tools")

        self.assertIn("another", installed_tools(self.env))
        self.assertIn("another", announced_names(self.env))

    def test_tool_of_an_addon_that_only_another_database_has_is_not_offered(self):
        self.offer("odoo.addons.of_another_database.tools")

        self.assertIn("another", get_tool_registry())
        self.assertNotIn("another", installed_tools(self.env))
        self.assertNotIn("another", announced_names(self.env))


class TestAnnouncedNames(PhoneHomeCase):
    OWN = ("fleet_status", "register_receiver", "server_info")

    def setUp(self):
        super().setUp()
        self.startPatcher(patch.dict(sys.modules))
        own = {name: tool for name, tool in registry._tools.items() if name in self.OWN}
        self.patch(registry, "_tools", own)
        foreign._warn.cache_clear()

    def add_registry(self, get_tool_registry, addon="base"):
        """Load a module of an addon that has this registry."""
        name = f"odoo.addons.{addon}.mcp_of_a_test_{len(sys.modules)}"
        module = ModuleType(name)
        module.get_tool_registry = get_tool_registry
        sys.modules[name] = module

    def announced(self):
        """The names beside those of this addon."""
        names = announced_names(self.env)
        self.assertEqual(sorted(names), list(names))
        self.assertLessEqual(set(self.OWN), set(names))
        return [name for name in names if name not in self.OWN]

    def test_own_names_are_announced_in_their_order(self):
        self.assertEqual(self.OWN, announced_names(self.env))

    def test_names_of_another_registry_are_announced_whatever_it_gives(self):
        given = (
            {"theirs": object()},
            ["theirs"],
            ({"name": "theirs"},),
            [SimpleNamespace(name="theirs")],
            iter(["theirs"]),
        )
        for tools in given:
            with self.subTest(tools), patch.dict(sys.modules):
                self.add_registry(lambda tools=tools: tools)
                self.assertEqual(["theirs"], self.announced())

    def test_registry_that_wants_an_environment_gets_one(self):
        self.add_registry(lambda env: [f"of_{env.cr.dbname}"])

        self.assertEqual([f"of_{self.env.cr.dbname}"], self.announced())

    def test_names_reach_the_receiver(self):
        self.add_registry(lambda: ["theirs"])

        capabilities = _build_server_payload(self.env)["capabilities"]
        self.assertEqual(sorted([*self.OWN, "theirs"]), capabilities)

    def test_registry_of_an_addon_that_is_not_installed_is_passed_over(self):
        self.add_registry(lambda: ["theirs"], addon="of_another_database")

        self.assertEqual([], self.announced())

    def test_own_registry_is_not_asked_by_another_name(self):
        mcp_tool("hidden", description="Of no addon here.")(_elsewhere)
        self.add_registry(get_tool_registry)

        self.assertEqual([], self.announced())

    def test_registry_that_is_broken_costs_one_warning_and_no_other_names(self):
        def fail():
            raise RuntimeError("no\nluck")

        broken = (fail, lambda: None, lambda: "text", lambda: [5], lambda one, two: [])
        for registry_of_them in broken:
            with self.subTest(registry_of_them), patch.dict(sys.modules):
                self.add_registry(registry_of_them)
                self.add_registry(lambda: ["fine"])
                with self.assert_one_warning("are not announced"):
                    self.assertEqual(["fine"], self.announced())
                    self.assertEqual(["fine"], self.announced())

    def test_registry_whose_sql_fails_does_not_stop_the_heartbeat(self):
        self.add_registry(lambda env: env.cr.execute("SELECT 1 / 0"))

        with self.assertLogs("odoo", "WARNING"):
            self.assertEqual([], self.announced())
        self.env.cr.execute("SELECT 1")

    def test_registry_is_asked_as_the_superuser(self):
        self.add_registry(lambda env: [f"user_{env.uid}", f"su_{env.su}", str(env.context)])

        names = announced_names(self.env(user=self.env.ref("base.user_admin"), context={"a": 1}))
        self.assertLessEqual({"user_1", "su_True", "{}"}, set(names))

    def test_names_that_do_not_fit_into_a_message_are_left_out_with_one_warning(self):
        self.add_registry(lambda: [f"a{number:0200d}" for number in range(1000)])

        with self.assert_one_warning("MCP tools are not announced"):
            names = self.announced()
            self.assertEqual(names, self.announced())
        self.assertIn(len(names), range(100, 150))

    def test_name_that_the_contract_refuses_is_left_out_with_one_warning(self):
        self.add_registry(lambda: ["a\x00b", "fine"])

        with self.assert_one_warning("a\\x00b"):
            self.assertEqual(["fine"], self.announced())
            self.assertEqual(["fine"], self.announced())

    def test_active_records_of_the_tool_model_are_announced(self):
        self.patch(foreign, "_MODEL", "res.partner.category")
        tools = self.env["res.partner.category"]
        tools.search([]).active = False
        tools.create([{"name": "active"}, {"name": "archived", "active": False}])

        self.assertEqual(["active"], self.announced())

    def test_record_without_a_name_costs_one_warning_and_no_other_name(self):
        self.patch(foreign, "_MODEL", "res.partner.category")
        self.patch(foreign, "_active_records", lambda env: ["good", False])

        with self.assert_one_warning("its name is False"):
            self.assertEqual(["good"], self.announced())

    def test_tool_model_without_names_costs_one_warning(self):
        self.patch(foreign, "_MODEL", "mcp.phone.home.state")

        with self.assert_one_warning("mcp.phone.home.state", "not announced"):
            self.assertEqual([], self.announced())

    def test_nothing_is_warned_of_where_there_are_only_own_tools(self):
        with self.assertNoLogs(LOGGER):
            self.announced()


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


def _elsewhere(env):
    return {}


_elsewhere.__module__ = "odoo.addons.of_another_database.tools"
