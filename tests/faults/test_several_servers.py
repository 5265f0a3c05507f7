"""A primary that is stopped under load, and a standby that takes over: one URL names both."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import chown, rmtree
from time import monotonic

import pytest
from attrs import frozen

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
from messages import Json
from postgres import Postgres, running_postgres
from servers import receiver_process, wait_until


@frozen
class Standby:
    """
    A standby that replicates a primary.

    Attributes:
        folder: The folder of its Unix socket.
    """

    folder: Path
    _primary: Postgres

    def do(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._primary.psql.with_name(program), *arguments],
            check=True,
            cwd=self.folder,
            user=self._primary.system_user,
            stdout=subprocess.DEVNULL,
        )

    def control(self, *arguments: str) -> None:
        self.do("pg_ctl", "-w", "-D", self.folder / "data", *arguments)


@contextmanager
def running_standby(primary: Postgres) -> Iterator[Standby]:
    """Start a standby, without which the primary commits nothing."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-standby-"))
    standby = Standby(folder, primary)
    if primary.system_user is not None:
        chown(folder, primary.system_user)
    try:
        copy = ("-D", folder / "data", "-R", "-X", "stream", "-c", "fast")
        standby.do("pg_basebackup", "-h", primary.socket_folder, "-U", "postgres", *copy)
        standby.control("start", "-o", f"-h '' -k {folder}", "-l", str(folder / "log"))
        try:
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.sql("SELECT pg_reload_conf()")
            wait_until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync")
            yield standby
        finally:
            standby.control("stop", "-m", "immediate")
    finally:
        rmtree(folder)


@pytest.fixture
def primary() -> Iterator[Postgres]:
    with running_postgres(durable=True) as primary:
        primary.create_database("fleet")
        yield primary


def test_receiver_goes_on_with_the_standby_that_takes_over(
    primary: Postgres, tmp_path: Path
) -> None:
    seen: list[Exchange] = []
    over = False

    def until_over() -> Iterator[Json]:
        for beat in beats(1_000_000, SERVERS):
            if over:
                return
            yield beat

    async def fail_over(port: int, standby: Standby) -> float:
        nonlocal over
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(send_all(port, until_over(), seen, connections=8))
            await asyncio.to_thread(wait_until, lambda: len(seen) >= 500)
            await asyncio.to_thread(primary.stop)
            await asyncio.to_thread(standby.control, "promote")
            at = monotonic()
            await asyncio.to_thread(wait_until, lambda: len(after(seen, at + 2)) > 200)
            over = True
        return at

    with running_standby(primary) as standby:
        url = (
            f"postgresql+psycopg://postgres@/fleet?host={primary.socket_folder}"
            f"&host={standby.folder}&target_session_attrs=read-write"
        )
        with receiver_process(tmp_path, FLEET_DATABASE_URL=url) as receiver:
            promoted = asyncio.run(fail_over(receiver.port, standby))
            kept = counts(receiver.url)
        primary.start()

    assert statuses(seen) <= {200, 503}
    assert {} == miscounted(seen, kept)
    assert [] == counted_twice(seen)
    assert {200} == statuses(after(seen, promoted + 2))


def after(seen: list[Exchange], moment: float) -> list[Exchange]:
    """What was sent after a moment."""
    return [each for each in [*seen] if each.began > moment]
