"""
Writes profiles (what servers that are alike have in common), and deletes unused ones.

All of this happens in the caller's transaction, which locks the row of each profile that it writes
or deletes. So no profile is deleted while another transaction gives it to a server.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, exists, select, text

from receiver.domain.lists.profiles import Profile
from receiver.store.tables import among, profiles, servers

__all__ = ["drop_profiles", "write_profiles"]


def write_profiles(
    connection: Connection, new: Iterable[Profile], left: Iterable[Profile] = ()
) -> None:
    """
    Store profiles that servers get, and delete profiles that no server has any more.

    Args:
        connection: The transaction. It must have written the rows of the servers already.
        new: The profiles that servers get.
        left: The profiles that servers have lost; those that no other server has are deleted.
    """
    wanted = {each.id: each for each in new}
    unwanted = {each.id for each in left} - wanted.keys()
    # Locked by another statement, so that the deletion sees what was committed meanwhile.
    stored = _locked(connection, wanted.keys() | unwanted)
    missing = sorted(wanted.keys() - stored)
    if missing:
        rows = [{"id": number, **wanted[number]._asdict()} for number in missing]
        connection.execute(_INSERT, rows)
    if unwanted:
        connection.execute(_DELETE_UNUSED, {"ids": sorted(unwanted)})


def drop_profiles(connection: Connection, left: Iterable[Profile]) -> None:
    """Delete those of the profiles `left`, which servers have lost, that no server has any more."""
    write_profiles(connection, (), left)


def _locked(connection: Connection, ids: Collection[int]) -> set[int]:
    """Lock the rows of those profiles that are stored, all in one order; returns their ids."""
    return {*connection.execute(_LOCK, {"ids": sorted(ids)}).scalars()}


_LOCK = (
    select(profiles.c.id)
    .where(among(profiles.c.id, "ids"))
    .order_by(profiles.c.id)
    .with_for_update()
)
_DELETE_UNUSED = delete(profiles).where(
    among(profiles.c.id, "ids"), ~exists().where(servers.c.profile == profiles.c.id)
)
# An update that changes nothing, for the lock of a row that another transaction has just inserted.
_INSERT = text(
    f"INSERT INTO profiles (id, {', '.join(Profile._fields)}) "  # noqa: S608 - constants
    f"VALUES (:id, {', '.join(f':{name}' for name in Profile._fields)}) "
    "ON CONFLICT (id) DO UPDATE SET id = excluded.id"
)
