"""A receiver over a real database, on a real socket."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import copyfile

import httpx
import pytest
from sqlalchemy import Engine, create_engine, make_url

from postgres import Postgres, running_postgres
from receiver.app import Tuning, create_app
from receiver.store import SqlStore
from servers import ANY_PAUSE_SECONDS, Clock, serve
from sinks import HttpSink, http_sink
from statements import shared_statements
from watched import Watched, assert_tallied, have_patience


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the runs on PostgreSQL of tests that are marked `one_database`."""
    items[:] = [item for item in items if not is_run_in_vain(item)]


def is_run_in_vain(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    return {"one_database", "postgresql"} <= marks and "both_databases" not in marks


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests that need a PostgreSQL."""
    if isinstance(item, pytest.Function):
        chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "postgres" in item.fixturenames or "postgresql" in chosen:
            item.add_marker("postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests; when it does not start, the session ends with an error."""
    with ExitStack() as running:
        try:
            postgres = running.enter_context(running_postgres())
        except Exception as error:  # noqa: BLE001 - no error may skip tests
            pytest.exit(f"PostgreSQL does not start: {error!r}", returncode=1)
        yield postgres


@pytest.fixture(scope="session", autouse=True)
def _shared_statements() -> Iterator[None]:
    with shared_statements():
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    """A server to which webhooks may be sent."""
    with http_sink() as sink:
        yield sink


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and without rows."""
    file = tmp_path_factory.mktemp("template") / "fleet.db"
    SqlStore(make_url(f"sqlite:///{file}")).close()
    return file


@pytest.fixture(scope="session")
def postgresql_template(postgres: Postgres) -> str:
    """The name of a PostgreSQL database with all tables and without rows."""
    postgres.create_database("template_of_a_fleet")
    SqlStore(make_url(postgres.url("template_of_a_fleet"))).close()
    return "template_of_a_fleet"


@pytest.fixture
def new_sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'fleet.db'}"


@pytest.fixture
def sqlite_url(new_sqlite_url: str, sqlite_template: Path) -> str:
    """The URL of a copy of the template, since migrations take longer than most tests."""
    copyfile(sqlite_template, str(make_url(new_sqlite_url).database))
    return new_sqlite_url


@pytest.fixture
def new_postgresql_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a PostgreSQL database without tables."""
    with postgres.new_database() as name:
        yield postgres.url(name)


@pytest.fixture
def postgresql_url(postgres: Postgres, postgresql_template: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with all tables and without rows."""
    with postgres.new_database(template=postgresql_template) as name:
        yield postgres.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database_url(request: pytest.FixtureRequest) -> str:
    """A database of each kind, without tables."""
    url: str = request.getfixturevalue(f"new_{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of each kind with all tables and without rows."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    store = SqlStore(make_url(database_url))
    yield store
    store.close()


@pytest.fixture
def other(database_url: str, store: SqlStore) -> Iterator[SqlStore]:
    """A second receiver's store in the same database; both wait for each other's locks."""
    other = SqlStore(make_url(database_url))
    have_patience(store, other)
    yield other
    other.close()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine of the database, for SQL that bypasses the store."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def fleet(store: SqlStore) -> Iterator[Watched]:
    """
    The servers of the store, with a clock and sweeps that a test controls.

    Whatever the test has done with them, the database has counted them in the end.
    """
    yield Watched(store)
    assert_tallied(store)


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    environ = {"FLEET_DATABASE_URL": database_url}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    with serve(create_app(environ=environ, clock=clock, tuning=tuning)) as client:
        yield client


@pytest.fixture
def on_sqlite(sqlite_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver whose database is an SQLite file, whatever the others are."""
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as client:
        yield client


@pytest.fixture(scope="module")
def shared_receiver(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A receiver without keys, for tests of a module that do not disturb each other."""
    file = tmp_path_factory.mktemp("shared") / "fleet.db"
    copyfile(sqlite_template, file)
    environ = {"FLEET_DATABASE_URL": f"sqlite:///{file}"}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    with serve(create_app(environ=environ, clock=Clock(), tuning=tuning)) as client:
        yield client
