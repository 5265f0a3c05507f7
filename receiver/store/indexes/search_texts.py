"""The texts by which servers are searched: how they are written, and when they are deleted."""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete

from receiver.domain.lists.search_texts import SearchText
from receiver.store.dialects import IfStored, Inserted
from receiver.store.tables import among, search_texts

__all__ = ["drop_search_texts", "inserted_search_texts"]


def inserted_search_texts(new: Iterable[tuple[str, SearchText]]) -> Inserted:
    """The rows with the texts of servers, each with its `server_id`, in place of older ones."""
    rows = [(server_id, *text) for server_id, text in new]
    return Inserted(search_texts, ("server_id", *SearchText._fields), rows, IfStored.REPLACE)


def drop_search_texts(connection: Connection, ids: Collection[str]) -> None:
    """Delete the texts of servers that are deleted."""
    connection.execute(_DELETE, {"ids": sorted(ids)})


_DELETE = delete(search_texts).where(among(search_texts.c.server_id, "ids"))
