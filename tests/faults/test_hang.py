"""PostgreSQL hangs: it neither answers nor closes its connections."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

import messages
from postgres import Postgres
from servers import receiver_process


@contextmanager
def frozen(postgres: Postgres, database: str) -> Iterator[None]:
    """Stop PostgreSQL's processes for a database by SIGSTOP, and continue them after the block."""
    query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}'"
    processes = [int(pid) for pid in postgres.sql(query).splitlines()]
    assert processes
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def beat(url: str, server_id: str) -> httpx.Response:
    message = messages.slim(server_id=server_id)
    return httpx.post(f"{url}/heartbeat", json=message, timeout=30, trust_env=False)


def test_only_requests_in_flight_wait_for_a_hanging_database(
    postgres: Postgres, tmp_path: Path
) -> None:
    with (
        postgres.new_database() as name,
        receiver_process(tmp_path, FLEET_DATABASE_URL=postgres.url(name)) as receiver,
        ThreadPoolExecutor() as senders,
    ):
        with frozen(postgres, name):
            begun = time.monotonic()
            under_way = senders.submit(beat, receiver.url, "under way")
            health = httpx.get(f"{receiver.url}/health", timeout=30, trust_env=False)
            answered = time.monotonic()
            late = beat(receiver.url, "late")
            refused = time.monotonic()
        after_all = under_way.result()
        beat(receiver.url, "after")
        fleet = httpx.get(f"{receiver.url}/servers", trust_env=False).json()["servers"]

    assert (503, "store_unavailable") == (health.status_code, health.json()["code"])
    assert (503, "store_unavailable") == (late.status_code, late.json()["code"])
    assert answered - begun < 6
    assert refused - answered < 1
    # A heartbeat that got a 200, even a late one, is counted; one that got a 503 is not.
    assert 200 == after_all.status_code
    assert {"under way", "after"} == {server["server_id"] for server in fleet}
