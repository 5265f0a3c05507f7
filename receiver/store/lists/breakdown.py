"""The SQL that counts servers in groups that are alike, for the numbers beside filters."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
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
    literal,
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
from receiver.store.tables import (
    among,
    constant,
    facets,
    keys,
    offers_one_of,
    profiles,
    servers,
    tallies,
    toolsets,
)

__all__ = ["Breakdowns"]

Tallies = Sequence[tuple[int, int, int]]
"""How many servers have which profile and rank: the id of the profile, the rank, the number."""


class Breakdowns:
    """
    Counts servers in groups with the same rank (mostly the state) and the same profile.

    The last breakdown without a filter is kept, and returned again as long as the database has the
    same numbers: a large fleet has thousands of groups, and most pages are without a filter.
    """

    def __init__(self) -> None:
        self._last: tuple[object, Breakdown] | None = None

    def take(self, connection: Connection, matching: Filter, conditions: Conditions) -> Breakdown:
        """
        Count servers in groups that are alike.

        A profile is what servers have in common: stage, versions, network, key and tools. From the
        groups `Breakdown.count` computes how many servers match the filter, and how many would if
        it had another value for one of these. So what the filter says of rank and profile is
        ignored here, and only its other conditions limit which servers are counted. Labels are in
        no profile, and are counted apart.

        Args:
            connection: A connection to read with, in a transaction that sees one moment.
            matching: The filter.
            conditions: The conditions of the filter, as `conditions_of` returns them.
        """
        query = _counted(*conditions.of_servers) if conditions.of_servers else _TALLIES
        # Tuples, since SQLAlchemy compares its rows in Python.
        tallied = [(profile, rank, n) for profile, rank, n in connection.execute(query).all()]
        labels = _labels(connection, matching, conditions)
        if not conditions.are_none:
            return _breakdown(connection, matching, conditions, tallied, labels)
        key = tallied, labels, conditions.ranks
        last = self._last
        if last is None or last[0] != key:
            last = key, _breakdown(connection, matching, conditions, tallied, labels)
            self._last = last
        return last[1]


def _breakdown(
    connection: Connection,
    matching: Filter,
    conditions: Conditions,
    tallied: Tallies,
    labels: Mapping[str, int],
) -> Breakdown:
    """The breakdown for a filter: with `tallied`, the servers that meet its other conditions."""
    ids = {"ids": sorted({profile for profile, *_ in tallied})}
    known = {number: Profile(*columns) for number, *columns in connection.execute(_PROFILES, ids)}
    every = [
        Alike(known[profile], Rank(rank), number)
        for profile, rank, number in tallied
        if profile in known
    ]
    ranks = {*LISTED, Rank.LEFT, *ranks_wanted(matching)}
    groups = [each for each in every if each.rank in ranks]
    excluded = dict(matching.without)
    return Breakdown(
        groups=groups,
        tools=_tools(connection, groups),
        offering=_offering(connection, matching.capability),
        offering_unwanted=_offering(connection, excluded.get("capability", ())),
        owners=_owners(connection, matching.key),
        unwanted_owners=_owners(connection, excluded.get("key", ())),
        labels=labels,
        hidden=_hidden(every) if conditions.are_none else _hidden_of(connection, conditions),
    )


def _hidden(groups: Iterable[Alike]) -> Mapping[str, int]:
    """How many servers are nodes or superseded, by the value of `Filter.state`."""
    found: Counter[str] = Counter()
    for each in groups:
        if each.rank in _HIDDEN:
            found[each.rank.state] += each.number
    return found


def _hidden_of(connection: Connection, conditions: Conditions) -> Mapping[str, int]:
    """
    How many servers that meet conditions are nodes or superseded, whatever these say of ranks.

    The index that begins with the rank finds them, so that this costs nothing for the servers that
    lists show.
    """
    wanted = evolve(conditions, ranks=_HIDDEN)
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
    if conditions.are_none:
        often = _often_of_all(frozenset(conditions.ranks), _MOST_LABELS)
    else:
        often = _often(conditions, _MOST_LABELS)
    found = {row.value: row.number for row in connection.execute(often)}
    named = {*matching.label, *dict(matching.without).get("label", ())} - {*found}
    if len(found) == _MOST_LABELS and named:
        counted = apply_conditions(_LABELS, conditions, wide=True)
        rows = connection.execute(counted.where(facets.c.value.in_(sorted(named))))
        found |= {row.value: row.number for row in rows}
    return found


@lru_cache(maxsize=100)
def _often_of_all(ranks: frozenset[Rank], most: int) -> Select[Any]:
    """The query for the most frequent labels of all servers with one of some ranks, made once."""
    return _often(Conditions(ranks=ranks, of_profiles=(), of_servers=()), most)


def _often(conditions: Conditions, most: int) -> Select[Any]:
    """The query for the most frequent labels of the servers that meet conditions."""
    counted = apply_conditions(_LABELS, conditions, wide=True)
    return counted.order_by(func.count().desc(), facets.c.value).limit(constant(most))


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


def _counted(*conditions: ColumnElement[bool]) -> Select[Any]:
    """How many of the servers that meet conditions have which profile and rank."""
    query = select(servers.c.profile, servers.c.rank, func.count()).where(*conditions)
    return query.group_by(servers.c.profile, servers.c.rank)


_number = func.sum(tallies.c.number)
_TALLIES = (
    select(tallies.c.profile, tallies.c.rank, _number)
    .group_by(tallies.c.profile, tallies.c.rank)
    .having(_number != 0)
    .order_by(tallies.c.profile, tallies.c.rank)
)
"""How many servers have which profile and rank, of all servers."""

_PROFILES = select(profiles.c.id, *(profiles.c[name] for name in Profile._fields)).where(
    among(profiles.c.id, "ids")
)
_HIDDEN = frozenset({Rank.NODE, Rank.SUPERSEDED})

_DIGEST = "sha256:"  # what stands in the index for a label that begins like that

# In the text of the query, so that PostgreSQL keeps a plan that knows how few labels there are.
_is_label = facets.c.name == literal("label", Text, literal_execute=True)
_LABELS = (
    select(facets.c.value, func.count().label("number"))
    .join(servers, servers.c.server_id == facets.c.server_id)
    .where(_is_label, not_(facets.c.value.startswith(_DIGEST)))
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
