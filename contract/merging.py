"""The rule of the project: what a message changes in a record, and what it leaves."""

from collections.abc import Callable, Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any

from attrs import fields

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
    after = _heard(record, heartbeat, received_at)
    after["heartbeat_count"] += 1

    return ServerRecord(**after)


def register(
    record: ServerRecord | None, registration: Registration, *, received_at: datetime
) -> ServerRecord:
    """
    The record after a registration.

    As `merge`, but the heartbeats counted so far stay, and `registered_at` becomes
    `received_at`.
    """
    after = _heard(record, registration, received_at)
    after["registered_at"] = after["last_seen"]

    return ServerRecord(**after)


def _heard(
    record: ServerRecord | None, message: Heartbeat | Registration, received_at: datetime
) -> dict[str, Any]:
    """The fields of the record after any message: what it said, and when."""
    now = to_utc(received_at)
    if record is None:
        record = ServerRecord(server_id=message.server_id, first_seen=now, last_seen=now)
    if record.server_id != message.server_id:
        raise WrongServer(record_id=record.server_id, message_id=message.server_id)

    said = {name: value for name, value in _fields_of(message) if value is not None}
    return {**dict(_fields_of(record)), **said, "last_seen": now}


def _fields_of(instance: Heartbeat | Registration | ServerRecord) -> Iterable[tuple[str, Any]]:
    names, values = _GETTERS[type(instance)]
    return zip(names, values(instance), strict=True)


def _getters(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(field.name for field in fields(kind))
    return names, attrgetter(*names)


_GETTERS = {kind: _getters(kind) for kind in (Heartbeat, Registration, ServerRecord)}
