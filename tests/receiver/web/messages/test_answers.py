"""What a sender is told of its messages."""

from datetime import datetime, timezone

import pytest

from contract import HeartbeatAnswer, structure, unstructure
from receiver.domain.outcomes import Applied
from receiver.web.messages.answers import heartbeat, heartbeats
from server_records import server_record

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize("lacks_tools", [False, True])
@pytest.mark.parametrize(("is_early", "waited"), [(False, 0), (True, 0), (False, 2)])
def test_answer_to_a_heartbeat_is_that_of_the_contract(
    *, lacks_tools: bool, is_early: bool, waited: float
) -> None:
    record = server_record(at=NOW, heartbeat_interval_seconds=60, heartbeat_count=7)
    applied = Applied(record, created=False, lacks_tools=lacks_tools, is_early=is_early)

    status, answer = heartbeat([applied], waited)

    told = HeartbeatAnswer(
        status="ok",
        server_id=record.server_id,
        heartbeat_count=7,
        wants=("registration",) if lacks_tools else None,
        next_heartbeat_seconds=120 if waited else 60 if is_early else None,
    )
    assert (200, unstructure(told)) == (status, answer)
    assert told == structure(answer, HeartbeatAnswer)
    assert {"accepted": 1, "rejected": 0, "results": [answer]} == heartbeats([applied], waited)[1]
