"""Any bytes give an object or an error of the fleet."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import FleetError, Heartbeat, InvalidMessage, MalformedJSON, loads, parse
from strategies import wire_values
from wire import any_kind, wire_of_any_kind

NOT_JSON = [
    b"",
    b" ",
    b"\0",
    b"{",
    b"{}",
    b"[]",
    b"null",
    b'{"server_id": "a"',
    b'{"server_id": "a",}',
    b"{'server_id': 'a'}",
    b'{"server_id": "a"} {"server_id": "b"}',
    b'{"server_id": "a"}\0',
    b'\xef\xbb\xbf{"server_id": "a"}',
    '{"server_id": "a"}'.encode("utf-16"),
    b'{"server_id": "\xff"}',
    b'{"server_id": "\xed\xa0\x80"}',
    b'{"server_id": "\\ud800"}',
    b'{"server_id": "\\udc00\\ud800"}',
    b'{"server_id": "\\u0000"}',
    b'{"server_id": "a", "uptime_seconds": NaN}',
    b'{"server_id": "a", "uptime_seconds": Infinity}',
    b'{"server_id": "a", "uptime_seconds": -Infinity}',
    b'{"server_id": "a", "uptime_seconds": 1e400}',
    b'{"server_id": "a", "uptime_seconds": ' + b"9" * 5000 + b"}",
    b'{"server_id": "a", "port": ' + b"9" * 300 + b"}",
    b'{"server_id": "a", "port": -' + b"9" * 30 + b"}",
    b'{"server_id": "a", "port": 08768}',
    b'{"server_id": "a", "hostname": ' + b"[" * 900 + b"]" * 900 + b"}",
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"server_id": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'"' + b"a" * 1_000_000 + b'"',
]


@pytest.mark.parametrize("data", NOT_JSON, ids=range(len(NOT_JSON)))
def test_bytes_that_are_no_json_are_refused(data: bytes) -> None:
    with pytest.raises((MalformedJSON, InvalidMessage)):
        loads(data, Heartbeat)


@any_kind
@given(data=st.binary() | st.text().map(json.dumps) | st.text())
def test_any_bytes_give_an_object_or_a_fleet_error(kind: type, data: bytes | str) -> None:
    assert isinstance(read(data, kind), kind | FleetError)


@given(wire_of_any_kind, st.integers(0, 1000), st.integers(0, 3), st.binary(max_size=3))
def test_corrupted_json_gives_an_object_or_a_fleet_error(
    told: tuple[type, Any], start: int, length: int, other: bytes
) -> None:
    kind, wire = told
    text = json.dumps(wire, ensure_ascii=False).encode()
    broken = text[:start] + other + text[start + length :]

    assert isinstance(read(broken, kind), kind | FleetError)


@any_kind
@given(value=wire_values())
def test_any_json_gives_an_object_or_a_fleet_error(kind: type, value: object) -> None:
    assert isinstance(read(json.dumps(value), kind), kind | FleetError)


def read(data: bytes | str, kind: type) -> object:
    try:
        return loads(data, kind)
    except FleetError as error:
        return error


@pytest.mark.parametrize("data", [b"{", "{", b"\xff", b"NaN"])
def test_other_text_than_json_raises_malformed_json(data: bytes | str) -> None:
    with pytest.raises(MalformedJSON, match="not valid JSON: "):
        parse(data)


def test_the_last_of_two_equal_keys_is_read() -> None:
    twice = b'{"server_id": "a", "port": "8768", "server_id": "b", "port": 8768}'

    assert Heartbeat(server_id="b", port=8768) == loads(twice, Heartbeat)


def test_json_text_is_read_like_json_bytes() -> None:
    assert loads(b'{"server_id": "\xc3\xbc"}', Heartbeat) == loads('{"server_id": "ü"}', Heartbeat)


def test_errors_about_malformed_json_begin_alike() -> None:
    with pytest.raises(MalformedJSON, match=r"^not valid JSON: "):
        parse(b"{")
