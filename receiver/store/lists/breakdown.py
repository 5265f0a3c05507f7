"""The SQL that counts servers in groups that are alike, for the numbers beside filters."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    cast,
    func,
    not_,
    select,
)

from receiver.domain.lists.breakdown import Alike, Breakdown
from receiver.domain.lists.profiles import Profile
from receiver.domain.queries import LISTED, Filter, Rank, ranks_wanted
from receiver.store.indexes.conditions import (
    Conditions,
    apply_conditions,
    conditions_of,
    is_owned,
)
from receiver.store.tables import facets, keys, offers_one_of, profiles, servers, toolsets

__all__ = ["take_breakdown"]


def take_breakdown(connection: Connection, matching: Filter, conditions: Conditions) -> Breakdown:
    """
    Count servers in groups with the same rank (mostly the state) and the same profile.

    A profile is what servers have in common: stage, versions, network, key and tools. From the
    groups `Breakdown.count` computes how many servers match the filter, and how many would if it
    had another value for one of these. So what the filter says of rank and profile is ignored here,
    and only its other conditions limit which servers are counted. Labels are in no profile, and are
    counted apart.

    Args:
        connection: A connection to read with.
        matching: The filter.
        conditions: The conditions of the filter, as `conditions_of` returns them.
    """
    ranks = {*LISTED, Rank.LEFT, *ranks_wanted(matching)}
    # All ranks are read, for it takes longer to look at the rank of each server than of each group.
    rows = connection.execute(_groups(*conditions.of_servers) if conditions.of_servers else _GROUPS)
    groups = [
        Alike(Profile(*profile), Rank(rank), number)
        for rank, number, *profile in rows
        if rank in ranks
    ]
    excluded = dict(matching.without)
    return Breakdown(
        groups=groups,
        tools=_tools(connection, groups),
        offering=_offering(connection, matching.capability),
        offering_unwanted=_offering(connection, excluded.get("capability", ())),
        owners=_owners(connection, matching.key),
        unwanted_owners=_owners(connection, excluded.get("key", ())),
        labels=_labels(connection, matching, conditions),
        hidden=_hidden(connection, conditions),
    )


def _hidden(connection: Connection, conditions: Conditions) -> Mapping[str, int]:
    """
    How many servers that lists leave out are nodes or superseded, by the value of `Filter.state`.

    They must match what the filter says besides states. The index that begins with the rank finds
    them, so that this costs nothing for the servers that lists show.
    """
    wanted = evolve(conditions, ranks=(Rank.NODE, Rank.SUPERSEDED))
    query = select(servers.c.rank, func.count()).group_by(servers.c.rank)
    rows = connection.execute(apply_conditions(query, wanted, wide=False))
    return {Rank(rank).state: number for rank, number in rows}


def _labels(connection: Connection, matching: Filter, conditions: Conditions) -> Mapping[str, int]:
    """
    How many servers have each label, of those that match apart from the labels that are wanted.

    Of `_MOST_LABELS` labels at most, those that the most servers have, and of those that the filter
    names.
    """
    others = evolve(matching, label=())
    if others != matching:
        conditions = conditions_of(others, connection=connection)
    counted = apply_conditions(_LABELS, conditions, wide=True)
    often = counted.order_by(func.count().desc(), facets.c.value).limit(_MOST_LABELS)
    found = {row.value: row.number for row in connection.execute(often)}
    named = {*matching.label, *dict(matching.without).get("label", ())} - {*found}
    if len(found) == _MOST_LABELS and named:
        rows = connection.execute(counted.where(facets.c.value.in_(sorted(named))))
        found |= {row.value: row.number for row in rows}
    return found


def _tools(connection: Connection, groups: Sequence[Alike]) -> Mapping[int, Sequence[str]]:
    """The names of the tools in the most frequent sets, by the id of the set."""
    sizes: dict[int, int] = {}
    for profile, _, number in groups:
        if profile.toolset is not None:
            sizes[profile.toolset] = sizes.get(profile.toolset, 0) + number
    ids = sorted(sizes, key=lambda each: (-sizes[each], each))[:_MOST_SETS]
    found = connection.execute(_NAMES_OF_SETS, {"ids": ids})
    return {number: names for number, names in found if names is not None}


def _offering(connection: Connection, names: Collection[str]) -> frozenset[int]:
    """The ids of the sets that have one of the names of tools."""
    if not names:
        return frozenset()
    offering = select(toolsets.c.id).where(offers_one_of(toolsets.c.id, names))
    return frozenset(connection.execute(offering).scalars())


def _owners(connection: Connection, values: Collection[str]) -> frozenset[str | None]:
    """The ids of the keys that have one of these ids or names; None, too, if "" is among these."""
    if not values:
        return frozenset()
    found = connection.execute(select(keys.c.id).where(is_owned(keys.c.id, values))).scalars()
    return frozenset([*found, *([None] if "" in values else [])])


def _groups(*conditions: ColumnElement[bool]) -> Select[Any]:
    """How many of the servers that meet conditions have which rank and profile."""
    query = select(servers.c.profile, servers.c.rank, func.count().label("number"))
    groups = query.where(*conditions).group_by(servers.c.profile, servers.c.rank).subquery()
    columns = [profiles.c[name] for name in Profile._fields]
    return select(groups.c.rank, groups.c.number, *columns).join(
        profiles, profiles.c.id == groups.c.profile
    )


_GROUPS = _groups()

_DIGEST = "sha256:"  # what stands in the index for a label that begins like that

_LABELS = (
    select(facets.c.value, func.count().label("number"))
    .join(servers, servers.c.server_id == facets.c.server_id)
    .where(facets.c.name == "label", not_(facets.c.value.startswith(_DIGEST)))
    .group_by(facets.c.value)
)
"""How many servers have each label."""

_MOST_LABELS = 5_000
"""Of how many labels the servers are counted: a fleet may have twenty for each database."""

_MOST_SETS = 300
"""Of how many sets the tools are counted: those that the most servers have."""

_MOST_CHARACTERS = 20_000
"""How long the names of a set may be in JSON, so that its tools are counted."""

_holder = servers.alias("holder")
_NAMES = (
    select(_holder.c.capabilities)
    .where(
        _holder.c.toolset == toolsets.c.id,
        func.length(cast(_holder.c.capabilities, Text)) <= _MOST_CHARACTERS,
    )
    .limit(1)
    .scalar_subquery()
)
"""The names of the tools of a set, as any of the servers has them."""

_NAMES_OF_SETS = select(toolsets.c.id, _NAMES).where(
    toolsets.c.id.in_(bindparam("ids", expanding=True))
)
"""The ids of the sets whose ids are the parameter `ids`, and the names of their tools."""
