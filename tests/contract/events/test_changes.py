"""`changes` reports each change of a record once, and nothing else."""

from collections.abc import Iterable
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import pytest
from attrs import evolve, fields
from hypothesis import given

from changed import NOON, WEB, details_by_kind, told_by_heartbeat
from contract import (
    Event,
    EventKind,
    Heartbeat,
    Registration,
    ServerRecord,
    State,
    changes,
    merge,
    register,
    tool_changes,
    unstructure,
)
from contract.spellings import canonical_url
from strategies import changed_records, heartbeats, moments, records, registrations

FEW = timedelta(seconds=5)

# The kind of event for a field whose known value is replaced by another.
KIND_OF = {
    "hostname": "moved",
    "ip_addresses": "moved",
    "port": "moved",
    "transport": "moved",
    "endpoint_url": "moved",
    "version": "upgraded",
    "odoo_version": "upgraded",
    "capabilities": "capabilities_changed",
    "odoo_stage": "stage_changed",
    "database": "updated",
    "database_uuid": "updated",
    "heartbeat_interval_seconds": "updated",
    "status": "updated",
    "started_at": "restarted",
    "uptime_seconds": "restarted",
}
# The fields whose every change causes an event of that kind.
UNCONDITIONAL = [*KIND_OF][: [*KIND_OF].index("status")]
LIVENESS = [
    *("state", "superseded_by", "twin_of", "node_count", "node_of", "conflict_since"),
    "flapping_since",
]
# What a change of the digest means is reported by `tool_changes`, which compares the tools; who
# changed the labels knows that.
ELSEWHERE = ["tools_digest", "labels"]
PER_HEARTBEAT = [
    "timestamp",
    "first_seen",
    "registered_at",
    "last_seen",
    "heartbeat_count",
    "sequence",
    "state_since",
]


def is_silent(name: str, before: ServerRecord, after: ServerRecord) -> bool:
    """Whether a farewell, or the return from it, hides the change of a field."""
    is_back = before.state is State.LEFT and name in {"status", "capabilities"}
    return is_back or after.state is State.LEFT


def kinds_that_name(name: str, happened: Iterable[Event]) -> list[str]:
    return [event.kind.value for event in happened if name in event.details]


def means_the_same(name: str, old: Any, new: Any) -> bool:
    """Whether tools or addresses differ only in their order, or URLs only in their spelling."""
    if old is None or new is None:
        return False
    if name == "endpoint_url":
        return canonical_url(old) == canonical_url(new)
    if name == "ip_addresses":
        return (old.primary, {*old.all}) == (new.primary, {*new.all})
    return name == "capabilities" and {*old} == {*new}


def test_every_field_is_classified_in_the_tables() -> None:
    names = {field.name for field in fields(ServerRecord)} - {"server_id"}

    tables = [*KIND_OF, *LIVENESS, *PER_HEARTBEAT, *ELSEWHERE]

    assert names == {*tables}
    assert len(names) == len(tables)


@given(records())
def test_an_unchanged_record_causes_no_event(record: ServerRecord) -> None:
    assert [] == changes(record, deepcopy(record), at=NOON)


@given(records(), moments())
def test_a_new_server_causes_only_a_registered_event(record: ServerRecord, at: datetime) -> None:
    record = evolve(record, state=State.UP)

    assert [Event(kind=EventKind.REGISTERED, at=at, server_id=record.server_id)] == changes(
        None, record, at=at
    )


@given(changed_records())
def test_a_changed_field_is_reported_by_one_event_of_its_kind(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    happened = changes(before, after, at=NOON)

    for name in UNCONDITIONAL:
        old, new = getattr(before, name), getattr(after, name)
        changed = old != new and not means_the_same(name, old, new)
        changed = changed and not is_silent(name, before, after)
        expected = ["updated" if old is None else KIND_OF[name]] if changed else []
        assert expected == kinds_that_name(name, happened)


@given(changed_records())
def test_a_changed_status_is_updated_and_the_first_one_causes_no_event(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    is_reported = before.status not in {None, "uninstalled", after.status}
    is_reported = is_reported and not is_silent("status", before, after)

    assert (["updated"] if is_reported else []) == kinds_that_name(
        "status", changes(*pair, at=NOON)
    )


@given(changed_records())
def test_a_changed_start_is_reported_by_one_event_unless_it_is_of_another_process(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    happened = changes(before, after, at=NOON)

    expected = []
    if after.started_at is not None and before.started_at != after.started_at:
        # The last time at which the server is known to have started or to have been alive.
        earlier = [each for each in (before.timestamp, before.started_at) if each is not None]
        again = bool(earlier) and after.started_at > max(earlier)
        expected = ["restarted"] if again else []
        if before.started_at is None and not again:
            expected = ["updated"]
        if before.started_at is not None and abs(after.started_at - before.started_at) <= FEW:
            expected = []
        if is_silent("started_at", before, after):
            expected = []
    assert expected == kinds_that_name("started_at", happened)


@given(changed_records())
def test_a_falling_uptime_is_restarted_unless_a_registration_reported_it(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    old, new = before.uptime_seconds, after.uptime_seconds
    earlier, later = before.timestamp, after.timestamp
    fell = False
    if old is not None and new is not None and new < old:
        fell = new + 5 < old
        if earlier is not None and later is not None:
            passed = (later - earlier).total_seconds()
            fell = new <= passed + 5 and passed + old - new > 5
    fell = fell and not is_silent("uptime_seconds", before, after)
    was_reported = (
        before.started_at is not None
        and before.timestamp is not None
        and before.started_at > before.timestamp
    )

    assert (["restarted"] if fell and not was_reported else []) == kinds_that_name(
        "uptime_seconds", changes(before, after, at=NOON)
    )


@given(records(), records())
def test_fields_that_change_with_every_heartbeat_cause_no_event(
    record: ServerRecord, other: ServerRecord
) -> None:
    later = evolve(record, **{name: getattr(other, name) for name in PER_HEARTBEAT})

    assert [] == changes(record, later, at=NOON)


@pytest.mark.parametrize(("before", "after"), [(None, "0a"), ("0a", "0b"), ("0a", None)])
def test_a_changed_digest_of_the_tools_causes_no_event(
    before: str | None, after: str | None
) -> None:
    record = evolve(WEB, tools_digest=before)

    assert [] == changes(record, evolve(record, tools_digest=after), at=NOON)


@given(records(), records())
def test_a_changed_digest_of_the_tools_causes_no_event_in_any_record(
    record: ServerRecord, other: ServerRecord
) -> None:
    later = evolve(record, **{name: getattr(other, name) for name in ELSEWHERE})

    assert [] == changes(record, later, at=NOON)


@given(changed_records())
def test_an_event_names_only_fields_of_its_kind(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    details_of_state = {
        "late": {"last_seen"},
        "down": {"last_seen"},
        "recovered": {"away_seconds"},
        "rebuilt": {"superseded_by"},
        "twin": {"twin_of"},
        "node": {"node_of"},
        "node_left": {"node_of"},
        "conflict": {"sequence"},
        "left": {"last_seen"},
    }
    for kind, details in details_by_kind(*pair).items():
        described = {name for name in KIND_OF if kind in {KIND_OF[name], "updated"}}
        assert set() < {*details} <= details_of_state.get(kind, described)


@given(changed_records())
def test_details_have_the_old_and_the_new_value(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = (unstructure(record) for record in pair)
    reported = [change for event in changes(*pair, at=NOON) for change in event.details.items()]

    for name, change in reported:
        if name in KIND_OF and "gained" not in change:
            assert {"from": before[name], "to": after[name]} == change


@given(changed_records())
def test_details_name_the_tools_gained_and_lost(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    details = details_by_kind(*pair).get("capabilities_changed")
    if details is None:
        return

    before, after = (set(record.capabilities or ()) for record in pair)
    change = details["capabilities"]
    assert ["gained", "lost"] == [*change]
    assert all(sorted(set(names)) == names for names in change.values())
    assert after - before == set(change["gained"])
    assert before - after == set(change["lost"])
    assert change["gained"] or change["lost"]


@given(changed_records(), moments())
def test_events_have_the_server_and_the_time_of_the_change(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    for event in changes(*pair, at=at):
        assert (pair[1].server_id, at) == (event.server_id, event.at)


@given(records(), heartbeats(), registrations(), moments())
def test_a_repeated_message_causes_no_event(
    record: ServerRecord, heartbeat: Heartbeat, registration: Registration, now: datetime
) -> None:
    once = merge(record, heartbeat, received_at=now)
    assert [] == changes(once, merge(once, heartbeat, received_at=now), at=now)

    once = register(record, registration, received_at=now)
    assert [] == changes(once, register(once, registration, received_at=now), at=now)


@pytest.mark.parametrize("sequence", [0, 7, 1043, 2**63 - 1])
def test_the_sequence_causes_no_event(sequence: int) -> None:
    assert {} == told_by_heartbeat(evolve(WEB, sequence=1042), sequence=sequence)
    assert {} == told_by_heartbeat(WEB, sequence=sequence)


@given(changed_records(), moments())
def test_arguments_are_unchanged_and_results_repeatable(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    before = deepcopy(pair)

    first = changes(*pair, at=at)

    assert before == pair
    assert first == changes(*before, at=at)


def test_the_time_and_the_fields_of_an_event_are_given_by_their_names() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        changes(None, WEB, NOON)  # type: ignore[call-arg]  # which is refused
    with pytest.raises(TypeError, match="positional argument"):
        tool_changes("acme_web-1", [], [], NOON)  # type: ignore[call-arg]  # which is refused
    with pytest.raises(TypeError, match="positional argument"):
        Event(EventKind.MOVED, NOON, "acme_web-1")  # type: ignore[call-arg]  # which is refused
