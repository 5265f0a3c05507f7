"""Databases that keep what they acknowledge."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres(durable=True) as postgres:
        yield postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, one of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fleet.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.new_database() as name:
        yield postgres.url(name)
