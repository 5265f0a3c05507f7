"""SQLite's own check of a database file."""

import sqlite3
from contextlib import closing
from pathlib import Path


def integrity(file: Path) -> list[str]:
    """The result of `PRAGMA integrity_check`: problems, or `ok` alone."""
    with closing(sqlite3.connect(file)) as database:
        return [line for (line,) in database.execute("PRAGMA integrity_check")]
