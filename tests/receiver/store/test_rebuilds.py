"""Rebuilds: a database goes on under another server, which supersedes the silent one."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from contract import EventKind, State
from odoos import DATABASE
from receiver.domain.instants import microseconds
from receiver.store import SqlStore
from watched import Watched, at_once, due_at

# Rebuilds: a new server supersedes an old one of the same database


def test_new_server_of_the_same_database_supersedes_a_down_one(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.register("new", **DATABASE)
    fleet.sweep()

    assert ("new", None) == (
        fleet.record("old").superseded_by,
        fleet.record("new").superseded_by,
    )
    assert [("late", "old"), ("down", "old"), ("rebuilt", "old")] == fleet.told()
    assert [{"superseded_by": "new"}] == fleet.details(EventKind.REBUILT)
    assert ["new"] == fleet.ids()
    assert ["old"] == fleet.ids(state="superseded")
    assert [] == fleet.ids(state="down") + fleet.ids(state="late")
    assert {("new", "production"): 1} == dict(fleet.store.servers.vitals(fleet.now).standing)


def test_silence_of_a_rebuilt_server_is_no_alarm(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(850, "new")

    assert [("rebuilt", "old")] == fleet.told()
    assert (["new"], ["old"]) == (fleet.ids(), fleet.ids(state="superseded"))


def test_server_whose_silence_is_not_yet_recorded_is_superseded(fleet: Watched) -> None:
    """The sweep checks the new server before it has recorded the old one as late."""
    fleet.beat("old", **DATABASE)
    fleet.sweep()
    fleet.clock.advance(100)
    fleet.beat("old")
    fleet.clock.advance(125)
    fleet.beat("new", **DATABASE)
    fleet.sweep()
    fleet.go_on(850, "new")

    assert ([("rebuilt", "old")], ["new"]) == (fleet.told(), fleet.ids())


def test_events_of_a_successor_include_those_of_superseded_servers(fleet: Watched) -> None:
    fleet.beat("other")
    for each in ("first", "second", "third"):
        fleet.beat(each, **DATABASE)
        fleet.go_on(300, "other")

    assert ["other", "third"] == fleet.ids()
    assert "third" == fleet.record("second").superseded_by
    assert "second" == fleet.record("first").superseded_by
    of_third = [(kind, who) for kind, who in fleet.told(of="third", but=()) if kind != "down"]
    assert [
        ("registered", "first"),
        ("late", "first"),
        ("registered", "second"),
        ("rebuilt", "first"),
        ("late", "second"),
        ("registered", "third"),
        ("rebuilt", "second"),
        ("late", "third"),
    ] == of_third
    assert ["first", "second"] == sorted({str(who) for _, who in fleet.told(of="second", but=())})
    assert [("registered", "other")] == fleet.told(of="other", but=())


def test_short_overlap_is_a_rebuild_without_twins(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(850, "old")
    fleet.register("new", **DATABASE)
    fleet.go_on(110, "old", "new")
    fleet.go_on(850, "new")

    assert [("rebuilt", "old")] == fleet.told()
    assert None is fleet.record("new").twin_of


def test_heartbeat_of_a_superseded_server_makes_it_up_again(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.beat("new", **DATABASE)
    fleet.go_on(60, "new")
    fleet.beat("old")
    fleet.sweep()

    assert (["new", "old"], []) == (fleet.ids(), fleet.ids(state="superseded"))
    assert ("recovered", "old") == fleet.told()[-1]
    assert (None, State.UP) == (fleet.record("old").superseded_by, fleet.record("old").state)


def test_superseded_server_recovers_without_an_earlier_late_event(
    fleet: Watched,
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.sweep()
    fleet.go_on(850, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(180, "new")
    fleet.beat("old")
    fleet.go_on(60, "old", "new")

    assert [("rebuilt", "old"), ("recovered", "old")] == fleet.told()
    assert (fleet.now - timedelta(seconds=60)) == fleet.record("old").state_since
    assert None is fleet.record("old").twin_of


def test_each_repeated_rebuild_has_its_own_event(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(30, "old")
    fleet.beat("new", **DATABASE)
    for _ in range(2):
        fleet.go_on(850, "new", every=60)
        fleet.beat("old")
    fleet.go_on(850, "new", every=60)

    rebuilt, recovered = ("rebuilt", "old"), ("recovered", "old")
    assert [rebuilt, recovered, rebuilt, recovered, rebuilt] == fleet.told()


OTHERS: list[dict[str, str | None]] = [
    {"database_uuid": "another"},
    {"database": "copy"},
    {"odoo_stage": "staging"},
    {"odoo_stage": None},
    {"database_uuid": None},
]


def test_server_of_another_database_or_stage_does_not_supersede(fleet: Watched) -> None:
    old, new = ([f"{age}-{n}" for n in range(len(OTHERS))] for age in ("old", "new"))
    for n, each in enumerate(old):
        fleet.beat(each, **{**DATABASE, "database_uuid": f"u-{n}"})
    fleet.go_on(145)
    for n, (each, other) in enumerate(zip(new, OTHERS, strict=True)):
        fleet.beat(each, **{**DATABASE, "database_uuid": f"u-{n}", **other})
    fleet.go_on(145, *new)

    assert [] == fleet.details(EventKind.REBUILT)
    assert sorted([*old, *new]) == fleet.ids()
    assert old == fleet.ids(state="down")


def test_server_without_a_uuid_does_not_supersede(fleet: Watched) -> None:
    fleet.beat("old", database="acme")
    fleet.go_on(145)
    fleet.beat("new", database="acme")
    fleet.sweep()

    assert ["new", "old"] == fleet.ids()


def test_server_whose_stage_becomes_the_same_supersedes(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(145)
    fleet.beat("new", **{**DATABASE, "odoo_stage": "staging"})
    fleet.go_on(60, "new")
    fleet.beat("new", odoo_stage="production")
    fleet.sweep()

    assert "new" == fleet.record("old").superseded_by


@pytest.mark.parametrize("name", ["odoo_stage", "database"])
@pytest.mark.parametrize(("one", "other"), [(None, ""), ("", None)])
def test_absent_stage_or_database_equals_an_empty_one(
    fleet: Watched, name: str, one: str | None, other: str | None
) -> None:
    fleet.beat("old", **{**DATABASE, name: one})
    fleet.go_on(145)
    fleet.beat("new", **{**DATABASE, name: other})
    fleet.sweep()
    rebuilt = fleet.record("old").superseded_by
    fleet.go_on(900, "old", "new")

    assert ("new", "new") == (rebuilt, fleet.record("old").twin_of)


def test_empty_uuid_counts_as_no_uuid(fleet: Watched) -> None:
    fleet.beat("old", **{**DATABASE, "database_uuid": ""})
    fleet.go_on(145)
    fleet.beat("new", **{**DATABASE, "database_uuid": ""})
    fleet.sweep()

    assert ["new", "old"] == fleet.ids()


def test_newer_server_that_falls_silent_is_superseded_by_the_old_one(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(30, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(850, "old")

    assert ([("rebuilt", "new")], ["old"]) == (fleet.told(), fleet.ids())


def test_recovered_old_server_supersedes_its_silent_successor(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(60, "old", "new")
    fleet.go_on(850, "new")
    fleet.go_on(60, "old", "new")
    fleet.go_on(850, "old")

    assert [("rebuilt", "old"), ("recovered", "old"), ("rebuilt", "new")] == fleet.told()
    assert (["old"], ["new"]) == (fleet.ids(), fleet.ids(state="superseded"))


def test_recovered_old_server_supersedes_a_late_successor(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(850, "new")
    fleet.go_on(145)
    fleet.go_on(850, "old")

    assert [
        ("rebuilt", "old"),
        ("late", "new"),
        ("recovered", "old"),
        ("rebuilt", "new"),
    ] == fleet.told()
    assert (["old"], ["new"]) == (fleet.ids(), fleet.ids(state="superseded"))


def test_servers_that_only_register_are_nodes(fleet: Watched) -> None:
    fleet.register("old", **DATABASE)
    fleet.clock.advance(1)
    for _ in range(10):
        fleet.register("old")
        fleet.register("new", **DATABASE)
        fleet.go_on(60)
    for _ in range(10):
        fleet.register("old")
        fleet.go_on(60)

    assert ([("node", "new")], ["old"]) == (fleet.told(), fleet.ids())


def test_silent_newer_server_that_never_sent_a_heartbeat_is_superseded(
    fleet: Watched,
) -> None:
    """A server that registers many times was started again and again, and never ran."""
    fleet.beat("old", **DATABASE)
    fleet.clock.advance(1)
    for _ in range(10):
        fleet.register("new", **DATABASE)
        fleet.go_on(60, "old")
    before = fleet.told()
    fleet.go_on(850, "old")

    assert [] == before
    assert ([("rebuilt", "new")], ["old"]) == (fleet.told(), fleet.ids())
    assert "old" == fleet.record("new").superseded_by


def test_silence_of_old_and_new_server_is_two_alarms(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(30, "old")
    fleet.beat("new", **DATABASE)
    fleet.go_on(145)

    assert [("late", "new"), ("late", "old")] == sorted(fleet.told())


def test_silent_successor_is_an_alarm_and_the_old_server_stays_superseded(
    fleet: Watched,
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(145)
    fleet.beat("new", **DATABASE)
    fleet.go_on(300)

    assert [("late", "old"), ("rebuilt", "old"), ("late", "new"), ("down", "new")] == fleet.told()
    assert ["new"] == fleet.ids()


def test_newest_server_that_is_up_is_the_successor(fleet: Watched) -> None:
    for each in ("first", "second", "third"):
        fleet.beat(each, **DATABASE)
        fleet.clock.advance(1)
    fleet.clock.advance(100)
    fleet.beat("second", "third")
    fleet.sweep()
    fleet.go_on(45, "second", "third", every=15)

    assert "third" == fleet.record("first").superseded_by
    assert [("rebuilt", "first")] == fleet.told()


@pytest.mark.parametrize(("pause", "silence"), [(601, 121), (676, 136)])
def test_older_server_is_not_rebuilt_when_the_newer_one_went_on_for_as_long(
    fleet: Watched, pause: float, silence: float
) -> None:
    """Both registered after the pause, and the older one is the first that is heard again."""
    one = {"database_uuid": "u"}
    fleet.beat("a", **one)
    fleet.sweep()
    fleet.register("a", "b", **one)
    fleet.sweep()
    fleet.clock.advance(pause)
    fleet.register("a", "b", **one)
    fleet.sweep()
    fleet.clock.advance(silence)
    fleet.beat("a", **one)
    fleet.sweep()

    assert ([], ["a", "b"]) == (fleet.told(), fleet.ids())
    assert ("up", "new") == (fleet.state("a"), fleet.state("b"))


def test_silent_server_is_not_rebuilt_after_it_changed_its_stage(fleet: Watched) -> None:
    one = {"database_uuid": "u"}
    fleet.beat("a", "b", **one)
    fleet.sweep()
    fleet.clock.advance(136)
    fleet.beat("a", "b", **one)
    fleet.sweep()
    fleet.beat("a", odoo_stage="dev", heartbeat_interval_seconds=10.0)
    fleet.sweep()
    fleet.clock.advance(50)
    fleet.sweep()

    assert ([("updated", "a"), ("late", "a")], ["a", "b"]) == (fleet.told(), fleet.ids())
    assert ("late", "up") == (fleet.state("a"), fleet.state("b"))


def test_concurrent_sweeps_of_two_stores_record_each_rebuild_once(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    for n in range(40):
        uuid = {**DATABASE, "database_uuid": f"u-{n:02}"}
        fleet.beat(f"old-{n:02}", **uuid)
    fleet.clock.advance(136)
    for n in range(40):
        uuid = {**DATABASE, "database_uuid": f"u-{n:02}"}
        other_fleet.clock.now = fleet.now
        other_fleet.beat(f"new-{n:02}", **uuid)
    at_once(fleet.sweep, other_fleet.sweep, fleet.sweep, other_fleet.sweep)

    assert [("rebuilt", f"old-{n:02}") for n in range(40)] == sorted(fleet.told())
    assert [f"new-{n:02}" for n in range(40)] == fleet.ids()


# Deletion of a successor


@pytest.mark.parametrize("new", ["new", "n" * 255])
def test_deleting_a_successor_brings_the_superseded_server_back_as_late(
    fleet: Watched, engine: Engine, new: str
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(60, "old")
    fleet.beat(new, **DATABASE)
    fleet.go_on(150, new)
    fleet.store.servers.delete(new, fleet.now)
    states = [fleet.state("old")]
    due = due_at(engine, "old")
    fleet.sweep()
    fleet.go_on(300)

    assert (["late"], microseconds(fleet.now - timedelta(seconds=300))) == (states, due)
    assert [("rebuilt", "old"), ("deleted", new), ("late", "old"), ("down", "old")] == fleet.told()
    assert (["old"], []) == (fleet.ids(state="down"), fleet.ids(state="superseded"))
    assert {("down", "production"): 1} == dict(fleet.store.servers.vitals(fleet.now).standing)


def test_deleting_a_successor_brings_a_down_server_back_as_down(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.beat("new", **DATABASE)
    fleet.go_on(60, "new")
    fleet.store.servers.delete("new", fleet.now)
    fleet.go_on(300)

    assert [("rebuilt", "old"), ("deleted", "new"), ("down", "old")] == fleet.told()[2:]


def test_deleting_a_middle_successor_leaves_the_next_as_successor(
    fleet: Watched, engine: Engine
) -> None:
    for each in ("first", "second", "third"):
        fleet.beat(each, **DATABASE)
        fleet.go_on(150, each)
        fleet.go_on(150)
    fleet.go_on(300, "third")
    fleet.store.servers.delete("second", fleet.now)
    events = fleet.told()
    fleet.go_on(300, "third")

    assert [("deleted", "second"), ("rebuilt", "first")] == events[-2:]
    assert events == fleet.told()
    assert ("third", None) == (fleet.record("first").superseded_by, due_at(engine, "first"))
    assert (["third"], ["first"]) == (fleet.ids(), fleet.ids(state="superseded"))
    assert ("registered", "first") in fleet.told(of="third", but=())


def test_server_back_after_its_successor_is_deleted_recovers_in_both_stores(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    fleet.beat("old", **DATABASE)
    fleet.go_on(150)
    fleet.beat("new", **DATABASE)
    fleet.go_on(30, "new")
    other_fleet.clock.now = fleet.now
    other_fleet.beat("new")
    other_fleet.store.servers.delete("new", other_fleet.now)
    for each in (fleet, other_fleet):
        each.beat("old")
        each.sweep()

    assert [("deleted", "new"), ("late", "old"), ("recovered", "old")] == fleet.told()[-3:]
    assert (2 + 1, None) == (
        fleet.record("old").heartbeat_count,
        fleet.record("old").superseded_by,
    )


def test_concurrently_deleted_server_supersedes_none(store: SqlStore, other: SqlStore) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    pairs = [(f"old-{n:02}", f"new-{n:02}") for n in range(20)]
    for n, (old, _) in enumerate(pairs):
        fleet.beat(old, **{**DATABASE, "database_uuid": f"u-{n}"})
    fleet.go_on(145)
    for n, (_, new) in enumerate(pairs):
        fleet.beat(new, **{**DATABASE, "database_uuid": f"u-{n}"})
    at_once(
        fleet.sweep, lambda: [other_fleet.store.servers.delete(new, fleet.now) for _, new in pairs]
    )
    fleet.sweep()

    assert [old for old, _ in pairs] == fleet.ids()
