import hashlib
import itertools
import json
import logging
import socket
import sys
import threading
import time
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

from attrs import evolve

from odoo.tools.translate import LazyTranslate

from odoo.addons.mcp_phone_home.services import catalogue, lifecycle
from odoo.addons.mcp_phone_home.services.catalogue import described, digest_of
from odoo.addons.mcp_phone_home.services.lifecycle import on_schedule
from odoo.addons.mcp_phone_home.services.phone_home import (
    announced,
    announced_start,
    prepare_heartbeat,
    prepare_registration,
    register_server,
    send_heartbeat,
)
from odoo.addons.mcp_phone_home.services.state import (
    CLAIM_SECONDS,
    DESCRIBED_SECONDS,
    REFUSED_SECONDS,
    TOO_LARGE_SECONDS,
    claim_description,
    claim_registration,
)
from odoo.addons.mcp_phone_home.tools import foreign, listing, registry
from odoo.addons.mcp_phone_home.tools.descriptions import Description, schema_digest
from odoo.addons.mcp_phone_home.tools.foreign import AnnouncedTool
from odoo.addons.mcp_phone_home.tools.registry import announced_tools, mcp_tool

from contract import dumps, tools_digest
from contract.tools import MOST_DESCRIPTION_CHARACTERS

from .common import LOGGER, PhoneHomeCase
from .receiver import CREATED, OK

WANTS = (200, b'{"status": "ok", "wants": ["registration"]}')
AWAY = (503, b"")
TOO_LARGE = (413, b'{"code": "body_too_large"}')
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {}}}
CANONICAL = b'{"properties":{"a":{},"b":{"type":"string"}},"type":"object"}'
SCHEMA_DIGEST = hashlib.sha256(CANONICAL).hexdigest()
HERE = socket.gethostname()

_numbers = itertools.count()


class CatalogueCase(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        own = {"server_info": registry._tools["server_info"]}
        self.patch(registry, "_tools", own)
        foreign.warn_once.cache_clear()
        listing._known.clear()
        described.cache_clear()
        # The tools of `base` are called at the endpoint that is announced.
        self.patch(foreign, "paths_of", lambda env, addon: ("/mcp/v1",))
        self.set_params(phone_home_url="https://fleet.example", last_hostname=HERE)
        self.set_params(endpoint_url="https://odoo.example/mcp/v1")

    def add_registry(self, get_tool_registry):
        """Put a module of the addon `base` with this `get_tool_registry` into `sys.modules`."""
        name = f"odoo.addons.base.mcp_of_a_test_{next(_numbers)}"
        module = ModuleType(name)
        module.get_tool_registry = get_tool_registry
        sys.modules[name] = module
        self.addCleanup(sys.modules.pop, name, None)
        return name

    @contextmanager
    def registry_of(self, tools):
        """In the block, another addon offers these tools."""
        name = self.add_registry(lambda: tools)
        try:
            yield
        finally:
            del sys.modules[name]

    def told(self):
        """What the registration tells of the tools, as JSON, by their names."""
        message = json.loads(dumps(prepare_registration(self.env).message))
        return {tool.pop("name"): tool for tool in message["tools"]}


class TestOwnTools(CatalogueCase):
    def test_registration_describes_the_tools(self):
        @mcp_tool(
            "add",
            description="Adds two numbers.",
            title="Addition",
            annotations={"readOnlyHint": True, "openWorldHint": False},
            input_schema=SCHEMA,
        )
        def add(env):
            return {}

        expected = {
            "title": "Addition",
            "description": "Adds two numbers.",
            "annotations": {"readOnlyHint": True, "openWorldHint": False},
            "input_schema_digest": SCHEMA_DIGEST,
            "provider": "mcp_phone_home",
        }
        told = self.told()
        self.assertEqual({"add", "server_info"}, set(told))
        self.assertEqual(expected, told["add"])

    def test_heartbeat_carries_the_digest_of_that_and_no_description(self):
        registration = prepare_registration(self.env).message
        heartbeat = prepare_heartbeat(self.env).message

        self.assertEqual(tools_digest(registration.tools), heartbeat.tools_digest)
        self.assertEqual(registration.tools_digest, heartbeat.tools_digest)
        self.assertNotIn(b'"tools":', dumps(heartbeat))
        self.assertEqual(registration, prepare_heartbeat(self.env).registration().message)

    def test_agent_is_not_told_the_descriptions_again(self):
        self.assertNotIn("tools", announced(self.env))

    def test_digest_of_unchanged_tools_is_computed_once(self):
        computed = []
        self.patch(catalogue, "tools_digest", lambda tools: computed.append(1) or "a" * 64)
        digest_of.cache_clear()
        self.addCleanup(digest_of.cache_clear)

        for _ in range(3):
            self.assertEqual("a" * 64, prepare_heartbeat(self.env).message.tools_digest)
        self.assertEqual([1], computed)

    def test_each_change_of_a_tool_changes_the_digest(self):
        shapes = (
            {},
            {"title": "A title"},
            {"description": "Another text."},
            {"annotations": {"readOnlyHint": True}},
            {"annotations": {"readOnlyHint": False}},
            {"input_schema": SCHEMA},
            {"input_schema": {**SCHEMA, "required": ["a"]}},
        )
        digests = set()
        for shape in shapes:
            registry._tools.pop("changing", None)
            mcp_tool("changing", **{"description": "A text.", **shape})(_nothing)
            digests.add(prepare_heartbeat(self.env).message.tools_digest)
        self.assertEqual(len(shapes), len(digests))

    def test_order_of_a_schema_does_not_change_the_digest(self):
        turned = {"properties": {"a": {}, "b": {"type": "string"}}, "type": "object"}

        self.assertEqual(schema_digest(SCHEMA), schema_digest(turned))

    def test_lazy_translation_is_told_in_english_whoever_sends_the_message(self):
        self.env["res.lang"]._activate_lang("de_DE")
        source = "Longest Interval: expected %(least)s to %(most)s seconds, got %(seconds)s."
        lazy = LazyTranslate("mcp_phone_home")(source, least=1, most=2, seconds=3)
        mcp_tool("lazy", description=lazy)(_nothing)
        self.assertNotEqual(self.env._(lazy), self.env(context={"lang": "de_DE"})._(lazy))

        german = self.env(context={"lang": "de_DE"})
        (tool,) = (each for each in announced_tools(german) if each.name == "lazy")
        self.assertEqual("Longest Interval: expected 1 to 2 seconds, got 3.", tool.description.text)


class TestForeignTools(CatalogueCase):
    def test_tool_is_described_in_every_known_shape(self):
        wire = {
            "name": "theirs",
            "title": "Theirs",
            "description": "What it does.",
            "annotations": {"readOnlyHint": True, "title": "x", "idempotentHint": "yes"},
            "inputSchema": SCHEMA,
        }
        python = SimpleNamespace(
            name="theirs",
            title="Theirs",
            description="What it does.",
            annotations=SimpleNamespace(readOnlyHint=True, idempotentHint=None),
            input_schema=json.dumps(SCHEMA),
        )
        expected = {
            "title": "Theirs",
            "description": "What it does.",
            "annotations": {"readOnlyHint": True},
            "input_schema_digest": SCHEMA_DIGEST,
            "provider": "base",
        }
        for tools in ([wire], {"theirs": wire}, [python], {"theirs": python}):
            with self.subTest(tools), self.registry_of(tools), self.assertNoLogs(LOGGER):
                self.assertEqual(expected, self.told()["theirs"])

    def test_name_alone_is_no_description(self):
        for tools in (["theirs"], {"theirs": None}, {"theirs": object()}, {"theirs": len}):
            with self.subTest(tools), self.registry_of(tools), self.assertNoLogs(LOGGER):
                self.assertEqual({"provider": "base"}, self.told()["theirs"])

    def test_wrong_member_of_a_tool_is_left_out_and_logged_once(self):
        wrong = {
            "title": "t" * 201,
            "description": "not \x00 storable",
        }
        for name, value in wrong.items():
            tool = {"name": "theirs", "title": "Fine", "description": "Fine.", name: value}
            tools = [tool, {"name": "other", "title": "Other"}]
            with self.subTest(name), self.registry_of(tools):
                with self.assert_one_warning(name, "theirs"):
                    told = self.told()
                    self.assertEqual(told, self.told())
                self.assertNotIn(name, told["theirs"])
                self.assertEqual(2, len(told["theirs"]))
                self.assertEqual("Other", told["other"]["title"])

    def test_useless_member_of_a_tool_is_left_out_silently(self):
        class Odd:
            def __eq__(self, other):
                raise NotImplementedError

            __hash__ = None

        recursive = {}
        recursive["properties"] = recursive
        useless = (
            {"title": 5, "description": b"bytes", "annotations": "text", "input_schema": []},
            {"title": Odd(), "description": Odd(), "annotations": Odd(), "input_schema": Odd()},
            {"title": "  ", "description": "", "annotations": {}, "input_schema": "no JSON"},
            {"annotations": {"readOnlyHint": 1, "destructiveHint": None}},
            {"input_schema": {"enum": {1}}},
            {"input_schema": {"maximum": float("nan")}},
            {"input_schema": {"a": 1, 2: 3}},
            {"input_schema": recursive},
            {"input_schema": "[" * 100_000},
        )
        for tool in useless:
            with (
                self.subTest(list(tool)),
                self.registry_of([{"name": "theirs", **tool}]),
                self.assertNoLogs(LOGGER),
            ):
                self.assertEqual({"provider": "base"}, self.told()["theirs"])

    def test_tool_that_raises_costs_its_own_description_only(self):
        class Broken:
            name = "broken"

            @property
            def description(self):
                raise RuntimeError("no\nluck")

        fine = {"name": "fine", "title": "Fine"}
        self.add_registry(lambda: [fine, Broken(), {**fine, "name": "late"}])

        with self.assert_one_warning("broken", "no luck"):
            told = self.told()
            self.told()
        self.assertEqual({"provider": "base"}, told["broken"])
        self.assertEqual(["Fine", "Fine"], [told[name]["title"] for name in ("fine", "late")])

    def test_tool_whose_sql_fails_costs_its_own_description_only(self):
        class Broken:
            name = "broken"

            def __init__(self, env):
                self.env = env

            @property
            def description(self):
                self.env.cr.execute("SELECT 1 / 0")

        class Fine(Broken):
            name = "fine"

            @property
            def description(self):
                self.env.cr.execute("SELECT 'From the database.'")
                return self.env.cr.fetchone()[0]

        self.add_registry(lambda env: [Broken(env), Fine(env)])

        with self.assertLogs("odoo", "WARNING"):
            told = self.told()
        self.assertEqual("From the database.", told["fine"]["description"])
        self.assertEqual({"provider": "base"}, told["broken"])
        self.env.cr.execute("SELECT 1")

    def test_description_that_hangs_does_not_cost_the_names(self):
        self.patch(foreign, "MOST_SECONDS", 0.3)
        self.give_sources_their_own_transactions()
        ended = threading.Event()
        self.addCleanup(ended.set)

        class Hanging:
            name = "hanging"

            @property
            def description(self):
                ended.wait(60)

        self.add_registry(lambda: [Hanging()])
        self.add_registry(lambda: [{"name": "fine", "title": "Fine"}])

        begun = time.monotonic()
        with self.assert_one_warning("descriptions of the MCP tools", "in time"):
            first, second = self.told(), self.told()
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(first, second)
        self.assertEqual({"provider": "base"}, first["hanging"])
        self.assertEqual("Fine", first["fine"]["title"])

    def test_records_of_the_tool_model_are_described(self):
        self.patch(foreign, "_MODEL", "res.partner.category")
        self.env["res.partner.category"].search([]).active = False
        self.env["res.partner.category"].create({"name": "a_record"})

        self.assertEqual({"provider": "base"}, self.told()["a_record"])

    def test_record_whose_field_fails_costs_its_own_description_only(self):
        self.patch(foreign, "_MODEL", "res.partner.category")
        self.env["res.partner.category"].search([]).active = False
        categories = self.env["res.partner.category"].create([{"name": "bad"}, {"name": "good"}])
        self.env.flush_all()

        def description_of(tool):
            if categories[0] in tool.browse(tool._prefetch_ids):
                raise RuntimeError("the computation of a field fails")
            return Description(title=tool.name)

        self.patch(listing, "description_of", description_of)
        with self.assert_one_warning("bad", "the computation of a field fails"):
            told = self.told()
        self.assertEqual("good", told["good"]["title"])
        self.assertNotIn("title", told["bad"])

    def test_record_that_defines_its_tool_is_described_by_that(self):
        tool = SimpleNamespace(name="theirs", _get_tool_definition=lambda: {"inputSchema": SCHEMA})
        self.add_registry(lambda: [tool])

        self.assertEqual(SCHEMA_DIGEST, self.told()["theirs"]["input_schema_digest"])


class TestSizes(CatalogueCase):
    def test_long_description_is_cut(self):
        mcp_tool("wordy", description="w" * 5000)(_nothing)

        text = self.told()["wordy"]["description"]
        self.assertEqual(4000, len(text))
        self.assertTrue(text.endswith("w…"))

    def test_many_long_descriptions_share_what_a_message_may_hold(self):
        self.add_registry(
            lambda: [{"name": f"t{number}", "description": "w" * 4000} for number in range(999)]
        )

        told = self.told()
        texts = [told[f"t{number}"]["description"] for number in range(999)]
        self.assertEqual({MOST_DESCRIPTION_CHARACTERS // 1000}, {len(text) for text in texts})

    def test_message_fits_whatever_the_characters_are(self):
        for title, text in (("\U0001f600" * 200, "\U0001f600" * 4000), ("\x01" * 200, "\x01" * 99)):
            tools = [{"title": title, "description": text, "name": f"t{n}"} for n in range(990)]
            with self.subTest(title[:1]), self.registry_of(tools), self.assertNoLogs(LOGGER):
                self.assertEqual(991, len(self.sent_at_most().tools))

    def test_long_descriptions_are_cut_before_titles_are_left_out(self):
        tools = [
            {"title": "A title", "description": "\x01" * 200, "name": f"t{n}"} for n in range(400)
        ]
        with self.registry_of(tools), self.assertNoLogs(LOGGER):
            found = {tool.name: tool for tool in self.sent_at_most().tools}["t7"]
        self.assertEqual(("A title", "\x01" * 99 + "…"), (found.title, found.description))

    def test_descriptions_and_then_titles_are_left_out_where_all_do_not_fit(self):
        for length, title in ((60, "\x01" * 60), (200, None)):
            tools = [
                {"title": "\x01" * length, "description": "\x01" * 99, "name": f"t{n}"}
                for n in range(990)
            ]
            with self.subTest(length), self.registry_of(tools), self.assertNoLogs(LOGGER):
                found = {tool.name: tool for tool in self.sent_at_most().tools}["t7"]
                self.assertEqual((title, None), (found.title, found.description))

    def test_only_names_are_told_where_nothing_more_fits(self):
        self.patch(foreign, "paths_of", lambda env, addon: ("/mcp" * 490,))
        self.add_registry(lambda: [{"name": f"t{n}", "description": "w"} for n in range(990)])

        with self.assert_one_warning("991", "names"):
            message = self.sent_at_most()
            heartbeat = prepare_heartbeat(self.env).message
        self.assertEqual((None, None), (message.tools, message.tools_digest))
        self.assertIsNone(heartbeat.tools_digest)
        self.assertEqual(991, len(message.capabilities))

    def test_message_fits_whatever_else_it_holds(self):
        self.set_params(endpoint_url=f"https://odoo.example/{'p' * 1900}/mcp/v1")
        tools = [{"name": f"{n:03}{'n' * 17}", "description": "\x01" * 99} for n in range(990)]
        self.add_registry(lambda: tools)

        self.assertEqual(991, len(self.sent_at_most().tools))

    def test_a_few_bytes_more_elsewhere_do_not_change_the_digest(self):
        tools = [{"description": "\x01" * 99, "name": f"t{n}"} for n in range(990)]
        self.add_registry(lambda: tools)
        digests = set()
        for interval in (1, 9999):
            self.env.ref("mcp_phone_home.ir_cron_heartbeat").interval_number = interval
            digests.add(prepare_heartbeat(self.env).message.tools_digest)
        self.assertEqual(1, len(digests))

    def sent_at_most(self):
        """The registration, which no receiver refuses for its size: it accepts 512 KiB."""
        message = prepare_registration(self.env).message
        self.assertLess(len(dumps(evolve(message, sequence=2**53 - 1))), 512 * 1024)
        return message

    def test_heartbeat_grows_by_the_digest_only(self):
        self.add_registry(
            lambda: [{"name": f"t{number}", "title": "T" * 200} for number in range(99)]
        )
        heartbeat = prepare_heartbeat(self.env).message

        member = f',"tools_digest":"{heartbeat.tools_digest}"'
        without = evolve(heartbeat, tools_digest=None)
        self.assertEqual(len(dumps(without)) + len(member), len(dumps(heartbeat)))


class TestPaths(CatalogueCase):
    def path(self, path, endpoint_url):
        tool = AnnouncedTool(name="any", module="base", path=path)
        return described((tool,), endpoint_url, 9999)[0].endpoint_path

    def test_tool_at_the_announced_endpoint_has_no_path(self):
        self.assertIsNone(self.path("/mcp/v1", "https://odoo.example/mcp/v1"))
        self.assertIsNone(self.path("/mcp/v1", "https://odoo.example/below/mcp/v1"))
        self.assertIsNone(
            self.path("/mcp_phone_home/mcp", "https://odoo.example/mcp_phone_home/mcp")
        )

    def test_tool_elsewhere_has_its_path(self):
        self.assertEqual("/llm/mcp", self.path("/llm/mcp", "https://odoo.example/mcp/v1"))
        self.assertEqual("/mcp/v1", self.path("/mcp/v1", "https://odoo.example/mcp_phone_home/mcp"))
        self.assertEqual(
            "/mcp_phone_home/mcp", self.path("/mcp_phone_home/mcp", "https://odoo.example/mcp/v1")
        )

    def test_path_is_below_that_of_a_proxy(self):
        self.assertEqual("/below/llm", self.path("/llm", "https://odoo.example/below/mcp/v1"))

    def test_server_of_an_administrator_calls_the_tools_of_this_addon(self):
        self.assertIsNone(self.path("/mcp/v1", "https://odoo.example/own/server"))
        self.assertEqual("/llm/mcp", self.path("/llm/mcp", "https://odoo.example/own/server"))

    def test_path_is_told_where_the_endpoint_is_not_known(self):
        self.assertEqual("/llm/mcp", self.path("/llm/mcp", None))
        self.assertIsNone(self.path("/mcp/v1", None))

    def test_tool_whose_path_is_unknown_or_secret_is_named_and_not_described(self):
        def of_a_secret_server(env):
            return [("secret", {"name": "secret", "description": "Behind a key."})]

        self.patch(foreign, "paths_of", lambda env, addon: None)
        self.add_registry(lambda: [{"name": "nowhere", "description": "At no known path."}])
        secret = listing.Source(
            where="mcp.server", module="base", list_tools=of_a_secret_server, is_secret=True
        )
        sources = foreign._sources
        self.patch(foreign, "_sources", lambda env, ours: [*sources(env, ours), secret])

        message = prepare_registration(self.env).message
        self.assertEqual(("nowhere", "secret", "server_info"), message.capabilities)
        self.assertEqual(["server_info"], [tool.name for tool in message.tools])


class WantedCase(CatalogueCase):
    def calls(self, receiver):
        self.wait_for_threads()
        return [each.call.removeprefix("POST /") for each in receiver.heard]

    def run_action(self, receiver):
        on_schedule(self.env)
        return self.calls(receiver)

    def let_pass(self, seconds):
        """Let all claims be that much older."""
        self.env.cr.execute(
            """
            UPDATE mcp_phone_home_state SET claims = (
                SELECT jsonb_object_agg(key, value::float - %s)
                  FROM jsonb_each_text(claims::jsonb)
            )
            """,
            [seconds],
        )


class TestWanted(WantedCase):
    def test_wanted_registration_follows_in_the_same_run(self):
        receiver = self.receiver(WANTS, CREATED, OK)

        self.assertEqual(["heartbeat", "register"], self.run_action(receiver))
        heartbeat, registration = (each.message for each in receiver.heard)
        self.assertEqual(heartbeat["tools_digest"], registration["tools_digest"])
        self.assertEqual(["server_info"], [tool["name"] for tool in registration["tools"]])
        self.assertEqual(heartbeat["sequence"] + 1, registration["sequence"])
        self.assertTrue(self.state().last_success_at)

    def test_unwanted_registration_does_not_follow(self):
        receiver = self.receiver(OK)

        self.assertEqual(["heartbeat"], self.run_action(receiver))

    def test_receiver_that_keeps_wanting_gets_one_registration_for_a_while(self):
        receiver = self.receiver(WANTS)

        for _ in range(3):
            self.run_action(receiver)
        self.assertEqual(["heartbeat", "register", *["heartbeat"] * 2], self.calls(receiver))
        self.let_pass(DESCRIBED_SECONDS)
        self.assertEqual(["heartbeat", "register"], self.run_action(receiver)[-2:])

    def test_registration_that_fails_is_not_repeated_each_minute(self):
        self.set_params(phone_home_retries="1")
        receiver = self.receiver(WANTS, AWAY, WANTS)

        with self.assertLogs(LOGGER, "WARNING"):
            self.run_action(receiver)
            self.run_action(receiver)
        self.assertEqual(["heartbeat", "register", "heartbeat"], self.calls(receiver))

    def test_changed_tools_are_told_at_once(self):
        receiver = self.receiver(WANTS)
        self.run_action(receiver)

        mcp_tool("another", description="A new one.")(_nothing)
        self.run_action(receiver)
        self.assertEqual(["heartbeat", "register"] * 2, self.calls(receiver))

    def test_process_that_is_second_does_not_register(self):
        receiver = self.receiver(WANTS)
        digest = prepare_heartbeat(self.env).message.tools_digest
        self.assertTrue(claim_description(self.env.registry, HERE, digest))

        self.assertEqual(["heartbeat"], self.run_action(receiver))

    def test_first_registration_that_another_process_sends_is_not_sent_twice(self):
        receiver = self.receiver(WANTS, WANTS, CREATED)
        self.assertTrue(claim_registration(self.env.registry, HERE, started_at=announced_start()))

        self.assertEqual(["heartbeat"], self.run_action(receiver))
        self.let_pass(CLAIM_SECONDS)  # the other process has not succeeded
        self.assertEqual(["heartbeat", "heartbeat", "register"], self.run_action(receiver))

    def test_description_that_was_just_registered_is_not_sent_twice(self):
        receiver = self.receiver(CREATED, WANTS, WANTS, CREATED)
        self.assertTrue(register_server(self.env))

        self.assertEqual(["register", "heartbeat"], self.run_action(receiver))
        self.let_pass(CLAIM_SECONDS)  # a receiver that asks later has lost the description
        self.assertEqual(["heartbeat", "register"], self.run_action(receiver)[-2:])

    def test_each_node_of_a_database_describes_its_tools(self):
        claimed = [claim_description(self.env.registry, host, "a") for host in ("x", "y", "x")]

        self.assertEqual([True, True, False], claimed)

    def test_run_that_registers_anyway_registers_once(self):
        receiver = self.receiver(CREATED, WANTS)
        self.set_params(last_hostname="before")

        self.assertEqual(["register", "heartbeat"], self.run_action(receiver))

    def test_new_receiver_gets_the_description_at_once(self):
        self.run_action(self.receiver(WANTS))
        self.env["res.config.settings"].create(
            {"mcp_phone_home_url": "https://new.example"}
        ).execute()
        receiver = self.receiver(WANTS)
        self.set_params(last_hostname=HERE)

        self.assertEqual(["heartbeat", "register"], self.run_action(receiver))

    def test_message_by_hand_is_followed_by_nothing(self):
        receiver = self.receiver(WANTS)

        send_heartbeat(self.env)
        register_server(self.env)
        self.assertEqual(["heartbeat", "register"], self.calls(receiver))

    def test_uninstalled_addon_registers_no_more(self):
        receiver = self.receiver(WANTS)
        self.patch(lifecycle, "_loaded", lambda registry: None)

        with self.assertNoLogs(LOGGER, logging.WARNING):
            self.assertEqual(["heartbeat"], self.run_action(receiver))


class TestRefusedForItsSize(WantedCase):
    """A receiver that accepts less than a registration with the description of the tools has."""

    def described(self, receiver):
        """What the registrations tell of the tools, each as whether it does."""
        self.wait_for_threads()
        told = [each.message for each in receiver.heard if each.call == "POST /register"]
        self.assertEqual(
            ["tools" in each for each in told], ["tools_digest" in each for each in told]
        )
        return ["tools" in each for each in told]

    def test_registration_is_sent_again_at_once_without_the_tools(self):
        receiver = self.receiver(TOO_LARGE, CREATED)

        with self.assertNoLogs(LOGGER, logging.WARNING):
            self.assertIs(True, register_server(self.env))
        self.assertEqual([True, False], self.described(receiver))
        with_tools, without = (each.message for each in receiver.heard)
        for member in ("tools", "tools_digest"):
            del with_tools[member]
        self.assertEqual(with_tools, without)
        self.assertTrue(self.state().last_success_at)

    def test_rebuilt_host_is_known_to_a_receiver_that_takes_no_tools(self):
        receiver = self.receiver(TOO_LARGE, CREATED, OK)
        self.set_params(last_hostname="before")

        self.assertEqual(["register", "register", "heartbeat"], self.run_action(receiver))
        parameter = self.env["ir.config_parameter"].get_param("mcp.last_hostname")
        self.assertEqual(HERE, parameter)

    def test_installation_is_known_to_a_receiver_that_takes_no_tools(self):
        receiver = self.receiver(TOO_LARGE, CREATED)
        self.env.flush_all()

        lifecycle.after_install(self.env.registry)
        self.assertEqual([True, False], self.described(receiver))

    def test_registration_that_is_refused_without_tools_too_is_sent_no_more(self):
        receiver = self.receiver(TOO_LARGE)

        with self.assert_one_warning("413"):
            self.assertIs(False, register_server(self.env))
        self.assertEqual([True, False], self.described(receiver))
        self.assertIn("413", self.state().last_failure_reason)

    def test_other_refusal_is_not_answered_with_less(self):
        receiver = self.receiver((422, b'{"code": "invalid_message"}'))

        with self.assert_one_warning("422"):
            register_server(self.env)
        self.assertEqual([True], self.described(receiver))

    def test_refused_heartbeat_is_not_repeated(self):
        receiver = self.receiver(TOO_LARGE)

        with self.assert_one_warning("413"):
            send_heartbeat(self.env)
        self.assertEqual(["heartbeat"], self.calls(receiver))

    def test_refused_tools_are_not_sent_unasked_for_a_while(self):
        receiver = self.receiver(TOO_LARGE, CREATED)

        for _ in range(3):
            register_server(self.env)
        self.assertEqual([True, False, False, False], self.described(receiver))
        self.let_pass(TOO_LARGE_SECONDS)
        register_server(self.env)
        self.assertEqual([True], self.described(receiver)[4:])

    def test_other_tools_are_sent(self):
        receiver = self.receiver(TOO_LARGE, CREATED)
        register_server(self.env)

        mcp_tool("another", description="A new one.")(_nothing)
        register_server(self.env)
        self.assertEqual([True, False, True], self.described(receiver))

    def test_refused_tools_are_sent_to_a_receiver_that_wants_them(self):
        receiver = self.receiver(TOO_LARGE, CREATED, WANTS, CREATED, OK)
        register_server(self.env)

        self.run_action(receiver)
        self.assertEqual([True, False, True], self.described(receiver))

    def test_receiver_that_wants_what_it_refuses_is_not_asked_each_minute(self):
        receiver = self.receiver(TOO_LARGE, CREATED, WANTS, TOO_LARGE, CREATED, WANTS)
        register_server(self.env)

        for _ in range(4):
            self.run_action(receiver)
        self.assertEqual([True, False] * 2, self.described(receiver))
        self.let_pass(DESCRIBED_SECONDS)
        self.run_action(receiver)
        self.assertEqual([True, False] * 2, self.described(receiver))
        self.let_pass(REFUSED_SECONDS - DESCRIBED_SECONDS)
        self.run_action(receiver)
        self.assertEqual([True], self.described(receiver)[4:])

    def test_new_receiver_gets_the_tools(self):
        self.receiver(TOO_LARGE, CREATED)
        register_server(self.env)
        self.env["res.config.settings"].create(
            {"mcp_phone_home_url": "https://new.example"}
        ).execute()

        receiver = self.receiver(CREATED)
        register_server(self.env)
        self.assertEqual([True], self.described(receiver))


def _nothing(env):
    return {}
