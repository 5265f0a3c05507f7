"""Test helper: a server, what messages make of its record, and the events of each change."""

from datetime import datetime, timedelta, timezone
from typing import Any

from contract import (
    Heartbeat,
    IpAddresses,
    Registration,
    ServerRecord,
    State,
    changes,
    merge,
    register,
)
from server_records import server_record

__all__ = [
    "MINUTE",
    "NOON",
    "UNKNOWN",
    "WEB",
    "details_by_kind",
    "heard",
    "registered",
    "told_by_heartbeat",
    "told_by_registration",
]

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
UNKNOWN = server_record("acme_web-1", at=NOON, state=State.UP)


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


def registered(record: ServerRecord | None, **told: Any) -> ServerRecord:
    return register(record, Registration(server_id="acme_web-1", **told), received_at=NOON)
