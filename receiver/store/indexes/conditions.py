"""
The conditions of a filter of servers, in SQL.

A page of a list of servers can be found in two ways. If few servers match the filter, the ids of
all of them are read and sorted. If many match, an index in the order of the list is read from one
end, and servers that do not match are left out, until the page is full. The databases cannot know
which way is faster, so `is_wide` finds out.
"""

from collections.abc import Collection, Sequence
from json import dumps
from typing import Any

from attrs import frozen
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from receiver.domain.lists.search_texts import Sought
from receiver.domain.queries import LISTED, Filter, Rank, index_text, ranks_wanted
from receiver.store.tables import (
    among_these,
    annotations,
    constant,
    facets,
    is_listed,
    keys,
    offers_one_of,
    profiles,
    search_texts,
    servers,
    toolsets,
)

__all__ = [
    "MOST_FEW",
    "Conditions",
    "apply_conditions",
    "apply_filter",
    "conditions_of",
    "is_owned",
    "is_wide",
]

MOST_FEW = 2000
"""Up to how many servers are few: to read and sort these is faster than to read an index of all."""


@frozen(kw_only=True)
class Conditions:
    """
    The conditions that the servers of a list must meet: all of them.

    Attributes:
        ranks: The ranks (`receiver.domain.queries.Rank`, mostly by state) that they may have.
        of_profiles: Conditions on the row of each server's profile in the table `profiles`.
        of_servers: Conditions on its row in the table `servers`.
        profile_ids: The ids of all profiles that meet `of_profiles`; None if they are not known.
        toolset_ids: The ids of all sets of tools that meet `of_profiles`, if these are of tools
            alone and the ranks those of lists without a filter; None otherwise, and if the sets are
            not known. Then an index of the sets finds the servers, whatever else they have in
            common: servers with the same tools may be of as many profiles as there are networks.
    """

    ranks: frozenset[Rank]
    of_profiles: Sequence[ColumnElement[bool]]
    of_servers: Sequence[ColumnElement[bool]]
    profile_ids: Sequence[int] | None = None
    toolset_ids: Sequence[int] | None = None

    @property
    def are_none(self) -> bool:
        """Whether there are no conditions besides the ranks."""
        return not (self.of_profiles or self.of_servers)


def conditions_of(
    matching: Filter,
    *,
    connection: Connection | None = None,
    listed: Collection[Rank] = LISTED,
) -> Conditions:
    """
    The conditions of a filter.

    Args:
        matching: The filter.
        connection: A connection to read with. With it the words of the filter are searched at once,
            and the conditions have the ids of the servers and profiles found, if these are few.
            With None each query with the conditions searches them.
        listed: The ranks that the servers may have if the filter names no states.
    """
    of_profiles = [
        each
        for name in _OF_PROFILES
        if (values := getattr(matching, name))
        for each in [_of_profile(name, values)]
    ]
    of_servers = [
        _of_server(name, values) for name in _OF_SERVERS if (values := getattr(matching, name))
    ]
    for name, values in matching.without:
        if name in _OF_PROFILES:
            of_profiles.append(not_(func.coalesce(_of_profile(name, values), false())))
        elif name in _OF_SERVERS:
            of_servers.append(not_(_of_server(name, values)))
    of_servers += [
        _contains(word, connection, in_notes=matching.in_notes) for word in matching.words
    ]
    ranks = ranks_wanted(matching, listed=listed)
    is_of_tools = bool(matching.capability) and len(of_profiles) == 1 and ranks == LISTED
    profile_ids: Sequence[int] | None = None
    toolset_ids: Sequence[int] | None = None
    if connection is not None and is_of_tools:
        offering = offers_one_of(toolsets.c.id, matching.capability)
        toolset_ids = _few(select(toolsets.c.id).where(offering), connection)
    elif connection is not None and of_profiles:
        profile_ids = _few(select(profiles.c.id).where(*of_profiles), connection)
    return Conditions(
        ranks=ranks,
        of_profiles=of_profiles,
        of_servers=of_servers,
        profile_ids=profile_ids,
        toolset_ids=toolset_ids,
    )


def apply_filter(
    query: Select[Any],
    matching: Filter,
    *,
    connection: Connection | None = None,
    listed: Collection[Rank] = LISTED,
) -> Select[Any]:
    """
    Add the WHERE clauses of a filter to a query of `servers`.

    Args:
        query: The query. Without `connection` it should have other conditions, by which few servers
            are found: for most conditions of the filter no index is used then.
        matching: The filter.
        connection: A connection to read with, to find out whether few servers match, and the
            database should use an index to find them; None not to find out.
        listed: The ranks that the servers may have if the filter names no states.
    """
    conditions = conditions_of(matching, connection=connection, listed=listed)
    wide = connection is None or is_wide(connection, conditions)
    return apply_conditions(query, conditions, wide=wide)


def apply_conditions(
    query: Select[Any], conditions: Conditions, *, wide: bool, by_rank: bool = False
) -> Select[Any]:
    """
    Add WHERE clauses to a query of `servers`.

    Args:
        query: The query.
        conditions: The conditions.
        wide: Whether many servers match, so that the database should read an index in the order of
            the query, and no index that finds the servers.
        by_rank: Whether the query is sorted by rank, so that an index in its order has the ranks.
    """
    toolset_ids = conditions.toolset_ids
    if toolset_ids is not None and conditions.ranks == LISTED and not wide:
        query = query.where(is_listed, servers.c.toolset.in_(_constants(toolset_ids)))
        return query.where(*conditions.of_servers)
    query = query.where(*_of_ranks(conditions.ranks, hidden=wide and not by_rank))
    if conditions.of_profiles:
        column = _HIDDEN_PROFILE if wide else servers.c.profile
        ids = select(profiles.c.id).where(*conditions.of_profiles)
        known = conditions.profile_ids
        query = query.where(column.in_(ids if known is None else _constants(known)))
    return query.where(*conditions.of_servers)


def is_wide(connection: Connection, conditions: Conditions) -> bool:
    """Whether more than `MOST_FEW` servers meet conditions."""
    if conditions.are_none:
        return True
    found = apply_conditions(select(servers.c.server_id), conditions, wide=False)
    some = found.limit(MOST_FEW + 1).subquery()
    count = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return bool(count > MOST_FEW)


def is_owned(owner: ColumnElement[Any], values: Collection[str]) -> ColumnElement[bool]:
    """
    The condition that a column has the id of a key.

    Args:
        owner: The column, such as `servers.owner`; NULL means that there is no key.
        values: The ids or names of the keys of which it must be one. An empty text among these
            stands for no key.
    """
    named = select(keys.c.id).where(or_(keys.c.id.in_(values), keys.c.name.in_(values)))
    return or_(owner.is_(None), owner.in_(named)) if "" in values else owner.in_(named)


def _of_ranks(ranks: Collection[Rank], *, hidden: bool) -> list[ColumnElement[bool]]:
    """
    The conditions that a server has one of some ranks.

    If they are hidden, no index is used for them, unless there is only one rank.
    """
    if not ranks:
        return [false()]
    lowest, highest = min(ranks), max(ranks)
    if lowest == highest:
        return [servers.c.rank == constant(lowest)]
    column = _HIDDEN_RANK if hidden else servers.c.rank
    found = [column >= constant(lowest), column <= constant(highest)]
    if len({*ranks}) <= highest - lowest:
        found.append(_HIDDEN_RANK.in_([*map(constant, sorted(ranks))]))
    return found


def _few(ids: Select[Any], connection: Connection) -> Sequence[int] | None:
    """
    The ids of the profiles or sets of tools that a query finds, if they are few; None if not.

    PostgreSQL knows how many servers have which of them, but not how many have one that meets a
    condition: it would look for two hundred servers by reading the index of all.
    """
    found = connection.execute(ids.limit(_FEW + 1)).scalars().all()
    return found if len(found) <= _FEW else None


def _constants(ids: Sequence[int]) -> BindParameter[Any]:
    """Numbers that stand in the SQL: a plan that is made once for all parameters knows none."""
    return bindparam(None, ids, expanding=True, literal_execute=True, unique=True)


def _of_profile(name: str, values: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a profile has one of the values of an attribute of `Filter`."""
    if name == "capability":
        return offers_one_of(profiles.c.toolset, values)
    if name == "key":
        return is_owned(profiles.c.owner, values)
    return profiles.c[name].in_(values)


def _of_server(name: str, values: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a server has one of the values of an attribute of `Filter`."""
    if name == "server_id":
        return among_these(servers.c.server_id, values)
    texts = [index_text(value) for value in values]
    return servers.c.server_id.in_(
        select(facets.c.server_id).where(facets.c.name == name, facets.c.value.in_(texts))
    )


def _contains(word: str, connection: Connection | None, *, in_notes: bool) -> ColumnElement[bool]:
    """
    The condition that a word is found in a server.

    It may be in its names, addresses, versions or tools, or with `in_notes` in the labels or the
    note of its database.
    """
    sought = Sought.of(word)
    texts = [search_texts.c.names.contains(sought.name, autoescape=True)]
    if sought.address is not None:
        line = f"\n{sought.address}"
        texts.append(search_texts.c.addresses.contains(line, autoescape=True))
    of_profiles = [
        func.lower(each).startswith(sought.version, autoescape=True)
        for each in (profiles.c.odoo_version, profiles.c.version)
    ]
    if sought.tool is not None:
        # The names of tools are JSON, and so must be the word.
        word = dumps(sought.tool)[1:-1]
        sets = select(toolsets.c.id).where(_TOOLS.contains(word, autoescape=True))
        of_profiles.append(profiles.c.toolset.in_(sets))
    ids = union_all(select(search_texts.c.server_id).where(or_(*texts)))
    if in_notes:
        is_noted = annotations.c.search_text.contains(sought.label, autoescape=True)
        ids = union_all(*ids.selects, *_annotated(is_noted))
    return or_(
        _is_one_of(servers.c.server_id, ids, connection),
        _is_one_of(servers.c.profile, select(profiles.c.id).where(or_(*of_profiles)), connection),
    )


def _annotated(found: ColumnElement[bool]) -> list[Select[Any]]:
    """Queries for the ids of the servers of the databases whose labels and notes are found."""
    subject = annotations.c.subject
    families = select(func.substr(subject, len(_OF_UUID) + 1)).where(
        subject.startswith(_OF_UUID, autoescape=True), found
    )
    return [
        select(_relative.c.server_id).where(
            _relative.c.family.is_not(None), _relative.c.family.in_(families)
        ),
        select(func.substr(subject, len(_OF_SERVER) + 1)).where(
            subject.startswith(_OF_SERVER, autoescape=True), found
        ),
    ]


def _is_one_of(
    column: ColumnElement[Any],
    values: Select[Any] | CompoundSelect[Any],
    connection: Connection | None,
) -> ColumnElement[bool]:
    """
    The condition that a column has one of the values that a query finds.

    With a connection, the values are found now, and if they are few they take the place of the
    query. Otherwise each statement with the condition would have the query in it, which takes
    longer to write as SQL than to execute.
    """
    if connection is None:
        return column.in_(values)
    few = connection.execute(values.limit(MOST_FEW + 1)).scalars().all()
    if len(few) > MOST_FEW:
        return column.in_(values)
    return among_these(column, few) if few else false()


_FEW = 200
_OF_PROFILES = ("stage", "odoo_version", "version", "network", "key", "capability")
_OF_SERVERS = ("server_id", "database", "label")
_OF_UUID, _OF_SERVER = "uuid:", "server:"  # as in `receiver.domain.databases.subject_of`

_relative = servers.alias("relative")
_holder = servers.alias("holder")
_TOOLS = func.lower(
    select(cast(_holder.c.capabilities, Text))
    .where(_holder.c.toolset == toolsets.c.id)
    .limit(1)
    .scalar_subquery()
)
"""The names of the tools of a set in JSON, as any of the servers has them."""

# Neither database uses an index for an expression like these.
_HIDDEN_RANK: ColumnElement[Any] = literal_column("(+servers.rank)", Integer)
_HIDDEN_PROFILE: ColumnElement[Any] = literal_column("(+servers.profile)", BigInteger)
