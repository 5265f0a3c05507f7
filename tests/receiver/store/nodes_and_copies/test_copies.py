"""Servers of one uuid that send in parallel are copies: twins."""

from functools import partial

import pytest

from contract import EventKind
from odoos import DATABASE, NUMBERED, Odoo, beat_all, by_turns, minutes, together
from receiver.store import SqlStore
from watched import Watched, at_once

pytestmark = pytest.mark.one_database
"""Stories of the simulation have the same servers, and run on PostgreSQL too."""


@pytest.mark.parametrize(("numbered", "within"), [(True, 5), (False, 11)])
def test_copy_is_told_as_a_twin_once(fleet: Watched, within: int, *, numbered: bool) -> None:
    original = Odoo(fleet, numbered=numbered)
    minutes(fleet, by_turns(original, "a", count=5))
    copy = original.copy()
    minutes(fleet, together((original, "a"), (copy, "b"), count=within))
    told = fleet.told()
    minutes(fleet, together((original, "a"), (copy, "b"), count=40))

    assert [("twin", "a"), ("twin", "b")] == sorted(told)
    assert told == fleet.told()
    assert ("b", "a") == (fleet.record("a").twin_of, fleet.record("b").twin_of)
    assert ["a", "b"] == fleet.ids()


def test_old_copy_is_told_by_numbers_that_are_far_apart(fleet: Watched) -> None:
    original = Odoo(fleet, sequence=5000)
    copy = Odoo(fleet, sequence=17)
    minutes(fleet, by_turns(original, "a", count=5))
    minutes(fleet, together((original, "a"), (copy, "b"), count=4))

    assert [("twin", "a"), ("twin", "b")] == sorted(fleet.told())


def test_heartbeats_that_are_sent_again_make_no_copies(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    for each in "ab":
        odoo.register(each)
    for n in range(60):
        minutes(fleet, by_turns(odoo, "a", "b", count=1, seed=n))
        if n % 10 == 0:
            odoo.sequence -= 1
            odoo.beat("ab"[n // 10 % 2])

    assert [("node", "b")] == fleet.told()


@NUMBERED
def test_nodes_that_turn_out_to_be_copies_are_told_as_twins(
    fleet: Watched, *, numbered: bool
) -> None:
    original = Odoo(fleet, numbered=numbered)
    for each in "ab":
        original.register(each)
    minutes(fleet, by_turns(original, "a", "b", count=30))
    copy = original.copy()
    minutes(fleet, together((original, "a"), (copy, "b"), count=60))

    assert [("node", "b"), ("twin", "a"), ("twin", "b")] == sorted(fleet.told())
    assert ["a", "b"] == fleet.ids()


@NUMBERED
@pytest.mark.parametrize("dead", ["a", "b"])
def test_silence_of_a_twin_is_an_alarm(fleet: Watched, dead: str, *, numbered: bool) -> None:
    original = Odoo(fleet, numbered=numbered)
    original.beat("a")
    copy = original.copy()
    fleet.clock.advance(1)
    copy.beat("b")
    minutes(fleet, together((original, "a"), (copy, "b"), count=20))
    alive = (copy, "b") if dead == "a" else (original, "a")
    minutes(fleet, together(alive, count=30))

    assert [("late", dead), ("down", dead)] == [e for e in fleet.told() if e[0] != "twin"]
    assert ["a", "b"] == fleet.ids()


def test_silence_of_a_twin_that_has_just_been_told_is_an_alarm(fleet: Watched) -> None:
    original = Odoo(fleet)
    minutes(fleet, by_turns(original, "a", count=5))
    copy = original.copy()
    minutes(fleet, together((original, "a"), (copy, "b"), count=5))
    told = [("twin", "a"), ("twin", "b")]
    assert told == sorted(fleet.told())
    minutes(fleet, together((copy, "b"), count=10))

    assert [*told, ("late", "a"), ("down", "a")] == fleet.told()


def test_rebuild_of_the_original_supersedes_it_while_a_copy_sends(fleet: Watched) -> None:
    original = Odoo(fleet)
    original.beat("a")
    copy = original.copy()
    fleet.clock.advance(1)
    copy.beat("b")
    minutes(fleet, together((original, "a"), (copy, "b"), count=20))
    minutes(fleet, together((copy, "b"), count=1))
    minutes(fleet, together((original, "a2"), (copy, "b"), count=20))

    assert ("a2", None) == (fleet.record("a").superseded_by, fleet.record("b").superseded_by)
    assert ("b", "a2") == (fleet.record("a2").twin_of, fleet.record("b").twin_of)
    assert [] == fleet.details(EventKind.LATE)


@NUMBERED
def test_node_that_is_added_beside_a_twin_is_a_node_of_its_own_database(
    fleet: Watched, *, numbered: bool
) -> None:
    original = Odoo(fleet, numbered=numbered)
    original.beat("a")
    copy = original.copy()
    minutes(fleet, together((original, "a"), (copy, "b"), count=30))
    # The twin is heard after the new server has started, and the first server only later.
    original.register("c")
    minutes(fleet, together((original, "c"), (copy, "b"), count=1))
    turns = ["a", "c", "a", "c", "a", "a", "c", "c", "c", "a"] * 3
    minutes(fleet, [partial(beat_all, [(original, each), (copy, "b")]) for each in turns])

    # Until `c` is known to be a node of `a`, it may be told to be a twin of `b` as `a` is.
    told = {*fleet.told()} - {("twin", "c")}
    assert {("twin", "a"), ("twin", "b"), ("node", "c")} == told
    assert (["a", "b"], ["c"]) == (fleet.ids(), fleet.ids(state="node"))


def test_twin_that_is_back_is_not_told_again(fleet: Watched) -> None:
    original = Odoo(fleet)
    original.beat("a")
    copy = original.copy()
    minutes(fleet, together((original, "a"), (copy, "b"), count=20))
    minutes(fleet, together((original, "a"), count=10))
    minutes(fleet, together((original, "a"), (copy, "b"), count=20))

    assert [{"twin_of": "b"}, {"twin_of": "a"}] == fleet.details(EventKind.TWIN)


@pytest.mark.parametrize("declared", [604_800.0, 1e10, 1e300])
def test_servers_that_declare_centuries_are_watched_for_weeks(
    fleet: Watched, declared: float
) -> None:
    said = {**DATABASE, "heartbeat_interval_seconds": declared}
    for each in "aba":
        fleet.beat(each, **said)
        fleet.clock.advance(60)
        fleet.sweep()
    week = 7 * 86400
    fleet.go_on(9 * week, "b", every=week)
    before = fleet.told()
    fleet.go_on(4 * week, "b", every=week)

    assert ([], [("rebuilt", "a")]) == (before, fleet.told())


@pytest.mark.parametrize("declared", [1e-9, 1.0])
def test_copies_that_send_less_often_than_they_declare_are_no_nodes(
    fleet: Watched, declared: float
) -> None:
    fleet.beat("a", "b", **DATABASE, heartbeat_interval_seconds=declared)
    fleet.go_on(300, "a", "b", every=10)
    before = fleet.ids()
    fleet.go_on(120, "b", every=10)
    fleet.heard_since = fleet.now
    fleet.go_on(300, "b", every=10)

    assert (["a", "b"], ["a", "b"]) == (before, fleet.ids())
    assert [("late", "a"), ("down", "a")] == fleet.told()


@NUMBERED
def test_copies_that_were_both_silent_for_a_while_are_no_nodes(
    fleet: Watched, *, numbered: bool
) -> None:
    original = Odoo(fleet, numbered=numbered)
    original.beat("a")
    copy = original.copy()
    minutes(fleet, together((original, "a"), (copy, "b"), count=2))
    fleet.go_on(420)
    minutes(fleet, together((original, "a"), (copy, "b"), count=30))

    assert 0 == fleet.counts["node"]
    assert ("b", "a") == (fleet.record("a").twin_of, fleet.record("b").twin_of)


def test_each_of_three_copies_has_a_twin(fleet: Watched) -> None:
    odoos = [Odoo(fleet, sequence=n * 1000) for n in range(3)]
    minutes(fleet, together(*zip(odoos, "abc", strict=True), count=30))

    assert ["b", "a", "a"] == [fleet.record(each).twin_of for each in "abc"]
    assert 3 == len(fleet.details(EventKind.TWIN))


def test_deleted_twin_is_removed_from_the_others(fleet: Watched) -> None:
    odoos = [Odoo(fleet, sequence=n * 1000) for n in range(3)]
    minutes(fleet, together(*zip(odoos, "abc", strict=True), count=30))
    fleet.store.servers.delete("a", fleet.now)
    twins = [fleet.record(each).twin_of for each in "bc"]
    minutes(fleet, together((odoos[1], "b"), (odoos[2], "c"), count=30))

    assert [None, None] == twins
    assert ["c", "b"] == [fleet.record(each).twin_of for each in "bc"]


def test_copied_database_with_another_name_is_a_twin(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("b", **{**DATABASE, "database": "copy"})
    fleet.go_on(300, "a", "b")

    assert ("b", "a") == (fleet.record("a").twin_of, fleet.record("b").twin_of)


def test_twins_of_other_names_need_two_of_the_longer_interval(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("b", **{**DATABASE, "database": "copy"}, heartbeat_interval_seconds=300.0)
    fleet.go_on(600, "a", "b")
    before = fleet.told()
    fleet.go_on(700, "a", "b")

    assert ([], [("twin", "a"), ("twin", "b")]) == (before, sorted(fleet.told()))


def test_servers_of_another_uuid_or_stage_are_neither_nodes_nor_twins(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("b", **{**DATABASE, "database_uuid": "u-2"})
    fleet.beat("c", **{**DATABASE, "odoo_stage": "dev"})
    fleet.go_on(1200, "a", "b", "c")

    assert [] == fleet.told()


def test_twin_whose_stage_changes_is_no_twin_any_more(fleet: Watched) -> None:
    fleet.beat("a", "b", **DATABASE)
    fleet.go_on(900, "a", "b")
    before = [fleet.record(each).twin_of for each in "ab"]
    fleet.beat("a", odoo_stage="staging")
    fleet.sweep()

    assert ["b", "a"] == before
    assert [None, None] == [fleet.record(each).twin_of for each in "ab"]


@pytest.mark.both_databases
def test_concurrent_sweeps_of_two_stores_record_twins_once(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    pairs = [(f"a-{n}", f"b-{n}") for n in range(10)]
    for n, pair in enumerate(pairs):
        fleet.beat(*pair, **{**DATABASE, "database_uuid": f"u-{n}"})
    for _ in range(20):
        fleet.clock.advance(50)
        other_fleet.clock.now = fleet.now
        fleet.beat(*(one for one, _ in pairs))
        other_fleet.beat(*(two for _, two in pairs))
        at_once(fleet.sweep, other_fleet.sweep, fleet.sweep, other_fleet.sweep)

    assert sorted(("twin", each) for pair in pairs for each in pair) == sorted(fleet.told())


@NUMBERED
def test_node_that_sends_seldom_is_of_its_own_database_and_not_of_a_copy(
    fleet: Watched, *, numbered: bool
) -> None:
    copy = Odoo(fleet, numbered=numbered)
    copy.beat("copy")
    original = copy.copy()
    for each in ("node", "original"):
        fleet.clock.advance(1)
        original.beat(each)
    minutes(
        fleet,
        [
            partial(beat_all, [(copy, "copy"), (original, "node" if n % 4 == 3 else "original")])
            for n in range(60)
        ],
    )

    assert {"registered": 3, "node": 1, "twin": 2} == fleet.counts
    assert (["copy", "node"], ["original"]) == (fleet.ids(), fleet.ids(state="node"))


def test_rebuild_of_a_twin_is_the_twin_at_once(fleet: Watched) -> None:
    original = Odoo(fleet, numbered=False)
    original.beat("a")
    copy = original.copy()
    minutes(fleet, together((original, "a"), (copy, "b"), count=20))
    minutes(fleet, together((copy, "b"), count=3))
    original.beat("new")
    fleet.sweep()

    assert ("new", "b") == (fleet.record("a").superseded_by, fleet.record("new").twin_of)
    assert "new" == fleet.record("b").twin_of


@NUMBERED
def test_long_interval_of_another_server_delays_no_alarm(fleet: Watched, *, numbered: bool) -> None:
    odoo = Odoo(fleet, numbered=numbered)
    odoo.beat("a")
    fleet.clock.advance(1)
    odoo.beat("b", heartbeat_interval_seconds=86400.0)
    minutes(fleet, by_turns(odoo, "a", count=20))
    fleet.go_on(900)

    assert [("late", "a"), ("down", "a")] == fleet.told()


@pytest.mark.both_databases
def test_uuid_that_sixty_servers_share_tells_nothing_but_that(
    fleet: Watched,
) -> None:
    ids = [f"copy-{n}" for n in range(60)]
    for each in ids:
        fleet.beat(each, **DATABASE)
        fleet.clock.advance(1)
    fleet.go_on(300, *ids[30:])

    records = [fleet.record(each) for each in ids]
    assert {(None, None)} == {(each.superseded_by, each.twin_of) for each in records}
    assert ["down"] * 30 + ["up"] * 30 == [each.state.value for each in records]
    fleet.go_on(3600, *ids[30:], every=60)
    assert [{"database_uuid": "u-1", "servers": 60}] == fleet.details(EventKind.COPIES)
    fleet.go_on(86400, *ids[30:], every=3600)
    assert 2 == len(fleet.details(EventKind.COPIES))
