"""The seeds of the stories, and a database of each kind, in which one follows another."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url

from postgres import running_postgres
from receiver.store import SqlStore
from statements import shared_statements

FAILED_ONCE = [39, 42, 59, 503, 678, 784, 995, 1085, 1362, 1450, 1783]
"""Seeds whose stories once showed a fault."""

IN_SHORT = 3
ON_POSTGRESQL_IN_SHORT = [0, 42]
"""What is decided is the same on each database, and PostgreSQL takes three times as long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, help="how many stories to tell on each database")
    parser.addoption("--first-seed", type=int, default=0, help="the seed of the first story")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--seeds", None)
        first = metafunc.config.getoption("--first-seed", 0)
        seeds = sorted({*FAILED_ONCE, *range(first, first + (asked or IN_SHORT))})
        told = [("sqlite", seed) for seed in seeds]
        told += [("postgresql", seed) for seed in (seeds if asked else ON_POSTGRESQL_IN_SHORT)]
        metafunc.parametrize(("database_url", "seed"), told, indirect=["database_url"])


def pytest_itemcollected(item: pytest.Item) -> None:
    if "postgresql" in item.name:
        item.add_marker("postgresql")


@pytest.fixture(scope="session", autouse=True)
def _shared_statements() -> Iterator[None]:
    with shared_statements():
        yield


@pytest.fixture(scope="session")
def database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with ExitStack() as running:
        if request.param == "sqlite":
            file: Path = tmp_path_factory.mktemp("fleet") / "fleet.db"
            url = f"sqlite:///{file}"
        else:
            postgres = running.enter_context(running_postgres())
            url = postgres.url(running.enter_context(postgres.new_database()))
        SqlStore(make_url(url)).close()
        yield url
