"""The rule of the project: what a message changes in a record, and what it leaves."""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any

from attrs import fields

from contract.errors import WrongServer
from contract.fields import to_utc
from contract.messages import Heartbeat, Registration
from contract.record import ServerRecord

__all__ = ["merge", "register"]

Message = Heartbeat | Registration


def merge(
    record: ServerRecord | None, heartbeat: Heartbeat, *, received_at: datetime
) -> ServerRecord:
    """
    The record after a heartbeat.

    What the heartbeat holds replaces what the record held, also when it is empty or 0.
    What it does not hold stays as it was.
    It counts once, and `last_seen` becomes `received_at`, whatever it holds.
    Without a record, a new one is made.

    Raises WrongServer when the heartbeat is another server's, and ValueError when
    `received_at` has no offset.
    """
    now = to_utc(received_at)
    before = _before(record, heartbeat, now)

    return ServerRecord(
        **_said(heartbeat, before),
        started_at=before.started_at,
        first_seen=before.first_seen,
        registered_at=before.registered_at,
        last_seen=now,
        heartbeat_count=before.heartbeat_count + 1,
    )


def register(
    record: ServerRecord | None, registration: Registration, *, received_at: datetime
) -> ServerRecord:
    """
    The record after a registration.

    As `merge`, but the heartbeats counted so far stay, and `registered_at` becomes
    `received_at`.
    """
    now = to_utc(received_at)
    before = _before(record, registration, now)

    return ServerRecord(
        **_said(registration, before),
        status=before.status,
        timestamp=before.timestamp,
        uptime_seconds=before.uptime_seconds,
        first_seen=before.first_seen,
        registered_at=now,
        last_seen=now,
        heartbeat_count=before.heartbeat_count,
    )


def _before(record: ServerRecord | None, message: Message, now: datetime) -> ServerRecord:
    if record is None:
        return ServerRecord(server_id=message.server_id, first_seen=now, last_seen=now)
    if record.server_id != message.server_id:
        raise WrongServer(record_id=record.server_id, message_id=message.server_id)
    return record


def _said(message: Message, before: ServerRecord) -> dict[str, Any]:
    """The fields of the message; those that it does not hold as they were before."""
    names, values = _FIELDS[type(message)]
    return {
        name: old if new is None else new
        for name, new, old in zip(names, values(message), values(before), strict=True)
    }


def _fields_of(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(field.name for field in fields(kind))
    return names, attrgetter(*names)


_FIELDS = {kind: _fields_of(kind) for kind in (Heartbeat, Registration)}
