"""A receiver that has a key of each scope, and the end of the browsers that a test opened."""

from collections.abc import Iterator

import httpx
import pytest

from form_filling import KeyOfEachScope, opened, receiver_on
from keyring import keep
from servers import Clock


@pytest.fixture
def held(database_url: str) -> KeyOfEachScope:
    held = KeyOfEachScope()
    keep(database_url, *held.keys.values())
    return held


@pytest.fixture
def receiver(database_url: str, clock: Clock, held: KeyOfEachScope) -> Iterator[httpx.Client]:
    """A receiver that has keys."""
    with receiver_on(database_url, clock) as client:
        yield client


@pytest.fixture(autouse=True)
def close_what_was_opened() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()
