"""What is found when a database is examined, without changing it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import frozen

__all__ = ["Examined"]


@frozen(kw_only=True)
class Examined:
    """
    What a database is like.

    Attributes:
        versions: The versions of its tables: usually one; none if it has no tables of a fleet.
        trouble: Why a receiver of this version cannot be started on it, as a sentence; None if one
            can, after it has upgraded older tables or created missing ones.
        is_newest: Whether its tables are of the newest version, which this receiver uses.
        damage: The first thing that is wrong with the file of SQLite; None if nothing is found, and
            always on PostgreSQL.
        clock: The time of PostgreSQL's clock; None for SQLite.
        ahead: By how much the clock of this machine is at least ahead of PostgreSQL's, or behind if
            it is negative. It is zero if the clocks may agree, and None for SQLite.
        seen_at: When a receiver last noted that it runs; None if none ever has, or if the tables
            are not of the newest version.
    """

    versions: Sequence[str]
    trouble: str | None
    is_newest: bool
    damage: str | None
    clock: datetime | None
    ahead: timedelta | None
    seen_at: datetime | None
