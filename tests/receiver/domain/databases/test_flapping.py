"""Flapping: when a server begins to flap and when it is calm, as a function of its turns."""

from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import Event, EventKind, State
from receiver.domain.databases import calmed, damped
from receiver.domain.instants import microseconds
from receiver.domain.rows import Row, Turns
from server_records import server_record

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
HALF = timedelta(minutes=30)
RECORD = server_record(at=NOON, state=State.UP)
ROW = Row(RECORD, revision=1, due_at=None)
TURNS = [EventKind.LATE, EventKind.RECOVERED, EventKind.LEFT, EventKind.REBUILT]


def event(kind: EventKind, at: datetime) -> Event:
    return Event(kind=kind, at=at, server_id="a")


def turned(row: Row, kind: EventKind, at: datetime) -> tuple[Row, list[EventKind]]:
    """The row after a turn, and the kinds of the events that are told."""
    changed = row._replace(record=evolve(row.record, state_since=at))
    after, told = damped(changed, [event(kind, at)], at=at)
    return after, [each.kind for each in told]


def after(*minutes: float) -> tuple[Row, list[EventKind]]:
    """The row after turns so many minutes after noon, and what is told of the last one."""
    row = ROW
    told: list[EventKind] = []
    for n, each in enumerate(minutes):
        row, told = turned(row, TURNS[n % 2], NOON + timedelta(minutes=each))
    return row, told


def test_six_turns_within_an_hour_are_flapping() -> None:
    row, told = after(0, 12, 24, 36, 48, 60)

    assert [EventKind.FLAPPING] == told
    assert (NOON, Turns((), 6)) == (row.record.flapping_since, row.turns)


@pytest.mark.parametrize("minutes", [(0, 12, 24, 36, 48), (0, 12, 24, 36, 48, 60.1)])
def test_fewer_or_slower_turns_are_no_flapping(minutes: tuple[float, ...]) -> None:
    row, told = after(*minutes)

    assert [TURNS[(len(minutes) - 1) % 2]] == told
    assert None is row.record.flapping_since


def test_down_after_late_is_no_further_turn() -> None:
    row, _ = after(0, 1, 2, 3, 4)

    same, told = damped(row, [event(EventKind.DOWN, NOON + HALF)], at=NOON + HALF)

    assert (row, [EventKind.DOWN]) == (same, [each.kind for each in told])


@pytest.mark.parametrize("kind", EventKind)
def test_only_turns_of_a_server_that_flaps_are_not_told(kind: EventKind) -> None:
    row, _ = after(0, 1, 2, 3, 4, 5)

    same, told = turned(row, kind, NOON + HALF)

    assert ([] if kind in [*TURNS, EventKind.DOWN] else [kind]) == told
    assert 6 + (kind in TURNS) == same.turns.total


def test_three_turns_are_flapping_when_the_budget_of_the_key_is_used_up() -> None:
    row, _ = after(0, 1)
    at = NOON + HALF
    late = [event(EventKind.LATE, at)]

    _, within = damped(row, late, at=at)
    flaps, beyond = damped(row, late, at=at, is_over_budget=True)

    assert ([EventKind.LATE], [EventKind.FLAPPING]) == (
        [each.kind for each in within],
        [each.kind for each in beyond],
    )
    assert (3, Turns((), 3)) == (beyond[0].details["turns"], flaps.turns)


def test_turns_from_before_the_budget_was_used_up_count() -> None:
    row, _ = after(0, 10, 20, 30, 40)
    at = NOON + timedelta(minutes=70)  # the last three of them are within an hour

    flaps, _ = damped(row, [event(EventKind.RECOVERED, at)], at=at, is_over_budget=True)

    assert NOON + timedelta(minutes=30) == flaps.record.flapping_since


def test_other_events_of_the_turn_that_begins_the_flapping_are_told() -> None:
    row, _ = after(0, 1, 2, 3, 4)
    at = NOON + HALF
    events = [event(EventKind.MOVED, at), event(EventKind.RECOVERED, at)]

    _, told = damped(row, events, at=at)

    assert [EventKind.MOVED, EventKind.FLAPPING] == [each.kind for each in told]
    assert {"turns": 6, "since": "2026-01-31T12:00:00Z"} == told[1].details


def test_a_server_is_calm_half_an_hour_after_its_last_turn() -> None:
    row, _ = after(0, 1, 2, 3, 4, 5)
    calm_at = NOON + timedelta(minutes=35)

    waits, nothing = calmed(row, now=calm_at - timedelta(microseconds=1), heard_since=NOON)
    calm, told = calmed(row, now=calm_at, heard_since=NOON)

    assert (microseconds(calm_at), []) == (waits.due_at, nothing)
    assert (None, Turns()) == (calm.record.flapping_since, calm.turns)
    assert [(EventKind.CALM, calm_at)] == [(each.kind, each.at) for each in told]
    assert {"turns": 6, "since": "2026-01-31T12:00:00Z", "state": "up"} == told[0].details


def test_end_of_flapping_of_a_superseded_server_says_so() -> None:
    row, _ = after(0, 1, 2, 3, 4, 5)
    gone = row._replace(record=evolve(row.record, superseded_by="b"))

    _, (calm,) = calmed(gone, now=NOON + HOUR, heard_since=NOON)

    assert "superseded" == calm.details["state"]


def test_time_in_which_no_receiver_ran_does_not_end_flapping() -> None:
    row, _ = after(0, 1, 2, 3, 4, 5)
    back = NOON + 10 * HOUR

    waits, told = calmed(row, now=back, heard_since=back)

    assert (microseconds(back + HALF), []) == (waits.due_at, told)


def test_due_check_before_the_end_of_flapping_stays_due() -> None:
    row, _ = after(0, 1, 2, 3, 4, 5)
    soon = microseconds(NOON + timedelta(minutes=6))

    waits, _ = calmed(row._replace(due_at=soon), now=NOON + 5 * HOUR / 60, heard_since=NOON)

    assert soon == waits.due_at


def test_server_that_does_not_flap_stays_as_it_is() -> None:
    assert (ROW, []) == calmed(ROW, now=NOON + 10 * HOUR, heard_since=NOON)


steps = st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(TURNS)), max_size=60)


@given(steps)
def test_random_turns_are_reported_rarely_and_all_counted(
    steps: list[tuple[int, EventKind]],
) -> None:
    """A list of all turns says the same: it shares no code with the rule."""
    row, now = ROW, NOON
    turns: list[datetime] = []
    is_flapping, counted, told = False, 0, 0
    for seconds, kind in steps:
        now += timedelta(seconds=seconds)
        row, calm = calmed(row, now=now, heard_since=NOON)
        if calm:
            assert is_flapping
            assert now - turns[-1] >= HALF
            assert calm[0].details["turns"] == counted
            is_flapping, turns = False, []
        else:
            assert not is_flapping or now - turns[-1] < HALF
        turns.append(now)
        row, kinds = turned(row, kind, now)
        if is_flapping:
            counted += 1
            assert [] == kinds
        elif len(turns) >= 6 and now - turns[-6] <= HOUR:
            is_flapping, counted = True, 6
            assert [EventKind.FLAPPING] == kinds
        else:
            assert [kind] == kinds
        told += len(kinds) + len(calm)
        assert is_flapping == (row.record.flapping_since is not None)
        assert len(row.turns.times) <= 6
    # Seven events tell of each time of flapping, and between two of them there is half an hour.
    assert told <= 7 * (1 + (now - NOON) / HALF) + 5 * (1 + (now - NOON) / HOUR)
