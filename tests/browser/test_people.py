"""Signing in and out, and administration, in a browser."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

import messages
from browsing import Reader
from keyring import bearer, keep, made
from looking import fits, listed, serious

SERVER = "/server/acme_web-1"


@pytest.fixture
def fleet(held: dict[str, str], receiver: httpx.Client) -> httpx.Client:
    """A client with an admin key, of a receiver that has keys and one server."""
    receiver.headers.update(bearer(held["admin"]))
    beat = messages.heartbeat()
    receiver.post("/heartbeat", json=beat, headers=bearer(held["agent"])).raise_for_status()
    return receiver


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Your key").fill(token)
    page.get_by_role("button", name="Sign in").click()


def make_key(page: Page, name: str) -> str:
    """Make a key by the form of the page of keys, which is open; returns the key itself."""
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make a key").click()
    return page.locator("#the-key").text_content() or ""


def test_sign_in_shows_the_live_fleet(
    fleet: httpx.Client, reader: Reader, held: dict[str, str]
) -> None:
    page = reader.open("/timeline?kind=registered")
    expect(page.get_by_label("Your key")).to_be_focused()
    sign_in(page, "not a key")
    expect(page.get_by_role("alert")).to_have_text("There is no such key.")
    sign_in(page, held["viewer"])
    expect(page).to_have_url(f"{reader.url}/timeline?kind=registered")
    page.get_by_role("link", name="Servers").click()
    expect(page.locator("#connection")).to_have_text("Live")

    fleet.post("/heartbeat", json=messages.heartbeat(server_id="b", database="beta"))

    expect(listed(page)).to_have_text(["acme", "beta"])
    expect(page.get_by_text("Grace Hopper")).to_be_visible()
    page.get_by_role("link", name="JSON", exact=True).click()
    expect(page.get_by_text('"server_id":"acme_web-1"')).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#notice")).to_have_text("You are signed out.")
    page.goto(f"{reader.url}/")
    expect(page.get_by_label("Your key")).to_be_visible()
    reader.expect_complaint("401")


def test_top_of_a_page_is_one_line_for_an_administrator(
    fleet: httpx.Client, reader: Reader, held: dict[str, str]
) -> None:
    page = reader.open(timezone_id="Asia/Kathmandu")
    sign_in(page, held["admin"])
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator("#zone")).to_be_visible()

    middles = page.locator("header.top > :visible").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect())"
        ".map(({ top, bottom }) => (top + bottom) / 2)"
    )

    assert len(middles) == 5
    assert max(middles) - min(middles) < 5
    reader.expect_complaint("401")


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_admin_deletes_a_server_hands_it_over_and_makes_a_key(
    fleet: httpx.Client, reader: Reader, held: dict[str, str], java_script_enabled: Any
) -> None:
    page = reader.open(SERVER, java_script_enabled=java_script_enabled)
    sign_in(page, held["admin"])

    page.get_by_role("textbox", name="Note").fill("Call Ann first")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#notice")).to_have_text("The labels and the note were saved.")
    expect(page.locator("#note")).to_have_text("Call Ann first")
    page.get_by_label("Hand it over to").select_option(index=1)
    page.get_by_role("button", name="Hand over").click()
    expect(page.locator("#notice")).to_have_text("The server belongs to the key Ada Lovelace now.")
    page.get_by_role("link", name="Forget this server").click()
    page.get_by_role("link", name="Go back").click()
    page.get_by_role("link", name="Forget this server").click()
    page.get_by_role("button", name="Forget this server").click()
    expect(page).to_have_url(f"{reader.url}/")
    expect(page.locator("#notice")).to_have_text("The server acme_web-1 was forgotten.")
    if java_script_enabled:
        fleet.post("/heartbeat", json=messages.heartbeat(server_id="b", database="beta"))
        expect(listed(page)).to_have_text(["beta"])
        expect(page.locator("#notice")).to_be_visible()

    page.get_by_role("link", name="Keys").click()
    page.get_by_role("radio", name="agent").check()
    expect(page.get_by_label("Servers, for an agent")).to_be_visible()
    page.get_by_role("radio", name="viewer").check()
    expect(page.get_by_label("Servers, for an agent")).to_be_visible(
        visible=not java_script_enabled
    )
    token = make_key(page, "New one")
    assert 200 == httpx.get(f"{reader.url}/servers", headers=bearer(token)).status_code
    page.get_by_role("link", name="All keys").click()
    page.get_by_role("row", name="New one").get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke this key").click()
    expect(page.get_by_role("row", name="New one")).to_contain_text("revoked")
    assert 401 == httpx.get(f"{reader.url}/servers", headers=bearer(token)).status_code
    reader.expect_complaint("401")


def test_new_key_stays_visible_and_can_be_copied(
    fleet: httpx.Client, reader: Reader, held: dict[str, str]
) -> None:
    page = reader.open("/keyring")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, held["admin"])
    token = make_key(page, "New one")
    page.wait_for_load_state()  # only then the scripts of the new page have run

    page.wait_for_timeout(1000)
    button = page.locator("[data-copies]")
    button.click()

    expect(button).to_have_text("Copied")
    assert token == page.evaluate("navigator.clipboard.readText()")
    expect(page.locator("#the-key")).to_have_text(token)
    reader.expect_complaint("401")


def test_new_key_is_copied_or_selected_by_a_browser_that_refuses_its_clipboard(
    fleet: httpx.Client, reader: Reader, held: dict[str, str]
) -> None:
    page = reader.open("/keyring")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, held["admin"])
    token = make_key(page, "New one")
    page.wait_for_load_state()  # only then the scripts of the new page have run
    button = page.locator("[data-copies]")

    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject())")
    button.click()
    expect(button).to_have_text("Copied")
    assert token == page.evaluate("navigator.clipboard.readText()")
    expect(button).to_have_text("Copy")
    page.evaluate("void (document.execCommand = () => false)")
    button.click()
    page.wait_for_function("getSelection().toString() !== ''")

    assert token == page.evaluate("getSelection().toString()")
    expect(button).to_have_text("Copy")
    reader.expect_complaint("401")


def test_page_shows_the_sign_in_form_when_its_session_ends(
    fleet: httpx.Client, reader: Reader, held: dict[str, str]
) -> None:
    # Each has its own cookies, or the first that shows the form would tell the others.
    pages = {path: reader.open(path) for path in ("/", "/timeline", SERVER)}
    asked: list[str] = []
    for page in pages.values():
        sign_in(page, held["viewer"])
        expect(page.locator("#connection")).to_have_text("Live")
        page.on("request", lambda request: asked.extend(_unless_icon(request.url)))
    viewer = next(k for k in fleet.get("/keys").json()["keys"] if k["scope"] == "viewer")

    fleet.delete(f"/keys/{viewer['id']}").raise_for_status()

    for path, page in pages.items():
        expect(page.get_by_label("Your key")).to_be_visible()
        expect(page).to_have_url(f"{reader.url}{path}")
        page.wait_for_load_state()  # with what the page itself consists of
    asked.clear()
    page.wait_for_timeout(4000)
    assert [] == asked
    reader.expect_complaint("401")


def test_page_asks_for_a_key_once_the_receiver_has_one(
    reader: Reader, receiver: httpx.Client, database_url: str
) -> None:
    page = reader.open()
    expect(page.locator("#connection")).to_have_text("Live")

    keep(database_url, made("viewer")[0])

    expect(page.get_by_label("Your key")).to_be_visible()
    reader.expect_complaint("401")


def test_link_from_another_site_keeps_the_session(
    fleet: httpx.Client, reader: Reader, held: dict[str, str]
) -> None:
    page = reader.open()
    sign_in(page, held["viewer"])
    expect(listed(page)).to_have_text(["acme"])

    page.goto("about:blank")
    page.set_content(f'<a href="{reader.url}{SERVER}">the server</a>')
    with page.expect_request(f"{reader.url}{SERVER}") as asked:
        page.get_by_role("link").click()
    expect(page.get_by_role("heading", name="acme", level=1)).to_be_visible()
    assert "cross-site" == asked.value.all_headers()["sec-fetch-site"]
    expect(page).to_have_url(f"{reader.url}{SERVER}")

    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#notice")).to_have_text("You are signed out.")
    page.goto("about:blank")
    page.set_content(f'<a href="{reader.url}{SERVER}">the server</a>')
    page.get_by_role("link").click()
    expect(page.get_by_label("Your key")).to_be_visible()
    reader.expect_complaint("401")


def test_form_on_another_site_cannot_delete_a_server(
    reader: Reader, receiver: httpx.Client
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    page = reader.open(f"{SERVER}/delete")
    word = page.locator('[name="form"]').get_attribute("value")

    page.goto("about:blank")
    action = f"{reader.url}{SERVER}/delete"
    field = f'<input name="form" value="{word}">'
    page.set_content(f'<form method="post" action="{action}">{field}<button>Win</button></form>')
    page.get_by_role("button").click()

    expect(page.get_by_role("alert")).to_contain_text("Nothing was changed.")
    page.get_by_role("button", name="Forget this server").click()
    expect(page.locator("#notice")).to_have_text("The server acme_web-1 was forgotten.")
    reader.expect_complaint("403")


def test_pages_with_keys_have_no_serious_accessibility_violation(
    fleet: httpx.Client, reader: Reader, held: dict[str, str]
) -> None:
    page = reader.open()
    viewer = next(k for k in fleet.get("/keys").json()["keys"] if k["scope"] == "viewer")

    def assert_accessible() -> None:
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert [] == serious(page), page.url
            assert fits(page), page.url

    assert_accessible()
    sign_in(page, "not a key")
    expect(page.get_by_role("alert")).to_have_text("There is no such key.")
    assert_accessible()
    sign_in(page, held["viewer"])
    expect(listed(page)).to_have_text(["acme"])
    assert_accessible()
    page.goto(f"{reader.url}/keyring")
    assert_accessible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#notice")).to_have_text("You are signed out.")
    assert_accessible()
    sign_in(page, held["admin"])
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    for path in (SERVER, f"{SERVER}/delete", "/keyring", f"/keyring/{viewer['id']}/rotate"):
        page.goto(f"{reader.url}{path}")
        assert_accessible()
    page.get_by_role("button", name="Rotate").click()
    expect(page.locator("#the-key")).to_be_visible()
    assert_accessible()
    page.goto(f"{reader.url}/keyring")
    page.get_by_label("Name").fill("a")
    page.get_by_label("Expires on").fill("2020-01-01")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible()
    for status in ("401", "403", "422"):
        reader.expect_complaint(status)


def _unless_icon(url: str) -> list[str]:
    """The URL, unless it is the icon of the window: a browser loads that whenever it likes."""
    return [] if "/static/fleet.svg" in url else [url]
