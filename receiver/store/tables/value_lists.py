"""Conditions that a column equals one of many values, which are bound as one parameter."""

from collections.abc import Collection, Iterable
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Dialect,
    Integer,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

from receiver.store.tables.columns import has_arrays

__all__ = ["among", "among_these"]


class ValueList(TypeDecorator[Iterable[str] | Iterable[int]]):
    """
    Values as one parameter: an array for PostgreSQL, JSON for SQLite, which has no arrays.

    Args:
        each: The type of each value: `Text`, or `BigInteger` for whole numbers.
    """

    impl = Text
    cache_ok = True

    def __init__(self, each: type[Text] | type[BigInteger]) -> None:
        super().__init__()
        self.each = each

    @classmethod
    def of(cls, column: ColumnElement[Any]) -> "ValueList":
        """The type of a list of values of a column."""
        return cls(BigInteger if isinstance(column.type, Integer) else Text)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(self.each()) if has_arrays(dialect) else Text())

    def process_bind_param(
        self, value: Iterable[str] | Iterable[int] | None, dialect: Dialect
    ) -> Any:
        values = [*(value or ())]
        return values if has_arrays(dialect) else orjson.dumps(values).decode()


class _Among(FunctionElement[Any]):
    inherit_cache = True
    # A Boolean would be compiled to `(...) = 1` for SQLite, which then uses no index.
    type = NullType()


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - compiled SQL


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} = ANY ({values})"


def among(column: ColumnElement[Any], parameter: str) -> ColumnElement[Any]:
    """
    The condition that a column equals one of the values in a list, however long the list is.

    The column contains texts or whole numbers. The whole list is one bound parameter with the name
    `parameter`, and is given when the query is executed. `column.in_(...)` would bind one parameter
    for each value, and PostgreSQL takes 65,535 parameters at most.
    """
    return _Among(column, bindparam(parameter, type_=ValueList.of(column)))


def among_these(
    column: ColumnElement[Any], values: Collection[str] | Collection[int]
) -> ColumnElement[Any]:
    """The condition that a column equals one of `values`, which are bound as one parameter."""
    return _Among(column, bindparam(None, values, type_=ValueList.of(column), unique=True))
