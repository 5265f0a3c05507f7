"""
Rows of numbers that the workers of one parent process share in memory-mapped files.

Each worker counts in a file of its own, and reads the files of all workers to add them up. The
folder of the files has a name that is derived from the `authkey` that multiprocessing gives to the
workers of one parent. No other user can guess this name, and no other parent has the same.

Each worker holds an exclusive lock (flock) on its file and a shared one on the folder. The kernel
releases both when the process ends, even if it crashes. A file without a lock is therefore free,
and the next worker continues to count in it. A folder without a lock belongs to a parent that has
ended, and is removed.
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

if sys.platform != "win32":  # which has no flock
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

__all__ = ["Alone", "Doubles", "Rows", "Together", "rows_for"]

_log = logging.getLogger(__name__)

Doubles: TypeAlias = "memoryview[float]"
"""An array of 64-bit floating point numbers."""


class Rows(Protocol):
    """
    Rows of numbers, all of one length.

    Attributes:
        mine: The row that this process writes. Its numbers are floats, so whole numbers are exact
            up to 2**53.
        is_shared: Whether other processes may have rows too.
    """

    mine: Doubles
    is_shared: bool

    def all(self) -> Iterator[tuple[Doubles, bool]]:
        """
        Yield every row, that of this process first, and whether a process writes it now.

        No process does if the one that wrote the row has ended.
        """

    def close(self) -> None:
        """Release the row of this process, so that a new process can go on counting in it."""


def rows_for(
    parent: BaseProcess | None, purpose: str, length: int, *, place: Path | None = None
) -> Rows:
    """
    Return the rows that this process shares with the workers of the same parent and purpose.

    Returns `Alone`, a row that is not shared, if the process is no worker; also, with a warning in
    the log, if the files of the rows cannot be used.

    Args:
        parent: The process that started this worker; None if this process is no worker.
        purpose: What is counted; workers with different purposes share nothing.
        length: How many numbers a row has.
        place: The directory in which the folder is made; `/dev/shm` by default, where it exists.
    """
    if parent is None or sys.platform == "win32":
        return Alone(length)
    group = sha256(current_process().authkey + f"{parent.pid} {purpose}".encode())
    try:
        return Together(place or _default_place(), group.hexdigest(), length)
    except OSError as error:
        _log.warning("/metrics tells of one worker only: %s", error)
        return Alone(length)


class Alone:
    """A row that is not shared, in the memory of a process that has no file for it."""

    is_shared = False

    def __init__(self, length: int) -> None:
        self.mine: Doubles = memoryview(array("d", bytes(_NUMBER_BYTES * length)))

    def all(self) -> Iterator[tuple[Doubles, bool]]:
        yield self.mine, True

    def close(self) -> None:
        """Do nothing, because no other process can use the row."""


class Together:
    """
    The rows of a group of workers, in memory-mapped files.

    Raises OSError when a file cannot be made, or when other users may access the folder.

    Args:
        place: The directory in which the folder of the group is made.
        group: The name of the group, which becomes a part of the folder's name.
        length: How many numbers a row has.
    """

    is_shared = True

    def __init__(self, place: Path, group: str, length: int) -> None:
        self._folder = place / f"{_PREFIX}{group}"
        self._size = _NUMBER_BYTES * length
        self._folder_lock = _make_and_lock(self._folder)
        _remove_old_folders(place)
        self._file, self._path = self._free_file()
        self.mine: Doubles = memoryview(mmap(self._file, self._size)).cast("d")

    def all(self) -> Iterator[tuple[Doubles, bool]]:
        yield self.mine, True
        # The own row is not read from its file, which a cleaner of temporary files may remove.
        for path in self._folder.glob("*"):
            if path == self._path:
                continue
            file = os.open(path, os.O_RDONLY)
            try:
                # A file that another worker is just making is smaller.
                if os.fstat(file).st_size == self._size:
                    is_held = not _try_lock(file, LOCK_SH)
                    flock(file, LOCK_UN)
                    # Mapped, because `read` could return a number that is half written.
                    mapped = mmap(file, self._size, access=ACCESS_READ)
                    yield memoryview(mapped).cast("d"), is_held
            finally:
                os.close(file)

    def close(self) -> None:
        # Closing the file does not release its lock, because the mapping keeps the file open.
        flock(self._file, LOCK_UN)
        os.close(self._file)
        os.close(self._folder_lock)

    def _free_file(self, number: int = 0) -> tuple[int, Path]:
        """The first file, counted from `number`, that no process has locked; and its path."""
        path = self._folder / str(number)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_lock(file, LOCK_EX):
            os.close(file)
            return self._free_file(number + 1)
        if os.fstat(file).st_size != self._size:
            # Zeros are written to allocate the memory: with a sparse file, counting would end
            # the process by SIGBUS when the memory is full.
            os.pwrite(file, bytes(self._size), 0)
        return file, path


_NUMBER_BYTES = 8
"""Bytes of a number in a row."""

_PREFIX = "odoo-mcp-fleet-"


def _default_place() -> Path:
    """A directory in memory, if there is one, because writes to a disk may block the event loop."""
    memory = Path("/dev/shm")  # noqa: S108 - `_open_own_folder` checks what is there
    return memory if os.access(memory, os.W_OK) else Path(gettempdir())


def _make_and_lock(folder: Path) -> int:
    """Make a folder, unless it exists, and lock it; returns its file descriptor."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file = _open_own_folder(folder)
    flock(file, LOCK_SH)
    return file


def _open_own_folder(folder: Path) -> int:
    """Open a folder. Raises OSError for a symbolic link, and if other users have access."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    status = os.fstat(file)
    if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
        return file
    os.close(file)
    raise PermissionError(f"{folder} is not only for the user of this process")


def _try_lock(file: int, lock: int) -> bool:
    """Lock a file and return True; return False if the lock of another process prevents it."""
    try:
        flock(file, lock | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_old_folders(place: Path) -> None:
    """Remove the folders of groups of which no process is left."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # of another user, or just removed by another worker
            file = _open_own_folder(folder)
            # An empty folder has just been made, and its worker is about to lock it.
            if _try_lock(file, LOCK_EX) and any(folder.iterdir()):
                shutil.rmtree(folder)
            os.close(file)
