"""What a start waits for, and what it mends."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing

import httpx
import pytest
from sqlalchemy import make_url, text

import messages
from receiver.app import create_app
from receiver.domain.errors import StoreUnavailable
from receiver.store import SqlStore, migrations, transactions
from receiver.store.dialects import dialect_of, sqlite
from servers import PATIENCE_SECONDS, serve, wait_until
from watched import assert_tallied, beats, hear

UPGRADE = """
import sys
from sqlalchemy import make_url
from receiver.store import SqlStore, migrations

upgrade = migrations.upgrade

def wait_and_upgrade(connection):
    print("upgrading", flush=True)
    sys.stdin.readline()
    upgrade(connection)

migrations.upgrade = wait_and_upgrade
SqlStore(make_url(sys.argv[1])).close()
"""
"""A program that starts a store, and waits for a line in the middle of upgrading its tables."""

WAITS = "another process may be upgrading them"


@pytest.fixture
def upgrading(new_sqlite_url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has begun to upgrade the tables, and goes on when it gets a line."""
    with subprocess.Popen(
        [sys.executable, "-c", UPGRADE, new_sqlite_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "upgrading\n" == process.stdout.readline()
        yield process


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a transaction wait for the lock of the file for some milliseconds only."""
    monkeypatch.setattr(sqlite, "LOCK_SECONDS", 0.01)


@pytest.mark.usefixtures("_short_waits")
def test_start_waits_for_an_upgrade_longer_than_a_transaction_waits_for_a_lock(
    upgrading: subprocess.Popen[str], new_sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as thread:
        starting = thread.submit(SqlStore, make_url(new_sqlite_url))
        wait_until(lambda: starting.done() or caplog.text.count(WAITS) > 1)
        upgrading.communicate("\n", timeout=PATIENCE_SECONDS)
        store = starting.result(PATIENCE_SECONDS)
    with store.transactions.read() as connection:
        versions = migrations.applied(connection)
    store.close()

    assert (0, [migrations.NEWEST]) == (upgrading.returncode, versions)


@pytest.mark.usefixtures("_short_waits", "upgrading")
def test_start_does_not_wait_for_an_upgrade_for_ever(
    new_sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transactions, "MIGRATION_SECONDS", 0)

    with pytest.raises(StoreUnavailable, match="database is locked"):
        SqlStore(make_url(new_sqlite_url))

    assert WAITS not in caplog.text


@pytest.mark.usefixtures("_short_waits")
def test_start_does_not_wait_for_a_lock_when_the_tables_are_up_to_date(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="database is locked"):
            SqlStore(make_url(sqlite_url))

    assert WAITS not in caplog.text


def test_upgrade_on_postgresql_waits_for_another_one_for_a_minute_and_takes_its_time(
    postgresql_url: str,
) -> None:
    url = make_url(postgresql_url)
    dialect = dialect_of(url)
    engine = dialect.create_engine(url)
    with engine.begin() as connection:
        dialect.lock_migrations(connection)
        limits = [
            connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("lock_timeout", "statement_timeout")
        ]
    engine.dispose()

    assert ["1min", "0"] == limits


MENDED = "the servers are counted anew"


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tallies SET number = number + 1",
        "DELETE FROM tallies",
        "INSERT INTO tallies (profile, rank, writer, number) VALUES (7, 1, 'nobody', 3)",
    ],
)
def test_receiver_that_starts_mends_wrong_numbers_of_servers(
    database_url: str, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    def receiver() -> AbstractContextManager[httpx.Client]:
        return serve(create_app(environ={"FLEET_DATABASE_URL": database_url}))

    with closing(SqlStore(make_url(database_url))) as store, receiver() as one:
        hear(store, beats("a", "b"))
        store.transactions.write(lambda connection: connection.execute(text(statement)))
        assert MENDED not in caplog.text

        with receiver() as other:
            assert_tallied(store)
            for each in (one, other):
                each.post("/heartbeat", json=messages.slim(server_id="c")).raise_for_status()
                each.delete("/servers/c").raise_for_status()
            hear(store, beats("d"))
            assert_tallied(store)

    assert 1 == caplog.text.count(MENDED)
