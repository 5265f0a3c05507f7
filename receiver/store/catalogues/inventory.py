"""Counts what the servers in lists have: which tools, which descriptions, which versions."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    select,
)

from receiver.domain.inventory.software import Running
from receiver.domain.inventory.tools import ToolCounts
from receiver.domain.queries import LISTED
from receiver.store.tables import among, catalogues, is_listed, profiles, servers, toolsets
from receiver.store.transactions import Transactions

__all__ = ["CATALOGUES", "MOST_SETS", "SETS", "Inventory"]

MOST_SETS = 20_000
"""How many sets of tool names, catalogues, or versions are counted at most: the most frequent."""


class Inventory:
    """
    Counts what servers have: which tools, which descriptions of tools, and which versions.

    All of it is about the servers in lists: those that are neither superseded nor nodes and have
    not left. Each method is one transaction that reads; it raises StoreUnavailable when the
    database does not answer.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def tool_counts(self) -> ToolCounts:
        """How many servers have which set of tool names and which catalogue (their description)."""
        with self._transactions.read() as connection:
            totals = connection.execute(_TOTALS).one()
            sets = connection.execute(SETS, {"most": MOST_SETS}).all()
            catalogues = connection.execute(CATALOGUES, {"most": MOST_SETS}).all()
        toolsets: Counter[int] = Counter()
        stages: dict[str, dict[int | None, int]] = {}
        for row in sets:
            stages.setdefault(row.stage, {})[row.toolset] = row.servers
            if row.toolset is not None:
                toolsets[row.toolset] += row.servers
        return ToolCounts(
            servers=totals.servers,
            offering=totals.offering,
            toolsets=dict(toolsets.most_common()),
            stages=stages,
            catalogues={row.catalogue: row.servers for row in catalogues},
        )

    def running(self) -> Sequence[Running]:
        """How many servers run the same versions in the same stage, the most frequent first."""
        with self._transactions.read() as connection:
            found = connection.execute(_RUNNING, {"most": MOST_SETS}).mappings()
            return [Running(**row) for row in found]

    def names(self, ids: Collection[int]) -> Mapping[int, Sequence[str]]:
        """The names in sets of tool names, by the id of the set, if it still exists."""
        with self._transactions.read() as connection:
            rows = connection.execute(_NAMES.where(toolsets.c.id.in_(ids))).all()
        return {row.id: row.names for row in rows if row.names is not None}

    def texts(self, ids: Collection[str]) -> Mapping[str, str]:
        """The tools of catalogues as JSON, by the id of the catalogue, if it still exists."""
        with self._transactions.read() as connection:
            rows = connection.execute(_TEXTS, {"ids": [*ids]}).all()
        return {row.id: row.tools for row in rows}

    def holders(self, ids: Collection[str], *, limit: int) -> Sequence[str]:
        """The ids of servers that have one of the catalogues `ids`: the first `limit`, sorted."""
        with self._transactions.read() as connection:
            found = connection.execute(_HOLDERS, {"ids": [*ids], "limit": limit})
            return list(found.scalars())


_LONGEST = 255
"""How many characters of a version or a stage are read; further ones are cut off."""

# The condition of a partial index.
_is_described = and_(servers.c.catalogue.is_not(None), is_listed)

# Read from an index alone: servers have few different profiles.
_alike = (
    select(servers.c.profile, func.count().label("number"))
    .where(servers.c.rank <= max(LISTED).value)
    .group_by(servers.c.profile)
    .subquery()
)
_number = cast(func.sum(_alike.c.number), BigInteger)
_of_profiles = _alike.join(profiles, profiles.c.id == _alike.c.profile)
_TOTALS = select(
    func.coalesce(_number, 0).label("servers"),
    func.coalesce(
        cast(func.sum(case((profiles.c.toolset.is_not(None), _alike.c.number))), BigInteger), 0
    ).label("offering"),
).select_from(_of_profiles)


def _begin(column: Any) -> Any:
    return func.substr(func.coalesce(column, ""), 1, _LONGEST)


def _grouped(**columns: Any) -> Select[Any]:
    """
    Count the servers in lists by what is in their profiles; the most frequent come first.

    A row has the names of `columns`, and the number as `servers`.
    """
    by = columns.values()
    return (
        select(*(each.label(name) for name, each in columns.items()), _number.label("servers"))
        .select_from(_of_profiles)
        .group_by(*by)
        .order_by(_number.desc(), *by)
        .limit(bindparam("most", type_=Integer))
    )


SETS = _grouped(stage=_begin(profiles.c.stage), toolset=profiles.c.toolset)
"""The query that counts the servers in lists by stage and set of tool names."""

_RUNNING = _grouped(
    odoo_version=_begin(profiles.c.odoo_version),
    version=_begin(profiles.c.version),
    stage=_begin(profiles.c.stage),
)
_described = func.count()
CATALOGUES = (
    select(servers.c.catalogue, _described.label("servers"))
    .where(_is_described)
    .group_by(servers.c.catalogue)
    .order_by(_described.desc(), servers.c.catalogue)
    .limit(bindparam("most", type_=Integer))
)
"""The query that counts the servers in lists by catalogue."""

_holder = servers.alias("holder")
_NAMES = select(
    toolsets.c.id,
    select(_holder.c.capabilities)
    .where(_holder.c.toolset == toolsets.c.id)
    .limit(1)
    .scalar_subquery()
    .label("names"),
)
"""The names in sets of tool names, as one of the servers that have the set lists them."""

_TEXTS = select(catalogues.c.id, cast(catalogues.c.tools, Text).label("tools")).where(
    among(catalogues.c.id, "ids")
)
_HOLDERS = (
    select(servers.c.server_id)
    .where(among(servers.c.catalogue, "ids"), _is_described)
    .order_by(servers.c.server_id)
    .limit(bindparam("limit", type_=Integer))
)
