"""What administrators do over HTTP, and what is noted of it."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

import messages
from keyring import bearer, keep, made
from receiver.app import Tuning, create_app
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.domain.keys import Key
from receiver.store.keys import ChangedKeys
from servers import ANY_PAUSE_SECONDS, Clock, Observed, serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def admin() -> tuple[Key, str]:
    return made("admin", name="root")


@pytest.fixture
def receiver(database_url: str, clock: Clock, admin: tuple[Key, str]) -> Iterator[httpx.Client]:
    """One that has a key, which its client sends."""
    keep(database_url, admin[0])
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS))
    with serve(app) as client:
        client.headers.update(bearer(admin[1]))
        yield client


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines of the audit log."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    collect = Collect()
    log = logging.getLogger("receiver.audit")
    level = log.level
    log.addHandler(collect)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(collect)
    log.setLevel(level)


def test_new_key_is_good_at_once(receiver: httpx.Client, clock: Clock) -> None:
    asked = {
        "name": "acme",
        "scope": "agent",
        "servers": "acme_*",
        "expires_at": "2026-02-01T12:00:00Z",
    }

    answer = receiver.post("/keys", json=asked)

    key, token = answer.json()["key"], answer.json()["token"]
    assert 201 == answer.status_code
    assert "no-store" == answer.headers["cache-control"]
    assert asked.items() <= key.items()
    beat = receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
    assert 200 == beat.status_code
    clock.advance(86_400)
    late = receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
    assert "key_expired" == late.json()["code"]


def test_keys_are_listed_without_their_secrets(
    receiver: httpx.Client, admin: tuple[Key, str], clock: Clock
) -> None:
    clock.advance(60)
    made_now = receiver.post("/keys", json={"name": "acme", "scope": "viewer"}).json()

    answer = receiver.get("/keys")

    first, second = answer.json()["keys"]
    assert 2 == answer.json()["count"]
    assert (admin[0].id, "root", "admin") == (first["id"], first["name"], first["scope"])
    assert made_now["key"] == second
    for token in (made_now["token"], admin[1]):
        assert token.rpartition("_")[2] not in answer.text


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"name": "a"}, "scope"),
        ({"name": "a", "scope": "root"}, "scope"),
        ({"name": "a", "scope": "agent", "servres": "acme_*"}, "servres"),
        ([], ""),
    ],
)
def test_key_that_cannot_be_is_not_made(asked: Any, path: str, receiver: httpx.Client) -> None:
    answer = receiver.post("/keys", json=asked)

    assert (422, "invalid_message") == (answer.status_code, answer.json()["code"])
    assert [path] == [each["path"] for each in answer.json()["errors"]]
    assert 1 == receiver.get("/keys").json()["count"]


def test_body_that_is_no_json_makes_no_key(receiver: httpx.Client) -> None:
    answers = [
        receiver.post("/keys", content=b"{", headers=JSON),
        receiver.post("/keys", content=b"{}"),
    ]

    assert [400, 415] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("depth", [100, 1000, 1020, 60_000])
def test_deep_nest_makes_no_key(depth: int, receiver: httpx.Client) -> None:
    body = b'{"name": ' + b"[" * depth + b"]" * depth + b"}"

    answer = receiver.post("/keys", content=body[: 64 * 1024], headers=JSON)

    assert answer.status_code in (400, 422)


def test_revoked_key_is_refused_at_once(receiver: httpx.Client) -> None:
    new = receiver.post("/keys", json={"name": "a", "scope": "viewer"}).json()

    revoked = receiver.delete(f"/keys/{new['key']['id']}")

    assert {"status": "revoked", "id": new["key"]["id"]} == revoked.json()
    after = receiver.get("/servers", headers=bearer(new["token"]))
    assert (401, "key_revoked") == (after.status_code, after.json()["code"])


def test_key_is_revoked_and_rotated_only_while_it_is_good(receiver: httpx.Client) -> None:
    key_id = receiver.post("/keys", json={"name": "a", "scope": "viewer"}).json()["key"]["id"]
    receiver.delete(f"/keys/{key_id}").raise_for_status()

    answers = [
        receiver.delete(f"/keys/{key_id}"),
        receiver.post(f"/keys/{key_id}/rotate"),
        receiver.delete("/keys/nobody"),
        receiver.post("/keys/nobody/rotate"),
    ]

    assert [404] * 4 == [answer.status_code for answer in answers]
    assert f"There is no key {key_id!r} that is not revoked." == answers[0].json()["detail"]


def test_rotated_key_is_another(receiver: httpx.Client) -> None:
    new = receiver.post("/keys", json={"name": "a", "scope": "viewer"}).json()

    rotated = receiver.post(f"/keys/{new['key']['id']}/rotate").json()

    assert ("rotated", new["key"]["id"]) == (rotated["status"], rotated["id"])
    statuses = [
        receiver.get("/servers", headers=bearer(token)).status_code
        for token in (new["token"], rotated["token"])
    ]
    assert [401, 200] == statuses


def test_server_is_handed_over(receiver: httpx.Client, admin: tuple[Key, str]) -> None:
    keys = [receiver.post("/keys", json={"name": "a", "scope": "agent"}).json() for _ in "ab"]
    (one, other) = (bearer(key["token"]) for key in keys)
    # A server_id may hold slashes, and end as a call does.
    beat = messages.heartbeat(server_id="a/b/owner")
    receiver.post("/heartbeat", json=beat, headers=one).raise_for_status()
    path = "/servers/a%2Fb%2Fowner/owner"
    before = receiver.get(path).json()

    answer = receiver.put(path, json={"key_id": keys[1]["key"]["id"]})

    assert keys[0]["key"]["id"] == before["key_id"]
    assert {"server_id": "a/b/owner", "key_id": keys[1]["key"]["id"]} == answer.json()
    assert answer.json() == receiver.get(path).json()
    statuses = [
        receiver.post("/heartbeat", json=beat, headers=headers).status_code
        for headers in (one, other)
    ]
    assert [403, 200] == statuses


def test_server_can_be_given_up(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()

    answer = receiver.put("/servers/acme_web-1/owner", json={"key_id": None})

    assert {"server_id": "acme_web-1", "key_id": None} == answer.json()
    assert answer.json() == receiver.get("/servers/acme_web-1/owner").json()


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/servers/acme_web-1/owner", {"key_id": "nobody"}, 422),
        ("/servers/acme_web-1/owner", {"key_id": 5}, 422),
        ("/servers/acme_web-1/owner", {}, 422),
        ("/servers/acme_web-1/owner", {"key_id": None, "key": "a"}, 422),
        ("/servers/unknown/owner", {"key_id": None}, 404),
    ],
)
def test_hand_over_that_cannot_be_is_refused(
    path: str, asked: Any, status: int, receiver: httpx.Client, admin: tuple[Key, str]
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()

    assert status == receiver.put(path, json=asked).status_code
    owner = receiver.get("/servers/acme_web-1/owner").json()
    assert admin[0].id == owner["key_id"]


def test_server_is_handed_to_no_key_that_cannot_write_it(receiver: httpx.Client) -> None:
    """Or nobody could write it any more."""
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    for asked in (
        {"name": "a", "scope": "viewer"},
        {"name": "a", "scope": "agent", "servers": "blue_*"},
    ):
        key_id = receiver.post("/keys", json=asked).json()["key"]["id"]

        answer = receiver.put("/servers/acme_web-1/owner", json={"key_id": key_id})

        assert 422 == answer.status_code
        assert f"The key {key_id}" in answer.json()["detail"]


def test_server_is_handed_to_no_key_that_is_revoked(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    key_id = receiver.post("/keys", json={"name": "a", "scope": "agent"}).json()["key"]["id"]
    receiver.delete(f"/keys/{key_id}").raise_for_status()

    answer = receiver.put("/servers/acme_web-1/owner", json={"key_id": key_id})

    assert 422 == answer.status_code
    assert f"The key {key_id} is revoked." in answer.json()["detail"]


def test_owner_of_a_server_that_is_not_there_is_404(receiver: httpx.Client) -> None:
    assert 404 == receiver.get("/servers/unknown/owner").status_code


def test_slash_in_a_name_is_no_call(receiver: httpx.Client) -> None:
    """A server may be called as a call is."""
    beat = messages.heartbeat(server_id="a/owner")
    receiver.post("/heartbeat", json=beat).raise_for_status()

    assert "a/owner" == receiver.get("/servers/a%2Fowner").json()["server_id"]


def test_each_use_of_an_admins_power_leaves_a_line(
    receiver: httpx.Client, admin: tuple[Key, str], audit: list[str]
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    new = receiver.post("/keys", json={"name": "acme", "scope": "agent"}).json()
    key_id = new["key"]["id"]
    receiver.post(f"/keys/{key_id}/rotate").raise_for_status()
    receiver.put("/servers/acme_web-1/owner", json={"key_id": key_id}).raise_for_status()
    receiver.put("/servers/acme_web-1/owner", json={"key_id": None}).raise_for_status()
    receiver.delete("/servers/acme_web-1").raise_for_status()
    receiver.delete(f"/keys/{key_id}").raise_for_status()
    receiver.delete("/servers/acme_web-1")
    receiver.get("/keys").raise_for_status()

    who = f"key {admin[0].id} ('root')"
    assert [
        f"{who} made a key for agents, {key_id!r}, from 127.0.0.1",
        f"{who} rotated the key {key_id!r}, from 127.0.0.1",
        f"{who} handed over to {key_id} the server 'acme_web-1', from 127.0.0.1",
        f"{who} handed over to whoever comes next the server 'acme_web-1', from 127.0.0.1",
        f"{who} deleted the server 'acme_web-1', from 127.0.0.1",
        f"{who} revoked the key {key_id!r}, from 127.0.0.1",
        f"{who} listed all 'keys', from 127.0.0.1",
    ] == audit


def test_audit_tells_also_of_what_may_have_happened(
    sqlite_url: str, clock: Clock, admin: tuple[Key, str], audit: list[str]
) -> None:
    keep(sqlite_url, admin[0])
    app = Observed(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock))
    with serve(app) as receiver:

        def delete(server_id: str, at: datetime) -> bool:
            raise OutcomeUnknown("the database does not end a change")

        app.services.store.servers.delete = delete  # type: ignore[method-assign]  # as it may be
        answer = receiver.delete("/servers/acme_web-1", headers=bearer(admin[1]))

    assert (503, "outcome_unknown") == (answer.status_code, answer.json()["code"])
    who = f"key {admin[0].id} ('root')"
    assert [f"{who} perhaps deleted the server 'acme_web-1', from 127.0.0.1"] == audit


def test_key_that_is_made_is_shown_although_the_look_after_it_fails(
    sqlite_url: str, clock: Clock, admin: tuple[Key, str]
) -> None:
    """Or it would be there, and nobody could know it."""
    keep(sqlite_url, admin[0])
    app = Observed(
        create_app(
            environ={"FLEET_DATABASE_URL": sqlite_url},
            clock=clock,
            tuning=Tuning(look_seconds=3600),
        )
    )
    with serve(app) as receiver:
        receiver.headers.update(bearer(admin[1]))
        keys = app.services.store.keys
        changed = keys.changed

        def away(*, since: int) -> ChangedKeys:
            raise StoreUnavailable("the database does not answer: test")

        keys.changed = away  # type: ignore[method-assign]  # to take the database away
        new = receiver.post("/keys", json={"name": "a", "scope": "viewer"})
        keys.changed = changed  # type: ignore[method-assign]  # as above

        assert 201 == new.status_code
        # It finds out when somebody asks for it.
        assert 200 == receiver.delete(f"/keys/{new.json()['key']['id']}").status_code


def test_key_made_at_one_receiver_is_known_to_administrators_at_another(
    database_url: str, clock: Clock, admin: tuple[Key, str]
) -> None:
    keep(database_url, admin[0])
    environ = {"FLEET_DATABASE_URL": database_url}
    apps = [
        create_app(environ=environ, clock=clock, tuning=Tuning(look_seconds=3600)) for _ in range(2)
    ]
    with serve(apps[0]) as one, serve(apps[1]) as other:
        for each in (one, other):
            each.headers.update(bearer(admin[1]))
        one.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
        ids = [
            one.post("/keys", json={"name": "a", "scope": "agent"}).json()["key"]["id"]
            for _ in range(2)
        ]

        handed = other.put("/servers/acme_web-1/owner", json={"key_id": ids[0]})
        revoked = other.delete(f"/keys/{ids[1]}")

    assert [200, 200] == [handed.status_code, revoked.status_code]


def test_expired_key_is_not_rotated(receiver: httpx.Client, clock: Clock) -> None:
    """It would have another secret, and be good for nothing all the same."""
    soon = (clock.now + timedelta(hours=1)).isoformat()
    asked = {"name": "a", "scope": "viewer", "expires_at": soon}
    key_id = receiver.post("/keys", json=asked).json()["key"]["id"]
    clock.advance(3600)

    answer = receiver.post(f"/keys/{key_id}/rotate")

    assert (409, "key_expired") == (answer.status_code, answer.json()["code"])


def test_rotated_key_ends_when_it_would_have(receiver: httpx.Client, clock: Clock) -> None:
    soon = (clock.now + timedelta(hours=1)).isoformat()
    asked = {"name": "a", "scope": "viewer", "expires_at": soon}
    key_id = receiver.post("/keys", json=asked).json()["key"]["id"]
    token = receiver.post(f"/keys/{key_id}/rotate").json()["token"]
    clock.advance(3600)

    assert "key_expired" == receiver.get("/servers", headers=bearer(token)).json()["code"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/keys", b'{"name": "a", "scope": "viewer", "scope": "admin"}'),
        ("/keys", b'{"name": "a", "scope": "viewer", "servers": {"a": 1, "a": 1}}'),
    ],
)
def test_field_that_is_there_twice_makes_no_key(
    path: str, body: bytes, receiver: httpx.Client
) -> None:
    """A proxy that looks at bodies may have read the other one."""
    answer = receiver.post(path, content=body, headers=JSON)

    assert (422, "is there more than once") == (
        answer.status_code,
        answer.json()["errors"][0]["message"],
    )


def test_audit_tells_of_somebody_without_a_key(
    sqlite_url: str, clock: Clock, audit: list[str]
) -> None:
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as keyless:
        keyless.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
        keyless.delete("/servers/acme_web-1").raise_for_status()

    assert ["somebody without a key deleted the server 'acme_web-1', from 127.0.0.1"] == audit


def test_audit_line_is_one_line(receiver: httpx.Client, audit: list[str]) -> None:
    """Whoever may choose a name chooses no second line of the log."""
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a\u2028b")).raise_for_status()
    receiver.delete("/servers/a%E2%80%A8b").raise_for_status()

    assert [1] == [len(line.splitlines()) for line in audit]


def test_first_key_is_not_made_over_http(sqlite_url: str, clock: Clock) -> None:
    """Whoever reaches an open receiver must not lock out everybody else."""
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_OPEN": "1"}
    with serve(create_app(environ=environ, clock=clock)) as keyless:
        answer = keyless.post("/keys", json={"name": "evil", "scope": "admin"})

    assert (403, "no_keys_yet") == (answer.status_code, answer.json()["code"])
    assert (
        "The first key is made on the receiver's machine: "
        "python -m receiver keys create --name admin --scope admin"
    ) == answer.json()["detail"]


def test_expired_admin_has_no_power(receiver: httpx.Client, clock: Clock) -> None:
    soon = (clock.now + timedelta(hours=1)).isoformat()
    asked = {"name": "a", "scope": "admin", "expires_at": soon}
    token = receiver.post("/keys", json=asked).json()["token"]
    clock.advance(3600)

    assert 401 == receiver.get("/keys", headers=bearer(token)).status_code
