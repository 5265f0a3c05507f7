"""The servers with which something may be wrong, and events without their details."""

from datetime import timedelta

from attrs import evolve
from sqlalchemy import Engine, event

from contract import EventKind, Heartbeat
from keyring import made
from receiver.domain.grouping.timeline import Stretch
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_EVENTS
from receiver.store import SqlStore
from watched import Watched, change_servers


def test_query_for_troubled_servers_finds_those_that_may_have_a_problem(
    fleet: Watched, engine: Engine
) -> None:
    servers = fleet.store.servers
    fleet.beat("down", "gone", "left")
    fleet.go_on(400, "well", "twin", "conflict", "flaps", "replaced", "node", every=50)
    fleet.beat("left", status="uninstalled")
    fleet.beat("late")
    fleet.go_on(150, "well", "twin", "conflict", "flaps", "replaced", "node", every=50)
    servers.delete("gone", fleet.now)
    now = int(fleet.now.timestamp() * 1_000_000)
    for server_id, changed in {
        "twin": "twin_of = 'well'",
        "conflict": f"conflict_since = {now}",
        "flaps": f"flapping_since = {now}",
        "replaced": f"conflict_since = {now}, superseded_by = 'well'",
        "left": f"conflict_since = {now}",
        "node": f"conflict_since = {now}, node_of = 'well'",
    }.items():
        with engine.begin() as connection:
            change_servers(connection, changed, "server_id = :id", id=server_id)

    found = servers.troubled({}, limit=10)

    assert ["conflict", "down", "flaps", "late", "node", "twin"] == sorted(
        each.record.server_id for each in found
    )
    assert "late" == found[0].record.server_id
    assert {each.record.server_id: each.record for each in found} == {
        each.record.server_id: fleet.record(each.record.server_id) for each in found
    }
    assert found[:2] == servers.troubled({}, limit=2)


def test_record_of_the_same_revision_is_not_read_again(fleet: Watched) -> None:
    fleet.beat("a", "b")
    fleet.go_on(400)
    known = {each.record.server_id: each for each in fleet.store.servers.troubled({}, limit=9)}
    fleet.beat("b")
    fleet.go_on(400)

    found = {each.record.server_id: each for each in fleet.store.servers.troubled(known, limit=9)}

    assert found["a"].record is known["a"].record
    assert found["b"].record == fleet.record("b") != known["b"].record


def test_troubled_servers_are_read_again_if_one_is_deleted_meanwhile(
    fleet: Watched, other: SqlStore
) -> None:
    fleet.beat("a", "b")
    fleet.go_on(400)

    @event.listens_for(Engine, "after_cursor_execute", once=True)
    def delete(*_: object) -> None:
        fleet.store.servers.delete("a", fleet.now)

    # The other store has no rows in memory, so that it needs a second query for the records.
    found = [each.record.server_id for each in other.servers.troubled({}, limit=9)]

    # Of one moment, before or after that.
    assert found in (["a", "b"], ["b"])


def test_listed_servers_of_keys_are_counted(fleet: Watched) -> None:
    one, other, idle = (made("agent", now=fleet.now)[0] for _ in range(3))
    for key in (one, other, idle):
        fleet.store.keys.add(key)
    for key, server_id in ((one, "a"), (one, "b"), (other, "c")):
        fleet.store.servers.apply([Incoming(Heartbeat(server_id=server_id), fleet.now, key)])
    fleet.store.servers.apply(
        [Incoming(Heartbeat(server_id="b", status="uninstalled"), fleet.now, one)]
    )

    numbers = fleet.store.servers.numbers_owned([one.id, other.id, idle.id])

    assert {one.id: 1, other.id: 1} == numbers


def test_events_are_read_without_details_and_by_their_numbers(fleet: Watched) -> None:
    for host in ("one", "two", "three"):
        fleet.beat("a", hostname=host)
        fleet.clock.advance(60)
    events = fleet.store.events
    moved = frozenset({EventKind.MOVED})
    whole = events.page(evolve(ALL_EVENTS, kinds=moved), before=None, limit=9).events

    briefs = events.stretch(evolve(ALL_EVENTS, kinds=moved), limit=9).briefs

    assert [(each.id, each.event.at, each.event.kind, "a") for each in whole] == briefs
    older = events.stretch(evolve(ALL_EVENTS, kinds=moved), before=briefs[0].id, limit=9)
    assert briefs[1:] == older.briefs
    assert {each.id: each for each in whole} == events.by_ids(
        [each.id for each in whole], max_bytes=10_000
    )
    assert {whole[0].id: whole[0]} == events.by_ids([each.id for each in whole], max_bytes=1)
    assert {} == events.by_ids([], max_bytes=1)


def test_recent_events_are_read_again_when_they_have_changed(fleet: Watched) -> None:
    events = fleet.store.events
    recent = evolve(ALL_EVENTS, since=fleet.now)

    def found(limit: int = 9) -> Stretch:
        stretch = events.stretch(recent, limit=limit)
        page = events.page(recent, before=None, limit=limit + 1).events
        read = [*stretch.briefs, *([] if stretch.following is None else [stretch.following])]
        assert [(each.id, each.event.at, each.event.kind, "a") for each in page] == read
        return stretch

    assert [] == found().briefs
    fleet.beat("a", hostname="one")
    first = found()
    assert first is found()
    assert first is not found(limit=0)
    fleet.clock.advance(60)
    fleet.beat("a", hostname="two")
    assert found() is not found(limit=1)
    fleet.store.watch.leave_no_future(fleet.now - timedelta(seconds=30))
    assert fleet.now - timedelta(seconds=30) == found().briefs[0].at
    fleet.store.events.trim(fleet.now - timedelta(seconds=30))
    assert 1 == len(found().briefs)


def test_recent_events_are_those_since_another_time(fleet: Watched) -> None:
    """As they are for somebody who looks later, and for somebody else who has looked before."""
    events = fleet.store.events
    begin = fleet.now
    for host in ("one", "two", "three", "four"):
        fleet.beat("a", hostname=host)
        fleet.clock.advance(60)
    minute = timedelta(minutes=1)

    for limit in (2, 3, 9):
        for minutes in (0, 1, 2, 1, 3, 4, 2, 0, 9):
            since = evolve(ALL_EVENTS, since=begin + minutes * minute)
            page = events.page(since, before=None, limit=limit)
            stretch = events.stretch(since, limit=limit)

            assert [each.id for each in page.events] == [each.id for each in stretch.briefs]
            assert (page.next_before is not None) == (stretch.following is not None)


def test_events_are_counted_by_their_details(fleet: Watched) -> None:
    """And the names of the databases of their servers are read."""
    for server_id, version in (("a", "1"), ("b", "1"), ("c", "2")):
        fleet.beat(server_id, version="0", database=None if server_id == "c" else f"db-{server_id}")
        fleet.beat(server_id, version=version)
    events = fleet.store.events
    upgraded = evolve(ALL_EVENTS, kinds=frozenset({EventKind.UPGRADED}))
    ids = [each.id for each in events.stretch(upgraded, limit=9).briefs]

    one, other = ({"version": {"from": "0", "to": version}} for version in "12")

    assert [(one, 2), (other, 1)] == events.alike(ids, max_bytes=10_000)
    assert [(one, 2)] == events.alike(ids, max_bytes=1)
    assert {"a": "db-a", "b": "db-b"} == fleet.store.servers.databases(["a", "b", "c", "nobody"])


def test_events_until_a_time_are_found_and_counted_since(fleet: Watched) -> None:
    events = fleet.store.events
    begin = fleet.now
    assert events.last_at([EventKind.MOVED]) is None
    for host in ("one", "two", "three"):
        fleet.beat("a", hostname=host)
        fleet.clock.advance(60)
    minute = timedelta(minutes=1)

    hosts = [
        each.event.details["hostname"]["to"]
        for each in events.after(1, evolve(ALL_EVENTS, until=begin + minute), limit=9)
    ]

    assert ["two"] == hosts
    assert [] == events.after(0, evolve(ALL_EVENTS, until=begin - minute), limit=9)
    since = events.count_kinds(evolve(ALL_EVENTS, since=begin + minute), most=9)
    assert 2 == since.total()
    for _ in range(2):  # at the second time, nothing has happened since the first
        assert {EventKind.MOVED: 1} == events.count_kinds(evolve(ALL_EVENTS, since=begin), most=1)
    assert {} == events.count_kinds(evolve(ALL_EVENTS, since=begin + 9 * minute), most=9)
    assert {EventKind.MOVED: 2} == events.count_kinds(
        evolve(ALL_EVENTS, kinds=frozenset({EventKind.MOVED})), most=9
    )
    assert {EventKind.MOVED: 1} == events.count_kinds(ALL_EVENTS, most=1)
    assert begin + 2 * minute == events.last_at([EventKind.MOVED, EventKind.REGISTERED])
    assert begin == events.last_at([EventKind.REGISTERED, EventKind.LEFT])
