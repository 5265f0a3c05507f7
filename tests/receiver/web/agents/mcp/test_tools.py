"""The tools of the MCP server, in both eras of the protocol."""

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from mcp import Client

import messages
from keyring import bearer
from mcp_agent import URL, Json, asked, both_eras, called, failed, ids, refusal, send
from receiver.domain.errors import StoreUnavailable
from receiver.store import Servers
from receiver.web.agents.tools import TOOLS


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
