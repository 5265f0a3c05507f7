"""The farewell of a server, and what is heard of the server after it."""

from datetime import datetime

import pytest
from attrs import evolve
from hypothesis import given

from changed import NOON, WEB, heard, registered, told_by_heartbeat, told_by_registration
from contract import ServerRecord, State, changes
from strategies import moments, records

LEFT = {"left": {"last_seen": "2026-01-31T12:00:00Z"}}


def test_a_farewell_is_left_and_nothing_else() -> None:
    assert LEFT == told_by_heartbeat(
        WEB,
        status="uninstalled",
        capabilities=(),
        version="2.0.0",
        timestamp=NOON,
        uptime_seconds=1.0,
        started_at=NOON,
    )


@pytest.mark.parametrize("state", [State.NEW, State.UP, State.LATE, State.DOWN])
def test_a_farewell_is_left_in_every_state(state: State) -> None:
    assert LEFT == told_by_heartbeat(evolve(WEB, state=state), status="uninstalled")


def test_a_repeated_farewell_causes_no_event() -> None:
    gone = heard(WEB, status="uninstalled", capabilities=())

    assert {} == told_by_heartbeat(gone, status="uninstalled", capabilities=())


def test_a_farewell_of_an_unknown_server_is_registered_and_left() -> None:
    details = told_by_heartbeat(None, status="uninstalled")

    assert {"registered": {}} | LEFT == details
    assert ["registered", "left"] == [*details]


@given(records(), moments())
def test_an_unknown_server_that_has_left_is_registered_and_left(
    record: ServerRecord, at: datetime
) -> None:
    gone = evolve(record, state=State.LEFT)

    assert ["registered", "left"] == [event.kind.value for event in changes(None, gone, at=at)]


def test_a_server_that_is_heard_after_its_farewell_recovers() -> None:
    gone = evolve(WEB, state=State.LEFT, status="uninstalled", capabilities=())

    assert {"recovered": {"away_seconds": 60.0}} == told_by_heartbeat(
        gone, status="healthy", capabilities=("create", "search")
    )


def test_a_server_that_registers_after_its_farewell_recovers() -> None:
    gone = evolve(WEB, state=State.LEFT, status="uninstalled", capabilities=())
    again = registered(gone, capabilities=("create",))

    assert {"recovered": {"away_seconds": 60.0}} == told_by_registration(
        gone, capabilities=("create",)
    )
    assert {} == told_by_heartbeat(again, status="healthy", capabilities=("create",))


def test_changes_of_a_server_heard_after_its_farewell_cause_their_events() -> None:
    gone = evolve(WEB, state=State.LEFT, status="uninstalled", capabilities=())

    assert ["upgraded", "recovered"] == [
        *told_by_heartbeat(gone, status="healthy", version="2.0.0")
    ]
