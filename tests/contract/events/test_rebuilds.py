"""Rebuilt servers and twins."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from changed import NOON, WEB, details_by_kind, heard
from contract import ServerRecord, State, changes
from strategies import changed_records, records, server_ids


@given(changed_records())
def test_a_rebuild_or_the_end_of_a_node_is_reported_once(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    is_news = after.superseded_by is not None and before.superseded_by != after.superseded_by

    details = details_by_kind(*pair)
    is_node = before.node_of is not None
    rebuilt = {"superseded_by": after.superseded_by} if is_news and not is_node else None
    gone = {"node_of": after.superseded_by} if is_news and is_node else None

    assert (rebuilt, gone) == (details.get("rebuilt"), details.get("node_left"))


@given(changed_records())
def test_a_twin_is_reported_once(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = pair
    is_news = after.twin_of is not None and before.twin_of != after.twin_of

    assert ({"twin_of": after.twin_of} if is_news else None) == details_by_kind(*pair).get("twin")


def test_a_rebuilt_server_names_its_successor_and_causes_no_alarm() -> None:
    gone = evolve(WEB, superseded_by="acme_web-2", state=State.DOWN, state_since=NOON)

    assert {"rebuilt": {"superseded_by": "acme_web-2"}} == details_by_kind(WEB, gone)


@given(records(), server_ids(), st.sampled_from([State.LATE, State.DOWN]))
def test_a_superseded_server_causes_no_alarm(
    record: ServerRecord, successor: str, state: State
) -> None:
    superseded = evolve(record, superseded_by=successor)
    silent = evolve(superseded, state=state, state_since=NOON)

    assert [] == changes(superseded, silent, at=NOON)


def test_a_superseded_server_that_is_heard_again_recovers() -> None:
    gone = evolve(WEB, superseded_by="acme_web-2", state=State.DOWN)

    assert {"recovered": {"away_seconds": 60.0}} == details_by_kind(gone, heard(gone))


def test_the_loss_of_successor_and_twin_causes_no_event() -> None:
    record = evolve(WEB, superseded_by="acme_web-2", twin_of="acme_web-3")

    assert {} == details_by_kind(record, evolve(record, superseded_by=None, twin_of=None))


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_a_silent_server_without_its_successor_causes_an_alarm(state: State) -> None:
    gone = evolve(WEB, superseded_by="acme_web-2", state=state)

    assert [state.value] == [*details_by_kind(gone, evolve(gone, superseded_by=None))]


def test_twin_names_the_other_server() -> None:
    assert {"twin": {"twin_of": "copy_web-9"}} == details_by_kind(
        WEB, evolve(WEB, twin_of="copy_web-9")
    )
