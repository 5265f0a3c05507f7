"""The start that a message holds is that of a restart, becomes known, or is the same as before."""

from datetime import timedelta

import pytest
from attrs import evolve

from changed import (
    MINUTE,
    NOON,
    UNKNOWN,
    WEB,
    details_by_kind,
    registered,
    told_by_heartbeat,
    told_by_registration,
)
from contract import Heartbeat, State, merge


@pytest.mark.parametrize("seconds", [0, 30, 60, 65])
def test_a_start_since_the_last_message_is_a_restart(seconds: float) -> None:
    start = NOON - timedelta(seconds=seconds)
    details = told_by_heartbeat(WEB, timestamp=NOON, started_at=start, uptime_seconds=seconds)

    assert ["restarted"] == [*details]
    assert ["started_at"] == [*details["restarted"]]


@pytest.mark.parametrize("seconds", [-2, 0.001, 5])
def test_the_same_start_read_anew_soon_after_it_is_no_restart(seconds: float) -> None:
    """By its age alone it might be one: the first heartbeat came within 5 s of the start."""
    start = NOON - timedelta(seconds=63)
    again = start + timedelta(seconds=seconds)

    assert {} == told_by_heartbeat(
        evolve(WEB, started_at=start), timestamp=NOON, started_at=again, uptime_seconds=63.0
    )


@pytest.mark.parametrize("seconds", [65.001, 600, 3000])
def test_a_later_start_before_the_last_message_causes_no_event(seconds: float) -> None:
    """The server sent while it had been running, by its own clock: the clock was set."""
    start = NOON - timedelta(seconds=seconds)

    assert {} == told_by_heartbeat(WEB, timestamp=NOON, started_at=start)


@pytest.mark.parametrize("minutes", [-1440, -60, 60, 1440])
def test_a_start_that_moved_with_the_clock_of_the_sender_causes_no_event(minutes: int) -> None:
    by = minutes * MINUTE

    assert WEB.started_at is not None
    assert {} == told_by_heartbeat(WEB, timestamp=NOON + by, started_at=WEB.started_at + by)


@pytest.mark.parametrize("minutes", [-1440, -60, 60, 1440])
def test_a_restart_while_the_clock_of_the_sender_was_set_is_a_restart(minutes: int) -> None:
    sent = NOON + minutes * MINUTE

    assert ["restarted"] == [*told_by_heartbeat(WEB, timestamp=sent, started_at=sent - MINUTE / 2)]


@pytest.mark.parametrize("minutes", [61, 120, 1440])
def test_an_earlier_start_in_a_heartbeat_causes_no_event(minutes: int) -> None:
    assert {} == told_by_heartbeat(WEB, timestamp=NOON, started_at=NOON - minutes * MINUTE)


@pytest.mark.parametrize("uptime", [0, 5.0, 30.0, 3539.0])
def test_a_falling_uptime_beside_a_start_is_no_restart(uptime: float) -> None:
    """It is that of another worker process of a server that runs on."""
    assert {} == told_by_heartbeat(
        WEB, timestamp=NOON, uptime_seconds=uptime, started_at=WEB.started_at
    )


def test_a_restart_is_told_by_the_start_and_not_by_the_uptime_too() -> None:
    start = NOON - MINUTE / 2

    assert {
        "restarted": {"started_at": {"from": "2026-01-31T11:00:00Z", "to": "2026-01-31T11:59:30Z"}}
    } == told_by_heartbeat(WEB, timestamp=NOON, uptime_seconds=30.0, started_at=start)


@pytest.mark.parametrize(("seconds", "kind"), [(30, "restarted"), (90, "updated")])
def test_the_first_start_in_a_heartbeat_is_a_restart_or_becomes_known(
    seconds: float, kind: str
) -> None:
    unknown = evolve(WEB, started_at=None)
    start = NOON - timedelta(seconds=seconds)

    assert [kind] == [*told_by_heartbeat(unknown, timestamp=NOON, started_at=start)]


def test_the_first_start_of_a_server_that_only_registered_is_no_restart() -> None:
    """It began when it registered, a minute before its first heartbeat."""
    waiting = evolve(UNKNOWN, state=State.NEW, last_seen=NOON - MINUTE, registered_at=NOON - MINUTE)
    start = NOON - MINUTE - timedelta(seconds=2)

    assert {
        "updated": {"started_at": {"from": None, "to": "2026-01-31T11:58:58Z"}}
    } == told_by_heartbeat(waiting, timestamp=NOON, started_at=start)


@pytest.mark.parametrize(("seconds", "restarts"), [(30, True), (90, False)])
def test_a_start_without_a_timestamp_is_compared_with_the_last_heartbeat(
    seconds: float, *, restarts: bool
) -> None:
    start = NOON - timedelta(seconds=seconds)

    assert ["restarted"] * restarts == [*told_by_heartbeat(WEB, started_at=start)]


def test_a_restart_of_a_registration_is_not_repeated_by_a_heartbeat_with_the_start() -> None:
    """The registration says when a worker started, the heartbeat when the server did."""
    again = registered(WEB, started_at=NOON)
    start = NOON - timedelta(seconds=20)
    message = Heartbeat(server_id="acme_web-1", timestamp=NOON + MINUTE, started_at=start)
    after = merge(again, message, received_at=NOON + MINUTE)

    assert {} == details_by_kind(again, after, message)


def test_a_first_start_after_the_last_heartbeat_is_a_restart() -> None:
    never_registered = evolve(WEB, started_at=None, registered_at=None)

    assert {
        "restarted": {"started_at": {"from": None, "to": "2026-01-31T11:59:30Z"}}
    } == details_by_kind(
        never_registered, registered(never_registered, started_at=NOON - MINUTE / 2)
    )


def test_a_first_start_before_the_last_heartbeat_is_an_update() -> None:
    never_registered = evolve(WEB, started_at=None, registered_at=None)

    assert {
        "updated": {"started_at": {"from": None, "to": "2026-01-31T11:00:00Z"}}
    } == details_by_kind(
        never_registered, registered(never_registered, started_at=NOON - 60 * MINUTE)
    )


def test_an_earlier_start_in_a_registration_causes_no_event() -> None:
    assert {} == told_by_registration(WEB, started_at=NOON - 120 * MINUTE)


def test_a_start_at_the_moment_of_the_last_heartbeat_only_becomes_known() -> None:
    never_registered = evolve(WEB, started_at=None, registered_at=None)

    assert {
        "updated": {"started_at": {"from": None, "to": "2026-01-31T11:59:00Z"}}
    } == details_by_kind(never_registered, registered(never_registered, started_at=NOON - MINUTE))
