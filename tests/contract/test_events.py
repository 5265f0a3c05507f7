"""`changes` reports each change of a record once, and nothing else."""

import json
from collections.abc import Iterable
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from contract import (
    Event,
    EventKind,
    Heartbeat,
    IpAddresses,
    Registration,
    ServerRecord,
    State,
    Tool,
    ToolAnnotations,
    changed_tools,
    changes,
    dumps,
    loads,
    merge,
    register,
    tool_changes,
    unstructure,
)
from contract.spellings import canonical_url
from strategies import (
    changed_records,
    heartbeats,
    moments,
    records,
    registrations,
    server_ids,
    tools,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)

WEB = ServerRecord(
    server_id="acme_web-1",
    hostname="web-1",
    ip_addresses=IpAddresses(primary="10.0.0.5", all=("10.0.0.5",)),
    port=8768,
    transport="http/sse",
    version="1.0.0",
    odoo_version="19.0",
    database="acme",
    capabilities=("create", "search"),
    odoo_stage="staging",
    database_uuid="7b2f",
    endpoint_url="https://web-1.example/mcp",
    heartbeat_interval_seconds=300.0,
    started_at=NOON - 60 * MINUTE,
    status="healthy",
    timestamp=NOON - MINUTE,
    uptime_seconds=3540.0,
    first_seen=NOON - 60 * MINUTE,
    registered_at=NOON - 60 * MINUTE,
    last_seen=NOON - MINUTE,
    heartbeat_count=12,
    state=State.UP,
    state_since=NOON - 55 * MINUTE,
)
FEW = timedelta(seconds=5)
UNKNOWN = ServerRecord(
    server_id="acme_web-1", first_seen=NOON, last_seen=NOON, state=State.UP, state_since=NOON
)

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


def details_by_kind(
    before: ServerRecord | None,
    after: ServerRecord,
    message: Heartbeat | Registration | None = None,
) -> dict[str, Any]:
    """The details of the events, by kind; asserts that no kind occurs twice."""
    happened = changes(before, after, at=NOON, message=message)
    by_kind = {event.kind.value: event.details for event in happened}

    assert len(happened) == len(by_kind)
    return by_kind


def heard(record: ServerRecord | None, **told: Any) -> ServerRecord:
    return merge(record, Heartbeat(server_id="acme_web-1", **told), received_at=NOON)


def told_by_heartbeat(record: ServerRecord | None, **told: Any) -> dict[str, Any]:
    """The details of the events, by kind, that a heartbeat at noon causes."""
    message = Heartbeat(server_id="acme_web-1", **told)
    return details_by_kind(record, merge(record, message, received_at=NOON), message)


def told_by_registration(record: ServerRecord | None, **told: Any) -> dict[str, Any]:
    """The details of the events, by kind, that a registration at noon causes."""
    message = Registration(server_id="acme_web-1", **told)
    return details_by_kind(record, register(record, message, received_at=NOON), message)


def is_silent(name: str, before: ServerRecord, after: ServerRecord) -> bool:
    """Whether a farewell, or the return from it, hides the change of a field."""
    is_back = before.state is State.LEFT and name in {"status", "capabilities"}
    return is_back or after.state is State.LEFT


def registered(record: ServerRecord | None, **told: Any) -> ServerRecord:
    return register(record, Registration(server_id="acme_web-1", **told), received_at=NOON)


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


# Every change causes one event


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


# A restart causes one event


# For each run of a server: whether its registration arrives, and the number of heartbeats.
runs = st.lists(st.tuples(st.booleans(), st.integers(2, 4)), min_size=1, max_size=5)


@given(runs)
def test_a_restart_is_reported_once_with_or_without_a_registration(
    drawn_runs: list[tuple[bool, int]],
) -> None:
    record: ServerRecord | None = None
    clock = NOON
    restarts = []
    for registers, beats in drawn_runs:
        started_at, clock = clock, clock + timedelta(seconds=10)
        happened = []
        if registers:
            before, record = record, registered(record, started_at=started_at)
            happened += changes(before, record, at=clock)
        for _ in range(beats):
            uptime = (clock - started_at).total_seconds()
            before, record = record, heard(record, timestamp=clock, uptime_seconds=uptime)
            happened += changes(before, record, at=clock)
            clock += MINUTE
        restarts.append([event.kind for event in happened].count(EventKind.RESTARTED))

    assert [0] + [1] * (len(drawn_runs) - 1) == restarts


def test_a_later_start_is_a_restart() -> None:
    assert {
        "restarted": {
            "started_at": {"from": "2026-01-31T11:00:00Z", "to": "2026-01-31T11:59:30Z"},
        }
    } == details_by_kind(WEB, registered(WEB, started_at=NOON - MINUTE / 2))


def test_a_falling_uptime_is_a_restart() -> None:
    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 30.0}}} == details_by_kind(
        WEB, heard(WEB, timestamp=NOON, uptime_seconds=30.0)
    )


def test_an_uptime_that_falls_to_zero_is_a_restart() -> None:
    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 0.0}}} == details_by_kind(
        WEB, heard(WEB, uptime_seconds=0)
    )


@pytest.mark.parametrize(
    ("seconds", "uptime"),
    [
        (60, 3539.99),  # a reading of the clock that differs a little
        (60, 3535.0),
        (-60, 3480.0),  # overtaken by the last heartbeat
        (60, 600.0),  # another worker process, started ten minutes ago
        (60, 65.1),
        (0.0, 3539.99),
        (-3600, 30.0),  # the clock of the sender was set back: nobody knows
    ],
)
def test_an_uptime_that_falls_is_no_restart_without_a_new_start(
    seconds: float, uptime: float
) -> None:
    sent = NOON - MINUTE + timedelta(seconds=seconds)

    assert {} == details_by_kind(WEB, heard(WEB, timestamp=sent, uptime_seconds=uptime))


@pytest.mark.parametrize(("seconds", "uptime"), [(60, 3534.9 - 3474.9), (60, 65.0), (3600, 3500.0)])
def test_an_uptime_within_the_time_since_the_last_heartbeat_is_a_restart(
    seconds: float, uptime: float
) -> None:
    sent = NOON - MINUTE + timedelta(seconds=seconds)

    assert ["restarted"] == [
        *details_by_kind(WEB, heard(WEB, timestamp=sent, uptime_seconds=uptime))
    ]


@pytest.mark.parametrize(
    ("old", "new", "passed", "restarts"),
    [
        (5.0, 4.9, 60, True),  # a server that crashes each minute
        (5.0, 4.9, 0, False),
        (9.0, 4.0, 0, False),
        (9.0, 3.9, 0, True),
        (9.0, 5.1, 0, False),
        (9.0, 5.0, 2, True),
        (5.0, None, 60, False),
        (None, 5.0, 60, False),
    ],
)
def test_small_uptimes_tell_of_a_restart_by_the_start(
    old: float | None, new: float | None, passed: float, *, restarts: bool
) -> None:
    before = evolve(WEB, uptime_seconds=old)
    after = evolve(before, uptime_seconds=new, timestamp=NOON - MINUTE + timedelta(seconds=passed))

    assert ["restarted"] * restarts == [*details_by_kind(before, after)]


@pytest.mark.parametrize(("new", "restarts"), [(3535.0, False), (3534.9, True), (600.0, True)])
@pytest.mark.parametrize(("earlier", "later"), [(None, NOON), (NOON, None), (None, None)])
def test_a_falling_uptime_is_a_restart_without_both_timestamps(
    earlier: datetime | None, later: datetime | None, new: float, *, restarts: bool
) -> None:
    before = evolve(WEB, timestamp=earlier)
    after = evolve(before, uptime_seconds=new, timestamp=later)

    assert ["restarted"] * restarts == [*details_by_kind(before, after)]


@pytest.mark.parametrize("seconds", [-5, -0.001, 0.001, 5])
def test_a_start_that_differs_by_seconds_is_the_same(seconds: float) -> None:
    again = registered(WEB, started_at=NOON - 60 * MINUTE + timedelta(seconds=seconds))

    assert {} == details_by_kind(WEB, again)


@pytest.mark.parametrize("minutes", [-90, -30])
def test_the_start_of_another_worker_in_a_registration_causes_no_event(minutes: int) -> None:
    """It began before the last heartbeat was sent."""
    assert {} == told_by_registration(WEB, started_at=NOON + minutes * MINUTE)


# A heartbeat that holds the start of the server


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


@pytest.mark.parametrize("sequence", [0, 7, 1043, 2**63 - 1])
def test_the_sequence_causes_no_event(sequence: int) -> None:
    assert {} == told_by_heartbeat(evolve(WEB, sequence=1042), sequence=sequence)
    assert {} == told_by_heartbeat(WEB, sequence=sequence)


# Another spelling of the same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://e", "https://e:443"),
        ("https://e", "HTTPS://E:443/"),
        ("http://e:80/x?y#z", "http://e/x?y#z"),
        ("http://[FE80::1]", "http://[fe80:0::1]:80/"),
    ],
)
def test_another_spelling_of_a_url_is_no_move(one: str, other: str) -> None:
    before = evolve(WEB, endpoint_url=one)

    assert {} == details_by_kind(before, heard(before, endpoint_url=other))


@pytest.mark.parametrize(
    "other",
    [
        "http://e:443",
        "https://e:444",
        "https://f",
        "https://e/x",
        "https://e?x",
        "https://e#x",
        "https://[::1]",
    ],
)
def test_another_url_is_a_move(other: str) -> None:
    before = evolve(WEB, endpoint_url="https://e")

    assert ["moved"] == [*details_by_kind(before, heard(before, endpoint_url=other))]


def test_another_spelling_of_an_address_is_no_move() -> None:
    one = IpAddresses(primary="FE80::1", all=("FE80::1", "10.0.0.5", "::FFFF:1"))
    other = IpAddresses(primary="fe80:0::1", all=("::ffff:1", "fe80::1", "10.0.0.5"))
    before = evolve(WEB, ip_addresses=one)

    assert {} == details_by_kind(before, heard(before, ip_addresses=other))


def test_a_restart_of_a_registration_is_not_repeated_by_the_next_heartbeat() -> None:
    again = registered(WEB, started_at=NOON - MINUTE / 2)

    assert {} == details_by_kind(again, heard(again, timestamp=NOON, uptime_seconds=30.0))


def test_the_restart_after_a_reported_one_is_reported() -> None:
    again = registered(WEB, started_at=NOON - MINUTE / 2)
    alive = heard(again, timestamp=NOON, uptime_seconds=30.0)

    assert ["restarted"] == [
        *details_by_kind(alive, heard(alive, timestamp=NOON + MINUTE, uptime_seconds=5))
    ]


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


# Examples of each kind of event


def test_the_first_heartbeat_of_a_server_causes_a_registered_event() -> None:
    assert {"registered": {}} == details_by_kind(None, heard(None, hostname="web-1"))


def test_an_ordinary_heartbeat_causes_no_event() -> None:
    assert {} == details_by_kind(
        WEB, heard(WEB, timestamp=NOON, uptime_seconds=3600.0, status="healthy")
    )


def test_a_changed_host_is_a_move() -> None:
    addresses = IpAddresses(primary="10.0.0.9", all=("10.0.0.9", "fd00::9"))

    assert {
        "moved": {
            "hostname": {"from": "web-1", "to": "web-2"},
            "ip_addresses": {
                "from": {"primary": "10.0.0.5", "all": ["10.0.0.5"]},
                "to": {"primary": "10.0.0.9", "all": ["10.0.0.9", "fd00::9"]},
            },
        }
    } == details_by_kind(WEB, heard(WEB, hostname="web-2", ip_addresses=addresses))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("port", 8768, 8769),
        ("transport", "http/sse", ""),
        ("endpoint_url", "https://web-1.example/mcp", "https://web-2.example/mcp"),
    ],
)
def test_a_changed_connection_field_is_a_move(name: str, old: Any, new: Any) -> None:
    assert {"moved": {name: {"from": old, "to": new}}} == details_by_kind(
        WEB, heard(WEB, **{name: new})
    )


def test_a_changed_version_is_an_upgrade() -> None:
    assert {
        "upgraded": {
            "version": {"from": "1.0.0", "to": "1.1.0"},
            "odoo_version": {"from": "19.0", "to": "19.1"},
        }
    } == details_by_kind(WEB, heard(WEB, version="1.1.0", odoo_version="19.1"))


def test_changed_tools_are_reported_by_name() -> None:
    assert {
        "capabilities_changed": {
            "capabilities": {"gained": ["unlink", "write"], "lost": ["create"]}
        }
    } == details_by_kind(WEB, heard(WEB, capabilities=("write", "search", "unlink")))


def test_the_loss_of_all_tools_is_reported() -> None:
    assert {
        "capabilities_changed": {"capabilities": {"gained": [], "lost": ["create", "search"]}}
    } == details_by_kind(WEB, heard(WEB, capabilities=()))


@pytest.mark.parametrize("name", ["10.0.0.6", "10.0.0.7"])
def test_reordered_addresses_cause_no_event(name: str) -> None:
    addresses = ("10.0.0.5", "10.0.0.6", "10.0.0.7")
    before = evolve(WEB, ip_addresses=IpAddresses(primary="10.0.0.5", all=addresses))
    reordered = IpAddresses(primary="10.0.0.5", all=addresses[::-1])
    another = IpAddresses(primary=name, all=addresses)

    assert {} == details_by_kind(before, heard(before, ip_addresses=reordered))
    assert ["moved"] == [*details_by_kind(before, heard(before, ip_addresses=another))]


@pytest.mark.parametrize("tools", [("search", "create"), ("create", "search", "search")])
def test_reordered_tools_cause_no_event(tools: tuple[str, ...]) -> None:
    assert {} == details_by_kind(WEB, heard(WEB, capabilities=tools))


def test_a_changed_stage_is_reported() -> None:
    assert {
        "stage_changed": {"odoo_stage": {"from": "staging", "to": "production"}}
    } == details_by_kind(WEB, heard(WEB, odoo_stage="production"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("database", "acme", "acme-2"),
        ("database_uuid", "7b2f", "9c4d"),
        ("heartbeat_interval_seconds", 300.0, 60.0),
        ("status", "healthy", "degraded"),
    ],
)
def test_a_changed_field_without_a_kind_of_its_own_is_an_update(
    name: str, old: Any, new: Any
) -> None:
    assert {"updated": {name: {"from": old, "to": new}}} == details_by_kind(
        WEB, heard(WEB, **{name: new})
    )


def test_a_field_that_becomes_known_is_an_update() -> None:
    told: dict[str, Any] = {
        "hostname": "web-1",
        "version": "1.0.0",
        "capabilities": ("create", "search"),
        "odoo_stage": "",
        "status": "healthy",
        "uptime_seconds": 5.0,
    }

    assert {
        "updated": {
            "hostname": {"from": None, "to": "web-1"},
            "version": {"from": None, "to": "1.0.0"},
            "capabilities": {"from": None, "to": ["create", "search"]},
            "odoo_stage": {"from": None, "to": ""},
        }
    } == details_by_kind(UNKNOWN, heard(UNKNOWN, **told))


def test_one_message_may_cause_several_events() -> None:
    after = heard(WEB, hostname="web-2", version="1.1.0", uptime_seconds=1.0)

    assert {"moved", "restarted", "upgraded"} == {*details_by_kind(WEB, after)}


# Alarms


def stands_for_itself(record: ServerRecord) -> bool:
    return (record.superseded_by, record.node_of) == (None, None)


@given(changed_records())
def test_only_a_silent_server_that_stands_for_itself_causes_an_alarm(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    happened = details_by_kind(before, after)

    for state in (State.LATE, State.DOWN):
        was_so = before.state is state and stands_for_itself(before)
        falls = after.state is state and stands_for_itself(after) and not was_so
        assert falls == (state.value in happened)


@given(changed_records())
def test_a_server_that_is_heard_again_and_was_no_node_causes_a_recovered_event(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    away, here = {State.LATE, State.DOWN, State.LEFT}, {State.NEW, State.UP}
    is_back = before.state in away and after.state in here and before.node_of is None

    assert is_back == ("recovered" in details_by_kind(before, after))


@given(changed_records())
def test_away_seconds_are_never_negative(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = pair
    recovered = details_by_kind(before, after).get("recovered", {"away_seconds": 0.0})

    assert recovered["away_seconds"] >= 0


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_a_server_that_a_node_brings_back_was_away_since_its_silence_was_noticed(
    state: State,
) -> None:
    silent = evolve(WEB, state=state, state_since=NOON - timedelta(seconds=40))
    back = evolve(silent, state=State.UP, state_since=NOON)

    assert {"recovered": {"away_seconds": 40.0}} == details_by_kind(silent, back)


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
@pytest.mark.parametrize("before", [State.NEW, State.UP])
def test_late_and_down_have_the_time_of_the_last_message(before: State, state: State) -> None:
    record = evolve(WEB, state=before)

    assert {state.value: {"last_seen": "2026-01-31T11:59:00Z"}} == details_by_kind(
        record, evolve(record, state=state, state_since=NOON)
    )


def test_a_late_server_that_goes_down_causes_another_event() -> None:
    late = evolve(WEB, state=State.LATE)

    assert ["down"] == [*details_by_kind(late, evolve(late, state=State.DOWN, state_since=NOON))]


def test_a_server_that_stays_down_causes_no_event() -> None:
    down = evolve(WEB, state=State.DOWN)

    assert {} == details_by_kind(down, evolve(down, state_since=NOON))


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_recovered_has_the_time_without_a_message(state: State) -> None:
    silent = evolve(WEB, state=state, last_seen=NOON - timedelta(seconds=301.5))

    assert {"recovered": {"away_seconds": 301.5}} == details_by_kind(silent, heard(silent))


def test_a_server_that_registers_again_recovers() -> None:
    down = evolve(WEB, state=State.DOWN, heartbeat_count=0)

    assert {"recovered": {"away_seconds": 60.0}} == details_by_kind(down, registered(down))


def test_away_seconds_are_zero_when_the_clock_is_behind() -> None:
    down = evolve(WEB, state=State.DOWN, last_seen=NOON + MINUTE)

    assert {"recovered": {"away_seconds": 0.0}} == details_by_kind(down, heard(down))


# Rebuilt servers and twins


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


# Nodes and conflicts


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


# Farewells


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


# Purity, and equal results after a round trip through JSON


@given(changed_records(), moments())
def test_arguments_are_unchanged_and_results_repeatable(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    before = deepcopy(pair)

    first = changes(*pair, at=at)

    assert before == pair
    assert first == changes(*before, at=at)


@given(changed_records(), moments())
def test_events_are_the_same_on_both_sides_of_the_wire(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    happened = changes(*pair, at=at.astimezone(timezone.utc))

    assert happened == [loads(dumps(event), Event) for event in happened]


@given(changed_records(), moments())
def test_events_are_written_in_utc_with_z(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    written = at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")

    for event in changes(*pair, at=at):
        assert written == json.loads(dumps(event))["at"]


def test_an_encoded_event_has_the_documented_form() -> None:
    (event,) = changes(WEB, heard(WEB, odoo_stage=""), at=NOON)

    assert {
        "kind": "stage_changed",
        "at": "2026-01-31T12:00:00Z",
        "server_id": "acme_web-1",
        "details": {"odoo_stage": {"from": "staging", "to": ""}},
    } == json.loads(dumps(event))


def test_an_event_of_the_fleet_has_no_server() -> None:
    event = Event(
        kind=EventKind.FLEET_SILENT, at=NOON, server_id=None, details={"silent": 40, "of": 50}
    )

    assert {
        "kind": "fleet_silent",
        "at": "2026-01-31T12:00:00Z",
        "server_id": None,
        "details": {"silent": 40, "of": 50},
    } == json.loads(dumps(event))


# Other descriptions of the same tools

CONFIRM = Tool(name="confirm_order", description="Confirms an order.", provider="sale")
SEARCH = Tool(name="search", title="Search", annotations=ToolAnnotations(readOnlyHint=True))


def test_tools_that_have_changed_are_one_event() -> None:
    after = [
        evolve(SEARCH, annotations=ToolAnnotations(readOnlyHint=False), title="Find"),
        evolve(CONFIRM, description="Confirms an order and pays it."),
    ]

    (event,) = tool_changes("acme_web-1", [CONFIRM, SEARCH], after, at=NOON)

    assert {
        "kind": "tools_changed",
        "at": "2026-01-31T12:00:00Z",
        "server_id": "acme_web-1",
        "details": {
            "tools": {"confirm_order": ["description"], "search": ["title", "annotations"]}
        },
    } == json.loads(dumps(event))
    assert event == loads(dumps(event), Event)


@pytest.mark.parametrize(
    "after",
    [
        [CONFIRM, SEARCH],
        [SEARCH, CONFIRM],
        [CONFIRM],
        [],
        [CONFIRM, SEARCH, Tool(name="create")],
        [Tool(name="confirm_order"), Tool(name="search")],
        [evolve(CONFIRM, input_schema_digest="0a"), SEARCH],
        [evolve(CONFIRM, endpoint_path="/mcp", description=""), SEARCH],
    ],
)
def test_tools_that_are_new_gone_or_better_known_cause_no_event(after: list[Tool]) -> None:
    assert [] == tool_changes("acme_web-1", [CONFIRM, SEARCH], after, at=NOON)


@given(st.lists(tools(), max_size=4), st.lists(tools(), max_size=4), moments())
def test_an_event_tells_what_has_changed_in_the_tools(
    before: list[Tool], after: list[Tool], at: datetime
) -> None:
    changed = {name: [*names] for name, names in changed_tools(before, after).items()}

    assert [
        Event(
            kind=EventKind.TOOLS_CHANGED,
            at=at,
            server_id="acme_web-1",
            details={"tools": changed},
        )
        for _ in range(bool(changed))
    ] == tool_changes("acme_web-1", iter(before), iter(after), at=at)


# The edges


def test_a_start_at_the_moment_of_the_last_heartbeat_only_becomes_known() -> None:
    never_registered = evolve(WEB, started_at=None, registered_at=None)

    assert {
        "updated": {"started_at": {"from": None, "to": "2026-01-31T11:59:00Z"}}
    } == details_by_kind(never_registered, registered(never_registered, started_at=NOON - MINUTE))


def test_an_uptime_that_fell_since_a_start_at_the_last_heartbeat_is_a_restart() -> None:
    started = evolve(WEB, started_at=NOON - MINUTE)

    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 30.0}}} == details_by_kind(
        started, heard(started, timestamp=NOON, uptime_seconds=30.0)
    )


def test_the_time_and_the_fields_of_an_event_are_given_by_their_names() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        changes(None, WEB, NOON)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional argument"):
        tool_changes("acme_web-1", [], [], NOON)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional argument"):
        Event(EventKind.MOVED, NOON, "acme_web-1")  # type: ignore[call-arg]


def test_events_come_in_the_order_of_their_kinds() -> None:
    after = evolve(WEB, status="degraded", version="2", hostname="web-2", twin_of="acme_web-2")

    assert ["moved", "upgraded", "updated", "twin"] == [*details_by_kind(WEB, after)]
