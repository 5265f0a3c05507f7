"""Fixtures: databases whose commits are durable."""

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
    """The URL of an empty database, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fleet.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.new_database() as name:
        yield postgres.url(name)
