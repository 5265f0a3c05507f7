"""The entries of servers that were forgotten."""

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from registry_entries import (
    LIST,
    Json,
    get,
    listed,
    names,
    only_name,
    receiving,
    send,
    send_other,
    status,
)
from registry_rules import OFFICIAL, entries_of
from servers import Clock, wait_until
from watched import Watched


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
