"""Column types that store Python values alike on both databases, and what all tables share."""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Dialect,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    literal_column,
)

from contract import structure, unstructure
from receiver.domain.instants import instant, microseconds

__all__ = [
    "Json",
    "Key",
    "Member",
    "Moment",
    "columns_of",
    "constant",
    "has_arrays",
    "metadata",
]


class Moment(TypeDecorator[datetime]):
    """
    An instant, stored as whole microseconds since 1970 so that both databases sort it alike.

    As in the types below, `to_plain` makes of a value that is not None what the database stores.
    """

    impl = BigInteger
    cache_ok = True

    to_plain = staticmethod(microseconds)

    def process_bind_param(self, value: datetime | None, _: Dialect) -> int | None:
        return None if value is None else self.to_plain(value)

    def process_result_value(self, value: int | None, _: Dialect) -> datetime | None:
        return None if value is None else instant(value)


class Member(TypeDecorator[Any]):
    """A member of the enumeration `kind`, stored as its value."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[Enum]) -> None:
        self.kind = kind
        # To call the enumeration would take five times as long.
        values = {each: each.value for each in kind}
        self.to_plain = {**values, **{value: value for value in values.values()}}.__getitem__
        super().__init__()

    def process_bind_param(self, value: Any, _: Dialect) -> str | None:
        return None if value is None else self.to_plain(value)

    def process_result_value(self, value: str | None, _: Dialect) -> Any:
        return None if value is None else self.kind(value)


class Json(TypeDecorator[Any]):
    """A value of the type `kind`, stored in the JSON form that messages have; None is SQL NULL."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        # A list of texts has its JSON form already; `unstructure` would look at each text.
        self.to_plain = _itself if kind == tuple[str, ...] else unstructure
        super().__init__(none_as_null=True)

    def process_bind_param(self, value: Any, _: Dialect) -> Any:
        return self.to_plain(value)

    def process_result_value(self, value: Any, _: Dialect) -> Any:
        return None if value is None else structure(value, self.kind)


def _itself(value: Any) -> Any:
    return value


def has_arrays(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"


def columns_of(
    names: Iterable[str], table: Table, **others: ColumnElement[Any]
) -> list[ColumnElement[Any]]:
    """
    The columns of a query, in the order of `names`.

    If these are the names of the fields of a class, the columns of a row can be passed to the class
    in their order, which is several times as fast as to pass them by keyword.

    Args:
        names: The names of the columns.
        table: The table that has the columns.
        others: What to select for those names that `table` does not have, or has with other
            values.
    """
    return [others[each].label(each) if each in others else table.c[each] for each in names]


def constant(number: int) -> ColumnElement[int]:
    """
    A number that stands in the text of a query.

    PostgreSQL keeps the plan of a query that is executed again and again if it takes the plan for
    as good as one for the parameters at hand. It does not if a limit is a parameter: it expects
    that a tenth of all rows is wanted, and plans each time anew, which takes longer than to read a
    few rows.
    """
    return literal_column(str(int(number)), BigInteger)


Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by code points on both databases."""

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}
)
