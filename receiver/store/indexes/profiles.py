"""
Writes profiles (what servers that are alike have in common), and deletes unused ones.

All of this happens in the caller's transaction, which locks the row of each profile that it writes
or deletes. So no profile is deleted while another transaction gives it to a server.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Delete, delete, exists, select, text

from receiver.domain.lists.profiles import Profile
from receiver.store.tables import profiles, servers

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
        connection.execute(_delete_unused(unwanted))


def drop_profiles(connection: Connection, left: Iterable[Profile]) -> None:
    """Delete those of the profiles `left`, which servers have lost, that no server has any more."""
    write_profiles(connection, (), left)


def _locked(connection: Connection, ids: Collection[int]) -> set[int]:
    """Lock the rows of those profiles that are stored, all in one order; returns their ids."""
    found = select(profiles.c.id).where(profiles.c.id.in_(sorted(ids))).order_by(profiles.c.id)
    return {*connection.execute(found.with_for_update()).scalars()}


def _delete_unused(ids: Collection[int]) -> Delete:
    return delete(profiles).where(
        profiles.c.id.in_(sorted(ids)), ~exists().where(servers.c.profile == profiles.c.id)
    )


# An update that changes nothing, for the lock of a row that another transaction has just inserted.
_INSERT = text(
    f"INSERT INTO profiles (id, {', '.join(Profile._fields)}) "  # noqa: S608 - constants
    f"VALUES (:id, {', '.join(f':{name}' for name in Profile._fields)}) "
    "ON CONFLICT (id) DO UPDATE SET id = excluded.id"
)
