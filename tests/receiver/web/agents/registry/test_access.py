"""Who may read the MCP registry."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

import messages
from keyring import bearer, keep, made
from receiver.domain.keys import id_of
from registry_entries import LIST, listed, receiving, send
from registry_rules import entries_of
from servers import Clock


@pytest.fixture
def tokens(database_url: str) -> dict[str, str]:
    """The token of a key of each scope, which the database has."""
    keys = {scope: made(scope) for scope in ("agent", "viewer", "registry", "admin")}
    keep(database_url, *(key for key, _ in keys.values()))
    return {scope: token for scope, (_, token) in keys.items()}


@pytest.fixture
def guarded(database_url: str, clock: Clock, tokens: dict[str, str]) -> Iterator[httpx.Client]:
    """A receiver with keys and one server."""
    with receiving(database_url, clock) as client:
        client.headers = bearer(tokens["agent"])
        send(client)
        client.headers = {}
        yield client


PREFLIGHT = {"Origin": "https://vscode.dev", "Access-Control-Request-Method": "GET"}


@pytest.mark.both_databases
def test_registry_is_opened_by_a_path_with_a_key(
    guarded: httpx.Client, tokens: dict[str, str]
) -> None:
    base = f"/registry/{tokens['registry']}{LIST}"

    (entry,) = entries_of(guarded.get(f"{base}?limit=50&version=latest"))
    name = quote(entry["server"]["name"], safe="")

    assert [entry] == entries_of(guarded.get(f"{base}/{name}/versions"))
    assert entry == guarded.get(f"{base}/{name}/versions/latest").json()


def test_registry_key_opens_nothing_but_the_registry(
    guarded: httpx.Client, tokens: dict[str, str]
) -> None:
    base, headers = f"/registry/{tokens['registry']}", bearer(tokens["registry"])

    assert [404, 404, 404] == [
        guarded.get(f"{base}{path}").status_code for path in ("", "/servers", "/v0.1/publish")
    ]
    assert [200, 403, 403, 403, 403] == [
        guarded.get(path, headers=headers).status_code
        for path in (LIST, "/servers", "/events", "/keys", "/connections?client=cursor")
    ]
    assert 403 == guarded.post("/heartbeat", json=messages.slim(), headers=headers).status_code
    assert 403 == guarded.post("/mcp", json={}, headers=headers).status_code
    assert 405 == guarded.post(f"{base}{LIST}", json={}).status_code
    assert 405 == guarded.post(LIST, json={}, headers=headers).status_code
    assert 401 == guarded.post(LIST, json={}).status_code


def test_key_of_another_scope_opens_no_registry_path(
    guarded: httpx.Client, tokens: dict[str, str]
) -> None:
    """Such a key opens more than the registry, so it must not stand in a path."""
    answers = {
        scope: guarded.get(f"/registry/{tokens[scope]}{LIST}")
        for scope in ("agent", "viewer", "admin")
    }

    assert [403, 403, 403] == [each.status_code for each in answers.values()]
    assert "a key of the scope registry" in answers["admin"].json()["detail"]


def test_registry_path_with_a_revoked_key_is_refused(
    guarded: httpx.Client, tokens: dict[str, str]
) -> None:
    path = f"/registry/{tokens['registry']}{LIST}"
    assert 200 == guarded.get(path).status_code
    key_id = id_of(tokens["registry"])
    guarded.delete(f"/keys/{key_id}", headers=bearer(tokens["admin"])).raise_for_status()

    answer = guarded.get(path)

    assert (401, "key_revoked") == (answer.status_code, answer.json()["code"])
    assert "*" == answer.headers["access-control-allow-origin"]


def test_guessed_registry_paths_are_rate_limited(
    sqlite_url: str, clock: Clock, tokens: dict[str, str]
) -> None:
    with receiving(sqlite_url, clock, FLEET_FAILURES_PER_MINUTE="1") as receiver:
        guessed = [receiver.get(f"/registry/{each}{LIST}").status_code for each in ("a", "b")]
        known = receiver.get(f"/registry/{tokens['registry']}{LIST}").status_code

    assert ([401, 429], 200) == (guessed, known)


@pytest.mark.parametrize("scope", ["viewer", "registry", "admin"])
def test_header_with_a_key_opens_the_registry(
    guarded: httpx.Client, tokens: dict[str, str], scope: str
) -> None:
    answer = guarded.get(LIST, headers=bearer(tokens[scope]))

    assert 1 == len(entries_of(answer))
    assert "*" == answer.headers["access-control-allow-origin"]


def test_registry_needs_a_key_by_default(guarded: httpx.Client, tokens: dict[str, str]) -> None:
    missing, agents = guarded.get(LIST), guarded.get(LIST, headers=bearer(tokens["agent"]))

    assert (401, "key_missing") == (missing.status_code, missing.json()["code"])
    assert 403 == agents.status_code
    assert "may not read the MCP registry" in agents.json()["detail"]


def test_open_registry_needs_no_key(sqlite_url: str, clock: Clock, tokens: dict[str, str]) -> None:
    far = {"X-Forwarded-For": "192.0.2.7"}
    with receiving(sqlite_url, clock, FLEET_REGISTRY="open") as receiver:
        receiver.headers = bearer(tokens["agent"])
        send(receiver)
        receiver.headers = {}
        answer = receiver.get(LIST, headers=far)
        others = receiver.get("/servers", headers=far)

    assert 1 == len(entries_of(answer))
    assert 401 == others.status_code


def test_open_registry_is_read_before_there_is_a_key(sqlite_url: str, clock: Clock) -> None:
    far = {"X-Forwarded-For": "192.0.2.7"}
    with receiving(sqlite_url, clock, FLEET_REGISTRY="open") as receiver:
        send(receiver)
        answer, path = receiver.get(LIST, headers=far), f"/registry/a{LIST}"

        assert 1 == len(entries_of(answer))
        assert [403, 401] == [receiver.get(path, headers=each).status_code for each in (far, {})]
        assert "*" == receiver.options(LIST).headers["access-control-allow-origin"]


@pytest.mark.parametrize(("setting", "count"), [("key", 1), ("open", 0)])
def test_loopback_endpoint_is_listed_only_for_clients_on_this_machine(
    sqlite_url: str, clock: Clock, setting: str, count: int
) -> None:
    with receiving(sqlite_url, clock, FLEET_REGISTRY=setting) as receiver:
        send(receiver, endpoint_url="http://127.0.0.1:8069/mcp/v1")

        assert count == len(listed(receiver))


def test_registry_answers_preflight_requests_of_other_origins(
    guarded: httpx.Client, tokens: dict[str, str]
) -> None:
    for base in ("", f"/registry/{tokens['registry']}"):
        for path in ("", "/a%2Fb/versions", "/a%2Fb/versions/latest"):
            answer = guarded.options(f"{base}{LIST}{path}", headers=PREFLIGHT)
            headers = answer.headers
            assert (204, "*") == (answer.status_code, headers["access-control-allow-origin"])
            assert "GET, OPTIONS" == headers["access-control-allow-methods"]
            assert "Authorization, Content-Type" == headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in headers


def test_page_of_another_origin_gets_no_keyless_access_to_the_registry(
    receiver: httpx.Client,
) -> None:
    send(receiver)

    for method in ("GET", "OPTIONS"):
        answer = receiver.request(method, LIST, headers=PREFLIGHT)
        assert "access-control-allow-origin" not in answer.headers
        assert "same-origin" == answer.headers["cross-origin-resource-policy"]


def test_registry_answer_forbids_storing_and_sharing(
    guarded: httpx.Client, tokens: dict[str, str]
) -> None:
    answer = guarded.get(f"/registry/{tokens['registry']}{LIST}")

    assert "no-store" == answer.headers["cache-control"]
    assert "no-referrer" == answer.headers["referrer-policy"]
    assert "cross-origin" == answer.headers["cross-origin-resource-policy"]
