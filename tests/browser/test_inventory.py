"""The page of a server, and those of tools, versions and a comparison, in a browser."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

import messages
from browsing import Reader
from looking import Theme, fits, serious

HOSTILE = "<script>document.title='owned'</script>\u202e\"><img src=x onerror=alert(1)>"
LONG = "w" * 180


def tool(name: str, **known: Any) -> dict[str, Any]:
    return {"name": name, "provider": "sale", **known}


def register(receiver: httpx.Client, server_id: str, *tools: dict[str, Any], **told: Any) -> None:
    names = sorted({each["name"] for each in tools})
    message = messages.registration(server_id=server_id, capabilities=names, tools=[*tools], **told)
    receiver.post("/register", json=message).raise_for_status()


@pytest.fixture
def fleet(receiver: httpx.Client) -> httpx.Client:
    """A receiver with databases that differ, some of them with hostile names."""
    many = [tool(f"sale_order_{n:03}", title=f"Order {n}", provider="sale") for n in range(60)]
    many += [tool(f"invoice_{n:03}", provider="account") for n in range(60)]
    known = {"endpoint_url": "https://acme.example/mcp", "odoo_stage": "production"}
    register(receiver, "acme", *many, database="acme", **known)
    other = [{**many[0], "description": "Other."}, tool(HOSTILE, title=HOSTILE), tool(LONG)]
    register(receiver, "b/c", *other, database=HOSTILE, odoo_version=HOSTILE[:90], version=LONG)
    register(receiver, "staging", many[0], database="st", odoo_stage="staging", odoo_version="16.0")
    return receiver


def test_page_of_a_server_answers_in_the_order_of_questions(
    reader: Reader, fleet: httpx.Client
) -> None:
    page = reader.open("/server/acme")

    ids = page.locator("#standing, #past, #reach, #tools, #timeline, #manage, #facts")
    order = ids.evaluate_all("found => found.map(each => each.id)")
    assert ["standing", "past", "reach", "tools", "timeline", "manage", "facts"] == order
    expect(page.get_by_role("link", name="https://acme.example/mcp")).to_have_attribute(
        "href", "https://acme.example/mcp"
    )
    expect(page.locator('[data-field="odoo_version"]')).to_be_hidden()
    page.get_by_role("heading", name="All fields").click()
    expect(page.locator('[data-field="odoo_version"] dd')).to_be_visible()
    assert 2000 > page.evaluate("document.querySelector('#facts').getBoundingClientRect().top")


def test_tools_of_a_server_are_folded_by_module_and_searched(
    reader: Reader, fleet: httpx.Client
) -> None:
    page = reader.open("/server/acme")
    modules = page.locator("#tools summary")
    expect(modules).to_have_text(["account 60 tools", "sale 60 tools"])
    expect(page.get_by_text("sale_order_007")).to_be_hidden()

    page.get_by_placeholder("Search these tools").press_sequentially("order 7")
    expect(page.get_by_role("heading", name="of 120 tools")).to_be_visible()
    expect(page.get_by_text("sale_order_007")).to_be_visible()
    page.get_by_role("link", name="sale_order_007").click()
    expect(page.get_by_role("heading", name="Order 7", level=1)).to_be_visible()


def test_who_lacks_a_tool_is_found_in_three_clicks(reader: Reader, fleet: httpx.Client) -> None:
    page = reader.open()

    page.get_by_role("link", name="Tools", exact=True).click()
    page.get_by_placeholder("Search by name").press_sequentially("order_007")
    expect(page.get_by_text("1 tool found")).to_be_visible()
    page.get_by_role("link", name="Order 7", exact=True).click()
    lacking = page.get_by_role("row", name="staging").get_by_role("link")
    expect(lacking).to_have_attribute("href", re.compile(r"query=stage%3Astaging\+-tool%3A"))


@pytest.mark.parametrize("path", ["/tools", "/versions"])
def test_narrow_screen_leaves_out_what_says_nothing(
    reader: Reader, fleet: httpx.Client, path: str
) -> None:
    page = reader.open(path, width=1440)
    nothing = page.locator("td.nil").first
    expect(nothing).to_be_visible()

    page.set_viewport_size({"width": 390, "height": 844})

    expect(nothing).to_be_hidden()
    expect(page.locator("tbody td:not(.nil)").first).to_be_visible()


def test_drift_leads_to_a_comparison(reader: Reader, fleet: httpx.Client) -> None:
    register(fleet, "acme", tool("sale_order_000", title="Order 0", description="It was."))
    page = reader.open("/tools")

    page.get_by_role("link", name="Described differently (1)").click()
    page.get_by_role("link", name="Order 0").click()
    expect(page.locator(".variant")).to_have_count(3)
    page.get_by_role("link", name="Compare two of these servers").first.click()
    expect(page.get_by_role("heading", name=re.compile("^Compare acme and "))).to_be_visible()
    expect(page.locator("#differences")).to_contain_text("Odoo")


def test_second_server_is_chosen_by_a_part_of_its_name(reader: Reader, fleet: httpx.Client) -> None:
    page = reader.open("/server/acme", java_script_enabled=False)

    page.get_by_role("link", name="Compare").click()
    page.get_by_label("Second server").fill("st")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#differences tbody")).to_contain_text("16.0")


def test_pages_are_accessible_and_fit(reader: Reader, fleet: httpx.Client) -> None:
    page = reader.open("/tools")
    quoted = httpx.QueryParams({"name": HOSTILE})
    paths = ["/tools", f"/tools?{quoted}", "/versions", "/compare?a=acme&b=b/c", "/server/b%2Fc"]
    paths += ["/compare?a=acme", "/tools?search=nothing", "/server/acme"]
    themes: dict[int, list[Theme]] = {1440: ["light", "dark"], 390: ["light"]}
    for width, wanted in themes.items():
        page.set_viewport_size({"width": width, "height": 900})
        for path in paths:
            page.goto(f"{reader.url}{path}")
            for details in page.locator("main summary").all()[:2]:
                details.click()
            assert [] == serious(page, themes=wanted), path
            assert fits(page), (path, width)
            assert "owned" != page.title()


def test_open_pages_are_updated(reader: Reader, fleet: httpx.Client) -> None:
    tools, versions = reader.open("/tools?search=late"), reader.open("/versions")
    expect(tools.get_by_text("0 tools found")).to_be_visible()

    register(fleet, "new", tool("late_comer"), odoo_version="21.0")

    expect(tools.get_by_role("link", name="late_comer")).to_be_visible()
    expect(versions.get_by_role("rowheader", name="21.0")).to_be_visible()
