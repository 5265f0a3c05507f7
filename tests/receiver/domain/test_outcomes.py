"""What the receiver would like a server to do, by the result of merging its heartbeat."""

from datetime import datetime, timezone

import pytest

from receiver.domain.outcomes import Applied
from server_records import server_record

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def applied(interval: float | None, *, is_early: bool = False) -> Applied:
    record = server_record(at=NOW, heartbeat_interval_seconds=interval)
    return Applied(record, created=False, is_early=is_early)


@pytest.mark.parametrize(
    ("interval", "waited", "wish"),
    [
        (60, 1.0, None),
        (60, 1.001, 120),
        (None, 1.001, 120),
        (1, 1.001, 10),
        (299, 4, 598),
        (301, 4, 600),
        (600, 4, 600),
        (3600, 4, 3600),
    ],
)
def test_long_wait_of_a_message_doubles_the_interval_up_to_ten_minutes(
    interval: float | None, waited: float, wish: float | None
) -> None:
    assert wish == applied(interval).next_heartbeat_seconds(waited)


def test_server_that_sends_too_often_is_asked_for_its_own_interval() -> None:
    assert 300 == applied(300, is_early=True).next_heartbeat_seconds(0)
    assert 600 == applied(300, is_early=True).next_heartbeat_seconds(2)
