"""What a change of a record tells: each thing once, and nothing that is not news."""

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
    changes,
    dumps,
    loads,
    merge,
    register,
    unstructure,
)
from strategies import changed_records, heartbeats, moments, records, registrations, server_ids

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
UNKNOWN = ServerRecord(
    server_id="acme_web-1", first_seen=NOON, last_seen=NOON, state=State.UP, state_since=NOON
)

# Of each field that is known and becomes another: what that is called.
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
# Those of which something is said whenever they change, and of the same kind.
ALWAYS_TOLD = [*KIND_OF][: [*KIND_OF].index("status")]
LIFE = ["state", "superseded_by", "twin_of"]
PULSE = ["timestamp", "first_seen", "registered_at", "last_seen", "heartbeat_count", "state_since"]


def news(before: ServerRecord | None, after: ServerRecord) -> dict[str, Any]:
    """The details of what happened, by kind."""
    happened = changes(before, after, at=NOON)
    by_kind = {event.kind.value: event.details for event in happened}

    assert len(happened) == len(by_kind)
    return by_kind


def heard(record: ServerRecord | None, **told: Any) -> ServerRecord:
    return merge(record, Heartbeat(server_id="acme_web-1", **told), received_at=NOON)


def registered(record: ServerRecord | None, **told: Any) -> ServerRecord:
    return register(record, Registration(server_id="acme_web-1", **told), received_at=NOON)


def kinds_that_name(name: str, happened: Iterable[Event]) -> list[str]:
    return [event.kind.value for event in happened if name in event.details]


def same_but_for_its_order(name: str, old: Any, new: Any) -> bool:
    """Whether tools or addresses are the same."""
    if old is None or new is None:
        return False
    if name == "ip_addresses":
        return (old.primary, {*old.all}) == (new.primary, {*new.all})
    return name == "capabilities" and {*old} == {*new}


# Every change is told once


def test_every_field_is_described_told_of_or_part_of_the_pulse() -> None:
    names = {field.name for field in fields(ServerRecord)} - {"server_id"}

    assert names == {*KIND_OF, *LIFE, *PULSE}
    assert len(names) == len([*KIND_OF, *LIFE, *PULSE])


@given(records())
def test_no_change_is_no_event(record: ServerRecord) -> None:
    assert [] == changes(record, deepcopy(record), at=NOON)


@given(records(), moments())
def test_the_first_that_is_heard_of_a_server_is_that_it_registered(
    record: ServerRecord, at: datetime
) -> None:
    assert [Event(kind=EventKind.REGISTERED, at=at, server_id=record.server_id)] == changes(
        None, record, at=at
    )


@given(changed_records())
def test_every_changed_field_is_named_in_one_event_of_its_kind(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    happened = changes(before, after, at=NOON)

    for name in ALWAYS_TOLD:
        old, new = getattr(before, name), getattr(after, name)
        changed = old != new and not same_but_for_its_order(name, old, new)
        expected = ["updated" if old is None else KIND_OF[name]] if changed else []
        assert expected == kinds_that_name(name, happened)


@given(changed_records())
def test_a_status_that_becomes_another_is_an_update(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    told = before.status is not None and before.status != after.status

    assert (["updated"] if told else []) == kinds_that_name("status", changes(*pair, at=NOON))


@given(changed_records())
def test_a_start_that_changed_is_named_in_one_event(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    happened = changes(before, after, at=NOON)

    expected = []
    if after.started_at is not None and before.started_at != after.started_at:
        # What was known before of the time when it last started, or was alive.
        earlier = before.timestamp if before.started_at is None else before.started_at
        again = earlier is not None and after.started_at > earlier
        expected = ["restarted" if again else "updated"]
    assert expected == kinds_that_name("started_at", happened)


@given(changed_records())
def test_an_uptime_is_told_when_it_fell_and_no_registration_said_so_before(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    fell = (
        before.uptime_seconds is not None
        and after.uptime_seconds is not None
        and before.uptime_seconds > after.uptime_seconds
    )
    was_told = (
        before.started_at is not None
        and before.timestamp is not None
        and before.started_at > before.timestamp
    )

    assert (["restarted"] if fell and not was_told else []) == kinds_that_name(
        "uptime_seconds", changes(before, after, at=NOON)
    )


@given(records(), records())
def test_nothing_is_said_of_what_changes_with_every_heartbeat(
    record: ServerRecord, other: ServerRecord
) -> None:
    later = evolve(record, **{name: getattr(other, name) for name in PULSE})

    assert [] == changes(record, later, at=NOON)


@given(changed_records())
def test_events_name_what_is_in_their_kind_and_nothing_else(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    of_life = {
        "late": {"last_seen"},
        "down": {"last_seen"},
        "recovered": {"away_seconds"},
        "rebuilt": {"superseded_by"},
        "twin": {"twin_of"},
    }
    for kind, details in news(*pair).items():
        described = {name for name in KIND_OF if kind in {KIND_OF[name], "updated"}}
        assert set() < {*details} <= of_life.get(kind, described)


@given(changed_records())
def test_details_tell_what_was_and_what_is(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = (unstructure(record) for record in pair)
    told = [change for event in changes(*pair, at=NOON) for change in event.details.items()]

    for name, change in told:
        if name in KIND_OF and "gained" not in change:
            assert {"from": before[name], "to": after[name]} == change


@given(changed_records())
def test_tools_gained_and_lost_are_told_by_name(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    details = news(*pair).get("capabilities_changed")
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
def test_events_are_of_the_server_and_of_the_moment(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    for event in changes(*pair, at=at):
        assert (pair[1].server_id, at) == (event.server_id, event.at)


@given(records(), heartbeats(), registrations(), moments())
def test_a_message_that_comes_again_is_no_news(
    record: ServerRecord, heartbeat: Heartbeat, registration: Registration, now: datetime
) -> None:
    once = merge(record, heartbeat, received_at=now)
    assert [] == changes(once, merge(once, heartbeat, received_at=now), at=now)

    once = register(record, registration, received_at=now)
    assert [] == changes(once, register(once, registration, received_at=now), at=now)


# A restart is told once


# Of each life of a server: whether its registration arrives, and how often it is heard.
lives = st.lists(st.tuples(st.booleans(), st.integers(2, 4)), min_size=1, max_size=5)


@given(lives)
def test_every_restart_is_told_once_whether_its_registration_arrives_or_not(
    told: list[tuple[bool, int]],
) -> None:
    record: ServerRecord | None = None
    clock = NOON
    restarts = []
    for registers, beats in told:
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

    assert [0] + [1] * (len(told) - 1) == restarts


def test_a_start_that_rose_is_a_restart() -> None:
    assert {
        "restarted": {
            "started_at": {"from": "2026-01-31T11:00:00Z", "to": "2026-01-31T11:59:30Z"},
        }
    } == news(WEB, registered(WEB, started_at=NOON - MINUTE / 2))


def test_an_uptime_that_fell_is_a_restart() -> None:
    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 30.0}}} == news(
        WEB, heard(WEB, timestamp=NOON, uptime_seconds=30.0)
    )


def test_an_uptime_that_fell_to_nothing_is_a_restart() -> None:
    assert {"restarted": {"uptime_seconds": {"from": 3540.0, "to": 0.0}}} == news(
        WEB, heard(WEB, uptime_seconds=0)
    )


def test_a_restart_that_a_registration_told_is_not_told_by_the_next_heartbeat() -> None:
    again = registered(WEB, started_at=NOON - MINUTE / 2)

    assert {} == news(again, heard(again, timestamp=NOON, uptime_seconds=30.0))


def test_the_restart_after_one_that_was_told_is_told() -> None:
    again = registered(WEB, started_at=NOON - MINUTE / 2)
    alive = heard(again, timestamp=NOON, uptime_seconds=30.0)

    assert ["restarted"] == [*news(alive, heard(alive, timestamp=NOON + MINUTE, uptime_seconds=5))]


def test_the_first_registration_that_arrives_tells_of_a_restart_since_the_last_heartbeat() -> None:
    never_registered = evolve(WEB, started_at=None, registered_at=None)

    assert {"restarted": {"started_at": {"from": None, "to": "2026-01-31T11:59:30Z"}}} == news(
        never_registered, registered(never_registered, started_at=NOON - MINUTE / 2)
    )


def test_a_start_before_the_last_heartbeat_only_becomes_known() -> None:
    never_registered = evolve(WEB, started_at=None, registered_at=None)

    assert {"updated": {"started_at": {"from": None, "to": "2026-01-31T11:00:00Z"}}} == news(
        never_registered, registered(never_registered, started_at=NOON - 60 * MINUTE)
    )


def test_a_start_that_falls_is_an_update() -> None:
    assert {
        "updated": {
            "started_at": {"from": "2026-01-31T11:00:00Z", "to": "2026-01-31T10:00:00Z"},
        }
    } == news(WEB, registered(WEB, started_at=NOON - 120 * MINUTE))


# What else happens to a server


def test_a_server_that_is_heard_first_has_registered() -> None:
    assert {"registered": {}} == news(None, heard(None, hostname="web-1"))


def test_a_heartbeat_as_ever_is_no_news() -> None:
    assert {} == news(WEB, heard(WEB, timestamp=NOON, uptime_seconds=3600.0, status="healthy"))


def test_another_host_is_a_move() -> None:
    addresses = IpAddresses(primary="10.0.0.9", all=("10.0.0.9", "fd00::9"))

    assert {
        "moved": {
            "hostname": {"from": "web-1", "to": "web-2"},
            "ip_addresses": {
                "from": {"primary": "10.0.0.5", "all": ["10.0.0.5"]},
                "to": {"primary": "10.0.0.9", "all": ["10.0.0.9", "fd00::9"]},
            },
        }
    } == news(WEB, heard(WEB, hostname="web-2", ip_addresses=addresses))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("port", 8768, 8769),
        ("transport", "http/sse", ""),
        ("endpoint_url", "https://web-1.example/mcp", "https://web-2.example/mcp"),
    ],
)
def test_another_way_to_connect_is_a_move(name: str, old: Any, new: Any) -> None:
    assert {"moved": {name: {"from": old, "to": new}}} == news(WEB, heard(WEB, **{name: new}))


def test_another_version_is_an_upgrade() -> None:
    assert {
        "upgraded": {
            "version": {"from": "1.0.0", "to": "1.1.0"},
            "odoo_version": {"from": "19.0", "to": "19.1"},
        }
    } == news(WEB, heard(WEB, version="1.1.0", odoo_version="19.1"))


def test_other_tools_are_told_by_name() -> None:
    assert {
        "capabilities_changed": {
            "capabilities": {"gained": ["unlink", "write"], "lost": ["create"]}
        }
    } == news(WEB, heard(WEB, capabilities=("write", "search", "unlink")))


def test_all_tools_may_be_lost() -> None:
    assert {
        "capabilities_changed": {"capabilities": {"gained": [], "lost": ["create", "search"]}}
    } == news(WEB, heard(WEB, capabilities=()))


@pytest.mark.parametrize("name", ["10.0.0.6", "10.0.0.7"])
def test_the_same_addresses_in_another_order_are_no_news(name: str) -> None:
    addresses = ("10.0.0.5", "10.0.0.6", "10.0.0.7")
    before = evolve(WEB, ip_addresses=IpAddresses(primary="10.0.0.5", all=addresses))
    reordered = IpAddresses(primary="10.0.0.5", all=addresses[::-1])
    another = IpAddresses(primary=name, all=addresses)

    assert {} == news(before, heard(before, ip_addresses=reordered))
    assert ["moved"] == [*news(before, heard(before, ip_addresses=another))]


@pytest.mark.parametrize("tools", [("search", "create"), ("create", "search", "search")])
def test_the_same_tools_in_another_order_are_no_news(tools: tuple[str, ...]) -> None:
    assert {} == news(WEB, heard(WEB, capabilities=tools))


def test_another_stage_is_told() -> None:
    assert {"stage_changed": {"odoo_stage": {"from": "staging", "to": "production"}}} == news(
        WEB, heard(WEB, odoo_stage="production")
    )


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("database", "acme", "acme-2"),
        ("database_uuid", "7b2f", "9c4d"),
        ("heartbeat_interval_seconds", 300.0, 60.0),
        ("status", "healthy", "degraded"),
    ],
)
def test_what_has_no_kind_of_its_own_is_an_update(name: str, old: Any, new: Any) -> None:
    assert {"updated": {name: {"from": old, "to": new}}} == news(WEB, heard(WEB, **{name: new}))


def test_what_becomes_known_is_an_update() -> None:
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
    } == news(UNKNOWN, heard(UNKNOWN, **told))


def test_one_message_may_tell_of_several_things() -> None:
    after = heard(WEB, hostname="web-2", version="1.1.0", uptime_seconds=1.0)

    assert {"moved", "restarted", "upgraded"} == {*news(WEB, after)}


# Alarms


@given(changed_records())
def test_an_alarm_is_raised_for_who_falls_silent_and_is_not_superseded(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    happened = news(before, after)

    for state in (State.LATE, State.DOWN):
        was_so = before.state is state and before.superseded_by is None
        falls = after.state is state and after.superseded_by is None and not was_so
        assert falls == (state.value in happened)


@given(changed_records())
def test_a_recovery_is_told_of_who_was_silent_and_is_heard(
    pair: tuple[ServerRecord, ServerRecord],
) -> None:
    before, after = pair
    silent = {State.LATE, State.DOWN}

    assert (before.state in silent and after.state not in silent) == (
        "recovered" in news(before, after)
    )


@given(changed_records())
def test_nobody_was_away_for_less_than_no_time(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = pair
    silence = (after.last_seen - before.last_seen).total_seconds()
    recovered = news(before, after).get("recovered", {"away_seconds": max(silence, 0.0)})

    assert {"away_seconds": max(silence, 0.0)} == recovered


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
@pytest.mark.parametrize("before", [State.NEW, State.UP])
def test_a_server_that_falls_silent_is_told_with_the_time_it_was_last_seen(
    before: State, state: State
) -> None:
    record = evolve(WEB, state=before)

    assert {state.value: {"last_seen": "2026-01-31T11:59:00Z"}} == news(
        record, evolve(record, state=state, state_since=NOON)
    )


def test_a_late_server_that_goes_down_is_told_again() -> None:
    late = evolve(WEB, state=State.LATE)

    assert ["down"] == [*news(late, evolve(late, state=State.DOWN, state_since=NOON))]


def test_a_server_that_stays_down_is_told_no_more() -> None:
    down = evolve(WEB, state=State.DOWN)

    assert {} == news(down, evolve(down, state_since=NOON))


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_a_server_that_is_heard_again_recovers_after_the_time_it_was_away(state: State) -> None:
    silent = evolve(WEB, state=state, last_seen=NOON - timedelta(seconds=301.5))

    assert {"recovered": {"away_seconds": 301.5}} == news(silent, heard(silent))


def test_a_server_that_registers_again_recovers() -> None:
    down = evolve(WEB, state=State.DOWN, heartbeat_count=0)

    assert {"recovered": {"away_seconds": 60.0}} == news(down, registered(down))


def test_a_server_that_is_heard_by_a_clock_that_is_behind_was_away_for_no_time() -> None:
    down = evolve(WEB, state=State.DOWN, last_seen=NOON + MINUTE)

    assert {"recovered": {"away_seconds": 0.0}} == news(down, heard(down))


# Rebuilt servers and twins


@given(changed_records())
def test_a_successor_is_told_once(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = pair
    is_news = after.superseded_by is not None and before.superseded_by != after.superseded_by

    assert ({"superseded_by": after.superseded_by} if is_news else None) == news(*pair).get(
        "rebuilt"
    )


@given(changed_records())
def test_a_twin_is_told_once(pair: tuple[ServerRecord, ServerRecord]) -> None:
    before, after = pair
    is_news = after.twin_of is not None and before.twin_of != after.twin_of

    assert ({"twin_of": after.twin_of} if is_news else None) == news(*pair).get("twin")


def test_a_rebuilt_server_is_told_with_its_successor_and_raises_no_alarm() -> None:
    gone = evolve(WEB, superseded_by="acme_web-2", state=State.DOWN, state_since=NOON)

    assert {"rebuilt": {"superseded_by": "acme_web-2"}} == news(WEB, gone)


@given(records(), server_ids(), st.sampled_from([State.LATE, State.DOWN]))
def test_a_superseded_server_raises_no_alarm(
    record: ServerRecord, successor: str, state: State
) -> None:
    superseded = evolve(record, superseded_by=successor)
    silent = evolve(superseded, state=state, state_since=NOON)

    assert [] == changes(superseded, silent, at=NOON)


def test_a_superseded_server_that_is_heard_again_recovers() -> None:
    gone = evolve(WEB, superseded_by="acme_web-2", state=State.DOWN)

    assert {"recovered": {"away_seconds": 60.0}} == news(gone, heard(gone))


def test_a_server_that_lost_its_successor_and_its_twin_is_no_news() -> None:
    record = evolve(WEB, superseded_by="acme_web-2", twin_of="acme_web-3")

    assert {} == news(record, evolve(record, superseded_by=None, twin_of=None))


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_a_silent_server_that_lost_its_successor_is_an_alarm_and_not_back(state: State) -> None:
    gone = evolve(WEB, superseded_by="acme_web-2", state=state)

    assert [state.value] == [*news(gone, evolve(gone, superseded_by=None))]


def test_a_twin_is_told_with_its_name() -> None:
    assert {"twin": {"twin_of": "copy_web-9"}} == news(WEB, evolve(WEB, twin_of="copy_web-9"))


# Pure, and the same on both sides of the wire


@given(changed_records(), moments())
def test_pure(pair: tuple[ServerRecord, ServerRecord], at: datetime) -> None:
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


def test_an_event_is_written_as_it_reads() -> None:
    (event,) = changes(WEB, heard(WEB, odoo_stage=""), at=NOON)

    assert {
        "kind": "stage_changed",
        "at": "2026-01-31T12:00:00Z",
        "server_id": "acme_web-1",
        "details": {"odoo_stage": {"from": "staging", "to": ""}},
    } == json.loads(dumps(event))


def test_an_event_of_the_fleet_is_of_no_server() -> None:
    event = Event(
        kind=EventKind.FLEET_SILENT, at=NOON, server_id=None, details={"silent": 40, "of": 50}
    )

    assert {
        "kind": "fleet_silent",
        "at": "2026-01-31T12:00:00Z",
        "server_id": None,
        "details": {"silent": 40, "of": 50},
    } == json.loads(dumps(event))
