"""The file of SQLite is replaced or deleted under load: no heartbeat is acknowledged in vain."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from attrs import define, field

from faults.load import SERVERS, Exchange, beats, counts, miscounted, send_all, statuses
from faults.sqlite import integrity
from messages import Json
from servers import Process, receiver_process, wait_until

ENOUGH = 200


@define
class Load:
    """
    Heartbeats to a receiver whose file something happens to.

    Attributes:
        act: Does it, after some hundred heartbeats.
        until: The load ends with so many answers of this status to what was sent after it.
        before: What was sent before it had happened.
        after: What was sent after it had happened.
    """

    act: Callable[[], object]
    until: int
    before: list[Exchange] = field(factory=list)
    after: list[Exchange] = field(factory=list)

    def run(self, receiver: Process) -> None:
        seen: list[Exchange] = []

        async def send() -> float:
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                group.create_task(send_all(receiver.port, self._beats(), seen, connections=8))
                await asyncio.to_thread(wait_until, lambda: len(seen) >= 500)
                self.act()
                happened = monotonic()
                await asyncio.to_thread(wait_until, lambda: self._answers(seen, happened) >= ENOUGH)
                self.until = 0
            return happened

        happened = asyncio.run(send())
        for each in seen:
            (self.after if each.began > happened else self.before).append(each)

    def _beats(self) -> Iterator[Json]:
        for beat in beats(1_000_000, SERVERS):
            if not self.until:
                return
            yield beat

    def _answers(self, seen: list[Exchange], happened: float) -> int:
        return sum(each.began > happened and each.status == self.until for each in [*seen])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


def saved(receiver: Process, file: Path, folder: Path) -> Path:
    """Copy a deleted file and its write-ahead log as the page on operations says."""
    open_files = Path(f"/proc/{receiver.pid}/fd")
    copy = folder / "saved.db"
    for each in open_files.iterdir():
        target = str(each.readlink())
        if target == f"{file} (deleted)":
            shutil.copyfile(each, copy)
        elif target == f"{file}-wal":
            shutil.copyfile(each, f"{copy}-wal")
    return copy


def test_heartbeats_acknowledged_after_a_replacement_are_in_the_new_file(
    tmp_path: Path, file: Path
) -> None:
    settings = {"FLEET_DATABASE_URL": f"sqlite:///{file}"}
    backup = tmp_path / "backup.db"
    with receiver_process(tmp_path, **settings):
        pass
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"VACUUM INTO '{backup}'")
    load = Load(lambda: backup.replace(file), until=200)
    with receiver_process(tmp_path, **settings) as receiver:
        load.run(receiver)
        receiver.kill()
    log = receiver.log.read_text()
    with receiver_process(tmp_path, **settings) as receiver:
        kept = counts(receiver.url)

    assert {200} == statuses(load.before) - {503, None}
    assert {200, 503} == statuses(load.after)
    assert {} == miscounted(load.after, kept)
    assert ["ok"] == integrity(file)
    assert f"{file} was replaced; the receiver goes on with the file that is there" in log
    assert "Traceback" not in log


def test_no_heartbeat_is_acknowledged_after_the_file_is_deleted(tmp_path: Path, file: Path) -> None:
    load = Load(file.unlink, until=503)
    with receiver_process(tmp_path, FLEET_DATABASE_URL=f"sqlite:///{file}") as receiver:
        load.run(receiver)
        was_made = file.exists()
        copy = saved(receiver, file, tmp_path)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute(f"VACUUM INTO '{tmp_path / 'new.db'}'")
        (tmp_path / "new.db").replace(file)
        receiver.wait_until_healthy()
        kept = counts(receiver.url)
    log = receiver.log.read_text()

    assert {503} == statuses(load.after)
    assert {"5"} == {each.headers["retry-after"] for each in load.after}
    assert not was_made
    assert {} == miscounted(load.before, kept)
    assert "was deleted or moved; put it back, or restart the receiver" in log
    assert "Traceback" not in log
