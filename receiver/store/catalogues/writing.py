"""
Writes catalogues and deletes those that no server has any more; in the caller's transaction.

Whoever writes or deletes a catalogue locks its row first. So none is deleted that a server gets in
another transaction at the same time.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, exists, select, text

from contract import Tool
from receiver.domain.agents.tool_search import words_in
from receiver.store.tables import catalogues, servers

__all__ = ["read_tools", "write_catalogues"]

Tools = Sequence[Tool]


def read_tools(connection: Connection, catalogue: str | None) -> Tools:
    """The tools of a catalogue; none when it is not stored."""
    tools: Tools | None = connection.execute(_TOOLS, {"catalogue": catalogue}).scalar()
    return tools or ()


def write_catalogues(
    connection: Connection, new: Mapping[str, Tools], left: Collection[str] = ()
) -> None:
    """
    Store catalogues that servers get, and delete those that no server has any more.

    Args:
        connection: The transaction. It has written the rows of the servers that lose a catalogue,
            and not yet committed those of the servers that get one.
        new: The tools of the catalogues that servers get, by id. Some may be stored already.
        left: The ids of catalogues that servers have lost.
    """
    # All in one order, or two transactions would wait for each other.
    for catalogue in sorted({*new, *left}):
        if (tools := new.get(catalogue)) is not None:
            words = " ".join(words_in(tools))
            values = {"catalogue": catalogue, "tools": tools, "words": words}
            connection.execute(_INSERT, values)
        else:
            # Locked by another statement, so that the deletion sees what was committed meanwhile.
            connection.execute(_LOCK, {"catalogue": catalogue})
            connection.execute(_DELETE_UNUSED, {"catalogue": catalogue})


_TOOLS = select(catalogues.c.tools).where(catalogues.c.id == bindparam("catalogue"))
_LOCK = (
    select(catalogues.c.number).where(catalogues.c.id == bindparam("catalogue")).with_for_update()
)
_DELETE_UNUSED = delete(catalogues).where(
    catalogues.c.id == bindparam("catalogue"),
    ~exists().where(servers.c.catalogue == bindparam("catalogue")),
)
# An update that changes nothing, for the lock of a row that exists.
_INSERT = text(
    "INSERT INTO catalogues (id, tools, words) VALUES (:catalogue, :tools, :words) "
    "ON CONFLICT (id) DO UPDATE SET id = excluded.id"
).bindparams(bindparam("tools", type_=catalogues.c.tools.type))
