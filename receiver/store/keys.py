"""Keys as they are kept, read and written within a transaction of somebody else's."""

from collections.abc import Mapping
from datetime import datetime

from attrs import fields
from sqlalchemy import Connection, bindparam, insert, select, update

from receiver.domain.keys import Key
from receiver.store.tables import keys

__all__ = ["add", "every", "note", "revoke", "rotate"]


def every(connection: Connection) -> list[Key]:
    """All keys that were ever made, oldest first."""
    found = connection.execute(_EVERY).mappings()
    return [Key(**{name: row[name] for name in _COLUMNS}) for row in found]


def add(connection: Connection, key: Key) -> None:
    """Keep a new key."""
    connection.execute(insert(keys), {name: getattr(key, name) for name in _COLUMNS})


def revoke(connection: Connection, key_id: str, at: datetime) -> bool:
    """Take a key back; False when there is none that is not revoked."""
    query = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    return connection.execute(query.values(revoked_at=at)).rowcount == 1


def rotate(connection: Connection, key_id: str, digest: bytes, expires_at: datetime | None) -> bool:
    """Let a key have another secret and end; False when there is none that is not revoked."""
    query = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    return connection.execute(query.values(digest=digest, expires_at=expires_at)).rowcount == 1


def note(connection: Connection, uses: Mapping[str, int], at: datetime) -> None:
    """That keys were used, and how many messages each has sent since that was last noted."""
    connection.execute(
        _NOTE,
        [
            {"key": key_id, "more": uses[key_id], "at": at}
            for key_id in sorted(uses)  # in one order, so that two receivers never wait in a ring
        ],
    )


_COLUMNS = [each.name for each in fields(Key) if each.init]
_EVERY = select(keys).order_by(keys.c.created_at, keys.c.id)
_NOTE = (
    update(keys)
    .where(keys.c.id == bindparam("key"))
    .values(messages=keys.c.messages + bindparam("more"), last_used_at=bindparam("at"))
)
