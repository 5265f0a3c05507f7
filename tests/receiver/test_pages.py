"""The pages for people."""

import html
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from attrs import fields

import messages
from contract import ServerRecord
from receiver.app import create_app
from servers import Clock, serve, wait_until


def test_empty_fleet_says_how_to_connect_the_first_odoo(receiver: httpx.Client) -> None:
    page = receiver.get("/").text

    assert "No server has phoned home yet" in page
    assert f"python -m client --url {str(receiver.base_url).rstrip('/')}" in page


def test_page_lists_the_fleet(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    clock.advance(12)

    page = receiver.get("/").text

    for shown in ("acme", "web-1", "10.0.0.5:8768", "production", "19.0", "sale_order_create"):
        assert shown in page
    assert 'title="2026-01-31 12:00:00 UTC">12 s ago</time>' in page
    assert "24 hours: 100%\n7 days: 100%\n30 days: 100%" in page
    assert ">1 server<" in page


def test_a_server_of_which_nothing_is_known_has_both_pages(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json={"server_id": "only-a-name"})

    assert ["only-a-name"] == listed(receiver, "/")
    assert "<h1><bdi>only-a-name</bdi></h1>" in receiver.get("/server/only-a-name").text


def test_hostile_names_show_as_text(receiver: httpx.Client) -> None:
    hostile = "<script>alert('x')</script>\"&\u202e"
    receiver.post("/heartbeat", json=messages.heartbeat(capabilities=["a"]))
    beat = messages.heartbeat(hostname=hostile, capabilities=[hostile], odoo_stage=hostile)
    receiver.post("/heartbeat", json=beat)

    for path in ("/", "/server/acme_web-1", f"/?{httpx.QueryParams({'stage': hostile})}"):
        page = receiver.get(path).text
        assert "<script>" not in page
        assert hostile in html.unescape(page)


@pytest.mark.parametrize("server_id", ["../a b/health", "a/b?c#d%2Fe", "//evil.example/x", "é_ü"])
def test_link_of_a_server_leads_to_it_whatever_its_id(
    receiver: httpx.Client, server_id: str
) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id=server_id))

    link = address(receiver.get("/").text, of="server/")
    page = receiver.get(urljoin(str(receiver.base_url), link))
    as_json = address(page.text, of="servers/")

    assert f"<h1><bdi>{html.escape(server_id)}</bdi></h1>" in page.text
    assert server_id == receiver.get(urljoin(str(page.url), as_json)).json()["server_id"]


@pytest.mark.parametrize("path", ["/", "/server/a%2Fb", "/server/a/b", "/server/nobody", "/?x=1"])
def test_what_a_page_is_made_of_is_found_from_wherever_it_is(
    receiver: httpx.Client, path: str
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a/b"))

    page = receiver.get(path)
    files = re.findall(r'(?:href|src)="([^"]*static/[^"]+)"', page.text)

    assert ["css", "svg", "js", "svg"] == [re.findall(r"\.(\w+)\?", file)[0] for file in files]
    for file in files:
        assert 200 == receiver.get(urljoin(str(page.url), file)).status_code


def test_no_address_in_a_page_is_absolute(receiver: httpx.Client) -> None:
    """So that the pages work below any path of a proxy."""
    fleet = [messages.heartbeat(server_id=f"s{n}") for n in range(3)]
    receiver.post("/heartbeats", json=fleet)

    for path in ("/", "/?limit=1&stage=production&q=s", "/server/s0", "/server/s9"):
        page = receiver.get(path).text
        links = re.findall(r'(?:href|src|action|data-stream)="([^"]*)"', page)
        assert [] == [link for link in links if re.match(r"/|\w+:", link)]


def test_pages_hold_nothing_inline_and_ask_for_nothing_from_elsewhere(
    receiver: httpx.Client,
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    for path in ("/", "/server/acme_web-1", "/server/nobody"):
        answer = receiver.get(path)
        policy = dict(
            part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
        )
        assert "'none'" == policy.pop("default-src")
        assert {"'self'", "'none'"} == set(policy.values())
        assert "nosniff" == answer.headers["x-content-type-options"]
        assert [] == re.findall(
            r"<style|<script(?! type=\"module\" src=)| style=| on\w+=", answer.text
        )


def test_page_comes_again_by_itself_also_without_a_script(receiver: httpx.Client) -> None:
    page = receiver.get("/").text

    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in page


def test_pages_lead_to_each_other(receiver: httpx.Client) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=f"s{n}") for n in range(3)])

    second = link(receiver, "/?limit=2", rel="next")

    assert ["s0", "s1"] == listed(receiver, "/?limit=2")
    assert ["s2"] == listed(receiver, second)
    assert "/?limit=2" == link(receiver, second, rel="first")
    receiver.delete("/servers/s2")
    assert "The servers of this page are gone" in receiver.get(second).text


def test_first_page_is_not_offered_on_itself(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    assert "First page" not in receiver.get("/").text


def test_pages_of_a_narrowed_and_sorted_list_stay_so(receiver: httpx.Client, clock: Clock) -> None:
    for n in range(6):
        beat = messages.heartbeat(server_id=f"s{n}", database=f"d{n % 2}")
        receiver.post("/heartbeat", json=beat)
        clock.advance(1)
    path = "/?database=d1&limit=2&sort=-last_seen"

    assert ["s5", "s3"] == listed(receiver, path)
    assert ["s1"] == listed(receiver, link(receiver, path, rel="next"))
    assert ">3 servers found<" in receiver.get(path).text


def test_head_of_a_column_sorts_and_turns_round(receiver: httpx.Client, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=name))
        clock.advance(1)

    page = receiver.get("/").text
    by_name, by_age = re.findall(r'<th scope="col"[^>]*><a href="\.([^"]*)"', page)
    turned = receiver.get(by_age).text

    assert ["c", "b", "a"] == listed(receiver, by_name)
    assert ["c", "b", "a"] == listed(receiver, by_age)
    assert 'aria-sort="ascending"><a href="./?sort=-server_id"' in page
    assert 'aria-sort="descending"><a href="./?sort=last_seen"' in turned
    assert '<option value="-last_seen" selected>' in turned


def test_tiles_count_states_and_lead_to_their_servers(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/register", json=messages.registration(server_id="new"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="up-1"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="up-2", odoo_stage="dev"))

    page = receiver.get("/").text

    assert {"All servers": "3", "Up": "2", "New": "1", "Late": "0", "Down": "0"} == tiles(page)
    assert ["up-1", "up-2"] == listed(receiver, "/?state=up")
    assert ">2 servers found<" in receiver.get("/?state=up").text
    assert 'href="./?state=up"' in page
    narrowed = receiver.get("/?stage=dev&sort=-last_seen").text
    assert {"All servers": "1", "Up": "1", "New": "0", "Late": "0", "Down": "0"} == tiles(narrowed)
    assert 'href="./?stage=dev&amp;sort=-last_seen&amp;state=up"' in narrowed


def test_servers_without_a_stage_are_found_as_such(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="some"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="none", odoo_stage=""))

    page = receiver.get("/?stage=").text

    assert ["none"] == listed(receiver, "/?stage=")
    assert 'href="./?stage=" aria-current="true"><bdi>No stage<' in page
    assert '<input type="hidden" name="stage" value="">' in page


def test_stage_that_nobody_has_is_still_shown_as_chosen(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    page = receiver.get("/?stage=gone").text

    assert 'href="./?stage=gone" aria-current="true"><bdi>gone<' in page
    assert "No server matches all of these filters" in page


def test_what_a_form_leaves_empty_counts_as_absent(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    page = receiver.get("/?q=&sort=&database=&capability=&odoo_version=&version=&limit=").text

    assert ">1 server<" in page
    assert "Clear all filters" not in page


def test_search_and_filters_can_be_taken_away_one_by_one(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    receiver.post(
        "/heartbeat", json=messages.heartbeat(server_id="other", database="b", hostname="x")
    )

    path = "/?q=WEB&capability=sale_order_create"
    page = receiver.get(path).text

    assert ["acme_web-1"] == listed(receiver, path)
    assert 'href="./?capability=sale_order_create"><span class="unseen">Remove' in page
    assert 'href="./?q=WEB"><span class="unseen">Remove' in page
    assert '<input type="search" name="q" value="WEB"' in page
    assert '<details class="filters" open>' in page


def test_servers_page_shows_every_field(receiver: httpx.Client) -> None:
    receiver.post("/register", json=messages.registration())
    receiver.post("/heartbeat", json=messages.heartbeat(database_uuid="a-uuid"))

    page = receiver.get("/server/acme_web-1").text

    shown = re.findall(r'data-field="(\w+)"', page)
    assert sorted(field.name for field in fields(ServerRecord)) == sorted(shown)
    for value in ("a-uuid", "fd00::5", "8768", "http/sse", "healthy", "res_partner_search"):
        assert f">{value}<" in page


def test_silence_is_seen_on_both_pages(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat()
    receiver.post("/heartbeat", json=beat)
    wait_until(lambda: is_told_later(receiver, clock, "is late"))
    wait_until(lambda: is_told_later(receiver, clock, "went down"))

    fleet, server = receiver.get("/").text, receiver.get("/server/acme_web-1").text

    assert "<title>1 down · Odoo MCP Fleet</title>" in fleet
    assert "<title>acme: down · Odoo MCP Fleet</title>" in server
    assert ["acme_web-1"] == listed(receiver, "/?state=down")
    for page in (fleet, server):
        assert '<span class="state down"' in page
    assert re.search(r'<rect class="down"[^>]*><title>31 Jan \d\d:\d\d to \d\d:\d\d: down<', server)
    receiver.post("/heartbeat", json=beat)
    ((said, when), *_) = events(receiver, "/")
    assert said.startswith("is back after ")
    assert "just now" == when


def test_change_is_told_with_what_it_was_and_is(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    receiver.post("/heartbeat", json=messages.heartbeat(odoo_version="20.0", capabilities=["a"]))

    for path in ("/", "/server/acme_web-1"):
        page = receiver.get(path).text
        assert "<b>Odoo</b> <bdi>19.0 → 20.0</bdi>" in page
        assert "<b>gained</b> <bdi>a</bdi>" in page
        assert "<b>lost</b> <bdi>res_partner_search, sale_order_create</bdi>" in page


def test_news_are_those_since_yesterday(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat(heartbeat_interval_seconds=86400 * 7)
    receiver.post("/heartbeat", json=beat)
    assert [("joined the fleet", "just now")] == events(receiver, "/")
    clock.advance(86400 + 1)

    assert "Nothing has changed in the last 24 hours" in receiver.get("/").text
    assert [("joined the fleet", "24 h ago")] == events(receiver, "/server/acme_web-1")


def test_rebuilt_server_is_one_line_and_both_pages_lead_to_each_other(
    receiver: httpx.Client, clock: Clock
) -> None:
    old = messages.heartbeat(database_uuid="u")
    new = {**old, "server_id": "acme_web-2", "hostname": "web-2"}
    receiver.post("/heartbeat", json=old)
    wait_until(lambda: is_told_later(receiver, clock, "is late"))
    receiver.post("/heartbeat", json=new)
    wait_until(lambda: listed(receiver, "/") == ["acme_web-2"])

    successor = receiver.get("/server/acme_web-2").text

    assert ["acme_web-1"] == listed(receiver, "/?state=superseded")
    assert ">1 server found<" in receiver.get("/?state=superseded").text
    assert 'goes on as <a href="../server/acme_web-2"' in receiver.get("/server/acme_web-1").text
    assert "was rebuilt" in [said for said, _ in events(receiver, "/server/acme_web-2")]
    assert '<a href="../server/acme_web-1"' in successor


def test_twins_name_each_other(receiver: httpx.Client, clock: Clock) -> None:
    one = messages.heartbeat(database_uuid="u")
    two = {**one, "server_id": "copy_web-2", "database": "copy"}
    for _ in range(6):
        receiver.post("/heartbeats", json=[one, two])
        clock.advance(50)

    def page() -> str:
        receiver.post("/heartbeats", json=[one, two])
        return receiver.get("/server/acme_web-1").text

    wait_until(lambda: 'id="twin"' in page())
    assert '<a href="../server/copy_web-2"' in page()
    assert "has a twin" in receiver.get("/").text


def test_server_that_is_not_there_has_a_page_that_says_so(receiver: httpx.Client) -> None:
    answer = receiver.get("/server/no<b>ody")

    assert (404, "text/html; charset=utf-8") == said(answer)
    assert "There is no such server" in answer.text
    assert "There is no server &#39;no&lt;b&gt;ody&#39;." in answer.text
    assert 'class="button" href="../">Show all servers' in answer.text


def test_address_that_cannot_be_understood_has_a_page_that_says_why(
    receiver: httpx.Client,
) -> None:
    answer = receiver.get("/?limit=many&state=gone&<b>=1&cursor=x&q=a&q=b")

    assert (400, "text/html; charset=utf-8") == said(answer)
    for name in ("limit", "state", "&lt;b&gt;", "cursor", "q"):
        assert f"<code><bdi>{name}</bdi></code>" in answer.text
    assert 'class="button" href="./">Show all servers' in answer.text


@pytest.mark.parametrize("path", ["/", "/server/acme_web-1"])
def test_page_says_that_the_database_is_away_and_tries_again(
    tmp_path: Path, sqlite_receiver: httpx.Client, path: str
) -> None:
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        other.execute("ALTER TABLE servers RENAME TO gone")
    other.close()

    answer = sqlite_receiver.get(path)

    assert (503, "text/html; charset=utf-8") == said(answer)
    assert "5" == answer.headers["retry-after"]
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in answer.text
    assert "The fleet cannot be read right now" in answer.text
    assert "gone" not in answer.text


@pytest.fixture
def sqlite_receiver(sqlite_url: str, clock: Clock) -> Iterator[httpx.Client]:
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)
    with serve(app) as client:
        yield client


def listed(receiver: httpx.Client, path: str) -> list[str]:
    """Which servers a page lists, in its order."""
    return re.findall(r'<tr data-key="server-([^"]+)"', receiver.get(path).text)


def events(receiver: httpx.Client, path: str) -> list[tuple[str, str]]:
    """What a page tells, and when that was."""
    told = r'<span class="says">([^<]+)</span> <span class="when"><time [^>]+>([^<]+)<'
    return re.findall(told, receiver.get(path).text)


def is_told_later(receiver: httpx.Client, clock: Clock, what: str) -> bool:
    """Whether the page tells it some seconds later."""
    clock.advance(10)
    return what in [said for said, _ in events(receiver, "/")]


def tiles(page: str) -> dict[str, str]:
    """The number on each tile."""
    tile = r'<span class="label">([^<]+)</span>\s*<span class="number">([^<]+)<'
    return dict(re.findall(tile, page))


def link(receiver: httpx.Client, path: str, *, rel: str) -> str:
    """Where a link of a page leads."""
    (address,) = re.findall(rf'href="\.([^"]+)" rel="{rel}"', receiver.get(path).text)
    return html.unescape(address)


def address(page: str, *, of: str) -> str:
    """The first link of a page with that in its address."""
    return html.unescape(re.findall(rf'href="([^"]*{of}[^"]+)"', page)[0])


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["content-type"]
