"""Which fields of a record registrations and heartbeats change, over HTTP."""

from typing import Any

import httpx
import pytest

import messages
from servers import Clock


def record(receiver: httpx.Client, server_id: str = "acme_web-1") -> dict[str, Any]:
    answer = receiver.get(f"/servers/{server_id}")
    assert 200 == answer.status_code
    found: dict[str, Any] = answer.json()
    return found


def payload_of(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in messages.PAYLOAD}


def test_enriched_heartbeat_updates_the_record(receiver: httpx.Client, clock: Clock) -> None:
    """Proves: Enriched heartbeat updates server record"""
    receiver.post("/register", json=messages.registration(hostname="old-host"))
    clock.advance(60)

    answer = receiver.post("/heartbeat", json=messages.heartbeat(hostname="new-host"))

    after = record(receiver)
    assert 200 == answer.status_code
    assert {"status": "ok", "server_id": "acme_web-1", "heartbeat_count": 1} == answer.json()
    assert "new-host" == after["hostname"]
    assert "2026-01-31T12:01:00Z" == after["last_seen"]
    assert 1 == after["heartbeat_count"]


@pytest.mark.both_databases
def test_every_enriched_field_is_merged(receiver: httpx.Client) -> None:
    """Proves: Enriched heartbeat updates server record"""
    receiver.post("/register", json=messages.registration())
    changed = {
        "hostname": "web-2",
        "ip_addresses": {"primary": "10.0.0.6", "all": ["10.0.0.6"]},
        "capabilities": ["other"],
        "odoo_version": "19.1",
        "port": 9000,
        "transport": "http",
        "odoo_stage": "staging",
        "version": "2.0.0",
        "database": "acme2",
    }

    receiver.post("/heartbeat", json=messages.heartbeat(**changed))

    assert {**messages.PAYLOAD, **changed} == payload_of(record(receiver))


def test_slim_heartbeat_keeps_the_hostname(receiver: httpx.Client, clock: Clock) -> None:
    """Proves: Slim heartbeat preserves existing record"""
    receiver.post("/register", json=messages.registration(hostname="old-host"))
    clock.advance(60)

    receiver.post("/heartbeat", json=messages.slim())

    after = record(receiver)
    assert "old-host" == after["hostname"]
    assert "2026-01-31T12:01:00Z" == after["last_seen"]
    assert 1 == after["heartbeat_count"]


def test_slim_heartbeat_keeps_all_ten_fields(receiver: httpx.Client) -> None:
    receiver.post("/register", json=messages.registration())

    receiver.post("/heartbeat", json=messages.slim())

    assert messages.PAYLOAD == payload_of(record(receiver))


def test_slim_registration_keeps_all_ten_fields_and_the_count(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    answer = receiver.post("/register", json={"server_id": "acme_web-1"})

    after = record(receiver)
    assert 200 == answer.status_code
    assert messages.PAYLOAD == payload_of(after)
    assert 1 == after["heartbeat_count"]


def test_empty_values_replace_earlier_ones(receiver: httpx.Client) -> None:
    receiver.post("/register", json=messages.registration())

    receiver.post("/heartbeat", json=messages.slim(odoo_stage="", capabilities=[]))

    after = record(receiver)
    assert "" == after["odoo_stage"]
    assert [] == after["capabilities"]


def test_null_values_erase_nothing(receiver: httpx.Client) -> None:
    receiver.post("/register", json=messages.registration())
    nothing = dict.fromkeys(set(messages.PAYLOAD) - {"server_id"})

    answer = receiver.post("/heartbeat", json=messages.slim(**nothing))

    assert 200 == answer.status_code
    assert messages.PAYLOAD == payload_of(record(receiver))


def test_heartbeat_raises_count_and_last_seen(receiver: httpx.Client, clock: Clock) -> None:
    seen = []
    for _ in range(3):
        clock.advance(60)
        receiver.post("/heartbeat", json=messages.slim())
        after = record(receiver)
        seen.append((after["heartbeat_count"], after["last_seen"]))

    assert [
        (1, "2026-01-31T12:01:00Z"),
        (2, "2026-01-31T12:02:00Z"),
        (3, "2026-01-31T12:03:00Z"),
    ] == seen


def test_enriched_heartbeat_creates_an_unknown_server(receiver: httpx.Client) -> None:
    """Proves: Unknown server with enriched heartbeat"""
    answer = receiver.post("/heartbeat", json=messages.heartbeat())

    after = record(receiver)
    assert 200 == answer.status_code
    assert messages.PAYLOAD == payload_of(after)
    assert 1 == after["heartbeat_count"]
    assert after["registered_at"] is None


def test_unknown_field_of_a_message_is_ignored(receiver: httpx.Client) -> None:
    answer = receiver.post("/heartbeat", json=messages.heartbeat(from_the_future={"a": 1}))

    assert 200 == answer.status_code
    assert "from_the_future" not in record(receiver)


def test_optional_fields_are_kept(receiver: httpx.Client) -> None:
    optional = {
        "database_uuid": "5e0f4a36-6f2c-11ef-9bd1-0242ac120002",
        "endpoint_url": "https://acme.example/mcp",
        "heartbeat_interval_seconds": 300,
    }
    receiver.post("/register", json=messages.registration(**optional))
    receiver.post("/heartbeat", json=messages.slim())

    after = record(receiver)

    assert optional == {name: after[name] for name in optional}


@pytest.mark.both_databases
def test_registration_answers_201_once_and_then_200(receiver: httpx.Client, clock: Clock) -> None:
    first = receiver.post("/register", json=messages.registration())
    clock.advance(60)
    second = receiver.post(
        "/register", json=messages.registration(started_at="2026-01-31T12:00:30Z")
    )

    after = record(receiver)
    assert (201, 200) == (first.status_code, second.status_code)
    assert {"status": "registered", "server_id": "acme_web-1"} == first.json() == second.json()
    assert "2026-01-31T12:00:00Z" == after["first_seen"]
    assert "2026-01-31T12:01:00Z" == after["registered_at"]
    assert "2026-01-31T12:00:30Z" == after["started_at"]


@pytest.mark.both_databases
def test_batch_answers_each_heartbeat_with_its_outcome(receiver: httpx.Client) -> None:
    batch = [
        messages.heartbeat(),
        messages.heartbeat(server_id="b", port=0),
        messages.slim(),
        "nonsense",
        messages.heartbeat(server_id="c"),
    ]

    answer = receiver.post("/heartbeats", json=batch)

    assert 200 == answer.status_code
    assert {
        "accepted": 3,
        "rejected": 2,
        "results": [
            {"status": "ok", "server_id": "acme_web-1", "heartbeat_count": 1},
            {
                "status": "rejected",
                "code": "invalid_message",
                "errors": [{"path": "port", "message": "expected a port from 1 to 65535, got 0"}],
            },
            {"status": "ok", "server_id": "acme_web-1", "heartbeat_count": 2},
            {
                "status": "rejected",
                "code": "invalid_message",
                "errors": [{"path": "", "message": 'expected an object, got "nonsense"'}],
            },
            {"status": "ok", "server_id": "c", "heartbeat_count": 1},
        ],
    } == answer.json()
    assert 404 == receiver.get("/servers/b").status_code


def test_empty_batch_is_accepted(receiver: httpx.Client) -> None:
    answer = receiver.post("/heartbeats", json=[])

    assert {"accepted": 0, "rejected": 0, "results": []} == answer.json()
