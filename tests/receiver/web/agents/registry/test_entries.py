"""The MCP registry over HTTP."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import make_url

import messages
from keyring import bearer, keep, made
from receiver.app import Tuning, create_app
from receiver.domain.agents.registry import EntryFilter, EntryPlace
from receiver.domain.cursors import write_registry_cursor
from receiver.domain.keys import id_of
from receiver.service.agents import registry as service
from receiver.store import SqlStore
from receiver.store.lists import registry as lists
from registry_rules import OFFICIAL, entries_of, expect_entry
from servers import ANY_PAUSE_SECONDS, Clock, serve, wait_until
from watched import Watched

Json = dict[str, Any]

LIST = "/v0.1/servers"
URL = "https://acme.example/mcp/v1"
UUID = "5f0e2a3c-54b1-4a77-9d6e-0c6a4f1f7a11"


def send(receiver: httpx.Client, **said: Any) -> None:
    given = {"server_id": "acme_web", "database": "acme", "odoo_stage": "production"}
    given |= {"endpoint_url": URL, "database_uuid": UUID, "version": "19.0.1.0.0", **said}
    receiver.post("/heartbeat", json=messages.slim(**given)).raise_for_status()


def send_other(receiver: httpx.Client, name: str, **said: Any) -> None:
    given = {"server_id": f"{name}_web", "database": name, "database_uuid": f"uuid of {name}"}
    send(receiver, **{**given, "endpoint_url": f"https://{name}.example/mcp", **said})


def listed(receiver: httpx.Client, **asked: Any) -> list[Json]:
    return entries_of(receiver.get(LIST, params=asked))


def names(entries: list[Json]) -> list[str]:
    """The part of the names after the namespace, without the digests."""
    return [each["server"]["name"].partition("/")[2].rpartition("-")[0] for each in entries]


def only_name(receiver: httpx.Client) -> str:
    (entry,) = listed(receiver)
    name: str = entry["server"]["name"]
    return name


def get(receiver: httpx.Client, name: str, version: str = "latest", **asked: Any) -> Json:
    answer = receiver.get(f"{LIST}/{quote(name, safe='')}/versions/{version}", params=asked)
    assert 200 == answer.status_code, answer.text
    entry: Json = answer.json()
    expect_entry(entry)
    return entry


def status(entry: Json) -> str:
    found: str = entry["_meta"][OFFICIAL]["status"]
    return found


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
def test_registry_pages_hold_every_entry_for_an_editor(receiver: httpx.Client) -> None:
    """As VS Code does: it puts the cursor into the URL as it is, and drops the search."""
    for number in range(5):
        send_other(receiver, f"acme{number}")
    send_other(receiver, "blue", server_id="acme3_zzz", hostname="b")
    send_other(receiver, "green")

    probe = receiver.get(f"{LIST}?limit=1")
    page = receiver.get(f"{LIST}?limit=2&version=latest&search=acme")
    found = entries_of(page)
    while cursor := page.json()["metadata"].get("nextCursor"):
        page = receiver.get(f"{LIST}?limit=2&version=latest&cursor={cursor}")
        found += entries_of(page)

    assert 1 == len(entries_of(probe))
    assert ["acme0", "acme1", "acme2", "acme3", "blue", "acme4"] == names(found)


def test_registry_page_has_thirty_entries_by_default(receiver: httpx.Client) -> None:
    beats = [
        messages.slim(server_id=f"s{number:03}", endpoint_url=URL, database=f"d{number}")
        for number in range(101)
    ]
    receiver.post("/heartbeats", json=beats).raise_for_status()

    assert 30 == len(listed(receiver))
    assert 100 == len(listed(receiver, limit=100))
    assert 100 == len(listed(receiver, limit=100_000))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit: expected a whole number from 1 on"),
        ("limit=-1", "limit: expected a whole number from 1 on"),
        ("limit=1234567890", "limit: expected a whole number from 1 on"),
        ("limit=1&limit=2", "limit: is there more than once"),
        ("cursor=abc", "cursor: expected the nextCursor of an earlier answer"),
        ("cursor=WzFd", "cursor: expected the nextCursor of an earlier answer"),
        ("cursor=e30", "cursor: expected the nextCursor of an earlier answer"),
        # ["\u0000", null, null, null, false], and ["a", null, null, "0", false]
        ("cursor=WyJcdTAwMDAiLG51bGwsbnVsbCxudWxsLGZhbHNlXQ", "cursor: expected"),
        ("cursor=WyJhIixudWxsLG51bGwsIjAiLGZhbHNlXQ", "cursor: expected"),
        # a part more than the cursor of a place among tombstones has
        ("cursor=WyJhIixudWxsLG51bGwsbnVsbCxmYWxzZSwyXQ", "cursor: expected"),
        ("search=%00", "search: expected at most 1000 bytes of text, without a NUL"),
        (f"version={1001 * 'a'}", "version: expected at most 1000 bytes of text"),
        ("updated_since=yesterday", "updated_since: expected an RFC 3339 time"),
        ("updated_since=2026-01-31T12:00:00", "updated_since: expected an RFC 3339 time"),
        ("include_deleted=yes", "include_deleted: expected true or false"),
        ("limit=0&include_deleted=1", "true or false"),
    ],
)
def test_invalid_registry_parameter_is_refused(
    shared_receiver: httpx.Client, query: str, said: str
) -> None:
    answer = shared_receiver.get(f"{LIST}?{query}")

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert said in answer.json()["detail"]
    assert answer.json()["detail"] == answer.json()["error"]


def test_unknown_and_empty_registry_parameters_are_ignored(receiver: httpx.Client) -> None:
    send(receiver)

    answer = receiver.get(f"{LIST}?cursor=&search=&version=&sort=name&x=1&x=2")

    assert ["acme"] == names(entries_of(answer))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CME", ["acme"]),
        ("blue", ["blue"]),
        ("nothing", []),
        ("fleet", ["acme", "blue"]),  # in the namespace, which all names have
        ("local.fleet/", ["acme", "blue"]),
        ("local.fleet/ac", ["acme"]),
        ("fleet/bl", ["blue"]),
        ("other.fleet/bl", []),
    ],
)
def test_registry_search_finds_a_text_in_names(
    receiver: httpx.Client, text: str, found: list[str]
) -> None:
    send(receiver)
    send_other(receiver, "blue")

    assert found == names(listed(receiver, search=text))


def test_registry_search_finds_a_whole_name(receiver: httpx.Client) -> None:
    send(receiver)
    name = only_name(receiver)
    send_other(receiver, "blue")
    soon = {"search": name, "updated_since": "2026-01-31T12:00:01Z"}

    assert [name] == [each["server"]["name"] for each in listed(receiver, search=name)]
    assert 1 == len(listed(receiver, search=name, version="19.0.1.0.0"))
    assert [] == listed(receiver, search=name, version="1.0")
    assert [] == listed(receiver, **soon)
    assert [] == listed(receiver, search="local.fleet/acme-aaaaaaaaaaaaaaaa")


@pytest.mark.both_databases
def test_registry_entries_are_filtered_by_version(receiver: httpx.Client) -> None:
    send(receiver)
    send_other(receiver, "blue", version="^1.0 or latest")
    send_other(receiver, "green", version=None)
    versions = {each["server"]["version"] for each in listed(receiver, version="latest")}

    assert 3 == len(versions)
    for version in versions:
        assert [version] == [
            each["server"]["version"] for each in listed(receiver, version=version)
        ]
    assert [] == listed(receiver, version="0.0.0-reported.0")
    assert [] == listed(receiver, version="^1.0 or latest")


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


@pytest.mark.both_databases
def test_registry_entries_are_filtered_by_their_update(
    receiver: httpx.Client, clock: Clock
) -> None:
    send(receiver)
    send_other(receiver, "blue")
    clock.advance(60)
    send(receiver)
    send_other(receiver, "blue", capabilities=["another_tool"])
    send_other(receiver, "green")
    clock.advance(1)

    def updated_since(moment: str) -> list[str]:
        return names(listed(receiver, updated_since=moment))

    assert ["acme", "blue", "green"] == updated_since("2026-01-31T12:00:00Z")
    assert ["acme", "blue", "green"] == updated_since("0001-01-01T00:00:00Z")
    assert ["blue", "green"] == updated_since("2026-01-31T12:00:30+00:00")
    # A message may be committed some seconds after it was received.
    assert ["blue", "green"] == updated_since("2026-01-31T12:01:05Z")
    assert [] == updated_since("2026-01-31T12:01:06Z")
    times = [each["_meta"][OFFICIAL]["updatedAt"] for each in listed(receiver)]
    assert ["2026-01-31T12:00:00Z", "2026-01-31T12:01:00Z", "2026-01-31T12:01:00Z"] == times


def test_registry_cursor_keeps_the_filters_of_its_request(
    receiver: httpx.Client, clock: Clock
) -> None:
    send_other(receiver, "early")
    clock.advance(60)
    for name in ("blue", "green", "red"):
        send_other(receiver, name, status="uninstalled")
    asked = {"updated_since": "2026-01-31T12:01:00Z", "version": "19.0.1.0.0", "search": "e"}

    first = receiver.get(LIST, params={**asked, "limit": 1})
    cursor = first.json()["metadata"]["nextCursor"]
    second = entries_of(receiver.get(f"{LIST}?cursor={cursor}"))

    assert (["blue"], ["green", "red"]) == (names(entries_of(first)), names(second))


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


def test_registry_page_continues_after_servers_without_an_entry(
    sqlite_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(sqlite_url, clock, FLEET_ENDPOINTS="*.example") as receiver:
        for number in range(5):
            send_other(receiver, f"a{number}", endpoint_url="https://else.where/mcp")
        send_other(receiver, "blue")
        send_other(receiver, "green")

        filled = receiver.get(f"{LIST}?limit=1")
        monkeypatch.setattr(service, "_READ_AT_ONCE", 3)
        monkeypatch.setattr(service, "_MOST_READ", 3)
        short = receiver.get(f"{LIST}?limit=1")
        cursor = short.json()["metadata"]["nextCursor"]
        following = receiver.get(f"{LIST}?limit=1&cursor={cursor}")

        assert ["blue"] == names(entries_of(filled))
        assert [] == entries_of(short)
        assert ["blue"] == names(entries_of(following))
        name = entries_of(filled)[0]["server"]["name"].replace("/blue-", "/a0-")
        assert 404 == receiver.get(f"{LIST}/{name}/versions").status_code


def test_registry_cursor_of_the_first_year_is_read(receiver: httpx.Client) -> None:
    send(receiver)
    since = datetime(1, 1, 1, tzinfo=timezone.utc)
    cursor = write_registry_cursor(EntryFilter(updated_since=since), EntryPlace(""))

    assert 1 == len(entries_of(receiver.get(f"{LIST}?cursor={cursor}")))


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


# Servers that were forgotten


def one_by_one(receiver: httpx.Client, _: Watched) -> None:
    receiver.delete("/servers/acme_web").raise_for_status()


def by_a_filter(receiver: httpx.Client, _: Watched) -> None:
    receiver.delete("/servers", params={"state": "left"}).raise_for_status()


def by_the_setting(receiver: httpx.Client, fleet: Watched) -> None:
    send_other(receiver, "alive")
    heard = receiver.get("/servers/alive_web").json()["last_seen"]
    now = datetime.fromisoformat(heard) + timedelta(seconds=1)
    fleet.store.watch.note_presence(now, absent=timedelta(days=1))
    found = fleet.store.servers.forget_silent(now, timedelta(0))
    while not found.ids and found.next_stage is not None:
        found = fleet.store.servers.forget_silent(now, timedelta(0), stage=found.next_stage)
    assert ["acme_web"] == found.ids


@pytest.mark.parametrize("forget", [one_by_one, by_a_filter, by_the_setting])
@pytest.mark.both_databases
def test_forgotten_server_is_deleted_in_the_registry(
    receiver: httpx.Client,
    clock: Clock,
    fleet: Watched,
    forget: Callable[[httpx.Client, Watched], None],
) -> None:
    send(receiver)
    name = only_name(receiver)
    send(receiver, status="uninstalled")
    clock.advance(60)
    forget(receiver, fleet)
    path = f"{LIST}/{quote(name, safe='')}/versions/latest"

    hidden = receiver.get(path)
    shown = get(receiver, name, "19.0.1.0.0", include_deleted="true")

    assert 404 == hidden.status_code
    assert "include_deleted=true shows it" in hidden.json()["detail"]
    assert name not in [each["server"]["name"] for each in listed(receiver)]
    assert [] == listed(receiver, search=name)
    assert [shown] == listed(receiver, search="acme", include_deleted="true")
    assert [shown] == listed(receiver, search=name, include_deleted="true")
    assert [shown] == listed(receiver, search=name, updated_since="2026-01-31T12:01:00Z")
    assert "deleted" == status(shown)
    assert "The server was forgotten" in shown["_meta"][OFFICIAL]["statusMessage"]
    assert "2026-01-31T12:00:00Z" == shown["_meta"][OFFICIAL]["publishedAt"]
    assert {"state": "forgotten"} == shown["_meta"]["local.fleet/fleet"]
    assert "remotes" not in shown["server"]
    assert ("acme (production)", "19.0.1.0.0") == (
        shown["server"]["title"],
        shown["server"]["version"],
    )


@pytest.mark.both_databases
def test_forgotten_server_that_is_heard_again_is_not_deleted(
    receiver: httpx.Client, clock: Clock
) -> None:
    send(receiver)
    send_other(receiver, "", database=None, hostname="blue")
    before = listed(receiver)
    for each in ("acme_web", "_web"):
        receiver.delete(f"/servers/{each}").raise_for_status()
    gone = listed(receiver, include_deleted="true")
    clock.advance(60)
    send(receiver, server_id="acme_new")
    send_other(receiver, "", database=None, hostname="blue")
    asked = {"include_deleted": "true", "updated_since": "2026-01-31T12:00:00Z"}

    after = listed(receiver, **asked)

    def named(entries: list[Json]) -> set[str]:
        return {each["server"]["name"] for each in entries}

    assert 2 == len(named(before))
    assert named(before) == named(gone) == named(after)
    assert (["deleted"] * 2, ["active"] * 2) == ([*map(status, gone)], [*map(status, after)])
    receiver.delete("/servers/acme_new").raise_for_status()
    (again,) = [each for each in listed(receiver, **asked) if status(each) == "deleted"]
    assert "2026-01-31T12:01:00Z" == again["_meta"][OFFICIAL]["publishedAt"]


@pytest.mark.both_databases
def test_registry_lists_forgotten_servers_last_and_page_by_page(
    receiver: httpx.Client, clock: Clock
) -> None:
    found = [f"acme{number}" for number in range(7)]
    for name in [*found, "early", "other"]:
        send_other(receiver, name)
    receiver.delete("/servers/early_web").raise_for_status()
    clock.advance(60)
    for name in found[:5]:
        receiver.delete(f"/servers/{name}_web").raise_for_status()
    send_other(receiver, "acme5", capabilities=["another_tool"])
    send_other(receiver, "acme6", capabilities=["another_tool"])
    wanted = {"search": "ACME", "version": "19.0.1.0.0", "updated_since": "2026-01-31T12:00:30Z"}

    for limit in (1, 2, 3, 6, 7, 30):
        answer = receiver.get(LIST, params={**wanted, "limit": limit})
        pages = [names(entries_of(answer))]
        while cursor := answer.json()["metadata"].get("nextCursor"):
            answer = receiver.get(f"{LIST}?limit={limit}&cursor={cursor}")
            pages.append(names(entries_of(answer)))
        assert ["acme5", "acme6", *found[:5]] == [name for page in pages for name in page]
        assert all(len(page) == limit for page in pages[:-1])
        assert pages[-1]


@pytest.mark.both_databases
def test_registry_filters_apply_to_forgotten_servers(receiver: httpx.Client, clock: Clock) -> None:
    send(receiver)
    send_other(receiver, "blue", version="^1.0")
    clock.advance(60)
    receiver.delete("/servers/acme_web").raise_for_status()
    clock.advance(60)
    receiver.delete("/servers/blue_web").raise_for_status()

    def updated_since(moment: str) -> list[str]:
        return names(listed(receiver, updated_since=moment))

    assert ["acme", "blue"] == updated_since("2026-01-31T12:01:00Z")
    assert ["acme", "blue"] == updated_since("2026-01-31T12:01:05Z")
    assert ["blue"] == updated_since("2026-01-31T12:01:06Z")
    assert ["blue"] == updated_since("2026-01-31T12:02:05Z")
    assert [] == updated_since("2026-01-31T12:02:06Z")
    gone = listed(receiver, include_deleted="true")
    assert ["acme", "blue"] == names(gone)
    for entry in gone:
        found = listed(receiver, include_deleted="true", version=entry["server"]["version"])
        assert [entry] == found
    assert ["blue"] == names(listed(receiver, include_deleted="true", search="LUE (prod"))
    assert [] == listed(receiver)


@pytest.mark.both_databases
def test_successor_of_a_forgotten_server_keeps_the_name(
    receiver: httpx.Client, clock: Clock
) -> None:
    send(receiver, server_id="acme_old", heartbeat_interval_seconds=5)
    name = only_name(receiver)
    clock.advance(60)
    send(receiver, server_id="acme_new", heartbeat_interval_seconds=5, version="19.0.2.0.0")
    clock.advance(4)
    wait_until(lambda: len(receiver.get("/servers").json()["servers"]) == 1)
    receiver.delete("/servers", params={"state": "superseded"}).raise_for_status()

    assert ["active"] == [status(each) for each in listed(receiver, include_deleted="true")]
    receiver.delete("/servers/acme_new").raise_for_status()
    entry = get(receiver, name, include_deleted="true")
    assert ("deleted", "19.0.2.0.0") == (status(entry), entry["server"]["version"])
    assert [entry] == listed(receiver, include_deleted="true")


def test_server_that_was_replaced_has_its_name_again_when_the_other_is_forgotten(
    receiver: httpx.Client, clock: Clock
) -> None:
    send(receiver, server_id="acme_old", heartbeat_interval_seconds=5)
    name = only_name(receiver)
    clock.advance(60)
    send(receiver, server_id="acme_new", heartbeat_interval_seconds=5)
    clock.advance(4)
    wait_until(lambda: len(receiver.get("/servers").json()["servers"]) == 1)
    receiver.delete("/servers/acme_new").raise_for_status()

    (entry,) = listed(receiver, include_deleted="true")

    assert name == entry["server"]["name"]
    assert "deleted" != status(entry)


def test_forgotten_server_with_a_withheld_address_is_not_in_the_registry(
    sqlite_url: str, clock: Clock
) -> None:
    with receiving(sqlite_url, clock, FLEET_ENDPOINTS="*.example") as receiver:
        send(receiver, endpoint_url="https://else.where/mcp")
        send_other(receiver, "blue")
        send_other(receiver, "green", endpoint_url=None)
        for name in ("acme", "blue", "green"):
            receiver.delete(f"/servers/{name}_web").raise_for_status()

        (entry,) = listed(receiver, include_deleted="true")
        name = entry["server"]["name"]

        assert ["blue"] == names([entry])
        assert 404 == receiver.get(f"{LIST}/{name[:-1]}a/versions").status_code


def test_registry_namespace_is_that_of_the_setting(sqlite_url: str, clock: Clock) -> None:
    with receiving(sqlite_url, clock, FLEET_REGISTRY_NAMESPACE="com.example.fleet") as receiver:
        send(receiver)

        (entry,) = listed(receiver)

    assert entry["server"]["name"].startswith("com.example.fleet/acme-")
    assert "com.example.fleet/fleet" in entry["_meta"]


# Who may read the registry


@contextmanager
def receiving(url: str, clock: Clock, **environ: str) -> Iterator[httpx.Client]:
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    app = create_app(environ={"FLEET_DATABASE_URL": url, **environ}, clock=clock, tuning=tuning)
    with serve(app) as client:
        yield client


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


def test_unavailable_database_is_answered_with_503(receiver: httpx.Client, sqlite_url: str) -> None:
    """A status from 400 to 499 would be the last word on an entry."""
    send(receiver)
    name = only_name(receiver)
    with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as database:
        database.execute("ALTER TABLE servers RENAME TO gone")
        answers = [
            receiver.get(f"{LIST}{path}")
            for path in ("", f"/{name}/versions", f"/{name}/versions/latest")
        ]
        database.execute("ALTER TABLE gone RENAME TO servers")

    for answer in answers:
        assert (503, "store_unavailable") == (answer.status_code, answer.json()["code"])
        assert "5" == answer.headers["retry-after"]
        assert answer.json()["detail"] == answer.json()["error"]
