"""What a database says of itself at each write, so that a receiver notices when it is another."""

from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["Identity"]


class Identity(NamedTuple):
    """
    Which database a connection leads to.

    Attributes:
        versions: The versions of its tables, separated by spaces.
        database: Differs for a database that was put in the place of another. It may differ for
            the same one, after a restart of its server or a change of its schema.
    """

    versions: str
    database: Hashable
