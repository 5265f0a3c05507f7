"""A store with a rule."""

import pytest

from alert_values import channel, rule
from receiver.store import SqlStore


@pytest.fixture
def store(store: SqlStore) -> SqlStore:
    """A store with the rule that tells of servers that are down, at once and by mail."""
    if not store.alerts.channels():
        store.alerts.add_channel(channel(), rule())
    return store
