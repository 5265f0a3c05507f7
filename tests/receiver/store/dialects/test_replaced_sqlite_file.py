"""A file that is deleted or replaced while it is open: noticed before a message is acknowledged."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, make_url

from contract import Heartbeat
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from receiver.store.dialects.sqlite_file import DatabaseFile
from receiver.store.tables import secrets
from servers import Clock
from watched import kept_in


class Place:
    """An open store with one heartbeat of the server `a`, and a backup of that moment."""

    def __init__(self, url: str) -> None:
        self.file = Path(make_url(url).database or "")
        self.backup = self.file.with_name("backup.db")
        self.seconds = 0.0
        self.store = SqlStore(make_url(url))
        # The store is older than the clock of the test.
        self.store.transactions.dialect._file._elapsed = lambda: self.seconds  # type: ignore[attr-defined]  # noqa: SLF001 - as it says
        self.beat("old")
        with closing(sqlite3.connect(self.file)) as connection:
            connection.execute(f"VACUUM INTO '{self.backup}'")

    def beat(self, hostname: str) -> None:
        beat = Heartbeat(server_id="a", hostname=hostname)
        self.store.servers.apply([Incoming(beat, Clock()())])

    def change_port(self) -> None:
        """Send a heartbeat that changes more than each does, so that the whole row is written."""
        self.store.servers.apply([Incoming(Heartbeat(server_id="a", port=1), Clock()())])

    def replace(self) -> None:
        """Put the backup in the place of the file, as one step."""
        self.backup.replace(self.file)

    def settle(self) -> None:
        """Let the new file be looked at, and two seconds go by."""
        with pytest.raises(StoreUnavailable, match="is used once it has not changed for 2 s"):
            self.beat("refused")
        self.seconds += 2

    def kept(self) -> list[tuple[str | None, int]]:
        records = kept_in(self.store)
        return [(each.hostname, each.heartbeat_count) for each in records]

    def kept_after_a_restart(self) -> list[tuple[str | None, int]]:
        self.store.close()
        self.store = SqlStore(make_url(f"sqlite:///{self.file}"))
        return self.kept()

    def log(self) -> Path:
        return Path(f"{self.file}-wal")


@pytest.fixture
def place(sqlite_url: str) -> Iterator[Place]:
    place = Place(sqlite_url)
    yield place
    place.store.close()


@pytest.mark.parametrize("how", ["delete", "move"])
def test_missing_file_refuses_everything_and_is_not_made_anew(place: Place, how: str) -> None:
    place.kept()
    place.file.unlink() if how == "delete" else place.file.rename(place.file.with_name("moved"))

    for call in (lambda: place.beat("refused"), place.kept):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="was deleted or moved; put it back, or res"):
                call()
    assert not place.file.exists()


def test_file_that_is_put_back_is_used_at_once(place: Place) -> None:
    moved = place.file.rename(place.file.with_name("moved"))
    with pytest.raises(StoreUnavailable):
        place.beat("refused")
    moved.rename(place.file)
    place.beat("new")

    assert [("new", 2)] == place.kept()
    assert [("new", 2)] == place.kept_after_a_restart()


def test_restart_without_the_file_begins_an_empty_fleet(place: Place) -> None:
    place.file.unlink()

    assert [] == place.kept_after_a_restart()


def test_sqlite_url_with_mode_rw_never_creates_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fleet.db"

    with pytest.raises(StoreUnavailable, match=r"cannot be opened: .*fleet\.db does not exist"):
        SqlStore(make_url(f"sqlite:///{file}?mode=rw"))
    assert not file.exists()
    SqlStore(make_url(f"sqlite:///{file}?mode=rwc")).close()
    SqlStore(make_url(f"sqlite:///{file}?mode=rw")).close()


@pytest.mark.parametrize("is_read_first", [False, True])
def test_replaced_database_file_is_used_when_it_has_settled(
    place: Place, *, is_read_first: bool
) -> None:
    place.beat("lost")
    place.replace()
    place.settle()
    if is_read_first:
        assert [("old", 1)] == place.kept()
    place.beat("new")
    place.beat("newer")

    assert [("newer", 3)] == place.kept()
    assert [("newer", 3)] == place.kept_after_a_restart()


def test_connection_to_another_file_than_that_of_the_others_is_refused(place: Place) -> None:
    """The file may be replaced just after a reader has looked."""
    place.replace()

    with pytest.raises(StoreUnavailable, match="is used once it has not changed for 2 seconds"):
        place.store.transactions._engine.connect()  # noqa: SLF001 - as after a look
    place.seconds += 2
    with pytest.raises(StoreUnavailable, match=r"was replaced by another file$"):
        place.store.transactions._engine.connect()  # noqa: SLF001 - as before


def test_replaced_database_file_that_still_changes_is_not_used(place: Place) -> None:
    place.replace()
    place.settle()
    os.utime(place.file, (1, 1))
    place.settle()
    place.beat("new")

    assert [("new", 2)] == place.kept()


def test_write_ahead_log_of_the_old_file_stays_with_it(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite would write it into the new file."""
    for _ in range(20):
        place.beat("lost")
    old = place.file.stat().st_ino
    aside = place.file.with_name(f"fleet.db.replaced-{old}")
    os.link(place.file, aside)
    place.replace()
    place.settle()
    with caplog.at_level(logging.WARNING):
        place.beat("new")

    assert [("new", 2)] == place.kept_after_a_restart()
    with closing(sqlite3.connect(place.file)) as new, closing(sqlite3.connect(aside)) as kept:
        assert [("ok",)] == new.execute("PRAGMA integrity_check").fetchall()
        assert [("lost", 21)] == kept.execute(
            "SELECT hostname, heartbeat_count FROM servers JOIN liveness USING (server_id)"
        ).fetchall()
    assert f"{place.log()} belongs to the file that was replaced" in caplog.text
    assert f"{place.file} was replaced; the receiver goes on" in caplog.text


def test_log_that_came_with_the_new_file_is_kept(place: Place) -> None:
    other = SqlStore(make_url(f"sqlite:///{place.backup}"))
    other.servers.apply([Incoming(Heartbeat(server_id="a", hostname="logged"), Clock()())])
    for suffix in ("-wal", "-shm", ""):
        Path(f"{place.backup}{suffix}").rename(f"{place.file}{suffix}")
    place.settle()
    place.beat("new")
    other.close()

    assert [("new", 3)] == place.kept()


@pytest.mark.parametrize("suffixes", [["-wal"], ["-shm"], ["-wal", "-shm"]])
def test_deleted_write_ahead_log_loses_nothing(place: Place, suffixes: list[str]) -> None:
    place.kept()
    place.beat("new")
    for suffix in suffixes:
        Path(f"{place.file}{suffix}").unlink()
    place.beat("newer")

    assert [("newer", 3)] == place.kept()
    assert [("newer", 3)] == place.kept_after_a_restart()


def test_deleted_write_ahead_log_waits_for_readers(place: Place) -> None:
    place.beat("new")
    with place.store.transactions.read() as reader:
        reader.exec_driver_sql("SELECT * FROM servers").fetchone()
        place.beat("newer")
        place.log().unlink()
        with pytest.raises(StoreUnavailable, match="log of the database was deleted"):
            place.beat("refused")
    place.beat("newest")

    assert [("newest", 4)] == place.kept_after_a_restart()


def test_file_that_vanishes_in_a_transaction_leaves_its_outcome_unknown(place: Place) -> None:
    def work(connection: Connection) -> None:
        connection.execute(insert(secrets), {"name": "x", "value": b""})
        place.file.unlink()

    with pytest.raises(OutcomeUnknown, match="was deleted or moved"):
        place.store.transactions.write(work)


def test_empty_file_is_no_fleet_until_a_restart(place: Place) -> None:
    place.file.unlink()
    place.file.touch()
    place.settle()

    with pytest.raises(StoreUnavailable, match="has no tables of a fleet any more; put the databa"):
        place.beat("refused")
    assert [] == place.kept_after_a_restart()


def test_rows_of_the_old_file_are_not_merged_into_those_of_the_new(place: Place) -> None:
    """Both files have the same row with the same revision, and other content."""
    with closing(sqlite3.connect(place.backup)) as backup:
        backup.execute("UPDATE liveness SET revision = revision + 1")
        backup.execute("UPDATE servers SET version = 'backup'")
        backup.commit()
    place.beat("lost")
    place.replace()
    place.settle()
    place.change_port()

    record = place.store.servers.get("a")
    assert record is not None
    assert ("old", "backup", 2) == (record.hostname, record.version, record.heartbeat_count)


def test_rows_do_not_survive_a_restore_into_the_same_file(place: Place) -> None:
    with closing(sqlite3.connect(place.backup)) as backup:
        backup.execute("UPDATE liveness SET revision = revision + 1")
        backup.execute("UPDATE servers SET version = 'backup'")
        backup.commit()
        place.beat("lost")
        with closing(sqlite3.connect(place.file)) as file:
            backup.backup(file)
    place.change_port()

    record = place.store.servers.get("a")
    assert record is not None
    assert ("old", "backup", 2) == (record.hostname, record.version, record.heartbeat_count)


def test_file_that_is_replaced_while_it_is_opened_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = tmp_path / "fleet.db", tmp_path / "other.db"
    file.touch()
    other.touch()
    connect = sqlite3.connect

    def late(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        other.replace(file)
        return connection

    monkeypatch.setattr(sqlite3, "connect", late)

    with pytest.raises(StoreUnavailable, match="is being replaced"):
        DatabaseFile(str(file), may_create=True).connect({})


@pytest.mark.parametrize("is_replaced", [False, True])
def test_file_that_vanishes_while_it_is_opened_is_not_used(
    tmp_path: Path, *, is_replaced: bool
) -> None:
    file = tmp_path / "fleet.db"
    opening = DatabaseFile(str(file), may_create=True)
    opening.connect({}).close()
    file.rename(tmp_path / "moved.db")
    if is_replaced:
        file.touch()

    with pytest.raises(StoreUnavailable, match="is being replaced"):
        opening.note_opened()


def test_unreadable_database_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="x cannot be looked at: File name too long"):
        SqlStore(make_url(f"sqlite:///{tmp_path}/{'x' * 300}"))
