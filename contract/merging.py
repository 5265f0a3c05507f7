"""The rule of the project: what a message changes in a record, and what it leaves."""

from datetime import datetime

from attrs import evolve, fields

from contract.errors import WrongServer
from contract.fields import to_utc
from contract.messages import Heartbeat, Registration, View
from contract.record import ServerRecord, State

__all__ = ["merge", "register"]


def merge(
    record: ServerRecord | None, heartbeat: Heartbeat, *, received_at: datetime
) -> ServerRecord:
    """
    The record after a heartbeat.

    What the heartbeat holds replaces what the record held, also when it is empty or 0.
    What it does not hold stays as it was.
    It counts once, and `last_seen` becomes `received_at`, whatever it holds.
    Who is heard is up, and superseded by nobody.
    Without a record, a new one is made.

    Raises WrongServer when the heartbeat is another server's, and ValueError when
    `received_at` has no offset.
    """
    now = to_utc(received_at)
    old = _before(record, heartbeat, now)
    new = heartbeat

    return ServerRecord(
        server_id=old.server_id,
        hostname=old.hostname if new.hostname is None else new.hostname,
        ip_addresses=old.ip_addresses if new.ip_addresses is None else new.ip_addresses,
        port=old.port if new.port is None else new.port,
        transport=old.transport if new.transport is None else new.transport,
        version=old.version if new.version is None else new.version,
        odoo_version=old.odoo_version if new.odoo_version is None else new.odoo_version,
        database=old.database if new.database is None else new.database,
        capabilities=old.capabilities if new.capabilities is None else new.capabilities,
        odoo_stage=old.odoo_stage if new.odoo_stage is None else new.odoo_stage,
        database_uuid=old.database_uuid if new.database_uuid is None else new.database_uuid,
        endpoint_url=old.endpoint_url if new.endpoint_url is None else new.endpoint_url,
        heartbeat_interval_seconds=(
            old.heartbeat_interval_seconds
            if new.heartbeat_interval_seconds is None
            else new.heartbeat_interval_seconds
        ),
        status=old.status if new.status is None else new.status,
        timestamp=old.timestamp if new.timestamp is None else new.timestamp,
        uptime_seconds=old.uptime_seconds if new.uptime_seconds is None else new.uptime_seconds,
        started_at=old.started_at,
        first_seen=old.first_seen,
        registered_at=old.registered_at,
        last_seen=now,
        heartbeat_count=old.heartbeat_count + 1,
        state=_UP,
        state_since=old.state_since if old.state is _UP else now,
        superseded_by=None,
        twin_of=old.twin_of,
    )


def register(
    record: ServerRecord | None, registration: Registration, *, received_at: datetime
) -> ServerRecord:
    """
    The record after a registration.

    As `merge`, but the heartbeats counted so far stay, without any the server is new and
    not up, and `registered_at` becomes `received_at`.
    """
    now = to_utc(received_at)
    said = Heartbeat(**{name: getattr(registration, name) for name in _VIEW})
    before = _before(record, said, now)
    state = State.UP if before.heartbeat_count else State.NEW

    return evolve(
        merge(before, said, received_at=now),
        started_at=registration.started_at or before.started_at,
        registered_at=now,
        heartbeat_count=before.heartbeat_count,
        state=state,
        state_since=before.state_since if before.state is state else now,
    )


def _before(record: ServerRecord | None, message: Heartbeat, now: datetime) -> ServerRecord:
    if record is None:
        return ServerRecord(
            server_id=message.server_id, first_seen=now, last_seen=now, state_since=now
        )
    if record.server_id != message.server_id:
        raise WrongServer(record_id=record.server_id, message_id=message.server_id)
    return record


_UP = State.UP  # to look it up in the class each time costs as much as three fields
_VIEW = [field.name for field in fields(View)]
