"""Keys for the tests."""

from datetime import datetime, timedelta

from attrs import evolve
from sqlalchemy import make_url

from receiver.domain.keys import Key, NewKey
from receiver.store import SqlStore
from servers import Clock

__all__ = ["bearer", "expired", "keep", "made", "revoked"]


def made(
    scope: str, *, servers: str = "*", name: str | None = None, now: datetime | None = None
) -> tuple[Key, str]:
    """A key, and what its holder has; nobody keeps it yet."""
    now = now or Clock().now
    asked = {"name": name or scope, "scope": scope, "servers": servers}
    return NewKey.of(asked, now=now).issue(now=now)


def keep(database_url: str, *keys: Key) -> None:
    """Let a database have these keys, before there is a receiver."""
    store = SqlStore(make_url(database_url))
    try:
        for key in keys:
            store.keys.add(key)
    finally:
        store.close()


def expired(key: Key) -> Key:
    """The same, but a second too late."""
    return evolve(key, expires_at=Clock().now - timedelta(seconds=1))


def revoked(key: Key) -> Key:
    return evolve(key, revoked_at=Clock().now - timedelta(days=1))


def bearer(token: str | None) -> dict[str, str]:
    """The header that a key is sent in."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}
