"""Open pages: what they cost, that they tell when they are old, and how they are read."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from attrs import evolve
from playwright.sync_api import Page, expect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import messages
from browsing import Reader
from looking import fits, listed, serious
from receiver.app import Tuning, create_app
from receiver.web.pages.wording import ago, duration
from servers import ANY_PAUSE_SECONDS, PATIENCE_SECONDS, Clock, receiver_process, serve

BROWSER = b"Chrome"
ICON = "/static/fleet.svg"

# Resolves when the worker that holds the stream has answered what the page asked it before.
WORKER_ANSWERS = """() => new Promise((resolve) => {
    const { worker, stream } = document.body.dataset;
    window.asking ??= new SharedWorker(worker).port;
    window.asking.onmessage = resolve;
    window.asking.postMessage({ isVisible: true, address: new URL(stream, document.baseURI).href });
})"""


class Counted:
    """
    An app of which a test can see what browsers ask for, and what they get.

    The icon of the window does not count: a browser loads it whenever it likes.

    Attributes:
        requests: The paths of their requests, in order.
        sent_bytes: How many bytes they got, as they are sent, with headers and event streams.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests: list[str] = []
        self.sent_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if BROWSER not in headers.get(b"user-agent", b"") or scope.get("path") == ICON:
            await self._app(scope, receive, send)
            return

        async def count(message: Message) -> None:
            self.sent_bytes += len(message.get("body", b""))
            self.sent_bytes += sum(len(n) + len(v) + 4 for n, v in message.get("headers", ()))
            await send(message)

        self.requests.append(scope["path"])
        await self._app(scope, receive, count)

    def forget(self) -> None:
        self.requests.clear()
        self.sent_bytes = 0


@pytest.fixture
def app(database_url: str, clock: Clock) -> Counted:
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    return Counted(
        create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock, tuning=tuning)
    )


@pytest.fixture
def receiver(app: Counted) -> Iterator[httpx.Client]:
    with serve(app) as client:
        client.timeout = httpx.Timeout(PATIENCE_SECONDS)
        yield client


def beats(count: int, **changed: object) -> list[dict[str, object]]:
    return [
        messages.heartbeat(server_id=f"s{n:02}", database=f"db{n:02}", **changed)
        for n in range(count)
    ]


def live(page: Page) -> Page:
    expect(page.locator("#connection")).to_have_text("Live")
    return page


# What it costs


def test_idle_page_asks_at_most_twice_a_minute_and_for_little(
    app: Counted, receiver: httpx.Client, reader: Reader, clock: Clock
) -> None:
    minutes = 3
    receiver.post("/heartbeats", json=beats(30)).raise_for_status()
    context = reader.context()
    context.clock.install()
    page = reader.beside(context)
    live(page)
    page.clock.run_for(2_000)
    app.forget()

    for _ in range(minutes):
        clock.advance(60)
        receiver.post("/heartbeats", json=beats(30)).raise_for_status()
        for _ in range(30):
            page.clock.run_for(2_000)
            page.evaluate(WORKER_ANSWERS)  # its clock is not that of the page

    assert 1 <= len(app.requests) <= 2 * minutes
    assert {"/"} == set(app.requests)
    assert app.sent_bytes < minutes * 20_000


def test_storm_of_5000_events_costs_an_open_page_less_than_a_megabyte(
    app: Counted, receiver: httpx.Client, reader: Reader
) -> None:
    receiver.post("/heartbeats", json=beats(100)).raise_for_status()
    page = live(reader.open())
    app.forget()
    begun = time.monotonic()

    for n in range(50):
        receiver.post("/heartbeats", json=beats(100, hostname=f"host-{n}")).raise_for_status()

    expect(page.locator("tbody").get_by_text("host-49").first).to_be_visible(timeout=45_000)
    assert 5_100 <= receiver.get("/events?limit=1").json()["events"][0]["id"]
    # It asks four times at once, and then once in six seconds.
    most = 10 + (time.monotonic() - begun) / 6
    assert len(app.requests) < most
    assert app.sent_bytes < 20_000 * most


# What is old


def test_page_of_a_receiver_that_was_stopped_looks_old(reader: Reader, tmp_path: Path) -> None:
    with receiver_process(tmp_path) as process:
        url, patience = f"{process.url}/heartbeats", PATIENCE_SECONDS
        post = httpx.post(url, json=beats(3), trust_env=False, timeout=patience)
        post.raise_for_status()
        page = live(evolve(reader, url=process.url).open())
        age = page.locator("tbody time").first
        expect(age).to_have_text(re.compile("ago|just now"))

    expect(page).to_have_title("Disconnected · Odoo MCP Fleet")
    expect(page.locator("#connection")).to_have_text("Disconnected")
    expect(page.locator("#lost")).to_have_text(
        re.compile(r"cannot be reached\. All below is as of 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d")
    )
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", re.compile("fleet-lost"))
    expect(age).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    colour = "element => getComputedStyle(element).color"
    state, quiet = (
        page.locator("tbody .state").first,
        page.locator("#servers .heading p:not(.download)"),
    )
    assert quiet.evaluate(colour) == state.evaluate(colour)
    assert [] == serious(page)
    page.locator("#servers").get_by_role("link", name="db01").click()
    expect(page.locator("#lost")).to_contain_text("The link was not followed.")
    page.get_by_label("Sort").select_option("Newest first")
    expect(page).to_have_url(f"{process.url}/")
    expect(listed(page)).to_have_count(3)
    reader.expect_complaint("ERR_")


def test_page_that_is_connected_again_looks_new_and_links_work(
    receiver: httpx.Client, reader: Reader
) -> None:
    receiver.post("/heartbeats", json=beats(3)).raise_for_status()
    page = live(reader.open())
    page.context.set_offline(True)
    expect(page).to_have_title("Disconnected · Odoo MCP Fleet")

    page.context.set_offline(False)

    expect(page).to_have_title("Odoo MCP Fleet")
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator('link[rel="icon"]')).not_to_have_attribute("href", re.compile("lost"))
    expect(page.locator("tbody time").first).to_have_text(re.compile("ago|just now"))
    page.locator("#servers").get_by_role("link", name="db01").click()
    expect(page.get_by_role("heading", name="db01", level=1)).to_be_visible()
    reader.expect_complaint("ERR_INTERNET_DISCONNECTED")


# Times


def test_ages_grow_by_themselves_and_are_told_as_the_server_tells_them(
    app: Counted, receiver: httpx.Client, reader: Reader, clock: Clock
) -> None:
    receiver.post("/heartbeats", json=beats(1)).raise_for_status()
    page = live(reader.open())
    app.forget()
    expect(page.locator("tbody time")).to_have_text(re.compile(r"^\d+ s ago$"))
    assert len(app.requests) <= 1  # as the stream was opened

    # So that no time passes between what the test says and what the page does.
    page.evaluate("{ const now = Date.now(); Date.now = () => now; }")
    seconds = [0, 0.9, 1, 1.9, 2, 119, 120, 7199, 7200, 86400, 172799, 172800, 9e6, -5]
    told = page.locator("tbody time").evaluate(
        """(time, seconds) => seconds.map((each) => {
            const now = Date.parse(time.dateTime) + each * 1000;
            document.dispatchEvent(new CustomEvent("fleet:renewed", { detail: { now } }));
            return time.textContent;
        })""",
        seconds,
    )
    now = clock()
    assert [ago(now, now + timedelta(seconds=each)) for each in seconds] == told

    lengths = [1, 59.9, 60, 3599, 3600, 3660, 86_400, 90_061, 9e6]
    lasts = page.locator("tbody time").evaluate(
        """(time, seconds) => seconds.map((each) => {
            delete time.dataset.ago;
            time.dataset.lasts = "";
            const now = Date.parse(time.dateTime) + each * 1000;
            document.dispatchEvent(new CustomEvent("fleet:renewed", { detail: { now } }));
            return time.textContent;
        })""",
        lengths,
    )
    assert [duration(each) for each in lengths] == lasts


def test_times_are_local_with_utc_at_hand(receiver: httpx.Client, reader: Reader) -> None:
    receiver.post("/heartbeats", json=beats(1)).raise_for_status()
    expect(live(reader.open()).locator("#zone")).to_be_hidden()  # here, it is UTC
    page = live(reader.open("/timeline", timezone_id="Asia/Kolkata"))
    as_of, at = page.locator("#happened .heading time"), page.locator("#happened .at time")

    expect(as_of).to_have_text("2026-01-31 17:30:00 UTC+5:30")
    expect(as_of).to_have_attribute(
        "title", "2026-01-31 17:30:00 UTC+5:30 = 2026-01-31 12:00:00 UTC"
    )
    expect(at).to_have_text("17:30:00")
    page.get_by_role("button", name="UTC+5:30").click()
    expect(as_of).to_have_text("2026-01-31 12:00:00 UTC")
    expect(at).to_have_text("12:00:00")
    page.reload()
    expect(as_of).to_have_text("2026-01-31 12:00:00 UTC")


def test_periods_and_days_of_the_timeline_are_local(
    receiver: httpx.Client, reader: Reader, clock: Clock
) -> None:
    clock.now = clock.now.replace(hour=18, minute=20)  # 23:50 in India
    daily = {"heartbeat_interval_seconds": 86_400.0}
    receiver.post("/heartbeats", json=beats(1, **daily)).raise_for_status()
    clock.advance(1200)
    receiver.post("/heartbeats", json=beats(2, **daily)).raise_for_status()
    page = live(reader.open("/timeline", timezone_id="Asia/Kolkata"))
    days, at = page.locator(".day:visible"), page.locator("#happened .at time")

    expect(days).to_have_text(["Sunday, 1 February 2026", "Saturday, 31 January 2026"])
    expect(at).to_have_text(["00:10:00", "23:50:00"])
    page.evaluate("dispatchEvent(new Event('fleet:try'))")
    page.wait_for_timeout(300)
    expect(days).to_have_count(2)
    assert [] == serious(page)
    page.get_by_role("link", name="Yesterday").click()
    expect(at).to_have_text(["23:50:00"])
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-01-31T00:00")
    expect(page.locator("#chips")).to_contain_text("To: 2026-02-01 00:00:00 UTC+5:30")
    expect(page.get_by_role("link", name="Yesterday")).to_have_attribute("aria-current", "true")
    night = re.compile("since=2026-01-31T14%3A30%3A00Z&until=2026-02-01T02%3A30%3A00Z")
    expect(page.get_by_role("link", name="Last night")).to_have_attribute("href", night)
    expect(page.locator("#period-zone")).to_have_text("Asia/Calcutta")
    page.get_by_label("From", exact=True).fill("2026-01-31T23:55")
    page.get_by_label("To", exact=True).fill("2026-02-01T00:15")
    page.get_by_role("button", name="Show").click()
    expect(at).to_have_text(["00:10:00"])
    expect(page).to_have_url(re.compile("since=2026-01-31T18%3A25%3A00Z&until=2026-01-31T18%3A45"))
    page.get_by_role("button", name="UTC+5:30").click()
    expect(days).to_have_text(["Saturday, 31 January 2026 (UTC)"])
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-01-31T18:25")
    expect(page.locator("#period-zone")).to_have_text("UTC")
    expect(page.locator('#chips [aria-current="true"]')).to_have_text("Everything")
    page.get_by_role("link", name="Today").click()
    expect(at).to_have_text(["18:40:00", "18:20:00"])
    expect(page.get_by_role("link", name="Today")).to_have_attribute("aria-current", "true")


# Copying and keys


def test_command_is_copied_by_a_button_that_stays(reader: Reader, receiver: httpx.Client) -> None:
    page = live(reader.open())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy python -m client")

    button.click()
    expect(button).to_have_text("Copied")
    assert f"python -m client --url {reader.url}" == page.evaluate("navigator.clipboard.readText()")
    page.evaluate("dispatchEvent(new Event('fleet:try'))")
    page.wait_for_timeout(300)
    expect(button).to_have_count(1)
    receiver.post("/heartbeats", json=beats(1)).raise_for_status()
    expect(listed(page)).to_have_count(1)
    expect(button).to_have_count(0)


def test_list_is_walked_and_searched_by_keys(reader: Reader, receiver: httpx.Client) -> None:
    receiver.post("/heartbeats", json=beats(5)).raise_for_status()
    page = live(reader.open())
    row = page.locator("tbody th a:focus")

    page.keyboard.press("j")
    expect(row).to_have_text("db00")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    expect(row).to_have_text("db01")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("?j/db03")
    expect(page.get_by_role("searchbox")).to_have_value("?j/db03")
    page.get_by_role("searchbox").fill("db03")
    expect(listed(page)).to_have_text(["db03"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="db03", level=1)).to_be_visible()

    page.wait_for_load_state()  # only then the scripts of the new page have run
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    assert [] == serious(page)
    dialog.get_by_label("Use these keys in this browser").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.goto(f"{reader.url}/")
    live(page).keyboard.press("j")
    expect(row).to_have_count(0)


# Other pages, paper, and fonts


def test_path_at_which_there_is_nothing_has_a_page(reader: Reader, receiver: httpx.Client) -> None:
    page = reader.open("/nope")

    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    expect(page.locator("#connection")).to_be_hidden()
    page.get_by_role("link", name="Show all servers").click()
    expect(page).to_have_url(f"{reader.url}/")
    reader.expect_complaint("404")


def test_twelve_servers_are_printed_on_one_page(reader: Reader, receiver: httpx.Client) -> None:
    receiver.post("/heartbeats", json=beats(12)).raise_for_status()
    page = live(reader.open())

    paper = page.pdf(format="A4")

    assert 1 == len(re.findall(rb"/Type\s*/Page\b", paper))


def test_wide_font_breaks_no_word_and_leaves_no_tile(
    reader: Reader, receiver: httpx.Client
) -> None:
    receiver.post("/heartbeats", json=beats(3)).raise_for_status()
    page = live(reader.open())
    page.evaluate("document.body.style.fontFamily = 'DejaVu Sans'")
    lines = page.locator('td[data-label="Stage"] bdi').evaluate_all(
        "all => all.map((each) => each.getClientRects().length)"
    )
    assert [1, 1, 1] == lines

    page.set_viewport_size({"width": 390, "height": 844})
    wide = page.locator(".tile .number").evaluate_all(
        """all => all.filter((each) => {
            each.textContent = "100,000";
            return each.scrollWidth > each.closest(".tile").clientWidth;
        }).length"""
    )
    assert 0 == wide
    assert fits(page)
