"""The rule of the project: what a message changes in a record, and what it leaves."""

from datetime import datetime
from typing import Any

from attrs import evolve, fields

from contract.errors import WrongServer
from contract.fields import to_utc
from contract.messages import Heartbeat, Registration
from contract.record import ServerRecord

__all__ = ["merge", "register"]


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
    heard = _hear(record, heartbeat, received_at)

    return evolve(heard, heartbeat_count=heard.heartbeat_count + 1)


def register(
    record: ServerRecord | None, registration: Registration, *, received_at: datetime
) -> ServerRecord:
    """
    The record after a registration.

    As `merge`, but the heartbeats counted so far stay, and `registered_at` becomes
    `received_at`.
    """
    heard = _hear(record, registration, received_at)

    return evolve(heard, registered_at=heard.last_seen)


def _hear(
    record: ServerRecord | None, message: Heartbeat | Registration, received_at: datetime
) -> ServerRecord:
    now = to_utc(received_at)
    if record is None:
        record = ServerRecord(server_id=message.server_id, first_seen=now, last_seen=now)
    if record.server_id != message.server_id:
        raise WrongServer(record_id=record.server_id, message_id=message.server_id)

    return evolve(record, **_present(message), last_seen=now)


def _present(message: Heartbeat | Registration) -> dict[str, Any]:
    said = {field.name: getattr(message, field.name) for field in fields(type(message))}
    return {name: value for name, value in said.items() if value is not None}
