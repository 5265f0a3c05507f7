"""The tables of what has happened: events, and the names of servers that were deleted."""

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, Table, Text, text

from contract import EventKind
from receiver.store.tables.columns import Key, Member, Moment, metadata

__all__ = ["events", "of_state", "tombstones"]

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("kind", Member(EventKind), nullable=False),
    Column("server_id", Key),
    Column("details", JSON, nullable=False),
    Index("ix_events_at", "at"),
    Index("ix_events_kind_id", "kind", "id"),
    Index("ix_events_server_id_id", "server_id", "id"),
    sqlite_autoincrement=True,
)
"""A row for each `contract.Event`; the ids rise in the order in which events were committed."""

# The `|| ''` keeps SQLite from using the index of kinds, with which it would read all servers.
of_state = text("kind || '' IN ('late', 'down', 'recovered', 'rebuilt', 'flapping', 'calm')")
"""
The condition that an event tells of a change of a server's state.

`flapping` and `calm` are among these kinds, because between the two events of a server the changes
of its state cause no events.
"""

Index(
    "ix_events_of_life",
    events.c.server_id,
    events.c.id,
    events.c.at,
    events.c.kind,
    sqlite_where=of_state,
    postgresql_where=of_state,
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("local_name", Key, primary_key=True),
    Column("title", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("first_seen", Moment, nullable=False),
    Column("forgotten_at", Moment, nullable=False),
    Index("ix_tombstones_forgotten_at", "forgotten_at"),
)
"""
A row for each `receiver.domain.agents.registry.Tombstone`: for each name in the MCP registry whose
server was deleted.

The row stays when a server gets the name again. So code that reads a row must look whether any
server has the name, or can have it.
"""
