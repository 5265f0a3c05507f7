"""Deletes servers, and what other rows say of them, in the transaction of the caller."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, union

from contract import Event, EventKind, changes
from receiver.domain.databases import damped
from receiver.domain.forgetting import without
from receiver.domain.rows import Row
from receiver.store.catalogues import toolset_of, write_catalogues, write_toolsets
from receiver.store.dialects import Dialect
from receiver.store.events import write_events
from receiver.store.labels import drop_annotations
from receiver.store.rows import Committed, RowCache, delete_rows, read_rows, write_rows
from receiver.store.tables import servers
from receiver.store.tombstones import write_tombstones

__all__ = ["delete_server", "delete_servers"]


def delete_server(
    dialect: Dialect, connection: Connection, server_id: str, at: datetime, cache: RowCache
) -> Committed:
    """
    Delete one server.

    Servers that it superseded are then superseded by its own successor; if it has none, lists show
    them again. Lists also show its nodes again (the other servers of its database).

    Args:
        dialect: The dialect of the database.
        connection: The transaction.
        server_id: The id of the server.
        at: The time of the deletion.
        cache: The cached rows of servers.

    Returns what the transaction changes: nothing if there is no such server.
    """
    ids = {server_id, *_referring(connection, server_id)}
    rows = read_rows(dialect, connection, sorted(ids), cache)
    # Who adds a reference to a server locks its row, which is locked here: no more are added.
    late = {*_referring(connection, server_id)} - ids
    rows |= read_rows(dialect, connection, sorted(late), cache)
    if server_id not in rows:
        return Committed({}, [])
    return delete_servers(dialect, connection, rows, {server_id}, at)


def delete_servers(
    dialect: Dialect,
    connection: Connection,
    rows: Mapping[str, Row],
    gone: Collection[str],
    at: datetime,
) -> Committed:
    """
    Delete some servers, and tell so by an event `deleted` for each; their other events stay.

    No other row names them afterwards; `receiver.domain.forgetting.without` says what it has
    instead.

    Args:
        dialect: The dialect of the database.
        connection: The transaction.
        rows: The rows of the servers to delete, and of all servers that name one of them, by
            `server_id`. The transaction must have locked them.
        gone: The ids of the servers to delete, at least one.
        at: The time of the deletion.

    Returns what the transaction changes.
    """
    deleted = [rows[each] for each in sorted(gone)]
    events = [Event(kind=EventKind.DELETED, at=at, server_id=row.server_id) for row in deleted]
    changed = []
    for server_id in sorted(rows.keys() - gone):
        before = rows[server_id]
        after = without(before, gone, rows, at)
        if after is not before:
            after, told = damped(after, changes(before.record, after.record, at=at), at=at)
            changed.append((before, after))
            events += told
    write_tombstones(connection, deleted, at)
    delete_rows(dialect, connection, deleted)
    write_rows(dialect, connection, changed)
    left = {row.catalogue for row in deleted if row.catalogue is not None}
    write_catalogues(connection, {}, left)
    write_toolsets(dialect, connection, new={}, left=toolset_of(deleted))
    drop_annotations(dialect, connection, deleted)
    write_events(dialect, connection, events)
    written = {after.server_id: after for _, after in changed}
    return Committed(written, events, [row.server_id for row in deleted])


def _referring(connection: Connection, server_id: str) -> list[str]:
    """The ids of the servers that name this server in `superseded_by`, `twin_of` or `node_of`."""
    return [*connection.execute(_REFERRING, {"id": server_id}).scalars()]


_REFERRING = union(
    *(
        select(servers.c.server_id).where(column == bindparam("id"))
        for column in (servers.c.superseded_by, servers.c.twin_of, servers.c.node_of)
    )
)
