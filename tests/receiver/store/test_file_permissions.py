"""The files of an SQLite database: who may read those that a receiver makes."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import make_url

from commanding import Command
from receiver.store import SqlStore
from receiver.store.dialects.sqlite_file import DatabaseFile
from servers import Clock, Process

FILES = ["fleet.db", "fleet.db-shm", "fleet.db-wal"]


@pytest.fixture(params=[0o022, 0o002, 0o000, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each usual umask, and the most careless one; processes that are started inherit it."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter, other than those that pytest makes."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'fleet.db'}"


def opened(folder: Path) -> SqlStore:
    return SqlStore(make_url(url_in(folder)))


def modes(folder: Path) -> dict[str, int]:
    """The permissions of the files that are in a folder, and in those below it."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    return {each.name: each.stat().st_mode & 0o777 for each in files}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "may be read" in each.getMessage()]


@pytest.mark.usefixtures("umask")
def test_files_of_a_new_database_are_for_its_user_only(tmp_path: Path) -> None:
    with closing(opened(tmp_path)):
        assert dict.fromkeys(FILES, 0o600) == modes(tmp_path)


@pytest.mark.usefixtures("umask")
def test_command_makes_files_for_its_user_only(tmp_path: Path) -> None:
    command = Command({"FLEET_DATABASE_URL": url_in(tmp_path)}, Clock())

    assert 0 == command("keys", "create", "--name", "admin", "--scope", "admin").status
    # The log and its index are there until the last connection is closed.
    assert 0o600 == modes(tmp_path)["fleet.db"]
    assert {0o600} == {*modes(tmp_path).values()}


@pytest.mark.parametrize("umask", [0o000], ids=oct, indirect=True)
def test_all_files_that_a_receiver_makes_are_for_its_user_only(tmp_path: Path, umask: None) -> None:
    """With the most careless umask, since any other one can only take permissions away."""
    folder, logs = tmp_path / "folder", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    process = Process(logs, "--workers", "2", FLEET_DATABASE_URL=url_in(folder))
    try:
        process.wait_until_healthy()
        assert dict.fromkeys(FILES, 0o600) == modes(folder)
    finally:
        process.terminate()
        process.wait()


def test_link_to_a_new_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "fleet.db").symlink_to(tmp_path / "there" / "fleet.db")
    with closing(opened(tmp_path)):
        assert {0o600} == {*modes(tmp_path / "there").values()}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o600])
def test_existing_file_keeps_its_permissions(
    public: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    opened(public).close()
    (public / "fleet.db").chmod(mode)
    with caplog.at_level(logging.WARNING), closing(opened(public)) as store:
        store.keys.all()
        found = modes(public)

    assert dict.fromkeys(FILES, mode) == found
    said = (
        f"{public}/fleet.db may be read by every user of this machine, who then knows the whole "
        f"fleet; if that is not meant: chmod 600 {public}/fleet.db*"
    )
    assert ([said] if mode == 0o644 else []) == warnings(caplog)


def test_file_in_a_folder_that_nobody_else_enters_needs_no_warning(
    public: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened(public).close()
    (public / "fleet.db").chmod(0o644)
    public.chmod(0o700)
    with caplog.at_level(logging.WARNING):
        opened(public).close()

    assert [] == warnings(caplog)


def test_write_ahead_log_that_others_may_read_causes_a_warning(
    public: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(opened(public)):
        (public / "fleet.db-wal").chmod(0o644)
        with caplog.at_level(logging.WARNING):
            opened(public).close()

    (said,) = warnings(caplog)
    assert "fleet.db-wal may be read" in said


def test_permissions_of_a_database_without_a_write_ahead_log_are_checked(
    public: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (public / "fleet.db").touch(0o644)
    file = DatabaseFile(str(public / "fleet.db"), may_create=False)
    with closing(file.connect({})), caplog.at_level(logging.WARNING):
        file.note_opened()
        file.note_opened()

    assert 1 == len(warnings(caplog))


def test_command_warns_on_standard_error(public: Path) -> None:
    opened(public).close()
    (public / "fleet.db").chmod(0o644)

    said = subprocess.run(
        [sys.executable, "-m", "receiver", "keys", "list"],
        env={**os.environ, "FLEET_DATABASE_URL": url_in(public)},
        capture_output=True,
        check=True,
        text=True,
    )

    assert "" == said.stdout
    assert 1 == said.stderr.count("may be read by every user of this machine")
