"""Signing in with a key: who may, what the cookie holds, and what the session reads."""

import html
import re

import httpx
import pytest
from sqlalchemy import Engine

import messages
from form_filling import (
    KeyOfEachScope,
    cookies,
    fault,
    form_of,
    new_browser,
    receiver_on,
    rows,
    signed_in,
    signs_in,
    title,
)
from keyring import bearer, keep, made
from receiver.store.credentials.sessions import Sessions
from servers import Clock


@pytest.mark.both_databases
@pytest.mark.parametrize("path", ["/", "/timeline?kind=late", "/server/a%2Fb%3F/c", "/keyring"])
def test_page_without_a_session_asks_for_sign_in_and_returns_to_it(
    receiver: httpx.Client, held: KeyOfEachScope, path: str
) -> None:
    asked = receiver.get(path)

    assert (401, "text/html; charset=utf-8") == (asked.status_code, asked.headers["content-type"])
    assert "Bearer" in asked.headers["www-authenticate"]
    assert "Sign in" == title(asked)
    assert ["./", "health"] == menu(asked)
    assert path == form_of(asked)["to"]
    there = signs_in(receiver, held.tokens["admin"], path)
    assert 303 == there.status_code
    assert str(receiver.base_url.join(path)) == str(there.next_request and there.next_request.url)
    assert receiver.get(path).status_code in {200, 404}


def menu(page: httpx.Response) -> list[str]:
    """Where the top and the foot of a page lead to, from the home page on."""
    top, foot = page.text.partition("<main")[0], page.text.partition("</main>")[2]
    links = re.findall(r'<a [^>]*href="([^"#]+)"', top + foot)
    return ["./" if not link.strip("./") else link.lstrip("./") for link in links]


def test_menu_is_shown_where_it_leads_anywhere(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    """Not to somebody who has to sign in first, also on a page that nobody has to sign in for."""
    receiver.headers["Accept"] = "text/html"
    before = [receiver.get("/sign-in"), receiver.get("/nowhere")]
    signed_in(receiver, held.tokens["viewer"])
    after = [receiver.get("/"), receiver.get("/nowhere")]

    assert [["./", "health"]] * 2 == [menu(page) for page in before]
    for page in after:
        assert {"timeline", "wall", "alerts", "servers", "openapi.json"} <= {*menu(page)}


def test_api_without_a_session_answers_with_a_problem(receiver: httpx.Client) -> None:
    answer = receiver.get("/servers")

    assert (401, "key_missing") == (answer.status_code, answer.json()["code"])


@pytest.mark.both_databases
@pytest.mark.parametrize("scope", ["viewer", "admin"])
def test_session_reads_all_pages_and_the_api(
    receiver: httpx.Client, held: KeyOfEachScope, scope: str
) -> None:
    receiver.post("/register", json=messages.registration(), headers=bearer(held.tokens["agent"]))
    signed_in(receiver, held.tokens[scope])

    paths = ("/", "/timeline", "/server/acme_web-1", "/servers", "/events", "/openapi.json")
    assert [200] * 6 == [receiver.get(path).status_code for path in paths]
    page = receiver.get("/").text
    assert f"<bdi>{scope}&#39;s</bdi> <small>{scope}</small>" in page
    assert "Sign out" in page


def test_session_cannot_write_through_the_api(receiver: httpx.Client, held: KeyOfEachScope) -> None:
    receiver.post("/register", json=messages.registration(), headers=bearer(held.tokens["agent"]))
    signed_in(receiver, held.tokens["admin"])

    answers = [
        receiver.get("/keys"),
        receiver.post("/keys", json={"name": "a", "scope": "admin"}),
        receiver.delete("/servers/acme_web-1"),
        receiver.post("/heartbeat", json=messages.heartbeat()),
        receiver.put("/servers/acme_web-1/owner", json={"key_id": None}),
    ]

    assert [(401, "key_missing")] * 5 == [(a.status_code, a.json()["code"]) for a in answers]


def test_session_cookie_holds_no_secret_of_the_key(
    receiver: httpx.Client, held: KeyOfEachScope, engine: Engine
) -> None:
    answer = signs_in(receiver, held.tokens["viewer"])

    value, attributes = cookies(answer)["fleet_session"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={12 * 3600}"} == attributes
    assert ("", {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=0"}) == (
        cookies(answer)["fleet_form"][0].strip('"'),
        cookies(answer)["fleet_form"][1],
    )
    (row,) = rows(engine)
    for secret in (held.tokens["viewer"], held.tokens["viewer"].rpartition("_")[2]):
        assert secret not in f"{value}{answer.headers}{answer.text}{row}"
        assert secret.encode() not in b"".join(each for each in row if isinstance(each, bytes))
    assert value.partition(".")[0].encode() not in row.digest


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"scheme": "https"}, {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200", "Secure"}),
        (
            {"root_path": "/fleet", "FLEET_SESSION_HOURS": "1"},
            {"HttpOnly", "SameSite=strict", "Path=/fleet", "Max-Age=3600"},
        ),
    ],
)
def test_cookie_attributes_follow_scheme_and_root_path(
    how: dict[str, str], expected: set[str], sqlite_url: str, clock: Clock
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with receiver_on(sqlite_url, clock, **how) as receiver:
        asked = receiver.get("/timeline")
        receiver.cookies.set("fleet_form", cookies(asked)["fleet_form"][0])  # for any path
        answer = receiver.post("/sign-in", data={**form_of(asked), "key": token})

    assert "/timeline" == form_of(asked)["to"]
    assert "./timeline" == answer.headers["location"]
    assert expected == cookies(answer)["fleet_session"][1]
    assert expected - {"Max-Age=43200", "Max-Age=3600"} == cookies(asked)["fleet_form"][1]


@pytest.mark.both_databases
def test_session_ends_after_its_hours(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock, engine: Engine
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    clock.advance(12 * 3600 - 1)
    assert 200 == receiver.get("/").status_code
    clock.advance(1)

    assert 401 == receiver.get("/").status_code
    assert 1 == len(rows(engine))
    signed_in(new_browser(receiver), held.tokens["viewer"])
    assert 1 == len(rows(engine))  # the expired session was deleted


def test_agent_key_cannot_sign_in(receiver: httpx.Client, held: KeyOfEachScope) -> None:
    answer = signs_in(receiver, held.tokens["agent"])

    assert 403 == answer.status_code
    assert "To read the fleet, it takes that of a viewer" in fault(answer)
    assert "fleet_session" not in cookies(answer)
    assert held.tokens["agent"] not in answer.text


@pytest.mark.parametrize("token", ["", "fleetkey_abcdefghij_" + 43 * "k", "ü\u202e", "<b>", "a\0"])
def test_wrong_key_is_not_echoed(receiver: httpx.Client, token: str) -> None:
    answer = signs_in(receiver, token, "/timeline")

    assert 401 == answer.status_code
    assert "There is no such key." == fault(answer)
    assert "/timeline" == form_of(answer)["to"]
    assert not token or html.escape(token) not in answer.text


def test_expired_and_revoked_keys_cannot_sign_in(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock
) -> None:
    admin = bearer(held.tokens["admin"])
    asked = {"name": "short", "scope": "viewer", "expires_at": "2026-01-31T13:00:00Z"}
    short = receiver.post("/keys", json=asked, headers=admin).json()["token"]
    receiver.delete(f"/keys/{held.keys['viewer'].id}", headers=admin).raise_for_status()
    clock.advance(3600)

    answers = [signs_in(receiver, each) for each in (short, held.tokens["viewer"])]

    assert [401, 401] == [answer.status_code for answer in answers]
    assert ["This key has expired.", "This key was revoked."] == [
        fault(answer).partition(" An")[0] for answer in answers
    ]


def test_many_wrong_keys_are_rate_limited(sqlite_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with receiver_on(sqlite_url, clock, FLEET_FAILURES_PER_MINUTE="2") as receiver:
        answers = [signs_in(receiver, f"wrong {n}") for n in range(3)]
        right = signs_in(receiver, token)

    assert [401, 401, 429] == [answer.status_code for answer in answers]
    assert 0 < int(answers[2].headers["retry-after"]) <= 60
    assert "Too many wrong keys" in fault(answers[2])
    assert 303 == right.status_code


@pytest.mark.both_databases
def test_signing_in_twice_ends_the_first_session(
    receiver: httpx.Client, held: KeyOfEachScope, engine: Engine
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    first = receiver.cookies["fleet_session"]

    answer = receiver.post(
        "/sign-in",
        data={**form_of(receiver.get("/sign-in"), action="sign-in"), "key": held.tokens["admin"]},
    )

    assert 303 == answer.status_code
    assert first != receiver.cookies["fleet_session"]
    assert [held.keys["admin"].id] == [row.key_id for row in rows(engine)]
    thief = new_browser(receiver)
    thief.cookies.set("fleet_session", first)
    assert 401 == thief.get("/").status_code


def test_invented_session_cookie_is_refused(receiver: httpx.Client, held: KeyOfEachScope) -> None:
    receiver.cookies.set("fleet_session", "chosen by an attacker")

    signed_in(new_browser(receiver), held.tokens["viewer"])

    assert 401 == receiver.get("/").status_code


@pytest.mark.parametrize("value", ["", "junk", "a.b", "é", 'x"y', "." * 4000])
def test_malformed_session_cookie_is_refused_without_a_query(
    receiver: httpx.Client, held: KeyOfEachScope, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def note(_: Sessions, digest: bytes) -> None:
        asked.append(digest)

    monkeypatch.setattr(Sessions, "find", note)
    headers = {b"Cookie": f"fleet_session={value}".encode()} if value else {}

    assert [401, 401] == [
        receiver.get(path, headers=headers).status_code for path in ("/", "/servers")
    ]
    assert [] == asked
    signed_in(receiver, held.tokens["viewer"])
    receiver.get("/")
    assert [32] == [len(digest) for digest in asked]


def test_bearer_key_takes_precedence_over_the_session(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])

    answers = [
        receiver.get("/", headers=bearer(token)).status_code
        for token in (held.tokens["viewer"], held.tokens["agent"], "wrong")
    ]

    assert [200, 403, 401] == answers
    assert "Sign out" not in receiver.get("/", headers=bearer(held.tokens["viewer"])).text
