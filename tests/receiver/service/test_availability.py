"""The states of a server, told from its events."""

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import EventKind, State
from receiver.domain.instants import microseconds
from receiver.service.availability import History, Span
from receiver.store import StateChange, StateLog

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
NAMES = ["up", "late", "down", "superseded"]


def at(hours: float) -> datetime:
    """So many hours after the server was first seen."""
    return NOON + timedelta(hours=hours)


def life(
    *turns: StateChange,
    state: State = State.UP,
    state_since: datetime = NOON,
    superseded: bool = False,
    away: float = 0.0,
) -> StateLog:
    return StateLog(
        first_seen=microseconds(NOON),
        state=state.value,
        state_since=microseconds(state_since),
        is_superseded=superseded,
        changes=turns,
        away_seconds=away * 3600,
    )


def told(life: StateLog, now: datetime, *others: StateLog) -> History:
    """All of the history."""
    return History.of([life, *others], since=NOON - 1000 * DAY, now=now)


def turn(kind: EventKind, hours: float) -> StateChange:
    return kind.value, microseconds(at(hours))


def late(hours: float) -> StateChange:
    return turn(EventKind.LATE, hours)


def down(hours: float) -> StateChange:
    return turn(EventKind.DOWN, hours)


def rebuilt(hours: float) -> StateChange:
    return turn(EventKind.REBUILT, hours)


def recovered(hours: float) -> StateChange:
    return turn(EventKind.RECOVERED, hours)


def spans(history: History, window: timedelta) -> list[tuple[str, float, float]]:
    """With hours."""
    return [
        (each.state, (each.start - NOON) / timedelta(hours=1), (each.end - NOON) / DAY * 24)
        for each in history.spans(window)
    ]


# Of a day


def test_a_day_without_events_is_all_up() -> None:
    history = told(life(), at(100))

    assert [Span("up", at(76), at(100))] == history.spans(DAY)
    assert 1.0 == history.availability(DAY)


def test_a_day_with_a_silence_shows_it() -> None:
    history = told(life(late(80), down(82), recovered(86)), at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("down", 82, 86),
        ("up", 86, 100),
    ] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_a_silence_that_began_before_the_day_counts_for_its_part() -> None:
    history = told(life(late(10), down(12), recovered(88)), at(100))

    assert [("down", 76, 88), ("up", 88, 100)] == spans(history, DAY)
    assert 0.5 == history.availability(DAY)


def test_a_silence_that_goes_on_counts_until_now() -> None:
    history = told(life(late(94), state=State.LATE), at(100))

    assert [("up", 76, 94), ("late", 94, 100)] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_a_day_in_silence_is_none_available() -> None:
    history = told(life(late(1), down(2), state=State.DOWN), at(100))

    assert 0.0 == history.availability(DAY)


def test_only_the_time_since_it_was_first_seen_counts() -> None:
    history = told(life(late(3), state=State.LATE), at(4))

    assert [("up", 0, 3), ("late", 3, 4)] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_a_silence_that_ends_where_the_day_begins_is_not_in_it() -> None:
    history = told(life(late(70), recovered(76)), at(100))

    assert [("up", 76, 100)] == spans(history, DAY)


def test_a_server_of_this_moment_has_no_availability() -> None:
    history = told(life(), NOON)

    assert [Span("up", NOON, NOON)] == history.spans(DAY)
    assert None is history.availability(DAY)


def test_time_in_which_it_was_superseded_does_not_count() -> None:
    history = told(life(late(80), rebuilt(82), recovered(94)), at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("superseded", 82, 94),
        ("up", 94, 100),
    ] == spans(history, DAY)
    assert 10 / 12 == history.availability(DAY)


def test_a_day_in_which_it_was_superseded_has_no_availability() -> None:
    history = told(life(rebuilt(2), superseded=True), at(100))

    assert None is history.availability(DAY)


def test_another_successor_changes_nothing() -> None:
    history = told(life(rebuilt(80), rebuilt(90), superseded=True), at(100))

    assert [("up", 76, 80), ("superseded", 80, 100)] == spans(history, DAY)


def test_events_of_an_earlier_life_tell_nothing() -> None:
    history = told(life(late(-5), down(-4)), at(100))

    assert [("up", 0, 100)] == spans(history, 30 * DAY)


def test_a_clock_that_was_set_back_makes_no_span_run_backwards() -> None:
    history = told(life(late(80), down(90), recovered(85)), at(70))

    assert [("up", 0, 80), ("late", 80, 90), ("down", 90, 90), ("up", 90, 90)] == spans(
        history, 30 * DAY
    )


# Of a database that went from one server to another


def after(hours: float, *turns: StateChange) -> StateLog:
    """The life of a server that began so late."""
    return evolve(life(*turns), first_seen=microseconds(at(hours)))


def test_a_silence_before_a_rebuild_counts() -> None:
    old = life(late(0.5), down(1), rebuilt(3.5), state=State.DOWN, superseded=True)
    history = told(after(3.5), at(4), old)

    assert [("up", 0, 0.5), ("late", 0.5, 1), ("down", 1, 3.5), ("up", 3.5, 4)] == spans(
        history, DAY
    )
    assert 0.25 == history.availability(DAY)
    assert pytest.approx(0.5 / 3.5) == told(old, at(4)).availability(DAY)


def test_while_two_overlap_one_that_is_up_is_enough() -> None:
    old = life(late(5), rebuilt(6), state=State.LATE, superseded=True)
    history = told(after(4, late(7), recovered(8)), at(10), old)

    assert [("up", 0, 7), ("late", 7, 8), ("up", 8, 10)] == spans(history, DAY)


def test_a_long_line_of_rebuilds_is_one_history() -> None:
    old = [after(day, late(day + 0.5), rebuilt(day + 1)) for day in range(900)]
    history = told(after(900), at(901), *old)

    assert 1 == len({each.state for each in history.spans(timedelta(hours=0.5))})
    assert 0.5 == pytest.approx(history.availability(timedelta(hours=900)), abs=1e-3)


# Of a part of the time


def test_a_history_tells_how_far_back_it_is_known() -> None:
    history = History.of([life()], since=at(76), now=at(100))

    assert (True, False) == (history.covers(DAY), history.covers(2 * DAY))
    assert [("up", 76, 100)] == spans(history, 30 * DAY)


def test_what_happened_before_it_says_how_it_begins() -> None:
    silent = life(down(10), recovered(88))

    assert [("down", 76, 88), ("up", 88, 100)] == spans(
        History.of([silent], since=at(76), now=at(100)), DAY
    )


def test_a_history_that_begins_in_the_future_has_no_length() -> None:
    history = History.of([life()], since=at(200), now=at(100))

    assert [("up", 0, 100)] == spans(history, 1000 * DAY)


# What is forgotten


def test_a_silence_whose_events_are_forgotten_is_known_from_the_record() -> None:
    history = told(life(state=State.DOWN, state_since=at(10)), at(100))

    assert [("up", 0, 10), ("down", 10, 100)] == spans(history, 30 * DAY)
    assert 0.0 == history.availability(DAY)


def test_a_rebuild_that_is_forgotten_does_not_count_as_silence() -> None:
    forgotten = life(state=State.LATE, state_since=at(10), superseded=True)
    history = told(forgotten, at(100))

    assert [("up", 0, 10), ("superseded", 10, 100)] == spans(history, 30 * DAY)
    assert None is history.availability(DAY)


def test_a_silence_that_ended_is_known_from_its_end() -> None:
    history = told(life(recovered(90), away=30), at(100))

    assert [("up", 0, 60), ("down", 60, 90), ("up", 90, 100)] == spans(history, 30 * DAY)
    assert pytest.approx(10 / 24) == history.availability(DAY)


def test_a_silence_longer_than_is_known_begins_with_the_record() -> None:
    history = told(life(recovered(90), away=1000), at(100))

    assert [("down", 0, 90), ("up", 90, 100)] == [
        each for each in spans(history, 30 * DAY) if each[1] != each[2]
    ]


def test_of_a_silence_half_forgotten_the_rest_is_told() -> None:
    history = told(life(down(95), state=State.DOWN), at(100))

    assert [("up", 76, 95), ("down", 95, 100)] == spans(history, DAY)


# Whatever happens


hours = st.floats(-50, 500)
turns = st.lists(
    st.builds(late, hours)
    | st.builds(down, hours)
    | st.builds(rebuilt, hours)
    | st.builds(recovered, hours),
    max_size=8,
)
lives = st.builds(
    lambda turns, first_seen, **more: evolve(life(*turns, **more), first_seen=first_seen),
    turns,
    first_seen=hours.map(at).map(microseconds),
    state=st.sampled_from(State),
    state_since=hours.map(at),
    superseded=st.booleans(),
    away=st.floats(0, 500),
)
nows = hours.map(at)
windows = st.timedeltas(timedelta(0), timedelta(days=40))


@given(lives=st.lists(lives, min_size=1, max_size=4), since=nows, now=nows, window=windows)
def test_spans_follow_each_other_without_a_gap_until_now(
    lives: list[StateLog], since: datetime, now: datetime, window: timedelta
) -> None:
    history = History.of(lives, since=since, now=now)
    found = history.spans(window)

    assert {each.state for each in found} <= {*NAMES}
    assert [each.end for each in found[:-1]] == [each.start for each in found[1:]]
    assert all(each.start <= each.end for each in found)
    assert all(one.state != other.state for one, other in pairwise(found))
    if found:
        assert found[-1].end >= now
        assert found[-1].end - window <= found[0].start
        assert microseconds(found[0].start) >= min(each.first_seen for each in lives)


@given(lives=st.lists(lives, min_size=1, max_size=4), now=nows, window=windows)
def test_availability_is_a_part_or_unknown(
    lives: list[StateLog], now: datetime, window: timedelta
) -> None:
    history = told(lives[0], now, *lives[1:])

    part = history.availability(window)

    seconds = dict.fromkeys(NAMES, 0.0)
    for each in history.spans(window):
        seconds[each.state] += (each.end - each.start).total_seconds()
    total = sum(seconds.values()) - seconds["superseded"]
    if part is None:
        assert 0 == total
    else:
        assert 0 <= part <= 1
        assert seconds["up"] == pytest.approx(part * total, abs=1e-3)


@given(lives=st.lists(lives, min_size=1, max_size=4), now=nows, moment=nows)
def test_a_database_is_at_each_moment_what_the_best_of_its_servers_is(
    lives: list[StateLog], now: datetime, moment: datetime
) -> None:
    each = [state_at(told(life, now), moment) for life in lives]

    known = [state for state in each if state is not None]
    if moment < now:
        best = min(known, key=NAMES.index, default=None)
        assert best == state_at(told(lives[0], now, *lives[1:]), moment)


def state_at(history: History, moment: datetime) -> str | None:
    found = [each for each in history.spans(1000 * DAY) if each.start <= moment < each.end]
    return found[0].state if found else None


@given(life=lives, since=nows, now=nows, moment=nows)
def test_a_part_of_a_history_is_the_same_as_the_whole(
    life: StateLog, since: datetime, now: datetime, moment: datetime
) -> None:
    part = History.of([life], since=since, now=now)

    if since <= moment < now:
        assert state_at(told(life, now), moment) == state_at(part, moment)


@given(
    silences=st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0.1, 5))),
    rest=st.floats(0.1, 5),
)
def test_time_in_each_state_is_what_it_was(
    silences: list[tuple[float, float, float]], rest: float
) -> None:
    """Up for so long, then late, then down, again and again; then up."""
    events, now, up = [], 0.0, rest
    for before, late_for, down_for in silences:
        moments = (now + before, now + before + late_for, now + before + late_for + down_for)
        events += [late(moments[0]), down(moments[1]), recovered(moments[2])]
        now, up = moments[2], up + before
    end = at(now + rest)

    part = told(life(*events), end).availability(end - NOON)

    assert part is not None
    assert up / (now + rest) == pytest.approx(part)
