"""PostgreSQL neither answers nor goes away."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import messages
from postgres import Postgres
from servers import receiver_process, wait_until


@contextmanager
def frozen(postgres: Postgres, database: str) -> Iterator[None]:
    """Its processes that serve the database stand still."""
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


def test_nobody_waits_for_a_database_that_hangs(postgres: Postgres, tmp_path: Path) -> None:
    with (
        postgres.new_database() as name,
        receiver_process(tmp_path, FLEET_DATABASE_URL=postgres.url(name)) as receiver,
        httpx.Client(base_url=receiver.url, timeout=30, trust_env=False) as client,
    ):
        with frozen(postgres, name):
            begun = time.monotonic()
            first = client.post("/heartbeat", json=messages.slim(server_id="first"))
            after_first = time.monotonic()
            second = client.post("/heartbeat", json=messages.slim(server_id="second"))
            after_second = time.monotonic()

        def is_back() -> bool:
            answer = client.post("/heartbeat", json=messages.slim(server_id="third"))
            return answer.status_code == 200

        wait_until(is_back)
        kept = {server["server_id"] for server in client.get("/servers").json()["servers"]}

    assert (503, "outcome_unknown") == (first.status_code, first.json()["code"])
    assert (503, "store_unavailable") == (second.status_code, second.json()["code"])
    assert after_first - begun < 5
    assert after_second - after_first < 1
    # Whether the first counts was not known, and it did in the end; the second was not taken.
    assert {"first", "third"} == kept
