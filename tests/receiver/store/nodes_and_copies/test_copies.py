"""Servers of one uuid that send in parallel: nodes of one database, or copies (twins)."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest

from contract import FAREWELL, EventKind, Registration
from keyring import made
from receiver.domain.databases import Relabelling
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from watched import Watched, at_once, hear

pytestmark = pytest.mark.one_database
"""Stories of the simulation have the same servers, and run on PostgreSQL too."""

DATABASE: dict[str, Any] = {
    "database_uuid": "u-1",
    "database": "acme",
    "odoo_stage": "production",
}


class Odoo:
    """
    A database whose servers number their messages in one sequence, on the clock of a fleet.

    Without `numbered`, its servers are of an older version, which sends no numbers.
    """

    def __init__(self, fleet: Watched, *, numbered: bool = True, sequence: int = 0) -> None:
        self.fleet = fleet
        self.sequence = sequence
        self._numbered = numbered

    def copy(self) -> "Odoo":
        return Odoo(self.fleet, numbered=self._numbered, sequence=self.sequence)

    def beat(self, server_id: str, **said: Any) -> None:
        self.sequence += 1
        number = self.sequence if self._numbered else None
        self.fleet.beat(server_id, **{**DATABASE, "sequence": number, **said})

    def register(self, server_id: str) -> None:
        self.sequence += 1
        number = self.sequence if self._numbered else None
        self.fleet.register(server_id, **DATABASE, sequence=number)


def minutes(fleet: Watched, turns: Iterable[Callable[[], object]]) -> None:
    """In each minute one turn, and three sweeps."""
    for turn in turns:
        for _ in range(3):
            fleet.clock.advance(20)
            fleet.sweep()
        turn()


def by_turns(odoo: Odoo, *ids: str, count: int, seed: int = 1) -> Iterator[Callable[[], object]]:
    """One heartbeat for each turn, each of a server chosen at random."""
    chance = Random(seed)
    for _ in range(count):
        yield partial(odoo.beat, chance.choice(ids))


def together(*odoos: tuple[Odoo, str], count: int) -> Iterator[Callable[[], object]]:
    """Heartbeats of all databases in each turn."""
    for _ in range(count):
        yield partial(beat_all, odoos)


def beat_all(odoos: Iterable[tuple[Odoo, str]]) -> None:
    for odoo, server_id in odoos:
        odoo.beat(server_id)


NUMBERED = pytest.mark.parametrize("numbered", [True, False])


# Nodes


@NUMBERED
@pytest.mark.parametrize("seed", range(2))
def test_servers_that_send_by_turns_are_one_line(
    fleet: Watched, seed: int, *, numbered: bool
) -> None:
    odoo = Odoo(fleet, numbered=numbered)
    for each in "abc":
        odoo.register(each)
        fleet.clock.advance(3)
    for each in "abc":
        odoo.beat(each)
    minutes(fleet, by_turns(odoo, "a", "b", "c", count=70, seed=seed))

    assert [("node", "b"), ("node", "c")] == sorted(fleet.told())
    assert (["a"], ["b", "c"]) == (fleet.ids(), fleet.ids(state="node"))
    assert (2, "up") == (fleet.record("a").node_count, fleet.state("a"))
    assert {("up", "production"): 1} == dict(fleet.store.servers.vitals(fleet.now).standing)


def test_database_with_nodes_counts_once_by_key_label_and_version(fleet: Watched) -> None:
    key, _ = made("agent", now=fleet.now)
    fleet.store.keys.add(key)
    odoo = Odoo(fleet)
    for each in "abc":
        message = Registration(server_id=each, version="1.0", **DATABASE)
        hear(fleet.store, [Incoming(message, fleet.now, key)])
    fleet.store.labels.change(["a"], Relabelling.of({"add": ["gold"]}), at=fleet.now, by="Ada")
    minutes(fleet, by_turns(odoo, "a", "b", "c", count=70))

    *_, hour = fleet.store.hours.since(fleet.heard_since)
    assert (["a"], ["b", "c"]) == (fleet.ids(label=["gold"]), fleet.ids(state="node"))
    assert ({key.id: 1}, [("gold", 1)], [("1.0", 1)]) == (
        fleet.store.servers.numbers_owned([key.id]),
        fleet.store.labels.all(),
        hour.versions,
    )


@NUMBERED
def test_nodes_that_only_register_are_listed_under_the_node_that_sends_heartbeats(
    fleet: Watched, *, numbered: bool
) -> None:
    odoo = Odoo(fleet, numbered=numbered)
    for each in ("web-1", "web-2", "cron"):
        odoo.register(each)
        fleet.clock.advance(1)
    for n in range(40):
        minutes(fleet, by_turns(odoo, "cron", count=1))
        if n % 5 == 0:
            odoo.register("web-1")
            odoo.register("web-2")

    assert [("node", "cron"), ("node", "web-2")] == sorted(fleet.told())
    assert (["web-1"], "up") == (fleet.ids(), fleet.state("web-1"))


def test_old_server_that_was_heard_after_the_start_of_the_new_one_is_not_rebuilt(
    fleet: Watched,
) -> None:
    odoo = Odoo(fleet)
    begin = fleet.now
    odoo.beat("a")
    minutes(fleet, by_turns(odoo, "a", count=5))
    hour = timedelta(hours=1)  # the clock of b is wrong
    for _ in range(5):
        minutes(
            fleet, [partial(odoo.beat, "b", started_at=begin + hour, timestamp=fleet.now + hour)]
        )
    told = fleet.told()
    minutes(fleet, by_turns(odoo, "a", "b", count=20))

    assert ([], [("node", "b")]) == (told, fleet.told())


def test_line_is_late_and_down_when_no_node_is_heard_and_recovers_with_any(
    fleet: Watched,
) -> None:
    odoo = Odoo(fleet)
    odoo.register("a")
    odoo.register("b")
    minutes(fleet, by_turns(odoo, "a", "b", count=20))
    fleet.go_on(600)
    states = [fleet.state(each) for each in "ab"]
    odoo.beat("b")
    fleet.sweep()

    assert (["down", "down"], ["up", "up"]) == (states, [fleet.state(each) for each in "ab"])
    assert [("node", "b"), ("late", "a"), ("down", "a"), ("recovered", "a")] == fleet.told()
    (recovered,) = fleet.details(EventKind.RECOVERED)
    assert 300 <= recovered["away_seconds"] < 600


def test_node_that_sends_nothing_for_long_has_left_once(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    odoo.register("a")
    odoo.register("b")
    minutes(fleet, by_turns(odoo, "a", "b", count=20))
    minutes(fleet, by_turns(odoo, "a", count=60))
    told = fleet.told()
    odoo.beat("b")
    minutes(fleet, by_turns(odoo, "a", "b", count=20))

    assert [("node", "b"), ("node_left", "b")] == told
    assert [{"node_of": "a"}] == fleet.details(EventKind.NODE_LEFT)
    assert [*told, ("node", "b")] == fleet.told()
    assert ["a"] == fleet.ids()


def test_node_that_is_heard_leads_the_line_once_the_leader_has_left(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    odoo.register("a")
    odoo.register("b")
    minutes(fleet, by_turns(odoo, "a", "b", count=20))
    minutes(fleet, by_turns(odoo, "b", count=60))

    assert [("node", "b"), ("rebuilt", "a")] == fleet.told()
    assert (["b"], "b") == (fleet.ids(), fleet.record("a").superseded_by)
    assert 0 == fleet.record("b").node_count


def test_node_at_another_address_leads_the_line_as_soon_as_the_leader_is_late(
    fleet: Watched,
) -> None:
    odoo = Odoo(fleet)
    odoo.beat("a", endpoint_url="https://old")
    fleet.clock.advance(1)
    odoo.beat("b", endpoint_url="https://new")
    minutes(fleet, by_turns(odoo, "a", "b", count=12))
    minutes(fleet, by_turns(odoo, "b", count=3))

    assert (["b"], ["a"]) == (fleet.ids(), fleet.ids(state="node"))
    assert [("node", "b")] == fleet.told()


def test_nodes_whose_leader_is_deleted_are_a_line_again(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    for each in "abc":
        odoo.register(each)
    minutes(fleet, by_turns(odoo, "a", "b", "c", count=30))
    fleet.store.servers.delete("a", fleet.now)
    fleet.sweep()
    alone = fleet.ids()
    minutes(fleet, by_turns(odoo, "b", "c", count=30))

    assert (["b", "c"], ["b"]) == (alone, fleet.ids())


def test_node_of_a_leader_that_becomes_another_database_stands_for_itself(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    for each in "ab":
        odoo.register(each)
    minutes(fleet, by_turns(odoo, "a", "b", count=20))
    fleet.beat("a", database="other")
    fleet.sweep()

    assert (["a", "b"], None) == (fleet.ids(), fleet.record("b").node_of)
    assert 0 == fleet.record("a").node_count


def test_server_that_goes_on_with_the_numbers_of_silent_nodes_leads_them(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    for each in "ab":
        odoo.register(each)
    minutes(fleet, by_turns(odoo, "a", "b", count=20))
    fleet.go_on(600)
    odoo.beat("new", endpoint_url="https://new")
    fleet.sweep()

    assert (["new"], ["a", "b"]) == (fleet.ids(), fleet.ids(state="node"))
    assert "up" == fleet.state("new")


def test_silent_line_is_superseded_with_all_its_nodes(fleet: Watched) -> None:
    odoo = Odoo(fleet, numbered=False)
    for each in "abc":
        odoo.register(each)
    minutes(fleet, by_turns(odoo, "a", "b", "c", count=30))
    fleet.go_on(600)
    odoo.beat("new")
    fleet.sweep()

    assert ["new"] == fleet.ids()
    assert ["new"] * 3 == [fleet.record(each).superseded_by for each in "abc"]
    assert [("rebuilt", "a")] == [each for each in fleet.told() if each[0] == "rebuilt"]


def test_pause_of_the_receiver_begins_the_watch_anew(fleet: Watched) -> None:
    one = Odoo(fleet, numbered=False)
    one.beat("a")
    other = one.copy()
    fleet.clock.advance(1)
    other.beat("b")
    minutes(fleet, together((one, "a"), (other, "b"), count=2))
    fleet.clock.advance(3600)
    fleet.heard_since = fleet.now
    minutes(fleet, together((one, "a"), (other, "b"), count=20))

    assert [("twin", "a"), ("twin", "b")] == sorted(fleet.told())


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_node_that_was_never_watched_for_long_is_not_late_while_another_sends(
    fleet: Watched, *, is_interrupted: bool
) -> None:
    odoo = Odoo(fleet, numbered=False)
    for each in "ab":
        odoo.register(each)
    for n in range(4):  # each time, the watch begins anew
        minutes(fleet, [partial(odoo.beat, each) for each in "ababab"])
        if is_interrupted:
            fleet.heard_since = fleet.now
        else:
            odoo.register(f"new-{n}")
    before = fleet.told()
    minutes(fleet, by_turns(odoo, "a", count=40))

    assert ([], ["a"]) == (before, fleet.ids())
    assert {"late", "down"}.isdisjoint(fleet.counts)


def test_nodes_stay_a_line_when_the_clock_goes_back(fleet: Watched) -> None:
    odoo = Odoo(fleet, numbered=False)
    for each in "ab":
        odoo.register(each)
    minutes(fleet, by_turns(odoo, "a", "b", count=20))
    for _ in range(3):
        minutes(fleet, by_turns(odoo, "a", "b", count=10))
        fleet.clock.advance(-300)
        fleet.heard_since = min(fleet.heard_since, fleet.now)
        fleet.store.watch.leave_no_future(fleet.now)

    assert [("node", "b")] == fleet.told()


# Copies


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


# Conflicts


def test_two_machines_under_one_id_are_a_conflict_once(fleet: Watched) -> None:
    original = Odoo(fleet, sequence=900)
    copy = Odoo(fleet, sequence=12)
    begin = fleet.now
    minutes(fleet, together((original, "a"), (copy, "a"), count=60))

    (told,) = fleet.details(EventKind.CONFLICT)
    assert told["sequence"]["from"] > 900 > told["sequence"]["to"]
    since = fleet.record("a").conflict_since
    assert since is not None
    assert begin < since <= begin + timedelta(minutes=5)


def test_conflict_ends_when_one_machine_goes_on(fleet: Watched) -> None:
    original = Odoo(fleet, sequence=900)
    copy = Odoo(fleet, sequence=12)
    minutes(fleet, together((original, "a"), (copy, "a"), count=60))
    minutes(fleet, together((original, "a"), count=30))

    assert None is fleet.record("a").conflict_since
    assert 1 == len(fleet.details(EventKind.CONFLICT))


def test_restored_database_and_overtaken_messages_are_no_conflict(fleet: Watched) -> None:
    odoo = Odoo(fleet, sequence=900)
    minutes(fleet, by_turns(odoo, "a", count=20))
    odoo.sequence = 400
    minutes(fleet, by_turns(odoo, "a", count=20))
    fleet.beat("a", sequence=odoo.sequence - 1)
    minutes(fleet, by_turns(odoo, "a", count=20))

    assert [] == fleet.told()


def test_message_that_is_sent_again_is_no_conflict(fleet: Watched) -> None:
    for n in range(20):
        fleet.clock.advance(60)
        for _ in range(3):
            fleet.beat("a", sequence=n, timestamp=fleet.now)
            fleet.register("a", sequence=n)

    assert [] == fleet.told()


# Farewells


def test_farewell_raises_no_alarm_and_leaves_the_list(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("a", status=FAREWELL)
    fleet.go_on(3600)

    assert ([("left", "a")], []) == (fleet.told(), fleet.ids())
    assert (["a"], "left") == (fleet.ids(state="left"), fleet.state("a"))


def test_server_heard_after_its_farewell_is_back(fleet: Watched) -> None:
    fleet.beat("a", **DATABASE)
    fleet.beat("a", status=FAREWELL)
    fleet.go_on(600)
    fleet.beat("a", status="healthy")
    fleet.go_on(600)

    assert [("left", "a"), ("recovered", "a"), ("late", "a"), ("down", "a")] == fleet.told()
    assert ["a"] == fleet.ids()


def test_farewell_of_one_node_is_that_of_the_database(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    for each in "ab":
        odoo.register(each)
    minutes(fleet, by_turns(odoo, "a", "b", count=20))
    odoo.beat("b", status=FAREWELL)
    fleet.go_on(3600)

    assert ([("node", "b"), ("left", "a")], []) == (fleet.told(), fleet.ids())


def test_farewell_of_an_unknown_server_is_kept_and_not_listed(fleet: Watched) -> None:
    fleet.beat("a", status=FAREWELL)
    fleet.go_on(600)

    assert ([], ["a"]) == (fleet.ids(), fleet.ids(state="left"))
    assert [("registered", "a"), ("left", "a")] == fleet.told(but=())


# Reinstallations: the database numbers its messages from 1 again


def reinstall(odoo: Odoo, *ids: str) -> None:
    """The farewell of the first, and the registrations of all after the addon is back."""
    odoo.beat(ids[0], status=FAREWELL)
    odoo.fleet.go_on(60)
    odoo.sequence = 0
    for each in ids:
        odoo.register(each)


def test_reinstallations_are_no_conflict(fleet: Watched) -> None:
    odoo = Odoo(fleet, sequence=1000)
    odoo.register("a")
    for _ in range(10):
        odoo.beat("a", status="healthy")
        reinstall(odoo, "a")

    assert None is fleet.record("a").conflict_since
    assert 0 == fleet.counts["conflict"]


def test_two_machines_under_one_id_are_a_conflict_after_a_reinstallation_too(
    fleet: Watched,
) -> None:
    one, other = Odoo(fleet, sequence=1000), Odoo(fleet, sequence=500)
    one.register("a")
    reinstall(one, "a")
    minutes(fleet, together((one, "a"), (other, "a"), count=10))

    assert 1 == len(fleet.details(EventKind.CONFLICT))


def test_nodes_are_still_nodes_after_a_reinstallation(fleet: Watched) -> None:
    odoo = Odoo(fleet, sequence=1000)
    for each in "ab":
        odoo.register(each)
    minutes(fleet, by_turns(odoo, "a", "b", count=30))
    assert ["a"] == fleet.ids()

    reinstall(odoo, "a", "b")
    minutes(fleet, by_turns(odoo, "a", "b", count=60))
    assert (["a"], ["b"]) == (fleet.ids(), fleet.ids(state="node"))
    assert [("node", "b"), ("left", "a"), ("recovered", "a")] == fleet.told()
    assert (0, 0) == (fleet.counts["twin"], fleet.counts["conflict"])


def test_nodes_that_were_not_known_before_are_found_after_a_reinstallation(fleet: Watched) -> None:
    odoo = Odoo(fleet, sequence=1000)
    odoo.register("a")
    minutes(fleet, by_turns(odoo, "a", count=30))
    reinstall(odoo, "a", "b")
    minutes(fleet, by_turns(odoo, "a", "b", count=60))

    assert (["a"], ["b"]) == (fleet.ids(), fleet.ids(state="node"))
    assert (0, 0) == (fleet.counts["twin"], fleet.counts["conflict"])


def test_server_that_registers_after_its_farewell_is_back_at_once(fleet: Watched) -> None:
    odoo = Odoo(fleet)
    odoo.register("a")
    odoo.beat("a", status="healthy")
    reinstall(odoo, "a")

    assert (["a"], [], "up") == (fleet.ids(), fleet.ids(state="left"), fleet.state("a"))
    assert [("left", "a"), ("recovered", "a")] == fleet.told()
    odoo.beat("a", status="healthy")
    assert [("left", "a"), ("recovered", "a")] == fleet.told()


# Large families


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
