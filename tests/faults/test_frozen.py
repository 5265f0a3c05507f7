"""A receiver, its file system or PostgreSQL stands still, and goes on: nobody is called silent."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import httpx
import psutil
import pytest
from attrs import frozen

from faults.load import SERVERS, Exchange, counts, miscounted
from faults.senders import keep_sending
from postgres import Postgres, running_postgres
from servers import NO_AUTHORITIES, Process, receiver_process

INTERVAL_SECONDS = 5.0
KINDS = ("receiver", "file system", "postgresql")

Freeze = Callable[[], AbstractContextManager[None]]


@frozen(kw_only=True)
class Frozen:
    """
    What a fleet sent around the time in which something stood still.

    Attributes:
        until: When it went on, by `time.monotonic`.
        heartbeats: All heartbeats.
        kept: `heartbeat_count` of each server at the end.
        states: The states of all servers at the end.
        alarms: The kinds of the events that say that somebody is silent.
    """

    until: float
    heartbeats: list[Exchange]
    kept: dict[str, int]
    states: set[str]
    alarms: list[str]


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Frozen]:
    """Each kind, at the same time: most of what they do is to stand still."""
    runs = (receiver_stands_still, file_system_stands_still, postgresql_stands_still)
    folders = [tmp_path_factory.mktemp("frozen") for _ in runs]
    with ThreadPoolExecutor() as pool:
        return dict(zip(KINDS, pool.map(lambda run, at: run(at), runs, folders), strict=True))


@pytest.fixture(params=KINDS)
def seen(request: pytest.FixtureRequest, all_of_them: dict[str, Frozen]) -> Frozen:
    return all_of_them[request.param]


def receiver_stands_still(folder: Path) -> Frozen:
    with receiver_process(folder) as receiver:
        return asyncio.run(observe(receiver, lambda: stopped([receiver.pid]), seconds=20))


def file_system_stands_still(folder: Path) -> Frozen:
    with mounted(folder) as disk:
        url = f"sqlite:///{disk / 'fleet.db'}"
        with receiver_process(folder, FLEET_DATABASE_URL=url) as receiver:
            return asyncio.run(observe(receiver, partial(frozen_disk, disk), seconds=12))


def postgresql_stands_still(folder: Path) -> Frozen:
    with running_postgres() as postgres:
        postgres.create_database("fleet")
        url = postgres.url("fleet")
        with receiver_process(folder, FLEET_DATABASE_URL=url) as receiver:
            return asyncio.run(
                observe(receiver, lambda: stopped(processes_of(postgres)), seconds=12)
            )


async def observe(receiver: Process, freeze: Freeze, *, seconds: float) -> Frozen:
    heartbeats: list[Exchange] = []
    over = asyncio.Event()
    async with asyncio.timeout(80), asyncio.TaskGroup() as group:
        group.create_task(
            keep_sending([receiver.port], SERVERS[:50], heartbeats, over, interval=INTERVAL_SECONDS)
        )
        await asyncio.sleep(INTERVAL_SECONDS + 1)
        with freeze():
            await asyncio.sleep(seconds)
        until = monotonic()
        await asyncio.sleep(INTERVAL_SECONDS + 4)
        over.set()
    return Frozen(
        until=until,
        heartbeats=heartbeats,
        kept=counts(receiver.url),
        states=states(receiver),
        alarms=alarms(receiver),
    )


@contextmanager
def stopped(processes: Sequence[int]) -> Iterator[None]:
    """Stop processes by SIGSTOP, and continue them after the block."""
    with ExitStack() as going_on:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
            going_on.callback(os.kill, process, signal.SIGCONT)
        yield


def processes_of(postgres: Postgres) -> list[int]:
    """PostgreSQL's first process and all that it started."""
    first = psutil.Process(int(postgres.sql("SELECT pg_read_file('postmaster.pid')").split()[0]))
    return [first.pid, *(each.pid for each in first.children(recursive=True))]


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A file system of its own, of 64 MB."""
    image, disk = folder / "image", folder / "disk"
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    disk.mkdir()
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", image], check=True)
    mount = ["mount", "-o", "loop", str(image), str(disk)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"Only root can mount the file system of this test: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)
        image.unlink()


@contextmanager
def frozen_disk(disk: Path) -> Iterator[None]:
    """Freeze a file system, so that whoever writes to it waits, until after the block."""
    subprocess.run(["/usr/sbin/fsfreeze", "--freeze", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["/usr/sbin/fsfreeze", "--unfreeze", disk], check=True)


def states(receiver: Process) -> set[str]:
    answer = httpx.get(f"{receiver.url}/servers", trust_env=False, verify=NO_AUTHORITIES)
    return {server["state"] for server in answer.json()["servers"]}


def alarms(receiver: Process) -> list[str]:
    found: list[str] = []
    for kind in ("late", "down", "fleet_silent"):
        answer = httpx.get(
            f"{receiver.url}/events", params={"kind": kind}, trust_env=False, verify=NO_AUTHORITIES
        )
        found += [event["kind"] for event in answer.json()["events"]]
    return found


def test_nobody_who_keeps_trying_is_called_silent(seen: Frozen) -> None:
    assert [] == seen.alarms
    assert {"up"} == seen.states


def test_every_acknowledged_heartbeat_counts(seen: Frozen) -> None:
    assert {} == miscounted(seen.heartbeats, seen.kept)
    assert [] != [each for each in seen.heartbeats if each.status != 200]


def test_heartbeats_are_accepted_soon_after_it_goes_on(seen: Frozen) -> None:
    after = [each for each in seen.heartbeats if each.began > seen.until + 2]

    assert {200} == {each.status for each in after}
