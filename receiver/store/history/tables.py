"""The table of the history of the fleet, by the hour."""

from sqlalchemy import JSON, BigInteger, Column, Double, Integer, Table

from receiver.store.tables import Moment, metadata

__all__ = ["hours"]

hours = Table(
    "hours",
    metadata,
    Column("begins_at", Moment, primary_key=True, autoincrement=False),
    Column("counted_at", Moment, nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("sums", JSON, nullable=False),
    Column("worst", JSON, nullable=False),
    Column("stages", JSON, nullable=False),
    Column("odoo_versions", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("heartbeats", BigInteger, nullable=False),
    Column("turned_away", BigInteger, nullable=False),
    Column("missed", Double, nullable=False),
    sqlite_with_rowid=False,
)
"""
A row for each `receiver.domain.history.Hour` in which a receiver ran; the oldest are deleted.

An hour without a row is one of which nothing is known. There are `MOST_HOURS` rows at most.
"""
