"""
The SQL of tombstones: what is kept of the entries of the MCP registry whose servers were deleted.

Without them, a client that asks the registry what has changed would never hear that an entry is
gone. The local name of an entry is its name without the namespace that all entries share.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from attrs import asdict
from sqlalchemy import Connection, Integer, Select, bindparam, delete, or_, select, text

from receiver.domain.agents.registry import (
    Claim,
    Listing,
    Tombstone,
    local_names,
    possible_names,
    whose_local,
)
from receiver.domain.instants import microseconds
from receiver.domain.rows import Row
from receiver.store.lists import claims_like, identities_of
from receiver.store.tables import tombstones

__all__ = ["are_too_old", "read_tombstones", "trim_tombstones", "write_tombstones"]


def write_tombstones(connection: Connection, deleted: Iterable[Row], at: datetime) -> None:
    """
    Write a tombstone for each of the servers `deleted` that has a name in the MCP registry.

    The transaction deletes these servers at the time `at`. If another server has the name, such as
    a server's successor, there is no tombstone. An older tombstone with the same name is replaced.
    """
    gone = [
        row for row in deleted if row.record.endpoint_url is not None and row.record.node_of is None
    ]
    rivals = claims_like(connection, [row.record for row in gone])
    claims = {each.identity.server_id: each for each in rivals}
    claims |= {row.server_id: Claim.of(row.record, row.owner) for row in gone}
    names = local_names(claims.values())
    written = [
        Tombstone.of(names[row.server_id], row.record, at) for row in gone if row.server_id in names
    ]
    if written:
        # Sorted, so that of two transactions with the same names none waits for the other twice.
        rows = sorted(map(_columns, written), key=lambda columns: str(columns["local_name"]))
        connection.execute(_WRITE, rows)


def read_tombstones(connection: Connection, asked: Listing) -> Sequence[tuple[Tombstone, bool]]:
    """
    Read a part of the tombstones, sorted by their local names.

    Returns each with a truth value: true if no server has its name now, or can have it. Only then
    the entry is gone.

    Args:
        connection: A connection to read with.
        asked: Which tombstones match, after which local name to begin, and how many to return at
            most.
    """
    found = [Tombstone(**row) for row in connection.execute(_matching(asked)).mappings()]
    taken = _taken(connection, [each.local_name for each in found])
    return [(each, each.local_name not in taken) for each in found]


def are_too_old(connection: Connection, until: datetime) -> bool:
    """Whether there are tombstones that `trim_tombstones` would delete."""
    given = {"until": until, "most": MOST_TOMBSTONES, "limit": 1}
    return connection.execute(_TOO_OLD, given).first() is not None


def trim_tombstones(connection: Connection, until: datetime) -> None:
    """
    Delete up to 1,000 tombstones that need not be kept any longer.

    These are the ones of servers that were deleted before `until` and, if there are more than
    `MOST_TOMBSTONES`, the oldest of them.
    """
    connection.execute(_TRIM, {"until": until, "most": MOST_TOMBSTONES, "limit": 1000})


def _columns(tombstone: Tombstone) -> dict[str, Any]:
    return {
        **asdict(tombstone),
        "first_seen": microseconds(tombstone.first_seen),
        "forgotten_at": microseconds(tombstone.forgotten_at),
    }


def _matching(asked: Listing) -> Select[Any]:
    matching = asked.matching
    query = select(tombstones).order_by(tombstones.c.local_name).limit(asked.limit)
    if matching.name is not None:
        query = query.where(tombstones.c.local_name == matching.name.partition("/")[2])
    if matching.text is not None:
        query = query.where(tombstones.c.title.icontains(matching.text, autoescape=True))
    if matching.version is not None:
        query = query.where(tombstones.c.version == matching.version)
    if matching.updated_since is not None:
        query = query.where(tombstones.c.forgotten_at >= matching.updated_since)
    if asked.after is not None:
        query = query.where(tombstones.c.local_name > asked.after)
    return query


def _taken(connection: Connection, names: Collection[str]) -> set[str]:
    """The local names that servers have, or can have: at least all those that are among `names`."""
    whose = [each for each in map(whose_local, names) if each is not None]
    return {
        name for identity in identities_of(connection, whose) for name in possible_names(identity)
    }


MOST_TOMBSTONES = 100_000
"""How many tombstones are kept at most; the oldest are deleted first."""

_WRITE = text(
    "INSERT INTO tombstones (local_name, title, version, host, first_seen, forgotten_at) "
    "VALUES (:local_name, :title, :version, :host, :first_seen, :forgotten_at) "
    "ON CONFLICT (local_name) DO UPDATE SET title = excluded.title, version = excluded.version, "
    "host = excluded.host, first_seen = excluded.first_seen, forgotten_at = excluded.forgotten_at"
)
_newest_first = (tombstones.c.forgotten_at.desc(), tombstones.c.local_name.desc())
_superfluous = (
    select(tombstones.c.local_name)
    .order_by(*_newest_first)
    .offset(bindparam("most", type_=Integer))
)
_TOO_OLD = (
    select(tombstones.c.local_name)
    .where(
        or_(
            tombstones.c.forgotten_at < bindparam("until"),
            tombstones.c.local_name.in_(_superfluous),
        )
    )
    .limit(bindparam("limit", type_=Integer))
)
_TRIM = delete(tombstones).where(tombstones.c.local_name.in_(_TOO_OLD))
