"""Choosing servers of the list, in a browser: what is chosen is seen in the rows and the bar."""

import httpx
import pytest
from playwright.sync_api import expect

import messages
from browsing import Reader
from looking import faults, fits, serious


def test_bar_and_rows_show_what_is_chosen(reader: Reader, receiver: httpx.Client) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n:02}", database=f"db{n:02}") for n in range(60)]
    receiver.post("/heartbeats", json=fleet).raise_for_status()
    page = reader.open()
    says = page.locator("#ticked")
    whole = page.get_by_role("checkbox", name="of this list")
    rows = page.locator("tr:has(input.pick:checked)")
    forget, compare = (
        page.get_by_role("button", name=name, exact=True) for name in ("Forget", "Compare two")
    )
    expect(says).to_have_text("With those ticked:")
    expect(forget).to_be_disabled()

    for name in ("db00", "db07"):
        page.get_by_role("checkbox", name=f"Choose {name}").check()
    expect(says).to_have_text("2 are chosen:")
    expect(compare).to_be_enabled()
    plain, ticked = (
        page.locator(f'[data-key="server-{each}"]').evaluate(
            "each => getComputedStyle(each).backgroundColor"
        )
        for each in ("s01", "s07")
    )
    assert plain != ticked
    whole.check()
    expect(says).to_have_text("All 60 are chosen:")
    expect(forget).to_be_enabled()
    expect(compare).to_be_disabled()
    expect(rows).to_have_count(50)
    assert [] == serious(page)
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a", database="a new one"))
    expect(says).to_have_text("All 61 are chosen:")
    expect(rows).to_have_count(50)
    page.get_by_role("checkbox", name="Choose db07").uncheck()
    expect(says).to_have_text("49 are chosen:")
    expect(whole).not_to_be_checked()
    whole.check()
    whole.uncheck()
    expect(says).to_have_text("With those ticked:")
    assert fits(page)
    assert [] == faults(page, "landmark-unique")


def test_only_server_of_a_list_is_chosen(reader: Reader, receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    page = reader.open(width=390)

    page.get_by_role("checkbox", name="the one server of this list").check()
    expect(page.locator("#ticked")).to_have_text("1 is chosen:")
    page.get_by_role("button", name="Silence", exact=True).click()
    expect(page.locator("#chosen")).to_contain_text("1 server is chosen")
    page.go_back()
    expect(page.get_by_role("button", name="Silence the one server of this list")).to_be_visible()
    assert fits(page)


@pytest.mark.parametrize("width", [390, 700])
def test_names_do_not_reach_under_the_boxes_and_states_of_a_narrow_list(
    reader: Reader, receiver: httpx.Client, width: int
) -> None:
    names = {"s1": "i" * 200, "s2": "j" * 200}
    beats = [messages.heartbeat(server_id=key, database=name) for key, name in names.items()]
    receiver.post("/heartbeats", json=beats).raise_for_status()
    silence = {"query": "server:s1", "reason": "x", "duration_seconds": 3600}
    receiver.post("/silences", json=silence).raise_for_status()
    page = reader.open(width=width)

    expect(page.locator(".state.silenced")).to_have_count(1)
    covered = page.locator("tbody tr").evaluate_all("""rows => rows.map(row => {
        const range = document.createRange();
        range.selectNodeContents(row.querySelector("th"));
        const texts = [...range.getClientRects()];
        const marks = [...row.querySelectorAll(".pick, .state")].map(
            each => each.getBoundingClientRect());
        const meets = (a, b) => a.left < b.right && b.left < a.right
            && a.top < b.bottom && b.top < a.bottom;
        return texts.some(text => marks.some(mark => meets(text, mark)));
    })""")
    assert [False, False] == covered
