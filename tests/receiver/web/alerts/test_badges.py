"""Badges: what they say, to whom, and that nothing in a name can break them."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

import messages
from alerting import Keys
from keyring import bearer
from receiver.web.alerts.badges import Badge, drawn
from servers import Clock, wait_until

SVG = "{http://www.w3.org/2000/svg}"

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(receiver: httpx.Client, keys: Keys) -> Ask:
    """Ask for a badge by the badge's key, without any header."""
    del receiver.headers["authorization"]

    def ask(path: str, **options: Any) -> httpx.Response:
        return receiver.get(f"/badges/{keys.badge}/{path}", **options)

    return ask


@pytest.fixture
def send(receiver: httpx.Client, keys: Keys) -> Callable[..., None]:
    def send(*ids: str, **fields: object) -> None:
        for server_id in ids:
            beat = messages.heartbeat(server_id=server_id, **fields)
            answer = receiver.post("/heartbeat", json=beat, headers=bearer(keys.agent))
            answer.raise_for_status()

    return send


def words(answer: httpx.Response) -> list[str]:
    """The texts of a badge, from left to right."""
    answer.raise_for_status()
    root = ET.fromstring(answer.content)
    return [each.text or "" for each in root.iter(f"{SVG}text")]


@pytest.mark.both_databases
def test_badge_says_the_state_of_a_server(
    ask: Ask, send: Callable[..., None], clock: Clock
) -> None:
    send("acme_web-1")
    path = "servers/acme_web-1.svg"
    first = ask(path)
    clock.advance(200)
    late = ask(path)
    wait_until(lambda: words(ask("servers.svg")) == ["servers", "1 late"])  # it is noticed
    clock.advance(1000)
    wait_until(lambda: words(ask(path)) == ["acme", "down"])

    assert (["acme", "up"], ["acme", "late"]) == (words(first), words(late))
    assert "image/svg+xml" == first.headers["content-type"]
    assert "no-cache" == first.headers["cache-control"]
    assert "cross-origin" == first.headers["cross-origin-resource-policy"]


def test_badge_of_a_server_has_another_label_if_it_is_asked_for(
    ask: Ask, send: Callable[..., None]
) -> None:
    send("a/b c")

    assert ["shop", "up"] == words(ask("servers/a%2Fb%20c.svg?label=shop"))


def test_badge_of_a_server_that_has_left_says_so(ask: Ask, send: Callable[..., None]) -> None:
    send("acme_web-1", status="uninstalled")

    assert ["acme", "left"] == words(ask("servers/acme_web-1.svg"))


def test_badge_of_an_unknown_server_is_not_found(ask: Ask) -> None:
    answer = ask("servers/nothing.svg")

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])


@pytest.mark.both_databases
def test_badge_of_servers_says_the_worst_state_among_them(
    ask: Ask, send: Callable[..., None], clock: Clock
) -> None:
    none = words(ask("servers.svg"))
    send("a", "b", "c")
    up = words(ask("servers.svg"))
    clock.advance(200)
    wait_until(lambda: words(ask("servers.svg")) == ["servers", "3 late"])
    send("a")
    clock.advance(1000)
    wait_until(lambda: words(ask("servers.svg")) == ["servers", "2 down"])

    assert (["servers", "none"], ["servers", "3 up"]) == (none, up)


def test_badge_of_servers_takes_a_filter(ask: Ask, send: Callable[..., None]) -> None:
    send("a", odoo_stage="production", database="acme")
    send("b", odoo_stage="staging", database="acme")

    assert ["production", "1 up"] == words(ask("servers.svg?query=stage:production"))
    assert ["acme", "2 up"] == words(ask("servers.svg?query=database:acme"))
    assert ["acme", "1 up"] == words(ask("servers.svg?query=database:acme+stage:staging"))
    assert ["mine", "0 down"] == words(ask("servers.svg?query=state:down&label=mine"))
    assert ["servers", "2 up"] == words(ask("servers.svg?query=state:up"))
    assert ["production, staging", "2 down or up"] == words(
        ask("servers.svg?query=stage:production,staging+state:up,down")
    )
    assert ["servers", "0 superseded"] == words(ask("servers.svg?query=state:superseded"))


def test_servers_of_a_revoked_key_are_not_counted_as_down(
    receiver: httpx.Client, ask: Ask, send: Callable[..., None], keys: Keys, clock: Clock
) -> None:
    send("a")
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="b"), headers=bearer(keys.other))
    clock.advance(200)
    wait_until(lambda: words(ask("servers.svg")) == ["servers", "2 late"])
    clock.advance(1000)
    wait_until(lambda: words(ask("servers.svg")) == ["servers", "2 down"])
    path = f"/keys/{keys.other.split('_')[1]}"
    receiver.delete(path, headers=bearer(keys.admin)).raise_for_status()

    assert ["servers", "1 down"] == words(ask("servers.svg"))


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("servers.svg?query=colour:red", "query"),
        ("servers.svg?query=stage:a+stage:b", "query"),
        ("servers.svg?state=down", "state"),
        ("servers.svg?label=" + 201 * "a", "label"),
        ("servers/acme_web-1.svg?query=stage:a", "query"),
    ],
)
def test_wrong_parameter_of_a_badge_is_refused(ask: Ask, path: str, parameter: str) -> None:
    answer = ask(path)

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert [parameter] == [each["path"] for each in answer.json()["errors"]]


def test_badge_that_has_not_changed_is_not_sent_again(ask: Ask, send: Callable[..., None]) -> None:
    send("acme_web-1")
    tag = ask("servers.svg").headers["etag"]
    same = ask("servers.svg", headers={"If-None-Match": f'"other", {tag}'})
    send("acme_web-2")
    other = ask("servers.svg", headers={"If-None-Match": tag})

    assert (304, b"") == (same.status_code, same.content)
    assert (tag, "no-cache") == (same.headers["etag"], same.headers["cache-control"])
    assert 200 == other.status_code


@pytest.mark.parametrize("path", ["servers.svg", "servers/acme_web-1.svg"])
def test_badges_are_opened_by_the_key_of_a_badge_only(
    receiver: httpx.Client, keys: Keys, send: Callable[..., None], path: str
) -> None:
    send("acme_web-1")
    statuses = {
        name: receiver.get(f"/badges/{token}/{path}").status_code
        for name, token in {**keys._asdict(), "unknown": "fleetkey_abcdefghij_k"}.items()
    }

    assert {
        "admin": 403,
        "viewer": 403,
        "agent": 403,
        "other": 403,
        "badge": 200,
        "unknown": 401,
    } == statuses


def test_key_of_a_badge_in_a_header_opens_nothing_else(receiver: httpx.Client, keys: Keys) -> None:
    paths = (
        "/servers",
        "/v0.1/servers",
        "/channels",
        "/keys",
        f"/registry/{keys.badge}/v0.1/servers",
    )
    answers = [receiver.get(path, headers=bearer(keys.badge)) for path in paths]

    assert [403] * 5 == [each.status_code for each in answers]


def test_revoked_key_opens_no_badge(receiver: httpx.Client, keys: Keys, ask: Ask) -> None:
    path = f"/keys/{keys.badge.split('_')[1]}"
    receiver.delete(path, headers=bearer(keys.admin)).raise_for_status()

    answer = ask("servers.svg")
    assert (401, "key_revoked") == (answer.status_code, answer.json()["code"])


def test_path_of_the_badge_is_told_with_its_key(receiver: httpx.Client, keys: Keys) -> None:
    asked = {"name": "readme", "scope": "badge"}
    made = receiver.post("/keys", json=asked, headers=bearer(keys.admin)).json()

    assert f"/badges/{made['token']}/servers.svg" == made["path"]
    assert 200 == receiver.get(made["path"]).status_code


HOSTILE = '<script>alert("x")</script>&amp;\'"]]>\x01\u202e\ufffe\U0001f600'


def test_hostile_names_are_escaped(ask: Ask, send: Callable[..., None]) -> None:
    send("acme_web-1", database=HOSTILE)
    by_name = ask("servers/acme_web-1.svg")
    by_label = ask("servers.svg", params={"label": HOSTILE})

    for answer in (by_name, by_label):
        assert b"<script" not in answer.content
        label, _ = words(answer)
        assert label.startswith('<script>alert("x")</script>&amp;\'"]]>\ufffd\ufffd')
        root = ET.fromstring(answer.content)
        assert root.attrib["aria-label"].startswith(label)
        assert {"svg", "title", "rect", "g", "text"} == {
            each.tag.removeprefix(SVG) for each in root.iter()
        }


def test_badge_cuts_a_long_name(ask: Ask, send: Callable[..., None]) -> None:
    send("acme_web-1", database=200 * "w")

    label, _ = words(ask("servers/acme_web-1.svg"))
    assert 59 * "w" + "…" == label


def test_badge_gives_wide_letters_more_room() -> None:
    narrow, wide, widest = (
        int(ET.fromstring(drawn(Badge(text, "up", "#000"))).attrib["width"])
        for text in ("iiii", "aaaa", "図図図図")
    )

    assert narrow < wide < widest


def test_badge_filter_finds_no_words_of_notes(
    ask: Ask, send: Callable[..., None], receiver: httpx.Client, keys: Keys
) -> None:
    """The addresses of badges are known to people who may not read the fleet."""
    send("acme_web-1")
    noted = receiver.patch(
        "/servers/acme_web-1/labels", json={"note": "call Ann"}, headers=bearer(keys.admin)
    )
    noted.raise_for_status()

    listed = receiver.get("/servers?query=ann", headers=bearer(keys.viewer)).json()
    assert 1 == listed["count"]
    assert ["servers", "none"] == words(ask("servers.svg?query=ann"))
    assert ["servers", "1 up"] == words(ask("servers.svg?query=acme"))
