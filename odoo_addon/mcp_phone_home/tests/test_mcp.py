import json
import logging
from datetime import timedelta

from jsonschema import validate
from psycopg2 import errors

from odoo import fields
from odoo.exceptions import UserError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools.translate import LazyTranslate

from odoo.addons.mcp_phone_home.services.mcp import (
    HANDSHAKE_VERSIONS,
    MODERN_VERSIONS,
    answer,
    server_info,
)
from odoo.addons.mcp_phone_home.services.routes import PATHS
from odoo.addons.mcp_phone_home.services.tool_calls import call_tool
from odoo.addons.mcp_phone_home.tools import registry
from odoo.addons.mcp_phone_home.tools.registry import get_tool_registry, mcp_tool

from .common import LOGGER, PhoneHomeCase

(NEWEST,) = MODERN_VERSIONS
META = "io.modelcontextprotocol/"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class McpCase(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.patch(registry, "_tools", dict(registry._tools))

    def post(self, body, **headers):
        """Let the addon answer a body; returns status and message. Headers have `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return answer(self.env, raw, told)

    def ask(self, method, params=None, **headers):
        """Send a request; returns the JSON-RPC response, which is checked to be a success."""
        message = {"jsonrpc": "2.0", "id": 7, "method": method}
        if params is not None:
            message["params"] = params
        status, said = self.post(message, **headers)
        self.assertEqual((200, "2.0", 7), (status, said["jsonrpc"], said["id"]))
        return said

    def refusal(self, body, **headers):
        """Send a body that is refused; returns the status, and code and id of the error."""
        status, said = self.post(body, **headers)
        self.assertTrue(said["error"]["message"])
        self.assertNotIn("Traceback", json.dumps(said))
        return status, said["error"]["code"], said["id"]

    def call(self, name, **arguments):
        """Call a tool; returns the result object."""
        return self.ask("tools/call", {"name": name, "arguments": arguments})["result"]

    def failure(self, name, **arguments):
        """Call a tool that fails; returns the text of its result."""
        result = self.call(name, **arguments)
        self.assertEqual({"content", "isError"}, set(result))
        self.assertIs(True, result["isError"])
        (content,) = result["content"]
        return content["text"]

    def offer(self, name, run, schema=None):
        mcp_tool(name, description="For a test.", input_schema=schema)(run)


class TestHandshake(McpCase):
    def test_known_version_is_accepted(self):
        for version in HANDSHAKE_VERSIONS:
            with self.subTest(version):
                result = self.ask("initialize", {"protocolVersion": version})["result"]
                self.assertEqual(version, result["protocolVersion"])

    def test_unknown_version_is_answered_with_the_newest(self):
        for version in ("1999-01-01", "", "x" * 5000, NEWEST):
            with self.subTest(version[:20]):
                result = self.ask("initialize", {"protocolVersion": version})["result"]
                self.assertEqual("2025-11-25", result["protocolVersion"])

    def test_initialize_returns_server_info_and_tools_capability(self):
        result = self.ask("initialize", {"protocolVersion": "2025-06-18"})["result"]

        self.assertEqual({"tools": {}}, result["capabilities"])
        self.assertEqual("1.0.0", result["serverInfo"]["version"])
        for words in (self.env.cr.dbname, "register_receiver"):
            self.assertIn(words, result["instructions"])

    def test_each_database_has_a_name_and_a_title_of_its_own(self):
        """Two Odoo servers may have databases of one name."""
        self.set_params(endpoint_url="https://one.example/mcp/v1")
        first = server_info(self.env)
        self.set_params(endpoint_url="https://two.example/mcp/v1")
        self.env["ir.config_parameter"].set_param("database.uuid", "22222222-of-another")

        second = server_info(self.env)
        for name in ("name", "title"):
            self.assertIn(self.env.cr.dbname, first[name])
            self.assertNotEqual(first[name], second[name])
        self.assertIn("two.example", second["title"])

    def test_initialize_without_a_version_is_refused(self):
        for params in ({}, {"protocolVersion": 5}):
            with self.subTest(params):
                self.assertEqual(-32602, self.ask("initialize", params)["error"]["code"])

    def test_ping_is_answered(self):
        self.assertEqual({}, self.ask("ping")["result"])

    def test_known_version_in_the_header_is_accepted(self):
        for version in HANDSHAKE_VERSIONS:
            with self.subTest(version):
                self.assertEqual({}, self.ask("ping", MCP_Protocol_Version=version)["result"])

    def test_unknown_version_in_the_header_is_refused_with_the_known_ones(self):
        message = {"jsonrpc": "2.0", "id": 7, "method": "ping"}

        status, said = self.post(message, MCP_Protocol_Version="1999-01-01")
        expected = {
            "supported": [*HANDSHAKE_VERSIONS, NEWEST],
            "requested": "1999-01-01",
        }
        self.assertEqual((400, 7), (status, said["id"]))
        self.assertEqual((-32022, expected), (said["error"]["code"], said["error"]["data"]))


class TestMessages(McpCase):
    def test_malformed_json_is_refused(self):
        bodies = [
            b"",
            b"{",
            b"\xff\xfe",
            b'{"id": NaN}',
            b'{"id": Infinity}',
            b'{"id": 1e999}',
            b'{"a": 1, "a": 2}',
            b"[" * 200_000,
            b'{"a":' * 200_000,
            b"1" * 5000,
            json.dumps({"jsonrpc": "2.0"}).encode("utf-16"),
        ]
        for body in bodies:
            with self.subTest(body[:20]):
                self.assertEqual((400, -32700, None), self.refusal(body))

    def test_json_that_is_no_message_is_refused(self):
        messages = [
            5,
            "ping",
            None,
            {},
            {"jsonrpc": "1.0", "id": 1, "method": "ping"},
            {"id": 1, "method": "ping"},
            {"jsonrpc": "2.0", "id": 1},
            {"jsonrpc": "2.0", "id": 1, "method": 5},
        ]
        for message in messages:
            with self.subTest(message):
                self.assertEqual((400, -32600, None), self.refusal(message))

    def test_id_of_another_type_than_text_or_integer_is_refused(self):
        for request_id in (None, True, 1.5, [], {}):
            message = {"jsonrpc": "2.0", "id": request_id, "method": "ping"}
            with self.subTest(request_id):
                self.assertEqual((400, -32600, None), self.refusal(message))

    def test_answer_repeats_the_id_even_a_reused_one(self):
        for request_id in (0, -1, 10**30, "", "a", "\ud800", "a"):
            message = {"jsonrpc": "2.0", "id": request_id, "method": "ping"}
            with self.subTest(ascii(request_id)):
                said = {"jsonrpc": "2.0", "id": request_id, "result": {}}
                self.assertEqual((200, said), self.post(message))

    def test_batch_is_refused_with_a_sentence(self):
        batch = [{"jsonrpc": "2.0", "id": 1, "method": "ping"}]

        self.assertEqual((400, -32600, None), self.refusal(batch))
        self.assertIn("one message at a time", self.post(batch)[1]["error"]["message"])

    def test_params_other_than_an_object_are_refused(self):
        for params in ([], "a", 5, False):
            message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": params}
            with self.subTest(params):
                self.assertEqual((200, -32602, 1), self.refusal(message))

    def test_params_of_null_are_absent_ones(self):
        for method in ("ping", "tools/list"):
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": None}
            with self.subTest(method):
                status, said = self.post(message)
                self.assertEqual(200, status)
                self.assertIn("result", said)
        message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": None}
        refusal = self.refusal(message, MCP_Protocol_Version=NEWEST, Mcp_Method="ping")
        self.assertEqual((400, -32602, 1), refusal)

    def test_unknown_method_is_refused_and_quoted_without_control_characters(self):
        for method in ("resources/list", "server/discover", "", "notifications/initialized", "\n"):
            with self.subTest(method):
                error = self.ask(method)["error"]
                self.assertEqual(-32601, error["code"])
                self.assertNotIn("\n", error["message"])

    def test_notifications_and_responses_get_an_empty_answer(self):
        messages = [
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "method": "notifications/whatever", "params": {}},
            {"jsonrpc": "2.0", "id": 1, "result": {}},
            {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}},
        ]
        for message in messages:
            with self.subTest(message):
                self.assertEqual((202, None), self.post(message))

    def test_call_without_an_id_runs_nothing(self):
        ran = []
        self.offer("note", lambda env: ran.append(1) or {})
        params = {"name": "note"}

        message = {"jsonrpc": "2.0", "method": "tools/call", "params": params}
        self.assertEqual((202, None), self.post(message))
        self.assertEqual([], ran)
        self.post({**message, "id": 1})
        self.assertEqual([1], ran)

    def test_answer_to_a_bug_has_no_traceback(self):
        self.patch(registry, "_tools", {"broken": None})

        with self.assertLogs(LOGGER, "ERROR") as logs:
            error = self.ask("tools/list")["error"]
        self.assertEqual(1, len(logs.records))
        self.assertEqual(-32603, error["code"])
        self.assertNotIn("NoneType", error["message"])


class TestNewestRevision(McpCase):
    def params(self, **params):
        meta = {f"{META}protocolVersion": NEWEST, f"{META}clientCapabilities": {}}
        return {"_meta": meta, **params}

    def headers(self, method, **headers):
        return {"MCP_Protocol_Version": NEWEST, "Mcp_Method": method, **headers}

    def test_discover_returns_versions_and_tools_capability(self):
        headers = self.headers("server/discover")
        result = self.ask("server/discover", self.params(), **headers)["result"]

        self.assertEqual([*HANDSHAKE_VERSIONS, NEWEST], result["supportedVersions"])
        self.assertEqual({"tools": {}}, result["capabilities"])
        self.assertEqual(server_info(self.env), result["_meta"][f"{META}serverInfo"])
        self.assertIn("server_info", result["instructions"])
        self.assertEqual(
            ("complete", 0, "private"),
            (result["resultType"], result["ttlMs"], result["cacheScope"]),
        )

    def test_call_with_matching_headers_is_answered(self):
        for name in ("server_info", "=?base64?c2VydmVyX2luZm8=?="):
            headers = self.headers("tools/call", Mcp_Name=name)
            with self.subTest(name):
                params = self.params(name="server_info")
                result = self.ask("tools/call", params, **headers)["result"]
                self.assertEqual("complete", result["resultType"])
                self.assertIn("server_id", result["structuredContent"])

    def test_request_with_contradicting_headers_is_refused(self):
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        message["params"] = self.params(name="server_info")
        wrong = [
            self.headers("tools/list", Mcp_Name="server_info"),
            self.headers("tools/call", Mcp_Name="fleet_status"),
            self.headers("tools/call", Mcp_Name="=?base64?/w==?="),
            self.headers("tools/call", Mcp_Name="=?base64?~?="),
            self.headers("tools/call"),
            {"MCP_Protocol_Version": NEWEST, "Mcp_Name": "server_info"},
        ]
        for headers in wrong:
            with self.subTest(headers):
                self.assertEqual((400, -32020, 1), self.refusal(message, **headers))

    def test_version_in_the_body_must_match_the_header(self):
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": self.params()}
        message["params"]["_meta"][f"{META}protocolVersion"] = "2025-11-25"

        refusal = self.refusal(message, **self.headers("tools/list"))
        self.assertEqual((400, -32020, 1), refusal)

    def test_request_without_client_metadata_is_refused(self):
        for meta in (None, 5, {}, {f"{META}protocolVersion": NEWEST}):
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
            with self.subTest(meta):
                refusal = self.refusal(message, **self.headers("tools/list"))
                self.assertEqual((400, -32602, 1), refusal)

    def test_unknown_method_is_answered_with_404(self):
        for method in ("initialize", "prompts/list"):
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": self.params()}
            with self.subTest(method):
                self.assertEqual((404, -32601, 1), self.refusal(message, **self.headers(method)))


class TestTools(McpCase):
    def test_list_has_each_tool_with_its_schema(self):
        listed = self.ask("tools/list")["result"]

        self.assertEqual(["tools"], list(listed))
        self.assertEqual(list(get_tool_registry()), [each["name"] for each in listed["tools"]])
        for each in listed["tools"]:
            told = {"name", "title", "description", "annotations", "inputSchema", "outputSchema"}
            self.assertEqual(told, set(each))
            self.assertEqual("object", each["inputSchema"]["type"])
            self.assertEqual("object", each["outputSchema"]["type"])

    def test_annotations_tell_which_tools_only_read(self):
        tools = self.ask("tools/list")["result"]["tools"]

        found = {each["name"]: each["annotations"]["readOnlyHint"] for each in tools}
        expected = {"fleet_status": True, "register_receiver": False, "server_info": True}
        self.assertEqual(expected, found)

    def test_tool_without_title_annotations_and_output_schema_is_listed_without_them(self):
        self.offer("plain", lambda env: {})

        tools = {each["name"]: each for each in self.ask("tools/list")["result"]["tools"]}
        self.assertEqual({"name", "description", "inputSchema"}, set(tools["plain"]))

    def test_structured_content_of_the_own_tools_conforms_to_their_schemas(self):
        self.receiver()
        schemas = {
            each["name"]: each["outputSchema"] for each in self.ask("tools/list")["result"]["tools"]
        }
        calls = {
            "fleet_status": {},
            "register_receiver": {"url": self.closed_port()},
            "server_info": {},
        }
        for name, arguments in calls.items():
            with self.subTest(name), self.assertLogs(LOGGER, logging.INFO):
                result = self.call(name, **arguments)
                self.assertNotIn("isError", result)
                validate(result["structuredContent"], schemas[name])

    def test_result_that_breaks_its_output_schema_fails_the_call(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        for number, value in enumerate(({"n": "1"}, {}, [], "n", None)):
            mcp_tool(f"odd{number}", description="Odd.", output_schema=schema)(
                lambda env, value=value: value
            )
            with self.subTest(value), self.assertLogs(LOGGER, "ERROR"):
                self.assertIn("Odoo's log", self.failure(f"odd{number}"))
        mcp_tool("fine", description="Fine.", output_schema=schema)(lambda env: {"n": 1})
        self.assertEqual({"n": 1}, self.call("fine")["structuredContent"])

    def test_content_blocks_are_returned_as_they_are(self):
        blocks = [
            {"type": "text", "text": "Grüße"},
            {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"},
            {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav", "annotations": {}},
            {"type": "resource_link", "uri": "https://odoo.example/x", "name": "x"},
            {"type": "resource", "resource": {"uri": "odoo://a", "text": "a"}},
            {"type": "resource", "resource": {"uri": "odoo://b", "blob": "AA=="}},
        ]
        self.offer("mixed", lambda env: blocks)
        self.offer("whole", lambda env: {"content": blocks, "structuredContent": {"n": 1}})
        for block in blocks:
            self.offer(f"alone {blocks.index(block)}", lambda env, block=block: [block])

        self.assertEqual({"content": blocks}, self.call("mixed"))
        expected = {"content": blocks, "structuredContent": {"n": 1}}
        self.assertEqual(expected, self.call("whole"))
        for number, block in enumerate(blocks):
            self.assertEqual({"content": [block]}, self.call(f"alone {number}"))

    def test_what_is_no_content_is_returned_as_text(self):
        data = [
            [{"type": "image", "data": "no base64!", "mimeType": "image/png"}],
            [{"type": "text", "text": "a"}, {"type": "char"}],
            [{"type": "resource", "resource": {"uri": "a"}}],
            [],
        ]
        for number, value in enumerate(data):
            self.offer(f"list{number}", lambda env, value=value: value)
            with self.subTest(value):
                (content,) = self.call(f"list{number}")["content"]
                self.assertEqual(value, json.loads(content["text"]))
        self.offer("dict", lambda env: {"content": "of a letter"})
        self.assertEqual({"content": "of a letter"}, self.call("dict")["structuredContent"])

    def test_list_has_one_page(self):
        self.assertEqual(-32602, self.ask("tools/list", {"cursor": "2"})["error"]["code"])

    def test_tool_of_an_uninstalled_addon_is_not_listed(self):
        def run(env):
            return {}

        run.__module__ = "odoo.addons.of_another_database.tools"
        self.offer("elsewhere", run)

        names = [each["name"] for each in self.ask("tools/list")["result"]["tools"]]
        self.assertNotIn("elsewhere", names)
        error = self.ask("tools/call", {"name": "elsewhere"})["error"]
        self.assertEqual(-32602, error["code"])

    def test_object_is_returned_as_text_and_as_structured_content(self):
        self.offer("say", lambda env: {"said": "Grüße", "n": (1, 2)})

        result = self.call("say")
        (content,) = result["content"]
        self.assertEqual("text", content["type"])
        self.assertEqual({"said": "Grüße", "n": [1, 2]}, json.loads(content["text"]))
        self.assertEqual({"said": "Grüße", "n": [1, 2]}, result["structuredContent"])
        self.assertNotIn("isError", result)

    def test_other_result_is_returned_as_text_only(self):
        self.offer("say", lambda env: ["a"])

        self.assertEqual({"content": [{"type": "text", "text": '["a"]'}]}, self.call("say"))

    def test_tool_runs_as_the_calling_user(self):
        self.offer("who", lambda env: {"uid": env.uid, "su": env.su})
        user = new_test_user(self.env, "mcp-admin", groups="base.group_system")

        self.env = self.env(user=user)
        self.assertEqual({"uid": user.id, "su": False}, self.call("who")["structuredContent"])

    def test_unknown_tool_is_refused_and_logged_without_control_characters(self):
        with self.assertLogs(LOGGER, logging.INFO) as logs:
            error = self.ask("tools/call", {"name": "no\nsuch\x1b[31m"})["error"]
        self.assertEqual(-32602, error["code"])
        self.assertIn("tools/list", error["message"])
        (record,) = logs.records
        self.assertTrue(record.getMessage().isprintable())

    def test_call_with_invalid_name_or_arguments_is_refused(self):
        wrong = [{}, {"name": 5}, {"name": "server_info", "arguments": []}]
        for params in wrong:
            with self.subTest(params):
                self.assertEqual(-32602, self.ask("tools/call", params)["error"]["code"])

    def test_arguments_may_be_absent_or_null(self):
        for params in ({"name": "server_info"}, {"name": "server_info", "arguments": None}):
            with self.subTest(params):
                self.assertNotIn("isError", self.ask("tools/call", params)["result"])

    def test_invalid_arguments_are_reported_and_the_tool_does_not_run(self):
        ran = []
        schema = {
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 1}, "s": {"type": "string"}},
            "required": ["n"],
            "additionalProperties": False,
        }
        self.offer("count", lambda env, n, s="": ran.append(n) or {}, schema)

        self.assertIn("'n' is a required property", self.failure("count"))
        both = self.failure("count", n=0, s=5)
        self.assertIn("$.n: 0 is less than the minimum of 1", both)
        self.assertIn("$.s: 5 is not of type 'string'", both)
        self.assertIn("'more' was unexpected", self.failure("count", n=1, more=2))
        self.assertEqual([], ran)
        self.call("count", n=1)
        self.assertEqual([1], ran)

    def test_env_is_refused_as_an_argument_by_any_schema(self):
        self.offer("open", lambda env, **_: {}, {"type": "object"})

        self.assertIn("env is none of them", self.failure("open", env=1))

    def test_description_may_be_a_lazy_translation(self):
        mcp_tool("translated", description=LazyTranslate(__name__)("For a test."))(lambda env: {})

        tools = {tool["name"]: tool for tool in self.ask("tools/list")["result"]["tools"]}
        self.assertEqual("For a test.", tools["translated"]["description"])
        json.dumps(tools)

    def test_too_deeply_nested_arguments_are_reported(self):
        self.offer(
            "tree", lambda env, **_: {}, {"type": "object", "additionalProperties": {"$ref": "#"}}
        )
        arguments = {}
        for _ in range(900):
            arguments = {"a": arguments}

        self.assertIn("too deeply", call_tool_text(self.env, "tree", arguments))

    def test_long_list_of_problems_is_cut_short(self):
        names = [f"n{i}" for i in range(40)]
        self.offer("many", lambda env, **_: {}, {"type": "object", "required": names})

        sentence = self.failure("many")
        self.assertIn("and 35 more", sentence)
        self.assertLess(len(sentence), 2000)


class TestFailures(McpCase):
    def partner(self, name):
        return self.env["res.partner"].search_count([("name", "=", name)])

    def writing(self, error):
        def run(env):
            env["res.partner"].create({"name": "written"})
            parameters = env["ir.config_parameter"]
            parameters.set_param("mcp.server_port", "1234")
            # Fill the caches that the rollback has to invalidate.
            self.assertEqual("1234", parameters.get_param("mcp.server_port"))
            raise error

        return run

    def test_refusal_returns_its_text_and_is_rolled_back(self):
        for error in (ValueError("Not so."), UserError("Not so.")):
            self.offer(f"refuse {type(error).__name__}", self.writing(error))
            with self.subTest(error):
                sentence = self.failure(f"refuse {type(error).__name__}")
                self.assertEqual("Not so.", sentence)
                self.assertEqual(0, self.partner("written"))
                port = self.env["ir.config_parameter"].get_param("mcp.server_port")
                self.assertIs(False, port)

    def test_writes_of_a_successful_call_are_kept(self):
        self.offer("write", lambda env: {"id": env["res.partner"].create({"name": "kept"}).id})

        self.call("write")
        self.assertEqual(1, self.partner("kept"))

    def test_refusal_without_text_gets_a_sentence(self):
        self.offer("refuse", self.writing(ValueError()))

        self.assertIn("refuses", self.failure("refuse"))

    def test_whole_result_that_is_an_error_is_returned_and_rolled_back(self):
        told = {"content": [{"type": "text", "text": "Not so."}], "isError": True}

        def run(env):
            env["res.partner"].create({"name": "written"})
            return told

        self.offer("refuse", run)
        self.assertEqual(told, self.call("refuse"))
        self.assertEqual(0, self.partner("written"))

    def test_access_error_is_returned(self):
        def write(env):
            env["ir.cron"].create({})

        self.offer("write", write)
        self.env = self.env(user=new_test_user(self.env, "mcp-plain", groups="base.group_user"))
        with self.assertLogs("odoo", logging.INFO):
            self.assertIn("not allowed", self.failure("write"))

    def test_failure_is_logged_once_and_returned_without_details(self):
        self.offer("fail", self.writing(RuntimeError("the secret reason")))

        with self.assertLogs(LOGGER, "ERROR") as logs:
            sentence = self.failure("fail")
        self.assertEqual("The tool failed; the reason is in Odoo's log.", sentence)
        (record,) = logs.records
        self.assertIn("the secret reason", logs.output[0])
        self.assertIsNotNone(record.exc_info)
        self.assertEqual(0, self.partner("written"))

    def test_result_that_json_cannot_hold_fails_and_is_rolled_back(self):
        circle = {}
        circle["self"] = circle
        for index, result in enumerate(
            [{"a": object()}, {"a": float("nan")}, {"a": b"b"}, circle, {"a": "\ud800"}, 10**5000]
        ):

            def run(env, result=result):
                env["res.partner"].create({"name": "written"})
                return result

            self.offer(f"odd{index}", run)
            with self.subTest(index), self.assertLogs(LOGGER, "ERROR"):
                self.assertIn("Odoo's log", self.failure(f"odd{index}"))
                self.assertEqual(0, self.partner("written"))

    def test_failed_sql_of_a_tool_still_gets_an_answer(self):
        self.offer("sql", lambda env: env.cr.execute("SELECT 1 / 0"))

        with self.assertLogs("odoo", "ERROR"):
            self.assertIn("Odoo's log", self.failure("sql"))
        self.assertEqual({}, self.ask("ping")["result"])

    def test_conflict_is_left_to_the_retry_of_odoo(self):
        def run(env):
            raise errors.SerializationFailure

        self.offer("overtaken", run)
        with (
            self.assertLogs(LOGGER, logging.INFO) as logs,
            self.assertRaises(errors.SerializationFailure),
        ):
            self.call("overtaken")
        self.assertIn("tried again", logs.records[0].getMessage())

    def test_query_of_a_call_that_is_tried_again_is_no_error_in_the_log(self):
        conflict = "DO $$ BEGIN RAISE serialization_failure; END $$"
        self.offer("overtaken", lambda env: env.cr.execute(conflict))
        self.offer("broken", lambda env: env.cr.execute("SELECT 1 / 0"))

        with (
            self.assertLogs("odoo.sql_db", logging.INFO) as logs,
            self.assertRaises(errors.SerializationFailure),
        ):
            self.call("overtaken")
        self.assertEqual(["INFO"], [record.levelname for record in logs.records])
        with self.assertLogs("odoo.sql_db", "ERROR"), self.assertLogs(LOGGER, "ERROR"):
            self.failure("broken")

    def test_call_is_logged_on_one_line_without_its_arguments(self):
        schema = {"type": "object", "properties": {"key": {"type": "string"}}}
        self.offer("take", lambda env, key: {}, schema)

        with self.assertLogs(LOGGER, logging.INFO) as logs:
            self.call("take", key="hush-hush")
        (record,) = logs.records
        self.assertEqual("INFO", record.levelname)
        self.assertRegex(record.getMessage(), r"'take' of '__system__' \(user 1\): done, \d")
        self.assertNotIn("hush-hush", record.getMessage())

    def test_log_line_has_the_outcome_of_a_call(self):
        self.offer("refuse", self.writing(ValueError("hush-hush")))

        with self.assertLogs(LOGGER, logging.INFO) as logs:
            self.call("refuse")
            self.call("server_info", more=1)
        refused, wrong = (record.getMessage() for record in logs.records)
        self.assertIn("): refused,", refused)
        self.assertNotIn("hush-hush", refused)
        self.assertIn("): wrong arguments,", wrong)


@tagged("post_install", "-at_install")
class TestEndpoint(HttpCase):
    def key_of(self, login, groups):
        user = new_test_user(self.env, login, groups=groups)
        keys = self.env["res.users.apikeys"].with_user(user).sudo()
        key = keys._generate("rpc", "mcp", fields.Datetime.now() + timedelta(days=1))
        self.env.flush_all()
        return user, key

    def admin_key(self):
        return self.key_of("mcp-admin", "base.group_system")[1]

    def post(self, body, *, key=None, path="/mcp/v1", **headers):
        headers.setdefault("Content-Type", "application/json")
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body)
        return self.url_open(path, data=data, headers=headers, method="POST")

    def test_administrator_with_a_key_gets_a_json_answer(self):
        answer = self.post(PING, key=self.admin_key())

        said = {"jsonrpc": "2.0", "id": 1, "result": {}}
        self.assertEqual((200, said), (answer.status_code, answer.json()))
        self.assertEqual("application/json", answer.headers["Content-Type"].partition(";")[0])
        self.assertEqual("no-store", answer.headers["Cache-Control"])
        self.assertNotIn("Set-Cookie", answer.headers)

    def test_notification_gets_an_empty_answer(self):
        message = {"jsonrpc": "2.0", "method": "notifications/initialized"}

        answer = self.post(message, key=self.admin_key())
        self.assertEqual((202, b""), (answer.status_code, answer.content))

    def test_version_header_is_checked(self):
        answer = self.post(PING, key=self.admin_key(), **{"MCP-Protocol-Version": "1"})

        self.assertEqual((400, -32022), (answer.status_code, answer.json()["error"]["code"]))

    def test_request_without_a_valid_key_is_refused(self):
        key = self.admin_key()
        for wrong in (None, "", "x", key[:-1], key[::-1], "\xe4"):
            with self.subTest(wrong):
                answer = self.post(PING, key=wrong)
                self.assertEqual(401, answer.status_code)
                self.assertIn("bearer", answer.headers["WWW-Authenticate"].lower())

    def test_key_in_another_scheme_is_refused(self):
        key = self.admin_key()

        answer = self.post(PING, Authorization=f"Basic {key}")
        self.assertEqual(401, answer.status_code)

    def test_session_cookie_is_refused_without_a_key(self):
        new_test_user(self.env, "mcp-browser", groups="base.group_system")
        self.authenticate("mcp-browser", "mcp-browser")
        like_a_page = {
            "Sec-Fetch-Dest": "document",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-User": "?1",
        }

        for headers in ({}, like_a_page, {**like_a_page, "Authorization": "Bearer"}):
            with self.subTest(headers):
                answer = self.post(PING, **headers)
                self.assertEqual(401, answer.status_code)
                self.assertIn("bearer", answer.headers["WWW-Authenticate"].lower())

    def test_user_who_is_no_administrator_gets_403(self):
        _, key = self.key_of("mcp-plain", "base.group_user")

        answer = self.post(PING, key=key)
        self.assertEqual(403, answer.status_code)
        self.assertIn("administrators", answer.json()["error"]["message"])

    def test_endpoint_that_is_turned_off_says_so_to_a_valid_key_only(self):
        key = self.admin_key()
        parameters = self.env["ir.config_parameter"]

        parameters.set_param("mcp.disabled", "True")
        answer = self.post(PING, key=key)
        self.assertEqual(403, answer.status_code)
        self.assertIn("mcp.disabled", answer.json()["error"]["message"])
        self.assertEqual(401, self.post(PING, key=key[::-1]).status_code)
        parameters.set_param("mcp.disabled", False)
        self.assertEqual(200, self.post(PING, key=key).status_code)

    def test_key_of_an_archived_user_is_refused(self):
        user, key = self.key_of("mcp-gone", "base.group_system")
        user.active = False

        self.assertEqual(401, self.post(PING, key=key).status_code)

    def test_other_methods_are_not_allowed(self):
        key = self.admin_key()
        for method in ("GET", "DELETE", "PUT", "PATCH"):
            for headers in ({}, {"Authorization": f"Bearer {key}"}):
                with self.subTest(method, headers=bool(headers)):
                    answer = self.url_open("/mcp/v1", method=method, headers=headers)
                    allowed = (answer.status_code, answer.headers["Allow"])
                    self.assertEqual((405, "POST"), allowed)

    def test_body_of_another_type_is_refused(self):
        key = self.admin_key()
        for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            with self.subTest(content_type):
                answer = self.post(PING, key=key, **{"Content-Type": content_type})
                self.assertEqual(415, answer.status_code)

    def test_request_from_another_site_is_refused_even_with_a_key(self):
        key = self.admin_key()

        for origin in ("http://evil.example", "null", "", "http://localhost:1", "http://[", "x"):
            with self.subTest(origin):
                answer = self.post(PING, key=key, Origin=origin)
                self.assertEqual(403, answer.status_code)
                self.assertIn("mcp.allowed_origins", answer.json()["error"]["message"])

    def test_local_request_may_come_from_a_page_of_this_very_address(self):
        answer = self.post(PING, key=self.admin_key(), Origin=self.base_url())

        self.assertEqual(200, answer.status_code)

    def test_name_that_only_the_request_tells_is_refused(self):
        """With DNS rebinding, Host and Origin agree on a name of the attacker."""
        key = self.admin_key()

        for path in PATHS:
            for host in ("evil.example:8069", "evil.example", "192.0.2.7:8069"):
                headers = {"Host": host, "Origin": f"http://{host}"}
                with self.subTest(path, host=host):
                    answer = self.post(PING, key=key, path=path, **headers)
                    self.assertEqual(403, answer.status_code)

    def test_request_without_an_origin_may_come_by_any_name(self):
        key = self.admin_key()

        for path in PATHS:
            for host in ("odoo.internal:8069", "192.0.2.7", "[2001:db8::1]:8069"):
                with self.subTest(path, host=host):
                    answer = self.post(PING, key=key, path=path, Host=host)
                    self.assertEqual(200, answer.status_code)

    def test_origins_that_the_database_knows_are_accepted(self):
        key = self.admin_key()
        parameters = self.env["ir.config_parameter"]
        uuid = parameters.get_param("database.uuid")
        known = {
            "web.base.url": ("https://odoo.example/", "https://odoo.example"),
            "mcp.endpoint_url": ("https://mcp.example:443/mcp/v1", "https://mcp.example"),
            "mcp.announced_endpoint": (f"http://told.example/mcp/v1 {uuid}", "http://told.example"),
            "mcp.allowed_origins": (
                "https://a.example, https://Second.example:8443",
                "https://second.example:8443",
            ),
        }
        for name, (value, origin) in known.items():
            with self.subTest(name):
                self.assertEqual(403, self.post(PING, key=key, Origin=origin).status_code)
                parameters.set_param(name, value)
                self.assertEqual(200, self.post(PING, key=key, Origin=origin).status_code)

    def test_endpoint_that_the_original_of_a_copy_has_announced_is_no_known_origin(self):
        key = self.admin_key()
        told = "http://told.example/mcp/v1 another-uuid"
        self.env["ir.config_parameter"].set_param("mcp.announced_endpoint", told)

        self.assertEqual(403, self.post(PING, key=key, Origin="http://told.example").status_code)

    def test_body_over_one_mebibyte_is_refused(self):
        key = self.admin_key()
        whole = json.dumps(PING).encode()
        largest = whole + b" " * (1024 * 1024 - len(whole))

        self.assertEqual(200, self.post(largest, key=key).status_code)
        self.assertEqual(413, self.post(largest + b" ", key=key).status_code)

    def test_writes_of_a_tool_are_committed(self):
        tools = dict(registry._tools)
        self.patch(registry, "_tools", tools)

        @mcp_tool("write", description="For a test.")
        def write(env):
            return {"id": env["res.partner"].create({"name": "by an agent"}).id}

        call = {**PING, "method": "tools/call", "params": {"name": "write"}}
        answer = self.post(call, key=self.admin_key())
        partner = answer.json()["result"]["structuredContent"]["id"]
        self.env.invalidate_all()
        self.assertEqual("by an agent", self.env["res.partner"].browse(partner).name)


def call_tool_text(env, name, arguments):
    (content,) = call_tool(env, get_tool_registry()[name], arguments)["content"]
    return content["text"]
