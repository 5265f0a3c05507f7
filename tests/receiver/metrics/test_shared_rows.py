"""What the workers of one parent count together."""

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
    """Where the folders of families are."""
    return tmp_path


@pytest.fixture
def joined(place: Path) -> Iterator[list[Together]]:
    """Workers that leave after the test."""
    joined: list[Together] = []
    yield joined
    for each in joined:
        with suppress(OSError):  # it has left
            each.close()


def together(place: Path, joined: list[Together], family: str = "a") -> Together:
    joined.append(Together(place, family, LENGTH))
    return joined[-1]


def seen(rows: Rows) -> list[tuple[list[float], bool]]:
    """Every row, and whether somebody counts there, smallest first."""
    return sorted((list(row), is_held) for row, is_held in rows.all())


def families(place: Path) -> set[str]:
    return {each.name.removeprefix("odoo-mcp-fleet-") for each in place.iterdir()}


def test_each_sees_what_all_count(place: Path, joined: list[Together]) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    two.mine[2] += 2.5

    assert [([0, 0, 2.5], True), ([1, 0, 0], True)] == seen(one) == seen(two)


def test_what_one_counted_stays_when_it_is_gone(place: Path, joined: list[Together]) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    one.close()

    assert [([0, 0, 0], True), ([1, 0, 0], False)] == seen(two)


def test_whoever_comes_next_goes_on_counting(place: Path, joined: list[Together]) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    one.close()
    three = together(place, joined)
    three.mine[0] += 1

    assert [([0, 0, 0], True), ([2, 0, 0], True)] == seen(two)


def test_a_row_that_is_being_made_is_not_there_yet(place: Path, joined: list[Together]) -> None:
    one = together(place, joined)
    (place / "odoo-mcp-fleet-a" / "1").touch()

    assert [([0, 0, 0], True)] == seen(one)


def test_whose_folder_was_cleared_away_tells_of_itself(place: Path, joined: list[Together]) -> None:
    one, two = together(place, joined), together(place, joined)
    one.mine[0] += 1
    two.mine[0] += 1
    rmtree(place / "odoo-mcp-fleet-a")

    assert [([1, 0, 0], True)] == seen(one)


def test_families_count_for_themselves(place: Path, joined: list[Together]) -> None:
    one, other = together(place, joined), together(place, joined, "b")
    one.mine[0] += 1

    assert [([0, 0, 0], True)] == seen(other)
    assert {"a", "b"} == families(place)


def test_what_a_family_leaves_is_tidied_away(place: Path, joined: list[Together]) -> None:
    together(place, joined).close()
    before = families(place)
    together(place, joined, "b")

    assert ({"a"}, {"b"}) == (before, families(place))


def test_folder_that_was_just_made_stays(place: Path, joined: list[Together]) -> None:
    (place / "odoo-mcp-fleet-new").mkdir(mode=0o700)
    together(place, joined)

    assert {"a", "new"} == families(place)


def test_nobody_else_reads_it(place: Path, joined: list[Together]) -> None:
    together(place, joined)
    folder = place / "odoo-mcp-fleet-a"

    assert (0o40700, 0o100600) == (folder.stat().st_mode, (folder / "0").stat().st_mode)


def test_folder_of_others_is_neither_used_nor_removed(place: Path, joined: list[Together]) -> None:
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


def test_a_process_that_nobody_started_counts_alone(place: Path) -> None:
    rows = rows_for(None, "", LENGTH, place=place)
    rows.mine[1] += 1

    assert isinstance(rows, Alone)
    assert [([0, 1, 0], True)] == seen(rows)
    assert set() == families(place)


def test_workers_are_told_apart_by_parent_and_purpose(place: Path, joined: list[Together]) -> None:
    mine, other = current_process(), SimpleNamespace(pid=1)
    several: list[tuple[Any, str]] = [(mine, "x"), (mine, "x"), (mine, "y"), (other, "x")]
    for parent, purpose in several:
        rows = rows_for(parent, purpose, LENGTH, place=place)
        assert isinstance(rows, Together)
        joined.append(rows)

    assert [2, 2, 1, 1] == [len(seen(rows)) for rows in joined]


def test_secret_of_the_parent_cannot_be_read_from_the_name(place: Path) -> None:
    rows_for(current_process(), "", LENGTH, place=place).close()

    (name,) = families(place)
    assert 64 == len(name)
    assert current_process().authkey.hex() not in name


def test_worker_counts_alone_where_there_is_no_room(
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
"""What a worker does that is killed."""


def test_worker_that_is_killed_leaves_its_row(place: Path, joined: list[Together]) -> None:
    one = together(place, joined)
    for _ in range(2):
        worker = subprocess.run(
            [sys.executable, "-c", COUNT_AND_DIE, place, str(LENGTH)], check=False
        )
        assert -9 == worker.returncode

    assert [([0, 0, 0], True), ([2, 0, 0], False)] == seen(one)
