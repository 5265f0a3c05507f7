"""The pages in a browser, while heartbeats arrive."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

import messages
from browsing import Reader
from looking import faults, fits, listed, serious
from receiver.domain.filter_text import FilterText
from servers import PATIENCE_SECONDS, Clock, wait_until

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'; DROP TABLE servers; --",
    "right\u202eto\u202dleft\u2067marks",
    "{{ 7 * 7 }} ${7*7} %s \\u0041",
    "w" * 255,
    "\N{PILE OF POO} &amp; &lt;b&gt;",
]
BLANK = [" ", "\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}", "\N{ZERO WIDTH SPACE}"]


def test_list_fills_while_heartbeats_arrive(reader: Reader, receiver: httpx.Client) -> None:
    page = reader.open()
    expect(page.get_by_role("heading", name="No server has phoned home yet")).to_be_visible()
    stays = reload_check(page)

    for n in range(3):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"s{n}", database=f"db{n}"))
        expect(page.get_by_role("rowheader", name=f"db{n}")).to_be_visible()

    expect(page.get_by_role("status").get_by_text("3 servers")).to_be_visible()
    expect(listed(page)).to_have_text(["db0", "db1", "db2"])
    assert stays()


@pytest.mark.parametrize(("motion", "expected"), [("no-preference", "pulse"), ("reduce", "none")])
def test_live_connection_pulses_unless_no_motion_is_wanted(
    reader: Reader, motion: Any, expected: str
) -> None:
    page = reader.open(reduced_motion=motion)
    connection = page.locator("#connection")
    expect(connection).to_have_text("Live")

    name = "element => getComputedStyle(element, '::before').animationName"
    assert expected == connection.evaluate(name)


def test_silent_server_turns_late_then_down_on_an_open_page(
    reader: Reader, receiver: httpx.Client, clock: Clock
) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n}") for n in range(3)]
    receiver.post("/heartbeats", json=fleet)
    page, server = reader.open(), reader.open("/server/s1")
    expect(state_of(page, "db1")).to_have_text("up")
    stays = [reload_check(each) for each in (page, server)]

    def goes_on_until(state: str, *, minutes: int) -> None:
        """Advance the clock, with a heartbeat a minute of all servers but one; it gets there."""
        for _ in range(minutes):
            clock.advance(60)
            receiver.post("/heartbeats", json=[fleet[0], fleet[2]])
        expect(state_of(page, "db1")).to_have_text(state)
        expect(server.locator("#title .state")).to_have_text(state)

    goes_on_until("late", minutes=3)
    expect(page.get_by_role("link", name="Late 1", exact=True)).to_be_visible()
    goes_on_until("down", minutes=5)
    expect(page.get_by_role("link", name="Down 1")).to_be_visible()
    expect(page).to_have_title("1 down · Odoo MCP Fleet")
    expect(server.locator("#timeline .says").first).to_have_text("went down")
    assert ["up", "up"] == [state_of(page, name).text_content() for name in ("db0", "db2")]

    receiver.post("/heartbeat", json=fleet[1])
    expect(state_of(page, "db1")).to_have_text("up")
    expect(server.locator("#timeline .says").first).to_contain_text("is back after")
    assert all(stay() for stay in stays)


def test_search_updates_while_typing_and_is_in_the_address(
    reader: Reader, receiver: httpx.Client
) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n}") for n in range(12)]
    receiver.post("/heartbeats", json=fleet)
    page = reader.open()
    stays = reload_check(page)

    page.get_by_role("searchbox").press_sequentially("db1")
    expect(page.get_by_text("3 servers found")).to_be_visible()

    expect(page).to_have_url(f"{reader.url}/?query=db1")
    expect(listed(page)).to_have_text(["db1", "db10", "db11"])
    assert stays()
    assert ["db1", "db10", "db11"] == databases(reader.open("/?q=db1"))


def test_focus_and_input_survive_a_live_update(reader: Reader, receiver: httpx.Client) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n}") for n in range(1, 40)]
    receiver.post("/heartbeats", json=fleet)
    page = reader.open()
    page.locator("summary", has_text="State").click()
    link = page.locator("#servers").get_by_role("link", name="db9", exact=True)
    link.focus()
    page.get_by_role("searchbox").evaluate("field => field.value = 'not sent yet'")
    place = top_of(link)

    receiver.post("/heartbeat", json=messages.heartbeat(server_id="s0", database="db0"))
    expect(page.get_by_role("status").get_by_text("40 servers")).to_be_visible()

    expect(link).to_be_focused()
    expect(page.locator("#facets").get_by_text("superseded").first).to_be_hidden()
    expect(page.get_by_role("searchbox")).to_have_value("not sent yet")
    wait_until(lambda: abs(place - top_of(link)) <= 1)  # the browser scrolls in its next frame


def test_list_is_narrowed_by_choosing(reader: Reader, receiver: httpx.Client, clock: Clock) -> None:
    for n in range(4):
        changed = {"odoo_version": f"{17 + n % 2}.0", "odoo_stage": ["dev", "production"][n // 2]}
        beat = messages.heartbeat(server_id=f"s{n}", database=f"db{n}", **changed)
        receiver.post("/heartbeat", json=beat)
        clock.advance(1)
    page = reader.open()
    facets = page.locator("#facets")

    page.get_by_label("Sort").select_option("Heard last first")
    expect(page).to_have_url(f"{reader.url}/?sort=-last_seen")
    expect(listed(page)).to_have_text(["db3", "db2", "db1", "db0"])
    facets.get_by_role("link", name="18.0", exact=True).click()
    expect(page).to_have_url(f"{reader.url}/?query=odoo%3A18.0&sort=-last_seen")
    expect(listed(page)).to_have_text(["db3", "db1"])
    facets.get_by_role("link", name="production", exact=True).click()
    expect(listed(page)).to_have_text(["db3"])
    page.get_by_role("link", name="Remove the filter odoo: 18.0").click()
    expect(listed(page)).to_have_text(["db3", "db2"])
    facets.get_by_role("link", name="not production").click()
    expect(listed(page)).to_have_text(["db1", "db0"])
    page.get_by_label("Name of the view").fill("Others")
    page.get_by_role("button", name="Save this view").click()
    expect(page.get_by_role("link", name="Others")).to_have_attribute("aria-current", "true")
    page.get_by_role("link", name="Clear all filters").click()
    expect(listed(page)).to_have_count(4)
    page.get_by_role("link", name="Database").click()
    expect(listed(page)).to_have_text(["db0", "db1", "db2", "db3"])
    expect(page.get_by_role("columnheader", name="Database")).to_have_attribute(
        "aria-sort", "ascending"
    )
    page.get_by_role("link", name=re.compile("Down 0")).click()
    expect(page.get_by_text("No server matches all of these filters")).to_be_visible()
    page.locator("#servers").get_by_role("link", name="Clear all filters").click()
    expect(listed(page)).to_have_count(4)
    page.get_by_role("link", name="Others").click()
    expect(listed(page)).to_have_text(["db1", "db0"])


def test_view_is_saved_with_the_filter_that_is_typed_by_then(
    reader: Reader, receiver: httpx.Client
) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n}") for n in range(12)]
    receiver.post("/heartbeats", json=fleet)
    page = reader.open()
    search = page.get_by_role("searchbox").first
    search.press_sequentially("db1")
    expect(listed(page)).to_have_count(3)
    page.get_by_label("Name of the view").fill("Eleven")

    search.press("End")
    search.press_sequentially("1")
    expect(listed(page)).to_have_text(["db11"])
    expect(page.get_by_label("Name of the view")).to_have_value("Eleven")
    page.get_by_role("button", name="Save this view").click()

    expect(page.get_by_role("link", name="Eleven")).to_have_attribute("aria-current", "true")
    expect(page).to_have_url(f"{reader.url}/?query=db11")
    page.get_by_role("button", name="Delete this view").click()
    expect(page.locator("#views")).to_have_count(0)


def test_filter_is_explained_while_it_is_being_typed(
    reader: Reader, receiver: httpx.Client
) -> None:
    for n in range(3):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"s{n}", database=f"db{n}"))
    page = reader.open()
    stays = reload_check(page)

    page.get_by_role("searchbox").press_sequentially("database:")
    expect(page.get_by_role("alert")).to_contain_text("database: has an empty value.")
    page.get_by_role("searchbox").press_sequentially("db1,db2")
    expect(listed(page)).to_have_text(["db1", "db2"])
    expect(page.get_by_role("alert")).to_have_count(0)

    assert stays()
    reader.expect_complaint("400")


def test_more_than_twenty_rows_fit_on_a_screen(reader: Reader, receiver: httpx.Client) -> None:
    fleet = [
        messages.heartbeat(
            server_id=f"customer-{n:03}_odoo-{n:03}.eu.example.com",
            database=f"customer-{n:03}-production",
            hostname=f"odoo-{n:03}.eu.example.com",
        )
        for n in range(60)
    ]
    receiver.post("/heartbeats", json=fleet)
    page = reader.open()

    bottoms = page.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => row.getBoundingClientRect().bottom)"
    )

    assert sum(bottom <= 900 for bottom in bottoms) >= 20
    assert fits(page)
    for width in (1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert fits(page)
        page.get_by_role("link", name="Filters", exact=True).click()
        expect(page.locator("#facets")).to_be_in_viewport()


@pytest.mark.parametrize("width", [1440, 1290, 1024])
def test_list_and_news_cut_nothing_off_and_leave_no_hole(
    reader: Reader, receiver: httpx.Client, clock: Clock, width: int
) -> None:
    fleet = [
        messages.heartbeat(server_id=f"s{n}", database=f"ironbridge-feature-47045{n}")
        for n in range(40)
    ]
    receiver.post("/heartbeats", json=fleet)
    alone = messages.heartbeat(server_id="alone", database="blue-harbor-staging-8413034")

    def are_down() -> bool:
        """Whether the list says of all others for how long they are down, 20 seconds later."""
        clock.advance(20)
        receiver.post("/heartbeat", json=alone)
        return receiver.get("/").text.count('<small class="turned">down') == len(fleet)

    wait_until(are_down)
    clock.advance(600)
    page = reader.open(width=width)
    expect(page.locator("#list tbody tr")).to_have_count(41)
    expect(page.locator("#news .who", has_text="blue-harbor")).to_have_count(1)

    for cell in page.locator('td[data-label="Last seen"]').all():
        assert cell.evaluate(
            "cell => [...cell.querySelectorAll('time')].every(time =>"
            " time.getBoundingClientRect().right <= cell.getBoundingClientRect().right)"
        )
    for name in page.locator("#news .who").all():
        assert name.evaluate(
            "name => name.scrollWidth <= name.clientWidth && name.scrollHeight <= name.clientHeight"
        )
    facets, news = (page.locator(part).bounding_box() for part in ("#facets", "#news"))
    assert facets is not None
    assert news is not None
    assert 0 < news["y"] - (facets["y"] + facets["height"]) < 30


@pytest.mark.usefixtures("past")
def test_states_in_the_list_are_shown_whole(reader: Reader) -> None:
    for query in ("", "?query=state:superseded"):
        page = reader.open(f"/{query}")
        hidden = page.locator("#servers tbody td:first-child").evaluate_all(
            "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth)"
            ".map(cell => cell.innerText)"
        )

        expect(page.locator("#servers tbody .state").first).to_be_visible()
        assert hidden == []


def test_pages_of_the_list_can_be_turned_and_are_updated(
    reader: Reader, receiver: httpx.Client
) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n:03}", database=f"db{n:03}") for n in range(120)]
    receiver.post("/heartbeats", json=fleet)
    page = reader.open()

    expect(listed(page)).to_have_text([f"db{n:03}" for n in range(50)])
    page.get_by_role("link", name="Next page").click()
    expect(listed(page)).to_have_text([f"db{n:03}" for n in range(50, 100)])
    page.get_by_role("link", name="Next page").click()
    expect(listed(page)).to_have_text([f"db{n:03}" for n in range(100, 120)])
    page.get_by_role("link", name="Previous page").click()
    expect(listed(page)).to_have_text([f"db{n:03}" for n in range(50, 100)])
    page.get_by_role("link", name="Next page").click()
    expect(listed(page)).to_have_count(20)
    receiver.delete("/servers/s110")
    expect(page.get_by_role("rowheader", name="db110")).to_have_count(0)
    expect(listed(page)).to_have_count(19)
    page.get_by_role("link", name="First page").click()
    expect(page).to_have_url(f"{reader.url}/")
    expect(listed(page)).to_have_text([f"db{n:03}" for n in range(50)])


def test_row_links_to_the_server_and_back(reader: Reader, receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a/b c?d#e", database="acme"))
    page = reader.open()

    page.locator("#servers").get_by_role("link", name="acme", exact=True).click()
    expect(page.get_by_role("heading", name="acme", level=1)).to_be_visible()
    expect(page).to_have_url(f"{reader.url}/server/a%2Fb%20c%3Fd%23e")
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a/b c?d#e", odoo_version="20.0"))
    expect(page.locator('[data-field="odoo_version"] dd')).to_have_text("20.0")
    expect(page.locator("#timeline .says").first).to_have_text("was upgraded")
    page.get_by_role("link", name="All servers").click()
    expect(listed(page)).to_have_text(["acme"])


def test_page_of_a_server_shows_its_deletion_and_its_return(
    reader: Reader, receiver: httpx.Client
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    page = reader.open("/server/acme_web-1")
    expect(page.locator("#connection")).to_have_text("Live")

    receiver.delete("/servers/acme_web-1")
    expect(page.get_by_role("heading", name="There is no such server")).to_be_visible()
    receiver.post("/heartbeat", json=messages.heartbeat())
    expect(page.get_by_role("heading", name="acme", level=1)).to_be_visible()
    reader.expect_complaint("404")


def test_lost_connection_is_marked_and_restored(reader: Reader, receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    page = reader.open()
    expect(page.locator("#connection")).to_have_text("Live")

    page.context.set_offline(True)
    receiver.post("/heartbeat", json=messages.heartbeat(odoo_version="20.0"))
    expect(page.locator("#connection")).to_have_text("Disconnected")
    expect(listed(page)).to_have_text(["acme"])
    page.context.set_offline(False)
    expect(page.get_by_role("cell", name="20.0")).to_be_visible()
    expect(page.locator("#connection")).to_have_text(re.compile("Live|Every 30 s"))
    reader.expect_complaint("ERR_INTERNET_DISCONNECTED")


def test_page_reloads_when_the_database_is_available_again(
    reader: Reader, receiver: httpx.Client, tmp_path: Path
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    rename(tmp_path, "servers", "gone")
    page = reader.open()
    expect(page.get_by_role("heading", name="The fleet cannot be read right now")).to_be_visible()

    rename(tmp_path, "gone", "servers")
    expect(page.get_by_role("rowheader", name="acme")).to_be_visible()
    reader.expect_complaint("503")


def test_pages_work_without_javascript(reader: Reader, receiver: httpx.Client) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n}") for n in range(60)]
    receiver.post("/heartbeats", json=fleet)
    page = reader.open(java_script_enabled=False)

    expect(listed(page)).to_have_count(50)
    expect(page.locator("#connection")).to_be_hidden()
    assert 0 == page.locator("meta[http-equiv]").count()
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="new", database="a new one"))
    page.get_by_role("link", name="Refresh").click()
    expect(page.get_by_role("rowheader", name="a new one")).to_be_visible()
    receiver.delete("/servers/new")
    page.get_by_role("searchbox").fill("db5")
    page.get_by_role("button", name="Search").click()
    expect(listed(page)).to_have_count(11)
    page.get_by_role("link", name="Clear all filters").click()
    page.get_by_role("link", name="Next page").click()
    expect(listed(page)).to_have_count(10)
    page.locator("tr", has_text="db9").get_by_role("link", name="tools").click()
    expect(page.get_by_text("sale_order_create").first).to_be_visible()
    expect(page.get_by_role("heading", name="db9", level=1)).to_be_visible()
    page.get_by_role("link", name="Timeline").click()
    expect(page.locator("#happened .says")).to_have_text(["was forgotten", "joined the fleet"])
    page.get_by_role("link", name="Show each event").click()
    expect(page.locator("#happened .says")).to_have_count(50)
    page.get_by_role("link", name="Older events").click()
    expect(page.locator("#happened .says")).to_have_count(12)
    page.get_by_text("Kinds of events").click()
    page.get_by_role("link", name="Was forgotten").click()
    expect(page.locator("#happened .who")).to_have_text("new")
    page.get_by_role("searchbox").fill("s9")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No event matches all of these filters")).to_be_visible()
    page.get_by_role("link", name="Remove the filter Servers: s9").click()
    expect(page).to_have_url(f"{reader.url}/timeline?grouped=false&kind=deleted")
    page.goto(f"{reader.url}/server/nobody")
    expect(page.get_by_text("This page shows it as soon as it does")).to_be_hidden()
    reader.expect_complaint("404")


def test_open_timeline_is_updated(reader: Reader, receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    pages = [reader.open("/timeline"), reader.open("/timeline?kind=upgraded")]
    stays = [reload_check(each) for each in pages]
    every, upgraded = pages
    expect(every.locator("#happened .says")).to_have_text(["joined the fleet"])

    receiver.post("/heartbeat", json=messages.heartbeat(hostname="web-2"))
    expect(every.locator("#happened .says")).to_have_text(["moved", "joined the fleet"])
    receiver.post("/heartbeat", json=messages.heartbeat(odoo_version="20.0", hostname="web-2"))
    expect(upgraded.locator("#happened .says")).to_have_text(["was upgraded"])
    assert all(stay() for stay in stays)
    every.get_by_role("searchbox").fill("database:acme")
    every.get_by_role("searchbox").press("Enter")
    expect(every).to_have_url(f"{reader.url}/timeline?query=database%3Aacme")
    expect(every.locator("#happened .who").first).to_have_text("acme web-1")


@pytest.mark.parametrize("width", [1440, 390])
def test_invisible_names_can_be_clicked(reader: Reader, receiver: httpx.Client, width: int) -> None:
    for n, name in enumerate(BLANK):
        for server_id in (name, f"{n}"):
            beat = messages.heartbeat(server_id=server_id, database=name, capabilities=[name])
            told = {"hostname": name, "odoo_stage": name, "odoo_version": name}
            receiver.post("/heartbeat", json={**beat, **told})
    page = reader.open(width=width)

    assert sorted([*"012", *["(blank)"] * 3]) == sorted(databases(page))
    assert [] == faults(page, "link-name", "empty-table-header", "empty-heading")
    for path in ("/?stage=+", "/timeline", "/timeline?server_id=+"):
        page.goto(f"{reader.url}{path}")
        assert [] == faults(page, "link-name", "empty-table-header", "empty-heading")
    page.get_by_role("link", name="(blank)").first.click()
    expect(page.get_by_role("heading", name="(blank)", level=1)).to_be_visible()
    assert [] == faults(page, "link-name", "empty-table-header", "empty-heading")


@pytest.mark.parametrize("width", [1440, 390])
def test_hostile_names_are_shown_as_text(
    reader: Reader, receiver: httpx.Client, width: int
) -> None:
    for n, name in enumerate(HOSTILE):
        known = messages.heartbeat(server_id=f"{n}{name}"[:255], database=name)
        receiver.post("/heartbeat", json=known)
        changed = {"hostname": name, "capabilities": [name[:200], "b"], "odoo_stage": name}
        answer = receiver.post("/heartbeat", json={**known, **changed, "odoo_version": name})
        assert 200 == answer.status_code
    page = reader.open(width=width)

    assert sorted(map(marked, HOSTILE)) == sorted(databases(page))
    assert fits(page)
    for n, name in enumerate(HOSTILE):
        seen, seen_id = marked(name), marked(f"{n}{name}"[:255])
        page.goto(f"{reader.url}/?{httpx.QueryParams({'stage': name, 'q': name})}")
        assert [seen] == databases(page)
        text = page.locator("input[type=search][name=query]").input_value()
        assert FilterText(stage=(name,), words=(name,)) == FilterText.parse(text)
        assert fits(page)
        page.goto(f"{reader.url}/?{httpx.QueryParams({'query': text})}")
        assert [seen] == databases(page)
        page.get_by_role("rowheader").get_by_role("link").click()
        expect(page.locator("h1")).to_have_text(seen)
        expect(page.locator('[data-field="server_id"] dd')).to_have_text(seen_id)
        expect(page).to_have_title(f"{seen}: up · Odoo MCP Fleet")
        assert fits(page)
        page.get_by_role("link", name="Show all").click()
        expect(page).to_have_title(re.compile(re.escape(f"Timeline of {seen_id}"[:267])))
        expect(page.locator("#happened .says").last).to_have_text("joined the fleet")
        assert fits(page)


@pytest.mark.usefixtures("past")
def test_pages_have_no_serious_accessibility_violation(
    reader: Reader, receiver: httpx.Client
) -> None:
    down = receiver.get("/servers?state=down").json()["servers"][0]["server_id"]
    twin = next(s for s in receiver.get("/servers").json()["servers"] if s.get("twin_of"))
    page = reader.open()
    expect(page.locator("#connection")).to_have_text("Live")

    paths = ["/?limit=5", f"/server/{down}", "/timeline", f"/server/{twin['server_id']}"]
    narrowed = f"/timeline?kind=down&server_id={down}"
    for path in [*paths, narrowed, "/?q=nobody&stage=dev", "/server/nobody", "/?limit=x"]:
        page.goto(f"{reader.url}{path}")
        for details in page.locator("summary").all()[:3]:
            details.click()
        assert [] == serious(page), path
    page.set_viewport_size({"width": 390, "height": 844})
    for path in paths[:3]:
        page.goto(f"{reader.url}{path}")
        assert [] == serious(page), path
        assert fits(page)
    reader.expect_complaint("404")
    reader.expect_complaint("400")


def test_help_is_closed_without_scrolling_on_a_small_screen(reader: Reader) -> None:
    page = reader.open(width=390, height=600)

    page.get_by_role("button", name="Help").click()
    close = page.get_by_role("button", name="Close")
    expect(close).to_be_in_viewport(ratio=1)
    close.click()

    expect(page.get_by_role("dialog")).to_be_hidden()


def test_keyboard_reaches_everything(reader: Reader, receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    page = reader.open()

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id"))
    assert {"tiles", "search", "facets", "servers", "news"} <= reached


def marked(name: str) -> str:
    """A name as pages show it: with visible marks for what would turn the direction of writing."""
    return re.sub(r"[\u202a-\u202e\u2066-\u2069]", lambda each: f"⟨U+{ord(each[0]):04X}⟩", name)


def reload_check(page: Page) -> Callable[[], bool]:
    """A function that returns whether the page has not been reloaded since this call."""
    page.evaluate("window.isStillHere = true")
    return lambda: page.evaluate("window.isStillHere === true") is True


def databases(page: Page) -> list[str]:
    """The names of the listed databases, without waiting."""
    return listed(page).all_text_contents()


def state_of(page: Page, database: str) -> Locator:
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=database, exact=True))
    return row.locator(".state")


def top_of(place: Locator) -> float:
    """The distance of an element from the upper edge of the window, in pixels."""
    box = place.bounding_box()
    assert box is not None
    return box["y"]


def rename(folder: Path, old: str, new: str) -> None:
    with sqlite3.connect(folder / "fleet.db", timeout=PATIENCE_SECONDS) as database:
        database.execute(f"ALTER TABLE {old} RENAME TO {new}")
    database.close()
