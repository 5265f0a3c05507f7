"""The timeline: what happened together is one line, which leads to its events."""

import html
import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from servers import Clock
from watched import Watched

LONG = "\N{PILE OF POO}"


def says(page: str) -> list[str]:
    return re.findall(r'<span class="says">([^<]+)<', page)


def plain(part: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", part)).split())


def groups(page: str) -> list[str]:
    found = re.findall(r'<li data-key="group-.*?</li>', page, re.DOTALL)
    return [plain(each) for each in found]


def later(receiver_clock: Clock, fleet: Watched, seconds: float, *alive: str) -> None:
    fleet.go_on(seconds, *alive, every=50)
    receiver_clock.now = fleet.now


def test_outage_is_a_line_that_leads_to_its_events(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat(*(f"s{n}" for n in range(5)))
    fleet.beat("well")
    later(clock, fleet, 300, "well")

    page = receiver.get("/timeline")
    assert {"group", "event"} == {*re.findall(r'<li data-key="(event|group)-', page.text)}
    assert any("5 servers went down" in each for each in groups(page.text))
    down = page.text[: page.text.index('<span class="says">went down')]
    link = re.findall(r'href="([^"]+)"><b>5 servers</b>', down)[-1]
    opened = receiver.get(urljoin(str(page.url), html.unescape(link))).text
    assert ["went down"] * 5 == says(opened)
    assert "Group what happened together" in opened
    assert 'class="chip remove"' in opened


def test_mass_outage_leads_to_the_servers_that_it_counts(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat(*(f"s{n}" for n in range(6)))
    later(clock, fleet, 200)

    page = receiver.get("/timeline?kind=fleet_silent")

    (said,) = says(page.text)
    assert said.startswith("mass outage: 6 of 6 servers")
    link = re.search(r'href="([^"]+)">Show which servers<', page.text)
    assert link is not None
    which = receiver.get(urljoin(str(page.url), html.unescape(link[1]))).text
    assert ["is late"] * 6 == says(which)


def test_each_event_can_be_asked_for(receiver: httpx.Client, fleet: Watched) -> None:
    fleet.beat(*(f"s{n}" for n in range(4)))

    assert 1 == len(groups(receiver.get("/timeline").text))
    page = receiver.get("/timeline?grouped=false").text
    assert [] == groups(page)
    assert ["joined the fleet"] * 4 == says(page)
    assert 'href="events"' in page
    assert ["joined the fleet"] == says(receiver.get("/timeline?server_id=s1").text)
    assert 400 == receiver.get("/timeline?grouped=maybe").status_code


def test_timeline_is_narrowed_by_topic_and_period(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a")
    fleet.beat("a", odoo_version="20.0")
    later(clock, fleet, 9000, "a")
    fleet.beat("a", hostname="b")

    page = receiver.get("/timeline?grouped=false").text
    links = dict(
        re.findall(r'<li data-key="(?:topic|period)-([^"]+)"[^>]*><a [^>]*href="([^"]+)"', page)
    )
    changes = receiver.get("/" + html.unescape(links["Changes"])).text
    recent = receiver.get("/" + html.unescape(links["Last hour"])).text

    assert ["details changed", "details changed"] == says(changes)
    assert 'aria-current="true" title="Was upgraded, Restarted, Moved,' in changes
    assert ["details changed"] == says(recent)
    assert "Since: <bdi>2026-01-31T13:30:00Z</bdi>" in recent


def test_pages_of_the_grouped_timeline_have_all_events_once(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    for n in range(5):
        fleet.beat("a", odoo_version=f"{n}.0")
        fleet.beat(*(f"s{n}{m}" for m in range(3)))
        later(clock, fleet, 100)

    lines: list[str] = []
    path: str | None = "/timeline?kind=registered&kind=upgraded&limit=4"
    while path is not None:
        page = receiver.get(path)
        found = re.findall(r'<li data-key="(?:event|group)-(\d+)"', page.text)
        assert 4 >= len(found)
        lines += found
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = following and urljoin(str(page.url), html.unescape(following[1]))

    assert 4 + 5 == len(lines) == len({*lines})
    assert sorted(map(int, lines), reverse=True) == [*map(int, lines)]


def test_page_of_long_events_reads_only_some_of_them(
    receiver: httpx.Client, fleet: Watched
) -> None:
    for n in range(50):
        fleet.beat("a", odoo_version=f"{n}".ljust(3000, LONG))

    page = receiver.get("/timeline").text

    assert 50 > len(says(page)) > 10
    assert 'rel="next"' in page


@pytest.mark.parametrize("query", ["?limit=1000", "?limit=1000&grouped=false"])
def test_timeline_of_long_names_is_small_and_leads_on(
    receiver: httpx.Client, fleet: Watched, query: str
) -> None:
    said: dict[str, Any] = {"hostname": LONG * 255, "odoo_version": LONG * 3000}
    for n in range(30):
        server_id = f"{n:02d}".ljust(255, LONG)
        fleet.beat(server_id, database=LONG * 255)
        fleet.beat(server_id, **said)
        fleet.beat(server_id, hostname="other")

    seen = 0
    path: str | None = f"/timeline{query}"
    while path is not None:
        page = receiver.get(path)
        assert 120_000 >= len(page.content)
        seen += len(says(page.text))
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = following and urljoin(str(page.url), html.unescape(following[1]))

    assert seen == (90 if "grouped" in query else seen)
    assert seen
