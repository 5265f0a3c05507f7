"""The tables of API keys and sessions, and the conditions that a key has lapsed."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    TextClause,
    and_,
    bindparam,
    func,
    or_,
    select,
)

from receiver.domain.keys import KeyScope
from receiver.store.tables.columns import Member, Moment, metadata
from receiver.store.tables.servers import servers

__all__ = [
    "count_of_lapsed_keys",
    "is_lapsed",
    "is_of_lapsed_key",
    "key_revisions",
    "keys",
    "sessions",
]

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Member(KeyScope), nullable=False),
    Column("servers", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    Column("messages", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default="0"),
    Index("ix_keys_revision", "revision"),
)
"""
A row for each `receiver.domain.keys.Key`.

No row is ever deleted, because the rows of servers hold the ids of the keys that own them.

Each write of a row sets its `revision` to the next number of `key_revisions`.
"""

is_lapsed = or_(keys.c.revoked_at.is_not(None), keys.c.expires_at <= bindparam("now", type_=Moment))
"""
The condition that a key has lapsed: it was revoked, or has expired by the parameter `now`.

Each query must evaluate it, because nothing is written to the row of a key when the key expires.
"""

is_of_lapsed_key = and_(
    servers.c.owner.is_not(None), servers.c.owner.in_(select(keys.c.id).where(is_lapsed))
)
"""The condition that a server belongs to a key that was revoked, or has expired by `:now`."""


def count_of_lapsed_keys(*conditions: ColumnElement[bool] | TextClause) -> ColumnElement[Any]:
    """
    A scalar subquery: how many servers meet all `conditions` and belong to lapsed keys.

    A key has lapsed if it was revoked, or has expired by the parameter `now`. The query counts key
    by key, because SQLite would read all servers to find those of several keys at once.
    """
    of_key = select(func.count()).select_from(servers).where(servers.c.owner == keys.c.id)
    counted = of_key.where(*conditions).correlate(keys).scalar_subquery()
    return select(func.coalesce(func.sum(counted), 0)).where(is_lapsed).scalar_subquery()


key_revisions = Table(
    "key_revisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
"""
One row: the `revision` that the last write of a row of `keys` has set.

A transaction that writes keys locks this row first, so that revisions rise in the order of the
commits.
"""

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("key_digest", LargeBinary, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_sessions_expires_at", "expires_at"),
)
"""A row for each `receiver.domain.sessions.Session` of a browser."""
