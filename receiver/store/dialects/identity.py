"""Identifies a database, so that a receiver notices when another one has taken its place."""

from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["Identity"]


class Identity(NamedTuple):
    """
    Tells one database from another that took its place, such as a restored backup.

    Attributes:
        versions: The versions of its tables, as Alembic has stored them, separated by spaces.
        database: A value that differs when another database, such as a backup, has taken the place
            of this one. It may also differ after a restart of the server or a change of the schema.
    """

    versions: str
    database: Hashable
