"""A backup is one file that holds one moment."""

import os
import sqlite3
import subprocess
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from postgres import Postgres
from receiver.domain.errors import CopyRefused, StoreUnavailable
from receiver.store import SqlStore, back_up, backups_in
from watched import Watched, kept_in

from .conftest import NOW, content


def test_backup_of_sqlite_is_whole_during_concurrent_writes(full_url: str, tmp_path: Path) -> None:
    before, folder = content(full_url), tmp_path / "backups"
    folder.mkdir()
    store = SqlStore(make_url(full_url))
    is_enough = threading.Event()

    def write() -> None:
        while not is_enough.is_set():
            Watched(store).beat("d")

    writing = threading.Thread(target=write)
    quiet_one = back_up(make_url(full_url), folder, now=NOW)
    writing.start()
    try:
        busy_one = back_up(make_url(full_url), folder, now=NOW + timedelta(days=1))
    finally:
        is_enough.set()
        writing.join()
        store.close()

    assert "fleet-2026-01-31-120000.db" == quiet_one.name
    assert (
        [quiet_one, busy_one] == sorted(folder.iterdir()) == backups_in(folder, make_url(full_url))
    )
    assert 0o600 == quiet_one.stat().st_mode & 0o777
    assert before == content(f"sqlite:///{quiet_one}")
    restored = SqlStore(make_url(f"sqlite:///{busy_one}"))
    assert {"a", "b", "c", "d"} == {each.server_id for each in kept_in(restored)}
    restored.close()


def test_backup_of_postgresql_can_be_restored(
    postgresql_url: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([str(postgres.psql.parent), os.environ["PATH"]]))
    store = SqlStore(make_url(postgresql_url))
    Watched(store).register("a", capabilities=("x",))
    store.close()

    file = back_up(make_url(postgresql_url), tmp_path / "named.dump", now=NOW)

    with postgres.new_database() as name:
        into = f"--dbname=postgresql://postgres@/{name}?host={postgres.socket_folder}"
        subprocess.run(["pg_restore", "--exit-on-error", "--no-owner", into, file], check=True)
        assert content(postgresql_url) == content(postgres.url(name))
    assert 0o600 == file.stat().st_mode & 0o777


def test_backup_of_postgresql_without_its_programs_says_what_to_do(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CopyRefused, match=r"pg_dump is not installed: apt-get install .* export"):
        back_up(make_url(postgresql_url), tmp_path / "a.dump", now=NOW)

    assert [] == [*tmp_path.iterdir()]


def test_backup_of_a_postgresql_that_is_away_shows_no_password(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([str(postgres.psql.parent), os.environ["PATH"]]))
    url = make_url("postgresql+psycopg://fleet:s3cret@127.0.0.1:1/fleet")

    with pytest.raises(StoreUnavailable, match=r"pg_dump of .* failed: .*refused") as raised:
        back_up(url, tmp_path / "a.dump", now=NOW)

    assert "s3cret" not in str(raised.value)
    assert [] == [*tmp_path.iterdir()]


def test_backup_replaces_no_file(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.write_text("theirs")

    with pytest.raises(CopyRefused, match="is there already"):
        back_up(make_url(sqlite_url), file, now=NOW)
    with pytest.raises(CopyRefused, match="cannot be written"):
        back_up(make_url(sqlite_url), tmp_path / "none/a.db", now=NOW)

    assert "theirs" == file.read_text()


def test_damaged_file_makes_no_backup(sqlite_url: str, tmp_path: Path) -> None:
    database = Path(str(make_url(sqlite_url).database))
    database.write_bytes(database.read_bytes()[:4096] + b"x" * 4096)

    with pytest.raises(StoreUnavailable, match="cannot be backed up"):
        back_up(make_url(sqlite_url), tmp_path / "a.db", now=NOW)

    assert not (tmp_path / "a.db").exists()


def test_backup_that_breaks_a_rule_of_its_tables_is_not_kept(
    sqlite_url: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as file, file:
        file.execute("CREATE TABLE t (a)")
        file.execute("INSERT INTO t VALUES (1)")
        file.execute("PRAGMA writable_schema = ON")
        file.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a CHECK (a > 1))' WHERE name = 't'"
        )

    with pytest.raises(StoreUnavailable, match="would be damaged, as the file is: CHECK"):
        back_up(make_url(sqlite_url), tmp_path / "a.db", now=NOW)

    assert [] == [*tmp_path.glob("a.db*")]


def test_other_files_in_the_backup_folder_are_no_backups(sqlite_url: str, tmp_path: Path) -> None:
    for name in ("fleet-2026.db", "fleet-2026-01-31-120000.dump", "other.db"):
        (tmp_path / name).touch()

    assert [] == backups_in(tmp_path, make_url(sqlite_url))
