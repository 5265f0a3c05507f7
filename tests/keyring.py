"""Test helper: the keys (bearer tokens with a scope) that a receiver accepts."""

import re
from datetime import datetime, timedelta

import httpx
from attrs import evolve
from sqlalchemy import make_url

from receiver.domain.keys import Key, NewKey
from receiver.store import SqlStore
from servers import Clock

__all__ = ["bearer", "expired", "keep", "made", "revoked", "signed_in"]


def made(
    scope: str, *, servers: str = "*", name: str | None = None, now: datetime | None = None
) -> tuple[Key, str]:
    """A new key that is not stored, and its token."""
    now = now or Clock().now
    asked = {"name": name or scope, "scope": scope, "servers": servers}
    return NewKey.of(asked, now=now).issue(now=now)


def keep(database_url: str, *keys: Key) -> None:
    """Store keys in a database; a receiver that runs gets to know all of them at once."""
    store = SqlStore(make_url(database_url))
    try:
        store.keys.add(*keys)
    finally:
        store.close()


def expired(key: Key) -> Key:
    """The key, expired a second ago."""
    return evolve(key, expires_at=Clock().now - timedelta(seconds=1))


def revoked(key: Key) -> Key:
    return evolve(key, revoked_at=Clock().now - timedelta(days=1))


def bearer(token: str | None) -> dict[str, str]:
    """The Authorization header for a token; no header for None."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def signed_in(client: httpx.Client, token: str) -> dict[str, str]:
    """Sign in with a key; the Cookie header that a browser would send then."""
    form = client.get("/sign-in")
    (csrf_token,) = re.findall(r'name="form" value="([^"]+)"', form.text)
    answer = client.post("/sign-in", data={"form": csrf_token, "key": token})
    cookie = answer.cookies["fleet_session"]
    client.cookies.clear()
    return {"Cookie": f"fleet_session={cookie}"}
