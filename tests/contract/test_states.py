"""Liveness depends only on the record and the time."""

from copy import deepcopy
from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import DEFAULT_INTERVAL_SECONDS, ServerRecord, State, interval, liveness, patience
from server_records import server_record
from strategies import moments, records

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
TICK = timedelta(microseconds=1)

HEARD = server_record("prod_web-1", at=NOON, registered_at=NOON, heartbeat_count=1, state=State.UP)
REGISTERED = evolve(HEARD, heartbeat_count=0, state=State.NEW)

# The states from best to worst.
ORDER = [State.NEW, State.UP, State.LATE, State.DOWN, State.LEFT]


def state(record: ServerRecord, **silent: float) -> State:
    return liveness(record, record.last_seen + timedelta(**silent))


def test_the_intervals_of_patience_are_a_keyword_argument() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        patience(HEARD, 2)  # type: ignore[call-arg]  # which is tested


def test_the_default_interval_is_a_minute() -> None:
    assert 60 == DEFAULT_INTERVAL_SECONDS


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, State.UP),
        (135, State.UP),
        (135.000001, State.LATE),
        (255, State.LATE),
        (255.000001, State.DOWN),
        (1e9, State.DOWN),
    ],
)
def test_silence_of_more_than_two_intervals_is_late_and_of_four_is_down(
    seconds: float, expected: State
) -> None:
    assert expected is state(HEARD, seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, State.NEW),
        (135, State.NEW),
        (135.000001, State.LATE),
        (255, State.LATE),
        (255.000001, State.DOWN),
    ],
)
def test_a_server_that_only_registered_is_new_until_it_is_late(
    seconds: float, expected: State
) -> None:
    assert expected is state(REGISTERED, seconds=seconds)


@pytest.mark.parametrize(
    ("declared", "up", "late"),
    [
        (300, 675, 1275),
        (300.0, 675, 1275),
        (20, 45, 85),
        (10, 25, 45),  # the tolerance is 5 s at least
        (5.5, 16, 27),
        (86_400, 194_400, 367_200),
    ],
)
def test_the_declared_interval_sets_the_thresholds(declared: float, up: float, late: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    assert State.UP is state(record, seconds=up)
    assert State.LATE is state(record, seconds=up, microseconds=1)
    assert State.LATE is state(record, seconds=late)
    assert State.DOWN is state(record, seconds=late, microseconds=1)


@pytest.mark.parametrize("seconds", [62.5, 63, 126, 128])
def test_a_minute_that_odoo_skips_is_not_late(seconds: float) -> None:
    assert State.UP is state(evolve(HEARD, heartbeat_interval_seconds=60.0), seconds=seconds)


@pytest.mark.parametrize("declared", [5e-324, 1e-9, 0.5, 4.999, 5])
def test_an_interval_of_less_than_five_seconds_is_judged_as_five(declared: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    assert timedelta(seconds=5) == interval(record)
    assert State.UP is state(record, seconds=15)
    assert State.LATE is state(record, seconds=15, microseconds=1)
    assert State.DOWN is state(record, seconds=25, microseconds=1)


@pytest.mark.parametrize("declared", [604_800, 1e10, 1e300, 1.7976931348623157e308, 10**300])
def test_an_interval_of_more_than_a_week_is_judged_as_a_week(declared: float) -> None:
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    assert timedelta(days=7) == interval(record)
    assert State.UP is state(record, days=15.75)
    assert State.LATE is state(record, days=15.75, microseconds=1)
    assert State.DOWN is state(record, days=29.75, microseconds=1)


@given(records())
def test_an_interval_is_as_declared_from_five_seconds_to_a_week(record: ServerRecord) -> None:
    seconds = 60 if (declared := record.heartbeat_interval_seconds) is None else declared

    assert timedelta(seconds=min(max(seconds, 5), 604_800)) == interval(record)


@given(
    records().filter(lambda record: record.state is not State.LEFT),
    moments(),
    st.sampled_from([State.NEW, State.UP, State.LATE, State.DOWN]),
)
def test_liveness_ignores_the_stored_state_of_a_server_that_has_not_left(
    record: ServerRecord, now: datetime, noticed: State
) -> None:
    other = evolve(record, state=noticed, state_since=now, superseded_by="prod_web-2")

    assert liveness(record, now) is liveness(other, now)


@pytest.mark.parametrize("seconds", [-1e9, 0, 136, 256, 1e9])
@pytest.mark.parametrize("record", [HEARD, REGISTERED])
def test_a_server_that_has_left_stays_left(record: ServerRecord, seconds: float) -> None:
    assert State.LEFT is state(evolve(record, state=State.LEFT), seconds=seconds)


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


@given(st.floats(20, 604_800), st.floats(0, 6))
def test_liveness_depends_on_the_number_of_silent_intervals(
    declared: float, intervals_of_silence: float
) -> None:
    silence = timedelta(seconds=declared * intervals_of_silence)
    record = evolve(HEARD, heartbeat_interval_seconds=declared)

    nearly = timedelta(seconds=declared * 1e-9) + TICK
    up, late = timedelta(seconds=2.25 * declared), timedelta(seconds=4.25 * declared)
    expected = {
        State.UP: silence <= up + nearly,
        State.LATE: up - nearly < silence <= late + nearly,
        State.DOWN: silence > late - nearly,
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
    [
        (State.NEW, False),
        (State.UP, False),
        (State.LATE, True),
        (State.DOWN, True),
        (State.LEFT, False),
    ],
)
def test_late_and_down_are_stale(state: State, *, stale: bool) -> None:
    assert stale is state.stale


@pytest.mark.parametrize(
    ("state", "heard"),
    [
        (State.NEW, True),
        (State.UP, True),
        (State.LATE, False),
        (State.DOWN, False),
        (State.LEFT, False),
    ],
)
def test_new_and_up_are_heard(state: State, *, heard: bool) -> None:
    assert heard is state.is_heard


def test_a_state_equals_its_name() -> None:
    assert ["new", "up", "late", "down", "left"] == [str(state.value) for state in State]
    assert State.LATE is State("late")


@pytest.mark.parametrize("record", [HEARD, evolve(HEARD, state=State.LEFT)])
def test_a_moment_without_an_offset_tells_of_no_state(record: ServerRecord) -> None:
    with pytest.raises(ValueError, match="expected a time with an offset"):
        liveness(record, NOON.replace(tzinfo=None))
