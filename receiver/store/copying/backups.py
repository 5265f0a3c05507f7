"""
Backups: one file with everything that a database has at one moment.

Receivers go on while a backup is written. It is written under a temporary name, and gets its name
when it is whole and was checked. So a file with the name of a backup is never incomplete.
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
    Write a backup of a database to a file that only its owner may read; returns its path.

    Args:
        url: The URL of the database.
        place: The path of the file; or of a folder, in which the file is named after the time.
        now: The time. The name of a file has it as it is, without converting its time zone.

    Raises CopyRefused if the file exists already or cannot be written, or a program of PostgreSQL
    is missing, and StoreUnavailable if the database does not answer or is damaged.
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
        raise CopyRefused(f"{file} cannot be written: {error.strerror}") from error
    try:
        (_back_up_sqlite if kind == "sqlite" else _back_up_postgresql)(url, part)
        _keep(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return file


def backups_in(folder: Path, url: URL) -> list[Path]:
    """
    The backups in a folder that `back_up` has named after their times, the oldest first.

    `url` only says whether those of SQLite or those of PostgreSQL are meant.
    """
    suffix = _SUFFIXES[url.get_backend_name()]
    return sorted(file for file in folder.glob(f"{_PREFIX}*{suffix}") if _is_named(file, suffix))


def _is_named(file: Path, suffix: str) -> bool:
    try:
        datetime.strptime(file.name, f"{_PREFIX}{_MOMENT}{suffix}")  # noqa: DTZ007 - only a name
    except ValueError:
        return False
    return True


def _keep(part: Path, file: Path) -> None:
    """Give a file its name once its content is on the disk; return when the name is there, too."""
    for path in (part, part.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if path == part.parent:
                part.rename(file)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _back_up_sqlite(url: URL, part: Path) -> None:
    """Copy what the database has at one moment while messages arrive, and check the copy."""
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
