"""Which servers have an entry in the MCP registry, and what the entry says."""

from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import make_url

import messages
from keyring import bearer, keep, made
from receiver.service.agents import registry as service
from receiver.store import SqlStore
from receiver.store.lists import registry as lists
from registry_entries import (
    LIST,
    URL,
    UUID,
    get,
    listed,
    only_name,
    receiving,
    send,
    send_other,
    status,
)
from registry_rules import OFFICIAL, entries_of
from servers import Clock, wait_until
from watched import Watched


@pytest.mark.both_databases
def test_server_is_an_entry_of_the_registry(receiver: httpx.Client) -> None:
    send(receiver, capabilities=["res_partner_search"])

    (entry,) = listed(receiver)

    server = entry["server"]
    assert server["name"].startswith("local.fleet/acme-")
    assert ("acme (production)", "19.0.1.0.0") == (server["title"], server["version"])
    assert "The tools of the Odoo database acme (production)" == server["description"]
    (remote,) = server["remotes"]
    assert URL == remote["url"]
    authorization, database = remote["headers"]
    (variable,) = authorization["variables"]
    assert ("Authorization", f"Bearer {{{variable}}}") == (
        authorization["name"],
        authorization["value"],
    )
    assert variable.startswith("ODOO_KEY_ACME_")
    assert authorization["variables"][variable]["isSecret"]
    assert ("X-Odoo-Database", "acme") == (database["name"], database["value"])
    assert "variables" not in database
    official = entry["_meta"][OFFICIAL]
    assert ("active", "2026-01-31T12:00:00Z") == (official["status"], official["publishedAt"])
    own = entry["_meta"]["local.fleet/fleet"]
    assert ("up", ["res_partner_search"], 1) == (own["state"], own["tools"], own["toolCount"])


@pytest.mark.both_databases
def test_registry_entry_is_found_by_its_name(receiver: httpx.Client) -> None:
    send(receiver)
    name = only_name(receiver)

    latest, exact = get(receiver, name), get(receiver, name, "19.0.1.0.0")
    unescaped = receiver.get(f"{LIST}/{name}/versions/latest").json()

    assert listed(receiver) == [latest]
    assert latest == exact == unescaped


@pytest.mark.both_databases
def test_current_version_of_an_entry_is_the_only_one(receiver: httpx.Client) -> None:
    send(receiver)
    path = f"{LIST}/{quote(only_name(receiver), safe='')}/versions"

    assert listed(receiver) == entries_of(receiver.get(path))
    missing = receiver.get(f"{path}/19.0.0.9.9")
    assert (404, "not_found") == (missing.status_code, missing.json()["code"])
    assert "has no version '19.0.0.9.9'" in missing.json()["error"]


NAMES_OF_NO_SERVER = [
    "local.fleet/acme-aaaaaaaaaaaaaaaa",  # the digest of no server
    "local.fleet/acme",
    "com.example/acme-aaaaaaaaaaaaaaaa",
    "acme",
    "local.fleet/_.acme_web-aaaaaaaaaaaaaaaa",
    "local.fleet/_.nobody-aaaaaaaaaaaaaaaa",
    "local.fleet/_!!-aaaaaaaaaaaaaaaa",
    "local.fleet/_aa-aaaaaaaaaaaaaaaa",  # a NUL, coded
]


@pytest.mark.both_databases
def test_registry_name_of_no_server_is_not_found(receiver: httpx.Client) -> None:
    send(receiver)

    for name in NAMES_OF_NO_SERVER:
        for ending in ("/versions", "/versions/latest"):
            answer = receiver.get(f"{LIST}/{quote(name, safe='')}{ending}")
            assert (404, "not_found") == (answer.status_code, answer.json()["code"]), name


@pytest.mark.both_databases
def test_rebuild_keeps_the_registry_name(receiver: httpx.Client, clock: Clock) -> None:
    send(receiver, server_id="acme_old", heartbeat_interval_seconds=5)
    name = only_name(receiver)
    clock.advance(60)
    said = {"version": "19.0.2.0.0", "endpoint_url": "https://new.example/mcp"}
    send(receiver, server_id="acme_new", heartbeat_interval_seconds=5, **said)
    clock.advance(4)
    wait_until(lambda: len(receiver.get("/servers").json()["servers"]) == 1)

    entry = get(receiver, name)

    assert "https://new.example/mcp" == entry["server"]["remotes"][0]["url"]
    assert ("19.0.2.0.0", "active") == (entry["server"]["version"], status(entry))
    assert [entry] == listed(receiver) == listed(receiver, include_deleted="true")


def test_database_that_is_being_rebuilt_has_one_entry(receiver: httpx.Client, clock: Clock) -> None:
    send(receiver, server_id="acme_old")
    clock.advance(60)
    send(receiver, server_id="acme_new", endpoint_url="https://new.example/mcp")

    (entry,) = listed(receiver)

    assert URL == entry["server"]["remotes"][0]["url"]
    assert entry == get(receiver, entry["server"]["name"])


def test_state_of_a_server_is_the_status_of_its_entry(receiver: httpx.Client, clock: Clock) -> None:
    given = messages.registration(endpoint_url=URL)
    receiver.post("/register", json=given).raise_for_status()
    name = only_name(receiver)
    seen = [get(receiver, name)]
    receiver.post("/heartbeat", json=messages.heartbeat(endpoint_url=URL)).raise_for_status()
    seen.append(get(receiver, name))
    clock.advance(200)
    seen.append(get(receiver, name))
    wait_until(lambda: receiver.get("/servers?state=late").json()["count"] == 1)
    clock.advance(200)
    wait_until(lambda: status(get(receiver, name)) != "active")
    seen.append(get(receiver, name))

    states = [each["_meta"]["local.fleet/fleet"]["state"] for each in seen]
    assert ["new", "up", "late", "down"] == states
    assert ["active", "active", "active", "deprecated"] == [status(each) for each in seen]
    said = seen[-1]["_meta"][OFFICIAL]["statusMessage"]
    assert "Nothing was heard of the server since 2026-01-31T12:00:00Z; it may be back." == said
    assert seen[-1]["server"]["remotes"]  # it may be back, so a client may keep the address


@pytest.mark.both_databases
def test_server_that_has_left_is_deleted_in_the_registry(receiver: httpx.Client) -> None:
    send(receiver)
    name = only_name(receiver)
    send(receiver, status="uninstalled")
    path = f"{LIST}/{quote(name, safe='')}/versions/latest"

    hidden = receiver.get(path)
    shown = get(receiver, name, include_deleted="true")

    assert (404, []) == (hidden.status_code, listed(receiver))
    assert "include_deleted=true shows it" in hidden.json()["detail"]
    assert [] == listed(receiver, search=name)
    assert [shown] == listed(receiver, include_deleted="true")
    assert [shown] == listed(receiver, include_deleted="true", search=name)
    assert [shown] == listed(receiver, updated_since="2026-01-31T12:00:00Z")
    assert "deleted" == status(shown)
    assert "remotes" not in shown["server"]


def test_successor_of_another_owner_leaves_the_name_deleted(
    receiver: httpx.Client, clock: Clock, sqlite_url: str
) -> None:
    """Handed over after its rebuild, a server has another name than the one it replaced."""
    send(receiver, server_id="acme_old", heartbeat_interval_seconds=5)
    name = only_name(receiver)
    clock.advance(60)
    send(receiver, server_id="acme_new", heartbeat_interval_seconds=5)
    clock.advance(4)
    wait_until(lambda: len(receiver.get("/servers").json()["servers"]) == 1)
    store = SqlStore(make_url(sqlite_url))
    store.servers.hand_over(["acme_new"], "abcdefghij")
    store.close()

    old = get(receiver, name, include_deleted="true")

    assert "deleted" == status(old)
    assert "Another server" in old["_meta"][OFFICIAL]["statusMessage"]
    assert 2 == len(listed(receiver, include_deleted="true"))


def test_server_without_an_address_has_no_entry(receiver: httpx.Client) -> None:
    send(receiver, endpoint_url=None)

    assert [] == listed(receiver, include_deleted="true")


def test_node_has_the_entry_of_its_database(receiver: httpx.Client, fleet: Watched) -> None:
    for number in range(20):
        known = {"database_uuid": UUID, "database": "acme", "endpoint_url": URL}
        fleet.beat("ab"[number % 2], **known, sequence=number)
        fleet.sweep()
        fleet.clock.advance(60)
    assert 1 == receiver.get("/servers").json()["count"]

    (entry,) = listed(receiver, include_deleted="true")

    assert entry == get(receiver, entry["server"]["name"])


def test_many_copies_of_one_uuid_hide_no_claim_on_another(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_READ_AT_ONCE", 3)
    monkeypatch.setattr(lists, "_MOST_CLAIMS", 5)
    monkeypatch.setattr(lists, "_LIKE", lists._LIKE.limit(5))  # noqa: SLF001 - fewer are enough
    for name in ("m1", "m9"):
        send_other(receiver, name, database="acme", database_uuid="u")

    def acme() -> list[str]:
        found = [each["server"]["name"] for each in listed(receiver)]
        return [name for name in found if "/acme-" in name]

    before = acme()
    for number in range(6):
        send_other(receiver, f"m{number + 2}", database="evil", database_uuid="0")

    assert before == acme()


def test_registry_namespace_is_that_of_the_setting(sqlite_url: str, clock: Clock) -> None:
    with receiving(sqlite_url, clock, FLEET_REGISTRY_NAMESPACE="com.example.fleet") as receiver:
        send(receiver)

        (entry,) = listed(receiver)

    assert entry["server"]["name"].startswith("com.example.fleet/acme-")
    assert "com.example.fleet/fleet" in entry["_meta"]


@pytest.mark.parametrize("change", ["revoked", "expired"])
def test_server_of_a_lapsed_key_is_deprecated_and_has_no_address(
    database_url: str, clock: Clock, change: str
) -> None:
    """The key may have leaked, and somebody else may have reported the address."""
    viewer, views = made("viewer")
    agent, sends = made("agent")
    keep(database_url, viewer, agent)
    with receiving(database_url, clock) as receiver:
        receiver.headers = bearer(sends)
        send(receiver)
        receiver.headers = bearer(views)
        name = only_name(receiver)
        clock.advance(60)
        store = SqlStore(make_url(database_url))
        if change == "revoked":
            assert store.keys.revoke(agent.id, clock.now)
        else:
            assert store.keys.rotate(agent.id, agent.digest, clock.now)
        store.close()
        wait_until(lambda: status(get(receiver, name)) == "deprecated")

        entry = get(receiver, name)
        updated = listed(receiver, updated_since="2026-01-31T12:01:00Z")
        later = listed(receiver, updated_since="2026-01-31T12:01:06Z")

    assert "remotes" not in entry["server"]
    assert "revoked or has expired" in entry["_meta"][OFFICIAL]["statusMessage"]
    assert "2026-01-31T12:01:00Z" == entry["_meta"][OFFICIAL]["updatedAt"]
    assert ([entry], []) == (updated, later)


def test_server_of_another_key_has_another_name_and_another_secret(
    database_url: str, clock: Clock
) -> None:
    """Or it would be sent the API key that somebody keeps for the first one."""
    viewer, views = made("viewer")
    agents = [made("agent", name=name) for name in ("good", "evil")]
    keep(database_url, viewer, *(key for key, _ in agents))
    with receiving(database_url, clock) as receiver:
        for number, (_, token) in enumerate(agents):
            receiver.headers = bearer(token)
            send(receiver, server_id=f"acme_{number}")
        receiver.headers = bearer(views)
        one, other = listed(receiver)

    assert one["server"]["name"] != other["server"]["name"]
    secrets = [[*each["server"]["remotes"][0]["headers"][0]["variables"]] for each in (one, other)]
    assert secrets[0] != secrets[1]
