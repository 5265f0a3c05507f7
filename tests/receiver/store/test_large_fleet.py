"""Durations of pages and service discovery with a hundred thousand servers."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from shutil import copyfile

import httpx
import pytest
from sqlalchemy import make_url, text

from contract import Heartbeat
from receiver.app import create_app
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from servers import Clock, serve

SERVERS = 100_000
PAGE_SECONDS = 0.2

# Copies the rows of server `a`, with other ids.
COPY = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {n})
INSERT INTO {table} ({columns})
SELECT {values} FROM {table}, numbers WHERE server_id = 'a'
"""


@pytest.fixture(scope="module")
def large_file(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with many servers."""
    file = tmp_path_factory.mktemp("large") / "fleet.db"
    copyfile(sqlite_template, file)
    store = SqlStore(make_url(f"sqlite:///{file}"))
    beat = Heartbeat(
        server_id="a",
        hostname="web",
        database="acme",
        endpoint_url="https://acme.example/mcp",
        odoo_stage="production",
        capabilities=tuple(f"tool_{n}" for n in range(12)),
        heartbeat_interval_seconds=3600.0,
    )
    store.servers.apply([Incoming(beat, datetime(2026, 1, 31, 12, tzinfo=timezone.utc))])
    with store.transactions.read() as connection:
        for table in ("servers", "liveness", "facets", "search_texts"):
            names = [
                name for _, name, *_ in connection.execute(text(f"PRAGMA table_info({table})"))
            ]
            values = ["'s' || n" if name == "server_id" else f'"{name}"' for name in names]
            columns = ", ".join(f'"{name}"' for name in names)
            statement = COPY.format(
                n=SERVERS, table=table, columns=columns, values=", ".join(values)
            )
            connection.execute(text(statement))
        connection.execute(text(f"UPDATE tallies SET number = {SERVERS + 1} WHERE number <> 0"))
        connection.commit()
    store.close()
    return file


@pytest.fixture
def large_fleet(large_file: Path, new_sqlite_url: str, clock: Clock) -> Iterator[httpx.Client]:
    copyfile(large_file, str(make_url(new_sqlite_url).database))
    app = create_app(environ={"FLEET_DATABASE_URL": new_sqlite_url}, clock=clock)
    with serve(app) as receiver:
        receiver.timeout = httpx.Timeout(60)
        yield receiver


@pytest.mark.serial
def test_pages_of_a_large_fleet_are_quick(large_fleet: httpx.Client) -> None:
    paths = ["/", "/?state=up", "/?sort=-first_seen", "/server/s77", "/v0.1/servers?limit=100"]
    seconds = {path: min(cpu_seconds(large_fleet, path) for _ in range(5)) for path in paths}

    assert f"{SERVERS + 1:,}" in large_fleet.get("/").text.replace("\N{NARROW NO-BREAK SPACE}", ",")
    assert {} == {path: took for path, took in seconds.items() if took > PAGE_SECONDS}


@pytest.mark.serial
def test_service_discovery_of_a_large_down_fleet_is_quick(
    large_fleet: httpx.Client, new_sqlite_url: str
) -> None:
    # The timeout is long because a receiver that has just started updates every `due_at`.
    with closing(sqlite3.connect(str(make_url(new_sqlite_url).database), timeout=60)) as database:
        database.execute("UPDATE servers SET state = 'down', rank = 0")
        database.commit()

    seconds = min(cpu_seconds(large_fleet, "/sd/prometheus") for _ in range(5))

    assert [] == large_fleet.get("/sd/prometheus").json()
    assert seconds < PAGE_SECONDS


def cpu_seconds(receiver: httpx.Client, path: str) -> float:
    """CPU seconds of receiver and client, so that other load on the machine does not count."""
    begun = time.process_time()
    answer = receiver.get(path)
    took = time.process_time() - begun
    assert 200 == answer.status_code
    return took
