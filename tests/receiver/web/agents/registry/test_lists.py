"""The list of the MCP registry: pages, filters and cursors."""

import sqlite3
from contextlib import closing
from datetime import datetime, timezone

import httpx
import pytest
from sqlalchemy import make_url

import messages
from receiver.domain.agents.registry import EntryFilter, EntryPlace
from receiver.domain.cursors import write_registry_cursor
from receiver.service.agents import registry as service
from registry_entries import LIST, URL, listed, names, only_name, receiving, send, send_other
from registry_rules import OFFICIAL, entries_of
from servers import Clock


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
