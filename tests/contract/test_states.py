"""Liveness depends only on the record and the time."""

from copy import deepcopy
from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from contract import DEFAULT_INTERVAL_SECONDS, ServerRecord, State, interval, liveness
from strategies import intervals, moments, records

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
TICK = timedelta(microseconds=1)

HEARD = ServerRecord(
    server_id="prod_web-1",
    first_seen=NOON,
    registered_at=NOON,
    last_seen=NOON,
    heartbeat_count=1,
    state=State.UP,
    state_since=NOON,
)
REGISTERED = evolve(HEARD, heartbeat_count=0, state=State.NEW)

# The states from best to worst.
ORDER = [State.NEW, State.UP, State.LATE, State.DOWN]


def state(record: ServerRecord, **silent: float) -> State:
    return liveness(record, record.last_seen + timedelta(**silent))


def test_the_default_interval_is_a_minute() -> None:
    assert 60 == DEFAULT_INTERVAL_SECONDS


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, State.UP),
        (120, State.UP),
        (120.000001, State.LATE),
        (240, State.LATE),
        (240.000001, State.DOWN),
        (1e9, State.DOWN),
    ],
)
def test_silence_of_two_intervals_is_late_and_of_four_is_down(
    seconds: float, expected: State
) -> None:
    assert expected is state(HEARD, seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, State.NEW),
        (120, State.NEW),
        (120.000001, State.LATE),
        (240, State.LATE),
        (240.000001, State.DOWN),
    ],
)
def test_a_server_that_only_registered_is_new_until_it_is_late(
    seconds: float, expected: State
) -> None:
    assert expected is state(REGISTERED, seconds=seconds)


@pytest.mark.parametrize(
    ("declared", "up", "late"),
    [
        (300, 600, 1200),
        (300.0, 600, 1200),
        (0.5, 1, 2),
        (1.1, 2.2, 4.4),
        (86_400, 172_800, 345_600),
    ],
)
def test_the_declared_interval_sets_the_thresholds(declared: float, up: float, late: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    assert State.UP is state(record, seconds=up)
    assert State.LATE is state(record, seconds=up, microseconds=1)
    assert State.LATE is state(record, seconds=late)
    assert State.DOWN is state(record, seconds=late, microseconds=1)


@pytest.mark.parametrize("declared", [5e-324, 1e-9, 1e-7])
def test_an_interval_too_short_to_measure_is_over_at_once(declared: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    assert State.UP is state(record)
    assert State.DOWN is state(record, microseconds=1)


@pytest.mark.parametrize("declared", [1e10, 1e14, 1e300, 1.7976931348623157e308, 10**300])
def test_an_interval_longer_than_a_century_is_one_century(declared: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    assert timedelta(days=36_525) == interval(record)
    assert State.UP is state(record, days=73_050)
    assert State.LATE is state(record, days=73_050, microseconds=1)
    assert State.LATE is state(record, days=146_100)
    assert State.DOWN is state(record, days=146_100, microseconds=1)


@given(records())
def test_an_interval_is_as_declared_up_to_a_century(record: ServerRecord) -> None:
    seconds = 60 if (declared := record.heartbeat_interval_seconds) is None else declared

    assert timedelta(seconds=min(seconds, 3_155_760_000)) == interval(record)


@given(records(), moments(), st.sampled_from(State))
def test_liveness_ignores_the_stored_state(
    record: ServerRecord, now: datetime, noticed: State
) -> None:
    other = evolve(record, state=noticed, state_since=now, superseded_by="prod_web-2")

    assert liveness(record, now) is liveness(other, now)


@pytest.mark.parametrize("record", [HEARD, REGISTERED])
def test_a_clock_that_was_set_back_makes_no_server_late(record: ServerRecord) -> None:
    assert state(record) is state(record, days=-365)


@given(records(), moments())
def test_only_a_server_without_heartbeats_is_new(record: ServerRecord, now: datetime) -> None:
    if record.heartbeat_count:
        assert liveness(record, now) is not State.NEW
    else:
        assert liveness(record, now) is not State.UP


@given(records(), moments(), moments())
def test_liveness_never_improves_with_time(
    record: ServerRecord, one: datetime, other: datetime
) -> None:
    earlier, later = sorted(moment.astimezone(timezone.utc) for moment in [one, other])

    assert ORDER.index(liveness(record, earlier)) <= ORDER.index(liveness(record, later))


@given(intervals(), st.floats(0, 6))
def test_liveness_depends_on_the_number_of_silent_intervals(
    declared: float, intervals_of_silence: float
) -> None:
    assume(1e-3 <= declared <= 1e8)
    silence = timedelta(seconds=declared * intervals_of_silence)
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    nearly = timedelta(seconds=declared * 1e-9) + TICK
    expected = {
        State.UP: silence <= timedelta(seconds=2 * declared) + nearly,
        State.LATE: timedelta(seconds=2 * declared) - nearly
        < silence
        <= timedelta(seconds=4 * declared) + nearly,
        State.DOWN: silence > timedelta(seconds=4 * declared) - nearly,
    }

    assert expected[liveness(record, NOON + silence)]


@given(records(), moments())
def test_liveness_depends_only_on_record_and_time(record: ServerRecord, now: datetime) -> None:
    before = deepcopy(record)

    first = liveness(record, now)

    assert before == record
    assert first is liveness(before, now.astimezone(timezone.utc))


@pytest.mark.parametrize(
    ("state", "stale"),
    [(State.NEW, False), (State.UP, False), (State.LATE, True), (State.DOWN, True)],
)
def test_late_and_down_are_stale(state: State, *, stale: bool) -> None:
    assert stale is state.stale


def test_a_state_is_its_name() -> None:
    assert ["new", "up", "late", "down"] == [str(state.value) for state in State]
    assert State.LATE is State("late")


def test_a_moment_without_an_offset_tells_of_no_state() -> None:
    with pytest.raises(ValueError, match="expected a time with an offset"):
        liveness(HEARD, NOON.replace(tzinfo=None))
