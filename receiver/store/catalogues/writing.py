"""
Writes catalogues (descriptions of all tools of a server), and deletes those that no server has.

All of this happens in the caller's transaction, which first locks the row of each catalogue that it
writes or deletes. So no catalogue is deleted while another transaction gives it to a server.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, exists, select, text

from contract import Tool
from receiver.domain.agents.tool_search import words_in
from receiver.store.tables import catalogues, servers

__all__ = ["NewCatalogue", "read_tools", "write_catalogues"]

Tools = Sequence[Tool]


class NewCatalogue(NamedTuple):
    """
    A catalogue that a server has sent, and that may have to be stored.

    Attributes:
        tools: The tools.
        words: The stems of the words in their names, titles and descriptions. They take long to
            find, so it is None if the catalogue is stored already, which needs none.
    """

    tools: Tools
    words: Sequence[str] | None

    @classmethod
    def of(cls, connection: Connection, catalogue: str, tools: Tools) -> "NewCatalogue":
        """Make a NewCatalogue, with its words unless a catalogue with this id is stored already."""
        is_stored = connection.execute(_NUMBER, {"catalogue": catalogue}).first() is not None
        return cls(tools, None if is_stored else words_in(tools))


def read_tools(connection: Connection, catalogue: str | None) -> Tools:
    """The tools of the catalogue with this id; no tools when it is not stored."""
    tools: Tools | None = connection.execute(_TOOLS, {"catalogue": catalogue}).scalar()
    return tools or ()


def write_catalogues(
    connection: Connection, new: Mapping[str, NewCatalogue], left: Collection[str] = ()
) -> None:
    """
    Store catalogues that servers get, and delete catalogues that no server has any more.

    Args:
        connection: The transaction. It must have written the rows of the servers already.
        new: The catalogues that servers get, by id.
        left: The ids of catalogues that servers have lost; those that no other server has are
            deleted.
    """
    # All in one order, or two transactions would wait for each other.
    for catalogue in sorted({*new, *left}):
        # Locked by another statement, so that the deletion sees what was committed meanwhile.
        is_there = connection.execute(_LOCK, {"catalogue": catalogue}).first() is not None
        if catalogue not in new:
            connection.execute(_DELETE_UNUSED, {"catalogue": catalogue})
        elif not is_there:
            tools, words = new[catalogue]
            found = " ".join(words_in(tools) if words is None else words)
            connection.execute(_INSERT, {"catalogue": catalogue, "tools": tools, "words": found})


_TOOLS = select(catalogues.c.tools).where(catalogues.c.id == bindparam("catalogue"))
_NUMBER = select(catalogues.c.number).where(catalogues.c.id == bindparam("catalogue"))
_LOCK = _NUMBER.with_for_update()
_DELETE_UNUSED = delete(catalogues).where(
    catalogues.c.id == bindparam("catalogue"),
    ~exists().where(servers.c.catalogue == bindparam("catalogue")),
)
# An update that changes nothing, for the lock of a row that another transaction has just inserted.
_INSERT = text(
    "INSERT INTO catalogues (id, tools, words) VALUES (:catalogue, :tools, :words) "
    "ON CONFLICT (id) DO UPDATE SET id = excluded.id"
).bindparams(bindparam("tools", type_=catalogues.c.tools.type))
