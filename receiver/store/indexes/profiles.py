"""
Writes profiles (what servers that are alike have in common), and deletes unused ones.

All of this happens in the caller's transaction, which locks the row of each profile that it writes
or deletes. So no profile is deleted while another transaction gives it to a server.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, exists, select

from receiver.domain.lists.profiles import Profile
from receiver.store.dialects import Dialect, IfStored, Inserted
from receiver.store.tables import among, profiles, servers

__all__ = ["drop_profiles", "inserted_profiles", "lock_profiles"]


def inserted_profiles(these: Iterable[Profile]) -> Inserted:
    """
    The rows of profiles that servers get; those that are stored already are locked.

    A transaction in which servers lose profiles, too, must give all of these at once: then no two
    transactions wait for each other, as each locks and inserts them in one order.
    """
    wanted = {each.id: each for each in these}
    rows = [(number, *wanted[number]) for number in sorted(wanted)]
    return Inserted(profiles, ("id", *Profile._fields), rows, IfStored.LOCK)


def lock_profiles(dialect: Dialect, connection: Connection, these: Iterable[Profile]) -> None:
    """Lock those of the profiles that are stored, all in one order."""
    dialect.found_by(connection, _LOCK, {"ids": sorted({each.id for each in these})})


def drop_profiles(connection: Connection, left: Iterable[Profile]) -> None:
    """
    Delete those of the profiles `left`, which servers have lost, that no server has any more.

    The transaction must have written the rows of the servers, and locked the profiles. That takes
    another statement, so that this one sees what was committed meanwhile.
    """
    connection.execute(_DELETE_UNUSED, {"ids": sorted({each.id for each in left})})


_LOCK = (
    select(profiles.c.id)
    .where(among(profiles.c.id, "ids"))
    .order_by(profiles.c.id)
    .with_for_update()
)
_DELETE_UNUSED = delete(profiles).where(
    among(profiles.c.id, "ids"), ~exists().where(servers.c.profile == profiles.c.id)
)
