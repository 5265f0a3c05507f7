"""What SQLite itself says of a file."""

import sqlite3
from contextlib import closing
from pathlib import Path


def integrity(file: Path) -> list[str]:
    """What is wrong with a database, or `ok`."""
    with closing(sqlite3.connect(file)) as database:
        return [line for (line,) in database.execute("PRAGMA integrity_check")]
