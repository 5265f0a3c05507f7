"""The forms of the pages: sign in and out, CSRF protection, changes to servers and keys."""

import html
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import httpx
import pytest
from attrs import evolve
from sqlalchemy import Engine, make_url, text

import messages
from keyring import bearer, keep, made
from outages import away
from receiver.app import Tuning, create_app
from receiver.domain.keys import Key, Power
from receiver.store import SqlStore
from receiver.store.credentials.sessions import Sessions
from receiver.web.pages.wording import SCOPES
from receiver.web.routing import Guarded
from receiver.web.sse import event_stream
from servers import ANY_PAUSE_SECONDS, DIRECT, Clock, Observed, serve, wait_until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ASKS = 'id="asks"'
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@contextmanager
def receiver_on(
    database_url: str, clock: Clock, *, scheme: str = "http", root_path: str = "", **settings: str
) -> Iterator[httpx.Client]:
    app = create_app(
        environ={"FLEET_DATABASE_URL": database_url, **settings},
        clock=clock,
        tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05),
    )
    with serve(app, root_path=root_path) as client:
        if scheme == "https":  # proxies on loopback are trusted
            client.headers["X-Forwarded-Proto"] = scheme
        yield client


class KeyOfEachScope:
    """A key of each scope, and the token of each."""

    def __init__(self) -> None:
        made_keys = {
            scope: made(scope, name=f"{scope}'s") for scope in ("agent", "viewer", "admin")
        }
        self.keys: dict[str, Key] = {scope: key for scope, (key, _) in made_keys.items()}
        self.tokens: dict[str, str] = {scope: token for scope, (_, token) in made_keys.items()}


@pytest.fixture
def held(database_url: str) -> KeyOfEachScope:
    held = KeyOfEachScope()
    keep(database_url, *held.keys.values())
    return held


@pytest.fixture
def receiver(database_url: str, clock: Clock, held: KeyOfEachScope) -> Iterator[httpx.Client]:
    """A receiver that has keys."""
    with receiver_on(database_url, clock) as client:
        yield client


@pytest.fixture
def other(database_url: str, clock: Clock, receiver: httpx.Client) -> Iterator[httpx.Client]:
    """A second receiver on the same database."""
    with receiver_on(database_url, clock) as client:
        yield client


@pytest.fixture
def keyless(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver without keys."""
    with receiver_on(database_url, clock) as client:
        yield client


def form_of(page: httpx.Response, *, action: str = "") -> dict[str, str]:
    """The hidden fields of a form of a page."""
    forms = re.findall(r'<form[^>]*method="post"[^>]*>.*?</form>', page.text, re.DOTALL)
    (form,) = [each for each in forms if action in each.partition(">")[0]]
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in fields}


def signs_in(client: httpx.Client, token: str, path: str = "/", **headers: str) -> httpx.Response:
    """Sign in through the form that a page shows; the answer to the form."""
    asked = client.get(path)
    form = form_of(asked, action="sign-in")
    return client.post("/sign-in", data={**form, "key": token}, headers=headers)


def signed_in(client: httpx.Client, token: str) -> httpx.Client:
    assert 303 == signs_in(client, token).status_code
    return client


def signs_out(client: httpx.Client) -> httpx.Response:
    return client.post("/sign-out", data=form_of(client.get("/"), action="sign-out"))


def cookies(answer: httpx.Response) -> dict[str, tuple[str, set[str]]]:
    """The cookies that an answer sets: value and attributes of each."""
    found = {}
    for line in answer.headers.get_list("set-cookie"):
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        found[name] = value, set(attributes)
    return found


def notice(page: httpx.Response) -> str | None:
    found = re.search(r'id="notice" role="status"><bdi>([^<]*)<', page.text)
    return None if found is None else html.unescape(found[1])


def title(page: httpx.Response) -> str:
    (found,) = re.findall(r"<h1>([^<]*)</h1>", page.text)
    return html.unescape(found)


def fault(page: httpx.Response) -> str:
    """The error message on a page with a form."""
    (found,) = re.findall(r'role="alert">(.*?)</(?:p|div)>', page.text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM sessions")))


opened: list[httpx.Client] = []


def new_browser(receiver: httpx.Client) -> httpx.Client:
    """A client without the cookies of the first one, as another browser."""
    opened.append(
        httpx.Client(
            base_url=receiver.base_url,
            **DIRECT,
        )
    )
    return opened[-1]


@pytest.fixture(autouse=True)
def close_what_was_opened() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


# Signing in


@pytest.mark.both_databases
@pytest.mark.parametrize("path", ["/", "/timeline?kind=late", "/server/a%2Fb%3F/c", "/keyring"])
def test_page_without_a_session_asks_for_sign_in_and_returns_to_it(
    receiver: httpx.Client, held: KeyOfEachScope, path: str
) -> None:
    asked = receiver.get(path)

    assert (401, "text/html; charset=utf-8") == (asked.status_code, asked.headers["content-type"])
    assert "Bearer" in asked.headers["www-authenticate"]
    assert "Sign in" == title(asked)
    assert path == form_of(asked)["to"]
    there = signs_in(receiver, held.tokens["admin"], path)
    assert 303 == there.status_code
    assert str(receiver.base_url.join(path)) == str(there.next_request and there.next_request.url)
    assert receiver.get(path).status_code in {200, 404}


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


NO_PAGES = [
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example/",
    "javascript:alert(1)",
    "evil.example",
    "/server/a\r\nSet-Cookie: a=b",
    "/server/a b",
    "/server/\x00",
    "/server/ü",
    "/server/a#b",
    "/server/../../sign-out",
    "/server/%2e%2E/x",
    "/sign-out",
    "/servers",
    "/server/" + "a" * 4000,
    "",
    "?a=b",
]
"""Values of the field `to` that are no path of a page to which one may return."""


def test_redirect_to_another_site_is_replaced_by_the_front_page(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    for to in NO_PAGES:
        receiver.cookies.clear()
        form = {**form_of(receiver.get("/")), "to": to}

        answer = receiver.post("/sign-in", data={**form, "key": held.tokens["viewer"]})

        assert (303, "./") == (answer.status_code, answer.headers["location"]), to


@pytest.mark.parametrize("to", ["/timeline?server_id=a%2Fb&x=%20", "/server/..%2Fa", "/keyring"])
def test_redirect_to_a_page_of_the_receiver_is_kept(
    receiver: httpx.Client, held: KeyOfEachScope, to: str
) -> None:
    form = {**form_of(receiver.get("/sign-in")), "to": to}

    answer = receiver.post("/sign-in", data={**form, "key": held.tokens["viewer"]})

    assert f".{to}" == answer.headers["location"]


def test_long_return_path_loses_its_parameters(receiver: httpx.Client) -> None:
    asked = receiver.get(f"/timeline?server_id={'a' * 4000}")

    assert "/timeline" == form_of(asked)["to"]


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


# The end of a session


@pytest.mark.both_databases
def test_sign_out_ends_the_session(
    receiver: httpx.Client, held: KeyOfEachScope, engine: Engine
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    stolen = receiver.cookies["fleet_session"]

    signed_out = signs_out(receiver)

    assert (303, "./sign-in") == (signed_out.status_code, signed_out.headers["location"])
    assert "Max-Age=0" in cookies(signed_out)["fleet_session"][1]
    assert [] == rows(engine)
    page = receiver.get("/sign-in")
    assert (200, "Sign in", "You are signed out.") == (page.status_code, title(page), notice(page))
    assert None is notice(receiver.get("/sign-in"))
    thief = new_browser(receiver)
    thief.cookies.set("fleet_session", stolen)
    assert 401 == thief.get("/").status_code


@pytest.mark.both_databases
def test_session_is_shared_by_receivers_of_one_database(
    receiver: httpx.Client, other: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    other.cookies.set("fleet_session", receiver.cookies["fleet_session"])

    assert 200 == other.get("/").status_code
    signs_out(receiver)
    assert 401 == other.get("/").status_code


@pytest.mark.both_databases
@pytest.mark.parametrize("change", ["revoke", "rotate"])
def test_revoked_or_rotated_key_ends_its_sessions_on_all_receivers(
    receiver: httpx.Client, other: httpx.Client, held: KeyOfEachScope, change: str
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    other.cookies.set("fleet_session", receiver.cookies["fleet_session"])
    path = f"/keys/{held.keys['viewer'].id}"
    method, path = ("DELETE", path) if change == "revoke" else ("POST", f"{path}/rotate")

    receiver.request(method, path, headers=bearer(held.tokens["admin"])).raise_for_status()

    refused = receiver.get("/")
    assert 401 == refused.status_code
    assert "Sign out" not in refused.text
    wait_until(lambda: other.get("/").status_code == 401)


@pytest.mark.both_databases
def test_expired_key_ends_its_sessions(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock
) -> None:
    asked = {"name": "short", "scope": "viewer", "expires_at": "2026-01-31T13:00:00Z"}
    short = receiver.post("/keys", json=asked, headers=bearer(held.tokens["admin"])).json()
    signed_in(receiver, short["token"])
    clock.advance(3600)

    refused = receiver.get("/")

    assert 401 == refused.status_code
    assert "This key has expired." in fault(refused)


@pytest.mark.both_databases
def test_session_of_an_unknown_key_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope, engine: Engine
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    with engine.begin() as connection:
        connection.execute(text("UPDATE sessions SET key_id = 'gone'"))

    assert 401 == receiver.get("/").status_code


@pytest.fixture
def neighbour(database_url: str, store: SqlStore) -> Iterator[SqlStore]:
    """A second receiver's store in the same database."""
    with closing(SqlStore(make_url(database_url))) as neighbour:
        yield neighbour


@pytest.mark.both_databases
def test_session_secret_is_made_once_and_shared(store: SqlStore, neighbour: SqlStore) -> None:
    secret = store.sessions.secret("a")

    assert 32 == len(secret)
    assert secret == store.sessions.secret("a") == neighbour.sessions.secret("a")
    assert secret != store.sessions.secret("b")


@pytest.mark.both_databases
def test_concurrent_receivers_share_one_session_secret(database_url: str) -> None:
    for n in range(5):
        stores = [SqlStore(make_url(database_url)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            found = {*pool.map(lambda store, name=f"{n}": store.sessions.secret(name), stores)}
        for store in stores:
            store.close()
        assert 1 == len(found)


# CSRF protection


def posts(
    client: httpx.Client, path: str, form: Mapping[str, str], **headers: str
) -> httpx.Response:
    return client.post(path, content=urlencode(form), headers={**FORM, **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://[::1"},
        {"Origin": "http://"},
    ],
    ids=str,
)
def test_cross_site_form_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope, headers: dict[str, str]
) -> None:
    form = {**form_of(receiver.get("/timeline")), "key": held.tokens["viewer"]}

    answer = posts(receiver, "/sign-in", form, **headers)

    assert 403 == answer.status_code
    assert "This form was open for too long" in fault(answer)
    assert "/timeline" == form_of(answer)["to"]
    assert held.tokens["viewer"] not in answer.text
    assert "fleet_session" not in cookies(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # some proxies leave out the port
        {},
    ],
    ids=str,
)
def test_same_site_form_is_accepted(
    receiver: httpx.Client, held: KeyOfEachScope, headers: dict[str, str]
) -> None:
    form = {**form_of(receiver.get("/")), "key": held.tokens["viewer"]}

    assert 303 == posts(receiver, "/sign-in", form, **headers).status_code


@pytest.mark.parametrize("csrf_token", [None, "", "x", "ü"])
def test_form_without_a_valid_csrf_token_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope, csrf_token: str | None
) -> None:
    form = {**form_of(receiver.get("/")), "key": held.tokens["viewer"]}
    changed = {**form, "form": csrf_token} if csrf_token is not None else {"key": form["key"]}

    assert 403 == posts(receiver, "/sign-in", changed).status_code


def test_csrf_token_of_another_browser_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    form = form_of(receiver.get("/"))
    without, with_another = new_browser(receiver), new_browser(receiver)
    with_another.get("/")

    answers = [
        posts(client, "/sign-in", {**form, "key": held.tokens["viewer"]})
        for client in (without, with_another)
    ]

    assert [403, 403] == [answer.status_code for answer in answers]


def test_invented_csrf_cookie_is_replaced(receiver: httpx.Client) -> None:
    receiver.cookies.set("fleet_form", "chosen by an attacker", path="/")

    asked = receiver.get("/")

    assert 43 == len(cookies(asked)["fleet_form"][0])
    assert "fleet_form" not in cookies(
        receiver.get(
            "/",
            headers={
                "Cookie": "; ".join(
                    f"{name}={value}" for name, (value, _) in cookies(asked).items()
                )
            },
        )
    )


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"a=b&a=c", FORM, 400),
        (b"a", FORM, 400),
        (b"a=%ff", FORM, 400),
        (b"a=\xff", FORM, 400),
        ("&".join(f"a{n}=b" for n in range(101)).encode(), FORM, 400),
        (b"a=" + b"b" * 16_384, FORM, 413),
        (b'{"key": "a"}', {"Content-Type": "application/json"}, 415),
        (b"a=b", {}, 415),
        (b"a=b", {**FORM, "Content-Encoding": "gzip"}, 415),
        (b"", FORM, 403),
        (b"", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, 403),
    ],
)
def test_malformed_form_is_refused_with_a_page(
    receiver: httpx.Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = receiver.post("/sign-in", content=content, headers=headers)

    assert (status, "text/html; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )


def test_form_that_does_not_arrive_times_out_with_408(sqlite_url: str, clock: Clock) -> None:
    keep(sqlite_url, made("viewer")[0])
    app = create_app(
        environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock, tuning=Tuning(body_seconds=0.1)
    )
    with serve(app) as receiver:
        url = receiver.base_url
        head = f"POST /sign-in HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 9\r\n"
        head += f"Content-Type: {FORM['Content-Type']}\r\n\r\n"
        with socket.create_connection((url.host, url.port or 0)) as slow:
            slow.sendall(head.encode() + b"a=")
            assert slow.makefile("rb").readline().startswith(b"HTTP/1.1 408 ")
        with socket.create_connection((url.host, url.port or 0)) as gone:
            gone.sendall(head.encode() + b"a=")
        assert 200 == receiver.get("/health").status_code


# Servers


SERVER = "/server/acme_web-1"


@pytest.fixture
def registered(receiver: httpx.Client, held: KeyOfEachScope) -> httpx.Client:
    """A receiver with one server, which the agent key owns."""
    agent = bearer(held.tokens["agent"])
    receiver.post("/register", json=messages.registration(), headers=agent).raise_for_status()
    return receiver


@pytest.mark.both_databases
def test_admin_deletes_a_server_after_a_confirmation(
    registered: httpx.Client, held: KeyOfEachScope, audit: list[str]
) -> None:
    signed_in(registered, held.tokens["admin"])
    link = re.findall(r'href="([^"]+/delete)"', registered.get(SERVER).text)[0]

    asked = registered.get(urljoin(SERVER, link))
    done = posts(registered, f"{SERVER}/delete", form_of(asked, action=ASKS), **SAME_ORIGIN)

    assert "Forget this server?" == title(asked)
    for said in ("It is in no list", "stays in the timeline", "taken for a new server"):
        assert said in asked.text
    assert (303, "../../") == (done.status_code, done.headers["location"])
    page = registered.get("/")
    assert "The server acme_web-1 was forgotten." == notice(page)
    assert None is notice(registered.get("/"))
    assert 404 == registered.get(SERVER).status_code
    admin = held.keys["admin"]
    assert [
        f"key {admin.id} (\"admin's\") deleted the server 'acme_web-1', from 127.0.0.1"
    ] == audit
    gone = registered.get(f"{SERVER}/delete")
    assert (404, "There is no such server") == (gone.status_code, title(gone))


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Mode": "cors"}, {"Fleet-Blocks": "somesalt"}])
def test_background_fetch_keeps_the_notice(
    registered: httpx.Client, held: KeyOfEachScope, headers: dict[str, str]
) -> None:
    signed_in(registered, held.tokens["admin"])
    form = form_of(registered.get(f"{SERVER}/delete"), action=ASKS)
    posts(registered, f"{SERVER}/delete", form)

    fetched = registered.get("/", headers=headers)

    assert None is notice(fetched)
    assert "The server acme_web-1 was forgotten." not in fetched.text
    assert "The server acme_web-1 was forgotten." == notice(registered.get("/"))


def test_forged_notice_cookie_is_not_shown(registered: httpx.Client, held: KeyOfEachScope) -> None:
    signed_in(registered, held.tokens["admin"])
    registered.cookies.set("fleet_message", "IkNhbGwgMDgwMC1IQUNLIg.signature")

    assert None is notice(registered.get("/"))


RESERVED = ["a/b", "a/delete", "delete", "a/owner", "../x", "ü ?#%", "//evil.example/x", "<b>"]
"""Ids of servers with characters, or names of calls, that mean something in a path."""


@pytest.mark.both_databases
def test_server_ids_with_reserved_characters_can_be_deleted(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])
    for server_id in RESERVED:
        beat = messages.slim(server_id=server_id)
        receiver.post("/heartbeat", json=beat, headers=bearer(held.tokens["admin"]))
        page = receiver.get(f"/server/{quote(server_id, safe='')}")
        assert f"<h1><bdi>{html.escape(server_id)}</bdi></h1>" in page.text

        link = re.findall(r'href="([^"]+/delete)"', page.text)[-1]
        asked = receiver.get(urljoin(str(page.url), html.unescape(link)))
        (back,) = re.findall(r'href="([^"]+)">Go back<', asked.text)
        form = form_of(asked, action=ASKS)
        done = receiver.post(str(asked.url), data=form, follow_redirects=True)

        assert str(page.url) == urljoin(str(asked.url), html.unescape(back))
        assert f"The server {server_id} was forgotten." == notice(done)
        assert str(receiver.base_url.join("/")) == str(done.url)
        assert 404 == receiver.get(str(page.url)).status_code


def test_form_with_an_old_csrf_token_is_shown_again(
    registered: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(registered, held.tokens["admin"])

    answer = posts(registered, f"{SERVER}/delete", {"form": "old"})

    assert (403, "Forget this server?") == (answer.status_code, title(answer))
    assert "Nothing was changed." in fault(answer)
    second = posts(registered, f"{SERVER}/delete", form_of(answer, action=ASKS))
    assert 303 == second.status_code


@pytest.mark.both_databases
def test_deleting_a_server_twice_is_404(registered: httpx.Client, held: KeyOfEachScope) -> None:
    signed_in(registered, held.tokens["admin"])
    form = form_of(registered.get(f"{SERVER}/delete"), action=ASKS)

    answers = [posts(registered, f"{SERVER}/delete", form) for _ in range(2)]

    assert [303, 404] == [answer.status_code for answer in answers]


def test_viewer_sees_no_admin_controls_and_gets_403(
    registered: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(registered, held.tokens["viewer"])
    page = registered.get(SERVER).text
    form = form_of(registered.get(SERVER), action="sign-out")

    answers = [
        registered.get(f"{SERVER}/delete"),
        posts(registered, f"{SERVER}/delete", form),
        posts(registered, f"{SERVER}/owner", {**form, "key_id": ""}),
        registered.get("/keyring"),
        posts(registered, "/keyring", {**form, "name": "a", "scope": "admin"}),
        registered.get(f"/keyring/{held.keys['agent'].id}/revoke"),
        posts(registered, f"/keyring/{held.keys['agent'].id}/rotate", form),
    ]

    for text_of_page in ("/delete", "/owner", "keyring", "agent"):
        assert text_of_page not in page
    assert {403} == {answer.status_code for answer in answers}
    for answer in answers:
        assert "A key of the scope viewer may not delete servers" in html.unescape(answer.text)
        assert "Sign out" in answer.text
    assert 200 == registered.get(SERVER).status_code


@pytest.mark.parametrize("path", [f"{SERVER}/delete", f"{SERVER}/owner", "/keyring"])
def test_form_without_a_session_returns_to_its_page_after_sign_in(
    registered: httpx.Client, held: KeyOfEachScope, path: str
) -> None:
    answer = posts(registered, path, {"form": "x"})

    assert 401 == answer.status_code
    assert path.removesuffix("/owner") == form_of(answer)["to"]


def heirs(page: httpx.Response) -> list[str]:
    """The keys to which the page of a server offers to hand it over."""
    form = page.text.partition('id="heirs"')[2]
    return re.findall(r'<option value="([^"]*)">', form)


@pytest.mark.both_databases
def test_admin_changes_the_owner_of_a_server(
    registered: httpx.Client, held: KeyOfEachScope, audit: list[str]
) -> None:
    signed_in(registered, held.tokens["admin"])
    page = registered.get(SERVER)
    agent, admin = held.keys["agent"], held.keys["admin"]

    assert f"<bdi>agent&#39;s</bdi> <small>{agent.id}, active" in page.text
    assert ["", admin.id] == heirs(page)
    form = form_of(page, action="/owner")
    given = registered.post(
        f"{SERVER}/owner", data={**form, "key_id": admin.id}, follow_redirects=True
    )
    assert str(registered.base_url.join(SERVER)) == str(given.url)
    assert "The server belongs to the key admin's now." == notice(given)
    assert f"<bdi>admin&#39;s</bdi> <small>{admin.id}, active" in given.text
    freed = registered.post(f"{SERVER}/owner", data={**form, "key_id": ""}, follow_redirects=True)
    assert "The server is unowned now: the next key that writes it becomes its owner." == notice(
        freed
    )
    assert [agent.id, admin.id] == sorted(heirs(freed), key=lambda each: each == admin.id)
    assert [f"handed over to {admin.id}", "handed over to whoever comes next"] == [
        re.findall(r"handed over to .*(?= the server)", line)[0] for line in audit
    ]


@pytest.mark.both_databases
def test_invalid_owner_of_a_server_is_refused(
    registered: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(registered, held.tokens["admin"])
    form = form_of(registered.get(SERVER), action="/owner")

    answers = [
        posts(registered, f"{SERVER}/owner", {**form, "key_id": "nobody"}),
        posts(registered, "/server/gone/owner", {**form, "key_id": ""}),
        posts(registered, f"{SERVER}/owner", {"form": "old", "key_id": ""}),
    ]

    assert [422, 404, 403] == [answer.status_code for answer in answers]
    assert "There is no key &#39;nobody&#39; that is not revoked" in answers[0].text
    assert 'href="../../server/acme_web-1">Go back to the page<' in answers[2].text
    assert "agent&#39;s" in registered.get(SERVER).text


# Keys


def new_key(client: httpx.Client, **asked: str) -> httpx.Response:
    """Send the form that makes a key; the page that the browser shows then."""
    form = form_of(client.get("/keyring"), action="/keyring")
    return follow(client, posts(client, "/keyring", {**form, **asked}))


def follow(client: httpx.Client, answer: httpx.Response) -> httpx.Response:
    """The page to which a form redirects; the answer itself if it does not."""
    there = answer.next_request
    return answer if there is None else client.get(there.url)


def shown(page: httpx.Response) -> str:
    (token,) = re.findall(r'<code id="the-key">(\w+)</code>', page.text)
    return str(token)


@pytest.mark.both_databases
def test_admin_makes_a_key(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock, audit: list[str]
) -> None:
    signed_in(receiver, held.tokens["admin"])
    form = receiver.get("/keyring").text
    assert ["viewer"] == re.findall('value="([a-z]+)" required checked', form)
    assert all(does in form for does in SCOPES.values())

    made_now = new_key(
        receiver, name="acme", scope="agent", servers="acme_*", expires_at="2026-02-02"
    )

    token = shown(made_now)
    assert (200, "The key was made") == (made_now.status_code, title(made_now))
    assert f"/keyring/{token.split('_')[1]}/secret" == made_now.url.path
    assert "no-store" == made_now.headers["cache-control"]
    (key,) = [
        each
        for each in receiver.get("/keys", headers=bearer(held.tokens["admin"])).json()["keys"]
        if each["name"] == "acme"
    ]
    assert ("agent", "acme_*", "2026-02-02T00:00:00Z") == (
        key["scope"],
        key["servers"],
        key["expires_at"],
    )
    beat = receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
    assert 200 == beat.status_code
    page = receiver.get("/keyring").text
    for there in (key["id"], "acme_*", "until 2026-02-02", "agent&#39;s", "viewer&#39;s"):
        assert there in page
    assert token not in page
    assert token.rpartition("_")[2] not in "".join(audit)
    assert f"made a key for agents, '{key['id']}'" in audit[0]


def test_page_of_a_new_key_shows_the_path_that_it_opens(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])

    registry = new_key(receiver, name="team", scope="registry")
    badge = new_key(receiver, name="readme", scope="badge")
    viewer = new_key(receiver, name="a", scope="viewer")

    path = f'<code id="the-path">/registry/{shown(registry)}</code>'
    assert path in registry.text
    assert "for clients of the MCP registry" in registry.text
    assert f'<code id="the-path">/badges/{shown(badge)}/servers.svg</code>' in badge.text
    assert "for badges" in badge.text
    assert "the-path" not in viewer.text


@pytest.mark.parametrize(("servers", "warnings"), [("acme_*", 1), ("database:acme", 0), ("", 0)])
def test_pattern_that_covers_several_databases_is_warned_of(
    receiver: httpx.Client, held: KeyOfEachScope, servers: str, warnings: int
) -> None:
    signed_in(receiver, held.tokens["admin"])

    made_now = new_key(receiver, name="acme", scope="agent", servers=servers)

    assert shown(made_now)
    assert warnings == made_now.text.count("The pattern acme_* covers servers of several databases")


def test_invalid_new_key_is_explained_and_the_input_is_kept(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])
    typed = {"name": "<acme>", "scope": "agent", "servers": "a*", "expires_at": "2020-01-01"}

    answer = new_key(receiver, **typed)

    assert (422, "Expires on is over already") == (answer.status_code, fault(answer))
    agent = 'value="agent" required checked'
    for kept in ("&lt;acme&gt;", agent, 'value="a*"', 'value="2020-01-01"'):
        assert kept in answer.text
    assert 422 == new_key(receiver, name="", scope="root").status_code
    expired = posts(receiver, "/keyring", {**typed, "form": "old"})
    assert 403 == expired.status_code
    assert 'value="&lt;acme&gt;"' in expired.text
    assert 3 == receiver.get("/keys", headers=bearer(held.tokens["admin"])).json()["count"]


def test_key_with_only_a_name_covers_all_servers_and_never_expires(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])

    token = shown(new_key(receiver, name="all", scope="agent", servers="", expires_at=""))

    beat = receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
    assert 200 == beat.status_code


@pytest.mark.both_databases
def test_admin_revokes_a_key_after_a_confirmation(
    receiver: httpx.Client, held: KeyOfEachScope, audit: list[str]
) -> None:
    signed_in(receiver, held.tokens["admin"])
    path = f"/keyring/{held.keys['viewer'].id}/revoke"
    assert path[1:] in receiver.get("/keyring").text

    asked = receiver.get(path)
    done = receiver.post(path, data=form_of(asked, action=ASKS), follow_redirects=True)

    assert "Revoke this key?" == title(asked)
    assert "you will be signed out" not in asked.text
    assert "The key viewer's was revoked." == notice(done)
    assert path[1:] not in done.text
    assert 401 == signs_in(new_browser(receiver), held.tokens["viewer"]).status_code
    assert [True] == [f"revoked the key '{held.keys['viewer'].id}'" in each for each in audit]
    assert 404 == posts(receiver, path, form_of(asked, action=ASKS)).status_code
    assert 404 == receiver.get("/keyring/nobody/revoke").status_code


@pytest.mark.both_databases
@pytest.mark.parametrize(("ticked", "left"), [({"also": "1"}, 0), ({}, 2)])
def test_admin_revokes_a_key_with_its_servers(
    receiver: httpx.Client, held: KeyOfEachScope, ticked: dict[str, str], left: int
) -> None:
    beats = [messages.slim(server_id=each) for each in "xy"]
    by_agent = bearer(held.tokens["agent"])
    before = receiver.get("/servers", headers=bearer(held.tokens["admin"])).json()["count"]
    receiver.post("/heartbeats", json=beats, headers=by_agent).raise_for_status()
    signed_in(receiver, held.tokens["admin"])
    path = f"/keyring/{held.keys['agent'].id}/revoke"

    asked = receiver.get(path)
    form = form_of(asked, action=ASKS) | ticked
    done = receiver.post(path, data=form, follow_redirects=True)

    assert '<input type="checkbox" name="also" value="1"> Forget its servers, too' in asked.text
    forgotten = " Servers that were forgotten: 2." if ticked else ""
    assert f"The key agent's was revoked.{forgotten}" == notice(done)
    after = receiver.get("/servers", headers=bearer(held.tokens["admin"])).json()["count"]
    assert left == after - before


@pytest.mark.both_databases
def test_admin_rotates_their_own_key(receiver: httpx.Client, held: KeyOfEachScope) -> None:
    signed_in(receiver, held.tokens["admin"])
    path = f"/keyring/{held.keys['admin'].id}/rotate"

    asked = receiver.get(path)
    done = follow(receiver, posts(receiver, path, form_of(asked, action=ASKS)))

    assert "You are signed in with this key: you will be signed out." in asked.text
    assert (200, "The key was rotated") == (done.status_code, title(done))
    assert "Sign out" not in done.text
    assert 401 == receiver.get("/keyring").status_code
    signed_in(receiver, shown(done))


@pytest.mark.parametrize("done", ["made", "rotated"])
def test_new_key_is_shown_once_and_a_reload_makes_no_other(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock, done: str
) -> None:
    admin = bearer(held.tokens["admin"])
    signed_in(receiver, held.tokens["admin"])
    made_path, rotated_path = "/keyring", f"/keyring/{held.keys['viewer'].id}/rotate"
    if done == "made":
        fields = form_of(receiver.get(made_path), action=made_path)
        sent = posts(receiver, made_path, {**fields, "name": "<ü>", "scope": "viewer"})
    else:
        sent = posts(receiver, rotated_path, form_of(receiver.get(rotated_path), action=ASKS))
    before = kept_keys(receiver, admin)
    there = f"{sent.next_request.url}" if sent.next_request else ""
    ((name, (sealed, attributes)),) = cookies(sent).items()

    script = receiver.get(there, headers={"Sec-Fetch-Mode": "cors"})
    first = receiver.get(there)
    second = receiver.get(there)

    assert (303, 303, 200) == (sent.status_code, script.status_code, first.status_code)
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=60"} == attributes
    assert f"The key was {done}" == title(first)
    assert "Sign out" in first.text
    assert ("&lt;ü&gt;" if done == "made" else "viewer&#39;s") in first.text
    token = shown(first)
    assert 200 == receiver.get("/servers", headers=bearer(token)).status_code
    assert token not in f"{sent.headers}{sent.text}"
    assert "Max-Age=0" in cookies(first)[name][1]
    assert (303, "../../keyring") == (second.status_code, second.headers["location"])
    assert before == kept_keys(receiver, admin)
    kept = {"Cookie": f"{name}={sealed}"}
    assert token == shown(new_browser(receiver).get(there, headers=kept))
    clock.advance(61)
    for value in (sealed, "junk", "é"):
        late = {b"Cookie": f"{name}={value}".encode()}
        assert 303 == new_browser(receiver).get(there, headers=late).status_code


def kept_keys(client: httpx.Client, admin: dict[str, str]) -> list[dict[str, Any]]:
    """All keys that there are, without when they were used, which is noted some time later."""
    found = client.get("/keys", headers=admin).json()["keys"]
    return [{name: each[name] for name in each if name != "last_used_at"} for each in found]


def test_two_browser_windows_that_make_keys_each_show_their_own_key(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])
    form = form_of(receiver.get("/keyring"), action="/keyring")

    sent = [posts(receiver, "/keyring", {**form, "name": n, "scope": "viewer"}) for n in "ab"]
    pages = [follow(receiver, each) for each in sent]

    names = [re.findall(r"<b><bdi>(\w)</bdi></b>", page.text) for page in pages]
    assert [["a"], ["b"]] == names
    assert 2 == len({*map(shown, pages)})
    again = receiver.get(pages[0].url, follow_redirects=True)
    assert "Keys" == title(again)
    key_id = shown(pages[0]).split("_")[1]
    assert f"If nobody has kept that of the key {key_id}, rotate the key." in (notice(again) or "")
    signs_out(receiver)
    assert "Sign in" == title(receiver.get(pages[0].url, follow_redirects=True))


# Without keys


@pytest.mark.parametrize("path", ["/sign-in", "/keyring"])
def test_receiver_without_keys_explains_how_to_make_one(keyless: httpx.Client, path: str) -> None:
    answers = [
        keyless.get(path),
        keyless.get(path, headers={"X-Forwarded-For": "192.0.2.7"}),
        keyless.get("/", headers={"X-Forwarded-For": "192.0.2.7"}),
    ]

    for answer in answers:
        assert 403 == answer.status_code
        assert "This receiver has no keys yet" == title(answer)
        assert "odoo-mcp-fleet keys create --name admin --scope admin" in answer.text
        assert 'data-stream=""' in answer.text


def test_sign_in_without_any_keys_is_refused(keyless: httpx.Client) -> None:
    keyless.post("/register", json=messages.registration())
    form = form_of(keyless.get(f"{SERVER}/delete"))

    answers = [
        posts(keyless, "/sign-in", {**form, "key": "a"}),
        posts(keyless, "/keyring", {**form, "name": "a", "scope": "admin"}),
        posts(keyless, f"{SERVER}/owner", {**form, "key_id": ""}),
        keyless.get("/keyring/a/revoke"),
    ]

    assert [403] * 4 == [answer.status_code for answer in answers]
    assert ["This receiver has no keys yet"] * 4 == [title(answer) for answer in answers]
    page = keyless.get(SERVER).text
    for text_of_page in ("/owner", "keyring", "Sign out"):
        assert text_of_page not in page


def test_keyless_receiver_deletes_a_server_for_local_forms_only(
    keyless: httpx.Client, audit: list[str]
) -> None:
    keyless.post("/register", json=messages.registration())
    form = form_of(keyless.get(f"{SERVER}/delete"))
    cross_site = [
        posts(keyless, f"{SERVER}/delete", {}),
        posts(keyless, f"{SERVER}/delete", form, **{"Sec-Fetch-Site": "cross-site"}),
        posts(keyless, f"{SERVER}/delete", form, Origin="http://evil.example"),
        posts(keyless, f"{SERVER}/delete", form, Host="evil.example"),
        posts(new_browser(keyless), f"{SERVER}/delete", form),
    ]
    assert [403] * 5 == [answer.status_code for answer in cross_site]
    assert 200 == keyless.get(SERVER).status_code

    done = posts(keyless, f"{SERVER}/delete", form, **SAME_ORIGIN)

    assert 303 == done.status_code
    assert 404 == keyless.get(SERVER).status_code
    assert ["somebody without a key deleted the server 'acme_web-1', from 127.0.0.1"] == audit


# Links from other sites, with which browsers send no strict cookie


CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


def test_cross_site_link_reloads_to_get_the_session_cookie(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    mailed = new_browser(receiver)

    first = mailed.get("/timeline?kind=late", headers=CROSS_SITE)

    assert 401 == first.status_code
    assert '<meta http-equiv="refresh" content="0">' in first.text
    for text_of_page in ("<form", "<script", "fleet_form"):
        assert text_of_page not in f"{first.text}{first.headers}"
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=10"} == cookies(first)["fleet_again"][1]
    mailed.cookies.set("fleet_session", receiver.cookies["fleet_session"])
    assert 200 == mailed.get("/timeline?kind=late", headers=CROSS_SITE).status_code


def test_cross_site_link_without_a_session_reloads_only_once(receiver: httpx.Client) -> None:
    first, second = (receiver.get("/", headers=CROSS_SITE) for _ in range(2))

    assert "refresh" in first.text
    assert "Sign in" == title(second)


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_same_site_link_without_a_session_shows_the_form_at_once(
    receiver: httpx.Client, site: str
) -> None:
    assert "Sign in" == title(receiver.get("/", headers={"Sec-Fetch-Site": site}))


def test_cross_site_link_with_an_invalid_session_shows_the_form(receiver: httpx.Client) -> None:
    answer = receiver.get("/", headers={**CROSS_SITE, "Cookie": "fleet_session=a.b"})

    assert "Sign in" == title(answer)


def test_cross_site_form_is_not_reloaded(receiver: httpx.Client) -> None:
    assert "Sign in" == title(posts(receiver, "/keyring", {}, **CROSS_SITE))


# Database failures


def test_sign_in_and_out_fail_while_the_database_is_unavailable(
    sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with receiver_on(sqlite_url, clock) as receiver:
        form = form_of(receiver.get("/"))
        signed_in(receiver, token)
        with closing(sqlite3.connect(tmp_path / "fleet.db")) as database:
            database.execute("ALTER TABLE sessions RENAME TO gone")
            answers = [
                receiver.get("/"),
                receiver.get("/servers"),
                posts(receiver, "/sign-out", {}),
                posts(new_browser(receiver), "/sign-in", {**form, "key": token}),
            ]
            database.execute("ALTER TABLE gone RENAME TO sessions")

        assert [503, 503, 403, 403] == [answer.status_code for answer in answers]
        assert "The fleet cannot be read right now" == title(answers[0])
        assert "store_unavailable" == answers[1].json()["code"]
        assert 200 == receiver.get("/").status_code


@pytest.mark.parametrize("method", ["begin", "end"])
def test_person_stays_signed_in_when_the_database_fails_while_they_sign_in_again(
    sqlite_url: str, clock: Clock, method: str
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    app = Observed(
        create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock, tuning=tuning)
    )
    with serve(app) as receiver:
        signed_in(receiver, token)
        form = form_of(receiver.get("/sign-in"), action="sign-in")
        with away(app.services.store.sessions, method):
            answer = receiver.post("/sign-in", data={**form, "key": token})

        assert [503, 200] == [answer.status_code, receiver.get("/").status_code]


# Event streams end with the key or session that opened them


@contextmanager
def streaming(
    database_url: str, clock: Clock, *, session_seconds: float = 60.0
) -> Iterator[tuple[httpx.Client, SqlStore]]:
    """A receiver whose event streams check key and session often, and a store of its database."""
    app = create_app(
        environ={"FLEET_DATABASE_URL": database_url},
        clock=clock,
        tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05),
    )
    endpoint = partial(event_stream, look_seconds=0.05, session_seconds=session_seconds)
    route = Guarded("/events/stream", endpoint, methods=["GET"], needs=Power.READ)
    app.router.routes.insert(0, route)
    with serve(app) as client, closing(SqlStore(make_url(database_url))) as store:
        yield client, store


@contextmanager
def followed(client: httpx.Client, **headers: str) -> Iterator[Callable[[], bool]]:
    """Read a stream in a thread; yields a function that says whether the stream has ended."""
    with new_browser(client).stream("GET", "/events/stream", headers=headers) as answer:
        assert 200 == answer.status_code
        pieces = answer.iter_text()
        assert "retry" in next(pieces)

        def read() -> None:
            with suppress(httpx.TransportError):
                for _ in pieces:
                    pass

        reading = threading.Thread(target=read)
        reading.start()
        yield lambda: not reading.is_alive()
        wait_until(lambda: not reading.is_alive())


@pytest.mark.both_databases
@pytest.mark.parametrize("by", ["key", "session"])
@pytest.mark.parametrize("change", ["revoked", "rotated", "expired"])
def test_stream_ends_with_its_key(database_url: str, clock: Clock, by: str, change: str) -> None:
    key, token = made("viewer")
    key = evolve(key, expires_at=clock.now + timedelta(hours=1))
    keep(database_url, key)
    with streaming(database_url, clock) as (client, store):
        headers = bearer(token) if by == "key" else session_of(client, token)
        with followed(client, **headers) as has_ended:
            time.sleep(0.3)
            assert not has_ended()
            if change == "revoked":
                store.keys.revoke(key.id, clock.now)
            elif change == "rotated":
                store.keys.rotate(key.id, bytes(32), key.expires_at)
            else:
                clock.advance(3600)
            wait_until(has_ended)
        assert 401 == new_browser(client).get("/events/stream", headers=headers).status_code


def session_of(client: httpx.Client, token: str) -> dict[str, str]:
    """Sign in; the Cookie header that a browser would send then."""
    browser = signed_in(new_browser(client), token)
    return {"Cookie": f"fleet_session={browser.cookies['fleet_session']}"}


def test_keyless_stream_ends_when_the_first_key_is_made(database_url: str, clock: Clock) -> None:
    with streaming(database_url, clock) as (client, store), followed(client) as has_ended:
        time.sleep(0.3)
        assert not has_ended()
        store.keys.add(made("viewer")[0])


@pytest.mark.both_databases
def test_stream_of_a_session_ends_at_sign_out(database_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(database_url, viewer)
    with streaming(database_url, clock, session_seconds=0.2) as (client, store):
        browser = signed_in(new_browser(client), token)
        cookie = {"Cookie": f"fleet_session={browser.cookies['fleet_session']}"}
        with followed(client, **cookie) as stays, followed(client, **bearer(token)) as goes_on:
            time.sleep(0.5)
            assert (False, False) == (stays(), goes_on())
            signs_out(browser)
            wait_until(stays)
            assert not goes_on()
            store.keys.revoke(viewer.id, clock.now)


def test_stream_of_a_session_ends_with_the_session(sqlite_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with streaming(sqlite_url, clock) as (client, _):
        headers = session_of(client, token)
        with followed(client, **headers):
            clock.advance(12 * 3600)


def test_stream_of_a_session_survives_a_database_failure(
    sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with (
        streaming(sqlite_url, clock, session_seconds=0.1) as (client, store),
        followed(client, **session_of(client, token)) as has_ended,
        closing(sqlite3.connect(tmp_path / "fleet.db")) as database,
    ):
        database.execute("ALTER TABLE sessions RENAME TO gone")
        time.sleep(0.5)
        assert not has_ended()
        database.execute("ALTER TABLE gone RENAME TO sessions")
        store.keys.revoke(viewer.id, clock.now)


def test_new_key_is_shown_while_the_database_is_unavailable(
    sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    admin, token = made("admin")
    keep(sqlite_url, admin)
    with receiver_on(sqlite_url, clock) as receiver:
        signed_in(receiver, token)
        form = form_of(receiver.get("/keyring"), action="/keyring")
        sent = posts(receiver, "/keyring", {**form, "name": "a", "scope": "viewer"})
        with closing(sqlite3.connect(tmp_path / "fleet.db")) as database:
            database.execute("ALTER TABLE sessions RENAME TO gone")
            page = follow(receiver, sent)
            database.execute("ALTER TABLE gone RENAME TO sessions")
        assert 200 == receiver.get("/servers", headers=bearer(shown(page))).status_code
