"""Identifies a database, so that a receiver notices when another one has taken its place."""

from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["Identity"]


class Identity(NamedTuple):
    """
    Tells one database from another that took its place, such as a restored backup.

    Attributes:
        versions: The revisions of its schema, as Alembic has stored them, separated by spaces.
        database: A value that differs when another database, such as a backup, has taken the place
            of this one. It may also differ after the database server was restarted, or the schema
            was changed, so a difference is only a reason to look closer.
    """

    versions: str
    database: Hashable
