"""Silent servers are late and down, and recover when they are heard again."""

from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import given

from changed import MINUTE, NOON, WEB, details_by_kind, heard, registered
from contract import ServerRecord, State
from strategies import changed_records


def stands_for_itself(record: ServerRecord) -> bool:
    return (record.superseded_by, record.node_of) == (None, None)


@given(changed_records())
def test_only_a_silent_server_that_stands_for_itself_causes_an_alarm(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    happened = details_by_kind(before, after)

    for state in (State.LATE, State.DOWN):
        was_so = before.state is state and stands_for_itself(before)
        falls = after.state is state and stands_for_itself(after) and not was_so
        assert falls == (state.value in happened)


@given(changed_records())
def test_a_server_that_is_heard_again_and_was_no_node_causes_a_recovered_event(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    away, here = {State.LATE, State.DOWN, State.LEFT}, {State.NEW, State.UP}
    is_back = before.state in away and after.state in here and before.node_of is None

    assert is_back == ("recovered" in details_by_kind(before, after))


@given(changed_records())
def test_away_seconds_are_never_negative(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = pair
    recovered = details_by_kind(before, after).get("recovered", {"away_seconds": 0.0})

    assert recovered["away_seconds"] >= 0


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_a_server_that_a_node_brings_back_was_away_since_its_silence_was_noticed(
    state: State,
) -> None:
    silent = evolve(WEB, state=state, state_since=NOON - timedelta(seconds=40))
    back = evolve(silent, state=State.UP, state_since=NOON)

    assert {"recovered": {"away_seconds": 40.0}} == details_by_kind(silent, back)


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
@pytest.mark.parametrize("before", [State.NEW, State.UP])
def test_late_and_down_have_the_time_of_the_last_message(before: State, state: State) -> None:
    record = evolve(WEB, state=before)

    assert {state.value: {"last_seen": "2026-01-31T11:59:00Z"}} == details_by_kind(
        record, evolve(record, state=state, state_since=NOON)
    )


def test_a_late_server_that_goes_down_causes_another_event() -> None:
    late = evolve(WEB, state=State.LATE)

    assert ["down"] == [*details_by_kind(late, evolve(late, state=State.DOWN, state_since=NOON))]


def test_a_server_that_stays_down_causes_no_event() -> None:
    down = evolve(WEB, state=State.DOWN)

    assert {} == details_by_kind(down, evolve(down, state_since=NOON))


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_recovered_has_the_time_without_a_message(state: State) -> None:
    silent = evolve(WEB, state=state, last_seen=NOON - timedelta(seconds=301.5))

    assert {"recovered": {"away_seconds": 301.5}} == details_by_kind(silent, heard(silent))


def test_a_server_that_registers_again_recovers() -> None:
    down = evolve(WEB, state=State.DOWN, heartbeat_count=0)

    assert {"recovered": {"away_seconds": 60.0}} == details_by_kind(down, registered(down))


def test_away_seconds_are_zero_when_the_clock_is_behind() -> None:
    down = evolve(WEB, state=State.DOWN, last_seen=NOON + MINUTE)

    assert {"recovered": {"away_seconds": 0.0}} == details_by_kind(down, heard(down))
