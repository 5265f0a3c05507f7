"""
Test helper: all engines of a test session share the statements that SQLAlchemy has compiled.

Each engine has a cache of its own, and each test an engine, so that the statements with which a
receiver starts would be compiled for each test; that took as long as running them. A receiver in
use compiles a statement once.
"""

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

__all__ = ["share_compiled_statements"]

_CACHE: LRUCache[Any, Any] = LRUCache(3000)
"""The compiled statements; the keys begin with the dialect."""


class _Sharing:
    """A dialect that is equal to each other one of its class, as the keys of the cache demand."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=_CACHE)


class Sqlite(_Sharing, SQLiteDialect_pysqlite):
    supports_statement_cache = True


class Postgresql(_Sharing, PGDialect_psycopg):
    supports_statement_cache = True


def share_compiled_statements() -> None:
    """Let `create_engine` use these dialects for the URLs that a receiver takes."""
    registry.register("sqlite", __name__, Sqlite.__name__)
    registry.register("postgresql.psycopg", __name__, Postgresql.__name__)
