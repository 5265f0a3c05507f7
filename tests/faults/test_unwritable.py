"""A receiver whose database can be read but not written says that it is not healthy."""

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine

import messages
from postgres import running_postgres
from servers import Process, receiver_process, wait_until


def health(receiver: Process) -> int:
    return httpx.get(f"{receiver.url}/health", trust_env=False, timeout=20).status_code


def has_health(receiver: Process, status: int) -> bool:
    return health(receiver) == status


def store_up(receiver: Process) -> str:
    page = httpx.get(f"{receiver.url}/metrics", trust_env=False, timeout=20).text
    return next(line for line in page.splitlines() if line.startswith("fleet_store_up "))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[Process, sqlite3.Connection]]:
    file = tmp_path / "fleet.db"
    with receiver_process(tmp_path, FLEET_DATABASE_URL=f"sqlite:///{file}") as receiver:
        other = sqlite3.connect(file, isolation_level=None)
        yield receiver, other
        other.close()


def test_health_is_bad_while_another_process_locks_the_database(
    locked: tuple[Process, sqlite3.Connection],
) -> None:
    receiver, other = locked
    for _ in range(2):
        httpx.post(f"{receiver.url}/heartbeat", json=messages.slim(), trust_env=False)
    before = health(receiver), store_up(receiver)
    other.execute("BEGIN IMMEDIATE")
    wait_until(lambda: health(receiver) == 503)
    meanwhile = store_up(receiver)
    kept = httpx.get(f"{receiver.url}/servers", trust_env=False).json()["count"]
    other.execute("ROLLBACK")
    wait_until(lambda: health(receiver) == 200)

    assert ((200, "fleet_store_up 1.0"), "fleet_store_up 0.0", 1) == (before, meanwhile, kept)
    assert "fleet_store_up 1.0" == store_up(receiver)
    # Nobody is said to be silent because of it.
    assert 0 == httpx.get(f"{receiver.url}/events?kind=late", trust_env=False).json()["count"]


def test_health_is_bad_while_postgresql_is_read_only(tmp_path: Path) -> None:
    with running_postgres() as postgres:
        postgres.create_database("fleet")
        with receiver_process(tmp_path, FLEET_DATABASE_URL=postgres.url("fleet")) as receiver:
            assert 200 == health(receiver)
            for setting, status in (("on", 503), ("off", 200)):
                postgres.sql(f"ALTER SYSTEM SET default_transaction_read_only = {setting}")
                postgres.sql("SELECT pg_reload_conf()")
                wait_until(partial(has_health, receiver, status))
            answer = httpx.post(f"{receiver.url}/heartbeat", json=messages.slim(), trust_env=False)

    assert 200 == answer.status_code


def test_old_receiver_on_newer_tables_refuses_messages_until_it_knows_them_again(
    tmp_path: Path, database_url: str
) -> None:
    engine = create_engine(database_url)

    def set_version(version: str) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")

    def beat() -> httpx.Response:
        return httpx.post(f"{receiver.url}/heartbeat", json=messages.slim(), trust_env=False)

    with receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver:
        with engine.connect() as connection:
            known = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        set_version("9999")
        refused = beat()
        wait_until(partial(has_health, receiver, 503))
        kept = httpx.get(f"{receiver.url}/servers", trust_env=False).json()["count"]
        set_version(str(known))
        answer = beat()
        wait_until(partial(has_health, receiver, 200))
    engine.dispose()
    log = receiver.log.read_text()

    assert (503, "store_unavailable") == (refused.status_code, refused.json()["code"])
    assert "5" == refused.headers["retry-after"]
    assert (0, 200) == (kept, answer.status_code)
    assert f"are of version 9999, and this receiver knows versions up to {known}" in log
    assert "Traceback" not in log
