"""Counts servers by state and stage, for metrics and for the history of the fleet."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, exists, func, select

from receiver.domain.queries import LISTED, Rank, index_text
from receiver.store.tables import (
    count_of_lapsed_keys,
    is_lapsed,
    is_listed,
    is_of_lapsed_key,
    keys,
    profiles,
    servers,
)

__all__ = ["ACTIVE", "FLAPPING", "LAPSED", "TALLY", "count_standing"]


def count_standing(
    connection: Connection, now: datetime
) -> tuple[Mapping[tuple[str, str], int], bool]:
    """
    The `Vitals.standing` at `now`, and whether any servers were left out of it for their keys.

    These are the servers of keys that are revoked or expired at `now`.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for rank, stage, number in connection.execute(TALLY):
        if rank not in _WITHOUT_STANDING:
            counts[Rank(rank).state, index_text(stage)] += number
    lapsed = _lapsed_tally(connection, now)
    return counts - Counter(lapsed), bool(lapsed)


def _lapsed_tally(connection: Connection, now: datetime) -> Mapping[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for key_id in connection.execute(_LAPSED_OWNERS, {"now": now}).scalars().all():
        for state, stage, count in connection.execute(LAPSED, {"key": key_id}):
            counts[state.value, index_text(stage)] += count
    return counts


_WITHOUT_STANDING = {Rank.NODE, Rank.SUPERSEDED}
_alike = (
    select(servers.c.profile, servers.c.rank, func.count().label("number"))
    .group_by(servers.c.profile, servers.c.rank)
    .subquery()
)
TALLY = select(_alike.c.rank, profiles.c.stage, _alike.c.number).join(
    profiles, profiles.c.id == _alike.c.profile
)
"""
The query that counts servers by rank and stage, from an index and the table `profiles` alone.

Several of its rows may have the same rank and stage.
"""
_has_standing = and_(servers.c.superseded_by.is_(None), servers.c.node_of.is_(None))
_stage = func.coalesce(servers.c.odoo_stage, "")
_LAPSED_OWNERS = select(keys.c.id).where(is_lapsed, exists().where(servers.c.owner == keys.c.id))
LAPSED = (
    select(servers.c.state, _stage, func.count())
    .where(servers.c.owner == bindparam("key"), _has_standing)
    .group_by(servers.c.state, _stage)
)
"""
The query that counts the servers of the key with the id `key` by state and stage.

Superseded servers and nodes are not counted. It reads the table `servers`.
"""
FLAPPING = (
    select(func.count())
    .select_from(servers)
    .where(servers.c.flapping_since.is_not(None), _has_standing, ~is_of_lapsed_key)
)
ACTIVE = select(
    select(func.count()).select_from(servers).where(servers.c.rank <= max(LISTED)).scalar_subquery()
    - count_of_lapsed_keys(is_listed)
)
"""The query that counts the servers in lists, without those of keys that have lapsed by `:now`."""
