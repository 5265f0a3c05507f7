"""The timeline: what happened together is one line, which leads to its events."""

import html
import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from page_reading import MAX_PAGE_BYTES, says
from servers import Clock
from watched import Watched

LONG = "\N{PILE OF POO}"


def plain(part: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", part)).split())


def groups(page: str) -> list[str]:
    found = re.findall(r'<li data-key="group-.*?</li>', page, re.DOTALL)
    return [plain(each) for each in found]


def later(receiver_clock: Clock, fleet: Watched, seconds: float, *alive: str) -> None:
    fleet.go_on(seconds, *alive, every=50)
    receiver_clock.now = fleet.now


def test_outage_is_a_timeline_line_that_links_to_its_events(
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
    assert ["became late"] * 6 == says(which)


def test_timeline_without_grouping_shows_each_event(receiver: httpx.Client, fleet: Watched) -> None:
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
    fleet.beat("a", version="1", hostname="a")
    fleet.beat("a", version="2")
    later(clock, fleet, 9000, "a")
    fleet.beat("a", hostname="b")

    page = receiver.get("/timeline?grouped=false").text
    links = dict(
        re.findall(r'<li data-key="(?:topic|period)-([^"]+)"[^>]*><a [^>]*href="([^"]+)"', page)
    )
    told = {name: receiver.get("/" + html.unescape(link)).text for name, link in links.items()}
    changes, recent = told["All changes"], told["Last hour"]

    assert ["moved", "was upgraded"] == says(changes)
    assert 'aria-current="true" title="Was upgraded, Restarted, Moved,' in changes
    assert ["moved"] == says(recent)
    assert "From: 2026-01-31 13:30:00 UTC" in plain(recent)
    assert ["was upgraded"] == says(told["Upgrades"])
    assert "Clear all filters" not in told["Upgrades"]  # as "Everything" beside it does
    assert "Clear all filters" in recent
    assert [] == says(told["Tools changed"]) == says(told["Yesterday"])
    assert 3 == len(says(told["Today"])) == len(says(told["Last 24 hours"]))


def test_timeline_period_is_chosen_to_the_minute(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a", hostname="a")
    for n in range(3):
        later(clock, fleet, 3600, "a")
        fleet.beat("a", hostname=f"{n}")

    page = receiver.get("/timeline?since=2026-01-31T13:30&until=2026-01-31T14:00:00.5&query=").text
    same = receiver.get(
        "/timeline?since=2026-01-31T15:30:00%2B02:00&until=2026-01-31T14:00:00.5Z"
    ).text
    every = receiver.get("/timeline?until=9999-12-31T23:59:59.999999Z").text

    assert ["moved"] == says(page) == says(same)
    assert ["2026-01-31T13:30:00", "2026-01-31T14:00:01"] == fields(page) == fields(same)
    assert "From: 2026-01-31 13:30:00 UTC" in plain(page)
    assert "To: 2026-01-31 14:00:01 UTC" in plain(page)
    assert 'href="events?since=2026-01-31T13%3A30%3A00Z&amp;' in page
    assert (4, ["", "9999-12-31T23:59:59"]) == (len(says(every)), fields(every))
    assert 400 == receiver.get("/timeline?since=2026-01-31").status_code
    reversed_period = "since=2026-02-01T00:00&until=2026-01-31T00:00"
    assert "ends before it begins" in receiver.get(f"/timeline?{reversed_period}").text


def test_timeline_group_shows_old_and_new_values(receiver: httpx.Client, fleet: Watched) -> None:
    for n in range(6):
        fleet.beat(f"s{n}", odoo_version="18.0" if n else "17.0", capabilities=("a", "b"))
    for n in range(6):
        fleet.beat(f"s{n}", odoo_version="19.0", capabilities=("a", "c", *(["d"] if n else [])))

    told = " ".join(groups(receiver.get("/timeline").text))

    assert "tools changed: +2 \N{MINUS SIGN}1 Added c, d (5) Removed b" in told
    assert "were upgraded Odoo 18.0 → 19.0 (5), 17.0 → 19.0 (1)" in told
    assert "s5 , s4 , s3 , and 3 more" in told
    assert "18.0 → 19.0 (5)" in " ".join(groups(receiver.get("/").text))


def test_timeline_group_of_few_servers_says_what_changed_of_each(
    receiver: httpx.Client, fleet: Watched
) -> None:
    for n in range(3):
        fleet.beat(f"s{n}", database=f"acme-{n}", version="1.4" if n else "1.3", odoo_stage="dev")
    for n in range(3):
        fleet.beat(f"s{n}", version="1.5")
    for n in range(3):
        fleet.beat(f"s{n}", odoo_stage="production")

    stages, versions, joined = groups(receiver.get("/timeline").text)

    each = [f"acme-{n} MCP server 1.{'4' if n else '3'} → 1.5" for n in (2, 1, 0)]
    assert " ".join(each) in versions
    assert "(2)" not in versions
    assert "Stage dev → production acme-2 , acme-1 , acme-0 Show each event" in stages
    assert joined.endswith("acme-0 Show each event : 3 servers joined the fleet")
    assert "acme-0 MCP server 1.3 → 1.5" in " ".join(groups(receiver.get("/").text))


def test_recent_periods_of_the_timeline_are_marked_when_they_are_shown(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a")

    page = receiver.get("/timeline").text
    chip = r'data-key="period-([^"]+)"[^>]*><a class="chip" href="([^"]+)"'
    links = dict(re.findall(chip, page))
    current = {
        name: re.findall(
            r'data-key="period-([^"]+)"[^>]*><a [^>]*aria-current="true"',
            receiver.get("/" + html.unescape(link)).text,
        )
        for name, link in links.items()
    }

    assert {name: [name] for name in links} == current
    assert "since=2026-01-30T20%3A00%3A00Z&until=2026-01-31T08%3A00%3A00Z" in html.unescape(
        links["Last night"]
    )
    assert 'data-hours="-4 8">Last night<' in page
    assert [] == re.findall(r'data-key="period-[^>]*><a [^>]*aria-current', page)


def test_kinds_of_events_stay_folded_and_are_told_beside_the_other_filters(
    receiver: httpx.Client, fleet: Watched
) -> None:
    fleet.beat("a")

    one = receiver.get("/timeline?kind=registered").text
    topic = receiver.get("/timeline?kind=upgraded").text

    assert '<details class="filters">' in one
    assert "Remove the filter Kind: Joined the fleet" in plain(one)
    assert "Kind: " not in plain(topic)


def test_servers_are_called_and_found_by_their_databases(
    receiver: httpx.Client, fleet: Watched
) -> None:
    for n in range(6):
        name = {"database": f"acme-{n}"} if n else {}
        fleet.beat(f"s{n}", odoo_stage="staging" if n == 4 else "production", **name)
    fleet.beat("s1", status="uninstalled")

    page = receiver.get("/timeline").text
    assert "acme-5 , acme-4 , acme-3 , and 3 more" in groups(page)[0]
    found = receiver.get("/timeline?query=acme-1").text
    assert ["left", "joined the fleet"] == says(found)
    assert "<bdi>acme-1</bdi></a> <small><bdi>s1</bdi></small>" in found
    assert "Servers: acme-1" in plain(found)
    assert 'href="events?query=acme-1"' in found
    some = receiver.get("/timeline?query=stage:production")
    link = re.search(r'href="([^"]+)"><b>5 servers</b>', some.text)
    assert link is not None
    opened = receiver.get(urljoin(str(some.url), html.unescape(link[1]))).text
    assert ["joined the fleet"] * 5 == says(opened)
    assert 1 + 6 == len(says(receiver.get("/timeline?query=+&grouped=false").text))
    assert ["left", "registered"] == kinds(receiver, "query=acme-1")
    assert ["registered"] == kinds(receiver, "query=stage:staging")


def test_what_changed_with_many_servers_is_told_in_their_line(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    servers = [f"s{n}" for n in range(8)]
    fleet.beat(*servers, heartbeat_interval_seconds=3600)
    later(clock, fleet, 120)
    fleet.beat(*servers, heartbeat_interval_seconds=60)

    newest, *_ = groups(receiver.get("/timeline").text)

    assert "8 servers details changed Heartbeat interval 1 h → 1 min" in newest


def test_id_beside_a_database_does_not_repeat_its_name(
    receiver: httpx.Client, fleet: Watched
) -> None:
    fleet.beat("acme_web-1", "acme_", "copy", database="acme")

    page = receiver.get("/timeline?grouped=false").text

    assert ["acme_", "copy", "web-1"] == sorted(re.findall("</a> <small><bdi>([^<]+)<", page))


def test_timeline_filter_that_matches_nothing_or_is_invalid_is_explained(
    receiver: httpx.Client, fleet: Watched
) -> None:
    fleet.beat("a")
    fleet.store.servers.delete("a", fleet.now)

    page = receiver.get("/timeline?query=a")
    link = re.search(r'href="([^"]+)">Look for this ID', page.text)
    assert link is not None
    gone = receiver.get(urljoin(str(page.url), html.unescape(link[1]))).text
    unread = receiver.get("/timeline?query=colour:red")

    assert ["was forgotten", "joined the fleet"] == says(gone)
    assert (400, ["was forgotten", "joined the fleet"]) == (unread.status_code, says(unread.text))
    assert "is no name that a filter knows" in html.unescape(unread.text)
    assert 'value="colour:red"' in unread.text
    for query, status in ((LONG * 300, 400), (f"-label:{'a' * 980}", 200)):
        page = receiver.get("/timeline", params={"query": query})
        assert (status, True) == (page.status_code, len(page.content) <= MAX_PAGE_BYTES)


def fields(page: str) -> list[str]:
    """What the fields for the period hold."""
    return re.findall(r'<input type="datetime-local" name="\w+" value="([^"]*)"', page)


def kinds(receiver: httpx.Client, query: str) -> list[str]:
    return [each["kind"] for each in receiver.get(f"/events?{query}").json()["events"]]


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


def test_timeline_page_of_long_events_reads_only_some_of_them(
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
        assert len(page.content) <= MAX_PAGE_BYTES
        seen += len(says(page.text))
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = following and urljoin(str(page.url), html.unescape(following[1]))

    assert seen == (90 if "grouped" in query else seen)
    assert seen
