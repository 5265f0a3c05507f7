"""Writes and deletes the texts by which servers are searched, in the caller's transaction."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete, text

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
        dialect.execute_many(connection, _WRITE, rows)


def drop_search_texts(connection: Connection, ids: Collection[str]) -> None:
    """Delete the texts of servers that are deleted."""
    connection.execute(_DELETE, {"ids": sorted(ids)})


_WRITE = text(
    "INSERT INTO search_texts (server_id, names, addresses) VALUES (:server_id, :names, :addresses)"
    " ON CONFLICT (server_id) DO UPDATE SET names = excluded.names, addresses = excluded.addresses"
)
_DELETE = delete(search_texts).where(among(search_texts.c.server_id, "ids"))
