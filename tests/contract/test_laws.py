"""The laws of `merge` and `register`, and the merge scenarios of the specification."""

import json
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, TypeAlias

import pytest
from attrs import AttrsInstance, evolve, fields
from attrs.exceptions import FrozenInstanceError
from hypothesis import assume, given
from hypothesis import strategies as st

from contract import (
    Event,
    Heartbeat,
    IpAddresses,
    Registration,
    ServerPayload,
    ServerRecord,
    State,
    Tool,
    WrongServer,
    dumps,
    loads,
    merge,
    merge_repeated,
    register,
    repeats,
    structure,
    tools_digest,
    unstructure,
)
from contract.merging import repetition
from strategies import (
    events,
    heartbeats,
    moments,
    payloads,
    records,
    registrations,
    seconds,
    server_ids,
    tools,
    wire_messages,
    wire_moments,
)

KINDS = [Heartbeat, Registration, ServerPayload, ServerRecord, Event, Tool]
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

OLD = ServerRecord(
    server_id="prod_old-host",
    hostname="old-host",
    ip_addresses=IpAddresses(primary="10.0.0.5", all=("10.0.0.5", "127.0.0.1")),
    port=8768,
    transport="http/sse",
    version="1.0.0",
    odoo_version="19.0",
    database="prod",
    capabilities=("create", "search"),
    odoo_stage="production",
    database_uuid="7b2f",
    endpoint_url="https://old-host.example/mcp",
    heartbeat_interval_seconds=300.0,
    sequence=1042,
    tools_digest="0a",
    started_at=NOON - timedelta(days=2),
    status="healthy",
    timestamp=NOON - timedelta(minutes=1),
    uptime_seconds=172_800.0,
    first_seen=NOON - timedelta(days=2),
    registered_at=NOON - timedelta(days=2),
    last_seen=NOON - timedelta(minutes=1),
    heartbeat_count=7,
    state=State.UP,
    state_since=NOON - timedelta(days=1),
    twin_of="prod_twin-host",
    node_count=2,
    conflict_since=NOON - timedelta(hours=3),
    flapping_since=NOON - timedelta(hours=2),
    labels=("gold",),
)

ENRICHED: dict[str, Any] = {
    "server_id": "prod_old-host",
    "hostname": "new-host",
    "ip_addresses": {"primary": "10.0.0.9", "all": ["10.0.0.9"]},
    "port": 8769,
    "transport": "http/streamable",
    "version": "1.1.0",
    "odoo_version": "19.1",
    "database": "prod-2",
    "capabilities": ["search", "unlink"],
    "odoo_stage": "staging",
    "database_uuid": "9c4d",
    "endpoint_url": "https://new-host.example/mcp",
    "heartbeat_interval_seconds": 60,
    "sequence": 1043,
    "tools_digest": "0b",
    "started_at": "2026-01-31T11:54:59Z",
    "status": "degraded",
    "timestamp": "2026-01-31T11:59:59Z",
    "uptime_seconds": 300.5,
}

FAREWELL_OF_OLD = Heartbeat(server_id="prod_old-host", status="uninstalled")
# What only the receiver knows of a server, by what other servers send and people say.
KIN = ["twin_of", "node_count", "node_of", "conflict_since", "flapping_since", "labels"]

SLIM: dict[str, Any] = {
    "server_id": "prod_old-host",
    "status": "healthy",
    "timestamp": "2026-01-31T11:59:59Z",
}

Message: TypeAlias = Heartbeat | Registration
Wire: TypeAlias = dict[str, Any]

# Each is a class of messages, a message in its wire form and the time of its receipt.
heard_heartbeats = st.tuples(st.just(Heartbeat), wire_messages(Heartbeat), wire_moments())
heard_registrations = st.tuples(st.just(Registration), wire_messages(Registration), wire_moments())
histories = st.lists(heard_heartbeats | heard_registrations, min_size=1, max_size=8)
History: TypeAlias = list[tuple[type[Message], Wire, str]]


def values(thing: AttrsInstance) -> dict[str, Any]:
    """The fields of an object, by name."""
    return {field.name: getattr(thing, field.name) for field in fields(type(thing))}


def in_utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc)


def present(message: Message) -> dict[str, Any]:
    return {name: value for name, value in values(message).items() if value is not None}


def state_told_by(heartbeat: Heartbeat) -> State:
    return State.LEFT if heartbeat.status == "uninstalled" else State.UP


def absent(message: Message) -> set[str]:
    return set(values(message)) - set(present(message))


def kept(registration: Registration) -> dict[str, Any]:
    """What a record keeps of a registration: the digest of its tools instead of them."""
    known = present(registration)
    described = known.pop("tools", None)
    digest = {} if described is None else {"tools_digest": tools_digest(described)}
    return digest | known


# 1. Present wins


@given(records(), heartbeats(), moments())
def test_a_present_field_of_a_heartbeat_replaces_that_of_the_record(
    record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    after = values(merge(record, heartbeat, received_at=now))

    assert present(heartbeat) == {name: after[name] for name in present(heartbeat)}


@given(records(), registrations(), moments())
def test_a_present_field_of_a_registration_replaces_that_of_the_record(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    after = values(register(record, registration, received_at=now))

    assert kept(registration) == {name: after[name] for name in kept(registration)}


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("hostname", ""),
        ("ip_addresses", IpAddresses(primary="::1", all=())),
        ("transport", ""),
        ("version", ""),
        ("odoo_version", ""),
        ("database", ""),
        ("capabilities", ()),
        ("odoo_stage", ""),
        ("database_uuid", ""),
        ("sequence", 0),
        ("status", ""),
        ("uptime_seconds", 0),
        ("uptime_seconds", 0.0),
    ],
)
def test_an_empty_field_of_a_heartbeat_replaces_that_of_the_record(name: str, empty: Any) -> None:
    heartbeat = Heartbeat(server_id=OLD.server_id, **{name: empty})

    assert empty == getattr(merge(OLD, heartbeat, received_at=NOON), name)


# A heartbeat that repeats its record


@st.composite
def repeated_records(draw: st.DrawFn) -> tuple[ServerRecord, Heartbeat]:
    """A record, and a heartbeat that says the same as it of their server, in other objects."""
    record, moving = draw(records()), draw(heartbeats())
    said = {name: deepcopy(getattr(record, name)) for name in DESCRIPTION}
    return record, evolve(moving, **said)


DESCRIPTION = [
    "hostname",
    "ip_addresses",
    "port",
    "transport",
    "version",
    "odoo_version",
    "database",
    "capabilities",
    "odoo_stage",
    "database_uuid",
    "endpoint_url",
    "heartbeat_interval_seconds",
    "tools_digest",
    "started_at",
    "status",
]


@given(repeated_records(), moments())
def test_a_heartbeat_known_to_repeat_its_record_is_merged_like_any_other(
    pair: tuple[ServerRecord, Heartbeat], now: datetime
) -> None:
    record, heartbeat = pair
    before = deepcopy(pair)
    assert repeats(record, heartbeat)

    after = merge_repeated(record, heartbeat, received_at=now)

    assert merge(record, heartbeat, received_at=now) == after
    for name in DESCRIPTION:
        assert getattr(record, name) is getattr(after, name)
    assert before == pair
    assert isinstance(hash(after), int)  # it is frozen, as any record is


@pytest.mark.parametrize("name", DESCRIPTION)
@given(pair=repeated_records(), other=heartbeats())
def test_a_heartbeat_that_says_anything_else_does_not_repeat_the_record(
    name: str, pair: tuple[ServerRecord, Heartbeat], other: Heartbeat
) -> None:
    record, heartbeat = pair
    assume(getattr(record, name) != getattr(other, name))

    assert not repeats(record, evolve(heartbeat, **{name: getattr(other, name)}))


@given(repeated_records())
def test_repetition_of_a_record_is_the_heartbeat_that_repeats_it(
    pair: tuple[ServerRecord, Heartbeat],
) -> None:
    record, heartbeat = pair

    moving = heartbeat.sequence, heartbeat.timestamp, heartbeat.uptime_seconds
    same = repetition(record, *moving)

    assert (Heartbeat, heartbeat) == (type(same), same)
    for name in ["server_id", *DESCRIPTION]:
        assert getattr(record, name) is getattr(same, name)
    with pytest.raises(FrozenInstanceError):
        same.hostname = "changed"  # type: ignore[misc]  # that is the point


SHARED = {
    "port": 8768,
    "transport": "http/sse",
    "version": "1.0.0",
    "odoo_version": "19.0",
    "capabilities": ["create", "search"],
    "odoo_stage": "production",
    "heartbeat_interval_seconds": 300.5,
    "tools_digest": "0a",
    "status": "healthy",
}


@pytest.mark.parametrize("name", SHARED)
def test_records_share_the_objects_that_many_servers_have_in_common(name: str) -> None:
    one, other = (heard(each, SHARED) for each in ("a", "b"))

    assert getattr(one, name) is getattr(other, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hostname", "web-1.example"),
        ("version", "v" * 65),
        ("capabilities", [f"tool_{number}" for number in range(65)]),
    ],
)
def test_records_do_not_share_what_is_long_or_only_one_server_has(name: str, value: object) -> None:
    one, other = (heard(each, {name: value}) for each in ("a", "b"))

    assert getattr(one, name) == getattr(other, name)
    assert getattr(one, name) is not getattr(other, name)


def heard(server_id: str, said: Wire) -> ServerRecord:
    """The record of a server after its first heartbeat, which is decoded as from the wire."""
    beat = loads(json.dumps({"server_id": server_id, **said}), Heartbeat)
    return merge(None, beat, received_at=NOON)


def test_equal_numbers_of_two_types_are_not_shared() -> None:
    merge(None, Heartbeat(server_id="a", port=301), received_at=NOON)
    beat = Heartbeat(server_id="a", heartbeat_interval_seconds=301)

    after = merge(None, beat, received_at=NOON)

    assert float is type(after.heartbeat_interval_seconds)


@given(naive=st.datetimes())
def test_a_repeated_heartbeat_received_at_a_naive_time_raises(naive: datetime) -> None:
    with pytest.raises(ValueError, match="offset"):
        merge_repeated(OLD, structure(SLIM, Heartbeat), received_at=naive)


# 2. Absent never erases


@given(records(), heartbeats(), moments())
def test_an_absent_field_of_a_heartbeat_keeps_that_of_the_record(
    record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    after = merge(record, heartbeat, received_at=now)

    for name in absent(heartbeat):
        assert getattr(record, name) == getattr(after, name)


@given(records(), registrations(), moments())
def test_an_absent_field_of_a_registration_keeps_that_of_the_record(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    after = register(record, registration, received_at=now)

    for name in {field.name for field in fields(Registration)} - {*kept(registration), "tools"}:
        assert getattr(record, name) == getattr(after, name)


@given(st.one_of(*[st.tuples(st.just(kind), wire_messages(kind)) for kind in KINDS[:2]]))
def test_a_null_field_of_a_message_equals_an_absent_one(told: tuple[type[Message], Wire]) -> None:
    kind, wire = told
    present = {name: value for name, value in wire.items() if value is not None}

    assert structure(present, kind) == structure(wire, kind)


@given(histories)
def test_an_absent_field_keeps_that_of_the_record_in_any_order_of_messages(
    history: History,
) -> None:
    """Compares the contract with `model_after`, a model of it on plain dicts."""
    record: ServerRecord | None = None
    model: Wire = {}
    for kind, wire, now in history:
        record = record_after(record, kind, wire, now)
        model = model_after(model, kind, wire, now)

        assert model == json.loads(dumps(record))


def record_after(
    record: ServerRecord | None, kind: type[Message], wire: Wire, now: str
) -> ServerRecord:
    message = loads(json.dumps(wire), kind)
    received_at = datetime.fromisoformat(now.replace("Z", "+00:00"))
    if isinstance(message, Heartbeat):
        return merge(record, message, received_at=received_at)
    return register(record, message, received_at=received_at)


UNKNOWN_FIELDS = dict.fromkeys(
    [
        "server_id",
        "hostname",
        "ip_addresses",
        "port",
        "transport",
        "version",
        "odoo_version",
        "database",
        "capabilities",
        "odoo_stage",
        "database_uuid",
        "endpoint_url",
        "heartbeat_interval_seconds",
        "sequence",
        "tools_digest",
        "started_at",
        "status",
        "timestamp",
        "uptime_seconds",
        "registered_at",
    ]
)


def model_after(model: Wire, kind: type[Message], wire: Wire, now: str) -> Wire:
    count = model.get("heartbeat_count", 0) + (kind is Heartbeat)
    state = "up" if count else "new"
    if kind is Heartbeat and wire.get("status") == "uninstalled":
        state = "left"
    since = model["state_since"] if model.get("state") == state else now
    model = {
        **(model or UNKNOWN_FIELDS | {"first_seen": now}),
        "last_seen": now,
        "heartbeat_count": count,
        "state": state,
        "state_since": since,
        "superseded_by": None,
        "twin_of": None,
        "node_count": 0,
        "node_of": None,
        "conflict_since": None,
        "flapping_since": None,
        "labels": None,
    }
    for name, value in wire.items():
        if name in UNKNOWN_FIELDS and value is not None:
            model = {**model, name: value}
    if wire.get("tools") is not None and wire.get("tools_digest") is None:
        model = {**model, "tools_digest": model_of_digest(wire["tools"])}
    return model if kind is Heartbeat else {**model, "registered_at": now}


def model_of_digest(tools: list[Wire]) -> str:
    """The digest of the wire form of tools that hold no null and no unknown member."""
    spelled = {
        json.dumps(tool, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        for tool in tools
    }
    return sha256("\n".join(sorted(spelled)).encode()).hexdigest()


SEARCH = Tool(name="search", description="Finds records.")


@pytest.mark.parametrize(
    ("told", "digest"),
    [
        ({}, "0a"),
        ({"tools_digest": "0b"}, "0b"),
        ({"tools": [SEARCH]}, tools_digest([SEARCH])),
        ({"tools": []}, tools_digest([])),
        ({"tools": [SEARCH], "tools_digest": "0b"}, "0b"),
        ({"tools": [], "tools_digest": "0b"}, "0b"),
    ],
)
def test_a_registration_replaces_the_digest_by_its_own_or_that_of_its_tools(
    told: dict[str, Any], digest: str
) -> None:
    registration = Registration(server_id=OLD.server_id, **told)

    assert digest == register(OLD, registration, received_at=NOON).tools_digest


def test_a_registration_of_an_unknown_server_gives_its_record_the_digest_of_the_tools() -> None:
    registration = Registration(server_id=OLD.server_id, tools=[SEARCH])  # type: ignore[arg-type]

    assert tools_digest([SEARCH]) == register(None, registration, received_at=NOON).tools_digest


@pytest.mark.parametrize(("told", "digest"), [({}, "0a"), ({"tools_digest": "0b"}, "0b")])
def test_a_heartbeat_replaces_the_digest_only_by_its_own(told: dict[str, str], digest: str) -> None:
    heartbeat = Heartbeat(server_id=OLD.server_id, **told)  # type: ignore[arg-type]

    assert digest == merge(OLD, heartbeat, received_at=NOON).tools_digest


@pytest.mark.parametrize("name", ["sequence", "started_at"])
def test_a_heartbeat_without_sequence_and_start_keeps_them(name: str) -> None:
    after = merge(OLD, structure(SLIM, Heartbeat), received_at=NOON)

    assert getattr(OLD, name) == getattr(after, name) is not None


def test_a_heartbeat_with_sequence_and_start_replaces_them() -> None:
    """Also when they are lower: messages count in the order in which they arrive."""
    earlier = OLD.first_seen - timedelta(days=1)
    beat = Heartbeat(server_id=OLD.server_id, sequence=7, started_at=earlier)

    after = merge(OLD, beat, received_at=NOON)

    assert (7, earlier) == (after.sequence, after.started_at)


@pytest.mark.parametrize(("sequence", "kept"), [(None, 1042), (0, 0), (7, 7), (1043, 1043)])
def test_the_sequence_of_a_registration_replaces_the_old_one(
    sequence: int | None, kept: int
) -> None:
    registration = Registration(server_id=OLD.server_id, sequence=sequence)

    assert kept == register(OLD, registration, received_at=NOON).sequence


# 3. Every heartbeat counts


@given(records(), heartbeats(), moments())
def test_every_heartbeat_raises_the_count(
    record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    after = merge(record, heartbeat, received_at=now)

    assert record.heartbeat_count + 1 == after.heartbeat_count
    assert in_utc(now) == after.last_seen


def test_a_repeated_heartbeat_raises_the_count() -> None:
    once = merge(OLD, structure(SLIM, Heartbeat), received_at=NOON)

    assert 9 == merge(once, structure(SLIM, Heartbeat), received_at=NOON).heartbeat_count


def test_a_heartbeat_raises_the_count_when_the_clock_was_set_back() -> None:
    earlier = OLD.last_seen - timedelta(hours=1)

    after = merge(OLD, structure(SLIM, Heartbeat), received_at=earlier)

    assert 8 == after.heartbeat_count
    assert earlier == after.last_seen


@given(records(), registrations(), moments())
def test_a_registration_never_resets_the_count(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    after = register(record, registration, received_at=now)

    assert record.heartbeat_count == after.heartbeat_count


@given(records(), registrations(), moments())
def test_a_registration_sets_last_seen_and_registered_at(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    after = register(record, registration, received_at=now)

    assert in_utc(now) == after.last_seen == after.registered_at


def test_first_seen_never_changes() -> None:
    heard = merge(OLD, structure(SLIM, Heartbeat), received_at=NOON)
    registered = register(heard, Registration(server_id=OLD.server_id), received_at=NOON)

    assert OLD.first_seen == heard.first_seen == registered.first_seen


# 4. Unknown servers are welcome


@given(heartbeats(), moments())
def test_a_heartbeat_of_an_unknown_server_makes_a_record(
    heartbeat: Heartbeat, now: datetime
) -> None:
    assert ServerRecord(
        **values(heartbeat),
        first_seen=in_utc(now),
        last_seen=in_utc(now),
        registered_at=None,
        heartbeat_count=1,
        state=state_told_by(heartbeat),
        state_since=in_utc(now),
    ) == merge(None, heartbeat, received_at=now)


@given(registrations(), moments())
def test_a_registration_of_an_unknown_server_makes_a_record(
    registration: Registration, now: datetime
) -> None:
    assert ServerRecord(
        **kept(registration),
        first_seen=in_utc(now),
        last_seen=in_utc(now),
        registered_at=in_utc(now),
        heartbeat_count=0,
        state=State.NEW,
        state_since=in_utc(now),
    ) == register(None, registration, received_at=now)


# 5. Pure


@given(st.none() | records(), heartbeats(), moments())
def test_arguments_are_unchanged_and_results_repeatable(
    record: ServerRecord | None, heartbeat: Heartbeat, now: datetime
) -> None:
    before = deepcopy((record, heartbeat))

    first = merge(record, heartbeat, received_at=now)

    assert before == (record, heartbeat)
    assert first == merge(*before, received_at=now)


@given(heartbeats(), moments())
def test_an_equal_value_keeps_the_old_object(heartbeat: Heartbeat, now: datetime) -> None:
    record = merge(None, heartbeat, received_at=now)

    after = merge(record, deepcopy(heartbeat), received_at=now)

    for name in present(heartbeat):
        assert getattr(record, name) is getattr(after, name)


@given(st.none() | records(), registrations(), moments())
def test_register_leaves_arguments_unchanged(
    record: ServerRecord | None, registration: Registration, now: datetime
) -> None:
    before = deepcopy((record, registration))

    first = register(record, registration, received_at=now)

    assert before == (record, registration)
    assert first == register(*before, received_at=now)


@given(records(), heartbeats(server_ids()), moments())
def test_a_heartbeat_for_another_server_raises(
    record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    assume(record.server_id != heartbeat.server_id)

    with pytest.raises(WrongServer) as raised:
        merge(record, heartbeat, received_at=now)

    assert (record.server_id, heartbeat.server_id) == (
        raised.value.record_id,
        raised.value.message_id,
    )


def test_a_registration_for_another_server_raises() -> None:
    with pytest.raises(WrongServer, match=r"'prod_new-host'.+'prod_old-host'"):
        register(OLD, Registration(server_id="prod_new-host"), received_at=NOON)


@pytest.mark.parametrize("other", ["prod_OLD-HOST", "prod_old-host ", "prod_old-hos"])
def test_a_similar_server_id_is_another_server(other: str) -> None:
    with pytest.raises(WrongServer):
        merge(OLD, Heartbeat(server_id=other), received_at=NOON)


@pytest.mark.parametrize("record", [None, OLD])
@given(naive=st.datetimes())
def test_a_heartbeat_received_at_a_naive_time_raises(
    record: ServerRecord | None, naive: datetime
) -> None:
    with pytest.raises(ValueError, match="offset"):
        merge(record, structure(SLIM, Heartbeat), received_at=naive)


@pytest.mark.parametrize("record", [None, OLD])
@given(naive=st.datetimes())
def test_a_registration_received_at_a_naive_time_raises(
    record: ServerRecord | None, naive: datetime
) -> None:
    with pytest.raises(ValueError, match="offset"):
        register(record, Registration(server_id=OLD.server_id), received_at=naive)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_a_time_outside_the_range_of_utc_raises(moment: datetime) -> None:
    with pytest.raises(ValueError, match="UTC"):
        merge(OLD, Heartbeat(server_id=OLD.server_id), received_at=moment)


@pytest.mark.parametrize("now", ["2026-01-31T13:00:00+01:00", "2026-01-31T07:00:00-05:00"])
def test_the_time_of_receipt_is_kept_in_utc(now: str) -> None:
    received_at = datetime.fromisoformat(now)

    after = merge(None, Heartbeat(server_id="db_host"), received_at=received_at)

    assert timezone.utc is after.last_seen.tzinfo
    assert NOON == after.last_seen == after.first_seen


# 6. Round trip


@given(payloads() | registrations() | heartbeats() | records() | events() | tools())
def test_a_decoded_object_equals_the_encoded_one(
    thing: ServerPayload | Message | ServerRecord | Event | Tool,
) -> None:
    assert thing == loads(dumps(thing), type(thing))


@given(st.one_of(*[st.tuples(st.just(kind), wire_messages(kind)) for kind in KINDS]))
def test_unknown_fields_of_any_class_are_ignored(told: tuple[type, Wire]) -> None:
    kind, wire = told
    known = {field.name for field in fields(kind)}

    assert structure({n: v for n, v in wire.items() if n in known}, kind) == structure(wire, kind)


@given(payloads(), moments())
def test_a_full_registration_holds_all_of_the_payload(
    payload: ServerPayload, started_at: datetime
) -> None:
    registration = Registration.from_payload(payload, started_at=started_at)

    assert values(payload) | {
        "started_at": in_utc(started_at),
        "tools_digest": digest_of(payload),
    } == values(registration)


@given(payloads(), moments(), seconds())
def test_a_full_heartbeat_holds_all_of_the_payload(
    payload: ServerPayload, timestamp: datetime, uptime: float
) -> None:
    heartbeat = Heartbeat.from_payload(payload, timestamp=timestamp, uptime_seconds=uptime)

    told = values(payload)
    told.pop("tools")
    assert told | {
        "tools_digest": digest_of(payload),
        "status": "healthy",
        "timestamp": in_utc(timestamp),
        "uptime_seconds": uptime,
        "started_at": None,
    } == values(heartbeat)


def digest_of(payload: ServerPayload) -> str | None:
    return None if payload.tools is None else tools_digest(payload.tools)


# 7. A message changes state and successor


@given(records(), heartbeats(), moments())
def test_a_heartbeat_makes_a_server_up_and_a_farewell_makes_it_left(
    record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    assert state_told_by(heartbeat) is merge(record, heartbeat, received_at=now).state


@given(records(), registrations(), moments())
def test_a_registration_makes_a_server_new_until_its_first_heartbeat(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    after = register(record, registration, received_at=now)

    assert after.state is (State.NEW if record.heartbeat_count == 0 else State.UP)


@given(records(), heartbeats(), moments())
def test_a_heartbeat_moves_state_since_only_with_the_state_or_a_return(
    record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    after = merge(record, heartbeat, received_at=now)

    changed = record.state is not after.state or record.superseded_by is not None
    assert (in_utc(now) if changed else record.state_since) == after.state_since


@given(records(), registrations(), moments())
def test_a_registration_moves_state_since_only_with_the_state_or_a_return(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    after = register(record, registration, received_at=now)

    changed = record.state is not after.state or record.superseded_by is not None
    assert (in_utc(now) if changed else record.state_since) == after.state_since


@given(records(), heartbeats(), moments())
def test_a_heartbeat_clears_superseded_by(
    record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    assert merge(record, heartbeat, received_at=now).superseded_by is None


@given(records(), registrations(), moments())
def test_a_registration_clears_superseded_by(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    assert register(record, registration, received_at=now).superseded_by is None


@pytest.mark.parametrize("name", KIN)
@given(record=records(), heartbeat=heartbeats(), now=moments())
def test_a_heartbeat_keeps_what_other_servers_mean_for_this_one(
    name: str, record: ServerRecord, heartbeat: Heartbeat, now: datetime
) -> None:
    after = merge(record, heartbeat, received_at=now)

    assert getattr(record, name) == getattr(after, name)


@pytest.mark.parametrize("name", KIN)
@given(record=records(), registration=registrations(), now=moments())
def test_a_registration_keeps_what_other_servers_mean_for_this_one(
    name: str, record: ServerRecord, registration: Registration, now: datetime
) -> None:
    after = register(record, registration, received_at=now)

    assert getattr(record, name) == getattr(after, name)


def test_a_farewell_makes_a_server_left_since_then() -> None:
    after = merge(OLD, FAREWELL_OF_OLD, received_at=NOON)

    assert (State.LEFT, NOON, 8) == (after.state, after.state_since, after.heartbeat_count)


def test_a_repeated_farewell_keeps_the_time_of_the_first() -> None:
    gone = merge(OLD, FAREWELL_OF_OLD, received_at=NOON)
    again = merge(gone, FAREWELL_OF_OLD, received_at=NOON + timedelta(minutes=1))

    assert (State.LEFT, NOON) == (again.state, again.state_since)


def test_a_farewell_of_an_unknown_server_makes_a_record_that_is_left() -> None:
    after = merge(None, FAREWELL_OF_OLD, received_at=NOON)

    assert (State.LEFT, NOON, 1) == (after.state, after.first_seen, after.heartbeat_count)


@pytest.mark.parametrize("status", ["healthy", "degraded", "Uninstalled", "uninstalled ", "", None])
def test_only_the_status_uninstalled_is_a_farewell(status: str | None) -> None:
    beat = Heartbeat(server_id=OLD.server_id, status=status)

    assert State.UP is merge(OLD, beat, received_at=NOON).state


def test_a_server_that_has_left_is_up_again_with_its_next_heartbeat() -> None:
    gone = evolve(OLD, state=State.LEFT, status="uninstalled")

    after = merge(gone, Heartbeat(server_id=OLD.server_id), received_at=NOON)

    assert (State.UP, NOON) == (after.state, after.state_since)


@given(records(), registrations(), moments())
def test_a_registration_never_makes_a_server_left(
    record: ServerRecord, registration: Registration, now: datetime
) -> None:
    gone = evolve(record, state=State.LEFT, status="uninstalled")

    assert register(gone, registration, received_at=now).state.is_heard


@pytest.mark.parametrize("state", [State.LATE, State.DOWN])
def test_a_silent_server_is_up_since_its_next_heartbeat(state: State) -> None:
    silent = evolve(OLD, state=state, state_since=NOON - timedelta(hours=1))

    after = merge(silent, structure(SLIM, Heartbeat), received_at=NOON)

    assert (State.UP, NOON) == (after.state, after.state_since)


def test_a_server_that_keeps_sending_is_up_since_its_first_heartbeat() -> None:
    first = merge(None, structure(SLIM, Heartbeat), received_at=NOON)
    again = merge(first, structure(SLIM, Heartbeat), received_at=NOON + timedelta(minutes=1))

    assert NOON == again.state_since


# The scenarios of the specification


def test_an_enriched_heartbeat_updates_the_record() -> None:
    after = merge(OLD, structure(ENRICHED, Heartbeat), received_at=NOON)

    assert "new-host" == after.hostname
    assert NOON == after.last_seen
    assert 8 == after.heartbeat_count


def test_an_enriched_heartbeat_updates_every_field_it_holds() -> None:
    after = unstructure(merge(OLD, structure(ENRICHED, Heartbeat), received_at=NOON))

    assert ENRICHED == {name: after[name] for name in ENRICHED}


def test_a_slim_heartbeat_keeps_the_hostname() -> None:
    after = merge(OLD, structure(SLIM, Heartbeat), received_at=NOON)

    assert "old-host" == after.hostname
    assert NOON == after.last_seen
    assert 8 == after.heartbeat_count


def test_a_slim_heartbeat_keeps_every_field_that_it_lacks() -> None:
    after = merge(OLD, structure(SLIM, Heartbeat), received_at=NOON)

    assert (
        evolve(
            OLD,
            status="healthy",
            timestamp=NOON - timedelta(seconds=1),
            last_seen=NOON,
            heartbeat_count=8,
        )
        == after
    )


def test_an_enriched_heartbeat_of_an_unknown_server_makes_a_full_record() -> None:
    after = unstructure(merge(None, structure(ENRICHED, Heartbeat), received_at=NOON))

    assert ENRICHED == {name: after[name] for name in ENRICHED}
    assert 1 == after["heartbeat_count"]


@pytest.mark.parametrize(
    "thing",
    [
        OLD,
        OLD.ip_addresses,
        structure(SLIM, Heartbeat),
        merge(OLD, structure(SLIM, Heartbeat), received_at=NOON),
    ],
)
def test_contract_objects_are_immutable(thing: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        thing.hostname = "changed"


def test_the_time_of_receipt_is_given_by_its_name() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        merge(None, Heartbeat(server_id="prod_web-1"), NOON)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional argument"):
        register(None, Registration(server_id="prod_web-1"), NOON)  # type: ignore[call-arg]


def test_every_time_that_a_registration_sets_is_kept_in_utc() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    record = register(None, Registration(server_id="prod_web-1"), received_at=elsewhere)

    assert record.registered_at is not None
    for moment in (record.first_seen, record.registered_at, record.last_seen, record.state_since):
        assert NOON == moment
        assert timezone.utc is moment.tzinfo
