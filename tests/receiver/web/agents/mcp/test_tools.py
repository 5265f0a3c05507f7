"""The MCP server of the receiver, asked by the official client, in both eras of the protocol."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from sqlalchemy import make_url

import messages
from contract import Event, EventKind
from keyring import bearer, keep, made, signed_in
from receiver.app import Tuning, create_app
from receiver.domain.errors import StoreUnavailable
from receiver.domain.keys import id_of
from receiver.domain.queries import RecordedEvent
from receiver.service.feed import Follower, News
from receiver.store import Servers, SqlStore
from receiver.web.agents import mcp_sdk, mcp_server
from receiver.web.agents.tools import TOOLS
from servers import DIRECT, Clock, Process, receiver_process, serve

Json = dict[str, Any]
T = TypeVar("T")
URL = "https://acme.example/mcp/v1"
HEADERS = {"Accept": "application/json, text/event-stream"}
PING: Json = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def send(receiver: httpx.Client, **said: Any) -> None:
    given: Json = {"server_id": "acme_web", "database": "acme", "odoo_stage": "production"}
    given |= {"endpoint_url": URL, "capabilities": ["sale_order_confirm"], **said}
    receiver.post("/heartbeat", json=messages.slim(**given)).raise_for_status()


def asked(receiver: httpx.Client, ask: Callable[[Client], Awaitable[T]], mode: Any = "auto") -> T:
    """Connect an agent to the receiver's MCP server, and let it ask."""

    async def connected() -> T:
        key = receiver.headers.get("Authorization")
        headers = {} if key is None else {"Authorization": key}
        async with (
            httpx2.AsyncClient(headers=headers, **DIRECT) as http,
            Client(streamable_http_client(str(url), http_client=http), mode=mode) as agent,
        ):
            return await ask(agent)

    url = receiver.base_url.join("/mcp")
    return asyncio.run(connected())


def called(receiver: httpx.Client, tool: str, mode: Any = "auto", /, **arguments: Any) -> Json:
    """The answer of a tool, which must be the same as a text and as data."""
    found = asked(receiver, lambda agent: agent.call_tool(tool, arguments), mode)
    assert not found.is_error, found.content
    (content,) = found.content
    assert content.type == "text"
    answer: Json = found.structured_content
    assert answer == json.loads(content.text)
    Draft202012Validator(TOOLS[tool].answers).validate(answer)
    return answer


def failed(receiver: httpx.Client, tool: str, /, **arguments: Any) -> str:
    """What a tool that fails says."""
    found = asked(receiver, lambda agent: agent.call_tool(tool, arguments))
    assert found.is_error
    (content,) = found.content
    assert content.type == "text"
    return content.text


def refusal(
    receiver: httpx.Client, ask: Callable[[Client], Awaitable[Any]], mode: Any = "auto"
) -> str:
    """What an error of the protocol says."""

    async def refused(agent: Client) -> str:
        with pytest.raises(MCPError) as raised:
            await ask(agent)
        return str(raised.value)

    return asked(receiver, refused, mode)


def ids(answer: Json) -> list[str]:
    return [each["server_id"] for each in answer["servers"]]


both_eras = pytest.mark.parametrize("mode", ["auto", "legacy"])


@both_eras
def test_mcp_server_tells_an_agent_its_purpose(receiver: httpx.Client, mode: str) -> None:
    async def ask(agent: Client) -> tuple[Any, Any]:
        return agent.server_info, agent.instructions

    info, instructions = asked(receiver, ask, mode)

    assert ("odoo-mcp-fleet", "Odoo MCP Fleet") == (info.name, info.title)
    assert "never an instruction" in instructions


@both_eras
def test_every_mcp_tool_only_reads_and_describes_its_arguments(
    receiver: httpx.Client, mode: str
) -> None:
    tools = asked(receiver, lambda agent: agent.list_tools(), mode).tools

    assert [*TOOLS] == [each.name for each in tools]
    for each in tools:
        assert getattr(each.annotations, "read_only_hint", False), each.name
        assert each.title
        Draft202012Validator.check_schema(each.input_schema)
        described = [field.get("description") for field in each.input_schema["properties"].values()]
        assert all(described), each.name
        assert each.input_schema["additionalProperties"] is False


@pytest.mark.both_databases
@both_eras
def test_servers_are_listed_page_by_page(receiver: httpx.Client, mode: str) -> None:
    for name in "abc":
        send(receiver, server_id=name)

    first = called(receiver, "list_servers", mode, limit=2)
    second = called(receiver, "list_servers", mode, limit=2, cursor=first["next_cursor"])

    assert (["a", "b"], ["c"], None) == (ids(first), ids(second), second["next_cursor"])


def test_mcp_list_separates_what_the_server_reported(receiver: httpx.Client) -> None:
    send(receiver, hostname="web-1", odoo_version="19.0")

    (server,) = called(receiver, "list_servers")["servers"]

    assert ("acme_web", "up") == (server["server_id"], server["state"])
    assert {
        "database": "acme",
        "stage": "production",
        "hostname": "web-1",
        "odoo_version": "19.0",
        "endpoint_url": URL,
        "tools": ["sale_order_confirm"],
        "tool_count": 1,
    } == server["reported"]


def test_mcp_list_shows_some_of_many_tools(receiver: httpx.Client) -> None:
    send(receiver, capabilities=[f"tool_{n}" for n in range(100)])

    (server,) = called(receiver, "list_servers")["servers"]

    assert (30, 100) == (len(server["reported"]["tools"]), server["reported"]["tool_count"])


@pytest.mark.both_databases
def test_mcp_list_of_servers_is_filtered(receiver: httpx.Client) -> None:
    send(receiver, server_id="a", odoo_version="18.0")
    send(receiver, server_id="b", odoo_stage="staging")
    send(receiver, server_id="c", database="beta")

    assert ["b"] == ids(called(receiver, "list_servers", stage="staging"))
    assert ["c"] == ids(called(receiver, "list_servers", database="beta"))
    assert ["a"] == ids(called(receiver, "list_servers", odoo_version="18.0"))
    assert [] == ids(called(receiver, "list_servers", state="down"))


@pytest.mark.both_databases
def test_servers_are_found_by_text_and_by_tool(receiver: httpx.Client) -> None:
    send(receiver, server_id="a", capabilities=["invoice_post"])
    send(receiver, server_id="b", odoo_stage="staging")
    send(receiver, server_id="c", database="beta")

    assert ["b", "c"] == ids(called(receiver, "find_servers", tool="sale_order_confirm"))
    assert ["c"] == ids(called(receiver, "find_servers", text="BET"))
    assert ["b"] == ids(
        called(receiver, "find_servers", tool="sale_order_confirm", stage="staging")
    )
    assert [] == ids(called(receiver, "find_servers", text="beta", state="late"))


@pytest.mark.both_databases
def test_find_tools_returns_the_tool_that_a_question_means(receiver: httpx.Client) -> None:
    tool = {"name": "sale_order_confirm", "title": "Confirm a sales order"}
    for server_id, stage in (("a", "staging"), ("b", "production"), ("c", "production")):
        registration = messages.registration(server_id=server_id, odoo_stage=stage, tools=[tool])
        receiver.post("/register", json=registration).raise_for_status()

    asked = {"text": "which Odoo can confirm a sale order?"}
    (found,) = called(receiver, "find_tools", **asked)["tools"]
    (narrowed,) = called(receiver, "find_tools", **asked, stage="staging", state="new")["tools"]

    assert {"server_ids": ["a", "b", "c"], "server_count": 3, "reported": tool} == found
    assert ["a"] == narrowed["server_ids"]
    assert [tool] == called(receiver, "server", server_id="a")["reported"]["tools"]


def test_agent_follows_the_pages_of_tools(receiver: httpx.Client) -> None:
    for n in range(101):
        tool = {"name": "sale", "title": f"number {n}"}
        registration = messages.registration(server_id=f"s{n}", tools=[tool])
        receiver.post("/register", json=registration).raise_for_status()

    first = called(receiver, "find_tools", text="sale")
    second = called(receiver, "find_tools", text="sale", cursor=first["next_cursor"])

    assert (100, 1) == (len(first["tools"]), len(second["tools"]))
    assert second["next_cursor"] is None


def test_server_tool_returns_all_of_a_server(receiver: httpx.Client) -> None:
    send(receiver, port=8069)

    server = called(receiver, "server", server_id="acme_web")

    assert ("up", 1, []) == (server["state"], server["heartbeat_count"], server["nodes"])
    assert {"24h", "7d", "30d"} == {*server["availability"]}
    assert (8069, ["sale_order_confirm"], URL) == tuple(
        server["reported"][name] for name in ("port", "capabilities", "endpoint_url")
    )
    assert "heartbeat_count" not in server["reported"]


def test_connection_tool_returns_the_file_of_a_client_and_the_steps_to_a_key(
    receiver: httpx.Client,
) -> None:
    send(receiver)

    found = called(receiver, "connection", server_id="acme_web", client="claude-code")

    assert ("acme-production", URL) == (found["name"], found["reported"]["endpoint_url"])
    file = receiver.get("/servers/acme_web/connection?client=claude-code").text
    assert (".mcp.json", file) == (found["file"]["path"], found["file"]["text"])
    assert "API Key" in " ".join(found["steps"])


@pytest.mark.both_databases
def test_mcp_events_are_listed_newest_first(receiver: httpx.Client) -> None:
    send(receiver)
    send(receiver, capabilities=["invoice_post"])
    send(receiver, server_id="b")

    everything = called(receiver, "what_happened", limit=2)
    rest = called(receiver, "what_happened", limit=2, cursor=everything["next_cursor"])
    (changed,) = called(receiver, "what_happened", kinds=["capabilities_changed"])["events"]
    of_one = called(receiver, "what_happened", server_id="b")["events"]

    kinds = [each["kind"] for each in [*everything["events"], *rest["events"]]]
    assert ["registered", "capabilities_changed", "registered"] == kinds
    assert "acme_web" == changed["server_id"]
    assert ["invoice_post"] == changed["reported"]["capabilities"]["gained"]
    assert ["b"] == [each["server_id"] for each in of_one]
    assert [] == called(receiver, "what_happened", since="2099-01-01T00:00:00Z")["events"]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("find_servers", {}, "text: is missing, and so is tool"),
        ("find_servers", {"text": "a" * 1001}, "text: expected at most 1000 bytes"),
        ("find_tools", {"text": "a" * 1001}, "text: expected at most 1000 bytes"),
        ("find_tools", {}, "text: is required"),
        ("find_tools", {"text": "a", "cursor": "b"}, "cursor: expected the next_cursor"),
        ("list_servers", {"limit": 0}, "limit: expected a whole number from 1 to 100"),
        ("list_servers", {"limit": True}, "limit: expected a whole number from 1 to 100"),
        ("list_servers", {"state": "fine"}, "state: expected one of new, up, late, down, left"),
        ("list_servers", {"stages": "a"}, "stages: is no argument of list_servers; these are: "),
        ("list_servers", {"cursor": "x"}, "cursor: "),
        ("list_servers", {"cursor": "WyItbGFzdF9zZWVuIl0="}, "cursor: "),
        ("what_happened", {"cursor": "x"}, "cursor: "),
        ("what_happened", {"kinds": ["nothing"]}, "kinds[0]: expected one of "),
        ("server", {}, "server_id: is required"),
        ("server", {"server_id": "nobody"}, "There is no server 'nobody'."),
        ("connection", {"server_id": "nobody", "client": "codex"}, "There is no server 'nobody'."),
        ("connection", {"server_id": "acme_web", "client": "vi"}, "client: expected one of "),
        ("connection", {"server_id": "bare", "client": "vscode"}, "reports no endpoint_url"),
    ],
)
def test_invalid_mcp_call_is_answered_with_what_is_wrong(
    receiver: httpx.Client, tool: str, arguments: Json, said: str
) -> None:
    send(receiver)
    send(receiver, server_id="bare", endpoint_url=None)

    assert said in failed(receiver, tool, **arguments)


def test_mcp_cursor_of_a_list_in_another_order_is_refused(receiver: httpx.Client) -> None:
    for name in "ab":
        send(receiver, server_id=name)
    cursor = receiver.get("/servers?sort=-server_id&limit=1").json()["next_cursor"]

    assert "cursor: is of another list" in failed(receiver, "list_servers", cursor=cursor)


@both_eras
def test_unknown_mcp_tool_is_an_error_of_the_protocol(receiver: httpx.Client, mode: str) -> None:
    said = refusal(receiver, lambda agent: agent.call_tool("nothing", {}), mode)

    assert "There is no tool 'nothing'; these are: list_servers, " in said


@both_eras
def test_servers_are_mcp_resources(receiver: httpx.Client, mode: str) -> None:
    send(receiver, server_id="a/b c")

    async def ask(agent: Client) -> tuple[Any, Any, Any]:
        (resource,) = (await agent.list_resources()).resources
        (template,) = (await agent.list_resource_templates()).resource_templates
        (contents,) = (await agent.read_resource(resource.uri)).contents
        return resource, template, contents

    resource, template, contents = asked(receiver, ask, mode)

    assert ("fleet://servers/a%2Fb%20c", "a/b c") == (resource.uri, resource.name)
    assert "fleet://servers/{server_id}" == template.uri_template
    assert called(receiver, "server", server_id="a/b c") == json.loads(contents.text)


def test_resources_are_listed_page_by_page(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_sdk, "_RESOURCES", 1)
    for name in "ab":
        send(receiver, server_id=name)

    async def ask(agent: Client) -> list[str]:
        first = await agent.list_resources()
        second = await agent.list_resources(cursor=first.next_cursor)
        return [each.name for each in [*first.resources, *second.resources]]

    assert ["a", "b"] == asked(receiver, ask)


@pytest.mark.parametrize(
    ("uri", "said"),
    [("file:///etc/passwd", "There is no resource"), ("fleet://servers/x", "There is no server")],
)
def test_unknown_mcp_resource_is_an_error(receiver: httpx.Client, uri: str, said: str) -> None:
    assert said in refusal(receiver, lambda agent: agent.read_resource(uri))


def test_wrong_cursor_of_mcp_resources_is_an_error(receiver: httpx.Client) -> None:
    assert "cursor: " in refusal(receiver, lambda agent: agent.list_resources(cursor="x"))


@pytest.mark.both_databases
def test_mcp_listener_receives_changes_of_servers(receiver: httpx.Client) -> None:
    send(receiver)

    async def ask(agent: Client) -> list[Any]:
        heard: list[Any] = []
        uri = "fleet://servers/acme_web"
        async with agent.listen(resources_list_changed=True, resource_subscriptions=[uri]) as news:
            async for event in news:
                heard.append(event)
                if len(heard) == 1:  # it follows the feed now
                    await asyncio.to_thread(send, receiver, capabilities=["invoice_post"])
                    await asyncio.to_thread(send, receiver, server_id="new")
                if len(heard) == 3:
                    return heard
        raise AssertionError(heard)

    heard = asked(receiver, ask)

    assert ResourcesListChanged() == heard[0]
    assert {ResourcesListChanged(), ResourceUpdated(uri="fleet://servers/acme_web")} == {*heard[1:]}


@pytest.fixture
def guarded(sqlite_url: str, clock: Clock) -> Iterator[tuple[httpx.Client, str, str]]:
    """A receiver with keys, and the tokens of a viewer and an agent."""
    viewer, agent = made(scope="viewer"), made(scope="agent")
    keep(sqlite_url, viewer[0], agent[0])
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as client:
        yield client, viewer[1], agent[1]


def test_viewer_key_opens_the_mcp_endpoint_and_no_other_key_does(
    guarded: tuple[httpx.Client, str, str],
) -> None:
    receiver, viewer, agent = guarded
    statuses = [
        receiver.post("/mcp", json=PING, headers=HEADERS | bearer(token)).status_code
        for token in (None, agent, viewer)
    ]

    assert [401, 403, 200] == statuses
    receiver.headers = bearer(viewer)
    assert [] == called(receiver, "list_servers")["servers"]


def test_browser_session_does_not_open_the_mcp_endpoint(
    guarded: tuple[httpx.Client, str, str],
) -> None:
    receiver, viewer, _ = guarded
    session = signed_in(receiver, viewer)

    answer = receiver.post("/mcp", json=PING, headers=HEADERS | session)

    assert (401, "key_missing") == (answer.status_code, answer.json()["code"])
    assert 200 == receiver.get("/servers", headers=session).status_code


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://["])
def test_mcp_request_of_a_page_of_another_origin_is_refused(
    receiver: httpx.Client, origin: str
) -> None:
    answer = receiver.post("/mcp", json=PING, headers=HEADERS | {"Origin": origin})

    assert (403, "foreign_origin") == (answer.status_code, answer.json()["code"])


def test_mcp_request_by_dns_rebinding_is_refused(
    guarded: tuple[httpx.Client, str, str],
) -> None:
    receiver, viewer, _ = guarded
    headers = HEADERS | bearer(viewer) | {"Host": "evil.example"}
    statuses = [
        receiver.post("/mcp", json=PING, headers=headers | {"Origin": origin}).status_code
        for origin in ("http://evil.example", "https://evil.example")
    ]

    assert [403, 200] == statuses  # nobody can have the certificate that the second one needs


def test_address_that_must_not_be_handed_on_is_in_no_event(
    guarded: tuple[httpx.Client, str, str],
) -> None:
    receiver, viewer, agent = guarded
    receiver.headers = bearer(agent)
    for url in (URL, "http://169.254.169.254/latest", None, URL):
        send(receiver, endpoint_url=url)
    receiver.headers = bearer(viewer)

    moves = called(receiver, "what_happened", kinds=["moved"])["events"]

    assert [
        {"from": None, "to": URL},
        {"from": URL, "to": None},
    ] == [each["reported"]["endpoint_url"] for each in moves]


def test_client_that_cannot_take_a_url_is_told_so(receiver: httpx.Client) -> None:
    send(receiver, endpoint_url="https://acme.example/mcp?db=acme&x=1")

    said = failed(receiver, "connection", server_id="acme_web", client="claude-desktop")

    assert "claude-desktop cannot take" in said


def test_database_error_is_not_shown_to_an_agent(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("connection to 10.0.0.5 as the user fleet failed")

    monkeypatch.setattr(Servers, "page", away)
    said = failed(receiver, "list_servers") + refusal(
        receiver, lambda agent: agent.list_resources()
    )

    assert "10.0.0.5" not in said
    assert "database" in said


def test_broken_mcp_sdk_does_not_end_the_receiver(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mcp_server, "_SDK", "receiver.web.agents.nothing")
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url})) as client:
        first, second = (client.post("/mcp", json=PING, headers=HEADERS) for _ in range(2))
        assert 200 == client.get("/health").status_code

    assert (503, "mcp_unavailable") == (first.status_code, first.json()["code"])
    assert 503 == second.status_code
    assert "the SDK of MCP cannot be imported" in caplog.text


def test_mcp_client_that_disconnects_is_no_error(
    receiver: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection((receiver.base_url.host, receiver.base_url.port or 80)) as raw:
        head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
    for _ in range(3):
        assert 200 == receiver.post("/mcp", json=PING, headers=HEADERS).status_code

    assert "Traceback" not in caplog.text


def test_mcp_request_of_a_page_of_the_receiver_itself_is_answered(receiver: httpx.Client) -> None:
    own = str(receiver.base_url).rstrip("/")

    assert 200 == receiver.post("/mcp", json=PING, headers=HEADERS | {"Origin": own}).status_code


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Accept": "text/html"}, 406, "not_acceptable"),
    ],
)
def test_mcp_request_in_another_media_type_is_refused(
    receiver: httpx.Client, headers: dict[str, str], status: int, code: str
) -> None:
    answer = receiver.post("/mcp", json=PING, headers=headers)

    assert (status, code) == (answer.status_code, answer.json()["code"])


def test_slow_mcp_message_is_given_up(sqlite_url: str) -> None:
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, tuning=Tuning(body_seconds=0.1))
    with serve(app) as client:
        url = client.base_url
        with socket.create_connection((url.host, url.port or 0)) as raw:
            head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            head += f"Accept: {HEADERS['Accept']}\r\nContent-Length: 99\r\n\r\n"
            raw.sendall(head.encode() + b'{"jsonrpc"')
            answer = raw.makefile("rb").read()  # until the receiver hangs up

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_too_slow"' in answer


def test_long_mcp_message_is_refused(receiver: httpx.Client) -> None:
    answer = receiver.post("/mcp", json={**PING, "params": {"x": "x" * 70_000}}, headers=HEADERS)

    assert 413 == answer.status_code


LISTEN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "subscriptions/listen",
    "params": {
        "notifications": {"resourcesListChanged": True},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}
LISTENER = {
    **HEADERS,
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "subscriptions/listen",
}


def test_mcp_event_stream_ends_when_its_key_is_revoked(
    guarded: tuple[httpx.Client, str, str], sqlite_url: str, clock: Clock
) -> None:
    receiver, viewer, _ = guarded
    headers = LISTENER | bearer(viewer)
    with receiver.stream("POST", "/mcp", json=LISTEN, headers=headers) as answer:
        pieces = answer.iter_raw()
        first = next(pieces)
        store = SqlStore(make_url(sqlite_url))
        assert store.keys.revoke(id_of(viewer), clock.now)
        store.close()
        with suppress(httpx.RemoteProtocolError):  # it breaks off
            assert not [each for each in pieces if b"error" in each]

    assert b"notifications/subscriptions/acknowledged" in first
    assert 401 == receiver.post("/mcp", json=PING, headers=HEADERS | bearer(viewer)).status_code


@pytest.mark.serial
@pytest.mark.parametrize("workers", ["--workers=1", "--workers=2"])
def test_receiver_with_a_listening_agent_stops_within_seconds(
    sqlite_url: str, tmp_path: Path, workers: str
) -> None:
    with (
        receiver_process(tmp_path, workers, FLEET_DATABASE_URL=sqlite_url) as process,
        httpx.Client(base_url=process.url, **DIRECT) as client,
        client.stream("POST", "/mcp", json=LISTEN, headers=LISTENER) as answer,
    ):
        next(answer.iter_raw())
        begun = time.monotonic()
        process.terminate()
        process.wait()
        took = time.monotonic() - begun

    assert took < 12  # nothing else ends the stream, so a stop that waits for it has no end
    assert "Traceback" not in process.log.read_text()


def test_any_worker_answers_any_mcp_request(sqlite_url: str, tmp_path: Path) -> None:
    careful = ("--http=receiver.connections:Careful", "--workers=2")
    process = Process(tmp_path, *careful, FLEET_DATABASE_URL=sqlite_url)
    process.wait_until_healthy()
    try:
        with httpx.Client(base_url=process.url, **DIRECT) as client:
            send(client)
            for mode in ("auto", "legacy") * 12:  # each agent opens connections of its own
                assert ["acme_web"] == ids(called(client, "list_servers", mode)), mode
    finally:
        process.terminate()
        process.wait()

    assert "Traceback" not in process.log.read_text()


class Feed:
    """A feed whose database is away when it is first asked; each event comes when it is handed."""

    def __init__(self) -> None:
        self.asked = 0
        self.followers: list[Follower] = []

    async def last_event(self) -> int:
        self.asked += 1
        if self.asked == 1:
            raise StoreUnavailable("it is away")
        return 0

    @contextmanager
    def followed(self, follower: Follower, *, after: int) -> Iterator[None]:
        assert 0 == after
        self.followers.append(follower)
        yield
        self.followers.remove(follower)


def test_mcp_news_bus_follows_the_feed_while_it_has_listeners_also_after_an_outage(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_sdk, "_RETRY_SECONDS", 0.01)
    feed = Feed()
    silent = Event(kind=EventKind.FLEET_SILENT, at=Clock().now, server_id=None, details={})

    async def listen() -> list[ServerEvent]:
        heard: list[ServerEvent] = []
        bus = mcp_sdk.NewsBus(cast("Any", feed))
        running = asyncio.create_task(bus.run())
        leave = [bus.subscribe(heard.append), bus.subscribe(lambda _: None)]
        while not heard:  # noqa: ASYNC110 - the bus tells a test of nothing else
            await asyncio.sleep(0.01)
        feed.followers[0].hand([News.of(RecordedEvent(1, silent))])
        leave[0]()
        await asyncio.sleep(0.05)
        assert [1] == [len(feed.followers)]  # one listens still
        leave[1]()
        leave[1]()
        while feed.followers:  # noqa: ASYNC110 - the bus tells a test of nothing else
            await asyncio.sleep(0.01)
        bus.subscribe(heard.append)()  # one who leaves at once
        await asyncio.sleep(0.05)
        assert not feed.followers
        running.cancel()
        return heard

    assert [ResourcesListChanged()] == asyncio.run(listen())
    assert "Agents that listen hear no news for now: it is away" in caplog.text
