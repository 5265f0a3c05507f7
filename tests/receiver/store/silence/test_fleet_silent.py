"""When much of the fleet falls silent at once, one event tells so."""

import pytest

from contract import EventKind
from odoos import DATABASE
from receiver.domain.databases.silence import Rules
from receiver.store import SqlStore
from watched import Watched, at_once


@pytest.mark.parametrize(
    ("silent", "of", "is_told"),
    [
        (4, 4, False),
        (5, 5, True),
        (5, 10, True),
        (5, 11, False),
        (5, 100, False),
        (49, 100, False),
        (50, 100, True),
        (200, 200, True),
        (260, 300, True),
        (600, 700, True),
    ],
)
def test_fleet_silent_event_follows_when_half_the_fleet_and_five_servers_are_late(
    fleet: Watched, silent: int, of: int, *, is_told: bool
) -> None:
    ids = [f"s{n:03}" for n in range(of)]
    fleet.beat(*ids)
    fleet.go_on(100, *ids[silent:], every=50)
    fleet.clock.advance(36)
    fleet.sweep()

    assert silent == len(fleet.details(EventKind.LATE))
    assert [{"silent": silent, "of": of}] * is_told == fleet.details(EventKind.FLEET_SILENT)


def test_one_outage_has_one_fleet_silent_event(fleet: Watched) -> None:
    ids = [f"s{n}" for n in range(20)]
    for n in range(10):
        fleet.beat(*ids[: 20 - n])
        fleet.clock.advance(15)
    fleet.go_on(270, every=15)

    kinds = [kind for kind, _ in fleet.told()]
    assert (20, 1) == (kinds.count("late"), kinds.count("fleet_silent"))


def test_servers_late_within_five_minutes_make_a_fleet_silent_event(fleet: Watched) -> None:
    for n in range(5):
        fleet.beat(f"s{n}")
        fleet.go_on(74, "x", "y", every=37)
    fleet.go_on(75, "x", "y", every=25)

    assert [{"silent": 5, "of": 7}] == fleet.details(EventKind.FLEET_SILENT)


def test_servers_late_one_by_one_make_no_fleet_silent_event(fleet: Watched) -> None:
    for n in range(8):
        fleet.beat(f"s{n}")
        fleet.go_on(76, every=38)
    fleet.go_on(304, every=38)

    assert 8 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_few_servers_that_flap_make_no_fleet_silent_event(fleet: Watched) -> None:
    ids = ["a", "b", "c", "d"]
    for _ in range(3):
        fleet.beat(*ids, heartbeat_interval_seconds=10.0)
        fleet.go_on(30, every=5)

    assert 12 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_recovered_servers_do_not_count_as_silent(fleet: Watched) -> None:
    some, others = ["a", "b", "c"], ["d", "e", "f"]
    fleet.beat(*some, *others)
    fleet.go_on(145, *others)
    fleet.go_on(145, *some)

    assert 6 == len(fleet.details(EventKind.LATE))
    assert [] == fleet.details(EventKind.FLEET_SILENT)


def test_server_late_twice_counts_once_as_silent(fleet: Watched) -> None:
    few, many = ["a", "b", "c"], [f"s{n}" for n in range(7)]
    fleet.beat(*few, *many, heartbeat_interval_seconds=10.0)
    for _ in range(3):
        fleet.go_on(30, *many, every=5)
        fleet.beat(*few)
    fleet.go_on(30, *many[2:], every=5)

    assert [{"silent": 5, "of": 10}] == fleet.details(EventKind.FLEET_SILENT)


def test_second_outage_has_a_second_fleet_silent_event(fleet: Watched) -> None:
    ids = [f"s{n}" for n in range(6)]
    for _ in range(2):
        fleet.beat(*ids)
        fleet.go_on(145)
        fleet.go_on(300, *ids)

    assert [{"silent": 6, "of": 6}] * 2 == fleet.details(EventKind.FLEET_SILENT)


def test_second_outage_right_after_a_recovery_has_a_second_event(fleet: Watched) -> None:
    ids = [f"s{n}" for n in range(10)]
    fleet.beat(*ids, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*ids)
    fleet.go_on(30, every=5)

    assert [{"silent": 10, "of": 10}] * 2 == fleet.details(EventKind.FLEET_SILENT)


def test_minority_that_flaps_after_an_outage_makes_no_second_event(fleet: Watched) -> None:
    ids = [f"s{n:02}" for n in range(20)]
    fleet.beat(*ids, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*ids[:9])
    fleet.go_on(30, every=5)

    assert 29 == len(fleet.details(EventKind.LATE))
    assert [{"silent": 20, "of": 20}] == fleet.details(EventKind.FLEET_SILENT)


def test_large_outage_after_a_small_one_has_its_own_event(fleet: Watched) -> None:
    few, many = [f"few-{n}" for n in range(5)], [f"many-{n}" for n in range(100)]
    fleet.beat(*few, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*many, heartbeat_interval_seconds=10.0)
    fleet.go_on(120, every=5)

    assert [{"silent": 5, "of": 5}, {"silent": 100, "of": 100}] == fleet.details(
        EventKind.FLEET_SILENT
    )


def test_outage_that_long_intervals_tell_later_has_one_event(fleet: Watched) -> None:
    """All fell silent at once, and were found to be silent nine minutes apart."""
    fleet.beat(*(f"often-{n}" for n in range(10)), heartbeat_interval_seconds=60.0)
    fleet.beat(*(f"rarely-{n}" for n in range(10)), heartbeat_interval_seconds=300.0)
    fleet.go_on(900, every=15)

    assert 20 == len(fleet.details(EventKind.LATE))
    assert [{"silent": 10, "of": 20}] == fleet.details(EventKind.FLEET_SILENT)


def test_servers_still_down_do_not_count_in_a_second_outage(fleet: Watched) -> None:
    ids = [f"s{n:02}" for n in range(20)]
    fleet.beat(*ids, heartbeat_interval_seconds=10.0)
    fleet.go_on(30, every=5)
    fleet.beat(*ids[:12])
    fleet.go_on(30, *ids[:6], every=5)

    assert [{"silent": 20, "of": 20}] == fleet.details(EventKind.FLEET_SILENT)[:1]
    assert [{"silent": 6, "of": 12}] == fleet.details(EventKind.FLEET_SILENT)[1:]


def test_sweep_that_another_store_finishes_makes_the_fleet_silent_event(
    fleet: Watched, other: SqlStore
) -> None:
    other_fleet = Watched(other)
    ids = [f"s{n:03}" for n in range(450)]
    fleet.beat(*ids)
    fleet.go_on(30, *ids)
    fleet.clock.advance(136)
    other_fleet.clock.now = fleet.now
    fleet.store.watch.sweep(fleet.sweep_options())
    before = fleet.details(EventKind.FLEET_SILENT)
    other_fleet.sweep()

    assert [] == before
    assert [{"silent": 450, "of": 450}] == fleet.details(EventKind.FLEET_SILENT)


def test_concurrent_sweeps_of_two_stores_make_one_fleet_silent_event(
    store: SqlStore, other: SqlStore
) -> None:
    fleet, other_fleet = Watched(store), Watched(other)
    ids = [f"s{n:03}" for n in range(500)]
    fleet.beat(*ids)
    fleet.sweep()
    fleet.clock.advance(136)
    other_fleet.clock.now = fleet.now
    at_once(fleet.sweep, other_fleet.sweep, fleet.sweep, other_fleet.sweep)

    assert [{"silent": 500, "of": 500}] == fleet.details(EventKind.FLEET_SILENT)


@pytest.mark.parametrize(("share", "is_told"), [(0.7, True), (0.71, False), (1.0, False)])
def test_share_setting_decides_when_the_fleet_is_silent(
    fleet: Watched, share: float, *, is_told: bool
) -> None:
    fleet.rules = Rules(share=share)
    ids = [f"s{n}" for n in range(10)]
    fleet.beat(*ids)
    fleet.go_on(145, *ids[7:])

    assert is_told == bool(fleet.details(EventKind.FLEET_SILENT))


def test_servers_down_or_superseded_before_do_not_count_as_fleet(fleet: Watched) -> None:
    gone = [f"gone-{n}" for n in range(20)]
    for n, each in enumerate(gone):
        fleet.beat(each, **{**DATABASE, "database_uuid": f"u-{n % 10}"})
        fleet.go_on(1)
    fleet.go_on(900)
    ids = [f"s{n}" for n in range(10)]
    fleet.beat(*ids)
    fleet.go_on(145, *ids[5:])

    assert {"silent": 5, "of": 10} == fleet.details(EventKind.FLEET_SILENT)[-1]
