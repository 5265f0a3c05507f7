"""What an INSERT is given on both databases: the rows, and values as the drivers take them."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from json import dumps
from typing import Any, NamedTuple

from sqlalchemy import JSON, ColumnElement, Dialect, Table, TypeDecorator, false
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.types import TypeEngine

from receiver.store.tables import Json, Member, Moment

__all__ = ["IfStored", "Inserted", "converter_of", "json_text", "resolved"]


class IfStored(Enum):
    """What becomes of a row that has the same primary key as one that is stored already."""

    FAIL = "the statement fails"
    LOCK = "the stored row is locked, and stays as it is"
    REPLACE = "the stored row gets the new values"
    ADD = "the numbers of the stored row are raised by the new values"


class Inserted(NamedTuple):
    """
    Rows to insert into a table, in their order.

    Attributes:
        table: The table.
        columns: The names of columns of the table.
        rows: For each row, the values of these columns, in their order.
        if_stored: What becomes of a row whose primary key is stored already.
    """

    table: Table
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    if_stored: IfStored = IfStored.FAIL


def resolved(
    statement: PostgresqlInsert | SqliteInsert, table: Table, if_stored: IfStored
) -> PostgresqlInsert | SqliteInsert:
    """The statement with an ON CONFLICT that does what `if_stored` says."""
    if if_stored is IfStored.FAIL:
        return statement
    key = [*table.primary_key]
    new: dict[str, ColumnElement[Any]] = {
        each.name: statement.excluded[each.name] for each in table.c if not each.primary_key
    }
    if if_stored is IfStored.LOCK:
        same = {each.name: statement.excluded[each.name] for each in key}
        return statement.on_conflict_do_update(index_elements=key, set_=same, where=false())
    if if_stored is IfStored.ADD:
        new = {name: table.c[name] + added for name, added in new.items()}
    return statement.on_conflict_do_update(index_elements=key, set_=new)


def converter_of(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """
    What makes of a value of Python, which is not None, one that the driver takes; None for nothing.

    A value of JSON becomes its text. SQLAlchemy has such functions, too, but they take several
    times as long.
    """
    if isinstance(kind, Moment | Member):
        return kind.to_plain
    if isinstance(kind, Json):
        to_plain = kind.to_plain
        return lambda value: json_text(to_plain(value))
    if isinstance(kind, TypeDecorator):
        bound = kind.process_bind_param
        return lambda value: bound(value, dialect)
    return json_text if isinstance(kind, JSON) else None


def json_text(value: Any) -> str:
    """A value as JSON, with the text that SQLAlchemy would give it: SQL compares such texts."""
    # Many servers have the same names of tools; other values are dictionaries and lists.
    if isinstance(value, tuple):
        return _shared_text(value)
    return "{}" if value == {} else dumps(value)  # as the details of an event often are


@lru_cache(maxsize=64)
def _shared_text(texts: tuple[str, ...]) -> str:
    return dumps(texts)
