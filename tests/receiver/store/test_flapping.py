"""Flapping servers in the store: told once, counted, and true all the time, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from contract import EventKind
from receiver.domain.instants import microseconds
from receiver.service.availability import History
from receiver.store import SqlStore
from watched import Watched, due_at

JOINED = (EventKind.REGISTERED, EventKind.FLEET_SILENT)
OUTAGE = [("late", "a"), ("recovered", "a")]
FEW = {"database_uuid": "u-1", "database": "acme", "odoo_stage": "production"}


def flap(fleet: Watched, *ids: str, times: int = 3, beside: tuple[str, ...] = ()) -> None:
    """Let servers become late and come back, so many times."""
    for _ in range(times):
        fleet.beat(*ids)
        fleet.go_on(150, *beside)
        assert {"late"} == {fleet.state(each) for each in ids}
    fleet.beat(*ids)


def test_flapping_is_told_once_and_its_end_with_the_number_of_turns(fleet: Watched) -> None:
    flap(fleet, "a", times=10)
    during = fleet.told()
    fleet.go_on(1799, "a")
    before = fleet.told()
    fleet.go_on(1, "a")

    flapping = [*OUTAGE, *OUTAGE, ("late", "a"), ("flapping", "a")]
    assert (flapping, flapping) == (during, before)
    assert [*flapping, ("calm", "a")] == fleet.told()
    assert [{"turns": 6, "since": "2026-01-31T12:02:30Z"}] == fleet.details(EventKind.FLAPPING)
    assert [{"turns": 20, "since": "2026-01-31T12:02:30Z", "state": "up"}] == fleet.details(
        EventKind.CALM
    )


def test_record_of_a_flapping_server_stays_true(fleet: Watched) -> None:
    flap(fleet, "a")
    back = fleet.record("a")
    fleet.go_on(150)
    late = fleet.record("a")
    fleet.go_on(150)

    assert (back.last_seen, "up") == (back.state_since, back.state.value)
    assert ("late", "down") == (late.state.value, fleet.state("a"))
    assert late.state_since > back.state_since
    assert ["a"] == fleet.ids(state="down")
    assert {back.flapping_since} == {late.flapping_since, fleet.record("a").flapping_since}
    assert None is not back.flapping_since


@pytest.mark.parametrize("interval", [1e-9, 5.0])
def test_server_with_a_tiny_interval_tells_few_events(fleet: Watched, interval: float) -> None:
    for _ in range(100):
        fleet.beat("a", heartbeat_interval_seconds=interval)
        fleet.go_on(30, every=2)

    assert {"registered": 1, "late": 3, "down": 3, "recovered": 2, "flapping": 1} == fleet.counts


def test_silent_end_of_flapping_says_that_the_server_is_down(fleet: Watched) -> None:
    flap(fleet, "a")
    fleet.go_on(3600)

    assert ("calm", "a") == fleet.told()[-1]
    assert ["down"] == [each["state"] for each in fleet.details(EventKind.CALM)]


def test_turns_of_a_calm_server_are_told_again(fleet: Watched) -> None:
    flap(fleet, "a")
    fleet.go_on(1800, "a")
    flap(fleet, "a", times=2)

    assert [("calm", "a"), *OUTAGE, *OUTAGE] == fleet.told()[-5:]


def test_farewells_and_returns_are_turns(fleet: Watched) -> None:
    for _ in range(5):
        fleet.beat("a", status="uninstalled")
        fleet.clock.advance(1)
        fleet.beat("a", status="healthy")

    turns = [("recovered", "a"), ("left", "a")]
    assert [("left", "a"), *turns, *turns, ("flapping", "a")] == fleet.told()
    assert "up" == fleet.state("a")


def test_flapping_survives_a_restart_and_is_shared_by_receivers(
    store: SqlStore, other: SqlStore
) -> None:
    """Two receivers hear and look by turns, with caches of their own."""
    fleets = [Watched(store), Watched(other)]
    for n in range(8):
        one, another = fleets[n % 2], fleets[1 - n % 2]
        one.beat("a")
        one.go_on(150)
        another.clock.now = one.now
    fleets[0].beat("a")

    told = [each["turns"] for each in fleets[0].details(EventKind.FLAPPING)]
    fleets[1].go_on(1800, "a")
    assert ([6], [16]) == (told, [each["turns"] for each in fleets[1].details(EventKind.CALM)])


def test_lasting_state_of_a_flapping_server_is_checked_for_calm(
    fleet: Watched, engine: Engine
) -> None:
    flap(fleet, "a")
    fleet.go_on(600)

    assert "down" == fleet.state("a")
    assert None is not due_at(engine, "a")
    fleet.go_on(1800)
    assert None is due_at(engine, "a")


def test_flapping_server_that_is_back_is_checked_for_calm(fleet: Watched, engine: Engine) -> None:
    flap(fleet, "a")
    fleet.go_on(600)
    fleet.beat("a")

    assert microseconds(fleet.now) == due_at(engine, "a")


def test_clock_that_is_set_back_leaves_no_flapping_in_the_future(fleet: Watched) -> None:
    flap(fleet, "a")
    fleet.clock.advance(-7200)
    fleet.store.watch.leave_no_future(fleet.now)
    fleet.heard_since = fleet.now
    fleet.sweep()
    since = fleet.record("a").flapping_since
    fleet.go_on(1800, "a")

    assert fleet.now - timedelta(seconds=1800) == since
    assert ("calm", "a") == fleet.told()[-1]


def test_servers_that_are_flapping_fall_silent_as_a_fleet(fleet: Watched) -> None:
    """Only servers that flap fall silent, and then all of them do."""
    some = [f"s{n}" for n in range(6)]
    others = tuple(f"t{n}" for n in range(4))
    fleet.rules = type(fleet.rules)(servers=20)  # nothing is told while they begin to flap
    flap(fleet, *some, beside=others)
    fleet.rules = type(fleet.rules)()
    fleet.go_on(600, *some, *others)
    fleet.go_on(200, *others)

    assert [{"silent": 6, "of": 10}] == fleet.details(EventKind.FLEET_SILENT)

    fleet.go_on(300, *others)
    once = fleet.details(EventKind.FLEET_SILENT)
    fleet.go_on(600, *some, *others)
    fleet.go_on(200, *others)
    assert (1, 2) == (len(once), len(fleet.details(EventKind.FLEET_SILENT)))


def test_few_flapping_servers_that_were_told_are_not_the_fleet(fleet: Watched) -> None:
    """After the fleet was silent and is back but for one, a server alone is not told again."""
    some = [f"s{n}" for n in range(6)]
    flap(fleet, *some)
    fleet.go_on(600, *some)
    fleet.go_on(400)
    before = len(fleet.details(EventKind.FLEET_SILENT))
    fleet.go_on(600, *some[:2])
    fleet.go_on(400)

    assert before == len(fleet.details(EventKind.FLEET_SILENT)) >= 1


def test_availability_leaves_out_the_time_of_flapping(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.go_on(3600, "a", every=60)
    flap(fleet, "a", times=10)
    fleet.go_on(3600, "a", every=60)

    since = fleet.now - timedelta(days=1)
    logs = fleet.store.servers.state_logs(["a"], since)["a"]
    history = History.of(logs, since=since, now=fleet.now)
    spans = [(each.state, each.end - each.start) for each in history.spans(timedelta(days=1))]
    assert ["up", "late", "up", "late", "up", "late", "flapping", "up"] == [
        state for state, _ in spans
    ]
    assert timedelta(seconds=150 * 7 + 1800) == spans[-2][1]


def test_server_that_is_listed_again_while_it_flaps_tells_nothing(fleet: Watched) -> None:
    """Its successor is deleted, while it is down: that would be told of another server."""
    flap(fleet, "a", times=3)
    fleet.beat("a", **FEW)
    fleet.go_on(300)
    fleet.beat("b", **FEW)
    fleet.go_on(60, "b")
    superseded = fleet.record("a").superseded_by
    fleet.store.servers.delete("b", fleet.now)
    fleet.sweep()

    told = fleet.told(of="a", but=JOINED)
    assert ("b", None) == (superseded, fleet.record("a").superseded_by)
    assert [*OUTAGE, *OUTAGE, ("late", "a"), ("flapping", "a")] == [
        each for each in told if each[0] != "updated"
    ]


def test_a_row_without_turns_is_as_small_as_before(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a")

    with engine.connect() as connection:
        row = connection.execute(text("SELECT turns, flapping_since FROM servers")).one()
    assert (None, None) == tuple(row)
