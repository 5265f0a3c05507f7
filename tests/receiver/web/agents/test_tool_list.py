"""What tools are for: told in registrations, asked over HTTP, and changed by upgrades."""

from typing import Any

import httpx
import pytest

import messages
from contract import Tool, tools_digest
from servers import Clock

CONFIRM: dict[str, Any] = {
    "name": "sale_order_confirm",
    "title": "Confirm a sales order",
    "description": "Turns a quotation into an order.",
    "annotations": {"readOnlyHint": False},
    "input_schema_digest": "a1",
    "provider": "sale_mcp",
}
READ: dict[str, Any] = {"name": "record_read"}


def register(receiver: httpx.Client, server_id: str, *tools: dict[str, Any], **said: Any) -> None:
    registration = messages.registration(server_id=server_id, tools=[*tools], **said)
    receiver.post("/register", json=registration).raise_for_status()


def beat(receiver: httpx.Client, server_id: str, **said: Any) -> Any:
    return receiver.post("/heartbeat", json=messages.slim(server_id=server_id, **said)).json()


@pytest.mark.both_databases
def test_receiver_asks_for_tools_that_it_does_not_know(receiver: httpx.Client) -> None:
    register(receiver, "a", CONFIRM, READ)
    digest = receiver.get("/servers/a").json()["tools_digest"]

    assert "wants" not in beat(receiver, "a", tools_digest=digest)
    assert ["registration"] == beat(receiver, "a", tools_digest="d2")["wants"]
    assert ["registration"] == beat(receiver, "a")["wants"]

    register(receiver, "a", CONFIRM, tools_digest="d2")
    assert "wants" not in beat(receiver, "a", tools_digest="d2")


def test_receiver_asks_in_a_batch_for_tools_that_it_does_not_know(receiver: httpx.Client) -> None:
    register(receiver, "a", CONFIRM, tools_digest="d1")
    batch = [messages.slim(server_id=each, tools_digest="d1") for each in ("a", "b")]

    known, unknown = receiver.post("/heartbeats", json=batch).json()["results"]

    assert "wants" not in known
    assert ["registration"] == unknown["wants"]


def test_tools_digest_is_that_of_the_contract(receiver: httpx.Client) -> None:
    register(receiver, "a", READ)

    assert (
        tools_digest([Tool(name="record_read")])
        == (receiver.get("/servers/a").json()["tools_digest"])
    )


@pytest.mark.both_databases
def test_descriptions_of_tools_are_returned_with_the_server(receiver: httpx.Client) -> None:
    register(receiver, "a", CONFIRM, READ)

    answer = receiver.get("/servers/a/tools")

    assert {"server_id": "a", "is_current": True, "tools": [CONFIRM, READ]} == answer.json()
    again = receiver.get("/servers/a/tools", headers={"If-None-Match": answer.headers["etag"]})
    assert 304 == again.status_code


def test_server_that_never_described_its_tools_has_null_for_them(receiver: httpx.Client) -> None:
    beat(receiver, "a/b", capabilities=["record_read"])

    answer = receiver.get("/servers/a%2Fb/tools").json()

    assert {"server_id": "a/b", "is_current": False, "tools": None} == answer
    assert answer == receiver.get("/by-id/servers/tools", params={"id": "a/b"}).json()


def test_tools_of_an_unknown_server_are_not_found(receiver: httpx.Client) -> None:
    answer = receiver.get("/servers/nobody/tools")

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])


@pytest.mark.both_databases
def test_tool_search_returns_the_tools_and_their_servers(receiver: httpx.Client) -> None:
    register(receiver, "a", CONFIRM, READ, odoo_stage="production")
    register(receiver, "b", CONFIRM, odoo_stage="staging")

    asked = {"search": "Which Odoo can confirm sales orders?"}
    answer = receiver.get("/tools", params=asked).json()
    narrowed = receiver.get("/tools", params={**asked, "stage": "staging"}).json()

    assert {
        "tools": [{**CONFIRM, "server_ids": ["a", "b"], "server_count": 2}],
        "count": 1,
        "next_cursor": None,
    } == answer
    assert [["b"]] == [tool["server_ids"] for tool in narrowed["tools"]]


def test_pages_of_tools_follow_each_other(receiver: httpx.Client) -> None:
    for n in range(101):
        register(receiver, f"s{n}", {"name": "sale", "title": f"number {n}"})

    first = receiver.get("/tools?search=sale").json()
    second = receiver.get(
        "/tools", params={"search": "sale", "cursor": first["next_cursor"]}
    ).json()

    assert (100, 1, None) == (first["count"], second["count"], second["next_cursor"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "search: is missing; it says what a tool is to do, in words"),
        ("search=a&cursor=b", "cursor: expected the next_cursor of an earlier answer"),
        ("search=a&cursor=WzVd", "cursor: expected the next_cursor of an earlier answer"),
        (f"search={'a' * 1001}", "search: expected at most 1000 bytes of text"),
        ("search=a&limit=5", "limit: is no parameter here; these are: search, cursor, "),
    ],
)
def test_invalid_tool_search_is_refused(receiver: httpx.Client, query: str, message: str) -> None:
    answer = receiver.get(f"/tools?{query}")

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert answer.json()["detail"].startswith(message)


def test_upgrade_that_changes_a_schema_is_an_event(receiver: httpx.Client) -> None:
    register(receiver, "a", CONFIRM, READ)

    register(receiver, "a", {**CONFIRM, "input_schema_digest": "b2"}, READ)

    (event,) = receiver.get("/events?kind=tools_changed").json()["events"]
    assert {"tools": {"sale_order_confirm": ["input_schema_digest"]}} == event["details"]
    page = receiver.get("/server/a").text
    assert "tool descriptions changed" in page
    assert "Other arguments" in page


def test_page_of_a_server_shows_what_its_tools_are_for(receiver: httpx.Client) -> None:
    register(receiver, "a", {**CONFIRM, "description": "<b>Turns</b>"}, READ)
    beat(receiver, "a", capabilities=["sale_order_confirm", "record_read"])

    page = receiver.get("/server/a").text

    assert "<b><bdi>Confirm a sales order</bdi></b>" in page
    assert "<small><bdi>&lt;b&gt;Turns&lt;/b&gt;</bdi></small>" in page
    assert "<code><bdi>record_read</bdi></code>" in page


def test_description_of_many_tools_fits_into_a_registration(receiver: httpx.Client) -> None:
    tools = [{"name": f"tool_{n}", "description": "d" * 200} for n in range(1000)]

    register(receiver, "a", *tools)

    assert tools == receiver.get("/servers/a/tools").json()["tools"]


# The pace


def test_server_that_sends_too_often_is_asked_for_its_declared_interval(
    receiver: httpx.Client, clock: Clock
) -> None:
    def paced(**said: Any) -> Any:
        return beat(receiver, "a", **said).get("next_heartbeat_seconds")

    assert paced(heartbeat_interval_seconds=300) is None
    clock.advance(149)
    assert 300 == paced(heartbeat_interval_seconds=300)
    clock.advance(150)
    assert paced(heartbeat_interval_seconds=300) is None
    assert paced(heartbeat_interval_seconds=60) is None
    assert 60 == paced()


def test_server_that_declares_no_interval_is_not_asked_for_one(receiver: httpx.Client) -> None:
    for _ in range(2):
        assert "next_heartbeat_seconds" not in beat(receiver, "a")
