"""The front page says what is new since its reader has last looked."""

import re
from collections.abc import Iterator

import httpx
import pytest

import messages
from keyring import bearer, keep, made, signed_in
from receiver.app import Tuning, create_app
from receiver.web.pages.browse import lines
from servers import ANY_PAUSE_SECONDS, Clock, serve

SCRIPT = {"Sec-Fetch-Mode": "cors"}
BEAT = messages.heartbeat(heartbeat_interval_seconds=86400 * 7)


def news(page: httpx.Response) -> tuple[str, list[str]]:
    """The title of what is new, and the texts of its lines."""
    part = page.text[page.text.index('id="news"') :]
    (title,) = re.findall(r'id="news-title">([^<]+)<', part)
    return title, re.findall(r'<span class="says">([^<]+)<', part)


def test_front_page_shows_what_is_new_since_the_previous_visit(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=BEAT)
    assert ("Since yesterday", ["joined the fleet"]) == news(receiver.get("/"))
    clock.advance(600)
    assert ("Since yesterday", ["joined the fleet"]) == news(receiver.get("/"))

    clock.advance(3600)
    receiver.post("/heartbeat", json={**BEAT, "odoo_version": "20.0"})
    clock.advance(3600)
    page = receiver.get("/")
    again = receiver.get("/")

    assert ("Since you last looked", ["was upgraded"]) == news(page) == news(again)
    assert "2 h ago" in page.text[page.text.index('id="news"') :]
    clock.advance(2400)
    later = receiver.get("/")
    assert ("Since you last looked", []) == news(later)
    assert "Nothing has changed since you last looked" in later.text


def test_front_page_counts_what_is_new_up_to_a_limit(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_READ_OF_NEWS", 2)
    monkeypatch.setattr(lines, "MOST_COUNTED", 5)

    def hear(*versions: str) -> str:
        for version in versions:
            receiver.post("/heartbeat", json={**BEAT, "odoo_version": version}).raise_for_status()
        return receiver.get("/").text

    assert "<span>4 events</span>" in hear("17.0", "18.0", "19.0", "20.0")
    assert "<span>5+ events</span>" in hear("17.0", "18.0")


def test_reload_by_an_open_window_counts_as_no_visit(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/heartbeat", json=BEAT)
    receiver.get("/")
    receiver.post("/heartbeat", json={**BEAT, "odoo_version": "20.0"})
    for _ in range(20):
        clock.advance(600)
        receiver.get("/", headers=SCRIPT)

    assert ("Since you last looked", ["was upgraded", "joined the fleet"]) == news(
        receiver.get("/")
    )


def test_reader_can_mark_all_news_as_seen(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/heartbeat", json=BEAT)
    receiver.get("/")
    clock.advance(7200)
    receiver.post("/heartbeat", json={**BEAT, "odoo_version": "20.0"})
    page = receiver.get("/")
    clock.advance(60)
    (form,) = re.findall(r'action="seen".*?name="form" value="([^"]+)"', page.text, re.DOTALL)

    answer = receiver.post("/seen", data={"form": form})

    assert (303, "./") == (answer.status_code, answer.headers["location"])
    assert ("Since you last looked", []) == news(receiver.get("/"))


@pytest.mark.parametrize(
    "cookie", ["", "x", "-1-2-3", "-99999999999-99999999999", "-0-0", "a-1-1", "-1769860000-x"]
)
def test_invalid_cookie_of_the_last_visit_is_ignored(receiver: httpx.Client, cookie: str) -> None:
    receiver.post("/heartbeat", json=BEAT)

    page = receiver.get("/", headers={"Cookie": f"fleet_look={cookie}"})

    assert ("Since yesterday", ["joined the fleet"]) == news(page)


@pytest.fixture
def two_readers(database_url: str, clock: Clock) -> Iterator[tuple[httpx.Client, list[str]]]:
    keys = [made("admin"), made("viewer")]
    keep(database_url, *(key for key, _ in keys))
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock, tuning=tuning)
    with serve(app) as client:
        client.post("/heartbeat", json=BEAT, headers=bearer(keys[0][1])).raise_for_status()
        yield client, [signed_in(client, token)["Cookie"] for _, token in keys]


def test_last_visits_of_two_keys_in_one_browser_are_told_apart(
    two_readers: tuple[httpx.Client, list[str]], clock: Clock
) -> None:
    client, (one, other) = two_readers
    first = client.get("/", headers={"Cookie": one})
    ((look, rest),) = re.findall(r"fleet_look=([^;]+);([^,]+)", first.headers["set-cookie"])
    assert "samesite=lax" in rest.lower()
    client.cookies.clear()
    clock.advance(7200)

    def title(session: str) -> str:
        page = client.get("/", headers={"Cookie": f"{session}; fleet_look={look}"})
        client.cookies.clear()
        return news(page)[0]

    assert "Since yesterday" == title(other)
    assert "Since you last looked" == title(one)
