"""Availability: the states of a server over time, computed from its state log."""

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import EventKind, State
from receiver.domain.history import StateChange, StateLog
from receiver.domain.instants import microseconds
from receiver.service.availability import History, Span

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
NAMES = ["up", "flapping", "late", "down", "left", "superseded"]  # the best one first


def at(hours: float) -> datetime:
    """The time so many hours after the server was first seen."""
    return NOON + timedelta(hours=hours)


def state_log(
    *changes: StateChange,
    state: State = State.UP,
    state_since: datetime = NOON,
    superseded: bool = False,
    flapping_since: datetime | None = None,
    away_hours: float = 0.0,
) -> StateLog:
    return StateLog(
        first_seen=microseconds(NOON),
        state=state.value,
        state_since=microseconds(state_since),
        is_superseded=superseded,
        flapping_since=None if flapping_since is None else microseconds(flapping_since),
        changes=changes,
        away_seconds=away_hours * 3600,
    )


def history_of(state_log: StateLog, now: datetime, *others: StateLog) -> History:
    """The whole history of a server and of the servers that it supersedes."""
    return History.of([state_log, *others], since=NOON - 1000 * DAY, now=now)


def change(kind: EventKind, hours: float) -> StateChange:
    return kind.value, microseconds(at(hours))


def late(hours: float) -> StateChange:
    return change(EventKind.LATE, hours)


def down(hours: float) -> StateChange:
    return change(EventKind.DOWN, hours)


def rebuilt(hours: float) -> StateChange:
    return change(EventKind.REBUILT, hours)


def recovered(hours: float) -> StateChange:
    return change(EventKind.RECOVERED, hours)


def flapping(hours: float) -> StateChange:
    return change(EventKind.FLAPPING, hours)


def calm(hours: float) -> StateChange:
    return change(EventKind.CALM, hours)


def spans(history: History, window: timedelta) -> list[tuple[str, float, float]]:
    """The spans of a history, with starts and ends in hours."""
    return [
        (each.state, (each.start - NOON) / timedelta(hours=1), (each.end - NOON) / DAY * 24)
        for each in history.spans(window)
    ]


# Availability of a day


def test_day_without_events_is_all_up() -> None:
    history = history_of(state_log(), at(100))

    assert [Span("up", at(76), at(100))] == history.spans(DAY)
    assert 1.0 == history.availability(DAY)


def test_day_with_a_silence_has_its_spans() -> None:
    history = history_of(state_log(late(80), down(82), recovered(86)), at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("down", 82, 86),
        ("up", 86, 100),
    ] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_silence_from_before_the_day_counts_for_its_part() -> None:
    history = history_of(state_log(late(10), down(12), recovered(88)), at(100))

    assert [("down", 76, 88), ("up", 88, 100)] == spans(history, DAY)
    assert 0.5 == history.availability(DAY)


def test_ongoing_silence_counts_as_unavailable_until_now() -> None:
    history = history_of(state_log(late(94), state=State.LATE), at(100))

    assert [("up", 76, 94), ("late", 94, 100)] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_day_in_silence_has_availability_zero() -> None:
    history = history_of(state_log(late(1), down(2), state=State.DOWN), at(100))

    assert 0.0 == history.availability(DAY)


def test_availability_counts_from_first_seen() -> None:
    history = history_of(state_log(late(3), state=State.LATE), at(4))

    assert [("up", 0, 3), ("late", 3, 4)] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_silence_that_ends_at_the_start_of_the_day_is_left_out() -> None:
    history = history_of(state_log(late(70), recovered(76)), at(100))

    assert [("up", 76, 100)] == spans(history, DAY)


def test_server_of_this_moment_has_no_availability() -> None:
    history = history_of(state_log(), NOON)

    assert [Span("up", NOON, NOON)] == history.spans(DAY)
    assert None is history.availability(DAY)


def test_superseded_time_does_not_count() -> None:
    history = history_of(state_log(late(80), rebuilt(82), recovered(94)), at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("superseded", 82, 94),
        ("up", 94, 100),
    ] == spans(history, DAY)
    assert 10 / 12 == history.availability(DAY)


def test_superseded_day_has_no_availability() -> None:
    history = history_of(state_log(rebuilt(2), superseded=True), at(100))

    assert None is history.availability(DAY)


def test_second_rebuild_keeps_the_superseded_span() -> None:
    history = history_of(state_log(rebuilt(80), rebuilt(90), superseded=True), at(100))

    assert [("up", 76, 80), ("superseded", 80, 100)] == spans(history, DAY)


def test_events_from_before_first_seen_are_ignored() -> None:
    history = history_of(state_log(late(-5), down(-4)), at(100))

    assert [("up", 0, 100)] == spans(history, 30 * DAY)


def test_clock_set_back_makes_no_negative_span() -> None:
    history = history_of(state_log(late(80), down(90), recovered(85)), at(70))

    assert [("up", 0, 80), ("late", 80, 90), ("down", 90, 90), ("up", 90, 90)] == spans(
        history, 30 * DAY
    )


# Rebuilds: a history of several servers


def after(hours: float, *changes: StateChange) -> StateLog:
    """The state log of a server that was first seen so many hours after noon."""
    return evolve(state_log(*changes), first_seen=microseconds(at(hours)))


def test_silence_before_a_rebuild_counts() -> None:
    old = state_log(late(0.5), down(1), rebuilt(3.5), state=State.DOWN, superseded=True)
    history = history_of(after(3.5), at(4), old)

    assert [("up", 0, 0.5), ("late", 0.5, 1), ("down", 1, 3.5), ("up", 3.5, 4)] == spans(
        history, DAY
    )
    assert 0.25 == history.availability(DAY)
    assert pytest.approx(0.5 / 3.5) == history_of(old, at(4)).availability(DAY)


def test_overlapping_servers_are_up_when_one_is_up() -> None:
    old = state_log(late(5), rebuilt(6), state=State.LATE, superseded=True)
    history = history_of(after(4, late(7), recovered(8)), at(10), old)

    assert [("up", 0, 7), ("late", 7, 8), ("up", 8, 10)] == spans(history, DAY)


def test_nine_hundred_rebuilds_make_one_history() -> None:
    old = [after(day, late(day + 0.5), rebuilt(day + 1)) for day in range(900)]
    history = history_of(after(900), at(901), *old)

    assert 1 == len({each.state for each in history.spans(timedelta(hours=0.5))})
    assert 0.5 == pytest.approx(history.availability(timedelta(hours=900)), abs=1e-3)


# Histories that start late


def test_history_covers_only_the_time_since_its_start() -> None:
    history = History.of([state_log()], since=at(76), now=at(100))

    assert (True, False) == (history.covers(DAY), history.covers(2 * DAY))
    assert [("up", 76, 100)] == spans(history, 30 * DAY)


def test_history_starts_with_the_state_of_the_last_earlier_event() -> None:
    silent = state_log(down(10), recovered(88))

    assert [("down", 76, 88), ("up", 88, 100)] == spans(
        History.of([silent], since=at(76), now=at(100)), DAY
    )


def test_history_with_a_start_in_the_future_has_one_span() -> None:
    history = History.of([state_log()], since=at(200), now=at(100))

    assert [("up", 0, 100)] == spans(history, 1000 * DAY)


# Trimmed events


def test_silence_without_events_comes_from_the_record() -> None:
    history = history_of(state_log(state=State.DOWN, state_since=at(10)), at(100))

    assert [("up", 0, 10), ("down", 10, 100)] == spans(history, 30 * DAY)
    assert 0.0 == history.availability(DAY)


def test_rebuild_without_events_does_not_count_as_silence() -> None:
    trimmed = state_log(state=State.LATE, state_since=at(10), superseded=True)
    history = history_of(trimmed, at(100))

    assert [("up", 0, 10), ("superseded", 10, 100)] == spans(history, 30 * DAY)
    assert None is history.availability(DAY)


def test_silence_without_a_start_comes_from_its_recovered_event() -> None:
    history = history_of(state_log(recovered(90), away_hours=30), at(100))

    assert [("up", 0, 60), ("down", 60, 90), ("up", 90, 100)] == spans(history, 30 * DAY)
    assert pytest.approx(10 / 24) == history.availability(DAY)


def test_silence_longer_than_the_record_starts_at_first_seen() -> None:
    history = history_of(state_log(recovered(90), away_hours=1000), at(100))

    assert [("down", 0, 90), ("up", 90, 100)] == [
        each for each in spans(history, 30 * DAY) if each[1] != each[2]
    ]


def test_silence_without_its_late_event_starts_with_down() -> None:
    history = history_of(state_log(down(95), state=State.DOWN), at(100))

    assert [("up", 76, 95), ("down", 95, 100)] == spans(history, DAY)


# Servers that have said that they send no more


def test_time_after_a_server_has_left_does_not_count() -> None:
    log = state_log(late(80), recovered(82), state=State.LEFT, state_since=at(90))
    history = history_of(log, at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("up", 82, 90),
        ("left", 90, 100),
    ] == spans(history, DAY)
    assert pytest.approx(1 - 2 / 14) == history.availability(DAY)
    assert history.availability(timedelta(hours=9)) is None


# Flapping


def test_time_of_flapping_does_not_count() -> None:
    history = history_of(state_log(late(80), flapping(82), calm(94)), at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("flapping", 82, 94),
        ("up", 94, 100),
    ] == spans(history, DAY)
    assert pytest.approx(1 - 2 / 12) == history.availability(DAY)


def test_day_of_flapping_has_no_availability() -> None:
    log = state_log(flapping(2), flapping_since=at(1))

    assert None is history_of(log, at(100)).availability(DAY)


def test_server_that_left_long_after_it_was_calm_was_up_meanwhile() -> None:
    changes = (flapping(80), calm(82))
    history = history_of(state_log(*changes, state=State.LEFT, state_since=at(95)), at(100))

    assert [("up", 82, 95), ("left", 95, 100)] == spans(history, DAY)[-2:]


@pytest.mark.parametrize(
    ("later", "state", "expected"),
    [
        ([], State.UP, "up"),
        ([], State.LEFT, "left"),
        ([], State.LATE, "late"),
        ([], State.DOWN, "down"),
        ([late(95)], State.LATE, "up"),
        ([flapping(95)], State.UP, "up"),
        ([down(95)], State.DOWN, "late"),
        ([recovered(95)], State.UP, "down"),
        ([rebuilt(95)], State.DOWN, "down"),
    ],
)
def test_state_after_flapping_is_told_by_the_next_event_or_the_record(
    later: list[StateChange], state: State, expected: str
) -> None:
    history = history_of(state_log(flapping(80), calm(90), *later, state=state), at(100))

    assert (expected, 90) == spans(history, DAY)[2][:2]


def test_server_that_was_rebuilt_while_it_flapped_is_superseded_afterwards() -> None:
    log = state_log(flapping(80), calm(90), state=State.DOWN, superseded=True)

    assert ("superseded", 90, 100) == spans(history_of(log, at(100)), DAY)[-1]


def test_flapping_without_its_first_event_reaches_back() -> None:
    history = history_of(state_log(calm(90)), at(100))

    assert [("flapping", 76, 90), ("up", 90, 100)] == spans(history, DAY)


def test_flapping_without_any_event_begins_when_the_record_says() -> None:
    history = history_of(state_log(state=State.DOWN, flapping_since=at(80)), at(100))

    assert [("up", 76, 80), ("flapping", 80, 100)] == spans(history, DAY)


# Random state logs


hours = st.floats(-50, 500)
changes = st.lists(
    st.builds(late, hours)
    | st.builds(down, hours)
    | st.builds(rebuilt, hours)
    | st.builds(recovered, hours)
    | st.builds(flapping, hours)
    | st.builds(calm, hours),
    max_size=8,
)
state_logs = st.builds(
    lambda changes, first_seen, **more: evolve(state_log(*changes, **more), first_seen=first_seen),
    changes,
    first_seen=hours.map(at).map(microseconds),
    state=st.sampled_from(State),
    state_since=hours.map(at),
    superseded=st.booleans(),
    flapping_since=st.none() | hours.map(at),
    away_hours=st.floats(0, 500),
)
nows = hours.map(at)
windows = st.timedeltas(timedelta(0), timedelta(days=40))


@given(
    state_logs=st.lists(state_logs, min_size=1, max_size=4), since=nows, now=nows, window=windows
)
def test_spans_are_contiguous_until_now(
    state_logs: list[StateLog], since: datetime, now: datetime, window: timedelta
) -> None:
    history = History.of(state_logs, since=since, now=now)
    found = history.spans(window)

    assert {each.state for each in found} <= {*NAMES}
    assert [each.end for each in found[:-1]] == [each.start for each in found[1:]]
    assert all(each.start <= each.end for each in found)
    assert all(one.state != other.state for one, other in pairwise(found))
    if found:
        assert found[-1].end >= now
        assert found[-1].end - window <= found[0].start
        assert microseconds(found[0].start) >= min(each.first_seen for each in state_logs)


@given(state_logs=st.lists(state_logs, min_size=1, max_size=4), now=nows, window=windows)
def test_availability_is_the_up_share_or_none(
    state_logs: list[StateLog], now: datetime, window: timedelta
) -> None:
    history = history_of(state_logs[0], now, *state_logs[1:])

    part = history.availability(window)

    time = dict.fromkeys(NAMES, timedelta())
    for each in history.spans(window):
        time[each.state] += each.end - each.start
    uncounted = time["superseded"] + time["flapping"] + time["left"]
    total = sum(time.values(), timedelta()) - uncounted
    if part is None:
        assert not total
    else:
        assert 0 <= part <= 1
        assert time["up"].total_seconds() == pytest.approx(part * total.total_seconds(), abs=1e-3)


@given(state_logs=st.lists(state_logs, min_size=1, max_size=4), now=nows, window=windows)
def test_availability_between_two_instants_is_that_of_a_window_between_them(
    state_logs: list[StateLog], now: datetime, window: timedelta
) -> None:
    history = history_of(state_logs[0], now, *state_logs[1:])
    end = max([now, *(span.end for span in history.spans(window))])

    assert history.availability(window) == history.availability_between(end - window, end)


def test_availability_of_an_earlier_week_leaves_out_what_came_later() -> None:
    log = state_log(late(6), down(12), recovered(18), late(30))
    history = history_of(log, at(48))

    assert 0.5 == history.availability_between(at(0), at(24))
    assert 0.25 == history.availability_between(at(24), at(48))
    assert None is history.availability_between(at(-24), at(0))


@given(state_logs=st.lists(state_logs, min_size=1, max_size=4), now=nows, moment=nows)
def test_state_of_a_history_is_the_best_of_its_servers(
    state_logs: list[StateLog], now: datetime, moment: datetime
) -> None:
    each = [state_at(history_of(state_log, now), moment) for state_log in state_logs]

    known = [state for state in each if state is not None]
    if moment < now:
        best = min(known, key=NAMES.index, default=None)
        assert best == state_at(history_of(state_logs[0], now, *state_logs[1:]), moment)


def state_at(history: History, moment: datetime) -> str | None:
    found = [each for each in history.spans(1000 * DAY) if each.start <= moment < each.end]
    return found[0].state if found else None


@given(state_log=state_logs, since=nows, now=nows, moment=nows)
def test_partial_history_agrees_with_the_whole(
    state_log: StateLog, since: datetime, now: datetime, moment: datetime
) -> None:
    part = History.of([state_log], since=since, now=now)

    if since <= moment < now:
        assert state_at(history_of(state_log, now), moment) == state_at(part, moment)


@given(
    silences=st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0.1, 5))),
    rest=st.floats(0.1, 5),
)
def test_availability_of_random_silences_is_the_up_share(
    silences: list[tuple[float, float, float]], rest: float
) -> None:
    """A server that is up, late and down in change for random times, and up at the end."""
    events, now, up = [], 0.0, rest
    for before, late_for, down_for in silences:
        moments = (now + before, now + before + late_for, now + before + late_for + down_for)
        events += [late(moments[0]), down(moments[1]), recovered(moments[2])]
        now, up = moments[2], up + before
    end = at(now + rest)

    part = history_of(state_log(*events), end).availability(end - NOON)

    assert part is not None
    assert up / (now + rest) == pytest.approx(part)
