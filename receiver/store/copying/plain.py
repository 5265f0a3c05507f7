"""
Reads and writes tables as plain values, which are the same in SQLite, PostgreSQL and export files.

A row is a tuple of numbers, texts, bytes and None, in the order of the columns. The value of a JSON
column is a text with the JSON. Values are not converted to what they mean, such as instants.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import frozen
from sqlalchemy import (
    JSON,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.types import TypeEngine

__all__ = ["Key", "Kind", "PlainTable", "Row", "count"]

Row = tuple[Any, ...]
Key = tuple[Any, ...]

_WINDOWS = {"catalogues": 20, "events": 5_000, "facets": 20_000, "servers": 500, "toolsets": 100}
_WINDOW = 1_000


class Kind(Enum):
    """Which values a column may have, besides None."""

    NUMBER = "a whole number"
    REAL = "a number"
    TEXT = "a text"
    BYTES = "bytes"
    JSON = "JSON"


@frozen
class PlainTable:
    """
    A table whose rows are copied, in the order of their primary keys.

    Both databases order keys alike: texts by code points.

    Attributes:
        name: Its name.
        kinds: By the name of each column, in their order, which values it may have.
        keys: The names of the columns of its primary key.
    """

    name: str
    kinds: Mapping[str, Kind]
    keys: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, types: Mapping[str, TypeEngine[Any]], keys: Iterable[str]
    ) -> "PlainTable":
        """Make a PlainTable of the types of its columns in SQLAlchemy, in their order."""
        kinds = {column: _kind(given) for column, given in types.items()}
        # A plain text: SQLAlchemy's subclass of it, which `name` may be, cannot be a key in JSON.
        return cls(str(name), kinds, tuple(keys))

    @property
    def number(self) -> str | None:
        """The primary key, if it is one number, which the database may give; otherwise None."""
        is_numbered = len(self.keys) == 1 and self.kinds[self.keys[0]] is Kind.NUMBER
        return self.keys[0] if is_numbered else None

    @property
    def window(self) -> int:
        """How many rows are read or written at a time at most: few if the rows are large."""
        return _WINDOWS.get(self.name, _WINDOW)

    def key(self, row: Row) -> Key:
        """The primary key of a row."""
        values = dict(zip(self.kinds, row, strict=True))
        return tuple(values[name] for name in self.keys)

    def count(self, connection: Connection) -> int:
        """How many rows the table has."""
        return count(connection, self.name)

    def read(
        self, connection: Connection, *, after: Key | None, up_to: Key | None = None
    ) -> list[Row]:
        """
        Read rows in the order of their primary keys.

        Args:
            connection: The transaction.
            after: Only rows whose key is after this one; None to begin with the first row.
            up_to: Only rows whose key is at most this one, and all of them. None to read the next
                `window` rows, or fewer at the end of the table.
        """
        sql = _Sql(connection)
        columns = ", ".join(sql.read(name, kind) for name, kind in self.kinds.items())
        order = ", ".join(sql.sorted(name, self.kinds[name]) for name in self.keys)
        given = {**_numbered("after", after or ()), **_numbered("to", up_to or ())}
        conditions = [
            f"({order}) {operator} ({', '.join(f':{name}{n}' for n in range(len(self.keys)))})"
            for name, operator, key in (("after", ">", after), ("to", "<=", up_to))
            if key is not None
        ]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        limit = "" if up_to is not None else f"LIMIT {self.window}"
        statement = f"SELECT {columns} FROM {_quoted(self.name)} {where} ORDER BY {order} {limit}"  # noqa: S608 - names of a table, and constants
        return [tuple(row) for row in connection.execute(text(statement), given)]

    def add(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert rows, which the table must not have yet."""
        if not rows:
            return
        sql = _Sql(connection)
        places = ", ".join(sql.given(f":v{n}", kind) for n, kind in enumerate(self.kinds.values()))
        columns = ", ".join(map(_quoted, self.kinds))
        statement = f"INSERT INTO {_quoted(self.name)} ({columns}) VALUES ({places})"  # noqa: S608 - names of a table
        connection.execute(text(statement), [_numbered("v", row) for row in rows])

    def remove(self, connection: Connection, keys: Iterable[Key]) -> None:
        """Delete the rows with these primary keys."""
        given = [_numbered("key", key) for key in keys]
        if not given:
            return
        condition = " AND ".join(f"{_quoted(name)} = :key{n}" for n, name in enumerate(self.keys))
        connection.execute(text(f"DELETE FROM {_quoted(self.name)} WHERE {condition}"), given)  # noqa: S608 - names of a table

    def clear(self, connection: Connection) -> None:
        """Delete all rows."""
        connection.execute(text(f"DELETE FROM {_quoted(self.name)}"))  # noqa: S608 - a name of a table


def count(connection: Connection, name: str) -> int:
    """How many rows a table has."""
    return int(connection.scalar(text(f"SELECT count(*) FROM {_quoted(name)}")) or 0)  # noqa: S608 - a name of a table


class _Sql:
    """SQL in which the two databases differ, or SQLAlchemy would make something of the values."""

    def __init__(self, connection: Connection) -> None:
        self._is_postgresql = connection.dialect.name == "postgresql"

    def read(self, name: str, kind: Kind) -> str:
        """The value of a column; SQLite keeps the JSON of a number as a number."""
        return f"CAST({_quoted(name)} AS text)" if kind is Kind.JSON else _quoted(name)

    def given(self, parameter: str, kind: Kind) -> str:
        """A parameter that is the value of a column; JSON is a text to SQLite."""
        is_cast = kind is Kind.JSON and self._is_postgresql
        return f"CAST({parameter} AS json)" if is_cast else parameter

    def sorted(self, name: str, kind: Kind) -> str:
        """A column of a key, compared by code points, as SQLite does by itself."""
        is_collated = kind is Kind.TEXT and self._is_postgresql
        return f'{_quoted(name)} COLLATE "C"' if is_collated else _quoted(name)


def _kind(given: TypeEngine[Any]) -> Kind:
    kind = given.impl_instance if isinstance(given, TypeDecorator) else given
    return next(found for base, found in _KINDS if isinstance(kind, base))


_KINDS: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
    (JSON, Kind.JSON),
    (LargeBinary, Kind.BYTES),
    (Integer, Kind.NUMBER),
    (Float, Kind.REAL),
    (Text, Kind.TEXT),
)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _numbered(name: str, values: Iterable[Any]) -> dict[str, Any]:
    return {f"{name}{number}": value for number, value in enumerate(values)}
