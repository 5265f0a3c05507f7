"""A database that another one replaces while it is open."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine, make_url

from postgres import Postgres


@pytest.fixture
def restore(
    request: pytest.FixtureRequest, database_url: str, engine: Engine
) -> Iterator[Callable[[], object]]:
    """
    A function that makes the database what it was when the test began, under open connections.

    On PostgreSQL a copy takes its name, on SQLite the file gets the content of a backup.
    """
    name = str(make_url(database_url).database)
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(name)) as file, closing(sqlite3.connect(":memory:")) as copy:
            file.backup(copy)
            yield lambda: copy.backup(file)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.new_database(template=name) as copied, postgres.new_database() as left:
        yield lambda: postgres.sql(
            f"""
            DROP DATABASE {left};
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';
            ALTER DATABASE {name} RENAME TO {left};
            ALTER DATABASE {copied} RENAME TO {name};
            CREATE DATABASE {copied};
            """
        )
