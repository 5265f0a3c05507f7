"""
The SQL that finds servers to delete in bulk, and deletes them.

Together with a server that is shown in lists, its nodes (the other servers of its database) are
deleted, and the servers that it superseded. `receiver.domain.forgetting` decides which servers may
be deleted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from attrs import evolve
from sqlalchemy import Connection, Select, select

from receiver.domain.forgetting import Forgettable, Stage, to_forget
from receiver.domain.queries import SUPERSEDED
from receiver.domain.rows import Row
from receiver.store.dialects import Dialect
from receiver.store.forgetting.deletion import delete_servers
from receiver.store.lists import apply_filter
from receiver.store.rows import WHOLE_ROWS, Committed, RowCache, read_rows, row_of
from receiver.store.tables import among, liveness, servers

__all__ = ["BATCH", "Chosen", "chosen_after", "forget", "forgettable"]

BATCH = 200
"""
How many servers that match a filter one transaction deletes at most.

In addition it deletes their nodes, and at most 200 servers that these superseded. The number is
small, so that heartbeats hardly wait for the transaction.
"""


class Chosen(NamedTuple):
    """
    Servers that a query selected for deletion, maybe in a transaction before the deletion.

    Attributes:
        ids: The ids of the servers.
        state: The value of `Filter.state` with which the query selected them.
        asked: The filter that a server must still match when it is deleted.
        most_older: How many servers that the selected ones superseded may be deleted together with
            them; None for any number.
    """

    ids: Sequence[str]
    state: str
    asked: Forgettable
    most_older: int | None


class _Around(NamedTuple):
    """
    The ids of the servers that a deletion may concern.

    Attributes:
        known: The chosen servers, their nodes, and the servers that these superseded.
        others: All servers that name one of the known ones in `superseded_by` or `twin_of`.
        is_cut: Whether `known` may lack superseded servers, since a limit was reached.
    """

    known: set[str]
    others: set[str]
    is_cut: bool


class _Batch(NamedTuple):
    """
    The servers that one transaction deletes, and the rows that change with them.

    Attributes:
        rows: The rows of the servers to delete, and of all servers that name them.
        gone: The ids of the servers to delete.
        is_cut: Whether some servers that belong to these are left for another transaction.
    """

    rows: Mapping[str, Row]
    gone: Collection[str]
    is_cut: bool


def chosen_after(asked: Forgettable, stage: Stage, limit: int) -> Select[Any]:
    """
    The query for the ids of at most `limit` servers to delete, sorted.

    It finds servers that match `asked`, with the state `stage.state`, whose ids are after
    `stage.after`.
    """
    key = servers.c.server_id
    query = _chosen(asked, stage.state)
    return query.where(key > stage.after).order_by(key).limit(limit)


def forget(
    dialect: Dialect, connection: Connection, chosen: Chosen, at: datetime, cache: RowCache
) -> tuple[tuple[list[str], bool], Committed]:
    """
    Lock the rows of the chosen servers, and delete those that still match.

    Deletes with them their nodes and the servers that they superseded. Returns the sorted ids of
    all deleted servers; whether some servers that the chosen ones superseded are left for another
    call; and what the transaction changes. `at` is the time of the deletion.
    """
    read = partial(read_rows, dialect, connection, cache=cache)
    rows, gone, is_cut = _gathered(connection, chosen, read)
    if not gone:
        return ([], is_cut), Committed({}, [])
    return (sorted(gone), is_cut), delete_servers(dialect, connection, rows, gone, at)


def forgettable(connection: Connection, chosen: Chosen) -> list[str]:
    """The sorted ids of the servers that `forget` would delete; this function deletes nothing."""

    def read(ids: Sequence[str]) -> Mapping[str, Row]:
        found = connection.execute(_READ, {"ids": ids}).mappings()
        return {columns["server_id"]: row_of(columns) for columns in found}

    return sorted(_gathered(connection, chosen, read).gone)


def _gathered(
    connection: Connection,
    chosen: Chosen,
    read: Callable[[Sequence[str]], Mapping[str, Row]],
) -> _Batch:
    """Read the rows of the chosen servers and of all that name them, and say which may go."""
    rows: dict[str, Row] = {}
    read_ids: set[str] = set()
    while True:
        around = _around(connection, chosen)
        found = around.known | around.others
        if found <= read_ids:  # who adds a reference locks the row that it names: no more come
            break
        rows |= read(sorted(found - read_ids))
        read_ids |= found
    # Filter again, now that the rows are locked: a server may have sent a message meanwhile.
    query = _chosen(chosen.asked, chosen.state).where(among(servers.c.server_id, "ids"))
    still = connection.execute(query, {"ids": chosen.ids}).scalars()
    ids = [each for each in still if each in rows]
    gone = to_forget(rows, ids, chosen.asked, known=around.known)
    return _Batch(rows, gone, around.is_cut)


def _chosen(asked: Forgettable, state: str) -> Select[Any]:
    query = apply_filter(select(servers.c.server_id), evolve(asked.matching, state=state))
    if asked.heard_before is not None:
        query = query.join(liveness, liveness.c.server_id == servers.c.server_id)
        query = query.where(liveness.c.last_seen < asked.heard_before)
    if asked.same_since is not None:
        query = query.where(servers.c.state_since < asked.same_since)
    return query


def _around(connection: Connection, chosen: Chosen) -> _Around:
    def named(query: Select[Any]) -> set[str]:
        return {*connection.execute(query, {"ids": sorted(known)}).scalars()}

    known = {*chosen.ids}
    is_cut = False
    if chosen.state != SUPERSEDED:
        known |= named(_NODES)
        older = named(_older(chosen.most_older))
        is_cut = len(older) == chosen.most_older
        known |= older
    return _Around(known, named(_OLDER) | named(_TWINS), is_cut)


def _older(limit: int | None) -> Select[Any]:
    """The query for servers that those of `ids` superseded, directly or not, nearest first."""
    found = _OLDER.cte("found", recursive=True)
    older = servers.alias("older")
    before = select(older.c.server_id).where(older.c.superseded_by == found.c.server_id)
    return select(found.union(before)).limit(limit)


_NODES = select(servers.c.server_id).where(
    among(servers.c.node_of, "ids"), servers.c.node_of.is_not(None)
)
_OLDER = select(servers.c.server_id).where(
    among(servers.c.superseded_by, "ids"), servers.c.superseded_by.is_not(None)
)
_TWINS = select(servers.c.server_id).where(
    among(servers.c.twin_of, "ids"), servers.c.twin_of.is_not(None)
)
_READ = WHOLE_ROWS.where(among(servers.c.server_id, "ids"))
