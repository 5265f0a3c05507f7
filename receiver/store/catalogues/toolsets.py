"""
Writes sets of tool names, and deletes those that no server has any more.

All of this happens in the caller's transaction, which locks the row of each set that it writes or
deletes. So no set is deleted while another transaction gives it to a server.
"""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection, bindparam, delete, exists, select

from receiver.domain.agents.toolsets import toolset_id
from receiver.domain.rows import Row
from receiver.store.dialects import Dialect
from receiver.store.tables import among, servers, toolsets

__all__ = ["is_stored", "toolset_of", "write_toolsets"]

Toolset = Mapping[int, Collection[str]]
"""Names of tools, by the id of their set."""


def is_stored(dialect: Dialect, connection: Connection, toolset: int) -> bool:
    """Whether the database has the set of tool names with this id."""
    return bool(dialect.found_by(connection, _FIND, {"toolset": toolset}))


def toolset_of(rows: Iterable[Row | None]) -> dict[int, Collection[str]]:
    """The sets of tool names in these rows, by id; without None and servers without tools."""
    found: dict[int, Collection[str]] = {}
    for row in rows:
        names = row and row.record.capabilities
        number = toolset_id(names)
        if names and number is not None:
            found[number] = names
    return found


def write_toolsets(
    dialect: Dialect, connection: Connection, *, new: Toolset, left: Toolset
) -> None:
    """
    Store sets of tool names that servers get, and delete sets that no server has any more.

    Args:
        dialect: The dialect of the database.
        connection: The transaction. It must have written the rows of the servers already.
        new: The sets that servers get.
        left: The sets that servers have lost; those that no other server has are deleted.
    """
    numbers = sorted({*new, *left})
    if not numbers:
        return
    # Those that are stored are locked in one order, or two transactions would wait for each other,
    # and by another statement, so that the deletion sees what was committed meanwhile.
    stored = {number for (number,) in dialect.found_by(connection, _LOCK, {"toolsets": numbers})}
    for number in numbers:
        if number in new:
            if number not in stored:
                dialect.add_toolset(connection, number, new[number])
        elif connection.execute(_DELETE_UNUSED, {"toolset": number}).rowcount:
            dialect.remove_toolset(connection, number, left[number])


_FIND = select(toolsets.c.id).where(toolsets.c.id == bindparam("toolset"))
_LOCK = (
    select(toolsets.c.id)
    .where(among(toolsets.c.id, "toolsets"))
    .order_by(toolsets.c.id)
    .with_for_update()
)
_DELETE_UNUSED = delete(toolsets).where(
    toolsets.c.id == bindparam("toolset"),
    ~exists().where(servers.c.toolset == bindparam("toolset")),
)
