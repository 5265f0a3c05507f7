"""
API keys in the database.

Every write of a key gives it a revision, the next number of a counter that all keys share. So a
receiver that remembers the newest revision can read only the keys that have changed since.
"""

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from attrs import fields
from sqlalchemy import Connection, Update, bindparam, func, insert, select, update

from receiver.domain.keys import Key
from receiver.store.tables import key_revisions, keys
from receiver.store.transactions import Transactions

__all__ = ["ChangedKeys", "Keys", "read_keys"]


class ChangedKeys(NamedTuple):
    """
    What changed in the keys since a revision.

    Attributes:
        keys: The keys that were written after that revision, sorted by the time of their creation.
        revision: The newest revision of any key.
        total: How many keys the database has, including revoked and expired ones.
        database: A value that differs from that of an earlier call when another database, such as a
            backup, has taken the place of the one that the earlier call has read.
    """

    keys: list[Key]
    revision: int
    total: int
    database: Hashable = None


def read_keys(connection: Connection, *, since: int = -1) -> list[Key]:
    """The keys written after the revision `since`, by default all, sorted by time of creation."""
    return [Key(**row) for row in connection.execute(_CHANGED, {"since": since}).mappings()]


class Keys:
    """
    The API keys of a database.

    Each method is one transaction, and raises StoreUnavailable when the database does not answer.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def all(self) -> list[Key]:
        """All keys that were ever created, including revoked and expired ones, oldest first."""
        return self.changed(since=-1).keys

    def changed(self, *, since: int) -> ChangedKeys:
        """Read the keys that were written after the revision `since`; with -1, all keys."""
        with self._transactions.read() as connection:
            revision = connection.execute(_REVISION).scalar_one()
            total = connection.execute(_COUNT).scalar_one()
            found = read_keys(connection, since=since) if revision > since else []
            identity = self._transactions.dialect.identify(connection)
        return ChangedKeys(found, revision, total, identity)

    def add(self, *added: Key) -> None:
        """Store new keys in one transaction: all of them, or none if one cannot be stored."""

        def work(connection: Connection) -> None:
            for key in added:
                values = {name: getattr(key, name) for name in _COLUMNS}
                connection.execute(insert(keys), {**values, "revision": _next(connection)})

        self._transactions.write(work)

    def revoke(self, key_id: str, at: datetime) -> bool:
        """Revoke a key; return False when there is no such key, or it was revoked before."""
        return self._update(key_id, revoked_at=at)

    def rotate(self, key_id: str, digest: bytes, expires_at: datetime | None) -> bool:
        """
        Give a key another secret: replace its digest, and the time at which it expires.

        `digest` is the SHA-256 of the new text of the key; `expires_at` is None if it never
        expires. Returns False when there is no such key, or it is revoked.
        """
        return self._update(key_id, digest=digest, expires_at=expires_at)

    def add_uses(self, uses: Mapping[str, int], at: datetime) -> None:
        """
        Note that keys were used: add to their numbers of messages, and set their last use to `at`.

        `uses` holds, by key id, how many messages came with the key since the last call: 0 for a
        key that was only used for something else.
        """

        def work(connection: Connection) -> None:
            revision = _next(connection)
            rows = [
                {"key": key_id, "more": uses[key_id], "at": at, "new_revision": revision}
                for key_id in sorted(uses)  # one order for all receivers, to avoid deadlocks
            ]
            connection.execute(_ADD_USES, rows)

        self._transactions.write(work)

    def _update(self, key_id: str, **values: Any) -> bool:
        query: Update = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))

        def work(connection: Connection) -> bool:
            changed = query.values(**values, revision=_next(connection))
            return connection.execute(changed).rowcount == 1

        return self._transactions.write(work)


def _next(connection: Connection) -> int:
    """Raise the common counter of revisions by one and return it; locks it until the commit."""
    connection.execute(_RAISE)
    return int(connection.execute(_REVISION).scalar_one())


_COLUMNS = [each.name for each in fields(Key) if each.init]
_RAISE = update(key_revisions).values(revision=key_revisions.c.revision + 1)
_REVISION = select(key_revisions.c.revision)
_COUNT = select(func.count()).select_from(keys)
_CHANGED = (
    select(*(keys.c[name] for name in _COLUMNS))
    .where(keys.c.revision > bindparam("since"))
    .order_by(keys.c.created_at, keys.c.id)
)
_ADD_USES = (
    update(keys)
    .where(keys.c.id == bindparam("key"))
    .values(
        messages=keys.c.messages + bindparam("more"),
        last_used_at=bindparam("at"),
        revision=bindparam("new_revision"),
    )
)
