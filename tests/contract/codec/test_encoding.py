"""What is encoded is read again as it was, and has the documented form."""

import json

import pytest
from attrs import fields
from hypothesis import given

from contract import Heartbeat, ServerPayload, ServerRecord, dumps, loads, structure, unstructure
from strategies import events, heartbeats, payloads, records, registrations
from wire import PAYLOAD, RECORD, SERVER


@given(payloads() | registrations() | heartbeats() | records() | events())
def test_encoded_objects_decode_to_equal_ones(thing: object) -> None:
    assert thing == loads(dumps(thing), type(thing))


@given(heartbeats() | records() | events())
def test_encoded_objects_are_read_by_other_json_libraries(thing: object) -> None:
    assert unstructure(thing) == json.loads(dumps(thing))


def test_an_encoded_message_omits_absent_fields() -> None:
    assert b'{"server_id":"prod_web-1","port":8768,"capabilities":[]}' == dumps(
        Heartbeat(**SERVER, port=8768, capabilities=())
    )


def test_an_encoded_record_has_null_for_unknown_fields() -> None:
    never = [field.name for field in fields(ServerRecord) if field.default is None]

    counts = {"heartbeat_count": 0, "node_count": 0}

    assert dict.fromkeys(never) | RECORD | counts | {"state": "new"} == json.loads(
        dumps(structure(RECORD, ServerRecord))
    )


def test_an_encoded_payload_is_that_of_the_specification() -> None:
    assert PAYLOAD == json.loads(dumps(structure(PAYLOAD, ServerPayload)))


@pytest.mark.parametrize(
    ("wire", "written"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500000Z"),
    ],
)
def test_times_are_written_in_utc_with_z(wire: str, written: str) -> None:
    assert written == unstructure(structure(SERVER | {"timestamp": wire}, Heartbeat))["timestamp"]


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, 10**20, 10**300])
def test_numbers_beyond_64_bits_are_encoded(number: int) -> None:
    heartbeat = Heartbeat(**SERVER, uptime_seconds=number, heartbeat_interval_seconds=number)

    assert heartbeat == loads(dumps(heartbeat), Heartbeat)


def test_subclasses_of_float_are_encoded() -> None:
    class Float64(float):
        """A float64 of NumPy is a subclass of float, too."""

    heartbeat = Heartbeat(**SERVER, uptime_seconds=Float64(300.5))

    assert heartbeat == loads(dumps(heartbeat), Heartbeat)
