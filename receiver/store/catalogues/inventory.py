"""Reads what all servers in lists offer: how many have which tools, and how they describe these."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Select, Text, bindparam, cast, func, select

from receiver.domain.inventory.software import Running
from receiver.domain.inventory.tools import ToolCounts
from receiver.store.tables import among, catalogues, is_listed, servers, toolsets
from receiver.store.transactions import Transactions

__all__ = ["CATALOGUES", "MOST_SETS", "TOOLSETS", "Inventory"]

MOST_SETS = 20_000
"""How many sets of tool names, and how many catalogues, are counted at most."""


class Inventory:
    """
    Reads what servers offer.

    All of it is about the servers in lists: those that are neither superseded nor nodes and have
    not left. Each method is one transaction that reads; it raises StoreUnavailable when the
    database does not answer.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def tool_counts(self) -> ToolCounts:
        """How many servers have which set of tool names and which catalogue, from indexes alone."""
        with self._transactions.read() as connection:
            return ToolCounts(
                servers=connection.execute(_LISTED).scalar_one(),
                offering=connection.execute(_OFFERING).scalar_one(),
                toolsets=_pairs(connection, TOOLSETS),
                catalogues=_pairs(connection, CATALOGUES),
            )

    def running(self) -> Sequence[Running]:
        """How many servers run the same versions in the same stage; the most frequent first."""
        with self._transactions.read() as connection:
            return [Running._make(row) for row in connection.execute(_RUNNING, {"most": MOST_SETS})]

    def names(self, ids: Collection[int]) -> Mapping[int, Sequence[str]]:
        """The names in sets of tool names, by the id of the set; without sets that are gone."""
        with self._transactions.read() as connection:
            rows = connection.execute(_NAMES.where(toolsets.c.id.in_(ids))).all()
        return {toolset: names for toolset, names in rows if names is not None}

    def texts(self, ids: Collection[str]) -> Mapping[str, str]:
        """The tools of catalogues as JSON, by the id of the catalogue; without those gone."""
        with self._transactions.read() as connection:
            rows = connection.execute(_TEXTS, {"ids": [*ids]}).all()
        return {row.id: row.tools for row in rows}

    def holders(self, ids: Collection[str], *, limit: int) -> Sequence[str]:
        """The sorted ids of the first servers that have one of some catalogues."""
        with self._transactions.read() as connection:
            found = connection.execute(_HOLDERS, {"ids": [*ids], "limit": limit})
            return list(found.scalars())


def _pairs(connection: Connection, query: Select[Any]) -> dict[Any, int]:
    return {row[0]: row[1] for row in connection.execute(query, {"most": MOST_SETS})}


def _counted(column: Any) -> Select[Any]:
    """Count the servers in lists by a column; the most frequent values come first."""
    number = func.count()
    return (
        select(column, number)
        .where(column.is_not(None), is_listed)
        .group_by(column)
        .order_by(number.desc(), column)
        .limit(bindparam("most", type_=Integer))
    )


_LONGEST = 255
"""How many characters of a version or a stage are read."""

_LISTED = select(func.count()).select_from(servers).where(is_listed)
_OFFERING = _LISTED.where(servers.c.toolset.is_not(None))
TOOLSETS = _counted(servers.c.toolset)
CATALOGUES = _counted(servers.c.catalogue)
"""The queries that count the servers in lists by set of tool names, and by catalogue."""

_software = [
    func.substr(func.coalesce(servers.c[name], ""), 1, _LONGEST)
    for name in ("odoo_version", "version", "odoo_stage")
]
_RUNNING = (
    select(*_software, func.count())
    .where(is_listed)
    .group_by(*_software)
    .order_by(func.count().desc(), *_software)
    .limit(bindparam("most", type_=Integer))
)
_holder = servers.alias("holder")
_NAMES = select(
    toolsets.c.id,
    select(_holder.c.capabilities)
    .where(_holder.c.toolset == toolsets.c.id)
    .limit(1)
    .scalar_subquery(),
)
"""The names in sets of tool names, as one of the servers that have the set lists them."""

_TEXTS = select(catalogues.c.id, cast(catalogues.c.tools, Text).label("tools")).where(
    among(catalogues.c.id, "ids")
)
_HOLDERS = (
    select(servers.c.server_id)
    .where(among(servers.c.catalogue, "ids"), servers.c.catalogue.is_not(None), is_listed)
    .order_by(servers.c.server_id)
    .limit(bindparam("limit", type_=Integer))
)
