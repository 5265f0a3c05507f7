"""The SQL that finds the servers with which something may be wrong."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Integer, Select, bindparam, func, select, text, union

from contract import State
from receiver.domain.grouping.problems import Troubled
from receiver.store.rows import RowCache, records_of
from receiver.store.tables import (
    among,
    constant,
    is_in_state,
    is_listed,
    liveness,
    servers,
    whole_servers,
)

__all__ = ["numbers_owned", "troubled", "troubled_after", "troubled_query"]


def troubled(
    connection: Connection, cache: RowCache, known: Mapping[str, Troubled], *, limit: int
) -> list[Troubled] | None:
    """
    Servers with which something may be wrong: at most `limit`, those whose state changed last.

    They are late or down, flap (stop sending and come back again and again), have a twin (a server
    that sends for a copy of the same database), or a conflict (two machines that send under one
    `server_id`). The latest change of state comes first.

    Args:
        connection: A connection to read with.
        cache: Rows that need not be read from the database if their revision is still the same.
        known: What an earlier call has returned, by `server_id`; a record whose revision is still
            the same is taken from it, and not read again.
        limit: How many servers are returned at most.

    Returns None if a server was changed or deleted between the two queries, which happens in no
    transaction that sees one moment.
    """
    found = connection.execute(troubled_query(limit)).all()
    unknown = [
        (server_id, revision)
        for server_id, revision, _ in found
        if server_id not in known or known[server_id].revision != revision
    ]
    read = {record.server_id: record for record in records_of(connection, unknown, cache)}
    if len(read) < len(unknown):
        return None
    same = {server_id: known[server_id].record for server_id, _, _ in found if server_id in known}
    records = {**same, **read}
    return [Troubled(records[server_id], revision, owner) for server_id, revision, owner in found]


def troubled_after(
    connection: Connection, server_id: str, *, limit: int
) -> list[tuple[str, str | None]]:
    """
    The ids of such servers that are greater than `server_id`, in their order, each with its key.

    Args:
        connection: A connection to read with.
        server_id: The id after which they begin; the empty text for all.
        limit: How many are returned at most.
    """
    found = connection.execute(_AFTER, {"after": server_id, "limit": limit})
    return [(row.server_id, row.owner) for row in found]


def numbers_owned(connection: Connection, key_ids: Collection[str]) -> Mapping[str, int]:
    """By key id, how many servers in lists belong to the key; keys without any are left out."""
    found = connection.execute(_NUMBERS_OWNED, {"ids": [*key_ids]})
    return {row.owner: row.number for row in found}


_NUMBERS_OWNED = (
    select(servers.c.owner, func.count().label("number"))
    .where(among(servers.c.owner, "ids"), servers.c.owner.is_not(None), is_listed)
    .group_by(servers.c.owner)
)
_is_current = text("superseded_by IS NULL AND state <> 'left'")
_stale = select(servers.c.server_id).where(is_in_state(State.LATE, State.DOWN))
# A query for each column, since each has an index of its own, which holds few servers.
_odd = [
    select(servers.c.server_id).where(column.is_not(None), _is_current)
    for column in (servers.c.twin_of, servers.c.conflict_since, servers.c.flapping_since)
]
_ids = union(_stale, *_odd).subquery()


def _next_of(state: State) -> Select[Any]:
    """The next servers of a state: as many as are wanted of all, so that not all are read."""
    some = (
        select(servers.c.server_id)
        .where(is_in_state(state), servers.c.server_id > bindparam("after"))
        .order_by(servers.c.server_id)
        .limit(bindparam("limit", type_=Integer))
        .subquery()
    )
    return select(some.c.server_id)


_next_ids = union(_next_of(State.LATE), _next_of(State.DOWN), *_odd).subquery()
_AFTER = (
    select(servers.c.server_id, servers.c.owner)
    .where(
        servers.c.server_id.in_(select(_next_ids.c.server_id)),
        servers.c.server_id > bindparam("after"),
    )
    .order_by(servers.c.server_id)
    .limit(bindparam("limit", type_=Integer))
)


@lru_cache
def troubled_query(limit: int) -> Select[Any]:
    """
    The query for the servers that are late or down, flap, or have a twin or a conflict.

    Some of those that flap, or have a twin or a conflict, may be nodes: another server of the same
    database stands for them in lists.
    """
    return (
        select(servers.c.server_id, liveness.c.revision, servers.c.owner)
        .select_from(whole_servers)
        .where(servers.c.server_id.in_(select(_ids.c.server_id)))
        .order_by(servers.c.state_since.desc(), servers.c.server_id)
        .limit(constant(limit))
    )
