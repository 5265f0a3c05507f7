import itertools
import socket
import sys
import threading
import time
from types import ModuleType
from unittest.mock import patch

from odoo.addons.mcp_phone_home.services.listening import listening_port
from odoo.addons.mcp_phone_home.tools import foreign, listing, registry
from odoo.addons.mcp_phone_home.tools.registry import announced_names, announced_tools

from .common import LOGGER, PhoneHomeCase

_numbers = itertools.count()

WRITTEN = "SELECT count(*) FROM res_partner WHERE ref = 'written'"


class ForeignCase(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.startPatcher(patch.dict(sys.modules))
        self.patch(registry, "_tools", {"server_info": registry._tools["server_info"]})
        foreign.warn_once.cache_clear()
        listing._known.clear()

    def add_registry(self, get_tool_registry, *names):
        """Put modules with this function into `sys.modules`; without names, one of `base`."""
        for name in names or (f"odoo.addons.base.foreign_of_a_test_{next(_numbers)}",):
            sys.modules[name] = ModuleType(name)
            sys.modules[name].get_tool_registry = get_tool_registry

    def titles(self):
        """The titles of the foreign tools that are announced, by their names."""
        tools = [tool for tool in announced_tools(self.env) if tool.name != "server_info"]
        return {tool.name: tool.description.title for tool in tools}

    def hang(self):
        """An event that is set at the end of the test."""
        self.patch(foreign, "MOST_SECONDS", 0.3)
        self.give_sources_their_own_transactions()
        ended = threading.Event()
        self.addCleanup(ended.set)
        return ended

    def let_rest_pass(self):
        for known in listing._known.values():
            known.rests_until = 0.0


class TestReadOnly(ForeignCase):
    def written(self):
        with self.registry.cursor() as cr:
            cr.execute(WRITTEN)
            return cr.fetchone()[0]

    def test_source_that_writes_costs_its_own_tools_and_one_warning(self):
        self.give_sources_their_own_transactions()

        def insert(env):
            env.cr.execute("INSERT INTO res_partner (name, ref) VALUES ('any', 'written')")
            return ["writes"]

        def create(env):
            env["res.partner"].create({"name": "any", "ref": "written"})
            return ["writes"]

        def commit(env):
            env.ref("base.main_partner").ref = "written"
            env.cr.commit()
            return ["writes"]

        def begin_anew(env):
            env.cr.rollback()
            insert(env)
            env.cr.commit()
            return ["writes"]

        for write in (insert, create, commit, begin_anew):
            with self.subTest(write.__name__), patch.dict(sys.modules):
                self.add_registry(write)
                self.add_registry(lambda: ["fine"])
                with self.assertLogs("odoo", "WARNING") as logs:
                    self.assertEqual({"fine": None}, self.titles())
                    self.assertEqual({"fine": None}, self.titles())
                ours = [each.name for each in logs.records if each.name.startswith(LOGGER)]
                self.assertEqual(1, len(ours), logs.output)
                self.assertEqual(0, self.written())

    def test_write_that_is_not_sent_to_the_database_is_dropped(self):
        self.give_sources_their_own_transactions()

        def write(env):
            env.ref("base.main_partner").ref = "written"
            return ["writes"]

        self.add_registry(write)
        self.assertEqual({"writes": None}, self.titles())
        self.assertEqual(0, self.written())

    def test_opened_settings_commit_nothing_of_a_source(self):
        self.give_sources_their_own_transactions()
        self.add_registry(
            lambda env: env.cr.execute("UPDATE res_partner SET ref = 'written'") or []
        )

        with self.assertLogs("odoo", "WARNING"):
            self.env["res.config.settings"].create({}).mcp_tools  # noqa: B018 - it is computed
        self.assertEqual(0, self.written())

    def test_source_that_was_given_up_keeps_its_cursor_and_closes_it(self):
        ended, seen = self.hang(), []

        def hang(env):
            seen.append(env.cr)
            ended.wait(60)
            env.cr.execute("SELECT 'still open'")
            seen.append(env.cr.fetchone()[0])
            return ["late"]

        self.add_registry(hang)
        with self.assert_one_warning("in time"):
            self.assertEqual({}, self.titles())
        self.assertFalse(seen[0].closed)
        ended.set()
        self.wait_for_sources()
        self.assertEqual("still open", seen[1])
        self.assertTrue(seen[0].closed)

    def test_database_ends_the_transaction_of_a_source_that_hangs(self):
        self.patch(listing, "IDLE_SECONDS", 0.5)
        ended, seen = self.hang(), []

        def hang(env):
            env.cr.execute("SELECT pg_backend_pid()")
            seen.extend(env.cr.fetchone())
            ended.wait(60)
            return ["late"]

        self.add_registry(hang)
        with self.assert_one_warning("in time"):
            self.assertEqual({}, self.titles())
        deadline = time.monotonic() + 20
        while self.is_connected(seen[0]):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        ended.set()
        self.wait_for_sources()

    def is_connected(self, pid):
        with self.registry.cursor() as cr:
            cr.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
            return cr.fetchone() is not None


class TestRest(ForeignCase):
    def test_some_descriptions_are_not_told_where_others_are_too_slow(self):
        ended = self.hang()

        class Hanging:
            name = "slow"

            @property
            def title(self):
                ended.wait(60)

        self.add_registry(lambda: [{"name": "quick", "title": "Quick"}, Hanging()])
        with self.assert_one_warning("descriptions of the MCP tools", "in time"):
            runs = [self.titles() for _ in range(3)]
        self.assertEqual([{"quick": None, "slow": None}] * 3, runs)

    def test_source_that_hangs_is_announced_as_it_was_before(self):
        ended, calls = self.hang(), []

        def list_tools():
            calls.append(1)
            if len(calls) > 1:
                ended.wait(60)
            return [{"name": "theirs", "title": "Theirs"}]

        self.add_registry(list_tools)
        before = self.titles()
        with self.assert_one_warning("as they were before", "in time"):
            self.assertEqual([before] * 3, [self.titles() for _ in range(3)])
        self.assertEqual({"theirs": "Theirs"}, before)
        self.assertEqual(2, len(calls))

    def test_source_that_raises_is_left_alone_and_announced_as_it_was_before(self):
        calls, broken = [], []

        def list_tools(env):
            calls.append(1)
            if broken:
                env.cr.execute("SELECT 1 / 0")
            return [{"name": "theirs", "title": "Theirs"}]

        self.add_registry(list_tools)
        before = self.titles()
        broken.append(1)
        with self.assertLogs("odoo", "WARNING") as logs:
            self.assertEqual([before] * 3, [self.titles() for _ in range(3)])
            self.assertEqual(2, len(calls))
            self.let_rest_pass()
            self.assertEqual([{}] * 2, [self.titles() for _ in range(2)])
            self.assertEqual(3, len(calls))
        self.assertEqual(2, sum(each.name == "odoo.sql_db" for each in logs.records))
        broken.clear()
        self.let_rest_pass()
        self.assertEqual(before, self.titles())

    def test_description_whose_sql_fails_is_left_alone(self):
        class Broken:
            name = "broken"

            def __init__(self, env):
                self.env = env

            @property
            def title(self):
                self.env.cr.execute("SELECT 1 / 0")

        self.add_registry(lambda env: [Broken(env), {"name": "fine", "title": "Fine"}])
        with self.assertLogs("odoo.sql_db", "ERROR") as logs, self.assertLogs(LOGGER, "WARNING"):
            runs = [self.titles() for _ in range(3)]
        self.assertEqual([{"broken": None, "fine": "Fine"}] * 3, runs)
        # Once with all tools together, and once alone.
        self.assertEqual(2, len(logs.records))

    def test_error_whose_text_varies_is_logged_once(self):
        def fail():
            raise RuntimeError(f"no luck at {next(_numbers)}")

        class Broken:
            name = "broken"
            title = property(lambda self: fail())

        for list_tools in (fail, lambda: [Broken()], lambda: [next(_numbers)]):
            with self.subTest(list_tools), patch.dict(sys.modules):
                self.add_registry(list_tools)
                with self.assert_one_warning("not announced"):
                    for _ in range(3):
                        self.titles()
                        self.let_rest_pass()

    def test_registry_of_models_that_was_made_anew_ends_the_rest(self):
        broken = [1]
        self.add_registry(lambda: 1 // 0 if broken else ["theirs"])
        with self.assert_one_warning("not announced"):
            self.titles()
        broken.clear()
        self.assertEqual({}, self.titles())

        for known in listing._known.values():
            known.registry = lambda: None  # what a weak reference tells of one that is gone
        self.assertEqual({"theirs": None}, self.titles())


class TestProvider(ForeignCase):
    def module(self, defined_in, *names):
        """The addon of a tool whose function is defined there, and is in modules of these names."""

        def get_tool_registry():
            return ["theirs"]

        get_tool_registry.__module__ = defined_in
        self.add_registry(get_tool_registry, *names)
        return {tool.name: tool.module for tool in announced_tools(self.env)}["theirs"]

    def test_provider_is_the_addon_that_defines_the_function(self):
        names = ("odoo.addons.base.a", "odoo.addons.web.b", "odoo.addons.web.c")

        self.assertEqual("web", self.module("odoo.addons.web.c", *names))

    def test_provider_is_the_addon_that_names_the_function_which_another_module_defines(self):
        names = ("odoo.addons.base.a", "odoo.addons.web.b")

        self.assertEqual("web", self.module("odoo.addons.web.hidden", *names))

    def test_provider_of_a_function_of_no_installed_addon_has_it(self):
        names = ("odoo.addons.base.a", "odoo.addons.web.b", "odoo.addons.elsewhere.c")

        for defined_in in ("odoo.addons.elsewhere.c", "library", None):
            with self.subTest(defined_in), patch.dict(sys.modules):
                self.assertEqual("base", self.module(defined_in, *names))

    def test_addon_that_makes_functions_for_others_is_not_their_provider(self):
        self.assertEqual("base", self.module("odoo.addons.web.makes", "odoo.addons.base.a"))


class TestUsers(ForeignCase):
    def open(self):
        """What a user sees who opens the settings, and what `server_info` tells, in seconds too."""
        begun = time.monotonic()
        shown = self.env["res.config.settings"].create({}).mcp_tools
        middle = time.monotonic()
        told = registry._tools["server_info"].run(self.env)["capabilities"]
        return shown, told, max(middle - begun, time.monotonic() - middle)

    def test_user_does_not_wait_for_sources_that_hang(self):
        ended = self.hang()
        self.patch(foreign, "MOST_SECONDS", 30.0)
        self.patch(foreign, "MOST_SECONDS_OF_ALL", 30.0)
        for _ in range(4):
            self.add_registry(lambda: ended.wait(60) and [])

        shown, told, seconds = self.open()
        self.assertIn("server_info", shown)
        self.assertEqual(["server_info"], told)
        self.assertLess(seconds, 10)

    def test_user_gets_the_listing_of_the_last_minute(self):
        calls = []
        self.add_registry(lambda: calls.append(1) or ["theirs"])
        announced_names(self.env)

        shown, told, _ = self.open()
        self.assertIn("theirs", shown)
        self.assertIn("theirs", told)
        self.assertEqual([1], calls)

    def test_user_gets_a_new_listing_after_a_minute(self):
        names = ["before"]
        self.add_registry(lambda: list(names))
        announced_names(self.env)
        names[:] = ["after"]
        self.patch(listing, "FRESH_SECONDS", 0.0)

        self.assertIn("after", self.open()[1])

    def test_source_that_is_too_slow_for_a_user_is_announced_on_schedule(self):
        ended = self.hang()
        slow = [1]

        def list_tools():
            if slow:
                ended.wait(60)
            return ["theirs"]

        self.add_registry(list_tools)
        self.assertEqual(["server_info"], self.open()[1])
        slow.clear()
        self.assertIn("theirs", announced_names(self.env))

    def test_user_gets_the_last_listing_of_a_source_that_is_too_slow_now(self):
        ended, calls = self.hang(), []

        def list_tools():
            calls.append(1)
            if len(calls) > 1:
                ended.wait(60)
            return ["theirs"]

        self.add_registry(list_tools)
        announced_names(self.env)
        self.patch(listing, "FRESH_SECONDS", 0.0)

        self.assertIn("theirs", self.open()[1])

    def test_addresses_that_do_not_answer_cost_half_a_second_together(self):
        listening = self.full_port()
        port = listening.getsockname()[1]
        self.set_params(server_port=str(port))

        begun = time.monotonic()
        addresses = [f"127.0.0.{number}" for number in range(2, 12)]
        self.assertIsNone(listening_port(self.env, configured=port, addresses=addresses))
        # One after the other, they would cost more than five seconds.
        self.assertLess(time.monotonic() - begun, 4)

    def full_port(self):
        """A listening socket that drops what comes: it accepts nothing, and its queue is full."""
        listening = socket.create_server(("0.0.0.0", 0), backlog=0)  # noqa: S104 - all of 127/8
        self.addCleanup(listening.close)
        for _ in range(4):
            filling = socket.socket()
            self.addCleanup(filling.close)
            filling.settimeout(0)
            filling.connect_ex(("127.0.0.1", listening.getsockname()[1]))
        return listening
