"""The admin API: keys and owners of servers, and the audit log of both."""

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
from receiver.store.credentials.keys import ChangedKeys
from servers import ANY_PAUSE_SECONDS, Clock, Observed, serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def admin() -> tuple[Key, str]:
    return made("admin", name="root")


@pytest.fixture
def receiver(database_url: str, clock: Clock, admin: tuple[Key, str]) -> Iterator[httpx.Client]:
    """A receiver with an admin key, which the client sends with every request."""
    keep(database_url, admin[0])
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS))
    with serve(app) as client:
        client.headers.update(bearer(admin[1]))
        yield client


@pytest.mark.both_databases
def test_new_key_works_at_once_and_expires(receiver: httpx.Client, clock: Clock) -> None:
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


@pytest.mark.parametrize(("servers", "warnings"), [("acme_*", 1), ("database:acme", 0), ("*", 0)])
def test_pattern_that_covers_several_databases_is_warned_of(
    receiver: httpx.Client, servers: str, warnings: int
) -> None:
    asked = {"name": "acme", "scope": "agent", "servers": servers}

    said = receiver.post("/keys", json=asked).json()["warnings"]

    assert warnings == len(said)
    assert all(each.startswith("The pattern acme_* covers servers of several") for each in said)


def test_path_of_a_registry_is_told_with_its_key_only(receiver: httpx.Client) -> None:
    new = receiver.post("/keys", json={"name": "team", "scope": "registry"}).json()
    rotated = receiver.post(f"/keys/{new['key']['id']}/rotate").json()
    viewer = receiver.post("/keys", json={"name": "a", "scope": "viewer"}).json()

    for each in (new, rotated):
        assert f"/registry/{each['token']}" == each["path"]
    assert viewer["path"] is None
    assert "/registry/" not in receiver.get("/keys").text


@pytest.mark.both_databases
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
def test_invalid_new_key_over_http_is_refused(
    asked: Any, path: str, receiver: httpx.Client
) -> None:
    answer = receiver.post("/keys", json=asked)

    assert (422, "invalid_message") == (answer.status_code, answer.json()["code"])
    assert [path] == [each["path"] for each in answer.json()["errors"]]
    assert 1 == receiver.get("/keys").json()["count"]


def test_body_that_is_no_json_is_refused(receiver: httpx.Client) -> None:
    answers = [
        receiver.post("/keys", content=b"{", headers=JSON),
        receiver.post("/keys", content=b"{}"),
    ]

    assert [400, 415] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("depth", [100, 1000, 1020, 60_000])
def test_deeply_nested_body_is_refused(depth: int, receiver: httpx.Client) -> None:
    body = b'{"name": ' + b"[" * depth + b"]" * depth + b"}"

    answer = receiver.post("/keys", content=body[: 64 * 1024], headers=JSON)

    assert answer.status_code in (400, 422)


@pytest.mark.both_databases
def test_revoked_key_is_refused_at_once(receiver: httpx.Client) -> None:
    new = receiver.post("/keys", json={"name": "a", "scope": "viewer"}).json()

    revoked = receiver.delete(f"/keys/{new['key']['id']}")

    assert {"status": "revoked", "id": new["key"]["id"]} == revoked.json()
    after = receiver.get("/servers", headers=bearer(new["token"]))
    assert (401, "key_revoked") == (after.status_code, after.json()["code"])


@pytest.mark.both_databases
def test_revocation_forgets_the_servers_of_a_key_if_asked(
    receiver: httpx.Client, audit: list[str]
) -> None:
    asked = {"name": "a", "scope": "agent"}
    leaked, other = (receiver.post("/keys", json=asked).json() for _ in range(2))
    for key, ids in ((leaked, "abc"), (other, "d")):
        beats = [messages.slim(server_id=each) for each in ids]
        receiver.post("/heartbeats", json=beats, headers=bearer(key["token"])).raise_for_status()
    path = f"/keys/{leaked['key']['id']}"

    kept = receiver.delete(path).json(), receiver.get("/servers").json()["count"]
    answers = [receiver.delete(f"{path}?forget=true").json() for _ in range(2)]

    said = {"status": "revoked", "id": leaked["key"]["id"]}
    assert (said, 4) == kept
    assert [said | {"forgotten": n, "more": False} for n in (3, 0)] == answers
    assert ["d"] == [each["server_id"] for each in receiver.get("/servers").json()["servers"]]
    assert any(f"forgot the servers of the key {leaked['key']['id']!r}" in each for each in audit)


@pytest.mark.parametrize("query", ["forget=yes", "forget=", "forgte=true"])
def test_unknown_parameter_of_a_revocation_is_refused(receiver: httpx.Client, query: str) -> None:
    key_id = receiver.post("/keys", json={"name": "a", "scope": "viewer"}).json()["key"]["id"]

    refused = receiver.delete(f"/keys/{key_id}?{query}")

    assert (400, "invalid_parameter") == (refused.status_code, refused.json()["code"])
    assert "active" == receiver.get("/keys").json()["keys"][-1]["standing"]


def test_revoked_or_unknown_key_is_not_found(receiver: httpx.Client) -> None:
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


@pytest.mark.both_databases
def test_rotation_replaces_the_token_of_a_key(receiver: httpx.Client) -> None:
    new = receiver.post("/keys", json={"name": "a", "scope": "viewer"}).json()

    rotated = receiver.post(f"/keys/{new['key']['id']}/rotate").json()

    assert ("rotated", new["key"]["id"]) == (rotated["status"], rotated["id"])
    statuses = [
        receiver.get("/servers", headers=bearer(token)).status_code
        for token in (new["token"], rotated["token"])
    ]
    assert [401, 200] == statuses


@pytest.mark.both_databases
def test_handed_over_server_is_writable_by_the_new_key_only(
    receiver: httpx.Client, admin: tuple[Key, str]
) -> None:
    keys = [receiver.post("/keys", json={"name": "a", "scope": "agent"}).json() for _ in "ab"]
    (one, other) = (bearer(key["token"]) for key in keys)
    # A server_id may hold slashes, and end like the path of a route.
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


@pytest.mark.both_databases
def test_server_can_be_handed_to_no_key(receiver: httpx.Client) -> None:
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
def test_invalid_hand_over_is_refused(
    path: str, asked: Any, status: int, receiver: httpx.Client, admin: tuple[Key, str]
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()

    assert status == receiver.put(path, json=asked).status_code
    owner = receiver.get("/servers/acme_web-1/owner").json()
    assert admin[0].id == owner["key_id"]


def test_hand_over_to_a_key_that_cannot_write_is_refused(receiver: httpx.Client) -> None:
    """Otherwise no agent could write the server any more."""
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    for asked in (
        {"name": "a", "scope": "viewer"},
        {"name": "a", "scope": "agent", "servers": "blue_*"},
    ):
        key_id = receiver.post("/keys", json=asked).json()["key"]["id"]

        answer = receiver.put("/servers/acme_web-1/owner", json={"key_id": key_id})

        assert 422 == answer.status_code
        assert f"The key {key_id}" in answer.json()["detail"]


def test_hand_over_to_a_revoked_key_is_refused(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    key_id = receiver.post("/keys", json={"name": "a", "scope": "agent"}).json()["key"]["id"]
    receiver.delete(f"/keys/{key_id}").raise_for_status()

    answer = receiver.put("/servers/acme_web-1/owner", json={"key_id": key_id})

    assert 422 == answer.status_code
    assert f"The key {key_id} is revoked." in answer.json()["detail"]


def test_owner_of_an_unknown_server_is_404(receiver: httpx.Client) -> None:
    assert 404 == receiver.get("/servers/unknown/owner").status_code


def test_server_id_that_ends_like_a_route_is_read(receiver: httpx.Client) -> None:
    """A server_id may look like the path of a route."""
    beat = messages.heartbeat(server_id="a/owner")
    receiver.post("/heartbeat", json=beat).raise_for_status()

    assert "a/owner" == receiver.get("/servers/a%2Fowner").json()["server_id"]


def test_each_admin_action_has_an_audit_line(
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


def test_audit_line_says_perhaps_when_the_outcome_is_unknown(
    sqlite_url: str, clock: Clock, admin: tuple[Key, str], audit: list[str]
) -> None:
    keep(sqlite_url, admin[0])
    app = Observed(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock))
    with serve(app) as receiver:

        def delete(server_id: str, at: datetime) -> bool:
            raise OutcomeUnknown("the database does not end a change")

        app.services.store.servers.delete = delete  # type: ignore[method-assign]  # simulates an unknown outcome
        answer = receiver.delete("/servers/acme_web-1", headers=bearer(admin[1]))

    assert (503, "outcome_unknown") == (answer.status_code, answer.json()["code"])
    who = f"key {admin[0].id} ('root')"
    assert [f"{who} perhaps deleted the server 'acme_web-1', from 127.0.0.1"] == audit


def test_new_token_is_shown_although_reading_the_keys_fails(
    sqlite_url: str, clock: Clock, admin: tuple[Key, str]
) -> None:
    """Otherwise the key would exist, and its token would be lost."""
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

        def fail(*, since: int) -> ChangedKeys:
            raise StoreUnavailable("the database does not answer: test")

        keys.changed = fail  # type: ignore[method-assign]  # simulates an outage
        new = receiver.post("/keys", json={"name": "a", "scope": "viewer"})
        keys.changed = changed  # type: ignore[method-assign]  # ends the outage

        assert 201 == new.status_code
        # The receiver reads the keys again when a request names an unknown one.
        assert 200 == receiver.delete(f"/keys/{new.json()['key']['id']}").status_code


@pytest.mark.both_databases
def test_key_made_at_one_receiver_is_known_at_another(
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
    """A rotation keeps the expiry, so the new token would be useless."""
    soon = (clock.now + timedelta(hours=1)).isoformat()
    asked = {"name": "a", "scope": "viewer", "expires_at": soon}
    key_id = receiver.post("/keys", json=asked).json()["key"]["id"]
    clock.advance(3600)

    answer = receiver.post(f"/keys/{key_id}/rotate")

    assert (409, "key_expired") == (answer.status_code, answer.json()["code"])


def test_rotated_key_keeps_its_expiry(receiver: httpx.Client, clock: Clock) -> None:
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
def test_duplicate_json_field_is_refused(path: str, body: bytes, receiver: httpx.Client) -> None:
    """A proxy that inspects bodies may have read the other value."""
    answer = receiver.post(path, content=body, headers=JSON)

    assert (422, "is there more than once") == (
        answer.status_code,
        answer.json()["errors"][0]["message"],
    )


def test_audit_line_of_a_request_without_a_key_says_so(
    sqlite_url: str, clock: Clock, audit: list[str]
) -> None:
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as keyless:
        keyless.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
        keyless.delete("/servers/acme_web-1").raise_for_status()

    assert ["somebody without a key deleted the server 'acme_web-1', from 127.0.0.1"] == audit


def test_audit_line_has_no_line_breaks(receiver: httpx.Client, audit: list[str]) -> None:
    """A client that chooses a server_id must not be able to forge log lines."""
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a\u2028b")).raise_for_status()
    receiver.delete("/servers/a%E2%80%A8b").raise_for_status()

    assert [1] == [len(line.splitlines()) for line in audit]


def test_first_key_cannot_be_made_over_http(sqlite_url: str, clock: Clock) -> None:
    """A client of an open receiver must not be able to lock out all others."""
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_OPEN": "1"}
    with serve(create_app(environ=environ, clock=clock)) as keyless:
        answer = keyless.post("/keys", json={"name": "evil", "scope": "admin"})

    assert (403, "no_keys_yet") == (answer.status_code, answer.json()["code"])
    assert (
        "The first key is made on the receiver's machine: "
        "odoo-mcp-fleet keys create --name admin --scope admin"
    ) == answer.json()["detail"]


def test_expired_admin_key_is_refused(receiver: httpx.Client, clock: Clock) -> None:
    soon = (clock.now + timedelta(hours=1)).isoformat()
    asked = {"name": "a", "scope": "admin", "expires_at": soon}
    token = receiver.post("/keys", json=asked).json()["token"]
    clock.advance(3600)

    assert 401 == receiver.get("/keys", headers=bearer(token)).status_code
