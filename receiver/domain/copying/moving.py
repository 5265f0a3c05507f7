"""How far a copy of a database has come, and what came of it."""

from collections.abc import Callable

from attrs import frozen

__all__ = ["Counts", "Moved", "Progress"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done (`copying servers`), how many rows are done, and of how many."""

Counts = dict[str, tuple[int, int]]
"""By the name of a table, how many rows it has in the first and in the second database."""


@frozen
class Moved:
    """
    What came of a move.

    Attributes:
        counts: By the name of each table, how many rows it has in both databases. These are equal
            if `is_done`. Otherwise receivers may have written to the first one meanwhile.
        is_done: Whether the fleet is in the second database now; if not, it was only copied, and
            receivers go on with the first one.
        silent_seconds: For how many seconds no receiver could write; 0 if it was only copied.
    """

    counts: Counts
    is_done: bool
    silent_seconds: float
