"""Keeps how many servers have which profile and rank, in the caller's transaction."""

from collections.abc import Iterable, Mapping

from sqlalchemy import (
    Connection,
    Text,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    union_all,
)

from receiver.domain.lists.profiles import Profile
from receiver.store.dialects import Dialect, IfStored, Inserted
from receiver.store.tables import among, profiles, servers, tallies

__all__ = ["are_tallies_right", "count_tallies_anew", "drop_tallies", "inserted_tallies"]


def inserted_tallies(dialect: Dialect, changes: Mapping[tuple[int, int], int]) -> Inserted:
    """
    The rows that add to the numbers of servers; to be inserted after those of the profiles.

    Args:
        dialect: The dialect of the database.
        changes: By the id of a profile and a rank, how many more servers than before have both;
            negative if these are fewer.
    """
    rows = [
        (profile, rank, dialect.writer, number)
        for (profile, rank), number in sorted(changes.items())
        if number
    ]
    return Inserted(tallies, ("profile", "rank", "writer", "number"), rows, IfStored.ADD)


def drop_tallies(connection: Connection, left: Iterable[Profile]) -> None:
    """Forget the numbers of those of the profiles `left` that are stored no more."""
    connection.execute(_FORGET, {"ids": sorted({each.id for each in left})})


def are_tallies_right(connection: Connection) -> bool:
    """Whether the table `tallies` agrees with `servers`, of which this counts every row."""
    return connection.execute(_DIFFERENCE).first() is None


def count_tallies_anew(dialect: Dialect, connection: Connection) -> None:
    """Fill `tallies` anew by counting all servers; others that write to it wait meanwhile."""
    dialect.lock_tallies(connection)
    connection.execute(delete(tallies))
    connection.execute(_COUNT, {"writer": dialect.writer})


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
