"""The door: who may come in before there are keys, and how keys are looked after."""

import asyncio
import logging
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
from receiver.store.keys import ChangedKeys
from receiver.store.tables import keys
from servers import ANY_PAUSE_SECONDS, Clock, Observed, serve, wait_until

UNKNOWN = "fleetkey_abcdefghij_" + 43 * "k"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A quick one, where no test says otherwise."""
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


def asked_from(address: str | None, database_url: str, clock: Clock, **settings: str) -> int:
    """How a receiver without keys answers somebody at an address, by whatever server it runs."""
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


# Before there is a key


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
def test_only_who_is_on_the_machine_is_served(
    address: str | None, status: int, database_url: str, clock: Clock
) -> None:
    assert status == asked_from(address, database_url, clock)


@pytest.mark.parametrize("address", ["192.0.2.7", None])
def test_open_receiver_serves_everybody(
    address: str | None, database_url: str, clock: Clock
) -> None:
    assert 200 == asked_from(address, database_url, clock, FLEET_OPEN="1")


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
        {"x-forwarded-for": ""},
        {"Host": "fleet.example.com"},
        {"Host": "127.0.0.1.example.com"},
        {"Host": "localhost.example.com:8000"},
        {"Host": "evil.com:127"},
        {"Host": ""},
    ],
    ids=str,
)
def test_who_does_not_come_directly_is_refused(
    header: dict[str, str], database_url: str, clock: Clock
) -> None:
    with receiver_on(database_url, clock) as receiver:
        answers = [
            receiver.get("/servers", headers=header),
            receiver.post("/heartbeat", json=messages.heartbeat(), headers=header),
            receiver.get("/health", headers=header),
            receiver.get("/nothing", headers=header),
        ]

    assert [(403, "no_keys_yet")] * 4 == [(a.status_code, a.json()["code"]) for a in answers]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "fleet.localhost", "127.0.0.2:1", "[::1]:8000", "[::1]"]
)
def test_this_machine_has_many_names(host: str, database_url: str, clock: Clock) -> None:
    with receiver_on(database_url, clock) as receiver:
        assert 200 == receiver.get("/servers", headers={"Host": host}).status_code


def test_refusal_says_how_to_make_a_key(database_url: str, clock: Clock) -> None:
    with receiver_on(database_url, clock) as receiver:
        answer = receiver.get("/servers", headers={"Via": "1.1 proxy"})

    assert (
        "No key was made yet, so only clients on this machine are served that connect directly "
        "to its loopback address. Make a key there: "
        "python -m receiver keys create --name admin --scope admin"
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
def test_receiver_says_at_its_start_who_may_come_in(  # noqa: PLR0917 - fixtures
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


def test_first_key_closes_a_running_receiver(database_url: str, clock: Clock) -> None:
    key, token = made("viewer")
    with receiver_on(database_url, clock, FLEET_OPEN="1") as receiver:
        assert 200 == receiver.get("/servers").status_code
        keep(database_url, key)

        wait_until(lambda: receiver.get("/servers").status_code == 401)

        assert 200 == receiver.get("/servers", headers=bearer(token)).status_code


def test_receiver_whose_last_key_is_revoked_stays_closed(database_url: str, clock: Clock) -> None:
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
        ([("Authorization", "Bearer  {}")], "key_wrong"),
        ([("Authorization", "Bearer {}, Bearer {}")], "key_wrong"),
        ([("Authorization", "Bearer {}"), ("Authorization", "Bearer {}")], "key_missing"),
        ([("X-Api-Key", "{}")], "key_missing"),
        ([("Cookie", "fleet_session={}")], "key_missing"),
    ],
    ids=str,
)
def test_what_is_no_key_is_refused_with_a_reason(
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


def test_key_in_a_url_is_no_key(database_url: str, clock: Clock) -> None:
    key, token = made("admin")
    keep(database_url, key)

    with receiver_on(database_url, clock) as receiver:
        for name in ("key", "token", "access_token"):
            assert 401 == receiver.get("/servers", params={name: token}).status_code


def test_scheme_is_read_in_either_case(database_url: str, clock: Clock) -> None:
    key, token = made("viewer")
    keep(database_url, key)

    with receiver_on(database_url, clock) as receiver:
        answer = receiver.get("/servers", headers={"Authorization": f"bEARER {token}"})

    assert 200 == answer.status_code


def test_key_ends_when_it_expires(database_url: str, clock: Clock) -> None:
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
    """Also by one that did not hear of it, and by another process."""
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


def test_use_of_a_key_is_recorded(database_url: str, clock: Clock) -> None:
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


# What is too much


def test_key_that_sends_too_much_is_told_when_to_go_on(database_url: str, clock: Clock) -> None:
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


def test_limit_is_over_after_its_time(database_url: str, clock: Clock) -> None:
    key, token = made("agent")
    keep(database_url, key)
    environ = {"FLEET_DATABASE_URL": database_url, "FLEET_MESSAGES_PER_MINUTE": "1"}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(limit_seconds=1))

    with serve(app) as receiver:

        def status() -> int:
            beat = messages.heartbeat()
            return receiver.post("/heartbeat", json=beat, headers=bearer(token)).status_code

        first = [status(), status()]
        wait_until(lambda: status() == 200)

    assert [200, 429] == first


def test_messages_of_a_batch_count_each(database_url: str, clock: Clock) -> None:
    key, token = made("agent")
    keep(database_url, key)

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="5") as receiver:

        def status(size: int) -> int:
            batch = [messages.heartbeat(server_id=f"s{n}") for n in range(size)]
            return receiver.post("/heartbeats", json=batch, headers=bearer(token)).status_code

        assert [200, 200, 429, 429] == [status(size) for size in (2, 2, 2, 1)]


def test_batch_that_is_always_too_much_is_told_so(database_url: str, clock: Clock) -> None:
    """Whoever sends it again in a minute is refused again."""
    key, token = made("agent")
    keep(database_url, key)
    batch = [messages.heartbeat(server_id=f"s{n}") for n in range(4)]

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="3") as receiver:
        answer = receiver.post("/heartbeats", json=batch, headers=bearer(token))

    assert (413, "batch_too_large") == (answer.status_code, answer.json()["code"])


def test_long_message_counts_for_each_4_kib(database_url: str, clock: Clock) -> None:
    key, token = made("agent")
    keep(database_url, key)
    long = messages.heartbeat(capabilities=["a" * 1000] * 30)

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="9") as receiver:

        def status() -> int:
            return receiver.post("/heartbeat", json=long, headers=bearer(token)).status_code

        assert [200, 429] == [status(), status()]


def test_outage_uses_up_no_limit(database_url: str, clock: Clock) -> None:
    """What was not written is sent again, and must not be refused then."""
    key, token = made("agent")
    keep(database_url, key)
    app = Observed(app_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="2"))
    with serve(app) as receiver:

        def status() -> int:
            beat = messages.heartbeat()
            return receiver.post("/heartbeat", json=beat, headers=bearer(token)).status_code

        transactions = app.services.store.transactions
        write = transactions.write

        def away(_: object) -> NoReturn:
            raise StoreUnavailable("the database does not answer: test")

        transactions.write = away  # type: ignore[method-assign, assignment]  # to take the database away
        outage = [status() for _ in range(3)]
        transactions.write = write  # type: ignore[method-assign]  # as above

        assert [503] * 3 == outage
        assert [200, 200, 429] == [status() for _ in range(3)]


def test_what_cannot_be_read_counts_too(database_url: str, clock: Clock) -> None:
    """Whoever sends rubbish costs as much."""
    key, token = made("agent")
    keep(database_url, key)
    headers = bearer(token) | {"Content-Type": "application/json"}

    with receiver_on(database_url, clock, FLEET_MESSAGES_PER_MINUTE="2") as receiver:
        statuses = [
            receiver.post("/heartbeat", content=b"rubbish", headers=headers).status_code
            for _ in range(3)
        ]

    assert [400, 400, 429] == statuses


def test_receivers_of_one_database_know_what_the_others_let_through(
    database_url: str, clock: Clock
) -> None:
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


def test_address_with_many_wrong_keys_is_told_to_wait(database_url: str, clock: Clock) -> None:
    key, token = made("viewer")
    keep(database_url, key)

    with receiver_on(database_url, clock, FLEET_FAILURES_PER_MINUTE="2") as receiver:
        wrong = [receiver.get("/servers", headers=bearer(UNKNOWN)) for _ in range(3)]
        missing = receiver.get("/servers")
        right = receiver.get("/servers", headers=bearer(token))

    assert [401, 401, 429] == [each.status_code for each in wrong]
    assert "too_many_failures" == wrong[-1].json()["code"]
    assert 1 <= int(wrong[-1].headers["retry-after"]) <= 60
    # Whoever has a right one is not locked out by a neighbour behind the same address.
    assert [401, 200] == [missing.status_code, right.status_code]


def test_key_that_was_right_once_is_no_wrong_one(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred servers whose key has expired are told so, and not to wait."""
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
    told = [r.getMessage() for r in caplog.records if "is used" in r.getMessage()]
    hourly = [
        f"The key {one.id} ('agent') is used and has expired",
        f"The key {other.id} ('agent') is used and is revoked",
    ]
    assert hourly * 2 == told


# At three in the morning


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("the database does not answer: test"), RuntimeError("whatever it is")],
    ids=["away", "unforeseen"],
)
def test_keys_outlive_a_database_that_fails(
    error: Exception, database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """And a key that is revoked meanwhile is refused when it is back."""
    key, token = made("viewer")
    keep(database_url, key)
    app = Observed(app_on(database_url, clock))
    with serve(app) as receiver:
        store = app.services.store
        changed = store.keys.changed

        def fail(*, since: int) -> ChangedKeys:
            raise error

        store.keys.changed = fail  # type: ignore[method-assign]  # to take the database away
        with caplog.at_level(logging.WARNING):
            wait_until(lambda: "The keys are those of some time ago" in caplog.text)
        assert 200 == receiver.get("/openapi.json", headers=bearer(token)).status_code
        store.keys.revoke(key.id, clock.now)
        store.keys.changed = changed  # type: ignore[method-assign]  # as above
        wait_until(lambda: receiver.get("/openapi.json", headers=bearer(token)).status_code == 401)


def test_nobody_gets_a_websocket(database_url: str, clock: Clock) -> None:
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


def test_door_stays_shut_when_all_keys_are_gone(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever puts back a backup from before the keys does not open it by that."""
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


def test_receiver_ends_although_the_use_of_keys_cannot_be_noted(
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


def test_who_is_behind_says_so_once(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Observed(app_on(database_url, clock))
    with serve(app):
        looks = []

        def away(*, since: int) -> ChangedKeys:
            looks.append(1)
            raise StoreUnavailable("the database does not answer: test")

        app.services.store.keys.changed = away  # type: ignore[method-assign]  # as above
        wait_until(lambda: len(looks) > 3)
        assert 1 == caplog.text.count("The keys are those of some time ago")
