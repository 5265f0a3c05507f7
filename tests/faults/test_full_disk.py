"""A receiver on a full disk loses nothing, and accepts heartbeats again when there is room."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from attrs import frozen

import messages
from faults.load import Exchange, counts, miscounted, send_all, statuses
from faults.sqlite import integrity
from messages import Json
from servers import Process, receiver_process, wait_until

MEGABYTE = 1024 * 1024
TOOLS = [f"model_{number:04}_search_and_read" for number in range(1000)]


@frozen(kw_only=True)
class Disk:
    """A disk of 8 MB with a receiver's SQLite database."""

    folder: Path
    log_folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "fleet.db"

    def receiver(self) -> AbstractContextManager[Process]:
        return receiver_process(self.log_folder, FLEET_DATABASE_URL=f"sqlite:///{self.database}")

    def fill(self, *, but: int) -> None:
        """Fill the disk, but for `but` bytes."""
        disk = os.statvfs(self.folder)
        with (self.folder / "filler").open("ab") as filler:
            filler.write(b"x" * (disk.f_bavail * disk.f_frsize - but))

    def make_room(self) -> None:
        (self.folder / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "fleet", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"Only root can mount the small disk of this test: {done.stderr.strip()}")
    try:
        yield Disk(folder=folder, log_folder=tmp_path)
    finally:
        subprocess.run(["umount", folder], check=True)


def until_refused(seen: list[Exchange]) -> Iterator[Json]:
    """Large heartbeats, each of a new server, until `seen` has one that was refused."""
    for number in range(500):
        if 503 in statuses(seen):
            return
        yield messages.heartbeat(server_id=f"acme-{number:03}", capabilities=TOOLS)


def send_until_refused(receiver: Process) -> list[Exchange]:
    seen: list[Exchange] = []

    async def send() -> None:
        async with asyncio.timeout(30):
            await send_all(receiver.port, until_refused(seen), seen, connections=4)

    asyncio.run(send())
    return seen


def fleet(receiver: Process, **query: str) -> list[Json]:
    answer = httpx.get(
        f"{receiver.url}/servers", params={"limit": "1000", **query}, trust_env=False
    )
    servers: list[Json] = answer.json()["servers"]
    return servers


def health(receiver: Process) -> httpx.Response:
    return httpx.get(f"{receiver.url}/health", trust_env=False)


def ids(seen: list[Exchange], status: int) -> list[str]:
    return sorted(each.server_id for each in seen if each.status == status)


def test_full_disk_gives_503_and_reads_still_work(disk: Disk) -> None:
    with disk.receiver() as receiver:
        disk.fill(but=3 * MEGABYTE)
        seen = send_until_refused(receiver)
        disk.fill(but=0)
        kept = counts(receiver.url)
        wait_until(lambda: health(receiver).status_code == 503)
        sick = health(receiver)
        alive = httpx.get(f"{receiver.url}/health/live", trust_env=False)
        disk.make_room()
        wait_until(lambda: health(receiver).status_code == 200)
        well = health(receiver)

    refused = [each for each in seen if each.status == 503]
    assert {200, 503} == statuses(seen)
    assert {"store_unavailable"} == {each.code for each in refused}
    assert {"5"} == {each.headers["retry-after"] for each in refused}
    assert {} == miscounted(seen, kept)
    assert "messages cannot be written" in sick.json()["detail"]
    assert "store_unavailable" == sick.json()["code"]
    assert (200, {"status": "alive"}) == (alive.status_code, alive.json())
    assert len(kept) == well.json()["server_count"]


def test_full_disk_leaves_no_partial_write(disk: Disk) -> None:
    with disk.receiver() as receiver:
        disk.fill(but=3 * MEGABYTE)
        seen = send_until_refused(receiver)
        disk.fill(but=0)
        before = fleet(receiver)
        receiver.kill()
    disk.make_room()
    with disk.receiver() as receiver:
        after = fleet(receiver)
        found = fleet(receiver, capability=TOOLS[-1])

    assert ids(seen, 200) == [each["server_id"] for each in after]
    assert [TOOLS] * len(after) == [each["capabilities"] for each in after]
    assert before == after == found
    assert ["ok"] == integrity(disk.database)


def test_heartbeats_are_accepted_again_when_there_is_room(disk: Disk) -> None:
    with disk.receiver() as receiver:
        disk.fill(but=3 * MEGABYTE)
        seen = send_until_refused(receiver)
        disk.make_room()
        again = [
            httpx.post(
                f"{receiver.url}/heartbeat",
                json=messages.heartbeat(server_id=server_id, capabilities=TOOLS),
                trust_env=False,
            )
            for server_id in ids(seen, 503)
        ]
        kept = counts(receiver.url)

    assert {200, 503} == statuses(seen)
    assert [(200, 1)] * len(again) == [(a.status_code, a.json()["heartbeat_count"]) for a in again]
    assert {each.server_id: 1 for each in seen} == kept
