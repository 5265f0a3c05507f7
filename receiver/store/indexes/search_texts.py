"""Writes and deletes the texts by which servers are searched, in the caller's transaction."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete

from receiver.domain.lists.search_texts import SearchText
from receiver.store.dialects import Dialect
from receiver.store.tables import among, search_texts

__all__ = ["drop_search_texts", "write_search_texts"]


def write_search_texts(
    dialect: Dialect, connection: Connection, new: Mapping[str, SearchText]
) -> None:
    """Store the texts of servers, by `server_id`, in place of older ones."""
    rows = [{"server_id": server_id, **new[server_id]._asdict()} for server_id in sorted(new)]
    if rows:
        dialect.insert_rows(connection, search_texts, rows, or_update=True)


def drop_search_texts(connection: Connection, ids: Collection[str]) -> None:
    """Delete the texts of servers that are deleted."""
    connection.execute(_DELETE, {"ids": sorted(ids)})


_DELETE = delete(search_texts).where(among(search_texts.c.server_id, "ids"))
