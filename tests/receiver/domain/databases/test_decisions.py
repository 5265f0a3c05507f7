"""A server without a relation to others is checked in a quicker way, with the same result."""

from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import ServerRecord, State, interval
from receiver.domain.databases.decisions import alone, is_alone, together
from receiver.domain.databases.lines import CheckTimes
from receiver.domain.rows import Mark, Row
from server_records import server_record
from strategies import records

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
INTERVALS = st.sampled_from([-1.0, 0.5, 1.9, 2.5, 3.9, 4.5, 9.0])
"""How many intervals of the server before the check something happened."""


@given(records(), INTERVALS, INTERVALS, INTERVALS, st.sampled_from(State))
def test_check_of_a_server_alone_equals_that_of_servers_together(
    record: ServerRecord, silent: float, changed: float, absent: float, state: State
) -> None:
    none: dict[str, Any] = dict.fromkeys(("node_of", "twin_of", "superseded_by"))
    record = evolve(record, state=state, node_count=0, **none)
    now = record.last_seen + silent * interval(record)
    record = evolve(record, state_since=now - changed * interval(record))
    row = Row(record, 7, 0)
    times = CheckTimes(now, now - absent * interval(record))

    assert is_alone([row])
    assert [*together([row], times)] == [*alone(row, times)]


@pytest.mark.parametrize(
    "relation",
    [{"node_of": "b"}, {"twin_of": "b"}, {"superseded_by": "b"}, {"node_count": 1}],
    ids=lambda relation: next(iter(relation)),
)
def test_server_with_a_relation_to_another_is_not_alone(relation: dict[str, Any]) -> None:
    record = server_record(at=NOW)
    row = Row(record, 7, 0)

    assert is_alone([row])
    assert not is_alone([row, row])
    assert not is_alone([row._replace(record=evolve(record, **relation))])
    assert not is_alone([row._replace(mark=Mark(0, 1, None))])
