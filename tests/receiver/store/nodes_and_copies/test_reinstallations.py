"""Farewells, and reinstallations, after which a database numbers its messages from 1 again."""

import pytest

from contract import FAREWELL, EventKind
from odoos import DATABASE, Odoo, by_turns, minutes, together
from watched import Watched

pytestmark = pytest.mark.one_database
"""Stories of the simulation have the same servers, and run on PostgreSQL too."""


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
