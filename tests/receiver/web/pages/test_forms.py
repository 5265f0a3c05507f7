"""People on the pages: they sign in and out, and change things."""

import html
import logging
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
from receiver.app import Tuning, create_app
from receiver.domain.keys import Key, Power
from receiver.store import SqlStore
from receiver.store.sessions import Sessions
from receiver.web.routing import Guarded
from receiver.web.sse import event_stream
from servers import ANY_PAUSE_SECONDS, Clock, serve, wait_until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ASKS = 'id="asks"'
HERE = {"Sec-Fetch-Site": "same-origin"}


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
        if scheme == "https":  # as a proxy says, which this machine's are believed
            client.headers["X-Forwarded-Proto"] = scheme
        yield client


class Held:
    """A key of each scope, and what their holders have."""

    def __init__(self) -> None:
        made_keys = {
            scope: made(scope, name=f"{scope}'s") for scope in ("agent", "viewer", "admin")
        }
        self.keys: dict[str, Key] = {scope: key for scope, (key, _) in made_keys.items()}
        self.tokens: dict[str, str] = {scope: token for scope, (_, token) in made_keys.items()}


@pytest.fixture
def held(database_url: str) -> Held:
    held = Held()
    keep(database_url, *held.keys.values())
    return held


@pytest.fixture
def receiver(database_url: str, clock: Clock, held: Held) -> Iterator[httpx.Client]:
    """One that has keys."""
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


@pytest.fixture
def audit() -> Iterator[list[str]]:
    """The lines of the audit log."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    collect = Collect()
    log = logging.getLogger("receiver.audit")
    log.addHandler(collect)
    yield lines
    log.removeHandler(collect)


def form_of(page: httpx.Response, *, action: str = "") -> dict[str, str]:
    """What a form of a page sends that nobody fills in."""
    forms = re.findall(r'<form[^>]*method="post"[^>]*>.*?</form>', page.text, re.DOTALL)
    (form,) = [each for each in forms if action in each.partition(">")[0]]
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in fields}


def signs_in(client: httpx.Client, token: str, path: str = "/", **headers: str) -> httpx.Response:
    """What somebody hears who signs in where they are."""
    asked = client.get(path)
    form = form_of(asked, action="sign-in")
    return client.post("/sign-in", data={**form, "key": token}, headers=headers)


def signed_in(client: httpx.Client, token: str) -> httpx.Client:
    assert 303 == signs_in(client, token).status_code
    return client


def signs_out(client: httpx.Client) -> httpx.Response:
    return client.post("/sign-out", data=form_of(client.get("/"), action="sign-out"))


def cookies(answer: httpx.Response) -> dict[str, tuple[str, set[str]]]:
    """The cookies that an answer sets, and what it says of each."""
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
    """What is wrong in a form, as its page says."""
    (found,) = re.findall(r'role="alert">(.*?)</(?:p|div)>', page.text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM sessions")))


opened: list[httpx.Client] = []


def again(receiver: httpx.Client) -> httpx.Client:
    """Another browser."""
    opened.append(httpx.Client(base_url=receiver.base_url, trust_env=False))
    return opened[-1]


@pytest.fixture(autouse=True)
def close_what_was_opened() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


# Signing in


@pytest.mark.both_databases
@pytest.mark.parametrize("path", ["/", "/timeline?kind=late", "/server/a%2Fb%3F/c", "/keyring"])
def test_page_asks_whoever_is_not_signed_in_and_is_there_afterwards(
    receiver: httpx.Client, held: Held, path: str
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


def test_programs_hear_a_problem(receiver: httpx.Client) -> None:
    answer = receiver.get("/servers")

    assert (401, "key_missing") == (answer.status_code, answer.json()["code"])


@pytest.mark.both_databases
@pytest.mark.parametrize("scope", ["viewer", "admin"])
def test_whoever_is_signed_in_reads_everything(
    receiver: httpx.Client, held: Held, scope: str
) -> None:
    receiver.post("/register", json=messages.registration(), headers=bearer(held.tokens["agent"]))
    signed_in(receiver, held.tokens[scope])

    paths = ("/", "/timeline", "/server/acme_web-1", "/servers", "/events", "/openapi.json")
    assert [200] * 6 == [receiver.get(path).status_code for path in paths]
    page = receiver.get("/").text
    assert f"<bdi>{scope}&#39;s</bdi> <small>{scope}</small>" in page
    assert "Sign out" in page


def test_session_is_for_reading_only_but_on_pages(receiver: httpx.Client, held: Held) -> None:
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


def test_cookie_says_no_more_than_it_must(
    receiver: httpx.Client, held: Held, engine: Engine
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
def test_cookie_is_for_where_the_receiver_is(
    how: dict[str, str], expected: set[str], sqlite_url: str, clock: Clock
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with receiver_on(sqlite_url, clock, **how) as receiver:
        asked = receiver.get("/timeline")
        receiver.cookies.set("fleet_form", cookies(asked)["fleet_form"][0])  # whatever its path
        answer = receiver.post("/sign-in", data={**form_of(asked), "key": token})

    assert "/timeline" == form_of(asked)["to"]
    assert "./timeline" == answer.headers["location"]
    assert expected == cookies(answer)["fleet_session"][1]
    assert expected - {"Max-Age=43200", "Max-Age=3600"} == cookies(asked)["fleet_form"][1]


@pytest.mark.both_databases
def test_session_is_over_when_its_time_has_come(
    receiver: httpx.Client, held: Held, clock: Clock, engine: Engine
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    clock.advance(12 * 3600 - 1)
    assert 200 == receiver.get("/").status_code
    clock.advance(1)

    assert 401 == receiver.get("/").status_code
    assert 1 == len(rows(engine))
    signed_in(again(receiver), held.tokens["viewer"])
    assert 1 == len(rows(engine))  # and the old one is forgotten


def test_agents_key_is_refused_with_a_sentence(receiver: httpx.Client, held: Held) -> None:
    answer = signs_in(receiver, held.tokens["agent"])

    assert 403 == answer.status_code
    assert "To read the fleet, it takes that of a viewer" in fault(answer)
    assert "fleet_session" not in cookies(answer)
    assert held.tokens["agent"] not in answer.text


@pytest.mark.parametrize("token", ["", "fleetkey_abcdefghij_" + 43 * "k", "ü\u202e", "<b>", "a\0"])
def test_wrong_key_is_not_shown_again(receiver: httpx.Client, token: str) -> None:
    answer = signs_in(receiver, token, "/timeline")

    assert 401 == answer.status_code
    assert "There is no such key." == fault(answer)
    assert "/timeline" == form_of(answer)["to"]
    assert not token or html.escape(token) not in answer.text


def test_key_that_is_not_good_any_more_is_refused(
    receiver: httpx.Client, held: Held, clock: Clock
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


def test_whoever_guesses_is_slowed_down(sqlite_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with receiver_on(sqlite_url, clock, FLEET_FAILURES_PER_MINUTE="2") as receiver:
        answers = [signs_in(receiver, f"wrong {n}") for n in range(3)]
        right = signs_in(receiver, token)

    assert [401, 401, 429] == [answer.status_code for answer in answers]
    assert 0 < int(answers[2].headers["retry-after"]) <= 60
    assert "Too many wrong keys" in fault(answers[2])
    assert 303 == right.status_code


@pytest.mark.parametrize(
    "to",
    [
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
    ],
)
def test_nobody_is_led_elsewhere(receiver: httpx.Client, held: Held, to: str) -> None:
    form = {**form_of(receiver.get("/")), "to": to}

    answer = receiver.post("/sign-in", data={**form, "key": held.tokens["viewer"]})

    assert (303, "./") == (answer.status_code, answer.headers["location"])


@pytest.mark.parametrize("to", ["/timeline?server_id=a%2Fb&x=%20", "/server/..%2Fa", "/keyring"])
def test_page_of_the_receiver_is_where_one_is_led(
    receiver: httpx.Client, held: Held, to: str
) -> None:
    form = {**form_of(receiver.get("/sign-in")), "to": to}

    answer = receiver.post("/sign-in", data={**form, "key": held.tokens["viewer"]})

    assert f".{to}" == answer.headers["location"]


def test_long_way_back_is_cut_where_its_parameters_begin(receiver: httpx.Client) -> None:
    asked = receiver.get(f"/timeline?server_id={'a' * 4000}")

    assert "/timeline" == form_of(asked)["to"]


@pytest.mark.both_databases
def test_signing_in_twice_ends_the_first_session(
    receiver: httpx.Client, held: Held, engine: Engine
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
    thief = again(receiver)
    thief.cookies.set("fleet_session", first)
    assert 401 == thief.get("/").status_code


def test_session_that_somebody_else_has_thought_up_is_not_taken(
    receiver: httpx.Client, held: Held
) -> None:
    receiver.cookies.set("fleet_session", "chosen by somebody else")

    signed_in(again(receiver), held.tokens["viewer"])

    assert 401 == receiver.get("/").status_code


@pytest.mark.parametrize("value", ["", "junk", "a.b", "é", 'x"y', "." * 4000])
def test_junk_is_refused_without_asking_the_database(
    receiver: httpx.Client, held: Held, value: str, monkeypatch: pytest.MonkeyPatch
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


def test_key_that_is_sent_goes_before_the_session(receiver: httpx.Client, held: Held) -> None:
    signed_in(receiver, held.tokens["admin"])

    answers = [
        receiver.get("/", headers=bearer(token)).status_code
        for token in (held.tokens["viewer"], held.tokens["agent"], "wrong")
    ]

    assert [200, 403, 401] == answers
    assert "Sign out" not in receiver.get("/", headers=bearer(held.tokens["viewer"])).text


# How it ends


@pytest.mark.both_databases
def test_signed_out_is_signed_out(receiver: httpx.Client, held: Held, engine: Engine) -> None:
    signed_in(receiver, held.tokens["viewer"])
    stolen = receiver.cookies["fleet_session"]

    away = signs_out(receiver)

    assert (303, "./sign-in") == (away.status_code, away.headers["location"])
    assert "Max-Age=0" in cookies(away)["fleet_session"][1]
    assert [] == rows(engine)
    page = receiver.get("/sign-in")
    assert (200, "Sign in", "You are signed out.") == (page.status_code, title(page), notice(page))
    assert None is notice(receiver.get("/sign-in"))
    thief = again(receiver)
    thief.cookies.set("fleet_session", stolen)
    assert 401 == thief.get("/").status_code


@pytest.mark.both_databases
def test_who_signs_in_at_one_receiver_is_so_at_all(
    receiver: httpx.Client, other: httpx.Client, held: Held
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    other.cookies.set("fleet_session", receiver.cookies["fleet_session"])

    assert 200 == other.get("/").status_code
    signs_out(receiver)
    assert 401 == other.get("/").status_code


@pytest.mark.both_databases
@pytest.mark.parametrize("change", ["revoke", "rotate"])
def test_key_that_is_taken_back_or_changed_ends_its_sessions_everywhere(
    receiver: httpx.Client, other: httpx.Client, held: Held, change: str
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
def test_key_that_expires_ends_its_sessions(
    receiver: httpx.Client, held: Held, clock: Clock
) -> None:
    asked = {"name": "short", "scope": "viewer", "expires_at": "2026-01-31T13:00:00Z"}
    short = receiver.post("/keys", json=asked, headers=bearer(held.tokens["admin"])).json()
    signed_in(receiver, short["token"])
    clock.advance(3600)

    refused = receiver.get("/")

    assert 401 == refused.status_code
    assert "This key has expired." in fault(refused)


@pytest.mark.both_databases
def test_session_of_a_key_that_nobody_knows_is_none(
    receiver: httpx.Client, held: Held, engine: Engine
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
def test_secret_is_made_once_and_shared(store: SqlStore, neighbour: SqlStore) -> None:
    secret = store.sessions.secret("a")

    assert 32 == len(secret)
    assert secret == store.sessions.secret("a") == neighbour.sessions.secret("a")
    assert secret != store.sessions.secret("b")


@pytest.mark.both_databases
def test_of_receivers_that_start_at_once_all_have_the_same_secret(database_url: str) -> None:
    for n in range(5):
        stores = [SqlStore(make_url(database_url)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            found = {*pool.map(lambda store, name=f"{n}": store.sessions.secret(name), stores)}
        for store in stores:
            store.close()
        assert 1 == len(found)


# A form is taken only from whom it was given to


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
def test_form_that_a_page_elsewhere_sends_is_refused(
    receiver: httpx.Client, held: Held, headers: dict[str, str]
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
        {"Origin": "http://127.0.0.1:1"},  # proxies do not always tell the port
        {},
    ],
    ids=str,
)
def test_form_of_a_page_is_taken(
    receiver: httpx.Client, held: Held, headers: dict[str, str]
) -> None:
    form = {**form_of(receiver.get("/")), "key": held.tokens["viewer"]}

    assert 303 == posts(receiver, "/sign-in", form, **headers).status_code


@pytest.mark.parametrize("word", [None, "", "x", "ü"])
def test_form_without_its_word_is_refused(
    receiver: httpx.Client, held: Held, word: str | None
) -> None:
    form = {**form_of(receiver.get("/")), "key": held.tokens["viewer"]}
    changed = {**form, "form": word} if word is not None else {"key": form["key"]}

    assert 403 == posts(receiver, "/sign-in", changed).status_code


def test_word_of_one_browser_is_good_for_no_other(receiver: httpx.Client, held: Held) -> None:
    form = form_of(receiver.get("/"))
    without, with_another = again(receiver), again(receiver)
    with_another.get("/")

    answers = [
        posts(client, "/sign-in", {**form, "key": held.tokens["viewer"]})
        for client in (without, with_another)
    ]

    assert [403, 403] == [answer.status_code for answer in answers]


def test_cookie_that_no_receiver_has_made_is_replaced(receiver: httpx.Client) -> None:
    receiver.cookies.set("fleet_form", "chosen by somebody else", path="/")

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
        ("&".join(f"a{n}=b" for n in range(21)).encode(), FORM, 400),
        (b"a=" + b"b" * 16_384, FORM, 413),
        (b'{"key": "a"}', {"Content-Type": "application/json"}, 415),
        (b"a=b", {}, 415),
        (b"a=b", {**FORM, "Content-Encoding": "gzip"}, 415),
        (b"", FORM, 403),
        (b"", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, 403),
    ],
)
def test_what_is_no_form_is_refused_by_a_page(
    receiver: httpx.Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = receiver.post("/sign-in", content=content, headers=headers)

    assert (status, "text/html; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )


def test_form_that_does_not_arrive_is_not_waited_for(sqlite_url: str, clock: Clock) -> None:
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
def brought(receiver: httpx.Client, held: Held) -> httpx.Client:
    """A receiver that knows a server, which belongs to the agent's key."""
    agent = bearer(held.tokens["agent"])
    receiver.post("/register", json=messages.registration(), headers=agent).raise_for_status()
    return receiver


@pytest.mark.both_databases
def test_admin_deletes_a_server_after_being_asked(
    brought: httpx.Client, held: Held, audit: list[str]
) -> None:
    signed_in(brought, held.tokens["admin"])
    link = re.findall(r'href="([^"]+/delete)"', brought.get(SERVER).text)[0]

    asked = brought.get(urljoin(SERVER, link))
    done = posts(brought, f"{SERVER}/delete", form_of(asked, action=ASKS), **HERE)

    assert "Delete this server?" == title(asked)
    for said in ("It is forgotten", "stays in the timeline", "taken for a new server"):
        assert said in asked.text
    assert (303, "../../") == (done.status_code, done.headers["location"])
    page = brought.get("/")
    assert "The server acme_web-1 was deleted." == notice(page)
    assert None is notice(brought.get("/"))
    assert 404 == brought.get(SERVER).status_code
    admin = held.keys["admin"]
    assert [
        f"key {admin.id} (\"admin's\") deleted the server 'acme_web-1', from 127.0.0.1"
    ] == audit
    gone = brought.get(f"{SERVER}/delete")
    assert (404, "There is no such server") == (gone.status_code, title(gone))


def test_script_that_looks_what_has_changed_takes_no_notice_away(
    brought: httpx.Client, held: Held
) -> None:
    signed_in(brought, held.tokens["admin"])
    form = form_of(brought.get(f"{SERVER}/delete"), action=ASKS)
    posts(brought, f"{SERVER}/delete", form)

    fetched = brought.get("/", headers={"Sec-Fetch-Mode": "cors"})

    assert None is notice(fetched)
    assert "The server acme_web-1 was deleted." == notice(brought.get("/"))


def test_notice_that_no_receiver_has_left_is_not_shown(brought: httpx.Client, held: Held) -> None:
    signed_in(brought, held.tokens["admin"])
    brought.cookies.set("fleet_notice", "IkNhbGwgMDgwMC1IQUNLIg.signature")

    assert None is notice(brought.get("/"))


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "server_id",
    ["a/b", "a/delete", "delete", "a/owner", "../x", "ü ?#%", "//evil.example/x", "<b>"],
)
def test_server_is_deleted_whatever_its_id(
    receiver: httpx.Client, held: Held, server_id: str
) -> None:
    beat = messages.slim(server_id=server_id)
    receiver.post("/heartbeat", json=beat, headers=bearer(held.tokens["admin"]))
    signed_in(receiver, held.tokens["admin"])
    page = receiver.get(f"/server/{quote(server_id, safe='')}")
    assert f"<h1><bdi>{html.escape(server_id)}</bdi></h1>" in page.text

    link = re.findall(r'href="([^"]+/delete)"', page.text)[-1]
    asked = receiver.get(urljoin(str(page.url), html.unescape(link)))
    (back,) = re.findall(r'href="([^"]+)">Go back<', asked.text)
    done = receiver.post(str(asked.url), data=form_of(asked, action=ASKS), follow_redirects=True)

    assert str(page.url) == urljoin(str(asked.url), html.unescape(back))
    assert f"The server {server_id} was deleted." == notice(done)
    assert str(receiver.base_url.join("/")) == str(done.url)
    assert 404 == receiver.get(str(page.url)).status_code


def test_form_that_is_too_old_asks_again(brought: httpx.Client, held: Held) -> None:
    signed_in(brought, held.tokens["admin"])

    answer = posts(brought, f"{SERVER}/delete", {"form": "old"})

    assert (403, "Delete this server?") == (answer.status_code, title(answer))
    assert "Nothing was changed." in fault(answer)
    again = posts(brought, f"{SERVER}/delete", form_of(answer, action=ASKS))
    assert 303 == again.status_code


@pytest.mark.both_databases
def test_server_that_is_gone_meanwhile_is_not_deleted_twice(
    brought: httpx.Client, held: Held
) -> None:
    signed_in(brought, held.tokens["admin"])
    form = form_of(brought.get(f"{SERVER}/delete"), action=ASKS)

    answers = [posts(brought, f"{SERVER}/delete", form) for _ in range(2)]

    assert [303, 404] == [answer.status_code for answer in answers]


def test_viewer_sees_no_button_and_may_not_press_it(brought: httpx.Client, held: Held) -> None:
    signed_in(brought, held.tokens["viewer"])
    page = brought.get(SERVER).text
    form = form_of(brought.get(SERVER), action="sign-out")

    answers = [
        brought.get(f"{SERVER}/delete"),
        posts(brought, f"{SERVER}/delete", form),
        posts(brought, f"{SERVER}/owner", {**form, "key_id": ""}),
        brought.get("/keyring"),
        posts(brought, "/keyring", {**form, "name": "a", "scope": "admin"}),
        brought.get(f"/keyring/{held.keys['agent'].id}/revoke"),
        posts(brought, f"/keyring/{held.keys['agent'].id}/rotate", form),
    ]

    for word in ("/delete", "/owner", "keyring", "agent"):
        assert word not in page
    assert {403} == {answer.status_code for answer in answers}
    for answer in answers:
        assert "A key of the scope viewer may not delete servers" in html.unescape(answer.text)
        assert "Sign out" in answer.text
    assert 200 == brought.get(SERVER).status_code


@pytest.mark.parametrize("path", [f"{SERVER}/delete", f"{SERVER}/owner", "/keyring"])
def test_who_was_signed_out_meanwhile_comes_back_to_the_page_of_the_form(
    brought: httpx.Client, held: Held, path: str
) -> None:
    answer = posts(brought, path, {"form": "x"})

    assert 401 == answer.status_code
    assert path.removesuffix("/owner") == form_of(answer)["to"]


@pytest.mark.both_databases
def test_admin_hands_a_server_over(brought: httpx.Client, held: Held, audit: list[str]) -> None:
    signed_in(brought, held.tokens["admin"])
    page = brought.get(SERVER)
    agent, admin = held.keys["agent"], held.keys["admin"]

    assert f"<bdi>agent&#39;s</bdi> <small>{agent.id}, active" in page.text
    assert ["", admin.id] == re.findall(r'<option value="([^"]*)">', page.text)
    form = form_of(page, action="/owner")
    given = brought.post(
        f"{SERVER}/owner", data={**form, "key_id": admin.id}, follow_redirects=True
    )
    assert str(brought.base_url.join(SERVER)) == str(given.url)
    assert "The server belongs to the key admin's now." == notice(given)
    assert f"<bdi>admin&#39;s</bdi> <small>{admin.id}, active" in given.text
    freed = brought.post(f"{SERVER}/owner", data={**form, "key_id": ""}, follow_redirects=True)
    assert "The server belongs to the key that writes it next now." == notice(freed)
    assert [agent.id, admin.id] == sorted(
        re.findall(r'<option value="([^"]*)">', freed.text), key=lambda each: each == admin.id
    )
    assert [f"handed over to {admin.id}", "handed over to whoever comes next"] == [
        re.findall(r"handed over to .*(?= the server)", line)[0] for line in audit
    ]


@pytest.mark.both_databases
def test_server_is_not_handed_over_to_nobody(brought: httpx.Client, held: Held) -> None:
    signed_in(brought, held.tokens["admin"])
    form = form_of(brought.get(SERVER), action="/owner")

    answers = [
        posts(brought, f"{SERVER}/owner", {**form, "key_id": "nobody"}),
        posts(brought, "/server/gone/owner", {**form, "key_id": ""}),
        posts(brought, f"{SERVER}/owner", {"form": "old", "key_id": ""}),
    ]

    assert [422, 404, 403] == [answer.status_code for answer in answers]
    assert "There is no key &#39;nobody&#39; that is not revoked" in answers[0].text
    assert 'href="../../server/acme_web-1">Go back to the page<' in answers[2].text
    assert "agent&#39;s" in brought.get(SERVER).text


# Keys


def new_key(client: httpx.Client, **asked: str) -> httpx.Response:
    form = form_of(client.get("/keyring"), action="/keyring")
    return posts(client, "/keyring", {**form, **asked})


def shown(page: httpx.Response) -> str:
    (token,) = re.findall(r'<code id="the-key">(\w+)</code>', page.text)
    return str(token)


@pytest.mark.both_databases
def test_admin_makes_a_key(
    receiver: httpx.Client, held: Held, clock: Clock, audit: list[str]
) -> None:
    signed_in(receiver, held.tokens["admin"])

    made_now = new_key(
        receiver, name="acme", scope="agent", servers="acme_*", expires_at="2026-02-02"
    )

    token = shown(made_now)
    assert (200, "The key was made") == (made_now.status_code, title(made_now))
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


def test_key_that_cannot_be_is_explained_and_what_was_typed_is_kept(
    receiver: httpx.Client, held: Held
) -> None:
    signed_in(receiver, held.tokens["admin"])
    typed = {"name": "<acme>", "scope": "agent", "servers": "a*", "expires_at": "2020-01-01"}

    answer = new_key(receiver, **typed)

    assert (422, "Expires on is over already") == (answer.status_code, fault(answer))
    for kept in ("&lt;acme&gt;", "<option selected>agent<", 'value="a*"', 'value="2020-01-01"'):
        assert kept in answer.text
    assert 422 == new_key(receiver, name="", scope="root").status_code
    expired = posts(receiver, "/keyring", {**typed, "form": "old"})
    assert 403 == expired.status_code
    assert 'value="&lt;acme&gt;"' in expired.text
    assert 3 == receiver.get("/keys", headers=bearer(held.tokens["admin"])).json()["count"]


def test_key_for_everything_and_for_ever_is_made_with_a_name_alone(
    receiver: httpx.Client, held: Held
) -> None:
    signed_in(receiver, held.tokens["admin"])

    token = shown(new_key(receiver, name="all", scope="agent", servers="", expires_at=""))

    beat = receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
    assert 200 == beat.status_code


@pytest.mark.both_databases
def test_admin_revokes_a_key_after_being_asked(
    receiver: httpx.Client, held: Held, audit: list[str]
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
    assert 401 == signs_in(again(receiver), held.tokens["viewer"]).status_code
    assert [True] == [f"revoked the key '{held.keys['viewer'].id}'" in each for each in audit]
    assert 404 == posts(receiver, path, form_of(asked, action=ASKS)).status_code
    assert 404 == receiver.get("/keyring/nobody/revoke").status_code


@pytest.mark.both_databases
def test_admin_rotates_their_own_key(receiver: httpx.Client, held: Held) -> None:
    signed_in(receiver, held.tokens["admin"])
    path = f"/keyring/{held.keys['admin'].id}/rotate"

    asked = receiver.get(path)
    done = posts(receiver, path, form_of(asked, action=ASKS))

    assert "You are signed in with this key: you will be signed out." in asked.text
    assert (200, "The key was rotated") == (done.status_code, title(done))
    assert 401 == receiver.get("/keyring").status_code
    signed_in(receiver, shown(done))


# Without keys


@pytest.mark.parametrize("path", ["/sign-in", "/keyring"])
def test_receiver_without_keys_says_how_to_make_one(keyless: httpx.Client, path: str) -> None:
    answers = [
        keyless.get(path),
        keyless.get(path, headers={"X-Forwarded-For": "192.0.2.7"}),
        keyless.get("/", headers={"X-Forwarded-For": "192.0.2.7"}),
    ]

    for answer in answers:
        assert 403 == answer.status_code
        assert "This receiver has no keys yet" == title(answer)
        assert "python -m receiver keys create --name admin --scope admin" in answer.text
        assert 'data-stream=""' in answer.text


def test_nobody_signs_in_where_there_are_no_keys(keyless: httpx.Client) -> None:
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
    for word in ("/owner", "keyring", "Sign out"):
        assert word not in page


def test_somebody_on_the_machine_deletes_a_server_and_no_page_elsewhere_does(
    keyless: httpx.Client, audit: list[str]
) -> None:
    keyless.post("/register", json=messages.registration())
    form = form_of(keyless.get(f"{SERVER}/delete"))
    elsewhere = [
        posts(keyless, f"{SERVER}/delete", {}),
        posts(keyless, f"{SERVER}/delete", form, **{"Sec-Fetch-Site": "cross-site"}),
        posts(keyless, f"{SERVER}/delete", form, Origin="http://evil.example"),
        posts(keyless, f"{SERVER}/delete", form, Host="evil.example"),
        posts(again(keyless), f"{SERVER}/delete", form),
    ]
    assert [403] * 5 == [answer.status_code for answer in elsewhere]
    assert 200 == keyless.get(SERVER).status_code

    done = posts(keyless, f"{SERVER}/delete", form, **HERE)

    assert 303 == done.status_code
    assert 404 == keyless.get(SERVER).status_code
    assert ["somebody without a key deleted the server 'acme_web-1', from 127.0.0.1"] == audit


# Whoever follows a link from elsewhere


ELSEWHERE = {"Sec-Fetch-Site": "cross-site"}


def test_browser_that_keeps_the_session_to_itself_is_asked_once_more(
    receiver: httpx.Client, held: Held
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    mailed = again(receiver)

    first = mailed.get("/timeline?kind=late", headers=ELSEWHERE)

    assert 401 == first.status_code
    assert '<meta http-equiv="refresh" content="0">' in first.text
    for word in ("<form", "<script", "fleet_form"):
        assert word not in f"{first.text}{first.headers}"
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=10"} == cookies(first)["fleet_again"][1]
    mailed.cookies.set("fleet_session", receiver.cookies["fleet_session"])
    assert 200 == mailed.get("/timeline?kind=late", headers=ELSEWHERE).status_code


def test_whoever_is_not_signed_in_is_asked_once_more_only_once(receiver: httpx.Client) -> None:
    first, second = (receiver.get("/", headers=ELSEWHERE) for _ in range(2))

    assert "refresh" in first.text
    assert "Sign in" == title(second)


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_whoever_comes_from_here_sees_the_form_at_once(receiver: httpx.Client, site: str) -> None:
    assert "Sign in" == title(receiver.get("/", headers={"Sec-Fetch-Site": site}))


def test_session_that_is_over_is_not_asked_for_once_more(receiver: httpx.Client) -> None:
    answer = receiver.get("/", headers={**ELSEWHERE, "Cookie": "fleet_session=a.b"})

    assert "Sign in" == title(answer)


def test_form_from_elsewhere_is_not_sent_once_more(receiver: httpx.Client) -> None:
    assert "Sign in" == title(posts(receiver, "/keyring", {}, **ELSEWHERE))


# The database is away


def test_nobody_is_signed_in_or_out_while_the_database_is_away(
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
                posts(again(receiver), "/sign-in", {**form, "key": token}),
            ]
            database.execute("ALTER TABLE gone RENAME TO sessions")

        assert [503, 503, 403, 403] == [answer.status_code for answer in answers]
        assert "The fleet cannot be read right now" == title(answers[0])
        assert "store_unavailable" == answers[1].json()["code"]
        assert 200 == receiver.get("/").status_code


# Streams end with what they were opened with


@contextmanager
def streaming(
    database_url: str, clock: Clock, *, session_seconds: float = 60.0
) -> Iterator[tuple[httpx.Client, SqlStore]]:
    """A receiver whose streams look often whether their readers may still read, and its store."""
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
    """A stream that is read; whether it has come to its end."""
    with again(client).stream("GET", "/events/stream", headers=headers) as answer:
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
        assert 401 == again(client).get("/events/stream", headers=headers).status_code


def session_of(client: httpx.Client, token: str) -> dict[str, str]:
    """The header of a browser in which somebody has signed in."""
    browser = signed_in(again(client), token)
    return {"Cookie": f"fleet_session={browser.cookies['fleet_session']}"}


def test_stream_of_who_needed_no_key_ends_when_there_is_one(
    database_url: str, clock: Clock
) -> None:
    with streaming(database_url, clock) as (client, store), followed(client) as has_ended:
        time.sleep(0.3)
        assert not has_ended()
        store.keys.add(made("viewer")[0])


@pytest.mark.both_databases
def test_stream_ends_when_its_reader_has_signed_out(database_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(database_url, viewer)
    with streaming(database_url, clock, session_seconds=0.2) as (client, store):
        browser = signed_in(again(client), token)
        cookie = {"Cookie": f"fleet_session={browser.cookies['fleet_session']}"}
        with followed(client, **cookie) as stays, followed(client, **bearer(token)) as goes_on:
            time.sleep(0.5)
            assert (False, False) == (stays(), goes_on())
            signs_out(browser)
            wait_until(stays)
            assert not goes_on()
            store.keys.revoke(viewer.id, clock.now)


def test_stream_ends_when_the_time_of_the_session_has_come(sqlite_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with streaming(sqlite_url, clock) as (client, _):
        headers = session_of(client, token)
        with followed(client, **headers):
            clock.advance(12 * 3600)


def test_stream_stays_while_the_database_is_away(
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
