"""Rows of counters that the worker processes of one parent share."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import current_process
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import Any

import pytest

from receiver.metrics.shared_rows import Alone, Rows, Together, rows_for

LENGTH = 3


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder with one folder for each family: the workers of one parent."""
    return tmp_path


@pytest.fixture
def joined(place: Path) -> Iterator[list[Together]]:
    """The workers of a test; they leave at its end."""
    joined: list[Together] = []
    yield joined
    for each in joined:
        with suppress(OSError):  # it has left already
            each.close()


def together(place: Path, joined: list[Together], family: str = "a") -> Together:
    joined.append(Together(place, family, LENGTH))
    return joined[-1]


def seen(rows: Rows) -> list[tuple[list[float], bool]]:
    """Every row, and whether a live worker owns it, sorted."""
    return sorted((list(row), is_held) for row, is_held in rows.all())


def families(place: Path) -> set[str]:
    return {each.name.removeprefix("odoo-mcp-fleet-") for each in place.iterdir()}


def test_each_worker_reads_the_shared_rows_of_all_workers(
    place: Path, joined: list[Together]
) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    two.mine[2] += 2.5

    assert [([0, 0, 2.5], True), ([1, 0, 0], True)] == seen(one) == seen(two)


def test_counts_of_a_worker_stay_after_it_leaves(place: Path, joined: list[Together]) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    one.close()

    assert [([0, 0, 0], True), ([1, 0, 0], False)] == seen(two)


def test_next_worker_reuses_the_row_of_a_past_one(place: Path, joined: list[Together]) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    one.close()
    three = together(place, joined)
    three.mine[0] += 1

    assert [([0, 0, 0], True), ([2, 0, 0], True)] == seen(two)


def test_unfinished_shared_row_is_not_read(place: Path, joined: list[Together]) -> None:
    one = together(place, joined)
    (place / "odoo-mcp-fleet-a" / "1").touch()

    assert [([0, 0, 0], True)] == seen(one)


def test_worker_whose_folder_was_deleted_reads_its_own_row(
    place: Path, joined: list[Together]
) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    two.mine[0] += 1
    rmtree(place / "odoo-mcp-fleet-a")

    assert [([1, 0, 0], True)] == seen(one)


def test_families_of_workers_count_separately(place: Path, joined: list[Together]) -> None:
    one, other = together(place, joined), together(place, joined, "b")
    one.mine[0] += 1

    assert [([0, 0, 0], True)] == seen(other)
    assert {"a", "b"} == families(place)


def test_folder_of_a_past_family_is_deleted(place: Path, joined: list[Together]) -> None:
    together(place, joined).close()
    before = families(place)
    together(place, joined, "b")

    assert ({"a"}, {"b"}) == (before, families(place))


def test_new_folder_is_not_deleted(place: Path, joined: list[Together]) -> None:
    (place / "odoo-mcp-fleet-new").mkdir(mode=0o700)
    together(place, joined)

    assert {"a", "new"} == families(place)


def test_folder_is_readable_by_its_user_only(place: Path, joined: list[Together]) -> None:
    together(place, joined)
    folder = place / "odoo-mcp-fleet-a"

    assert (0o40700, 0o100600) == (folder.stat().st_mode, (folder / "0").stat().st_mode)


def test_folder_open_to_other_users_is_neither_used_nor_deleted(
    place: Path, joined: list[Together]
) -> None:
    open_to_all, link = place / "odoo-mcp-fleet-a", place / "odoo-mcp-fleet-b"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (open_to_all / "0").touch()
    link.symlink_to(open_to_all)

    with pytest.raises(PermissionError, match="not only for the user"):
        Together(place, "a", LENGTH)
    with pytest.raises(OSError, match="b"):
        Together(place, "b", LENGTH)

    together(place, joined, "c")
    assert {"a", "b", "c"} == families(place)


def test_process_without_a_parent_counts_alone(place: Path) -> None:
    rows = rows_for(None, "", LENGTH, place=place)
    rows.mine[1] += 1

    assert isinstance(rows, Alone)
    assert [([0, 1, 0], True)] == seen(rows)
    assert set() == families(place)


def test_family_depends_on_parent_and_purpose(place: Path, joined: list[Together]) -> None:
    mine, other = current_process(), SimpleNamespace(pid=1)
    several: list[tuple[Any, str]] = [(mine, "x"), (mine, "x"), (mine, "y"), (other, "x")]
    for parent, purpose in several:
        rows = rows_for(parent, purpose, LENGTH, place=place)
        assert isinstance(rows, Together)
        joined.append(rows)

    assert [2, 2, 1, 1] == [len(seen(rows)) for rows in joined]


def test_folder_name_does_not_reveal_the_secret_of_the_parent(place: Path) -> None:
    rows_for(current_process(), "", LENGTH, place=place).close()

    (name,) = families(place)
    assert 64 == len(name)
    assert current_process().authkey.hex() not in name


def test_worker_counts_alone_when_its_row_cannot_be_made(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.rmdir()
    rows = rows_for(current_process(), "", LENGTH, place=place)

    assert isinstance(rows, Alone)
    assert ["/metrics tells of one worker only: "] == [message[:35] for message in caplog.messages]


COUNT_AND_DIE = """
import os, pathlib, sys
from receiver.metrics.shared_rows import Together
rows = Together(pathlib.Path(sys.argv[1]), "a", int(sys.argv[2]))
rows.mine[0] += 1
os.kill(os.getpid(), 9)
"""
"""Program of a worker that counts and kills itself."""


def test_killed_worker_leaves_its_row(place: Path, joined: list[Together]) -> None:
    one = together(place, joined)
    for _ in range(2):
        worker = subprocess.run(
            [sys.executable, "-c", COUNT_AND_DIE, place, str(LENGTH)], check=False
        )
        assert -9 == worker.returncode

    assert [([0, 0, 0], True), ([2, 0, 0], False)] == seen(one)
