"""A receiver that can keep the addresses of channels, and keys of each scope."""

from collections.abc import Iterator

import httpx
import pytest

from alerting import Keys, alerting_app
from keyring import bearer, keep, made
from servers import Clock, Observed, serve


@pytest.fixture
def keys(database_url: str) -> Keys:
    """Keys named as their scopes, which the database has; `other` is a second agent's."""
    found = [
        made("admin"),
        made("viewer"),
        made("agent"),
        made("agent", name="other"),
        made("badge"),
    ]
    keep(database_url, *(key for key, _ in found))
    return Keys(*(token for _, token in found))


@pytest.fixture
def app(database_url: str, clock: Clock) -> Observed:
    """A receiver that may send messages to this machine."""
    return Observed(alerting_app(database_url, clock))


@pytest.fixture
def receiver(app: Observed, keys: Keys) -> Iterator[httpx.Client]:
    """A client of the receiver, which sends the admin's key."""
    with serve(app) as client:
        client.headers.update(bearer(keys.admin))
        yield client
