"""Keeps how many servers have which profile and rank, in the caller's transaction."""

from collections.abc import Collection, Mapping

from sqlalchemy import (
    Connection,
    Text,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    union_all,
)

from receiver.domain.lists.profiles import Profile
from receiver.store.dialects import Dialect
from receiver.store.tables import among, profiles, servers, tallies

__all__ = ["are_tallies_right", "count_tallies_anew", "write_tallies"]


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


def are_tallies_right(connection: Connection) -> bool:
    """Whether the table `tallies` agrees with `servers`, of which this counts every row."""
    return connection.execute(_DIFFERENCE).first() is None


def count_tallies_anew(dialect: Dialect, connection: Connection) -> None:
    """Fill `tallies` anew by counting all servers; others that write to it wait meanwhile."""
    dialect.lock_tallies(connection)
    connection.execute(delete(tallies))
    connection.execute(_COUNT, {"writer": dialect.writer})


_ADD = text(
    "INSERT INTO tallies (profile, rank, writer, number) "
    "VALUES (:profile, :rank, :writer, :number) "
    "ON CONFLICT (profile, rank, writer) DO UPDATE SET number = tallies.number + excluded.number"
)
# A profile without servers has numbers whose sums are 0, and no other transaction changes them.
_FORGET = delete(tallies).where(
    among(tallies.c.profile, "ids"), ~exists().where(profiles.c.id == tallies.c.profile)
)

_counted = (
    select(servers.c.profile, servers.c.rank, func.count().label("number"))
    .where(servers.c.profile.in_(select(profiles.c.id)))
    .group_by(servers.c.profile, servers.c.rank)
)
_both = union_all(_counted, select(tallies.c.profile, tallies.c.rank, -tallies.c.number)).subquery()
_DIFFERENCE = (
    select(_both.c.profile)
    .group_by(_both.c.profile, _both.c.rank)
    .having(func.sum(_both.c.number) != 0)
    .limit(1)
)
_COUNT = insert(tallies).from_select(
    ["profile", "rank", "number", "writer"],
    _counted.add_columns(bindparam("writer", type_=Text)),
)
