"""The states of a server, told from its events."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import Event, EventKind, ServerRecord, State
from receiver.history import History, Span

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
NAMES = ["up", "late", "down", "superseded"]


def at(hours: float) -> datetime:
    """So many hours after the server was first seen."""
    return NOON + timedelta(hours=hours)


def record(
    *, state: State = State.UP, state_since: datetime = NOON, superseded_by: str | None = None
) -> ServerRecord:
    return ServerRecord(
        server_id="a",
        first_seen=NOON,
        last_seen=NOON,
        state=state,
        state_since=state_since,
        superseded_by=superseded_by,
    )


def late(hours: float) -> Event:
    return Event(kind=EventKind.LATE, at=at(hours), server_id="a")


def down(hours: float) -> Event:
    return Event(kind=EventKind.DOWN, at=at(hours), server_id="a")


def rebuilt(hours: float, by: str = "b") -> Event:
    details = {"superseded_by": by}
    return Event(kind=EventKind.REBUILT, at=at(hours), server_id="a", details=details)


def recovered(hours: float, *, away: float = 0.0) -> Event:
    details = {"away_seconds": away * 3600}
    return Event(kind=EventKind.RECOVERED, at=at(hours), server_id="a", details=details)


def spans(history: History, window: timedelta) -> list[tuple[str, float, float]]:
    """With hours."""
    return [
        (each.state, (each.start - NOON) / timedelta(hours=1), (each.end - NOON) / DAY * 24)
        for each in history.spans(window)
    ]


# Of a day


def test_a_day_without_events_is_all_up() -> None:
    history = History.of(record(), [], at(100))

    assert [Span("up", at(76), at(100))] == history.spans(DAY)
    assert 1.0 == history.availability(DAY)


def test_a_day_with_a_silence_shows_it() -> None:
    history = History.of(record(), [late(80), down(82), recovered(86)], at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("down", 82, 86),
        ("up", 86, 100),
    ] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_a_silence_that_began_before_the_day_counts_for_its_part() -> None:
    history = History.of(record(), [late(10), down(12), recovered(88)], at(100))

    assert [("down", 76, 88), ("up", 88, 100)] == spans(history, DAY)
    assert 0.5 == history.availability(DAY)


def test_a_silence_that_goes_on_counts_until_now() -> None:
    history = History.of(record(state=State.LATE), [late(94)], at(100))

    assert [("up", 76, 94), ("late", 94, 100)] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_a_day_in_silence_is_none_available() -> None:
    history = History.of(record(state=State.DOWN), [late(1), down(2)], at(100))

    assert 0.0 == history.availability(DAY)


def test_only_the_time_since_it_was_first_seen_counts() -> None:
    history = History.of(record(state=State.LATE), [late(3)], at(4))

    assert [("up", 0, 3), ("late", 3, 4)] == spans(history, DAY)
    assert 0.75 == history.availability(DAY)


def test_a_silence_that_ends_where_the_day_begins_is_not_in_it() -> None:
    history = History.of(record(), [late(70), recovered(76)], at(100))

    assert [("up", 76, 100)] == spans(history, DAY)


def test_a_server_of_this_moment_has_no_availability() -> None:
    history = History.of(record(), [], NOON)

    assert [Span("up", NOON, NOON)] == history.spans(DAY)
    assert None is history.availability(DAY)


def test_time_in_which_it_was_superseded_does_not_count() -> None:
    history = History.of(record(), [late(80), rebuilt(82), recovered(94)], at(100))

    assert [
        ("up", 76, 80),
        ("late", 80, 82),
        ("superseded", 82, 94),
        ("up", 94, 100),
    ] == spans(history, DAY)
    assert 10 / 12 == history.availability(DAY)


def test_a_day_in_which_it_was_superseded_has_no_availability() -> None:
    history = History.of(record(superseded_by="b"), [rebuilt(2)], at(100))

    assert None is history.availability(DAY)


def test_another_successor_changes_nothing() -> None:
    history = History.of(record(superseded_by="c"), [rebuilt(80), rebuilt(90, "c")], at(100))

    assert [("up", 76, 80), ("superseded", 80, 100)] == spans(history, DAY)


def test_events_of_other_kinds_and_of_an_earlier_life_tell_nothing() -> None:
    moved = Event(kind=EventKind.MOVED, at=at(80), server_id="a")
    history = History.of(record(), [late(-5), down(-4), moved], at(100))

    assert [("up", 0, 100)] == spans(history, 30 * DAY)


def test_a_clock_that_was_set_back_makes_no_span_run_backwards() -> None:
    history = History.of(record(), [late(80), down(90), recovered(85)], at(70))

    assert [("up", 0, 80), ("late", 80, 90), ("down", 90, 90), ("up", 90, 90)] == spans(
        history, 30 * DAY
    )


# What is forgotten


def test_a_silence_whose_events_are_forgotten_is_known_from_the_record() -> None:
    history = History.of(record(state=State.DOWN, state_since=at(10)), [], at(100))

    assert [("up", 0, 10), ("down", 10, 100)] == spans(history, 30 * DAY)
    assert 0.0 == history.availability(DAY)


def test_a_rebuild_that_is_forgotten_does_not_count_as_silence() -> None:
    forgotten = record(state=State.LATE, state_since=at(10), superseded_by="b")
    history = History.of(forgotten, [], at(100))

    assert [("up", 0, 10), ("superseded", 10, 100)] == spans(history, 30 * DAY)
    assert None is history.availability(DAY)


def test_a_silence_that_ended_is_known_from_its_end() -> None:
    history = History.of(record(), [recovered(90, away=30)], at(100))

    assert [("up", 0, 60), ("down", 60, 90), ("up", 90, 100)] == spans(history, 30 * DAY)
    assert pytest.approx(10 / 24) == history.availability(DAY)


def test_a_silence_longer_than_is_known_begins_with_the_record() -> None:
    history = History.of(record(), [recovered(90, away=1000)], at(100))

    assert [("down", 0, 90), ("up", 90, 100)] == [
        each for each in spans(history, 30 * DAY) if each[1] != each[2]
    ]


def test_of_a_silence_half_forgotten_the_rest_is_told() -> None:
    history = History.of(record(state=State.DOWN), [down(95)], at(100))

    assert [("up", 76, 95), ("down", 95, 100)] == spans(history, DAY)


# Whatever happens


hours = st.floats(-50, 500)
lives = st.lists(
    st.builds(late, hours)
    | st.builds(down, hours)
    | st.builds(rebuilt, hours)
    | st.builds(lambda when, away: recovered(when, away=away), hours, st.floats(0, 500)),
    max_size=8,
)
records = st.builds(
    record,
    state=st.sampled_from(State),
    state_since=hours.map(at),
    superseded_by=st.sampled_from([None, "b"]),
)
nows = hours.map(at)
windows = st.timedeltas(timedelta(0), timedelta(days=40))


@given(record=records, events=lives, now=nows, window=windows)
def test_spans_follow_each_other_without_a_gap_until_now(
    record: ServerRecord, events: list[Event], now: datetime, window: timedelta
) -> None:
    found = History.of(record, events, now).spans(window)

    assert {each.state for each in found} <= {*NAMES}
    assert [each.end for each in found[:-1]] == [each.start for each in found[1:]]
    assert all(each.start <= each.end for each in found)
    if found:
        assert found[-1].end >= now
        assert found[-1].end - window <= found[0].start
        assert found[0].start >= record.first_seen


@given(record=records, events=lives, now=nows, window=windows)
def test_availability_is_a_part_or_unknown(
    record: ServerRecord, events: list[Event], now: datetime, window: timedelta
) -> None:
    history = History.of(record, events, now)

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

    part = History.of(record(), events, end).availability(end - NOON)

    assert part is not None
    assert up / (now + rest) == pytest.approx(part)
