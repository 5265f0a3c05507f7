"""The SQL of the wallboard: few columns of many servers, or how many there are in each group."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select

from contract import State
from receiver.domain.queries import Filter, Grouping
from receiver.store.indexes.conditions import apply_filter
from receiver.store.tables import is_of_lapsed_key, servers

__all__ = ["GroupCount", "OnWall", "on_wall", "wall_counts"]


class OnWall(NamedTuple):
    """
    What the wallboard shows of a server.

    Attributes:
        group: The value by which servers are grouped; "" if it is not known.
        since: Since when it has been in its state.
        is_flapping: Whether it stops sending and comes back again and again.
    """

    server_id: str
    database: str | None
    group: str
    state: State
    since: datetime
    is_flapping: bool


class GroupCount(NamedTuple):
    """How many servers of a group are in a state."""

    group: str
    state: State
    servers: int


def on_wall(
    connection: Connection, matching: Filter, by: Grouping, now: datetime, *, limit: int
) -> Sequence[OnWall]:
    """The first servers that match, sorted by id, without those of revoked and expired keys."""
    query = select(
        servers.c.server_id,
        servers.c.database,
        _group(by),
        servers.c.state,
        servers.c.state_since,
        servers.c.flapping_since.is_not(None),
    )
    query = _matching(query, matching).order_by(servers.c.server_id).limit(limit)
    return [OnWall(*row) for row in connection.execute(query, {"now": now})]


def wall_counts(
    connection: Connection, matching: Filter, by: Grouping, now: datetime
) -> Sequence[GroupCount]:
    """How many of all servers that match are in which group and state."""
    group = _group(by)
    query = select(group, servers.c.state, func.count()).group_by(group, servers.c.state)
    return [
        GroupCount(*row) for row in connection.execute(_matching(query, matching), {"now": now})
    ]


def _matching(query: Select[Any], matching: Filter) -> Select[Any]:
    return apply_filter(query, matching).where(~is_of_lapsed_key)


def _group(by: Grouping) -> ColumnElement[str]:
    return func.coalesce(servers.c[_COLUMNS[by]], "").label("in_group")


_COLUMNS = {
    Grouping.STAGE: "odoo_stage",
    Grouping.ODOO_VERSION: "odoo_version",
    Grouping.VERSION: "version",
}
