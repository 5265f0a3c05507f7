"""The codec never coerces a value: it keeps a valid one and refuses any other."""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import fields

from contract import (
    Event,
    EventKind,
    Heartbeat,
    InvalidMessage,
    IpAddresses,
    Registration,
    ServerPayload,
    ServerRecord,
    loads,
    structure,
)
from wire import EVENT, RECORD, SERVER, VALID, any_kind, problems, shown
from wrong_values import WRONG, WRONG_ITEMS


def is_one_problem(value: object, kind: type, expected: str) -> bool:
    """Whether the codec refuses a wire value for one reason, which begins with these words."""
    try:
        structure(value, kind)
    except InvalidMessage as error:
        first, *others = map(str, error.problems)
        return first.startswith(f"{expected}, got ") and not others
    return False


@pytest.mark.parametrize(
    ("kind", "name", "expected", "wrong"),
    WRONG,
    ids=[f"{kind.__name__}-{name}" for kind, name, _, _ in WRONG],
)
def test_an_invalid_value_of_a_field_is_refused(
    kind: type, name: str, expected: str, wrong: list[Any]
) -> None:
    def is_refused(value: Any) -> bool:
        return is_one_problem(VALID[kind] | {name: value}, kind, f"{name}: expected {expected}")

    assert [] == [value for value in wrong if not is_refused(value)]


@pytest.mark.parametrize(("wire", "path", "expected", "wrong"), WRONG_ITEMS)
def test_an_invalid_item_of_a_list_is_refused(
    wire: Callable[[Any], dict[str, Any]], path: str, expected: str, wrong: list[Any]
) -> None:
    def is_refused(value: Any) -> bool:
        return is_one_problem(SERVER | wire(value), Heartbeat, f"{path}: expected {expected}")

    assert [] == [value for value in wrong if not is_refused(value)]


def test_every_field_has_invalid_values_in_the_table() -> None:
    told = {name for _, name, _, _ in WRONG}

    assert {field.name for kind in VALID for field in fields(kind)} == told


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        ({"port": 1}, 1),
        ({"port": 65535}, 65535),
        ({"sequence": 0}, 0),
        ({"sequence": 2**63 - 1}, 2**63 - 1),
        ({"uptime_seconds": 0}, 0.0),
        ({"uptime_seconds": 300}, 300.0),
        ({"heartbeat_interval_seconds": 5e-324}, 5e-324),
        ({"server_id": "a"}, "a"),
        ({"server_id": "é" * 255}, "é" * 255),
        ({"server_id": "db host/ü?#%"}, "db host/ü?#%"),
        ({"hostname": "\n\t\x7f\U0001f40d"}, "\n\t\x7f\U0001f40d"),
        ({"capabilities": []}, ()),
        ({"capabilities": ["search", "create", "search"]}, ("search", "create")),
        ({"timestamp": "2026-01-31T12:00:00Z"}, datetime(2026, 1, 31, 12, tzinfo=timezone.utc)),
        ({"endpoint_url": "https://[fd00::5]:8768/mcp"}, "https://[fd00::5]:8768/mcp"),
        ({"ip_addresses": {"primary": "::1", "all": []}}, IpAddresses(primary="::1", all=())),
    ],
)
def test_a_valid_value_is_kept(wire: dict[str, Any], kept: object) -> None:
    (name,) = wire

    assert kept == getattr(structure(SERVER | wire, Heartbeat), name)


@pytest.mark.parametrize("kind", [Heartbeat, Registration])
def test_null_in_a_message_is_read_as_absent(kind: type) -> None:
    nothing: dict[str, Any] = {field.name: None for field in fields(kind)}

    assert kind(**SERVER) == structure(nothing | SERVER, kind)


@pytest.mark.parametrize("field", [f for f in fields(ServerRecord) if f.default is None])
def test_null_in_a_record_is_read_as_none(field: Any) -> None:
    assert getattr(structure(RECORD | {field.name: None}, ServerRecord), field.name) is None


def test_null_server_of_an_event_is_none() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

    assert Event(kind=EventKind.LATE, at=noon, server_id=None) == structure(
        EVENT | {"server_id": None}, Event
    )


def test_details_of_an_event_may_be_any_json() -> None:
    details = {"silent": 40, "of": {"all": [1.5, None, "text"]}}

    assert details == structure(EVENT | {"details": details}, Event).details


@any_kind
@pytest.mark.parametrize("value", [None, True, 5, 1.5, "text", [], [SERVER]])
def test_other_json_than_an_object_is_refused(kind: type, value: object) -> None:
    assert [f"expected an object, got {shown(value)}"] == problems(value, kind)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:password@odoo.example/",
        "http://[fd00::5]x",
        "http://a[::1]",
        "http://a/b#c#d",
        "http://a/%zz",
    ],
)
def test_an_invalid_url_or_one_with_a_password_is_refused_as_endpoint(url: str) -> None:
    with pytest.raises(InvalidMessage, match="expected an http or https URL"):
        structure({"server_id": "prod_web-1", "endpoint_url": url}, Heartbeat)


@pytest.mark.parametrize(
    "url",
    [
        "https://odoo.example",
        "HTTP://odoo.example:8069/mcp/v1?db=acme#tools",
        "http://[fd00::5]:8768/sse",
        "http://10.0.0.5?x=1",
    ],
)
def test_ordinary_urls_are_accepted_as_endpoint(url: str) -> None:
    assert url == structure({"server_id": "a", "endpoint_url": url}, Heartbeat).endpoint_url


@pytest.mark.parametrize("count", [0, 1, 2**63])
def test_a_count_is_any_whole_number_from_0(count: int) -> None:
    assert count == structure(RECORD | {"heartbeat_count": count}, ServerRecord).heartbeat_count


@pytest.mark.parametrize("count", [-1, -1.0, True, 0.5, "0"])
def test_a_count_that_is_no_whole_number_from_0_is_refused(count: object) -> None:
    assert [f"heartbeat_count: expected a whole number, 0 or more, got {shown(count)}"] == problems(
        RECORD | {"heartbeat_count": count}, ServerRecord
    )


@pytest.mark.parametrize(
    ("sequence", "quoted"),
    [(-1, "-1"), (2**63, "9223372036854775808"), (True, "true"), ("7", '"7"')],
)
@pytest.mark.parametrize("kind", [Heartbeat, Registration, ServerPayload, ServerRecord])
def test_a_sequence_out_of_range_is_refused_in_words(
    kind: type, sequence: object, quoted: str
) -> None:
    assert [
        f"sequence: expected a whole number from 0 to 9223372036854775807, got {quoted}"
    ] == problems(VALID[kind] | {"sequence": sequence}, kind)


@pytest.mark.parametrize("whole", [8768, 8768.0])
def test_a_whole_number_with_a_zero_fraction_is_an_integer(whole: float) -> None:
    """As in JSON Schema, by which senders check what they send."""
    heartbeat = loads(b'{"server_id": "a", "port": %b}' % str(whole).encode(), Heartbeat)

    assert [(8768, int)] * 2 == [
        (port, type(port))
        for port in (heartbeat.port, Heartbeat(server_id="a", port=whole).port)  # type: ignore[arg-type]  # as JSON
    ]


def test_a_list_of_a_record_is_kept_as_a_tuple() -> None:
    record = structure(RECORD | {"capabilities": ["create", "search"]}, ServerRecord)

    assert ("create", "search") == record.capabilities
