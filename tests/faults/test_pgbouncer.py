"""Receivers behind pgbouncer, in its transaction and session mode."""

import asyncio
from pathlib import Path

import httpx
import pytest

import pgbouncer
from faults.load import (
    SERVERS,
    Exchange,
    beats,
    counted_twice,
    counts,
    miscounted,
    send_all,
    statuses,
)
from postgres import Postgres
from servers import receiver_process

POOL = {"transaction": 4, "session": 40}
"""In session mode each connection of a receiver takes one for itself, all the time."""


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_heartbeats_of_two_receivers_behind_pgbouncer_are_all_counted(
    postgres: Postgres, tmp_path: Path, mode: str
) -> None:
    seen: list[Exchange] = []

    async def send(ports: list[int]) -> None:
        async with asyncio.timeout(120):
            await asyncio.gather(
                *(send_all(port, beats(5000, SERVERS), seen, connections=16) for port in ports),
                *(read(port) for port in ports),
            )

    async def read(port: int) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            for path in ("/servers", "/events", "/health", "/metrics") * 25:
                answer = await client.get(f"http://127.0.0.1:{port}{path}")
                reads.append(answer.status_code)

    reads: list[int] = []
    with (
        postgres.new_database() as name,
        pgbouncer.running_pgbouncer(postgres, mode=mode, size=POOL[mode]) as folder,
    ):
        settings = {"FLEET_DATABASE_URL": pgbouncer.url(folder, name)}
        with (
            receiver_process(tmp_path, **settings) as one,
            receiver_process(tmp_path, **settings) as other,
        ):
            asyncio.run(send([one.port, other.port]))
            kept = counts(one.url)

    assert {200} == statuses(seen) | {*reads}
    assert 10_000 == len(seen) == sum(kept.values())
    assert {} == miscounted(seen, kept)
    assert [] == counted_twice(seen)
