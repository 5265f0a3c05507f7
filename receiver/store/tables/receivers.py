"""The tables that receivers keep for themselves: when they ran, what they committed, secrets."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, LargeBinary, Table, Text

from receiver.store.tables.columns import Moment, metadata

__all__ = ["commits", "pauses", "secrets", "watches"]

watches = Table(
    "watches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("heard_since", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("away_since", Moment),
)
"""
One row, in which receivers note every few seconds that they are running.

`heard_since`: Since when receivers have been running without an interruption.

`seen_at`: When a receiver last noted that it was running.

`away_since`: When the last interruption began, which ended at `heard_since`; NULL if there was
none.
"""

pauses = Table(
    "pauses",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("began", Moment, nullable=False),
    Column("ended", Moment, nullable=False),
)
"""
The times in which no receiver ran, and those by which the clock was set forward.

The row with the largest `id` is the latest. The first pause begins in 1970, and ends when the
first receiver started that writes this table.
"""

commits = Table(
    "commits",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("batch", BigInteger, nullable=False),
    Column("committed_at", DateTime(timezone=True), nullable=False),
)
"""
The number (`batch`) of the last committed transaction of each process of a receiver (`writer`).

A receiver whose connection broke during a commit finds out here whether the commit succeeded. Only
PostgreSQL has rows here.
"""

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Secrets that all receivers of a database share; the first one that needs a secret creates it."""
