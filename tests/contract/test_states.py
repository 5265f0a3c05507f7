"""Whether a server is alive: a matter of its record and the time alone."""

from copy import deepcopy
from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from contract import DEFAULT_INTERVAL_SECONDS, ServerRecord, State, liveness
from strategies import intervals, moments, records

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
TICK = timedelta(microseconds=1)

HEARD = ServerRecord(
    server_id="prod_web-1",
    first_seen=NOON,
    registered_at=NOON,
    last_seen=NOON,
    heartbeat_count=1,
)
REGISTERED = evolve(HEARD, heartbeat_count=0)

# From best to worst.
ORDER = [State.NEW, State.UP, State.LATE, State.DOWN]


def state(record: ServerRecord, **silent: float) -> State:
    return liveness(record, record.last_seen + timedelta(**silent))


def test_a_server_without_a_declared_interval_has_a_minute() -> None:
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
    ("interval", "up", "late"),
    [
        (300, 600, 1200),
        (300.0, 600, 1200),
        (0.5, 1, 2),
        (1.1, 2.2, 4.4),
        (86_400, 172_800, 345_600),
    ],
)
def test_the_declared_interval_counts(interval: float, up: float, late: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=interval)

    assert State.UP is state(record, seconds=up)
    assert State.LATE is state(record, seconds=up, microseconds=1)
    assert State.LATE is state(record, seconds=late)
    assert State.DOWN is state(record, seconds=late, microseconds=1)


@pytest.mark.parametrize("interval", [5e-324, 1e-9, 1e-7])
def test_an_interval_too_short_to_measure_is_over_at_once(interval: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=interval)

    assert State.UP is state(record)
    assert State.DOWN is state(record, microseconds=1)


@pytest.mark.parametrize("interval", [1e14, 1e300, 1.7976931348623157e308, 10**300])
def test_an_interval_longer_than_time_is_never_over(interval: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=interval)

    assert State.UP is liveness(record, datetime.max.replace(tzinfo=timezone.utc))


@pytest.mark.parametrize("record", [HEARD, REGISTERED])
def test_a_clock_that_went_back_makes_nobody_late(record: ServerRecord) -> None:
    assert state(record) is state(record, days=-365)


@given(records(), moments())
def test_only_a_server_never_heard_is_new(record: ServerRecord, now: datetime) -> None:
    if record.heartbeat_count:
        assert liveness(record, now) is not State.NEW
    else:
        assert liveness(record, now) is not State.UP


@given(records(), moments(), moments())
def test_with_time_a_state_only_gets_worse(
    record: ServerRecord, one: datetime, other: datetime
) -> None:
    earlier, later = sorted(moment.astimezone(timezone.utc) for moment in [one, other])

    assert ORDER.index(liveness(record, earlier)) <= ORDER.index(liveness(record, later))


@given(intervals(), st.floats(0, 6))
def test_silence_counts_in_intervals(interval: float, intervals_of_silence: float) -> None:
    assume(1e-3 <= interval <= 1e8)
    silence = timedelta(seconds=interval * intervals_of_silence)
    record = evolve(HEARD, heartbeat_interval_seconds=interval)

    nearly = timedelta(seconds=interval * 1e-9) + TICK
    expected = {
        State.UP: silence <= timedelta(seconds=2 * interval) + nearly,
        State.LATE: timedelta(seconds=2 * interval) - nearly
        < silence
        <= timedelta(seconds=4 * interval) + nearly,
        State.DOWN: silence > timedelta(seconds=4 * interval) - nearly,
    }

    assert expected[liveness(record, NOON + silence)]


@given(records(), moments())
def test_the_state_depends_on_record_and_time_alone(record: ServerRecord, now: datetime) -> None:
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
