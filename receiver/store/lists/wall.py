"""
The SQL of the wallboard, a page for a large screen with a cell for each server.

It reads few columns of many servers or, if there are too many for cells, counts them in groups. The
servers are grouped by the value of one field, such as their stage.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from receiver.domain.lists.wall import GroupCount, OnWall
from receiver.domain.queries import Filter, Grouping
from receiver.store.indexes.conditions import apply_filter
from receiver.store.tables import columns_of, is_of_lapsed_key, servers

__all__ = ["on_wall", "wall_counts"]


def on_wall(
    connection: Connection, matching: Filter, by: Grouping, now: datetime, *, limit: int
) -> Sequence[OnWall]:
    """
    Read what the wallboard shows of servers: an item for each, sorted by `server_id`.

    Args:
        connection: A connection to read with.
        matching: The filter that the servers match.
        by: The field whose value becomes the attribute `group` of each item.
        now: The time. Servers whose key was revoked, or has expired by then, are left out.
        limit: How many servers are returned at most.
    """
    columns = columns_of(
        OnWall._fields,
        servers,
        group=_group(by),
        since=servers.c.state_since,
        is_flapping=servers.c.flapping_since.is_not(None),
    )
    query = _matching(select(*columns), matching).order_by(servers.c.server_id).limit(limit)
    return [OnWall._make(row) for row in connection.execute(query, {"now": now})]


def wall_counts(
    connection: Connection, matching: Filter, by: Grouping, now: datetime
) -> Sequence[GroupCount]:
    """
    Count all servers that match by group and state.

    Args:
        connection: A connection to read with.
        matching: The filter that the servers match.
        by: The field of which each value is a group.
        now: The time. Servers whose key was revoked, or has expired by then, are left out.

    Returns an item for each pair of group and state that any server has, in no particular order.
    """
    group = _group(by)
    columns = columns_of(GroupCount._fields, servers, group=group, servers=func.count())
    query = _matching(select(*columns), matching).group_by(group, servers.c.state)
    return [GroupCount._make(row) for row in connection.execute(query, {"now": now})]


def _matching(query: Select[Any], matching: Filter) -> Select[Any]:
    return apply_filter(query, matching).where(~is_of_lapsed_key)


def _group(by: Grouping) -> ColumnElement[str]:
    return func.coalesce(servers.c[_COLUMNS[by]], "")


_COLUMNS = {
    Grouping.STAGE: "odoo_stage",
    Grouping.ODOO_VERSION: "odoo_version",
    Grouping.VERSION: "version",
}
