"""What needs somebody, in a browser: it appears, leads to its servers and events, and goes."""

import httpx
from playwright.sync_api import Page, expect

import messages
from browsing import Reader
from looking import fits, listed, serious
from servers import Clock

HOSTILE = "<script>document.title='owned'</script>right\u202eto"


def test_outage_appears_leads_to_what_happened_and_goes(
    reader: Reader, receiver: httpx.Client, clock: Clock
) -> None:
    names = [f"db{n}" for n in range(3)] + [HOSTILE.ljust(255, "w")]
    fleet = [
        messages.heartbeat(server_id=name, database=name, hostname=f"web-{n}")
        for n, name in enumerate(names)
    ]
    well = messages.heartbeat(server_id="well", database="well")
    receiver.post("/heartbeats", json=[*fleet, well])
    page = reader.open()
    problems = page.locator("#problems")
    expect(problems.get_by_role("heading")).to_have_text("Nothing is wrong")

    for _ in range(200):
        if "went down" in problems.inner_text():
            break
        clock.advance(10)
        receiver.post("/heartbeat", json=well)
        page.wait_for_timeout(50)
    expect(problems).to_contain_text("4 servers went down")
    expect(problems).to_contain_text("4 hosts")
    assert [] == serious(page)

    narrow = reader.open(width=390, height=844)
    assert fits(narrow)
    assert [] == serious(narrow)
    narrow.goto(f"{reader.url}/timeline")
    expect(narrow.locator(".group.down .who")).to_have_text("4 servers")
    assert fits(narrow)

    page.get_by_role("link", name="What happened").click()
    expect(page.locator(".says")).to_have_text(["went down", "became late", "joined the fleet"])
    expect(page.locator(".who").first).to_have_text("4 servers")
    assert [] == serious(page)
    page.go_back()
    page.get_by_role("link", name="Servers that are down", exact=True).click()
    expect(listed(page)).to_have_count(4)
    page.go_back()

    receiver.post("/heartbeats", json=fleet)
    expect(problems.get_by_role("heading")).to_have_text("Nothing is wrong")
    expect(page.locator("#news .group").first).to_contain_text("are back")
    assert "owned" not in page.title()


def test_reader_marks_all_as_seen(reader: Reader, receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat(heartbeat_interval_seconds=86_400.0)
    receiver.post("/heartbeat", json=beat)
    clock.advance(60)
    page: Page = reader.open()
    expect(page.get_by_role("heading", name="Since yesterday")).to_be_visible()
    clock.advance(7200)
    receiver.post("/heartbeat", json={**beat, "odoo_version": "20.0"})

    page.reload()
    expect(page.get_by_role("heading", name="Since you last looked")).to_be_visible()
    expect(page.locator("#news .says")).to_have_text("was upgraded")
    clock.advance(60)
    page.get_by_role("button", name="Mark all as seen").click()

    expect(page.locator("#news")).to_contain_text("Nothing has changed since you last looked.")
