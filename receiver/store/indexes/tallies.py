"""Keeps how many servers have which profile and rank, in the caller's transaction."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete, exists, text

from receiver.domain.lists.profiles import Profile
from receiver.store.dialects import Dialect
from receiver.store.tables import among, profiles, tallies

__all__ = ["write_tallies"]


def write_tallies(
    dialect: Dialect,
    connection: Connection,
    changes: Mapping[tuple[int, int], int],
    left: Collection[Profile] = (),
) -> None:
    """
    Add to the numbers of servers; forget those of profiles that are stored no more.

    Args:
        dialect: The dialect of the database.
        connection: The transaction. It must have written the profiles already.
        changes: By the id of a profile and a rank, how many more servers than before have both;
            negative if these are fewer.
        left: The profiles that servers have lost.
    """
    rows = [
        {"profile": profile, "rank": rank, "writer": dialect.writer, "number": number}
        for (profile, rank), number in sorted(changes.items())
        if number
    ]
    if rows:
        connection.execute(_ADD, rows)
    if left:
        connection.execute(_FORGET, {"ids": sorted({each.id for each in left})})


_ADD = text(
    "INSERT INTO tallies (profile, rank, writer, number) "
    "VALUES (:profile, :rank, :writer, :number) "
    "ON CONFLICT (profile, rank, writer) DO UPDATE SET number = tallies.number + excluded.number"
)
# A profile without servers has numbers whose sums are 0, and no other transaction changes them.
_FORGET = delete(tallies).where(
    among(tallies.c.profile, "ids"), ~exists().where(profiles.c.id == tallies.c.profile)
)
