"""A restart is one event, which a registration or a fallen uptime tells."""

from datetime import datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from changed import MINUTE, NOON, WEB, details_by_kind, heard, registered, told_by_registration
from contract import EventKind, ServerRecord, changes

# For each run of a server: whether its registration arrives, and the number of heartbeats.
runs = st.lists(st.tuples(st.booleans(), st.integers(2, 4)), min_size=1, max_size=5)


@given(runs)
def test_a_restart_is_reported_once_with_or_without_a_registration(
    drawn_runs: list[tuple[bool, int]],
) -> None:
    record: ServerRecord | None = None
    clock = NOON
    restarts = []
    for registers, beats in drawn_runs:
        started_at, clock = clock, clock + timedelta(seconds=10)
        happened = []
        if registers:
            before, record = record, registered(record, started_at=started_at)
            happened += changes(before, record, at=clock)
        for _ in range(beats):
            uptime = (clock - started_at).total_seconds()
            before, record = record, heard(record, timestamp=clock, uptime_seconds=uptime)
            happened += changes(before, record, at=clock)
            clock += MINUTE
        restarts.append([event.kind for event in happened].count(EventKind.RESTARTED))

    assert [0] + [1] * (len(drawn_runs) - 1) == restarts


def test_a_later_start_is_a_restart() -> None:
    assert {
        "restarted": {
            "started_at": {"from": "2026-01-31T11:00:00Z", "to": "2026-01-31T11:59:30Z"},
        }
    } == details_by_kind(WEB, registered(WEB, started_at=NOON - MINUTE / 2))


def test_a_falling_uptime_is_a_restart() -> None:
    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 30.0}}} == details_by_kind(
        WEB, heard(WEB, timestamp=NOON, uptime_seconds=30.0)
    )


def test_an_uptime_that_falls_to_zero_is_a_restart() -> None:
    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 0.0}}} == details_by_kind(
        WEB, heard(WEB, uptime_seconds=0)
    )


@pytest.mark.parametrize(
    ("seconds", "uptime"),
    [
        (60, 3539.99),  # a reading of the clock that differs a little
        (60, 3535.0),
        (-60, 3480.0),  # overtaken by the last heartbeat
        (60, 600.0),  # another worker process, started ten minutes ago
        (60, 65.1),
        (0.0, 3539.99),
        (-3600, 30.0),  # the clock of the sender was set back: nobody knows
    ],
)
def test_an_uptime_that_falls_is_no_restart_without_a_new_start(
    seconds: float, uptime: float
) -> None:
    sent = NOON - MINUTE + timedelta(seconds=seconds)

    assert {} == details_by_kind(WEB, heard(WEB, timestamp=sent, uptime_seconds=uptime))


@pytest.mark.parametrize(("seconds", "uptime"), [(60, 3534.9 - 3474.9), (60, 65.0), (3600, 3500.0)])
def test_an_uptime_within_the_time_since_the_last_heartbeat_is_a_restart(
    seconds: float, uptime: float
) -> None:
    sent = NOON - MINUTE + timedelta(seconds=seconds)

    assert ["restarted"] == [
        *details_by_kind(WEB, heard(WEB, timestamp=sent, uptime_seconds=uptime))
    ]


@pytest.mark.parametrize(
    ("old", "new", "passed", "restarts"),
    [
        (5.0, 4.9, 60, True),  # a server that crashes each minute
        (5.0, 4.9, 0, False),
        (9.0, 4.0, 0, False),
        (9.0, 3.9, 0, True),
        (9.0, 5.1, 0, False),
        (9.0, 5.0, 2, True),
        (5.0, None, 60, False),
        (None, 5.0, 60, False),
    ],
)
def test_small_uptimes_tell_of_a_restart_by_the_start(
    old: float | None, new: float | None, passed: float, *, restarts: bool
) -> None:
    before = evolve(WEB, uptime_seconds=old)
    after = evolve(before, uptime_seconds=new, timestamp=NOON - MINUTE + timedelta(seconds=passed))

    assert ["restarted"] * restarts == [*details_by_kind(before, after)]


@pytest.mark.parametrize(("new", "restarts"), [(3535.0, False), (3534.9, True), (600.0, True)])
@pytest.mark.parametrize(("earlier", "later"), [(None, NOON), (NOON, None), (None, None)])
def test_a_falling_uptime_is_a_restart_without_both_timestamps(
    earlier: datetime | None, later: datetime | None, new: float, *, restarts: bool
) -> None:
    before = evolve(WEB, timestamp=earlier)
    after = evolve(before, uptime_seconds=new, timestamp=later)

    assert ["restarted"] * restarts == [*details_by_kind(before, after)]


@pytest.mark.parametrize("seconds", [-5, -0.001, 0.001, 5])
def test_a_start_that_differs_by_seconds_is_the_same(seconds: float) -> None:
    again = registered(WEB, started_at=NOON - 60 * MINUTE + timedelta(seconds=seconds))

    assert {} == details_by_kind(WEB, again)


@pytest.mark.parametrize("minutes", [-90, -30])
def test_the_start_of_another_worker_in_a_registration_causes_no_event(minutes: int) -> None:
    """It began before the last heartbeat was sent."""
    assert {} == told_by_registration(WEB, started_at=NOON + minutes * MINUTE)


def test_a_restart_of_a_registration_is_not_repeated_by_the_next_heartbeat() -> None:
    again = registered(WEB, started_at=NOON - MINUTE / 2)

    assert {} == details_by_kind(again, heard(again, timestamp=NOON, uptime_seconds=30.0))


def test_the_restart_after_a_reported_one_is_reported() -> None:
    again = registered(WEB, started_at=NOON - MINUTE / 2)
    alive = heard(again, timestamp=NOON, uptime_seconds=30.0)

    assert ["restarted"] == [
        *details_by_kind(alive, heard(alive, timestamp=NOON + MINUTE, uptime_seconds=5))
    ]


def test_an_uptime_that_fell_since_a_start_at_the_last_heartbeat_is_a_restart() -> None:
    started = evolve(WEB, started_at=NOON - MINUTE)

    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 30.0}}} == details_by_kind(
        started, heard(started, timestamp=NOON, uptime_seconds=30.0)
    )
