"""Nodes of one database, and conflicts of the numbers of messages."""

from datetime import datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from changed import MINUTE, NOON, WEB, details_by_kind, heard
from contract import ServerRecord, State, changes
from strategies import changed_records, records, server_ids


@given(changed_records())
def test_a_node_and_a_conflict_are_reported_once(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = pair
    details = details_by_kind(*pair)

    becomes_node = before.node_of is None and after.node_of is not None
    assert ({"node_of": after.node_of} if becomes_node else None) == details.get("node")
    begins = before.conflict_since is None and after.conflict_since is not None
    change = {"sequence": {"from": before.sequence, "to": after.sequence}}
    assert (change if begins else None) == details.get("conflict")


def test_a_node_names_the_server_that_stands_for_its_database() -> None:
    assert {"node": {"node_of": "acme_web-0"}} == details_by_kind(
        WEB, evolve(WEB, node_of="acme_web-0")
    )


@pytest.mark.parametrize("node_of", ["acme_web-9", None])
def test_a_node_of_another_server_and_a_former_node_cause_no_event(node_of: str | None) -> None:
    node = evolve(WEB, node_of="acme_web-0")

    assert {} == details_by_kind(node, evolve(node, node_of=node_of))


def test_a_node_that_has_sent_nothing_for_long_leaves() -> None:
    node = evolve(WEB, node_of="acme_web-0", state=State.DOWN)
    gone = evolve(node, node_of=None, superseded_by="acme_web-0")

    assert {"node_left": {"node_of": "acme_web-0"}} == details_by_kind(node, gone)


def test_the_number_of_nodes_causes_no_event() -> None:
    assert {} == details_by_kind(WEB, evolve(WEB, node_count=2))


@given(records(), server_ids(), st.sampled_from([State.LATE, State.DOWN, State.LEFT]))
def test_a_node_causes_no_alarm_and_is_not_left(
    record: ServerRecord, leader: str, state: State
) -> None:
    node = evolve(record, node_of=leader)

    assert [] == changes(node, evolve(node, state=state, state_since=NOON), at=NOON)


@pytest.mark.parametrize("state", [State.LATE, State.DOWN, State.LEFT])
def test_a_node_that_is_heard_again_causes_no_event(state: State) -> None:
    node = evolve(WEB, node_of="acme_web-0", state=state)

    assert {} == details_by_kind(node, heard(node))


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_a_silent_node_that_stands_for_its_database_causes_an_alarm(state: State) -> None:
    node = evolve(WEB, node_of="acme_web-0", state=state)

    assert [state.value] == [*details_by_kind(node, evolve(node, node_of=None))]


def test_a_conflict_has_the_numbers_that_do_not_follow_each_other() -> None:
    before = evolve(WEB, sequence=1042)
    after = evolve(before, sequence=77, conflict_since=NOON)

    assert {"conflict": {"sequence": {"from": 1042, "to": 77}}} == details_by_kind(before, after)


@pytest.mark.parametrize("since", [NOON, None])
def test_a_conflict_that_goes_on_or_ends_causes_no_event(since: datetime | None) -> None:
    before = evolve(WEB, conflict_since=NOON - MINUTE)

    assert {} == details_by_kind(before, evolve(before, conflict_since=since))
