"""The page of a server: what it says first, how it is reached, what it offers, and its size."""

import asyncio
import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from attrs import fields

import messages
from contract import ServerRecord, Tool
from keyring import bearer, keep, made
from page_reading import MAX_PAGE_BYTES
from receiver.app import create_app
from receiver.domain.history import StateLog
from receiver.domain.instants import microseconds
from receiver.service.availability import History
from receiver.web.pages.browse.server import Offers, offers, shares
from servers import Clock, serve

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
SALE = Tool(
    name="sale_order_confirm", title="Confirm <b>", description="Confirms.", provider="sale"
)
PAY = Tool(name="pay", description="Pays an invoice.", provider="account")


def test_server_page_shows_every_known_field(receiver: httpx.Client) -> None:
    receiver.post("/register", json=messages.registration())
    receiver.post("/heartbeat", json=messages.heartbeat(database_uuid="a-uuid"))

    page = receiver.get("/server/acme_web-1").text

    record = receiver.get("/servers/acme_web-1").json()
    known = {each.name for each in fields(ServerRecord) if record.get(each.name) is not None}
    assert known - {"capabilities"} == {*re.findall(r'data-field="(\w+)"', page)}
    for value in ("a-uuid", "fd00::5", "8768", "http/sse", "healthy", "res_partner_search"):
        assert f">{value}<" in page
    assert "Not reported: " in page
    assert "\N{EN DASH}" not in page


def test_tools_are_sorted_and_fitted_outside_of_the_event_loop(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand of them take several milliseconds, in which no other request would go on."""
    loops = []

    def look(*given: Any) -> Offers:
        loops.append(asyncio._get_running_loop())  # noqa: SLF001 - the public one raises if None
        return offers(*given)

    monkeypatch.setattr("receiver.web.pages.browse.server.offers", look)
    receiver.post("/register", json=messages.registration())

    assert "res_partner_search" in receiver.get("/server/acme_web-1").text
    assert [None] == loops


def test_server_page_begins_with_the_state_and_since_when_it_holds(
    receiver: httpx.Client, clock: Clock
) -> None:
    def standing() -> str:
        page = receiver.get("/server/acme_web-1").text
        found = re.search(r'id="standing">(.*?)</p>', page, re.DOTALL)
        assert found is not None
        return " ".join(re.sub("<[^>]+>", "", found[1]).split())

    receiver.post("/register", json=messages.registration())
    clock.advance(7)
    assert "Registered 7 s ago, and its first heartbeat is still to come." == standing()

    receiver.post("/heartbeat", json=messages.heartbeat(heartbeat_interval_seconds=60))
    clock.advance(65)
    assert (
        "Heartbeats have come in time since 2026-01-31 12:00:07 UTC, 65 s ago; "
        "a heartbeat is due every 1 min."
    ) == standing()

    clock.advance(3600)
    assert standing().startswith("Silent since 2026-01-31 12:00:07 UTC")
    receiver.post("/heartbeat", json=messages.slim(status="uninstalled"))
    assert "Said that it sends no more, 2026-01-31 13:01:12 UTC, just now." == standing()


def test_server_that_has_left_is_not_said_to_be_up_since(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(status="uninstalled"))
    clock.advance(900)

    page = receiver.get("/server/acme_web-1").text

    assert "left for 15 min" in page
    assert "up for 15 min" not in page
    assert "<dd>not known</dd></div>" in page


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/server/acme_web-1", "Servers"),
        ("/server/acme_web-1/delete", "Servers"),
        ("/server/nosuch", "Servers"),
        ("/alerts/channels/nosuch", "Alerts"),
    ],
)
def test_menu_says_to_which_pages_a_page_belongs(
    receiver: httpx.Client, path: str, place: str
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    assert [place] == re.findall(r'aria-current="page">([^<]+)<', receiver.get(path).text)


# Availability


@pytest.mark.parametrize(
    ("known_for", "labels"),
    [
        (timedelta(seconds=22), [""]),
        (3 * DAY, ["24 hours", ""]),
        (30 * DAY, ["24 hours", "7 days", "30 days"]),
        (99 * DAY, ["24 hours", "7 days", "30 days"]),
    ],
)
def test_availability_sentence_says_since_when_it_is_known(
    known_for: timedelta, labels: list[str]
) -> None:
    begun = microseconds(NOW - known_for)
    log = StateLog(first_seen=begun, state="up", state_since=begun)
    history = History.of([log], since=NOW - 30 * DAY, now=NOW)

    found = shares(history, NOW)

    assert labels == [each.label for each in found]
    assert {"100%"} == {each.share for each in found}
    assert [NOW - known_for if each == "" else None for each in labels] == [
        each.since for each in found
    ]


def test_server_page_says_since_when_availability_is_known(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    clock.advance(22)

    page = receiver.get("/server/acme_web-1").text

    assert '<dt>since <time datetime="2026-01-31T12:00:00+00:00"' in page
    assert '<dd>100%</dd><dd class="known">known for 22 s</dd>' in page
    assert "30 days" not in page
    assert '<h2 id="past-title">Availability</h2>' in page


# How it is reached


@pytest.mark.parametrize(
    ("url", "links"),
    [
        ("https://acme.example:8443/mcp?a=1&b='2'", 1),
        ("http://169.254.169.254/latest", 0),
        ("https://acme.example/" + "x" * 5000, 0),
    ],
)
def test_endpoint_is_a_link_where_agents_may_be_sent(
    receiver: httpx.Client, url: str, links: int
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(endpoint_url=url))

    page = receiver.get("/server/acme_web-1").text

    reach = page.split('id="reach"')[1].split('id="tools"')[0]
    linked = [html.unescape(each) for each in re.findall(r'<a href="(http[^"]*)"', reach)]
    assert [url] * links == linked
    assert 1 - links == reach.count("FLEET_ENDPOINTS")
    assert links == reach.count('id="connect"')
    assert 2 * links == reach.count("in the folder of your project; if it is there already")
    assert len(page.encode()) <= MAX_PAGE_BYTES


def test_server_page_leads_to_how_an_agent_is_connected(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(endpoint_url="https://acme.example/mcp"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="unreachable"))

    page = receiver.get("/server/acme_web-1").text
    other = receiver.get("/server/unreachable").text

    title = page.partition('id="title"')[2].partition("</div>")[0]
    assert '<a class="button" href="#connect">Connect an agent</a>' in title
    assert 'href="#connect"' not in other
    way = page.partition('id="connect"')[2].partition("</section>")[0]
    assert way.index("copy it: Odoo shows it only once") < way.index("<details")
    variables = re.findall("Environment variable: <code data-copy>([^<]+)<", way)
    assert ["ODOO_KEY_ACME_PRODUCTION"] * 3 == variables
    assert 5 == len(re.findall(r'client=[\w-]+" download>Download this file<', way))


# What it offers


def names(found: Offers) -> list[tuple[str | None, list[str]]]:
    return [(group.provider, [tool.name for tool in group.tools]) for group in found.groups]


def test_few_tools_are_unfolded_and_many_are_folded() -> None:
    few = offers(["pay", "sale_order_confirm", "x"], [SALE, PAY], "")
    assert [("account", ["pay"]), ("sale", ["sale_order_confirm"]), (None, ["x"])] == names(few)
    assert (3, 3, 3, True) == (few.total, few.count, few.shown, few.is_open)

    many = offers([f"t{n}" for n in range(200)], [], "")
    assert (200, 200, 200, False) == (many.total, many.count, many.shown, many.is_open)
    assert offers([f"t{n}" for n in range(200)], [], "t1").is_open


def test_descriptions_of_tools_are_left_out_where_they_do_not_fit() -> None:
    tools = [
        Tool(name=f"sale_order_line_{n}", title="t" * 20, description="d" * 160, provider="sale")
        for n in range(180)
    ]

    def descriptions(those: Sequence[Tool]) -> set[bool]:
        found = offers([tool.name for tool in those], those, "")
        assert len(those) == found.shown
        return {tool.description is None for group in found.groups for tool in group.tools}

    assert {False} == descriptions(tools[:50])
    assert {True} == descriptions(tools)


def test_modules_whose_tools_do_not_fit_are_left_out() -> None:
    large = [Tool(name=f"{n:03}" + "&" * 190, provider="account") for n in range(200)]
    tools = [*large, SALE, Tool(name="x")]

    found = offers([tool.name for tool in tools], tools, "")

    assert [("account", 200)] == [(group.provider, group.count) for group in found.groups]
    assert 0 < found.shown < 200 < found.count == len(tools)
    assert found.shown == len(found.groups[0].tools)


def test_tools_are_searched_on_the_server_page(receiver: httpx.Client) -> None:
    tools = [
        {"name": "sale_order_confirm", "title": "Confirm <b>", "provider": "sale"},
        {"name": "pay", "description": "Pays an invoice."},
    ]
    for server_id in ("acme_web-1", ".."):
        told = {"capabilities": ["pay", "sale_order_confirm"], "tools": tools}
        receiver.post("/register", json=messages.registration(server_id=server_id, **told))

    page = receiver.get("/server/acme_web-1").text
    found = receiver.get("/server/acme_web-1?tools=CONFIRM+sale").text
    none = receiver.get("/server/acme_web-1?tools=confirm+invoice").text
    by_id = receiver.get("/by-id/server?id=..&tools=pays").text

    assert ["Confirm &lt;b&gt;"] == re.findall(r"<b><bdi>([^<]*)", page)
    assert ["pay", "sale_order_confirm"] == sorted(offered(page))
    assert (["sale_order_confirm"], ["pay"]) == (offered(found), offered(by_id))
    assert "1 of 2 tools" in found
    assert "None of its tools has all of these words" in none
    assert '<input type="hidden" name="id" value="..">' in by_id


def offered(page: str) -> list[str]:
    """The names of the tools on a page."""
    return re.findall(r'tools\?name=[^"]*"><code><bdi>([^<]*)<', page)


@pytest.mark.parametrize("names", [None, []])
def test_server_without_tools_says_so(receiver: httpx.Client, names: list[str] | None) -> None:
    receiver.post("/heartbeat", json=messages.slim(capabilities=names))

    page = receiver.get("/server/acme_web-1").text

    said = "It has not said which tools it offers" if names is None else "It offers no tools"
    assert said in page


def test_server_page_is_small_for_long_names_and_many_tools(receiver: httpx.Client) -> None:
    server_id = "&" * 255
    told = {
        **dict.fromkeys(("hostname", "database", "odoo_stage", "odoo_version"), "&" * 3000),
        "version": "&" * 3000,
        "ip_addresses": {"primary": "10.0.0.5", "all": [f"fd00::{n:x}" for n in range(500)]},
        "endpoint_url": "https://acme.example/" + "%26" * 320,
    }
    tools = [{"name": f"{n}" + "&" * 190, "title": "&" * 200} for n in range(100)]
    known = messages.registration(server_id=server_id, **told, tools=tools)
    known["capabilities"] = [f"{n}" + "&" * 190 for n in range(200)]
    receiver.post("/register", json=known).raise_for_status()
    for n in range(40):
        receiver.post(
            "/heartbeat", json=messages.slim(server_id=server_id, hostname=f"{n}" + "&" * 3000)
        )

    page = receiver.get(f"/server/{'%26' * 255}")

    assert 200 == page.status_code
    assert len(page.content) <= MAX_PAGE_BYTES
    assert re.search(r"and \d+ more, which a search finds", page.text)
    assert "Older events" in page.text


def test_owner_form_asks_for_a_key_id_when_there_are_many_keys(
    database_url: str, clock: Clock
) -> None:
    admin, token = made("admin", name="admin")
    keep(database_url, admin, *(made("agent", name=f"k{n}")[0] for n in range(101)))
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as receiver:
        receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
        page = receiver.get("/server/acme_web-1", headers=bearer(token)).text

    assert '<input type="text" name="key_id"' in page
    assert "<option" not in page.split('id="heirs"')[1]
