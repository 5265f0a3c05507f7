"""What stops a start, and the sentence that says so."""

import sqlite3
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import make_url

from contract import Heartbeat
from postgres import Postgres
from receiver.batch import Incoming
from receiver.databases import database_of
from receiver.errors import InvalidSetting, StoreUnavailable
from receiver.settings import read_settings
from receiver.store import SqlStore

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def test_missing_driver_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed

    with pytest.raises(InvalidSetting, match=r"pip install 'odoo-mcp-fleet\[receiver,postgres\]'"):
        read_settings({"FLEET_DATABASE_URL": "postgresql+psycopg://me@host/fleet"})


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/fleet", "postgres://host/fleet"])
def test_postgresql_by_another_driver_is_refused_with_the_right_one(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"such as .*postgresql\+psycopg://") as refused:
        read_settings({"FLEET_DATABASE_URL": url})

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"such as sqlite:///fleet\.db"):
        read_settings({"FLEET_DATABASE_URL": url})


def test_every_text_arrives_whatever_encoding_the_environment_prefers(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = SqlStore(make_url(postgresql_url))

    (applied,) = store.apply([Incoming(Heartbeat(server_id="\U0001f40d"), NOON)])
    kept = store.get("\U0001f40d")
    store.close()

    assert applied.record == kept


def test_a_commit_lasts_whatever_the_database_prefers(
    postgres: Postgres, postgresql_url: str
) -> None:
    name = make_url(postgresql_url).database
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    store = SqlStore(make_url(postgresql_url))

    with store.connection() as connection:
        setting = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
    store.close()

    assert "on" == setting


def test_database_that_cannot_hold_every_name_is_refused(postgres: Postgres) -> None:
    postgres.sql(
        "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    )

    with pytest.raises(InvalidSetting, match="the encoding of the database is SQL_ASCII"):
        SqlStore(make_url(postgres.url("ascii")))


def test_database_that_another_program_writes_to_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "fleet.db"
    SqlStore(make_url(f"sqlite:///{file}")).close()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="database is locked"):
        SqlStore(make_url(f"sqlite:///{file}"))

    other.close()


def test_a_commit_that_fails_in_sqlite_has_failed(sqlite_url: str) -> None:
    url = make_url(sqlite_url)
    database = database_of(url)
    engine = database.engine(url)

    with engine.connect() as connection:
        committed = database.was_committed(connection, 1)
    engine.dispose()

    assert not committed
