"""What is kept of each hour, and how the hours of a period become slots."""

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from attrs import evolve

from receiver.domain.history import Census, Hour, Period, Taken, figures, most_frequent

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
AN_HOUR = timedelta(hours=1)


def census(minute: int = 0, **states: int) -> Census:
    return Census(at=NOON + timedelta(minutes=minute), states=states, stages=[("", 1)])


def hour(begins_at: datetime = NOON, *, minutes: int = 60, **states: int) -> Hour:
    return Hour(
        begins_at=begins_at,
        counted_at=begins_at + timedelta(minutes=59),
        minutes=minutes,
        sums={state: minutes * n for state, n in states.items()},
        worst=states,
        heartbeats=100,
        turned_away=1,
        missed=0.5,
    )


# Hours


def test_hour_adds_up_its_minutes_and_keeps_the_worst() -> None:
    found = Hour.begun_by(census(5, up=10))
    for each in (
        census(6, up=7, late=3),
        census(7, up=7, down=3),
        census(8, up=8, late=2),
    ):
        found = found.counted(evolve(each, missed=2.5))

    assert (NOON, NOON + timedelta(minutes=8), 4) == (
        found.begins_at,
        found.counted_at,
        found.minutes,
    )
    assert {"up": 32, "late": 5, "down": 3} == found.sums
    assert {"up": 7, "down": 3} == found.worst
    assert (8.0, 0.0, 7.5) == (found.mean("up"), found.mean("new"), found.missed)
    assert 0.8 == found.availability


def test_hour_keeps_the_versions_of_the_last_census_that_counted_them() -> None:
    first = evolve(census(0, up=1), odoo_versions=[("18.0", 1)], versions=[("1", 1)])
    found = Hour.begun_by(first).counted(census(1, up=1))
    later = evolve(census(2, up=1), odoo_versions=[("19.0", 1)], versions=[("2", 1)])

    assert ([("18.0", 1)], [("1", 1)]) == (found.odoo_versions, found.versions)
    assert [("19.0", 1)] == found.counted(later).odoo_versions


def test_each_minute_of_an_hour_is_counted_once() -> None:
    found = Hour.begun_by(evolve(census(0, up=1), at=NOON + timedelta(seconds=59)))

    assert [False, True] == [found.lacks(census(minute, up=1)) for minute in (0, 1)]


def test_last_of_several_equally_bad_counts_of_an_hour_is_kept() -> None:
    found = Hour.begun_by(census(0)).counted(census(1, up=3))

    assert {"up": 3} == found.worst


def test_availability_of_no_server_is_unknown() -> None:
    assert None is Hour.begun_by(census()).availability


def test_messages_taken_since_a_moment_are_the_difference_of_two_counts() -> None:
    assert Taken(3, 1) == Taken(10, 5).since(Taken(7, 4))


@pytest.mark.parametrize(
    ("counts", "total", "expected"),
    [
        ({}, 0, []),
        ({"production": 3, "staging": 5}, 8, [("staging", 5), ("production", 3)]),
        ({"b": 2, "a": 2, "": 1}, 7, [("a", 2), ("b", 2), ("", 3)]),
        ({"w" * 65: 2, "w" * 64: 1, "gone": 0}, 3, [("w" * 64, 1), (None, 2)]),
        (
            {f"{n:02}": 1 for n in range(15)},
            15,
            [*((f"{n:02}", 1) for n in range(12)), (None, 3)],
        ),
    ],
)
def test_only_the_most_frequent_values_are_counted_apart_in_an_hour(
    counts: dict[str, int], total: int, expected: list[tuple[str | None, int]]
) -> None:
    assert expected == most_frequent(counts, total)


# Periods


@pytest.mark.parametrize(
    ("period", "first", "slots"),
    [
        (Period.DAY, "2026-01-30T14:00", 24),
        (Period.WEEK, "2026-01-24T15:00", 56),
        (Period.QUARTER, "2025-11-01T00:00", 92),
    ],
)
def test_slots_of_a_period_begin_at_full_hours_and_days(
    period: Period, first: str, slots: int
) -> None:
    now = NOON + timedelta(hours=1, minutes=34)

    found = figures([], period, now).slots

    assert slots == len(found)
    assert datetime.fromisoformat(f"{first}+00:00") == found[0].begins_at == period.since(now)
    assert all(a.ends_at == b.begins_at for a, b in pairwise(found))
    assert found[-1].begins_at <= now < found[-1].ends_at


def test_hour_that_nobody_counted_is_unknown_and_not_zero() -> None:
    hours = [hour(NOON - 3 * AN_HOUR), hour(NOON - AN_HOUR, minutes=30)]

    found = figures(hours, Period.DAY, NOON + timedelta(minutes=30))

    assert [False, True, False, True, False] == [slot.hour is not None for slot in found.slots[-5:]]
    # Of the 150 minutes since the first of these hours was over, 30 were counted.
    assert 30 / 150 == found.listened


def test_hours_of_a_slot_are_taken_together() -> None:
    first, second = hour(NOON, up=10), hour(NOON + AN_HOUR, minutes=20, up=8, down=2)
    found = figures([first, second], Period.WEEK, NOON + 2 * AN_HOUR)

    together = found.slots[-1].hour
    assert together is not None
    assert (NOON, second.counted_at, 80) == (
        together.begins_at,
        together.counted_at,
        together.minutes,
    )
    assert {"up": 760, "down": 40} == together.sums
    assert {"up": 8, "down": 2} == together.worst
    assert (200, 2, 1.0) == (together.heartbeats, together.turned_away, together.missed)
    assert (together, second.begins_at) == (found.whole, found.worst_at)


def test_history_figures_of_a_receiver_that_has_just_started_are_unknown() -> None:
    found = figures([], Period.DAY, NOON)

    assert (None, None, None) == (found.whole, found.worst_at, found.listened)


def test_first_hour_does_not_tell_for_how_long_a_receiver_was_away() -> None:
    found = figures([hour(minutes=2, up=1)], Period.DAY, NOON + timedelta(minutes=40))

    assert (None, 1.0) == (found.worst_at, found.listened)


def test_hours_outside_of_the_period_are_left_out() -> None:
    hours = [hour(NOON - 24 * AN_HOUR), hour(NOON + AN_HOUR)]

    assert None is figures(hours, Period.DAY, NOON).whole
