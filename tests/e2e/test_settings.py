"""An administrator configures the addon in a browser, and a real receiver gets the messages."""

import os
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from attrs import frozen
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from browsing import chromium
from contract.fields import parse_moment
from keyring import bearer, keep, made
from odoo_program import OdooProgram, Server
from phoning import get
from servers import Process, receiver_process

DATABASE = "acme"
SERVER_ID = f"{DATABASE}_{socket.gethostname()}"

# A server needs about 10 seconds to install the addon.
START_SECONDS = 120
# For the first page Odoo compiles its stylesheets.
PAGE_MS = 120_000

WIDTH, HEIGHT = 1280, 3000
MARGIN = 16
MAX_BYTES = 200_000


@frozen(kw_only=True)
class Fleet:
    """A real receiver with keys: one for this server, and one of a viewer."""

    receiver: Process
    token: str
    viewer: str

    def heartbeats(self) -> int:
        """The number of heartbeats that the receiver has counted."""
        url = f"{self.receiver.url}/servers/{quote(SERVER_ID)}"
        answer = get(url, headers=bearer(self.viewer))
        if answer.status_code == 404:
            return 0
        count: int = answer.raise_for_status().json()["heartbeat_count"]
        return count


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        expect.set_options(timeout=PAGE_MS)  # Odoo, unlike an open page of a receiver, has no limit
        yield browser


@pytest.fixture(scope="module")
def server(odoo: OdooProgram) -> Iterator[Server]:
    """An Odoo server with the addon and without a scheduler, so it sends nothing by itself."""
    odoo.create_database_with_addon(DATABASE)
    with odoo.server(DATABASE, "--max-cron-threads=0") as server:
        server.wait_until(lambda: answers(server), seconds=START_SECONDS)
        yield server


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    database_url = f"sqlite:///{tmp_path}/fleet.db"
    (agent, token), (watching, viewer) = made("agent"), made("viewer")
    keep(database_url, agent, watching)
    with receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver:
        yield Fleet(receiver=receiver, token=token, viewer=viewer)


@pytest.fixture(scope="module")
def administrator(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """A browser in which an administrator is logged in."""
    with browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}) as context:
        context.set_default_timeout(PAGE_MS)
        page = context.new_page()
        page.goto(f"{server.url}/web/login")
        page.fill("#login", "admin")
        page.fill("#password", "admin")
        page.click("button[type=submit]")
        page.wait_for_url("**/odoo**")
        page.close()
        yield context


@pytest.fixture
def page(administrator: BrowserContext, server: Server) -> Iterator[Page]:
    """The settings page, opened by an administrator."""
    page = administrator.new_page()
    page.goto(f"{server.url}/odoo/settings")
    expect(page.get_by_role("heading", name="MCP Fleet")).to_be_visible(timeout=PAGE_MS)
    yield page
    page.unroute_all(behavior="ignoreErrors")
    page.close()


def test_administrator_saves_a_receiver_and_sends_it_a_heartbeat(
    page: Page, server: Server, fleet: Fleet, tmp_path: Path
) -> None:
    received: list[bytes] = []
    page.route("**/*", lambda route: pass_on(route, received))
    field(page, "mcp_phone_home_url").fill(fleet.receiver.url)
    field(page, "mcp_phone_home_token").fill(fleet.token)
    save(page)
    expect(field(page, "mcp_phone_home_url")).to_have_value(fleet.receiver.url)
    assert fleet.heartbeats() == 0

    page.get_by_role("button", name="Send heartbeat now").click()
    expect(notification(page)).to_contain_text("The receiver has taken the heartbeat in.")
    assert fleet.heartbeats() == 1
    expect(page.locator("[name=mcp_last_success_at]")).to_be_visible()

    expect(page.locator("[name=mcp_tools_for]")).to_contain_text("/mcp/v1")
    expect(page.locator("[name=mcp_tools] tbody tr")).to_have_count(3)
    expect(page.locator("[name=mcp_port_note]")).to_contain_text(server.url.rpartition(":")[2])
    values = page.eval_on_selector_all("input", "inputs => inputs.map(each => each.value)")
    assert "\u2022" * 8 in values
    assert fleet.token not in "".join(values) + page.content()
    assert [] != [body for body in received if SERVER_ID.encode() in body]
    assert [] == [body for body in received if fleet.token.encode() in body]
    take_picture(page, Path(os.environ.get("MCP_WRITE_SCREENSHOT", tmp_path)) / "settings.png")


def test_button_saves_the_typed_receiver_and_sends_to_it(page: Page, fleet: Fleet) -> None:
    field(page, "mcp_phone_home_url").fill(fleet.receiver.url)
    field(page, "mcp_phone_home_token").fill(fleet.token)

    page.get_by_role("button", name="Register now").click()
    expect(notification(page)).to_contain_text("The receiver knows this server now.")
    page.get_by_role("button", name="Send heartbeat now").click()
    expect(notification(page).last).to_contain_text("The receiver has taken the heartbeat in.")
    assert fleet.heartbeats() == 1
    page.reload()
    expect(field(page, "mcp_phone_home_url")).to_have_value(fleet.receiver.url)


def test_maintenance_that_is_begun_is_a_silence_of_this_server(page: Page, fleet: Fleet) -> None:
    field(page, "mcp_phone_home_url").fill(fleet.receiver.url)
    field(page, "mcp_phone_home_token").fill(fleet.token)
    page.get_by_role("button", name="Send heartbeat now").click()
    expect(notification(page)).to_contain_text("The receiver has taken the heartbeat in.")
    page.reload()  # Odoo does so by itself, in a moment, and the page forgets what was typed
    field(page, "mcp_maintenance_minutes").fill("45")
    page.get_by_role("button", name="Begin now").click()
    expect(notification(page)).to_contain_text("For the next 45 minutes")

    answer = get(f"{fleet.receiver.url}/silences", headers=bearer(fleet.viewer))
    (silence,) = answer.raise_for_status().json()["silences"]
    begins, ends = (parse_moment(silence[each]) for each in ("begins_at", "ends_at"))
    assert (SERVER_ID, True) == (silence["server_id"], silence["is_active"])
    assert timedelta(minutes=45) == ends - begins


def test_failed_heartbeat_is_explained(page: Page, fleet: Fleet) -> None:
    fleet.receiver.kill()
    field(page, "mcp_phone_home_url").fill(fleet.receiver.url)

    page.get_by_role("button", name="Send heartbeat now").click()
    expect(notification(page)).to_contain_text("cannot be reached")
    expect(page.locator("[name=mcp_last_failure_reason]")).to_contain_text("cannot be reached")


def test_invalid_port_is_refused_with_a_sentence(page: Page) -> None:
    field(page, "mcp_server_port").fill("70000")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("dialog")).to_contain_text(
        "MCP Port: expected a number from 1 to 65535, got 70000."
    )
    page.reload()
    expect(field(page, "mcp_server_port")).to_have_value("8768")


def answers(server: Server) -> bool:
    try:
        return get(f"{server.url}/web/login").is_success
    except httpx.TransportError:
        return False


def pass_on(route: Route, received: list[bytes]) -> None:
    """Fulfil a request of the browser, and append the answer's body to `received`."""
    answer = route.fetch(max_redirects=0, timeout=PAGE_MS)
    received.append(answer.body())
    route.fulfill(response=answer)


def field(page: Page, name: str) -> Locator:
    return page.locator(f"[name={name}] input")


def notification(page: Page) -> Locator:
    return page.locator(".o_notification")


def save(page: Page) -> None:
    """Save the form, and wait until the page has reloaded."""
    with page.expect_event("load"):
        page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="MCP Fleet")).to_be_visible(timeout=PAGE_MS)


def take_picture(page: Page, path: Path) -> None:
    """Save a screenshot of the addon's block, without notifications."""
    # Not by a click of the mouse, as it also goes by itself, after four seconds.
    closing = notification(page).get_by_role("button", name=re.compile("close", re.IGNORECASE))
    closing.evaluate_all("found => found.forEach((each) => each.click())")
    expect(notification(page)).to_have_count(0)
    heading = page.get_by_role("heading", name="MCP Fleet")
    block = page.locator("h2:has-text('MCP Fleet') + .o_settings_container")
    page.mouse.move(0, 0)
    page.screenshot(path=path, clip=around(heading, block), animations="disabled")
    assert MAX_BYTES > path.stat().st_size


def around(*places: Locator) -> Any:
    """The clip rectangle that holds these locators, with a margin below."""
    boxes = [box for box in (place.bounding_box() for place in places) if box]
    left, top = (min(box[name] for box in boxes) for name in ("x", "y"))
    right = min(WIDTH, max(box["x"] + box["width"] for box in boxes))
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}
