"""Servers that send by turns are nodes of one database."""

from datetime import timedelta
from functools import partial

import pytest

from contract import EventKind, Registration
from keyring import made
from odoos import DATABASE, NUMBERED, Odoo, by_turns, minutes, together
from receiver.domain.databases import Relabelling
from receiver.domain.outcomes import Incoming
from watched import Watched, hear

pytestmark = pytest.mark.one_database
"""Stories of the simulation have the same servers, and run on PostgreSQL too."""


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
