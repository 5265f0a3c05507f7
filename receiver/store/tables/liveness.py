"""The table of what changes while servers just go on, and its columns with those of `servers`."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Double, FromClause, Index, Table

from receiver.store.tables.columns import Key, Moment, metadata
from receiver.store.tables.servers import servers

__all__ = [
    "COLUMNS",
    "DUE_COLUMNS",
    "HEARTBEAT_COLUMNS",
    "LIVENESS_COLUMNS",
    "liveness",
    "whole_servers",
]

liveness = Table(
    "liveness",
    metadata,
    Column("server_id", Key, primary_key=True),
    Column("sequence", BigInteger),
    Column("timestamp", Moment),
    Column("uptime_seconds", Double),
    Column("last_seen", Moment, nullable=False),
    Column("heartbeat_count", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("mark_at", BigInteger),
    Column("mark_heartbeats", BigInteger),
    Column("mark_sequence", BigInteger),
    # No column that heartbeats write: PostgreSQL would write each index anew for each of them.
    Index("ix_liveness_due_at", "due_at"),
    # A batch updates all rows of a page at once: each new version needs room beside the old one,
    # or it goes to another page, and with that into all indexes.
    postgresql_with={"fillfactor": 50},
    sqlite_with_rowid=False,
)
"""
A second row per server, which is written by each heartbeat and each check for silence.

It has the fields of `contract.ServerRecord` that nearly every heartbeat changes, and those of
`receiver.domain.rows.Row` that tell when and how the server is checked. Such a row has some 100
bytes; that of the same server in `servers` has 500, and stays as it is.

On PostgreSQL, this row stands for the server when it is locked: whoever writes either row of a
server has locked this one before. Messages and checks lock servers in the order of their ids.

`revision`: Each write of either row raises it by one. A new row begins with a random number, so
that a cached row with the same `server_id` and revision is the same row, even when a server was
deleted and created again.

`due_at`: When the watchdog (the task that looks for silent servers) must check the server's state
again, in microseconds since 1970; NULL for never. A heartbeat does not change this time. The check
finds that the server has sent meanwhile, and sets a later one.

`mark_at`, `mark_heartbeats`, `mark_sequence`: The attribute `Row.mark`, a snapshot of how much the
server had sent; all NULL when `Row.mark` is None.
"""

HEARTBEAT_COLUMNS = (
    "sequence",
    "timestamp",
    "uptime_seconds",
    "last_seen",
    "heartbeat_count",
    "revision",
)
"""The columns that are written after a heartbeat that changes nothing else."""

DUE_COLUMNS = ("due_at", "mark_at", "mark_heartbeats", "mark_sequence", "revision")
"""The columns that a check for silence changes if it leaves the record as it is."""

LIVENESS_COLUMNS = (*(each for each in HEARTBEAT_COLUMNS if each != "revision"), *DUE_COLUMNS)
"""Both, which are all columns but the `server_id`."""

whole_servers: FromClause = servers.join(liveness, liveness.c.server_id == servers.c.server_id)
"""Both rows of each server, for queries that need columns of both."""

COLUMNS: Mapping[str, Column[Any]] = {each.name: each for each in (*liveness.c, *servers.c)}
"""The columns of both rows by name; the `server_id` is that of `servers`."""
