"""Keys that a store has."""

import pytest

from owned_servers import new_key
from receiver.domain.keys import Key
from receiver.store import SqlStore


@pytest.fixture
def acme(store: SqlStore) -> Key:
    return new_key(store, "agent", servers="acme_*", name="acme")


@pytest.fixture
def unrestricted(store: SqlStore) -> Key:
    """The key of an agent with the pattern `*`: any server that no other key owns."""
    return new_key(store, "agent", name="unrestricted")


@pytest.fixture
def admin(store: SqlStore) -> Key:
    return new_key(store, "admin")
