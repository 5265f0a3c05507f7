"""The tables of the tools that servers offer, and the conditions that search in them."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Dialect,
    Index,
    Integer,
    Table,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

from contract.tools import Tools
from receiver.domain.agents.toolsets import tool_hash, tool_word
from receiver.store.tables.columns import Json, has_arrays, metadata

__all__ = ["catalogues", "has_all_words", "has_any_word", "offers_one_of", "toolsets"]

toolsets = Table(
    "toolsets",
    metadata,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    ),
)
"""
The sets of tool names, each once for all servers that offer the same tools.

`id`: What `receiver.domain.agents.toolsets.toolset_id` returns for the names.

The names themselves are in the column `capabilities` of `servers`. What is here serves to find the
sets that contain a name. On PostgreSQL the table has one more column, `hashes`, with a GIN index:
an array of the `tool_hash` of each name. On SQLite there is a full-text table `toolset_words`
instead, with a row for each set, under the id of the set: the `tool_word` of each name.
"""


class ToolNames(TypeDecorator[Collection[str]]):
    """Tool names to search for: an array of their hashes (PostgreSQL), or a text query (SQLite)."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(BigInteger()) if has_arrays(dialect) else Text())

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> Any:
        assert value is not None
        if has_arrays(dialect):
            return [tool_hash(each) for each in value]
        return " OR ".join(f'"{tool_word(each)}"' for each in value)


class _OffersOneOf(FunctionElement[Any]):
    inherit_cache = True
    type = NullType()


@compiles(_OffersOneOf, "sqlite")
def _offers_one_of_sqlite(element: _OffersOneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, names = (compiler.process(each, **options) for each in element.clauses)
    return (
        f"{column} IN "  # noqa: S608 - compiled SQL
        f"(SELECT rowid FROM toolset_words WHERE toolset_words MATCH {names})"
    )


@compiles(_OffersOneOf, "postgresql")
def _offers_one_of_postgresql(element: _OffersOneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, names = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IN (SELECT id FROM toolsets WHERE hashes && {names})"  # noqa: S608 - as above


def offers_one_of(toolset: ColumnElement[Any], names: Collection[str]) -> ColumnElement[Any]:
    """
    The condition that the set whose id is in the column `toolset` contains one of some tool names.

    The names, of which there must be one, are bound as one parameter: databases limit how many
    conditions may stand in an expression.
    """
    return _OffersOneOf(toolset, bindparam(None, names, type_=ToolNames, unique=True))


catalogues = Table(
    "catalogues",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False),
    Column("tools", Json(Tools), nullable=False),
    Column("words", Text, nullable=False),
    Index("ix_catalogues_id", "id", unique=True),
    sqlite_autoincrement=True,
)
"""
Catalogues: each describes all tools of a server, and is here once for all servers that send it.

`number`: A number that rises from catalogue to catalogue, by which the pages of a search go on.

`id`: What `receiver.domain.rows.catalogue_id` returns.

`words`: The stems of the first 1,000 different words in it, sorted and separated by spaces. On
PostgreSQL they have an index (`ix_catalogues_words`). On SQLite they are also in the full-text
table `catalogue_words`, which triggers keep up to date.
"""


class WordList(TypeDecorator[Collection[str]]):
    """
    The words of a search: an array for PostgreSQL, or a full-text query for SQLite.

    Args:
        joint: `AND` if a text must contain all words, `OR` if one is enough. Only the query of
            SQLite has it between the words; for PostgreSQL the SQL around the array says it.
    """

    impl = Text
    cache_ok = True

    def __init__(self, joint: str) -> None:
        self.joint = joint
        super().__init__()

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(Text()) if has_arrays(dialect) else Text())

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> Any:
        words = [*(value or ())]
        if has_arrays(dialect):
            return words
        return f" {self.joint} ".join(f'"{word}"' for word in words)


class _HasAll(FunctionElement[Any]):
    inherit_cache = True
    type = NullType()


class _HasAny(FunctionElement[Any]):
    inherit_cache = True
    type = NullType()


def _has_words_sqlite(element: FunctionElement[Any], compiler: SQLCompiler, **options: Any) -> str:
    (words,) = (compiler.process(each, **options) for each in element.clauses)
    return (
        "catalogues.number IN "  # noqa: S608 - compiled SQL
        f"(SELECT rowid FROM catalogue_words WHERE catalogue_words MATCH {words})"
    )


def _has_all_postgresql(element: _HasAll, compiler: SQLCompiler, **options: Any) -> str:
    (words,) = (compiler.process(each, **options) for each in element.clauses)
    return f"string_to_array(catalogues.words, ' ') @> {words}"


def _has_any_postgresql(element: _HasAny, compiler: SQLCompiler, **options: Any) -> str:
    (words,) = (compiler.process(each, **options) for each in element.clauses)
    return f"string_to_array(catalogues.words, ' ') && {words}"


compiles(_HasAll, "sqlite")(_has_words_sqlite)
compiles(_HasAny, "sqlite")(_has_words_sqlite)
compiles(_HasAll, "postgresql")(_has_all_postgresql)
compiles(_HasAny, "postgresql")(_has_any_postgresql)


def has_all_words(parameter: str) -> ColumnElement[Any]:
    """The condition that a row of `catalogues` has each of the stems in the list `:parameter`."""
    return _HasAll(bindparam(parameter, type_=WordList("AND")))


def has_any_word(parameter: str) -> ColumnElement[Any]:
    """The condition that a row of `catalogues` has any of the stems in the list `:parameter`."""
    return _HasAny(bindparam(parameter, type_=WordList("OR")))
