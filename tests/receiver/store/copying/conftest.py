"""Databases with a row or more in each table, and what is in them as lines of a file."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import make_url

from receiver.store import SqlStore, write_fleet
from receiver.store.copying import plain
from receiver.store.copying.place import Place, tables_of_now
from receiver.store.copying.plain import Kind, PlainTable, Row
from watched import Watched

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
STRANGE = "caf\u00e9 \U0001f600 \u202eevil' \"%(a)s:b {c}"
VALUES: dict[Kind, tuple[Any, ...]] = {
    Kind.NUMBER: (0, 1, 2**31 - 1, 7, -1, 9),
    Kind.REAL: (0.1, 1e300, 3.0, -2.5, 7.0, 9.0),
    Kind.TEXT: ("a", STRANGE, "B", "\u00e4", "z", "_"),
    Kind.BYTES: (b"", b"\x00\xff'", b"a", b"b", b"c", b"d"),
    Kind.JSON: ("{}", '{"a":[1,2.5,null,"\u00e9"]}', "[]", '"x"', "1", "true"),
}


def quiet(_: str, __: int, ___: int) -> None:
    """Tell nobody of the progress."""


def rows_of(table: PlainTable) -> list[Row]:
    """Rows with strange values, all of which differ, as some must."""
    return [tuple(VALUES[kind][number] for kind in table.kinds.values()) for number in range(6)]


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows are copied at a time, where it would be thousands."""
    monkeypatch.setattr(plain, "_WINDOWS", {})
    monkeypatch.setattr(plain, "_WINDOW", 2)


@pytest.fixture
def full_url(sqlite_url: str, small_windows: None) -> str:
    """An SQLite database with servers, their tools and events, and rows in all other tables."""
    store = SqlStore(make_url(sqlite_url))
    fleet = Watched(store)
    fleet.register("a", "b", capabilities=("sale_order_create", "x-y z"), database="acme")
    fleet.register("c", capabilities=(STRANGE,), hostname=STRANGE, odoo_stage="staging")
    fleet.beat("a", "d", version="1.0")
    fleet.clock.advance(3600)
    fleet.sweep()
    store.close()
    place = Place(make_url(sqlite_url))
    with place.writing() as connection:
        for table in tables_of_now():
            if not table.count(connection):
                table.add(connection, rows_of(table))
    place.close()
    return sqlite_url


@pytest.fixture
def second_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'second.db'}"


def content(url: str) -> list[bytes]:
    """Everything in a database, as the lines of a file but for the first one, in no order."""
    written: list[bytes] = []
    write_fleet(make_url(url), written.append, now=NOW, progress=quiet)
    # JSON within a line may be spaced in another way.
    return sorted(orjson.dumps(orjson.loads(line)) for line in b"".join(written).splitlines()[1:])
