"""The gate: which requests are let in without keys, how keys are checked, and rate limits."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import httpx
import pytest
from attrs import evolve
from sqlalchemy import delete, make_url
from starlette.applications import Starlette
from starlette.types import Message, Scope

import messages
from keyring import bearer, expired, keep, made, revoked
from receiver.app import Tuning, create_app
from receiver.domain.errors import StoreUnavailable
from receiver.domain.keys import Key
from receiver.store import SqlStore
from receiver.store.credentials.keys import ChangedKeys
from receiver.store.tables import keys
from servers import ANY_PAUSE_SECONDS, Clock, Observed, serve, wait_until

UNKNOWN = "fleetkey_abcdefghij_" + 43 * "k"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only, since the gate is the same on each database."""
    return sqlite_url


def app_on(database_url: str, clock: Clock, **settings: str) -> Starlette:
    return create_app(
        environ={"FLEET_DATABASE_URL": database_url, **settings},
        clock=clock,
        tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05),
    )


@contextmanager
def receiver_on(database_url: str, clock: Clock, **settings: str) -> Iterator[httpx.Client]:
    with serve(app_on(database_url, clock, **settings)) as client:
        yield client


def status_for_address(
    address: str | None, database_url: str, clock: Clock, **settings: str
) -> int:
    """The status that a receiver without keys answers a client at an address, as an ASGI app."""
    app = Observed(app_on(database_url, clock, **settings))
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/servers",
        "raw_path": b"/servers",
        "query_string": b"",
        "headers": [],
        "client": None if address is None else (address, 50_000),
    }
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    with serve(app):
        scope["state"] = {"services": app.services}
        asyncio.run(app(scope, receive, send))
    (status,) = statuses
    assert isinstance(status, int)
    return status


# Without keys


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("127.255.255.254", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("192.0.2.7", 403),
        ("10.0.0.1", 403),
        ("0.0.0.0", 403),
        ("::", 403),
        ("::ffff:192.0.2.7", 403),
        ("2001:db8::1", 403),
        ("localhost", 403),
        ("", 403),
        (None, 403),
    ],
)
def test_keyless_receiver_serves_loopback_addresses_only(
    address: str | None, status: int, database_url: str, clock: Clock
) -> None:
    assert status == status_for_address(address, database_url, clock)


@pytest.mark.parametrize("address", ["192.0.2.7", None])
def test_open_receiver_serves_any_address(
    address: str | None, database_url: str, clock: Clock
) -> None:
    assert 200 == status_for_address(address, database_url, clock, FLEET_OPEN="1")


@pytest.mark.parametrize(
    "header",
    [
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-Port": "443"},
        {"X-Forwarded-Whatever": "1"},
        {"CF-Connecting-IP": "127.0.0.1"},
        {"X-Forwarded": "for=127.0.0.1"},
        {"X-Original-Host": "localhost"},
        {"X-Envoy-External-Address": "127.0.0.1"},
        {"X-Amzn-Trace-Id": "Root=1-2-3"},
        {"X-Azure-ClientIP": "127.0.0.1"},
        {"X-ARR-LOG-ID": "1"},
        {"X-Varnish": "1"},
        {"CDN-Loop": "cdn"},
        {"Connection": "close"},
        {"Connection": "Close"},
        {"Connection": "keep-alive, close"},
        {"Connection": "upgrade"},
        {"x-forwarded-for": ""},
        {"Host": "fleet.example.com"},
        {"Host": "127.0.0.1.example.com"},
        {"Host": "localhost.example.com:8000"},
        {"Host": "evil.com:127"},
        {"Host": ""},
    ],
    ids=str,
)
def test_keyless_receiver_refuses_requests_through_a_proxy(
    header: dict[str, str], shared_receiver: httpx.Client
) -> None:
    answers = [
        shared_receiver.get("/servers", headers=header),
        shared_receiver.post("/heartbeat", json=messages.heartbeat(), headers=header),
        shared_receiver.get("/events", headers=header),
        shared_receiver.get("/nothing", headers=header),
    ]

    assert [(403, "no_keys_yet")] * 4 == [(a.status_code, a.json()["code"]) for a in answers]


def test_keyless_receiver_tells_its_health_to_everybody(database_url: str, clock: Clock) -> None:
    """An orchestrator would end it otherwise before anybody could make a key."""
    elsewhere = {"X-Forwarded-For": "192.0.2.7"}
    with receiver_on(database_url, clock) as receiver:
        answers = [receiver.get(path, headers=elsewhere) for path in ("/health", "/health/live")]

    assert [200, 200] == [answer.status_code for answer in answers]


NGINX = "GET /servers HTTP/{}\r\nHost: 127.0.0.1\r\nConnection: {}\r\nUser-Agent: curl/7.88.1\r\n"
OF_PROXIES = {
    "nginx": NGINX.format("1.0", "close"),
    "nginx with HTTP/1.1": NGINX.format("1.1", "close"),
    "nginx for WebSockets": NGINX.format("1.1", "upgrade"),
    "Apache": "GET /servers HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n"
    "X-Forwarded-Host: fleet.example.com\r\nConnection: Keep-Alive\r\n",
    "Caddy": "GET /servers HTTP/1.1\r\nHost: fleet.example.com\r\nX-Forwarded-For: 192.0.2.7\r\n"
    "X-Forwarded-Proto: https\r\n",
    "http-proxy of Node": "GET /servers HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n",
}
DIRECT = {
    "curl": "GET /servers HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: curl/7.88.1\r\n"
    "Accept: */*\r\n",
    "ab": "GET /servers HTTP/1.0\r\nHost: 127.0.0.1:8000\r\nUser-Agent: ApacheBench/2.3\r\n"
    "Accept: */*\r\n",
    "ab -k": "GET /servers HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: 127.0.0.1:8000\r\n"
    "User-Agent: ApacheBench/2.3\r\nAccept: */*\r\n",
    "wrk": "GET /servers HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n",
    "wget": "GET /servers HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: Wget/1.21.3\r\n"
    "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: Keep-Alive\r\n",
    "httpx": "GET /servers HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
    "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: python-httpx/0.28\r\n",
    "Prometheus": "GET /servers HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: Prometheus/2.4\r\n"
    "Accept: text/plain\r\nAccept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n",
    "Chromium": "GET /servers HTTP/1.1\r\nHost: localhost:8000\r\nConnection: keep-alive\r\n"
    "Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0\r\nSec-Fetch-Site: none\r\n",
}
"""The requests that programs send; each without the empty line at its end."""


def status_of(raw: str, receiver: httpx.Client) -> int:
    assert receiver.base_url.port is not None
    with socket.create_connection(("127.0.0.1", receiver.base_url.port), 10) as connection:
        connection.sendall(f"{raw}\r\n".encode())
        return int(connection.recv(12).split()[1])


@pytest.mark.parametrize("program", OF_PROXIES)
def test_keyless_receiver_refuses_what_proxies_send_by_default(
    program: str, shared_receiver: httpx.Client
) -> None:
    assert 403 == status_of(OF_PROXIES[program], shared_receiver)


@pytest.mark.parametrize("program", DIRECT)
def test_keyless_receiver_serves_what_programs_send_directly(
    program: str, shared_receiver: httpx.Client
) -> None:
    assert 200 == status_of(DIRECT[program], shared_receiver)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "fleet.localhost", "127.0.0.2:1", "[::1]:8000", "[::1]"]
)
def test_keyless_receiver_accepts_loopback_host_names(
    host: str, shared_receiver: httpx.Client
) -> None:
    assert 200 == shared_receiver.get("/servers", headers={"Host": host}).status_code


def test_refusal_says_how_to_make_a_key(database_url: str, clock: Clock) -> None:
    with receiver_on(database_url, clock) as receiver:
        answer = receiver.get("/servers", headers={"Via": "1.1 proxy"})

    assert (
        "No key was made yet, so only clients on this machine are served that connect directly "
        "to its loopback address, keep the connection open, and send nothing that a proxy adds. "
        "Make a key there: "
        "odoo-mcp-fleet keys create --name admin --scope admin"
    ) == answer.json()["detail"]


@pytest.mark.parametrize(
    ("settings", "has_key", "said"),
    [
        ({}, False, "No key was made yet, so only clients on this machine"),
        ({"FLEET_OPEN": "1"}, False, "FLEET_OPEN=1: everybody who reaches this receiver may"),
        ({"FLEET_OPEN": "1"}, True, "FLEET_OPEN=1 has no effect"),
        ({}, True, None),
    ],
)
def test_receiver_warns_at_start_about_missing_keys(  # noqa: PLR0917 - fixtures
    settings: dict[str, str],
    has_key: bool,  # noqa: FBT001 - a parameter of the test
    said: str | None,
    database_url: str,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if has_key:
        keep(database_url, made("admin")[0])

    with receiver_on(database_url, clock, **settings):
        pass

    warned = [r.getMessage() for r in caplog.records if r.name == "receiver.access.gate"]
    assert [said] * len(warned) == [each[: len(said or "")] for each in warned]
    assert (said is not None) == bool(warned)


# With keys


def test_first_key_ends_keyless_access_to_a_running_receiver(
    database_url: str, clock: Clock
) -> None:
    key, token = made("viewer")
    with receiver_on(database_url, clock, FLEET_OPEN="1") as receiver:
        assert 200 == receiver.get("/servers").status_code
        keep(database_url, key)

        wait_until(lambda: receiver.get("/servers").status_code == 401)

        assert 200 == receiver.get("/servers", headers=bearer(token)).status_code


def test_receiver_whose_only_key_is_revoked_refuses_requests_without_a_key(
    database_url: str, clock: Clock
) -> None:
    keep(database_url, revoked(made("admin")[0]))

    with receiver_on(database_url, clock, FLEET_OPEN="1") as receiver:
        assert 401 == receiver.get("/servers").status_code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "key_missing"),
        ([("Authorization", f"Bearer {UNKNOWN}")], "key_wrong"),
        ([("Authorization", UNKNOWN)], "key_wrong"),
        ([("Authorization", "")], "key_wrong"),
        ([("Authorization", "Bearer")], "key_wrong"),
        ([("Authorization", b"Bearer \xff\xfe")], "key_wrong"),
        ([("Authorization", "Basic {}")], "key_wrong"),
        ([("Authorization", "Bearer {} {}")], "key_wrong"),
        ([("Authorization", "Bearer {}, Bearer {}")], "key_wrong"),
        ([("Authorization", "Bearer {}"), ("Authorization", "Bearer {}")], "key_missing"),
        ([("X-Api-Key", "{}")], "key_missing"),
        ([("Cookie", "fleet_session={}")], "key_missing"),
    ],
    ids=str,
)
def test_request_without_a_valid_key_is_refused_with_a_code(
    headers: list[tuple[str, Any]], code: str, database_url: str, clock: Clock
) -> None:
    key, token = made("admin")
    keep(database_url, key)
    sent = [
        (name, text.replace("{}", token) if isinstance(text, str) else text)
        for name, text in headers
    ]

    with receiver_on(database_url, clock) as receiver:
        request = receiver.build_request("GET", "/servers", headers=sent)
        answer = receiver.send(request)

    assert (401, code) == (answer.status_code, answer.json()["code"])
    assert 'Bearer realm="fleet"' == answer.headers["www-authenticate"]
    assert token not in answer.text


def test_key_in_a_query_string_is_refused(database_url: str, clock: Clock) -> None:
    key, token = made("admin")
    keep(database_url, key)

    with receiver_on(database_url, clock) as receiver:
        for name in ("key", "token", "access_token"):
            assert 401 == receiver.get("/servers", params={name: token}).status_code


def test_bearer_scheme_is_case_insensitive(database_url: str, clock: Clock) -> None:
    key, token = made("viewer")
    keep(database_url, key)

    with receiver_on(database_url, clock) as receiver:
        answer = receiver.get("/servers", headers={"Authorization": f"bEARER {token}"})

    assert 200 == answer.status_code


def test_key_is_refused_from_its_expiry(database_url: str, clock: Clock) -> None:
    key, token = made("viewer")
    keep(database_url, evolve(key, expires_at=clock.now + timedelta(days=1)))

    with receiver_on(database_url, clock) as receiver:
        before = receiver.get("/servers", headers=bearer(token))
        clock.advance(86_400)
        after = receiver.get("/servers", headers=bearer(token))

    assert [200, 401] == [before.status_code, after.status_code]
    assert "This key has expired. An administrator can make another." == after.json()["detail"]


def test_revoked_key_is_refused_by_every_receiver_within_seconds(
    database_url: str, clock: Clock
) -> None:
    """Also by a receiver that reads the revocation from the database."""
    admin, admins = made("admin")
    viewer, viewers = made("viewer")
    keep(database_url, admin, viewer)
    with receiver_on(database_url, clock) as one, receiver_on(database_url, clock) as other:
        for each in (one, other):
            assert 200 == each.get("/servers", headers=bearer(viewers)).status_code

        one.delete(f"/keys/{viewer.id}", headers=bearer(admins)).raise_for_status()

        assert 401 == one.get("/servers", headers=bearer(viewers)).status_code
        wait_until(lambda: other.get("/servers", headers=bearer(viewers)).status_code == 401)
        assert "key_revoked" == other.get("/servers", headers=bearer(viewers)).json()["code"]


def test_rotated_key_keeps_its_servers(database_url: str, clock: Clock) -> None:
    admin, admins = made("admin")
    agent, old = made("agent")
    keep(database_url, admin, agent)
    with receiver_on(database_url, clock) as receiver:
        beat = messages.heartbeat()
        receiver.post("/heartbeat", json=beat, headers=bearer(old)).raise_for_status()

        rotated = receiver.post(f"/keys/{agent.id}/rotate", headers=bearer(admins)).json()

        after = receiver.post("/heartbeat", json=beat, headers=bearer(rotated["token"]))
        assert 401 == receiver.post("/heartbeat", json=beat, headers=bearer(old)).status_code
    assert (200, 2) == (after.status_code, after.json()["heartbeat_count"])


def test_last_use_and_messages_of_a_key_are_recorded(database_url: str, clock: Clock) -> None:
    agent, agents = made("agent")
    viewer, viewers = made("viewer")
    unused, _ = made("viewer")
    keep(database_url, agent, viewer, unused)

    with receiver_on(database_url, clock) as receiver:
        clock.advance(60)
        beats = [messages.heartbeat(), messages.heartbeat(server_id="b"), {}]
        receiver.post("/heartbeats", json=beats, headers=bearer(agents)).raise_for_status()
        receiver.post("/heartbeat", json=beats[0], headers=bearer(agents)).raise_for_status()
        receiver.get("/servers", headers=bearer(viewers)).raise_for_status()
        at = clock.now

        # What was used before is noted no later than that.
        assert {agent.id: (at, 4), viewer.id: (at, 0), unused.id: (None, 0)} == eventually_used(
            viewer, database_url, at
        )


def eventually_used(last: Key, database_url: str, at: Any) -> dict[str, Any]:
    """When keys were used and how many messages they sent, once the last use is noted."""
    store = SqlStore(make_url(database_url))
    try:
        wait_until(lambda: (last.id, at) in {(k.id, k.last_used_at) for k in store.keys.all()})
        return {key.id: (key.last_used_at, key.messages) for key in store.keys.all()}
    finally:
        store.close()


def test_last_use_is_recorded_when_a_receiver_ends(database_url: str, clock: Clock) -> None:
    viewer, viewers = made("viewer")
    keep(database_url, viewer)
    app = create_app(
        environ={"FLEET_DATABASE_URL": database_url}, clock=clock, tuning=Tuning(look_seconds=3600)
    )

    with serve(app) as receiver:
        receiver.get("/servers", headers=bearer(viewers)).raise_for_status()

    assert {viewer.id: (clock.now, 0)} == eventually_used(viewer, database_url, clock.now)


# Rate limits


def test_key_over_its_rate_limit_gets_429_with_retry_after(database_url: str, clock: Clock) -> None:
    one, ones = made("agent")
    other, others = made("agent", servers="b*")
    keep(database_url, one, other)
    settings = {"FLEET_MESSAGES_PER_MINUTE": "3"}

    with receiver_on(database_url, clock, **settings) as receiver:
        beat = messages.heartbeat()
        statuses = [
            receiver.post("/heartbeat", json=beat, headers=bearer(ones)).status_code
            for _ in range(3)
        ]
        refused = receiver.post("/heartbeat", json=beat, headers=bearer(ones))
        again = receiver.post("/register", json=messages.registration(), headers=bearer(ones))
        neighbour = messages.heartbeat(server_id="b")
        unmoved = receiver.post("/heartbeat", json=neighbour, headers=bearer(others))

    assert [200] * 3 == statuses
    assert [(429, "too_many_messages")] * 2 == [
        (a.status_code, a.json()["code"]) for a in (refused, again)
    ]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert 200 == unmoved.status_code
    assert (
        "This key may send 3 messages in 60 seconds. Nothing was changed; send it again later."
    ) == refused.json()["detail"]


def test_rate_limit_ends_with_its_window(database_url: str, clock: Clock) -> None:
    key, token = made("agent")
    keep(database_url, key)
    environ = {"FLEET_DATABASE_URL": database_url, "FLEET_MESSAGES_PER_MINUTE": "1"}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(limit_seconds=1))

    with serve(app) as receiver:

        def status() -> int:
            beat = messages.heartbeat()
            return receiver.post("/heartbeat", json=beat, headers=bearer(token)).status_code

        assert 200 == status()
        wait_until(lambda: status() == 429)  # when two come in one window, which is short
        wait_until(lambda: status() == 200)


def test_each_message_of_a_batch_counts_to_the_rate_limit(database_url: str, clock: Clock) -> None:
    key, token = made("agent")
    keep(database_url, key)

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="5") as receiver:

        def status(size: int) -> int:
            batch = [messages.heartbeat(server_id=f"s{n}") for n in range(size)]
            return receiver.post("/heartbeats", json=batch, headers=bearer(token)).status_code

        assert [200, 200, 429, 429] == [status(size) for size in (2, 2, 2, 1)]


def test_batch_larger_than_the_rate_limit_gets_413(database_url: str, clock: Clock) -> None:
    """A retry after the window would fail too, so the answer must not be 429."""
    key, token = made("agent")
    keep(database_url, key)
    batch = [messages.heartbeat(server_id=f"s{n}") for n in range(4)]

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="3") as receiver:
        answer = receiver.post("/heartbeats", json=batch, headers=bearer(token))

    assert (413, "batch_too_large") == (answer.status_code, answer.json()["code"])


def test_long_message_counts_once_per_4_kib(database_url: str, clock: Clock) -> None:
    key, token = made("agent")
    keep(database_url, key)
    long = messages.heartbeat(capabilities=[f"{n:0200}" for n in range(150)])

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="9") as receiver:

        def status() -> int:
            return receiver.post("/heartbeat", json=long, headers=bearer(token)).status_code

        assert [200, 429] == [status(), status()]


def test_database_outage_uses_nothing_of_the_rate_limit(database_url: str, clock: Clock) -> None:
    """Clients retry messages that were not stored, and the retries must pass."""
    key, token = made("agent")
    keep(database_url, key)
    app = Observed(app_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="2"))
    with serve(app) as receiver:

        def status() -> int:
            beat = messages.heartbeat()
            return receiver.post("/heartbeat", json=beat, headers=bearer(token)).status_code

        transactions = app.services.store.transactions
        write = transactions.write

        def fail(_: object) -> NoReturn:
            raise StoreUnavailable("the database does not answer: test")

        transactions.write = fail  # type: ignore[method-assign, assignment]  # simulates an outage
        outage = [status() for _ in range(3)]
        transactions.write = write  # type: ignore[method-assign]  # ends the outage

        assert [503] * 3 == outage
        assert [200, 200, 429] == [status() for _ in range(3)]


def test_unreadable_messages_count_to_the_rate_limit(database_url: str, clock: Clock) -> None:
    """Parsing an invalid message costs as much as a valid one."""
    key, token = made("agent")
    keep(database_url, key)
    headers = bearer(token) | {"Content-Type": "application/json"}

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="2") as receiver:
        statuses = [
            receiver.post("/heartbeat", content=b"rubbish", headers=headers).status_code
            for _ in range(3)
        ]

    assert [400, 400, 429] == statuses


def test_receivers_of_one_database_share_rate_limits(database_url: str, clock: Clock) -> None:
    key, token = made("agent")
    keep(database_url, key)
    one_app, other_app = (
        Observed(app_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="10")) for _ in range(2)
    )
    with serve(one_app) as one, serve(other_app) as other:

        def known(to: Observed) -> int:
            found = to.services.mirror.keys.get(key.id)
            return 0 if found is None else found.messages

        def status(of: httpx.Client, size: int) -> int:
            batch = [messages.heartbeat()] * size
            return of.post("/heartbeats", json=batch, headers=bearer(token)).status_code

        assert 200 == status(one, 8)
        wait_until(lambda: known(other_app) == 8)

        assert [200, 429] == [status(other, 2), status(other, 1)]
        wait_until(lambda: known(one_app) == 10)
        assert 429 == status(one, 1)


def test_address_with_many_wrong_keys_gets_429(database_url: str, clock: Clock) -> None:
    key, token = made("viewer")
    keep(database_url, key)

    with receiver_on(database_url, clock, FLEET_FAILURES_PER_MINUTE="2") as receiver:
        wrong = [receiver.get("/servers", headers=bearer(UNKNOWN)) for _ in range(3)]
        missing = receiver.get("/servers")
        right = receiver.get("/servers", headers=bearer(token))

    assert [401, 401, 429] == [each.status_code for each in wrong]
    assert "too_many_failures" == wrong[-1].json()["code"]
    assert 1 <= int(wrong[-1].headers["retry-after"]) <= 60
    # A valid key still works for another client behind the same address.
    assert [401, 200] == [missing.status_code, right.status_code]


def test_expired_and_revoked_keys_do_not_count_as_wrong(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers with an expired key get its code, not 429; the log warns once an hour."""
    (one, ones), (other, others) = made("agent"), made("agent")
    keep(database_url, expired(one), revoked(other))

    with receiver_on(database_url, clock, FLEET_FAILURES_PER_MINUTE="2") as receiver:

        def codes() -> list[str]:
            return [
                receiver.get("/servers", headers=bearer(token)).json()["code"]
                for token in (ones, others)
            ]

        first = [codes() for _ in range(4)]
        clock.advance(3599)
        codes()
        clock.advance(1)
        codes()

    assert [["key_expired", "key_revoked"]] * 4 == first
    warnings = [r.getMessage() for r in caplog.records if "is used" in r.getMessage()]
    hourly = [
        f"The key {one.id} ('agent') is used and has expired",
        f"The key {other.id} ('agent') is used and is revoked",
    ]
    assert hourly * 2 == warnings


# Failures


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("the database does not answer: test"), RuntimeError("unexpected")],
    ids=["fail", "unforeseen"],
)
def test_keys_stay_valid_while_the_database_fails(
    error: Exception, database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that is revoked during the failure is refused afterwards."""
    key, token = made("viewer")
    keep(database_url, key)
    app = Observed(app_on(database_url, clock))
    with serve(app) as receiver:
        store = app.services.store
        changed = store.keys.changed

        def fail(*, since: int) -> ChangedKeys:
            raise error

        store.keys.changed = fail  # type: ignore[method-assign]  # simulates an outage
        with caplog.at_level(logging.WARNING):
            wait_until(lambda: "The keys are those of some time ago" in caplog.text)
        assert 200 == receiver.get("/openapi.json", headers=bearer(token)).status_code
        store.keys.revoke(key.id, clock.now)
        store.keys.changed = changed  # type: ignore[method-assign]  # ends the outage
        wait_until(lambda: receiver.get("/openapi.json", headers=bearer(token)).status_code == 401)


def test_receiver_closes_websocket_connections(database_url: str, clock: Clock) -> None:
    app = app_on(database_url, clock)
    scope: Scope = {"type": "websocket", "path": "/", "raw_path": b"/", "headers": []}
    sent = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    with serve(app):
        asyncio.run(app(scope, receive, send))

    assert ["websocket.close"] == sent


def test_receiver_stays_closed_when_all_keys_are_deleted(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Restoring a backup without keys must not open a running receiver."""
    key, token = made("viewer")
    keep(database_url, key)
    app = Observed(app_on(database_url, clock, FLEET_OPEN="1"))
    with serve(app) as receiver:
        app.services.store.transactions.write(lambda connection: connection.execute(delete(keys)))

        wait_until(lambda: "There were keys, and now there are none" in caplog.text)

        assert [401, 401] == [
            receiver.get("/servers").status_code,
            receiver.get("/servers", headers=bearer(token)).status_code,
        ]


def test_receiver_stops_although_the_use_of_keys_cannot_be_stored(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key, token = made("viewer")
    keep(database_url, key)
    app = Observed(
        create_app(
            environ={"FLEET_DATABASE_URL": database_url},
            clock=clock,
            tuning=Tuning(look_seconds=3600),
        )
    )
    with serve(app) as receiver:
        receiver.get("/servers", headers=bearer(token)).raise_for_status()
        app.services.store.transactions.write(keys.drop)

    assert "The keys are those of some time ago" in caplog.text


def test_outdated_keys_are_logged_once(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Observed(app_on(database_url, clock))
    with serve(app):
        looks = []

        def fail(*, since: int) -> ChangedKeys:
            looks.append(1)
            raise StoreUnavailable("the database does not answer: test")

        app.services.store.keys.changed = fail  # type: ignore[method-assign]  # simulates an outage
        wait_until(lambda: len(looks) > 3)
        assert 1 == caplog.text.count("The keys are those of some time ago")
