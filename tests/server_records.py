"""Test helper: the record of a server of which little is known."""

from datetime import datetime
from typing import Any

from contract import ServerRecord

__all__ = ["server_record"]


def server_record(server_id: str = "a", *, at: datetime, **known: Any) -> ServerRecord:
    """A record whose times are all `at`, unless `known` says otherwise."""
    times = {"first_seen": at, "last_seen": at, "state_since": at}
    return ServerRecord(server_id=server_id, **{**times, **known})
