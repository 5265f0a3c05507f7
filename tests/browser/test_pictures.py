"""The pictures of the past and the wallboard in a browser."""

import re
from itertools import pairwise

import httpx
from playwright.sync_api import expect

import messages
from browsing import Reader
from looking import fits, serious
from servers import Clock, wait_until

HOSTILE = "<script>document.title='owned'</script>right\u202eto left" + "w" * 180


def test_history_can_be_read_by_everybody(
    reader: Reader, receiver: httpx.Client, clock: Clock
) -> None:
    for n, stage in enumerate(("production", "", HOSTILE)):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"s{n}", odoo_stage=stage))
    clock.advance(150)
    wait_until(lambda: receiver.get("/history.json").json()["slots"][-1]["minutes"] == 2)

    page = reader.open("/history")
    expect(page.get_by_role("heading", name="Late or down")).to_be_visible()
    expect(page.get_by_role("img", name="Stages: 1 of 3 servers now")).to_be_visible()
    assert [] == serious(page)
    page.locator("#figures-stages summary").click()
    expect(page.locator("#figures-stages").get_by_role("columnheader").nth(1)).to_be_visible()
    narrow = reader.open("/history?period=quarter", width=390)
    assert fits(narrow)
    assert [] == serious(narrow)
    assert "owned" not in (page.title(), narrow.title())


def test_pictures_are_in_line_and_the_names_below_them_do_not_touch(
    reader: Reader, receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    clock.advance(60)
    wait_until(lambda: receiver.get("/history.json").json()["slots"][-1]["minutes"] == 2)
    page = reader.open("/history")
    places = "found => found.map(each => each.getBoundingClientRect()).filter(each => each.width)"

    for period in ("day", "week", "quarter"):
        page.goto(f"{reader.url}/history?period={period}")
        for width in (1440, 1024, 390):
            page.set_viewport_size({"width": width, "height": 900})
            names = page.locator("#picture-trouble .times text").evaluate_all(
                f"found => ({places})(found).map(each => [each.left, each.right])"
            )
            (card,) = page.locator("#picture-trouble").evaluate_all(
                f"found => ({places})(found).map(each => [each.left, each.right])"
            )
            edges = [card[0], *(each for name in names for each in name), card[1]]
            assert sorted(edges) == edges, (period, width)
            assert min(b[0] - a[1] for a, b in pairwise(names)) > 3, (period, width)
        page.set_viewport_size({"width": 1440, "height": 900})
        tops = page.locator(".area").evaluate_all(
            f"found => ({places})(found).map(each => each.top)"
        )
        assert tops[0::2] == tops[1::2], period


def test_wall_fits_on_a_screen_that_is_not_high(
    reader: Reader, receiver: httpx.Client, clock: Clock
) -> None:
    names = [f"customer-{n:03}-{'production' if n % 2 else 'main'}" for n in range(120)]
    fleet = [
        messages.heartbeat(
            server_id=name, database=name, odoo_stage=("production", "staging")[n % 2]
        )
        for n, name in enumerate(names)
    ]
    receiver.post("/heartbeats", json=fleet)
    silence = {"query": "stage:staging", "reason": "Upgrade", "duration_seconds": 3600}
    receiver.post("/silences", json=silence).raise_for_status()
    clock.advance(75)
    receiver.post("/heartbeats", json=fleet[:80])
    clock.advance(75)
    receiver.post("/heartbeats", json=fleet[:80])
    wait_until(lambda: receiver.get("/events?kind=late&limit=100").json()["count"] == 40)
    page = reader.open("/wall", width=1366, height=560)
    expect(page.locator(".bricks > .silenced")).to_have_count(20)
    expect(page.locator("#sum .late b")).to_have_text("20")
    assert [] == serious(page)

    def fit() -> float:
        """The size of the groups; asserts that nothing of the page is cut."""
        root = "document.documentElement"
        wait_until(lambda: page.evaluate(f"{root}.scrollHeight <= {root}.clientHeight") is True)
        return float(page.evaluate(f"getComputedStyle({root}).getPropertyValue('--fit') || 1"))

    low = fit()
    page.set_viewport_size({"width": 1366, "height": 2000})
    wait_until(lambda: fit() > 1)
    assert 0.5 <= low < 1


def test_wall_shows_what_is_in_trouble_first_while_states_change(
    reader: Reader, receiver: httpx.Client, clock: Clock
) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n}") for n in range(3)]
    receiver.post("/heartbeats", json=[*fleet, messages.slim(server_id="x", database=HOSTILE)])
    page = reader.open("/wall", width=1920, height=1080)
    tiles = page.locator(".bricks li")
    expect(tiles).to_have_count(4)
    assert [] == serious(page)

    for _ in range(2):  # so that those that send are never late, however long it takes
        clock.advance(75)
        receiver.post("/heartbeats", json=[fleet[0], fleet[2]])
    wait_until(lambda: receiver.get("/events", params={"kind": "late"}).json()["count"] == 2)

    expect(page.locator(".bricks li.late").first).to_contain_text("db1")
    expect(tiles.nth(0)).to_contain_text(re.compile(r"db1\s*late \d+ "))
    expect(page.locator("#sum .late b")).to_have_text("2")
    assert [] == serious(page)
    name = tiles.nth(3).locator("bdi")
    lines = name.evaluate("it => it.clientHeight / parseFloat(getComputedStyle(it).lineHeight)")
    assert 1.5 < lines < 2.5
    expect(tiles.nth(3)).to_have_attribute("title", HOSTILE.replace("\u202e", "⟨U+202E⟩"))
    narrow = reader.open("/wall", width=390)
    assert fits(narrow)
    assert [] == serious(narrow)
    narrow.get_by_role("link", name="Back to the list").click()
    expect(narrow.get_by_role("navigation", name="Pages", exact=True)).to_be_visible()
