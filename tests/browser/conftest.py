"""Fixtures: a browser, and a real receiver."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from browsing import NAME, Reader, Tabs, chromium
from keyring import keep, made
from past import Past
from receiver.app import Tuning, create_app
from receiver.store import SqlStore
from servers import ANY_PAUSE_SECONDS, Clock, serve

HOLDERS = {"agent": "acme", "viewer": "Grace Hopper", "admin": "Ada Lovelace"}


@pytest.fixture(scope="session")
def tabs() -> Iterator[Tabs]:
    with chromium() as browser:
        yield Tabs(browser)


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the events of a week, which ends when the clock of each test begins."""
    file = tmp_path_factory.mktemp("week") / "fleet.db"
    store = SqlStore(make_url(f"sqlite:///{file}"))
    try:
        Past(store, Clock()).happen()
    finally:
        store.close()
    return file


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'fleet.db'}"


@pytest.fixture
def past(week: Path, tmp_path: Path) -> None:
    """Put the events of a week into the database, before a receiver starts."""
    shutil.copy(week, tmp_path)


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS))
    with serve(app) as client:
        yield client


@pytest.fixture
def reader(tabs: Tabs, receiver: httpx.Client) -> Iterator[Reader]:
    """
    A Reader of the receiver's pages.

    Asserts after the test that the browser has contacted no other host and logged nothing.
    """
    with ExitStack() as opened:
        reader = Reader(tabs, opened, str(receiver.base_url).rstrip("/"))
        yield reader
    assert {"127.0.0.1", NAME} >= reader.hosts
    assert [] == reader.complaints


@pytest.fixture
def held(database_url: str) -> dict[str, str]:
    """Store three keys in the database; returns their tokens by scope."""
    keys = {scope: made(scope, name=name) for scope, name in HOLDERS.items()}
    keep(database_url, *(key for key, _ in keys.values()))
    return {scope: token for scope, (_, token) in keys.items()}
