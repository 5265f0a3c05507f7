"""What the store keeps of entries of the MCP registry whose servers were deleted."""

from datetime import datetime, timedelta, timezone

import pytest

from receiver.domain.agents.registry import EntryFilter, Listing, Tombstone
from receiver.domain.forgetting import Forgettable
from receiver.domain.queries import Filter
from receiver.service.watchdog import Timing, Watchdog
from receiver.store import SqlStore, tombstones
from watched import Watched, at_once

URL = "https://acme.example/mcp"
UUID = "5f0e2a3c-54b1-4a77-9d6e-0c6a4f1f7a11"
DAY = timedelta(days=1)


def kept(store: SqlStore) -> list[tuple[Tombstone, bool]]:
    asked = Listing(matching=EntryFilter(), after=None, limit=1000)
    return [*store.registry.tombstones(asked)]


def titles(store: SqlStore) -> list[str]:
    return [each.title for each, _ in kept(store)]


def beat(fleet: Watched, *names: str) -> None:
    for name in names:
        fleet.beat(name, database=name, database_uuid=f"uuid of {name}", endpoint_url=URL)


def delete(fleet: Watched, *names: str) -> None:
    for name in names:
        assert fleet.store.servers.delete(name, fleet.now)


def test_tombstone_tells_what_the_entry_was(fleet: Watched) -> None:
    said = {"database": "acme", "odoo_stage": "staging", "version": "1.0"}
    fleet.beat("a", database_uuid=UUID, endpoint_url="https://Acme.Example/mcp", **said)
    begun = fleet.now
    fleet.clock.advance(60)
    delete(fleet, "a")

    ((tombstone, stands),) = kept(fleet.store)

    assert stands
    assert tombstone.local_name.startswith("acme-")
    assert ("acme (staging)", "1.0") == (tombstone.title, tombstone.version)
    assert "acme.example" == tombstone.host
    assert (begun, fleet.now) == (tombstone.first_seen, tombstone.forgotten_at)


def test_server_without_an_address_leaves_no_tombstone(fleet: Watched) -> None:
    fleet.beat("a", database="acme", database_uuid=UUID)
    delete(fleet, "a")

    assert [] == kept(fleet.store)


def test_node_leaves_no_tombstone(fleet: Watched) -> None:
    known = {"database_uuid": UUID, "database": "acme", "endpoint_url": URL}
    for number in range(20):
        fleet.beat("ab"[number % 2], **known, sequence=number)
        fleet.sweep()
        fleet.clock.advance(60)
    (leader,) = fleet.ids()
    (node,) = {"a", "b"} - {leader}

    delete(fleet, node)
    assert [] == kept(fleet.store)
    delete(fleet, leader)
    assert ["acme"] == titles(fleet.store)


def test_copy_of_a_database_leaves_a_tombstone_of_its_own(fleet: Watched) -> None:
    known = {"database_uuid": UUID, "database": "acme", "endpoint_url": URL}
    fleet.beat("first", **known)
    for _ in range(20):
        fleet.clock.advance(60)
        fleet.beat("first", "second", **known)
        fleet.sweep()
    assert "first" == fleet.record("second").twin_of

    delete(fleet, "second")
    ((copy, is_gone),) = kept(fleet.store)
    delete(fleet, "first")
    both = kept(fleet.store)

    assert is_gone
    assert 2 == len(both)
    assert (copy, True) in both


def test_servers_of_one_name_that_are_forgotten_together_leave_one_tombstone(
    fleet: Watched,
) -> None:
    known = {"database_uuid": UUID, "database": "acme", "endpoint_url": URL}
    fleet.beat("old", **known, version="1.0")
    fleet.go_on(600)
    fleet.beat("new", **known, version="2.0")
    fleet.go_on(600)
    assert "new" == fleet.record("old").superseded_by
    everyone = Forgettable(matching=Filter(state="down"))

    gone = fleet.store.servers.forget(everyone, fleet.now).ids

    assert ["new", "old"] == gone
    assert ["2.0"] == [each.version for each, _ in kept(fleet.store)]


def test_name_that_a_server_has_by_now_has_no_tombstone_that_stands(fleet: Watched) -> None:
    beat(fleet, "a", "b")
    delete(fleet, "a", "b")
    beat(fleet, "a")

    assert [("a", False), ("b", True)] == [
        (each.title, stands) for each, stands in kept(fleet.store)
    ]


def test_tombstones_are_deleted_with_the_events_of_their_time(fleet: Watched) -> None:
    beat(fleet, "a", "b")
    delete(fleet, "a")
    fleet.clock.advance(60)
    delete(fleet, "b")

    fleet.store.registry.trim_tombstones(fleet.now - timedelta(seconds=60))
    before = titles(fleet.store)
    fleet.store.registry.trim_tombstones(fleet.now - timedelta(seconds=59))

    assert (["a", "b"], ["b"]) == (before, titles(fleet.store))


def test_watchdog_deletes_tombstones_after_the_retention(fleet: Watched) -> None:
    timing = Timing(absence_seconds=3 * 86400.0, retention=DAY, trim_seconds=1.0)
    seconds = [0.0]
    watchdog = Watchdog(fleet.store, timing, clock=fleet.clock, elapsed=lambda: seconds[0])

    def go_on(length: timedelta) -> None:
        seconds[0] += length.total_seconds()
        fleet.clock.advance(length.total_seconds())
        watchdog.look()

    watchdog.look()
    beat(fleet, "a")
    go_on(DAY)
    delete(fleet, "a")
    go_on(DAY - timedelta(seconds=10))
    before = titles(fleet.store)
    go_on(timedelta(seconds=20))

    assert (["a"], []) == (before, titles(fleet.store))


def test_oldest_tombstones_are_deleted_when_there_are_too_many(
    fleet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tombstones, "MOST_TOMBSTONES", 2)
    beat(fleet, "a", "b", "c", "d")
    for name in "badc":
        delete(fleet, name)
        fleet.clock.advance(1)

    fleet.store.registry.trim_tombstones(fleet.now - DAY)

    assert ["c", "d"] == titles(fleet.store)


def test_tombstone_of_a_time_to_come_is_of_now_when_the_clock_was_set_back(fleet: Watched) -> None:
    fleet.clock.advance(86400)
    beat(fleet, "a")
    delete(fleet, "a")
    now = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

    fleet.store.watch.leave_no_future(now)

    ((tombstone, _),) = kept(fleet.store)
    assert (now, now) == (tombstone.first_seen, tombstone.forgotten_at)


def test_deletions_by_two_receivers_leave_all_tombstones(store: SqlStore, other: SqlStore) -> None:
    fleet = Watched(store)
    names = [f"s{number:02}" for number in range(40)]
    beat(fleet, *names)

    def deleting(of: SqlStore, some: list[str]) -> None:
        for name in some:
            of.servers.delete(name, fleet.now)

    at_once(lambda: deleting(store, names[::2]), lambda: deleting(other, names[1::2]))

    assert names == titles(store)
