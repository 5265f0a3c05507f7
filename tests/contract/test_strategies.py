"""The Hypothesis strategies draw valid values, and reach the edge cases of the laws."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from attrs import fields
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import strategies
from contract import (
    Event,
    EventKind,
    Heartbeat,
    InvalidMessage,
    IpAddresses,
    Registration,
    ServerPayload,
    ServerRecord,
    State,
    Tool,
    ToolAnnotations,
    structure,
)

pytestmark = pytest.mark.hypothesis

T = TypeVar("T")

KINDS = [ServerPayload, Registration, Heartbeat, ServerRecord, Event, Tool]
PARTIAL: dict[type, SearchStrategy[Any]] = {
    Heartbeat: strategies.heartbeats(),
    ServerRecord: strategies.records(),
}
CHANGED, EVENTS = strategies.changed_records(), strategies.events()
OPTIONAL = [
    (kind, field.name) for kind in PARTIAL for field in fields(kind) if field.default is None
]
EMPTY = [
    (kind, name, empty)
    for kind in PARTIAL
    for name, empty in [
        ("hostname", ""),
        ("capabilities", ()),
        ("odoo_stage", ""),
        ("status", ""),
        ("uptime_seconds", 0),
    ]
]
VALUES: dict[str, SearchStrategy[Any]] = {
    "server_id": strategies.server_ids(),
    "hostname": strategies.texts(),
    "port": strategies.ports(),
    "sequence": strategies.ordinals(),
    "tools_digest": strategies.digests(),
    "endpoint_url": strategies.urls(),
    "heartbeat_interval_seconds": strategies.intervals(),
    "uptime_seconds": strategies.seconds(),
    "timestamp": strategies.wire_moments(),
}
WIRE, ALMOST = (
    st.one_of(*[st.tuples(st.just(kind), wires(kind)) for kind in KINDS])
    for wires in (strategies.wire_messages, strategies.almost_valid)
)


@cache
def sample(strategy: SearchStrategy[T]) -> list[T]:
    """200 values that a strategy draws, the same in every run."""
    drawn: list[T] = []

    @settings(max_examples=200, database=None, derandomize=True, phases=[Phase.generate])
    @given(strategy)
    def draw(value: T) -> None:
        drawn.append(value)

    draw()
    return drawn


def share(strategy: SearchStrategy[T], holds: Callable[[T], Any]) -> float:
    """The share, from 0 to 1, of drawn values for which `holds` is true."""
    drawn = sample(strategy)
    return sum(bool(holds(value)) for value in drawn) / len(drawn)


def reaches(strategy: SearchStrategy[T], holds: Callable[[T], Any]) -> bool:
    """Whether `holds` is true of one of the sample, or else of one of 2,000 values."""
    return any(map(holds, sample(strategy))) or finds(strategy, holds)


def finds(strategy: SearchStrategy[T], holds: Callable[[T], Any]) -> bool:
    """Whether `holds` is true of one of 2,000 values that a strategy draws."""
    thorough = settings(max_examples=2000, database=None, derandomize=True, phases=[Phase.generate])
    return bool(holds(find(strategy, holds, settings=thorough)))


def accepted(value: object, kind: type) -> bool:
    try:
        structure(value, kind)
    except InvalidMessage:
        return False
    return True


@pytest.mark.parametrize(("kind", "name"), OPTIONAL)
def test_drawn_optional_fields_may_be_absent_or_present(kind: type, name: str) -> None:
    assert 0 < share(PARTIAL[kind], lambda drawn: getattr(drawn, name) is None) < 1


@pytest.mark.parametrize("kind", PARTIAL)
def test_many_fields_are_absent_and_many_present(kind: type) -> None:
    names = [name for owner, name in OPTIONAL if owner is kind]

    def absent(drawn: object) -> float:
        return sum(getattr(drawn, name) is None for name in names) / len(names)

    average = sum(map(absent, sample(PARTIAL[kind]))) / len(sample(PARTIAL[kind]))

    assert 0.2 < average < 0.8


@pytest.mark.parametrize(("kind", "name", "empty"), EMPTY)
def test_drawn_fields_may_be_empty(kind: type, name: str, empty: object) -> None:
    assert reaches(PARTIAL[kind], lambda drawn: getattr(drawn, name) == empty)


def test_a_heartbeat_may_hold_only_the_server_id() -> None:
    def bare(beat: Heartbeat) -> bool:
        return beat == Heartbeat(server_id=beat.server_id)

    assert reaches(strategies.heartbeats(), bare)


def test_a_heartbeat_may_hold_everything() -> None:
    def full(beat: Heartbeat) -> bool:
        return all(getattr(beat, field.name) is not None for field in fields(Heartbeat))

    assert reaches(strategies.heartbeats(), full)


def test_a_heartbeat_may_be_a_farewell() -> None:
    def is_farewell(beat: Heartbeat) -> bool:
        return beat.status == "uninstalled"

    assert reaches(strategies.heartbeats(), is_farewell)
    assert share(strategies.heartbeats(), is_farewell) < 0.3


@pytest.mark.parametrize("ordinal", [0, 2**63 - 1])
def test_ordinals_reach_their_bounds(ordinal: int) -> None:
    assert reaches(strategies.ordinals(), lambda drawn: drawn == ordinal)


@given(strategies.records(), strategies.heartbeats(), strategies.registrations())
def test_objects_drawn_for_one_test_have_one_server_id(
    record: ServerRecord, heartbeat: Heartbeat, registration: Registration
) -> None:
    assert record.server_id == heartbeat.server_id == registration.server_id


def test_messages_of_other_servers_can_be_drawn() -> None:
    others = st.tuples(strategies.records(), strategies.heartbeats(strategies.server_ids()))

    assert finds(others, lambda pair: pair[0].server_id != pair[1].server_id)


@pytest.mark.parametrize("state", State)
def test_records_are_in_every_state(state: State) -> None:
    assert reaches(PARTIAL[ServerRecord], lambda record: record.state is state)


def test_events_are_of_every_kind() -> None:
    missing = {*EventKind} - {event.kind for event in sample(EVENTS)}

    def was_the_last(event: Event) -> bool:
        missing.discard(event.kind)
        return not missing

    assert not missing or finds(EVENTS, was_the_last), missing


def test_events_are_about_a_server_or_the_fleet() -> None:
    assert 0 < share(EVENTS, lambda event: event.server_id is None) < 1


def changed(pair: tuple[ServerRecord, ServerRecord]) -> set[str]:
    """The names of the fields in which two records differ."""
    before, after = pair
    names = [field.name for field in fields(ServerRecord)]
    return {name for name in names if getattr(before, name) != getattr(after, name)}


@pytest.mark.parametrize("name", [f.name for f in fields(ServerRecord) if f.name != "server_id"])
def test_changed_records_change_in_every_field(name: str) -> None:
    assert reaches(CHANGED, lambda pair: name in changed(pair))


@pytest.mark.parametrize("count", [range(1, 2), range(2, 5), range(15, 30)])
def test_changed_records_change_in_one_field_in_a_few_and_in_many(count: range) -> None:
    assert reaches(CHANGED, lambda pair: len(changed(pair)) in count)


def test_changed_records_may_be_unchanged() -> None:
    assert share(CHANGED, lambda pair: pair[0] == pair[1]) > 0


def test_changed_records_keep_known_fields() -> None:
    may_go = {"superseded_by", "twin_of", "node_of", "conflict_since", "flapping_since", "labels"}

    def forgets(pair: tuple[ServerRecord, ServerRecord]) -> bool:
        return any(getattr(pair[1], name) is None for name in changed(pair) - may_go)

    assert 0 == share(CHANGED, forgets)


@pytest.mark.parametrize("name", VALUES)
def test_drawn_values_of_a_field_are_accepted(name: str) -> None:
    def fits(value: object) -> bool:
        return accepted({"server_id": "db_host", name: value}, Heartbeat)

    assert 1 == share(VALUES[name], fits)


@given(strategies.addresses())
def test_addresses_are_accepted(address: str) -> None:
    assert accepted({"primary": address, "all": [address]}, IpAddresses)


@pytest.mark.parametrize("name", [f.name for f in fields(Tool) if f.name != "name"])
def test_fields_of_a_tool_may_be_absent_or_present(name: str) -> None:
    assert 0 < share(strategies.tools(), lambda tool: getattr(tool, name) is None) < 1


@pytest.mark.parametrize("name", [f.name for f in fields(ToolAnnotations)])
@pytest.mark.parametrize("hint", [None, True, False])
def test_hints_of_a_tool_are_absent_true_or_false(name: str, *, hint: bool | None) -> None:
    def holds(tool: Tool) -> bool:
        return tool.annotations is not None and getattr(tool.annotations, name) is hint

    assert reaches(strategies.tools(), holds)


@pytest.mark.parametrize("count", [None, 0, 2])
def test_registrations_and_payloads_have_no_or_several_tools(count: int | None) -> None:
    for drawn in (strategies.registrations(), strategies.payloads()):
        assert reaches(
            drawn,
            lambda told: count == (None if told.tools is None else len(told.tools)),  # type: ignore[attr-defined]
        )


def test_digests_reach_their_bounds() -> None:
    assert reaches(strategies.digests(), lambda drawn: len(drawn) == 100)
    assert reaches(strategies.digests(), lambda drawn: len(drawn) == 1)


@pytest.mark.parametrize("length", [1, 30])
def test_server_ids_are_short_and_long(length: int) -> None:
    assert reaches(strategies.server_ids(), lambda drawn: len(drawn) >= length)


@pytest.mark.parametrize("mark", [".", ":"])
def test_addresses_are_of_both_families(mark: str) -> None:
    assert share(strategies.ip_addresses(), lambda addresses: mark in addresses.primary) > 0.2


@pytest.mark.parametrize("port", [1, 65535])
def test_ports_reach_their_bounds(port: int) -> None:
    assert reaches(strategies.ports(), lambda drawn: drawn == port)


@pytest.mark.parametrize("kind", [int, float])
def test_numbers_come_with_a_fraction_and_without(kind: type) -> None:
    assert share(strategies.seconds(), lambda drawn: isinstance(drawn, kind)) > 0.2


def test_intervals_may_be_too_short_to_measure() -> None:
    assert reaches(strategies.intervals(), lambda drawn: drawn < 1e-6)


def test_intervals_may_exceed_the_range_of_timedelta() -> None:
    assert reaches(strategies.intervals(), lambda drawn: drawn > timedelta.max.total_seconds())


@given(strategies.moments())
def test_moments_are_accepted(moment: datetime) -> None:
    heartbeat = Heartbeat(server_id="db_host", timestamp=moment)

    assert moment.astimezone(timezone.utc) == heartbeat.timestamp


def test_moments_have_several_offsets() -> None:
    assert share(strategies.moments(), lambda moment: not moment.utcoffset()) > 0.1
    assert share(strategies.moments(), lambda moment: moment.utcoffset()) > 0.1


def test_moments_are_in_zones_with_a_history() -> None:
    assert share(strategies.moments(), lambda moment: isinstance(moment.tzinfo, ZoneInfo)) > 0.1


def test_moments_may_be_the_second_of_an_ambiguous_hour() -> None:
    assert reaches(strategies.moments(), lambda moment: moment.fold)


def test_wire_messages_are_accepted() -> None:
    assert 1 == share(WIRE, lambda told: accepted(told[1], told[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_wire_messages_are_of_every_kind(kind: type) -> None:
    assert reaches(WIRE, lambda told: told[0] is kind)


def test_wire_messages_may_hold_null() -> None:
    assert reaches(WIRE, lambda told: None in told[1].values())


def test_wire_messages_may_hold_unknown_fields() -> None:
    assert reaches(WIRE, lambda told: any(name.startswith("x_") for name in told[1]))


def test_almost_valid_messages_are_mostly_refused() -> None:
    assert 0 < share(ALMOST, lambda told: accepted(told[1], told[0])) < 0.5


def test_almost_valid_messages_are_refused_at_depth() -> None:
    def refused_at_depth(told: tuple[type, Any]) -> bool:
        kind, wire = told
        try:
            structure(wire, kind)
        except InvalidMessage as error:
            return any("." in problem.path for problem in error.problems)
        return False

    assert share(ALMOST, refused_at_depth) > 0


@pytest.mark.parametrize("kind", [type(None), bool, int, float, str, list, dict])
def test_wire_values_have_every_json_type(kind: type) -> None:
    assert reaches(strategies.wire_values(), lambda value: type(value) is kind)
