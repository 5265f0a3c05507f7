"""
Backups of a database: one file that holds one moment, and that was looked at before it is kept.

Receivers go on meanwhile. A backup is written under another name, and gets its own when it is
whole, so that a file with that name is never half of one.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy import URL

from receiver.domain.errors import CopyRefused, StoreUnavailable

__all__ = ["back_up", "backups_in"]

_PREFIX = "fleet-"
_SUFFIXES = {"sqlite": ".db", "postgresql": ".dump"}
_MOMENT = "%Y-%m-%d-%H%M%S"


def back_up(url: URL, place: Path, *, now: datetime) -> Path:
    """
    Write a backup, which only its owner may read; returns its path.

    Args:
        url: The database.
        place: The path of the file, or a folder, in which the file is named after the time.
        now: The time.

    Raises CopyRefused where there is a file already, or a program is missing, and StoreUnavailable
    where the database does not answer.
    """
    kind = url.get_backend_name()
    file = place / f"{_PREFIX}{now:{_MOMENT}}{_SUFFIXES[kind]}" if place.is_dir() else place
    if file.exists():
        raise CopyRefused(f"{file} is there already")
    part = file.with_name(f"{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise CopyRefused(f"{part} cannot be written: {error.strerror}") from error
    try:
        (_back_up_sqlite if kind == "sqlite" else _back_up_postgresql)(url, part)
        _keep(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return file


def backups_in(folder: Path, url: URL) -> list[Path]:
    """The backups of a kind of database in a folder, the oldest first."""
    suffix = _SUFFIXES[url.get_backend_name()]
    return sorted(file for file in folder.glob(f"{_PREFIX}*{suffix}") if _is_named(file, suffix))


def _is_named(file: Path, suffix: str) -> bool:
    try:
        datetime.strptime(file.name, f"{_PREFIX}{_MOMENT}{suffix}")  # noqa: DTZ007 - only a name
    except ValueError:
        return False
    return True


def _keep(part: Path, file: Path) -> None:
    """Give a file its name once it is on the disk, and the name too."""
    for path in (part, part.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if path == part.parent:
                part.rename(file)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _back_up_sqlite(url: URL, part: Path) -> None:
    """Copy one moment, however many messages arrive meanwhile."""
    source = Path(url.database or "").absolute()
    try:
        # Not SQLite's backup API, which begins anew whenever somebody writes.
        with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(part),))
        with closing(sqlite3.connect(part)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{url} cannot be backed up: {error}") from error
    if found != "ok":
        raise StoreUnavailable(f"the backup of {url} would be damaged, as the file is: {found}")


def _back_up_postgresql(url: URL, part: Path) -> None:
    for program in ("pg_dump", "pg_restore"):
        if shutil.which(program) is None:
            raise CopyRefused(
                f"{program} is not installed: apt-get install postgresql-client; or use "
                "odoo-mcp-fleet export, which needs no program of PostgreSQL"
            )
    name = url.set(drivername="postgresql", password=None).render_as_string()
    _run(["pg_dump", "--format=custom", f"--file={part}", f"--dbname={name}"], url)
    _run(["pg_restore", "--list", str(part)], url)


def _run(command: Sequence[str], url: URL) -> None:
    """Run a program of PostgreSQL; the password is no argument, because `ps` shows arguments."""
    password = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    done = subprocess.run(  # noqa: S603 - constants, and a URL that is no option
        command,
        env={**os.environ, **password},
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise StoreUnavailable(f"{command[0]} of {url} failed: {said}")
