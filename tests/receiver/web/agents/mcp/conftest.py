"""A receiver with keys."""

from collections.abc import Iterator

import httpx
import pytest

from keyring import keep, made
from receiver.app import create_app
from servers import Clock, serve


@pytest.fixture
def guarded(sqlite_url: str, clock: Clock) -> Iterator[tuple[httpx.Client, str, str]]:
    """A receiver with keys, and the tokens of a viewer and an agent."""
    viewer, agent = made(scope="viewer"), made(scope="agent")
    keep(sqlite_url, viewer[0], agent[0])
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as client:
        yield client, viewer[1], agent[1]
