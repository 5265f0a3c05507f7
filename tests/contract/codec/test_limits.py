"""How many items of a list the codec keeps, and of how many wrong ones it tells."""

from typing import Any

import pytest

from contract import Heartbeat, InvalidMessage, ServerRecord, structure
from wire import RECORD, SERVER, VALID, any_view, problems
from wrong_values import TOOL


def test_reading_stops_after_ten_invalid_items() -> None:
    wire = {"server_id": "prod_web-1", "capabilities": [1] * 30_000}

    with pytest.raises(InvalidMessage) as caught:
        structure(wire, Heartbeat)

    problems = caught.value.problems
    assert 11 == len(problems)
    assert "capabilities[9]" == problems[9].path
    assert "and perhaps more: the rest of the list was not looked at" == problems[10].message


@pytest.mark.parametrize(("count", "told"), [(9, 9), (10, 11), (11, 11)])
def test_up_to_ten_invalid_items_of_a_list_are_reported(count: int, told: int) -> None:
    wire = SERVER | {"capabilities": [*[5] * count, "search"]}

    assert told == len(problems(wire, Heartbeat))


def test_an_invalid_item_does_not_hide_later_invalid_items() -> None:
    assert [
        f"capabilities[0]: expected {TOOL}, got 5",
        f"capabilities[2]: expected {TOOL}, got 7",
    ] == problems(SERVER | {"capabilities": [5, "search", 7]}, Heartbeat)


@any_view
def test_a_thousand_different_tools_are_kept_and_no_more(kind: type) -> None:
    names = [f"tool_{n}" for n in range(1000)]
    kept: Any = structure(VALID[kind] | {"capabilities": [*names, *names]}, kind)

    assert tuple(names) == kept.capabilities
    assert ["capabilities: expected at most 1000 different items, got 1001"] == problems(
        VALID[kind] | {"capabilities": [*names, "one_more"]}, kind
    )


def test_a_stored_record_keeps_any_names_and_number_of_tools() -> None:
    names = [*(f"tool_{n}" for n in range(1001)), "", "t" * 201]

    assert tuple(names) == structure(RECORD | {"capabilities": names}, ServerRecord).capabilities
