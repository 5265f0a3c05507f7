"""
The file of an SQLite database, which may be deleted or replaced while it is open.

An open connection goes on with the file that it has opened, even when that file is deleted or
replaced. Whatever it commits to a deleted file is lost when the process ends. SQLite does not
notice this in its WAL mode, so the store checks the file before each transaction begins, and again
after the commit, before it reports success.
"""

import logging
import os
import shlex
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from receiver.domain.errors import StoreUnavailable

if sys.platform != "win32":  # where nobody can rename an open file
    from fcntl import LOCK_EX, flock

__all__ = ["DatabaseFile"]

_log = logging.getLogger(__name__)

_SETTLED_SECONDS = 2.0
"""A file that has replaced the open one is used once it has not changed for this long."""

_Inode = tuple[int, int] | None
"""The number of its device and the inode of a file; None when there is no file."""


class _Inodes(NamedTuple):
    """The three files of a database: itself, its write-ahead log, and the log's index (shm)."""

    main: _Inode
    wal: _Inode
    shm: _Inode


class DatabaseFile:
    """
    Opens connections to an SQLite file, and notices when another file has taken its place.

    Args:
        path: The path of the file.
        may_create: Whether the first connection creates the file when it is missing.
        elapsed: A monotonic clock, in seconds.
    """

    def __init__(
        self, path: str, *, may_create: bool, elapsed: Callable[[], float] = monotonic
    ) -> None:
        self._path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
        # Plain strings, as `stat` is called with them in each transaction.
        self._paths = (str(self._path), f"{self._path}-wal", f"{self._path}-shm")
        self._may_create = may_create
        self._elapsed = elapsed
        self._found: _Inode = None
        self._opened: _Inodes | None = None
        self._replacement: object = None
        self._replacement_since = 0.0

    @property
    def inode(self) -> _Inode:
        """The device and inode of the open file; None before the first connection."""
        return None if self._opened is None else self._opened.main

    def connect(self, options: dict[str, Any]) -> sqlite3.Connection:
        """
        Open a connection to the file, with options for `sqlite3.connect`.

        Raises StoreUnavailable when the file is missing and may not be created, or is not the file
        that the other connections have opened.
        """
        self.check()
        before = _inode(self._path)
        if before is None and not self._may_create:
            raise StoreUnavailable(self._missing())
        if before is None:
            self._create()
        mode = "rwc" if self._may_create else "rw"
        connection: sqlite3.Connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={mode}", uri=True, **options
        )
        self._found = _inode(self._path)
        if before not in {None, self._found}:
            connection.close()
            raise StoreUnavailable(f"{self._path} is being replaced")
        return connection

    def note_opened(self) -> None:
        """
        Remember the inodes of the database's files, to compare them later.

        Must be called when the first connection has read something. Raises StoreUnavailable when
        the file was deleted or replaced since `connect`.
        """
        if self._opened is not None:
            return
        opened = self._inodes()
        if opened.main is None or opened.main != self._found:
            raise StoreUnavailable(f"{self._path} is being replaced")
        self._opened = opened
        self._may_create = False
        self._warn_if_others_may_read()

    def check(self) -> None:
        """
        Raise StoreUnavailable when the open file was deleted or replaced.

        Does nothing before the first connection.
        """
        if self.is_replaced():
            raise StoreUnavailable(f"{self._path} was replaced by another file")

    def is_replaced(self) -> bool:
        """
        Whether another file has replaced the open one, so that all connections must be made anew.

        Raises StoreUnavailable while no connection can be made, because the file is missing (it
        may be put back), or because the file in its place may not be complete yet.
        """
        now = self._inodes()
        if self._opened is None or self._opened == now:
            return False
        if now.main is None:
            raise StoreUnavailable(self._missing())
        if not self.is_another() or self._has_settled():
            return True
        raise StoreUnavailable(
            f"{self._path} was replaced by another file, which is used once it has not changed "
            f"for {_SETTLED_SECONDS:.0f} seconds"
        )

    def is_another(self) -> bool:
        """Whether the database's file itself was replaced, and not only its write-ahead log."""
        return self.inode != _inode(self._path)

    def leave(self) -> None:
        """
        Forget the open file, so that the next connection opens the file that is in its place now.

        All connections must be closed. The write-ahead log of the old file is renamed, because
        SQLite would take it for the log of the new file, and damage the new file.
        """
        left = self._opened
        assert left is not None
        assert left.main is not None
        with _locked(self._path.parent):
            if self.is_another():
                for suffix, inode in (("-wal", left.wal), ("-shm", left.shm)):
                    self._put_aside(suffix, inode, f".replaced-{left.main[1]}")
        _log.warning(
            "%s was replaced; the receiver goes on with the file that is there", self._path
        )
        self._opened = None

    def _create(self) -> None:
        """
        Create an empty file that only its owner may read, whatever the umask is.

        SQLite gives the write-ahead log and its index the same permissions. Raises nothing: if the
        file cannot be created, opening it with SQLite fails with the reason.
        """
        with suppress(OSError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))

    def _warn_if_others_may_read(self) -> None:
        """Log a warning when every user of this machine may read the database; change nothing."""
        for path in self._paths:
            mode = _mode(path)
            if mode & stat.S_IROTH and all(
                _mode(folder) & stat.S_IXOTH for folder in Path(path).resolve().parents
            ):
                _log.warning(
                    "%s may be read by every user of this machine, who then knows the whole fleet;"
                    " if that is not meant: chmod 600 %s*",
                    path,
                    shlex.quote(str(self._path)),
                )
                return

    def _put_aside(self, suffix: str, inode: _Inode, label: str) -> None:
        """Rename the log or index with this suffix, if it still is the file with this inode."""
        file = Path(f"{self._path}{suffix}")
        if inode is not None and _inode(file) == inode:
            aside = Path(f"{self._path}{label}{suffix}")
            file.rename(aside)
            _log.warning("%s belongs to the file that was replaced, and is now %s", file, aside)

    def _inodes(self) -> _Inodes:
        return _Inodes(*map(_inode, self._paths))

    def _has_settled(self) -> bool:
        """Whether the file at the path has not changed for `_SETTLED_SECONDS`."""
        found = self._path.stat()
        replacement = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        if replacement != self._replacement:
            self._replacement, self._replacement_since = replacement, self._elapsed()
        return self._elapsed() - self._replacement_since >= _SETTLED_SECONDS

    def _missing(self) -> str:
        """The sentence for people that the file is missing, and how its content can be saved."""
        if self._opened is None:
            return f"{self._path} does not exist"
        return (
            f"{self._path} was deleted or moved; put it back, or restart the receiver to begin "
            "with an empty fleet. Until then its content can be copied from the files that the "
            f"process {os.getpid()} has open"
        )


def _inode(path: Path | str) -> _Inode:
    try:
        found = os.stat(path)  # noqa: PTH116 - takes half the time
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be looked at: {error.strerror}") from error
    return found.st_dev, found.st_ino


def _mode(path: Path | str) -> int:
    """The mode (`st_mode`) of a file or folder; 0 if it is missing or `stat` is not permitted."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - takes half the time
    except OSError:
        return 0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock of a folder, so that one receiver at a time renames files in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)
