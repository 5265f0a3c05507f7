"""The commands that copy a database, as somebody types them."""

import gzip
import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from sqlalchemy import make_url

from commanding import Command
from receiver.domain.errors import StoreUnavailable
from receiver.store import SqlStore
from servers import Clock
from watched import Watched, kept_in


@pytest.fixture
def fleet_url(sqlite_url: str) -> str:
    """An SQLite database with two servers."""
    store = SqlStore(make_url(sqlite_url))
    Watched(store).register("a", "b", capabilities=("sale_order_create",))
    store.close()
    return sqlite_url


@pytest.fixture
def other_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'other.db'}"


@pytest.fixture
def command(fleet_url: str, clock: Clock) -> Command:
    return on(fleet_url, clock)


def on(url: str, clock: Clock) -> Command:
    return Command({"FLEET_DATABASE_URL": url}, clock)


def servers_in(url: str) -> list[str]:
    store = SqlStore(make_url(url))
    found = [each.server_id for each in kept_in(store)]
    store.close()
    return found


def test_backup_in_a_folder_keeps_the_newest(
    command: Command, clock: Clock, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for _ in range(3):
        status, said, explained = command("backup", str(folder), "--keep", "2")
        clock.advance(3600)

    names = [f"fleet-2026-01-31-{hour}0000.db" for hour in (12, 13, 14)]
    assert (0, [f"{folder}/{names[2]}"]) == (status, said)
    assert "keep them as safe as the database" in explained
    assert {*names[1:]} == {file.name for file in folder.iterdir()}
    assert ["a", "b"] == servers_in(f"sqlite:///{folder / names[2]}")


def test_backup_as_json_says_what_was_written(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    _, (said,), _ = command("backup", str(file), "--json")

    assert {"file": str(file), "bytes": file.stat().st_size, "deleted": []} == json.loads(said)


def test_backup_command_fails_when_the_backup_cannot_be_made(
    command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "a.db"
    file.touch()

    assert (1, [], f"{file} is there already") == command("backup", str(file))
    status, _, explained = command("backup", str(tmp_path / "new.db"), "--keep", "2")
    assert (2, True) == (status, "--keep is for a folder" in explained)


@pytest.mark.parametrize("name", ["fleet.jsonl", "fleet.jsonl.gz"])
def test_exported_fleet_is_imported(
    command: Command, other_url: str, clock: Clock, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    status, said, explained = command("export", str(file))
    there = on(other_url, clock)("import", str(file))

    assert (0, []) == (status, said)
    assert "rows of sqlite" in explained
    assert 0o600 == file.stat().st_mode & 0o777
    assert 0 == there[0], there
    assert ["a", "b"] == servers_in(other_url)


def test_export_and_import_go_through_a_pipe(
    command: Command,
    other_url: str,
    clock: Clock,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Standard output holds nothing but the file."""
    assert 0 == command("export", "-").status
    written = capfdbinary.readouterr().out
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(written)))

    assert 0 == on(other_url, clock)("import", "-").status

    assert ["a", "b"] == servers_in(other_url)


def test_export_and_import_explain_why_a_file_cannot_be_used(
    command: Command, other_url: str, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.jsonl"
    file.touch()
    there = on(other_url, clock)

    assert (1, [], f"{file} is there already") == command("export", str(file))
    status, _, explained = command("export", str(tmp_path / "none" / "a"))
    assert (1, True) == (status, "cannot be written: No such file" in explained)
    status, _, explained = there("import", str(tmp_path / "none"))
    assert (1, True) == (status, "cannot be read: No such file" in explained)
    packed = tmp_path / "cut.gz"
    packed.write_bytes(gzip.compress(b"{}\n")[:-4])
    status, _, explained = there("import", str(packed))
    assert 1 == status
    assert [packed.name] == [f.name for f in tmp_path.glob("*.gz*")], "nothing is left behind"


def test_failed_export_leaves_no_file(other_url: str, clock: Clock, tmp_path: Path) -> None:
    SqlStore(make_url(other_url)).close()
    Path(str(make_url(other_url).database)).write_bytes(b"no database" * 1000)

    status, *_ = on(other_url, clock)("export", str(tmp_path / "a.jsonl"))

    assert 3 == status
    assert [] == [*tmp_path.glob("a.jsonl*")]


def test_fleet_is_moved_and_counted(command: Command, fleet_url: str, other_url: str) -> None:
    status, said, explained = command("move", "--to", other_url, "--copy-only")
    assert 0 == status
    assert "servers" in "".join(said)
    assert "receivers go on with" in explained
    assert ["a", "b"] == servers_in(fleet_url)

    status, (said_json,), explained = command("move", "--to", other_url, "--yes", "--json")

    found = json.loads(said_json)
    assert (0, True, {"from": 2, "to": 2}) == (status, found["done"], found["rows"]["servers"])
    assert f"The fleet is in {other_url}. Set FLEET_DATABASE_URL to it" in explained
    assert ["a", "b"] == servers_in(other_url)
    with pytest.raises(StoreUnavailable, match="was moved"):
        servers_in(fleet_url)

    assert 0 == command("move", "--cancel")[0]
    assert ["a", "b"] == servers_in(fleet_url)


def test_move_command_asks_before_it_makes_receivers_refuse_messages(
    fleet_url: str, other_url: str, clock: Clock
) -> None:
    environ = {"FLEET_DATABASE_URL": fleet_url}
    asking = Command(environ, clock)
    for answer, wanted in {False: 130, True: 0}.items():
        asking.answer = answer
        assert wanted == asking("move", "--to", other_url).status
    assert 2 == len(asking.asked)

    assert ["a", "b"] == servers_in(other_url)


def test_contradictory_arguments_of_a_move_are_refused(
    command: Command, fleet_url: str, other_url: str
) -> None:
    wrong = {
        ("--to", other_url): "nobody can be asked; say --yes",
        (): "say where to: --to postgresql",
        ("--cancel", "--to", other_url): "--cancel goes alone",
        ("--yes", "--to", fleet_url): "both databases are the same",
        ("--yes", "--to", "mysql://a"): "--to: expected the address of a database",
        ("--yes", "--to", "postgresql+psycopg://a:s3cret@b/c"): "--to holds a password",
    }
    for arguments, said in wrong.items():
        status, _, explained = command("move", *arguments)
        assert (2, True) == (status, said in explained), explained
        assert "s3cret" not in explained
    status, _, explained = command("move", "--cancel")
    assert (1, True) == (status, "not being moved" in explained)


def test_database_url_of_a_move_is_read_from_a_prompt_and_its_password_not_shown(
    fleet_url: str, clock: Clock
) -> None:
    command = Command({"FLEET_DATABASE_URL": fleet_url}, clock)
    command.secret = "postgresql+psycopg://a:s3cret@127.0.0.1:1/c"

    status, _, explained = command("move", "--to", "-", "--yes")

    assert 3 == status
    assert "s3cret" not in explained


def test_progress_of_a_move_is_shown_at_a_terminal(
    fleet_url: str, other_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    command = Command({"FLEET_DATABASE_URL": fleet_url}, clock, columns=lambda: 80)

    status, said, _ = command("move", "--to", other_url, "--yes")

    assert 0 == status
    assert any("servers" in line for line in said)
