"""The official MCP client against a real Odoo with a real receiver."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import httpx2
import pytest
from attrs import frozen
from mcp import MCPError
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning

from odoo_program import ADDONS, OdooProgram, Server
from phoning import ADDON, record_of, silent_receiver, wait_until_up
from ports import free_port
from servers import NO_AUTHORITIES, PATIENCE_SECONDS, Process, receiver_process

DATABASE = "e2e_mcp"
SERVER_ID = f"{DATABASE}_{socket.gethostname()}"

# Each script prints one line.
FACTS = f"""
import json
from datetime import datetime, timedelta
from odoo.addons.{ADDON}.tools.registry import get_tool_registry

def key(user):
    keys = env["res.users.apikeys"].with_user(user).sudo()
    return keys._generate("rpc", "agent", datetime.now() + timedelta(days=1))

plain = env["res.users"].create({{
    "name": "Plain", "login": "plain", "group_ids": [env.ref("base.group_user").id],
}})
facts = {{
    "admin_key": key(env.ref("base.user_admin")),
    "plain_key": key(plain),
    "tools": list(get_tool_registry()),
}}
env.cr.commit()
print(json.dumps(facts))
"""

OTHER_MODEL = """
from odoo import fields, models

class Tool(models.Model):
    _name = "llm.tool"
    _description = "Tool"

    name = fields.Char()
    active = fields.Boolean(default=True)
"""
OTHER_REGISTRY = """
from odoo.addons.mcp_phone_home.tools.registry import mcp_tool

@mcp_tool("added", description="Of another addon.")
def added(env):
    return {}

def get_tool_registry(env):
    return {"listed": None} if "llm.tool" in env else {}
"""
OTHER_RECORDS = """<odoo>
    <record id="recorded" model="llm.tool"><field name="name">recorded</field></record>
    <record id="archived" model="llm.tool">
        <field name="name">archived</field><field name="active" eval="False"/>
    </record>
</odoo>"""
OTHER_ACCESS = """id,name,model_id:id,group_id:id,perm_read,perm_write,perm_create,perm_unlink
tool,tool,model_llm_tool,base.group_system,1,1,1,1
"""

Result = TypeVar("Result")


@frozen(kw_only=True)
class Agent:
    """
    An Odoo server as an MCP client sees it, and what a test needs to check it.

    Attributes:
        odoo: The Odoo program, with the server's database.
        server: The running Odoo server, with two workers.
        url: URL of the server's MCP endpoint.
        key: API key of an administrator.
        plain_key: API key of a user who is no administrator.
        tools: Names of the tools in the registry.
        receiver: The receiver of the server's heartbeats.
    """

    odoo: OdooProgram
    server: Server
    url: str
    key: str
    plain_key: str
    tools: list[str]
    receiver: Process

    def post(self, body: object, **headers: str) -> httpx.Response:
        """Post any body to the MCP endpoint. Header names have `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(
            self.url,
            content=raw,
            headers={"Content-Type": "application/json", **self.authorization, **told},
            timeout=60,
            trust_env=False,
            verify=NO_AUTHORITIES,
        )

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def call(self, name: str, **arguments: object) -> dict[str, Any]:
        """Call a tool by HTTP, without a client library; returns the result object."""
        params = {"name": name, "arguments": arguments}
        answer = self.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        result: dict[str, Any] = answer.raise_for_status().json()["result"]
        return result

    def sql(self, query: str) -> str:
        return self.odoo.postgres.sql(query, database=DATABASE)

    def stored_url(self) -> str:
        return self.sql("SELECT value FROM ir_config_parameter WHERE key = 'mcp.phone_home_url'")

    def record(self) -> dict[str, Any] | None:
        """The receiver's record of this server, or None."""
        return record_of(self.receiver, DATABASE)

    def connected(
        self, act: Callable[[Client], Awaitable[Result]], *, key: str, mode: str = "auto"
    ) -> Result:
        """Connect the MCP client with a key; returns the result of `act(client)`."""

        async def connect() -> Result:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            options: dict[str, Any] = {"trust_env": False, "verify": NO_AUTHORITIES}
            async with httpx2.AsyncClient(headers=headers, timeout=60, **options) as http:
                transport = streamable_http_client(self.url, http_client=http)
                async with Client(transport, mode=mode) as client:
                    return await act(client)

        return asyncio.run(connect())


@pytest.fixture(scope="module")
def running(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("receiver")
    odoo.create_database_with_addon(DATABASE)
    facts = json.loads(odoo.shell(DATABASE, FACTS).output)
    # Without the scheduler, no heartbeat restores a record that a test has deleted.
    options = ("--workers=2", f"--gevent-port={free_port()}", "--max-cron-threads=0")
    with (
        receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{folder}/fleet.db") as receiver,
        odoo.server(DATABASE, *options) as server,
    ):
        wait_until_up(server)
        yield Agent(
            odoo=odoo,
            server=server,
            url=f"{server.url}/mcp/v1",
            key=facts["admin_key"],
            plain_key=facts["plain_key"],
            tools=facts["tools"],
            receiver=receiver,
        )


@pytest.fixture
def agent(running: Agent) -> Agent:
    """The running Agent, with its rate limit reset and without a record at the receiver."""
    running.sql("UPDATE mcp_phone_home_state SET recent_calls = NULL")
    running.call("register_receiver", url=running.receiver.url)
    running.sql("UPDATE mcp_phone_home_state SET recent_calls = NULL")
    url, patience = f"{running.receiver.url}/servers/{quote(SERVER_ID)}", PATIENCE_SECONDS
    httpx.delete(url, timeout=patience, trust_env=False)
    return running


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """How the client connects: by `server/discover`, or by `initialize` of older revisions."""
    name: str = request.param
    return name


VERSIONS = {"auto": "2026-07-28", "legacy": "2025-11-25"}


def test_client_connects_with_a_key_and_gets_the_server_info(agent: Agent, mode: str) -> None:
    async def look(client: Client) -> tuple[object, ...]:
        info = client.server_info
        capabilities = client.server_capabilities
        is_named = info is not None and DATABASE in info.name and DATABASE in (info.title or "")
        return client.protocol_version, is_named, capabilities.tools is not None

    expected = (VERSIONS[mode], True, True)
    assert expected == agent.connected(look, key=agent.key, mode=mode)


def test_client_pings(agent: Agent) -> None:
    async def ping(client: Client) -> object:
        with pytest.warns(MCPDeprecationWarning, match="ping"):
            return (await client.send_ping()).model_dump(exclude_none=True, exclude_unset=True)

    assert {} == agent.connected(ping, key=agent.key, mode="legacy")


def test_client_lists_the_tools_of_the_registry(agent: Agent, mode: str) -> None:
    async def list_tools(client: Client) -> list[str]:
        tools = (await client.list_tools()).tools
        assert [] == [each.name for each in tools if not (each.title and each.output_schema)]
        assert {"fleet_status", "server_info"} == {
            each.name for each in tools if each.annotations and each.annotations.read_only_hint
        }
        return [tool.name for tool in tools]

    assert {"fleet_status", "register_receiver", "server_info"} == set(agent.tools)
    assert agent.tools == agent.connected(list_tools, key=agent.key, mode=mode)


def test_client_registers_the_server_at_a_receiver(agent: Agent, mode: str) -> None:
    assert agent.record() is None

    result = agent.connected(
        tool("register_receiver", url=f"{agent.receiver.url}/register/"), key=agent.key, mode=mode
    )
    expected = {
        "server_id": SERVER_ID,
        "url_stored": agent.receiver.url,
        "heartbeat_schedule": "every 60 seconds",
        "registered": True,
        "reason": None,
        "token_cleared": False,
    }
    assert expected == result
    record = agent.record()
    assert record is not None
    assert agent.tools == record["capabilities"]
    assert record["registered_at"] is not None
    assert agent.receiver.url == agent.stored_url()


def test_client_calls_fleet_status_and_server_info(agent: Agent, mode: str) -> None:
    status = agent.connected(tool("fleet_status"), key=agent.key, mode=mode)
    info = agent.connected(tool("server_info"), key=agent.key, mode=mode)

    assert (True, agent.receiver.url) == (status["phone_home"], status["url"])
    assert "healthy" == status["receiver"]["status"]
    assert (SERVER_ID, agent.tools) == (info["server_id"], info["capabilities"])


def test_client_gets_the_problems_of_its_arguments(agent: Agent, mode: str) -> None:
    async def call_wrongly(client: Client) -> list[tuple[bool, str]]:
        wrong: list[dict[str, Any]] = [{}, {"url": 5}, {"url": "ftp://x"}, {"url": "", "a": 1}]
        results = [await client.call_tool("register_receiver", each) for each in wrong]
        return [(bool(each.is_error), text_of(each.content)) for each in results]

    before = agent.stored_url()
    told = agent.connected(call_wrongly, key=agent.key, mode=mode)
    words = ["'url' is a required property", "$.url: 5 is not of type", "http://", "unexpected"]
    assert [True] * 4 == [is_error for is_error, _ in told]
    assert [] == [
        (word, text) for word, (_, text) in zip(words, told, strict=True) if word not in text
    ]
    assert before == agent.stored_url()


def test_client_gets_an_error_for_an_unknown_tool(agent: Agent, mode: str) -> None:
    async def call_nothing(client: Client) -> int:
        with pytest.raises(MCPError, match="There is no tool") as caught:
            await client.call_tool("no_such_tool", {})
        return caught.value.code

    assert -32602 == agent.connected(call_nothing, key=agent.key, mode=mode)


@pytest.mark.parametrize("whose", ["nobody", "a stranger", "a plain user"])
def test_client_without_the_key_of_an_administrator_is_refused(
    agent: Agent, mode: str, whose: str
) -> None:
    async def list_tools(client: Client) -> object:
        return await client.list_tools()

    keys = {"nobody": "", "a stranger": agent.key[::-1], "a plain user": agent.plain_key}
    with pytest.RaisesGroup(MCPError, allow_unwrapped=True, flatten_subgroups=True):
        agent.connected(list_tools, key=keys[whose], mode=mode)


def test_refused_request_has_a_reason(agent: Agent) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    none = agent.post(ping, Authorization="")
    wrong = agent.post(ping, Authorization=f"Bearer {agent.key[:-1]}")
    plain = agent.post(ping, Authorization=f"Bearer {agent.plain_key}")

    assert [401, 401, 403] == [each.status_code for each in (none, wrong, plain)]
    asked_for = [each.headers["WWW-Authenticate"].strip() for each in (none, wrong)]
    assert ["Bearer", "Bearer"] == asked_for
    assert "Only administrators may do this." == plain.json()["error"]["message"]


def test_there_is_no_stream_and_no_session(agent: Agent) -> None:
    for method in ("GET", "DELETE"):
        said: dict[str, Any] = {"headers": agent.authorization, "timeout": PATIENCE_SECONDS}
        answer = httpx.request(method, agent.url, **said, trust_env=False)
        assert (405, "POST") == (answer.status_code, answer.headers["Allow"])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32700),
        (b"[" * 500_000, 400, -32700),
        (b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', 400, -32700),
        ([{"jsonrpc": "2.0", "id": 1, "method": "ping"}], 400, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "nothing"}, 200, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": []}, 200, -32602),
    ],
    ids=["empty", "deep", "NaN", "batch", "null id", "no such method", "no params"],
)
def test_malformed_message_is_answered_with_an_error(
    agent: Agent, body: object, status: int, code: int
) -> None:
    answer = agent.post(body)

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])
    assert "application/json" == answer.headers["Content-Type"].partition(";")[0]
    assert "Traceback" not in answer.text


def test_too_large_body_is_refused(agent: Agent) -> None:
    assert 413 == agent.post(b" " * (1024 * 1024 + 1)).status_code


def test_unknown_version_is_refused(agent: Agent) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    answer = agent.post(ping, MCP_Protocol_Version="1999-01-01")
    assert (400, "1999-01-01") == (answer.status_code, answer.json()["error"]["data"]["requested"])


def test_workers_share_the_limit_of_concurrent_calls(agent: Agent) -> None:
    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(agent.call, "register_receiver", url="") for _ in range(10)]
        told = [text_of(call.result()["content"]) for call in calls]

    counted = Counter("missing" in text for text in told)
    assert {True: 5, False: 5} == counted, told
    assert all("5 calls within 60 seconds" in text for text in told if "missing" not in text)


def test_silent_receiver_keeps_no_parameter_locked(agent: Agent) -> None:
    with silent_receiver() as silent, ThreadPoolExecutor(1) as pool:
        call = pool.submit(agent.call, "register_receiver", url=silent.url)
        agent.server.wait_until(lambda: silent.connections, seconds=20)
        stored = agent.stored_url()
        agent.sql(
            "SET lock_timeout = '1s'; UPDATE ir_config_parameter SET value = value"
            " WHERE key LIKE 'mcp.%'; UPDATE mcp_phone_home_state SET claims = claims"
        )
        was_waiting = not call.done()
        answer = json.loads(text_of(call.result()["content"]))

    assert (silent.url, True) == (stored, was_waiting)
    assert (silent.url, False) == (answer["url_stored"], answer["registered"])
    assert "did not answer within 5.0 s" in answer["reason"]


def test_calls_are_logged_without_warnings(agent: Agent) -> None:
    agent.call("server_info")
    agent.call("register_receiver", url="https://me:hush-hush@fleet.example")

    log = agent.server.log
    assert log.lines("MCP tool 'server_info' of 'admin' (user 2): done")
    assert log.lines("register_receiver of 'admin' (user 2) with a URL that cannot be one: refused")
    # Neither the registrations at receivers nor transactions that were tried again.
    assert ([], []) == (log.lines("HTTP Request"), log.lines(" ERROR "))
    secrets = ["hush-hush", agent.key, agent.plain_key]
    assert [] == [line for secret in secrets for line in log.lines(secret)]


def test_tools_of_another_mcp_addon_are_announced(
    odoo: OdooProgram, database: str, tmp_path: Path
) -> None:
    other = {
        "__manifest__.py": "{'name': 'Other', 'license': 'LGPL-3', 'depends': ['mcp_phone_home'],"
        " 'author': 'Other', 'data': ['ir.model.access.csv', 'tools.xml']}",
        "__init__.py": "from . import models, theirs",
        "models.py": OTHER_MODEL,
        "theirs.py": OTHER_REGISTRY,
        "tools.xml": OTHER_RECORDS,
        "ir.model.access.csv": OTHER_ACCESS,
    }
    (tmp_path / "other_mcp").mkdir()
    for name, text in other.items():
        (tmp_path / "other_mcp" / name).write_text(text)
    conf = odoo.config_with(tmp_path / "odoo.conf", addons_path=f"{ADDONS},{tmp_path}")

    log = odoo.install(database, "other_mcp", conf).log
    print_names = f"from odoo.addons.{ADDON}.tools.registry import announced_names;"
    shell = odoo.shell(database, f"{print_names} print(*announced_names(env))", conf)
    own = ["fleet_status", "register_receiver", "server_info"]
    theirs = ["added", "listed", "recorded"]
    assert sorted([*own, *theirs]) == shell.output.split()
    assert ([], []) == (log.complaints(), shell.log.complaints())


def tool(name: str, **arguments: object) -> Callable[[Client], Awaitable[dict[str, Any]]]:
    """A function that calls a tool; it asserts that text and structured content are equal."""

    async def call(client: Client) -> dict[str, Any]:
        result = await client.call_tool(name, dict(arguments))
        assert not result.is_error, result
        assert result.structured_content == json.loads(text_of(result.content))
        said: dict[str, Any] = result.structured_content
        return said

    return call


def text_of(content: Any) -> str:
    """The text of a result's only content, from the client library or from JSON."""
    (only,) = content
    text: str = only["text"] if isinstance(only, dict) else only.text
    return text
