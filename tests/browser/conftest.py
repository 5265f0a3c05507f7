"""Fixtures: a browser, and a real receiver."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser
from sqlalchemy import make_url

from browsing import NAME, Reader, chromium
from keyring import keep, made
from past import Past
from receiver.app import Tuning, create_app
from receiver.store import SqlStore
from servers import ANY_PAUSE_SECONDS, Clock, serve

HOLDERS = {"agent": "acme", "viewer": "Grace Hopper", "admin": "Ada Lovelace"}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'fleet.db'}"


@pytest.fixture
def past(database_url: str, clock: Clock) -> None:
    """Store the events of a week in the database, before a receiver starts."""
    store = SqlStore(make_url(database_url))
    try:
        Past(store, clock).happen()
    finally:
        store.close()


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS))
    with serve(app) as client:
        yield client


@pytest.fixture
def reader(browser: Browser, receiver: httpx.Client) -> Iterator[Reader]:
    """
    A Reader of the receiver's pages.

    Asserts after the test that the browser has contacted no other host and logged nothing.
    """
    with ExitStack() as contexts:
        reader = Reader(browser, contexts, str(receiver.base_url).rstrip("/"))
        yield reader
    assert {"127.0.0.1", NAME} >= reader.hosts
    assert [] == reader.complaints


@pytest.fixture
def held(database_url: str) -> dict[str, str]:
    """Store three keys in the database; returns their tokens by scope."""
    keys = {scope: made(scope, name=name) for scope, name in HOLDERS.items()}
    keep(database_url, *(key for key, _ in keys.values()))
    return {scope: token for scope, (_, token) in keys.items()}
