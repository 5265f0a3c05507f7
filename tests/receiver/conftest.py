"""A receiver over a real database file, on a real socket."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from receiver.app import create_app
from servers import Clock, serve


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'fleet.db'}"


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as client:
        yield client
