"""Who is signed in, as it is kept: read and written in a transaction of somebody else's."""

from datetime import datetime
from secrets import token_bytes

from attrs import asdict, field, frozen
from sqlalchemy import Connection, bindparam, delete, insert, select

from receiver.store.tables import secrets, sessions

__all__ = ["Session", "begin", "end", "find", "secret"]


@frozen(kw_only=True)
class Session:
    """
    Somebody who is signed in.

    Attributes:
        digest: SHA-256 of what the browser was given, 32 bytes.
        key_id: The key that was used.
        key_digest: That of the key then. One that is rotated ends its sessions.
        expires_at: From when on it is over.
    """

    digest: bytes = field(repr=False)
    key_id: str
    key_digest: bytes = field(repr=False)
    expires_at: datetime


def begin(connection: Connection, session: Session, now: datetime) -> None:
    """Keep a new session, and forget those that are over."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    connection.execute(insert(sessions), asdict(session))


def find(connection: Connection, digest: bytes) -> Session | None:
    """The session of whoever holds what has this digest; it may be over."""
    row = connection.execute(_ONE, {"digest": digest}).mappings().one_or_none()
    return None if row is None else Session(**row)


def end(connection: Connection, digest: bytes) -> None:
    """Forget a session, if there is such a one."""
    connection.execute(delete(sessions).where(sessions.c.digest == digest))


def secret(connection: Connection, name: str) -> bytes:
    """
    A secret of 256 random bits that all receivers of a database share.

    Of two that make it at once one is refused by the primary key, and finds the other's
    when it tries again.
    """
    found = connection.execute(_SECRET, {"secret": name}).scalar()
    if found is None:
        found = token_bytes(32)
        connection.execute(insert(secrets), {"name": name, "value": found})
    return bytes(found)


_ONE = select(sessions).where(sessions.c.digest == bindparam("digest"))
_SECRET = select(secrets.c.value).where(secrets.c.name == bindparam("secret"))
