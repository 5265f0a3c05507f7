"""Fixtures: PostgreSQL with its own programs first in PATH, and a machine with a receiver."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.machine import Machine, machine
from postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Machine]:
    """A machine with a receiver on SQLite, which is installed and not started."""
    with machine(tmp_path / "machine") as installed:
        yield installed


@pytest.fixture
def installed_with_postgres(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """A machine with a receiver on PostgreSQL, and a `pg_dump` of the server's version."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(postgres.psql.parent), os.environ["PATH"]]))
    there, here = "postgresql://fleet@db.example.com", "postgresql://postgres@"
    places = {
        f"{there}/{name}'": f"{here}/{name}?host={postgres.socket_folder}'"
        for name in ("fleet", "fleet_restored", "postgres")
    }
    postgres.create_database("fleet")
    try:
        with machine(tmp_path / "machine", places) as installed:
            installed.configure(FLEET_DATABASE_URL=postgres.url("fleet"))
            yield installed
    finally:
        for name in ("fleet", "fleet_restored"):
            postgres.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
