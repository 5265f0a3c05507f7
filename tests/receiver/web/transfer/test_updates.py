"""Updates of open pages: what is sent again, and that it makes the page that is there now."""

import re
from datetime import datetime, timezone
from typing import Any

import httpx
import orjson
from hypothesis import given
from hypothesis import strategies as st

import messages
from receiver.web.transfer.updates import HEADER, Known
from servers import Clock

SALT = "somesalt"
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class Window:
    """What the script of an open page keeps of it."""

    def __init__(self) -> None:
        self.blocks: dict[str, str] = {}

    @property
    def header(self) -> dict[str, str]:
        return {HEADER: SALT + "".join(self.blocks)}

    def assemble(self, update: dict[str, Any]) -> str:
        """The HTML of the page, of the new blocks and of those that the window has."""
        known = [*self.blocks.items()]
        found: list[tuple[str, str]] = []
        for first, second in update["blocks"]:
            found += [(first, second)] if isinstance(first, str) else known[first : first + second]
        self.blocks = dict(found)
        return "".join(text for _, text in found)

    def update(self, page: str, *, token: str = "a token", owner: bytes = b"me") -> dict[str, Any]:
        """The update that makes a page, as the server sends it."""
        known = Known.of(self.header)
        assert known is not None
        answer = known.update(page.encode(), token=token.encode(), owner=owner, now=NOW)
        found: dict[str, Any] = orjson.loads(answer)
        return found


def new_texts(update: dict[str, Any]) -> list[str]:
    return [second for first, second in update["blocks"] if isinstance(first, str)]


ROW = '<tr data-key="server-{}"><td>{}</td>\n<td>é</td></tr>\n'
lines = st.one_of(
    st.builds(ROW.format, st.integers(0, 9), st.sampled_from(["up", "down"])),
    st.sampled_from(['<p id="a">\n', "text\n", "no line's end", "", '  <ul id="b">']),
)
pages = st.lists(lines, max_size=40).map("".join)


@given(st.lists(pages, min_size=1, max_size=4))
def test_page_updates_reassemble_any_sequence_of_pages(following: list[str]) -> None:
    window = Window()

    for page in following:
        assert page == window.assemble(window.update(page))


def test_page_update_contains_only_changed_blocks() -> None:
    window = Window()
    rows = [ROW.format(n, "up") for n in range(5)]
    window.assemble(window.update("head\n" + "".join(rows)))
    rows[2] = ROW.format(2, "down")

    changed = window.update("head\n" + "".join([*rows, ROW.format(9, "new")]))

    assert [rows[2], ROW.format(9, "new")] == new_texts(changed)
    assert [[0, 3], [4, 2]] == [run for run in changed["blocks"] if isinstance(run[0], int)]
    assert 1_769_860_800_000 == changed["now"]
    window.assemble(changed)
    page = "head\n" + "".join([*rows, ROW.format(9, "new")])
    assert [[0, 7]] == window.update(page)["blocks"]


def test_page_update_contains_a_csrf_token_only_for_another_browser() -> None:
    window, page = Window(), '<p id="a">\n<form id="b"><input value="{}">\n'
    window.assemble(window.update(page.format("1"), token="1"))

    same = window.update(page.format("2"), token="2")
    other = window.update(page.format("3"), token="3", owner=b"somebody else")

    assert [] == new_texts(same)
    assert ['<form id="b"><input value="3">\n'] == new_texts(other)


def test_page_update_of_many_blocks_fits_into_a_header_and_has_few_runs() -> None:
    window = Window()
    rows = [ROW.format(n, "up") for n in range(5000)]
    window.assemble(window.update("".join(rows)))

    rows[2500] = ROW.format(2500, "down")
    del rows[77]
    page = "".join(rows)
    update = window.update(page)

    assert len(window.header[HEADER]) < 4_000
    assert sum(map(len, new_texts(update))) < len(page) / 10
    assert page == window.assemble(update)


def test_invalid_page_update_header_gets_a_whole_page() -> None:
    for text in ("", "short", "somesalt!", "some salt", "ü" * 8, "a" * 16_000):
        assert Known.of({HEADER: text}) is None


def updated(receiver: httpx.Client, window: Window, path: str) -> tuple[httpx.Response, str]:
    answer = receiver.get(path, headers=window.header)
    return answer, window.assemble(answer.json())


def test_open_page_gets_a_row_that_changed_and_no_ages(
    receiver: httpx.Client, clock: Clock
) -> None:
    beats = [messages.heartbeat(server_id=f"s{n}", database=f"db{n}") for n in range(30)]
    receiver.post("/heartbeats", json=beats)
    clock.advance(5)
    window = Window()
    whole, first = updated(receiver, window, "/")
    clock.advance(7)
    receiver.post("/heartbeat", json=beats[3])

    answer, page = updated(receiver, window, "/")

    assert "application/json" == answer.headers["content-type"]
    assert "no-store" == answer.headers["cache-control"]
    assert ["s3"] == re.findall(r'data-key="server-(\w+)"', "".join(new_texts(answer.json())))
    assert len(answer.content) * 10 < len(whole.content)
    assert 30 == page.count("<tr data-key") == first.count("<tr data-key")
    assert "ago</time>" not in page
    assert "12 s ago" in receiver.get("/").text


def test_unchanged_page_is_not_sent_again(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    clock.advance(5)
    for path in ("/", "/timeline", "/alerts", "/server/nobody", "/?limit=many"):
        window = Window()
        whole, _ = updated(receiver, window, path)
        clock.advance(1)

        answer, _ = updated(receiver, window, path)

        assert [[0, len(window.blocks)]] == answer.json()["blocks"]
        assert whole.status_code == answer.status_code
