"""
Export files: everything of a fleet, in JSON Lines. A line has one row, so any program can read it.

    {"format": "odoo-mcp-fleet", "version": 1, "tables": "0013", "created_at": "2026-01-31T…Z"}
    {"table": "servers", "row": {"server_id": "acme_web-1", "hostname": "web-1", …}}
    …
    {"end": {"rows": {"servers": 1, …}, "numbers": {"events": 12, …}}}

A row has the values of those columns that are not null: instants are whole microseconds since 1970,
and bytes are in base64. A file whose last line has no `end` was cut off. `numbers` has, by table,
the last number that the database gave to a row, so that no number is given twice.

A file of an earlier version is read into tables of that version, which are then brought up to date.
"""

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from attrs import frozen
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from contract.fields import format_moment
from receiver.domain.copying.moving import Progress
from receiver.domain.errors import CopyRefused
from receiver.store import migrations
from receiver.store.copying.moving import rebuild_toolsets
from receiver.store.copying.place import Place, tables_in
from receiver.store.copying.plain import Key, Kind, PlainTable, Row
from receiver.store.migrations import MOVED

__all__ = ["read_fleet", "write_fleet"]

FORMAT = "odoo-mcp-fleet"
VERSION = 1

Json = Mapping[str, Any]


def write_fleet(
    url: URL, write: Callable[[bytes], object], *, now: datetime, progress: Progress
) -> Mapping[str, int]:
    """
    Write an export file with everything of a database at one moment, while receivers go on.

    Raises CopyRefused if the database has no fleet, or has only a part of one.

    Args:
        url: The URL of the database.
        write: Called with each part of the file.
        now: The time that the file names as that of its creation.
        progress: Called with what is being written, how many rows are written, and of how many.

    Returns:
        How many rows of each table were written.
    """
    place = Place(url)
    try:
        with place.reading() as connection:
            place.dialect.allow_pauses(connection)
            return _write(place, connection, write, now, progress)
    finally:
        place.close()


def _write(
    place: Place,
    connection: Connection,
    write: Callable[[bytes], object],
    now: datetime,
    progress: Progress,
) -> Mapping[str, int]:
    place.check_readable(connection)
    (version,) = migrations.applied(connection)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "tables": version.removeprefix(MOVED),
        "created_at": format_moment(now),
    }
    write(_line(head))
    rows: Counter[str] = Counter()
    for table in tables_in(connection):
        total = table.count(connection)
        progress(f"writing {table.name}", 0, total)
        for window in _windows(connection, table):
            shown = ({"table": table.name, "row": _shown(table, row)} for row in window)
            write(b"".join(map(_line, shown)))
            rows[table.name] += len(window)
            progress(f"writing {table.name}", rows[table.name], total)
    write(_line({"end": {"rows": rows, "numbers": place.last_numbers(connection)}}))
    return rows


def _windows(connection: Connection, table: PlainTable) -> Iterator[list[Row]]:
    after: Key | None = None
    while rows := table.read(connection, after=after):
        yield rows
        after = table.key(rows[-1])


def _line(thing: Json) -> bytes:
    return orjson.dumps(thing, option=orjson.OPT_APPEND_NEWLINE)


def _shown(table: PlainTable, row: Row) -> Json:
    return {
        name: _shown_value(table.kinds[name], value)
        for name, value in zip(table.kinds, row, strict=True)
        if value is not None
    }


def _shown_value(kind: Kind, value: Any) -> Any:
    if kind is Kind.JSON:
        return orjson.Fragment(value)
    return b64encode(value).decode() if kind is Kind.BYTES else value


def read_fleet(url: URL, lines: Iterable[bytes], *, progress: Progress) -> Mapping[str, int]:
    """
    Read an export file, which `write_fleet` has written, into a database without a fleet.

    No receiver can be started on the database before the whole file is read. What an import that
    was interrupted has left is deleted first. Raises CopyRefused for a file that cannot be used or
    was cut off, and for a database that has a fleet, or other tables.

    Args:
        url: The URL of the database.
        lines: The lines of the file.
        progress: Called with what is being read, and twice with how many rows are read, because
            their total is not known before the end.

    Returns:
        How many rows of each table were read.
    """
    place = Place(url)
    try:
        return _Import(place, progress).run(enumerate(lines, start=1))
    finally:
        place.close()


@frozen
class _Import:
    place: Place
    progress: Progress

    def run(self, lines: Iterator[tuple[int, bytes]]) -> Mapping[str, int]:
        version = _version_of(lines)
        self.place.prepare_import(version)
        rows: Counter[str] = Counter()
        with self.place.reading() as connection:
            tables = {table.name: table for table in tables_in(connection)}
        end: Json | None = None
        waiting: list[Row] = []
        table: PlainTable | None = None
        for number, line in lines:
            if end is not None:
                raise CopyRefused(f"line {number}: there is something after the end")
            found = _object(number, line)
            if "end" in found:
                end = _end(number, found["end"])
                continue
            name = found.get("table")
            if name not in tables:
                raise CopyRefused(f"line {number}: there is no table {name!r}")
            if table is not None and (name != table.name or len(waiting) >= table.window):
                self._add(table, waiting, rows)
            table = tables[name]
            waiting.append(_row(table, number, found.get("row")))
        if table is not None:
            self._add(table, waiting, rows)
        self._finish(version, end, rows)
        return rows

    def _add(self, table: PlainTable, waiting: list[Row], rows: Counter[str]) -> None:
        try:
            with self.place.writing() as connection:
                table.add(connection, waiting)
        except DBAPIError as error:
            raise CopyRefused(f"a row of {table.name} cannot be written: {error.orig}") from error
        rows[table.name] += len(waiting)
        self.progress(f"reading {table.name}", rows[table.name], rows[table.name])
        waiting.clear()

    def _finish(self, version: str, end: Json | None, rows: Counter[str]) -> None:
        if end is None:
            raise CopyRefused(
                "the file was cut off: it does not end with the numbers of its rows. The database "
                "is not used before it was read whole"
            )
        told: Counter[str] = Counter(end["rows"])
        if told != rows:
            different = sorted(name for name in told | rows if told[name] != rows[name])
            raise CopyRefused(f"the file lacks rows, or has more than it says: {different}")
        with self.place.writing() as connection:
            self.place.continue_after(connection, end["numbers"])
            self.place.set_version(connection, version)
            migrations.upgrade(connection)
            rebuild_toolsets(self.place.dialect, connection)


def _version_of(lines: Iterator[tuple[int, bytes]]) -> str:
    """The version of the tables, from the first line of a file."""
    head = _object(*next(lines, (1, b"")))
    if head.get("format") != FORMAT:
        raise CopyRefused("this is no export: its first line names no format odoo-mcp-fleet")
    if head.get("version") != VERSION:
        raise CopyRefused(
            f"this export is of the version {head.get('version')} of the format, and this program "
            f"knows version {VERSION}; use a newer one"
        )
    return str(head.get("tables"))


def _object(number: int, line: bytes) -> Json:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise CopyRefused(f"line {number} is no JSON, or was cut off: {error}") from None
    if not isinstance(found, dict):
        raise CopyRefused(f"line {number} is no JSON object")
    return found


def _end(number: int, given: Any) -> Json:
    if not isinstance(given, dict) or not {"rows", "numbers"} <= given.keys():
        raise CopyRefused(f"line {number}: the end tells no numbers")
    return given


def _row(table: PlainTable, number: int, given: Any) -> Row:
    if not isinstance(given, dict) or not given.keys() <= {*table.kinds}:
        raise CopyRefused(f"line {number} has no row of the table {table.name}")
    try:
        return tuple(_value(kind, given.get(name)) for name, kind in table.kinds.items())
    except ValueError as error:
        raise CopyRefused(f"line {number}, a row of {table.name}: {error}") from None


def _value(kind: Kind, value: Any) -> Any:
    """Convert a value in a file to that of a column. Raises ValueError for one of another kind."""
    if value is None:
        return None
    if kind is Kind.JSON:
        return orjson.dumps(value).decode()
    if type(value) not in _TYPES[kind]:
        raise ValueError(f"expected {kind.value}, got {value!r}")
    return b64decode(value, validate=True) if kind is Kind.BYTES else value


_TYPES: Mapping[Kind, Sequence[type]] = {
    Kind.NUMBER: [int],
    Kind.REAL: [int, float],
    Kind.TEXT: [str],
    Kind.BYTES: [str],
}
"""The types of the JSON values of each kind; bytes are texts in base64."""
