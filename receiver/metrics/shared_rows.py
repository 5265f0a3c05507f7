"""
Numbers that the workers of one parent process count together.

Each counts in a file that is mapped into its memory, and whoever is asked adds up those of
all. The files are in a folder whose name comes from a secret that the parent hands down to
its workers: nobody else can guess it, and no other parent will ever have the same.

A lock is held on each file by its worker and on the folder by all of them, and ends with
the process, however that ends. So a file without a lock is free for the worker that comes
next, which goes on counting there, and a folder without one is of a parent that is gone.
"""

import logging
import os
import shutil
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from multiprocessing import current_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import gettempdir
from typing import Protocol, TypeAlias

if sys.platform != "win32":  # pragma: no branch - which has no such locks
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

__all__ = ["Alone", "Doubles", "Rows", "Together", "rows_for"]

_log = logging.getLogger(__name__)

Doubles: TypeAlias = "memoryview[float]"
"""Numbers side by side."""


class Rows(Protocol):
    """
    Rows of numbers, all of one length.

    Attributes:
        mine: Where this process counts; whole numbers are exact up to 2**53.
        is_shared: Whether others may count beside it.
    """

    mine: Doubles
    is_shared: bool

    def all(self) -> Iterator[tuple[Doubles, bool]]:
        """Every row there is, and whether somebody still counts there."""

    def close(self) -> None:
        """Leave the row to the next."""


def rows_for(
    parent: BaseProcess | None, purpose: str, length: int, *, place: Path | None = None
) -> Rows:
    """
    Where a process counts, beside those that have its parent and its purpose.

    Args:
        parent: Who started it to be one of several; None if nobody did.
        length: How many numbers a row has.
        place: Where the folder is made; in memory, unless it is given.
    """
    if parent is None or sys.platform == "win32":
        return Alone(length)
    family = sha256(current_process().authkey + f"{parent.pid} {purpose}".encode())
    try:
        return Together(place or _place(), family.hexdigest(), length)
    except OSError as error:
        _log.warning("/metrics tells of one worker only: %s", error)
        return Alone(length)


class Alone:
    """One row, in the memory of this process."""

    is_shared = False

    def __init__(self, length: int) -> None:
        self.mine: Doubles = memoryview(array("d", bytes(_SIZE * length)))

    def all(self) -> Iterator[tuple[Doubles, bool]]:
        yield self.mine, True

    def close(self) -> None:
        """Nobody else knows of it."""


class Together:
    """
    One row of those that a family shares.

    Raises OSError when there is no room for it, or its folder is somebody else's.
    """

    is_shared = True

    def __init__(self, place: Path, family: str, length: int) -> None:
        self._folder = place / f"{_PREFIX}{family}"
        self._size = _SIZE * length
        self._held = _enter(self._folder)
        _tidy(place)
        self._file, self._path = self._free_file()
        self.mine: Doubles = memoryview(mmap(self._file, self._size)).cast("d")

    def all(self) -> Iterator[tuple[Doubles, bool]]:
        yield self.mine, True
        # Somebody may clear up what is in the memory or the temporary folder.
        for path in self._folder.glob("*"):
            if path == self._path:
                continue
            file = os.open(path, os.O_RDONLY)
            try:
                # It is smaller while somebody makes it.
                if os.fstat(file).st_size == self._size:
                    is_held = not _take(file, LOCK_SH)
                    flock(file, LOCK_UN)
                    # Mapped, and not read: a number is never seen half written.
                    mapped = mmap(file, self._size, access=ACCESS_READ)
                    yield memoryview(mapped).cast("d"), is_held
            finally:
                os.close(file)

    def close(self) -> None:
        # The mapping keeps the file open, and would keep the lock.
        flock(self._file, LOCK_UN)
        os.close(self._file)
        os.close(self._held)

    def _free_file(self, number: int = 0) -> tuple[int, Path]:
        """The first file from a number on that nobody counts in."""
        path = self._folder / str(number)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _take(file, LOCK_EX):
            os.close(file)
            return self._free_file(number + 1)
        if os.fstat(file).st_size != self._size:
            # Written, so that there is room: a page that cannot be had ends the process.
            os.pwrite(file, bytes(self._size), 0)
        return file, path


_SIZE = 8
"""Bytes of a number."""

_PREFIX = "odoo-mcp-fleet-"


def _place() -> Path:
    """A folder in memory where there is one: a disk may keep whoever counts waiting."""
    memory = Path("/dev/shm")  # noqa: S108 - what is made there is checked
    return memory if os.access(memory, os.W_OK) else Path(gettempdir())


def _enter(folder: Path) -> int:
    """Make a folder, unless it is there, and hold it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    held = _opened(folder)
    flock(held, LOCK_SH)
    return held


def _opened(folder: Path) -> int:
    """Open a folder. Raises OSError when it is a link, or others may write to it."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    status = os.fstat(file)
    if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
        return file
    os.close(file)
    raise PermissionError(f"{folder} is not only for the user of this process")


def _take(file: int, lock: int) -> bool:
    """Take a lock, unless another has one that excludes it."""
    try:
        flock(file, lock | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tidy(place: Path) -> None:
    """Remove the folders of families that are gone."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it may be another's, or just go
            file = _opened(folder)
            # An empty one has just been made, and is about to be held.
            if _take(file, LOCK_EX) and any(folder.iterdir()):
                shutil.rmtree(folder)
            os.close(file)
