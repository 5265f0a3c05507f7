import json
import logging
from datetime import timedelta

from psycopg2 import errors

from odoo import fields
from odoo.exceptions import UserError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools.translate import LazyTranslate

from odoo.addons.mcp_phone_home.services.mcp import HANDSHAKE_VERSIONS, MODERN_VERSIONS, answer
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
        """Status and answer; the headers are named with `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return answer(self.env, raw, told)

    def ask(self, method, params=None, **headers):
        """The answer to a request; `params` may be left out."""
        message = {"jsonrpc": "2.0", "id": 7, "method": method}
        if params is not None:
            message["params"] = params
        status, said = self.post(message, **headers)
        self.assertEqual((200, "2.0", 7), (status, said["jsonrpc"], said["id"]))
        return said

    def refusal(self, body, **headers):
        """Status, code and id of what is no result."""
        status, said = self.post(body, **headers)
        self.assertTrue(said["error"]["message"])
        self.assertNotIn("Traceback", json.dumps(said))
        return status, said["error"]["code"], said["id"]

    def call(self, name, **arguments):
        """The result of a tool's call."""
        return self.ask("tools/call", {"name": name, "arguments": arguments})["result"]

    def failure(self, name, **arguments):
        """The sentence of a call that has come to nothing."""
        result = self.call(name, **arguments)
        self.assertEqual({"content", "isError"}, set(result))
        self.assertIs(True, result["isError"])
        (content,) = result["content"]
        return content["text"]

    def offer(self, name, run, schema=None):
        mcp_tool(name, description="For a test.", input_schema=schema)(run)


class TestHandshake(McpCase):
    def test_each_version_that_is_known_is_agreed_to(self):
        for version in HANDSHAKE_VERSIONS:
            with self.subTest(version):
                result = self.ask("initialize", {"protocolVersion": version})["result"]
                self.assertEqual(version, result["protocolVersion"])

    def test_another_version_is_answered_with_the_newest(self):
        for version in ("1999-01-01", "", "x" * 5000, NEWEST):
            with self.subTest(version[:20]):
                result = self.ask("initialize", {"protocolVersion": version})["result"]
                self.assertEqual("2025-11-25", result["protocolVersion"])

    def test_server_says_who_it_is_and_that_it_has_tools(self):
        result = self.ask("initialize", {"protocolVersion": "2025-06-18"})["result"]

        self.assertEqual({"tools": {}}, result["capabilities"])
        self.assertEqual({"name": "odoo-mcp-phone-home", "version": "1.0.0"}, result["serverInfo"])

    def test_initialize_without_a_version_is_refused(self):
        for params in ({}, {"protocolVersion": 5}):
            with self.subTest(params):
                self.assertEqual(-32602, self.ask("initialize", params)["error"]["code"])

    def test_ping_is_answered(self):
        self.assertEqual({}, self.ask("ping")["result"])

    def test_header_with_a_version_that_is_known_is_taken(self):
        for version in HANDSHAKE_VERSIONS:
            with self.subTest(version):
                self.assertEqual({}, self.ask("ping", MCP_Protocol_Version=version)["result"])

    def test_header_with_another_version_is_refused_with_those_that_are_known(self):
        message = {"jsonrpc": "2.0", "id": 7, "method": "ping"}

        status, said = self.post(message, MCP_Protocol_Version="1999-01-01")
        expected = {
            "supported": [*HANDSHAKE_VERSIONS, NEWEST],
            "requested": "1999-01-01",
        }
        self.assertEqual((400, 7), (status, said["id"]))
        self.assertEqual((-32022, expected), (said["error"]["code"], said["error"]["data"]))


class TestMessages(McpCase):
    def test_what_is_no_json_is_refused(self):
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

    def test_what_is_no_message_is_refused(self):
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

    def test_id_that_is_neither_text_nor_whole_number_is_refused(self):
        for request_id in (None, True, 1.5, [], {}):
            message = {"jsonrpc": "2.0", "id": request_id, "method": "ping"}
            with self.subTest(request_id):
                self.assertEqual((400, -32600, None), self.refusal(message))

    def test_id_is_repeated_as_it_was_also_when_it_is_used_again(self):
        for request_id in (0, -1, 10**30, "", "a", "\ud800", "a"):
            message = {"jsonrpc": "2.0", "id": request_id, "method": "ping"}
            with self.subTest(ascii(request_id)):
                said = {"jsonrpc": "2.0", "id": request_id, "result": {}}
                self.assertEqual((200, said), self.post(message))

    def test_batch_is_refused_in_words(self):
        batch = [{"jsonrpc": "2.0", "id": 1, "method": "ping"}]

        self.assertEqual((400, -32600, None), self.refusal(batch))
        self.assertIn("one message at a time", self.post(batch)[1]["error"]["message"])

    def test_params_that_are_no_object_are_refused(self):
        for params in ([], "a", 5, None):
            message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": params}
            with self.subTest(params):
                self.assertEqual((200, -32602, 1), self.refusal(message))

    def test_method_that_is_unknown_is_refused_and_shown_without_control_characters(self):
        for method in ("resources/list", "server/discover", "", "notifications/initialized", "\n"):
            with self.subTest(method):
                error = self.ask(method)["error"]
                self.assertEqual(-32601, error["code"])
                self.assertNotIn("\n", error["message"])

    def test_notifications_and_answers_are_taken_in_silence(self):
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

    def test_bug_is_logged_and_its_traceback_is_not_answered(self):
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

    def test_discovery_tells_the_versions_and_that_there_are_tools(self):
        headers = self.headers("server/discover")
        result = self.ask("server/discover", self.params(), **headers)["result"]

        self.assertEqual([*HANDSHAKE_VERSIONS, NEWEST], result["supportedVersions"])
        self.assertEqual({"tools": {}}, result["capabilities"])
        self.assertEqual("odoo-mcp-phone-home", result["_meta"][f"{META}serverInfo"]["name"])
        self.assertEqual(
            ("complete", 0, "private"),
            (result["resultType"], result["ttlMs"], result["cacheScope"]),
        )

    def test_call_is_answered_when_its_headers_say_the_same(self):
        for name in ("server_info", "=?base64?c2VydmVyX2luZm8=?="):
            headers = self.headers("tools/call", Mcp_Name=name)
            with self.subTest(name):
                params = self.params(name="server_info")
                result = self.ask("tools/call", params, **headers)["result"]
                self.assertEqual("complete", result["resultType"])
                self.assertIn("server_id", result["structuredContent"])

    def test_request_whose_headers_say_otherwise_is_refused(self):
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

    def test_version_in_the_body_is_that_of_the_header(self):
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": self.params()}
        message["params"]["_meta"][f"{META}protocolVersion"] = "2025-11-25"

        refusal = self.refusal(message, **self.headers("tools/list"))
        self.assertEqual((400, -32020, 1), refusal)

    def test_request_that_does_not_say_who_asks_is_refused(self):
        for meta in (None, 5, {}, {f"{META}protocolVersion": NEWEST}):
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
            with self.subTest(meta):
                refusal = self.refusal(message, **self.headers("tools/list"))
                self.assertEqual((400, -32602, 1), refusal)

    def test_method_that_is_unknown_is_not_found(self):
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
            self.assertEqual({"name", "description", "inputSchema"}, set(each))
            self.assertEqual("object", each["inputSchema"]["type"])

    def test_list_has_one_page(self):
        self.assertEqual(-32602, self.ask("tools/list", {"cursor": "2"})["error"]["code"])

    def test_tool_of_an_addon_that_is_not_installed_here_is_not_offered(self):
        def run(env):
            return {}

        run.__module__ = "odoo.addons.of_another_database.tools"
        self.offer("elsewhere", run)

        names = [each["name"] for each in self.ask("tools/list")["result"]["tools"]]
        self.assertNotIn("elsewhere", names)
        error = self.ask("tools/call", {"name": "elsewhere"})["error"]
        self.assertEqual(-32602, error["code"])

    def test_result_is_told_as_text_and_as_structure(self):
        self.offer("say", lambda env: {"said": "Grüße", "n": (1, 2)})

        result = self.call("say")
        (content,) = result["content"]
        self.assertEqual("text", content["type"])
        self.assertEqual({"said": "Grüße", "n": [1, 2]}, json.loads(content["text"]))
        self.assertEqual({"said": "Grüße", "n": [1, 2]}, result["structuredContent"])
        self.assertNotIn("isError", result)

    def test_result_that_is_no_object_is_told_as_text(self):
        self.offer("say", lambda env: ["a"])

        self.assertEqual({"content": [{"type": "text", "text": '["a"]'}]}, self.call("say"))

    def test_tool_runs_as_the_user_who_asks(self):
        self.offer("who", lambda env: {"uid": env.uid, "su": env.su})
        user = new_test_user(self.env, "mcp-admin", groups="base.group_system")

        self.env = self.env(user=user)
        self.assertEqual({"uid": user.id, "su": False}, self.call("who")["structuredContent"])

    def test_tool_that_is_unknown_is_an_error_and_leaves_a_line_without_control_characters(self):
        with self.assertLogs(LOGGER, logging.INFO) as logs:
            error = self.ask("tools/call", {"name": "no\nsuch\x1b[31m"})["error"]
        self.assertEqual(-32602, error["code"])
        self.assertIn("tools/list", error["message"])
        (record,) = logs.records
        self.assertTrue(record.getMessage().isprintable())

    def test_call_that_names_nothing_or_no_arguments_is_refused(self):
        wrong = [{}, {"name": 5}, {"name": "server_info", "arguments": []}]
        for params in wrong:
            with self.subTest(params):
                self.assertEqual(-32602, self.ask("tools/call", params)["error"]["code"])

    def test_arguments_may_be_left_out_or_null(self):
        for params in ({"name": "server_info"}, {"name": "server_info", "arguments": None}):
            with self.subTest(params):
                self.assertNotIn("isError", self.ask("tools/call", params)["result"])

    def test_arguments_that_break_the_schema_are_told_and_the_tool_does_not_run(self):
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

    def test_environment_is_no_argument_whatever_the_schema_allows(self):
        self.offer("open", lambda env, **_: {}, {"type": "object"})

        self.assertIn("env is none of them", self.failure("open", env=1))

    def test_description_may_be_a_text_that_odoo_translates(self):
        mcp_tool("translated", description=LazyTranslate(__name__)("For a test."))(lambda env: {})

        tools = {tool["name"]: tool for tool in self.ask("tools/list")["result"]["tools"]}
        self.assertEqual("For a test.", tools["translated"]["description"])
        json.dumps(tools)

    def test_arguments_that_nest_too_deeply_for_a_recursive_schema_are_told(self):
        self.offer(
            "tree", lambda env, **_: {}, {"type": "object", "additionalProperties": {"$ref": "#"}}
        )
        arguments = {}
        for _ in range(900):
            arguments = {"a": arguments}

        self.assertIn("too deeply", call_tool_text(self.env, "tree", arguments))

    def test_many_complaints_are_cut_short(self):
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
            # Odoo keeps in mind what was read.
            self.assertEqual("1234", parameters.get_param("mcp.server_port"))
            raise error

        return run

    def test_refusal_is_told_in_its_own_words_and_its_writes_are_undone(self):
        for error in (ValueError("Not so."), UserError("Not so.")):
            self.offer(f"refuse {type(error).__name__}", self.writing(error))
            with self.subTest(error):
                sentence = self.failure(f"refuse {type(error).__name__}")
                self.assertEqual("Not so.", sentence)
                self.assertEqual(0, self.partner("written"))
                port = self.env["ir.config_parameter"].get_param("mcp.server_port")
                self.assertIs(False, port)

    def test_writes_of_a_call_that_is_done_are_kept(self):
        self.offer("write", lambda env: {"id": env["res.partner"].create({"name": "kept"}).id})

        self.call("write")
        self.assertEqual(1, self.partner("kept"))

    def test_refusal_without_a_word_is_told_with_one(self):
        self.offer("refuse", self.writing(ValueError()))

        self.assertIn("refuses", self.failure("refuse"))

    def test_access_that_is_denied_is_told(self):
        def write(env):
            env["ir.cron"].create({})

        self.offer("write", write)
        self.env = self.env(user=new_test_user(self.env, "mcp-plain", groups="base.group_user"))
        with self.assertLogs("odoo", logging.INFO):
            self.assertIn("not allowed", self.failure("write"))

    def test_failure_is_logged_once_and_only_that_is_told(self):
        self.offer("fail", self.writing(RuntimeError("the secret reason")))

        with self.assertLogs(LOGGER, "ERROR") as logs:
            sentence = self.failure("fail")
        self.assertEqual("The tool failed; the reason is in Odoo's log.", sentence)
        (record,) = logs.records
        self.assertIn("the secret reason", logs.output[0])
        self.assertIsNotNone(record.exc_info)
        self.assertEqual(0, self.partner("written"))

    def test_result_that_json_cannot_hold_is_a_failure_and_undone(self):
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

    def test_sql_that_fails_does_not_take_the_answer_with_it(self):
        self.offer("sql", lambda env: env.cr.execute("SELECT 1 / 0"))

        with self.assertLogs("odoo", "ERROR"):
            self.assertIn("Odoo's log", self.failure("sql"))
        self.assertEqual({}, self.ask("ping")["result"])

    def test_what_odoo_tries_again_is_left_to_it(self):
        def run(env):
            raise errors.SerializationFailure

        self.offer("overtaken", run)
        with (
            self.assertLogs(LOGGER, logging.INFO) as logs,
            self.assertRaises(errors.SerializationFailure),
        ):
            self.call("overtaken")
        self.assertIn("tried again", logs.records[0].getMessage())

    def test_each_call_leaves_one_line_without_its_arguments(self):
        schema = {"type": "object", "properties": {"key": {"type": "string"}}}
        self.offer("take", lambda env, key: {}, schema)

        with self.assertLogs(LOGGER, logging.INFO) as logs:
            self.call("take", key="hush-hush")
        (record,) = logs.records
        self.assertEqual("INFO", record.levelname)
        self.assertRegex(record.getMessage(), r"'take' of '__system__' \(user 1\): done, \d")
        self.assertNotIn("hush-hush", record.getMessage())

    def test_line_says_how_a_call_ended(self):
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

    def post(self, body, *, key=None, **headers):
        headers.setdefault("Content-Type", "application/json")
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body)
        return self.url_open("/mcp/v1", data=data, headers=headers, method="POST")

    def test_administrator_with_a_key_is_answered_in_json(self):
        answer = self.post(PING, key=self.admin_key())

        said = {"jsonrpc": "2.0", "id": 1, "result": {}}
        self.assertEqual((200, said), (answer.status_code, answer.json()))
        self.assertEqual("application/json", answer.headers["Content-Type"].partition(";")[0])
        self.assertEqual("no-store", answer.headers["Cache-Control"])
        self.assertNotIn("Set-Cookie", answer.headers)

    def test_notification_is_taken_in_without_a_body(self):
        message = {"jsonrpc": "2.0", "method": "notifications/initialized"}

        answer = self.post(message, key=self.admin_key())
        self.assertEqual((202, b""), (answer.status_code, answer.content))

    def test_version_in_the_header_reaches_the_protocol(self):
        answer = self.post(PING, key=self.admin_key(), **{"MCP-Protocol-Version": "1"})

        self.assertEqual((400, -32022), (answer.status_code, answer.json()["error"]["code"]))

    def test_nobody_is_let_in_without_a_key_that_is_right(self):
        key = self.admin_key()
        for wrong in (None, "", "x", key[:-1], key[::-1], "\xe4"):
            with self.subTest(wrong):
                answer = self.post(PING, key=wrong)
                self.assertEqual(401, answer.status_code)
                self.assertIn("bearer", answer.headers["WWW-Authenticate"].lower())

    def test_key_is_taken_from_no_other_scheme(self):
        key = self.admin_key()

        answer = self.post(PING, Authorization=f"Basic {key}")
        self.assertEqual(401, answer.status_code)

    def test_session_is_no_key(self):
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

    def test_user_who_is_no_administrator_is_refused_in_a_sentence(self):
        _, key = self.key_of("mcp-plain", "base.group_user")

        answer = self.post(PING, key=key)
        self.assertEqual(403, answer.status_code)
        self.assertIn("administrators", answer.json()["error"]["message"])

    def test_key_of_a_user_who_is_archived_is_refused(self):
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

    def test_page_of_another_site_is_refused_whatever_it_has(self):
        key = self.admin_key()

        for origin in ("http://evil.example", "null", ""):
            with self.subTest(origin):
                self.assertEqual(403, self.post(PING, key=key, Origin=origin).status_code)
        own = self.base_url()
        self.assertEqual(200, self.post(PING, key=key, Origin=own).status_code)

    def test_body_may_have_one_mebibyte_and_no_more(self):
        key = self.admin_key()
        whole = json.dumps(PING).encode()
        largest = whole + b" " * (1024 * 1024 - len(whole))

        self.assertEqual(200, self.post(largest, key=key).status_code)
        self.assertEqual(413, self.post(largest + b" ", key=key).status_code)

    def test_what_a_tool_writes_is_committed(self):
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
