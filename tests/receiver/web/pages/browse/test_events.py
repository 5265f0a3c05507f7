"""Events on the pages, and the servers that they lead to."""

import html
import re
from urllib.parse import urljoin

import httpx
import pytest

import messages
from page_reading import address, facet, link, listed, said, says
from receiver.domain.cursors import write_event_cursor
from servers import Clock, wait_until


@pytest.mark.both_databases
def test_silent_server_is_down_on_both_pages(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat()
    receiver.post("/heartbeat", json=beat)
    wait_until(lambda: is_told_later(receiver, clock, "became late"))
    wait_until(lambda: is_told_later(receiver, clock, "went down"))

    fleet, server = receiver.get("/").text, receiver.get("/server/acme_web-1").text

    assert "<title>1 down · Odoo MCP Fleet</title>" in fleet
    assert "<title>acme: down · Odoo MCP Fleet</title>" in server
    assert ["acme_web-1"] == listed(receiver, "/?state=down")
    for page in (fleet, server):
        assert '<span class="state down"' in page
    assert re.search(
        r'<rect class="down"[^>]*><title>31 Jan \d\d:\d\d to \d\d:\d\d UTC: down<', server
    )
    receiver.post("/heartbeat", json=beat)
    ((said, when), *_) = events(receiver, "/")
    assert said.startswith("is back after ")
    assert "just now" == when


def test_event_of_a_change_shows_old_and_new_value(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    receiver.post("/heartbeat", json=messages.heartbeat(odoo_version="20.0", capabilities=["a"]))

    for path in ("/", "/server/acme_web-1"):
        page = receiver.get(path).text
        assert "<b>Odoo</b> <bdi>19.0 → 20.0</bdi>" in page
        assert "<b>Added</b> <bdi>a</bdi>" in page
        assert "<b>Removed</b> <bdi>res_partner_search, sale_order_create</bdi>" in page


def test_recent_events_are_those_of_one_day(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat(heartbeat_interval_seconds=86400 * 7)
    receiver.post("/heartbeat", json=beat)
    assert [("joined the fleet", "just now")] == events(receiver, "/")
    clock.advance(86400 + 1)
    receiver.cookies.clear()

    assert "Nothing has changed in the last 24 hours" in receiver.get("/").text
    assert [("joined the fleet", "24 h ago")] == events(receiver, "/server/acme_web-1")


def test_news_of_a_filtered_list_lead_to_the_timeline_of_its_servers(
    receiver: httpx.Client,
) -> None:
    for n in range(5):
        stage = "staging" if n else "production"
        beat = messages.heartbeat(server_id=f"s{n}", odoo_stage=stage)
        receiver.post("/heartbeat", json=beat).raise_for_status()

    few = receiver.get("/?query=stage:staging")
    for n in range(14):
        beat = messages.heartbeat(server_id="s1", odoo_stage="staging", odoo_version=f"{n}.0")
        receiver.post("/heartbeat", json=beat).raise_for_status()
    many = news(receiver.get("/?query=stage:staging").text)

    assert "Of the servers that match the filters" in news(few.text)
    assert 'href="timeline?query=stage%3Astaging">Show all' in news(few.text)
    (group,) = re.findall(r'href="([^"]+)"><b>4 servers</b>', news(few.text))
    opened = receiver.get(urljoin(str(few.url), html.unescape(group))).text
    assert 4 == opened.count('<span class="says">joined the fleet')
    (older,) = re.findall(r'href="([^"]+)">Older events', many)
    assert older.startswith("timeline?query=stage%3Astaging&amp;cursor=")
    for query in ({}, {"query": f"-label:{'a' * 250}"}):  # nothing, or too long for the links
        assert 'href="timeline">Show all' in news(receiver.get("/", params=query).text)
    assert "Of the servers that match" not in receiver.get("/").text


@pytest.mark.both_databases
def test_timeline_groups_events_by_day_and_page(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat(heartbeat_interval_seconds=86400 * 7)
    for version in ("16.0", "17.0", "18.0", "19.0"):
        receiver.post("/heartbeat", json={**beat, "odoo_version": version})
        clock.advance(43200)

    first = "/timeline?limit=3"
    second = link(receiver, first, rel="next")

    assert [
        "Monday, 2 February 2026 (UTC)",
        *("00:00:00", "was upgraded"),
        "Sunday, 1 February 2026 (UTC)",
        *("12:00:00", "was upgraded"),
        *("00:00:00", "was upgraded"),
    ] == timeline_of(receiver, first)
    assert ["Saturday, 31 January 2026 (UTC)", "12:00:00", "joined the fleet"] == timeline_of(
        receiver, second
    )
    assert 'rel="next"' not in receiver.get(second).text
    assert first == link(receiver, second, rel="first")
    assert 'rel="' not in receiver.get("/timeline").text.split("<body")[1]


@pytest.mark.both_databases
def test_timeline_filters_by_kind_and_server(receiver: httpx.Client) -> None:
    for name in ("a", "b/c"):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=name))
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=name, odoo_version="20.0"))
    receiver.delete("/servers/b%2Fc")

    both = receiver.get("/timeline?kind=registered&kind=upgraded&server_id=").text
    one = receiver.get("/timeline?kind=deleted&server_id=b/c").text

    assert ["was upgraded", "joined the fleet"] * 2 == says(both)
    for shown in (
        'href="timeline?kind=registered" aria-current="true">Was upgraded<',
        'href="timeline?kind=registered&amp;kind=upgraded&amp;kind=moved">Moved<',
        'href="timeline">Everything<',
        'href="events?kind=registered&amp;kind=upgraded">JSON<',
    ):
        assert shown in both
    assert ["was forgotten"] == says(one)
    for shown in (
        "<title>Timeline of b/c · Odoo MCP Fleet</title>",
        'href="timeline?kind=deleted"><span class="unseen">Remove',
        '<input type="hidden" name="kind" value="deleted">',
        'name="server_id" value="b/c"',
        'href="timeline">Clear all filters<',
    ):
        assert shown in one
    assert [] == says(receiver.get("/timeline?since=2026-02-01T00:00:00Z").text)


def test_empty_timeline_explains_what_to_do(receiver: httpx.Client) -> None:
    assert "Show how to connect it" in receiver.get("/timeline").text
    assert "No event matches all of these filters" in receiver.get("/timeline?kind=down").text
    receiver.post("/heartbeat", json=messages.heartbeat())
    (event,) = receiver.get("/events").json()["events"]
    beyond = receiver.get("/timeline", params={"cursor": write_event_cursor(event["id"])})
    assert "Nothing older is remembered" in beyond.text


def test_invalid_timeline_parameter_is_explained(
    receiver: httpx.Client,
) -> None:
    answer = receiver.get("/timeline?kind=x&cursor=y&since=z&q=a")

    assert (400, "text/html; charset=utf-8") == said(answer)
    for name in ("kind", "cursor", "since", "q"):
        assert f"<code><bdi>{name}</bdi></code>" in answer.text


@pytest.mark.both_databases
@pytest.mark.parametrize(("path", "room"), [("/", 12), ("/server/acme_web-1", 30)])
def test_pages_link_to_events_that_they_leave_out(
    receiver: httpx.Client, path: str, room: int
) -> None:
    for n in range(room):
        receiver.post("/heartbeat", json=messages.heartbeat(odoo_version=f"{n}"))
    assert "Older events" not in receiver.get(path).text
    receiver.post("/heartbeat", json=messages.heartbeat(odoo_version="last"))

    page = receiver.get(path)
    every, older = (
        receiver.get(urljoin(str(page.url), html.unescape(address))).text
        for address in re.findall(r'href="([^"]+)">(?:Show all<|Older events<)', page.text)
    )

    assert ["was upgraded"] * room == says(page.text)
    assert says(page.text)[:50] == says(every)[:room]
    assert ["joined the fleet"] == says(older)


@pytest.mark.both_databases
def test_page_of_a_deleted_server_links_to_its_events(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a/b"))
    receiver.delete("/servers/a%2Fb")

    gone = receiver.get("/server/a%2Fb")
    timeline = receiver.get(urljoin(str(gone.url), address(gone.text, of="timeline[?]")))

    assert ["was forgotten", "joined the fleet"] == says(timeline.text)


@pytest.mark.both_databases
def test_rebuilt_server_and_its_successor_link_to_each_other(
    receiver: httpx.Client, clock: Clock
) -> None:
    old = messages.heartbeat(database_uuid="u")
    new = {**old, "server_id": "acme_web-2", "hostname": "web-2"}
    receiver.post("/heartbeat", json=old)
    wait_until(lambda: is_told_later(receiver, clock, "became late"))
    receiver.post("/heartbeat", json=new)
    wait_until(lambda: listed(receiver, "/") == ["acme_web-2"])

    successor = receiver.get("/server/acme_web-2").text

    assert ["acme_web-1"] == listed(receiver, "/?state=superseded")
    assert ("1", "0") == (
        facet(receiver.get("/").text, "state")["superseded"],
        facet(receiver.get("/?stage=dev").text, "state")["superseded"],
    )
    assert ">1 server found<" in receiver.get("/?state=superseded").text
    superseded = receiver.get("/server/acme_web-1").text
    assert re.search('rebuilt or moved: <a href="../server/acme_web-2".*noticed', superseded)
    assert "<title>acme: superseded" in superseded
    parts = re.findall('id="(superseded|labels-and-note|past)"', superseded)
    assert ["superseded", "labels-and-note", "past"] == parts
    for page in (superseded, receiver.get("/?state=superseded").text):
        assert '<span class="state superseded"' in page
        assert '<span class="state late"' not in page
    assert "was rebuilt" in [said for said, _ in events(receiver, "/server/acme_web-2")]
    assert '<a href="../server/acme_web-1"' in successor
    topics = receiver.get("/timeline").text
    (changes,) = re.findall(r'href="([^"]+)"[^>]*>All changes<', topics)
    assert "was rebuilt" in receiver.get(f"/{html.unescape(changes)}").text


@pytest.mark.both_databases
def test_twins_link_to_each_other(receiver: httpx.Client, clock: Clock) -> None:
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
    assert "</a> <small>has a twin</small>" in receiver.get("/").text


def timeline_of(receiver: httpx.Client, path: str) -> list[str]:
    """The days of a timeline page, and time and text of each event."""
    part = r'(?:<h3 class="day" [^>]+|<p class="at"><time [^>]+|<span class="says")>([^<]+)<'
    return re.findall(part, receiver.get(path).text)


def events(receiver: httpx.Client, path: str) -> list[tuple[str, str]]:
    """Text and age of each event on a page."""
    event = r'<span class="says">([^<]+)</span> <span class="when"><time [^>]+>([^<]+)<'
    return re.findall(event, receiver.get(path).text)


def is_told_later(receiver: httpx.Client, clock: Clock, what: str) -> bool:
    """Whether the front page shows an event ten seconds later."""
    clock.advance(10)
    return what in [said for said, _ in events(receiver, "/")]


def news(page: str) -> str:
    """The part of the front page with what is new."""
    return page[page.index('id="news"') :]
