"""The tables, the column types that store Python values, and conditions of several queries."""

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    and_,
    bindparam,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

from contract import (
    EventKind,
    IpAddresses,
    State,
    structure,
    unstructure,
)
from contract.tools import Tools
from receiver.domain.agents.toolsets import tool_hash, tool_word
from receiver.domain.instants import instant, microseconds
from receiver.domain.keys import KeyScope

__all__ = [
    "DUE_COLUMNS",
    "HEARTBEAT_COLUMNS",
    "INDEXED_FIELDS",
    "LOCK_SECONDS",
    "MIGRATION_SECONDS",
    "IndexEntry",
    "among",
    "among_these",
    "annotations",
    "catalogues",
    "columns_of",
    "commits",
    "count_of_lapsed_keys",
    "events",
    "facets",
    "has_all_words",
    "has_any_word",
    "is_lapsed",
    "is_listed",
    "is_of_lapsed_key",
    "key_revisions",
    "keys",
    "metadata",
    "of_state",
    "offers_tool",
    "pauses",
    "profiles",
    "saved_views",
    "search_texts",
    "secrets",
    "servers",
    "sessions",
    "tombstones",
    "toolsets",
    "watches",
]

LOCK_SECONDS = 2.0
"""
How many seconds a transaction waits at most for a lock that another process holds.

The sender of a message gives up after 5 seconds. A message may have to wait for two transactions:
for the one that runs when the message arrives, and then for its own. If each of them waits for a
lock as long as it may, that takes 4 seconds, so the sender still gets an answer.
"""

MIGRATION_SECONDS = 60.0
"""How many seconds a start waits at most while another process brings the tables up to date."""


class Moment(TypeDecorator[datetime]):
    """An instant, stored as whole microseconds since 1970 so that both databases sort it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, _: Dialect) -> datetime | None:
        return None if value is None else instant(value)


class Member(TypeDecorator[Any]):
    """A member of the enumeration `kind`, stored as its value."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[Enum]) -> None:
        self.kind = kind
        super().__init__()

    def process_bind_param(self, value: Any, _: Dialect) -> str | None:
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, _: Dialect) -> Any:
        return None if value is None else self.kind(value)


class Json(TypeDecorator[Any]):
    """A value of the type `kind`, stored in the JSON form that messages have; None is SQL NULL."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        super().__init__(none_as_null=True)

    def process_bind_param(self, value: Any, _: Dialect) -> Any:
        return unstructure(value)

    def process_result_value(self, value: Any, _: Dialect) -> Any:
        return None if value is None else structure(value, self.kind)


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
        return dialect.type_descriptor(ARRAY(self.each()) if _has_arrays(dialect) else Text())

    def process_bind_param(
        self, value: Iterable[str] | Iterable[int] | None, dialect: Dialect
    ) -> Any:
        values = [*(value or ())]
        return values if _has_arrays(dialect) else orjson.dumps(values).decode()


def _has_arrays(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"


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


def among_these(column: ColumnElement[Any], texts: Collection[str]) -> ColumnElement[Any]:
    """The condition that a text column equals one of `texts`, which are bound as one parameter."""
    return _Among(column, bindparam(None, texts, type_=ValueList(Text), unique=True))


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


Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by code points on both databases."""

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}
)

servers = Table(
    "servers",
    metadata,
    Column("server_id", Key, primary_key=True),
    Column("hostname", Text),
    Column("ip_addresses", Json(IpAddresses)),
    Column("port", Integer),
    Column("transport", Text),
    Column("version", Text),
    Column("odoo_version", Text),
    Column("database", Text),
    Column("capabilities", Json(tuple[str, ...])),
    Column("odoo_stage", Text),
    Column("database_uuid", Text),
    Column("endpoint_url", Text),
    Column("heartbeat_interval_seconds", Double),
    Column("sequence", BigInteger),
    Column("tools_digest", Text),
    Column("started_at", Moment),
    Column("status", Text),
    Column("timestamp", Moment),
    Column("uptime_seconds", Double),
    Column("first_seen", Moment, nullable=False),
    Column("registered_at", Moment),
    Column("last_seen", Moment, nullable=False),
    Column("heartbeat_count", BigInteger, nullable=False),
    Column("state", Member(State), nullable=False),
    Column("state_since", Moment, nullable=False),
    Column("superseded_by", Key),
    Column("twin_of", Key),
    Column("node_count", BigInteger, nullable=False, server_default="0"),
    Column("node_of", Key),
    Column("conflict_since", Moment),
    Column("flapping_since", Moment),
    Column("labels", Json(tuple[str, ...])),
    Column("revision", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("owner", Text),
    Column("mark_at", BigInteger),
    Column("mark_heartbeats", BigInteger),
    Column("mark_sequence", BigInteger),
    Column("repeats", Integer, nullable=False, server_default="0"),
    Column("turns", JSON(none_as_null=True)),
    Column("catalogue", Text),
    Column("toolset", BigInteger),
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("profile", BigInteger, nullable=False, server_default="0"),
    Column("family", Text),
    Index("ix_servers_due_at", "due_at"),
    Index("ix_servers_first_seen_server_id", "first_seen", "server_id"),
    # Each has all that lists are filtered by, so that no row is read but those of the page.
    Index("ix_servers_server_id_rank_profile", "server_id", "rank", "profile"),
    Index("ix_servers_rank_server_id_profile", "rank", "server_id", "profile"),
    Index("ix_servers_profile_rank_server_id", "profile", "rank", "server_id"),
)
"""
One row per server: the fields of `contract.ServerRecord`, and those of `receiver.domain.rows.Row`.

`labels`: The labels that people gave to the server's database, a copy of those in the table
`annotations`; NULL if it has no labels.

`family`: What stands for the `database_uuid` in indexes (`receiver.domain.databases.family_of`);
NULL if the server has told no UUID.

`revision`: Each write raises it by one. A new row begins with a random number, so that a cached
row with the same `server_id` and revision is the same row, even when a server was deleted and
created again.

`due_at`: When the watchdog (the task that looks for silent servers) must check the server's state
again, in microseconds since 1970; NULL for never. A heartbeat does not change this time. The check
finds that the server has sent meanwhile, and sets a later one.

`owner`: The id of the API key that the server belongs to; NULL when no key ever wrote the server.

`mark_at`, `mark_heartbeats`, `mark_sequence`: The attribute `Row.mark`, a snapshot of how much the
server had sent; all NULL when `Row.mark` is None.

`repeats`: The score `Row.repeats` for the suspicion that two machines send under one `server_id`.

`turns`: The attribute `Row.turns` as a list: first the total, then the times. NULL when the total
is 0 and there are no times.

`catalogue`: The `id` in the table `catalogues` of the description of the server's tools; NULL when
the server has sent none.

`toolset`: The `id` in the table `toolsets` of the set of the names in `capabilities`; NULL when
there are none.

`rank`: The place of the server in a list that begins with the servers that somebody should
look at (`receiver.domain.queries.Rank`).

`profile`: The `id` in the table `profiles` of what the server has in common with others.
"""

is_listed = text("superseded_by IS NULL AND node_of IS NULL AND state <> 'left'")
"""
The condition that a list of servers shows a server if it is not filtered by state.

Such a list leaves out superseded servers (another server took over their database), nodes (the
list shows another server of the same database in their place), and servers that have left (their
addon was uninstalled).
"""

Index(
    "ix_servers_node_of",
    servers.c.node_of,
    sqlite_where=servers.c.node_of.is_not(None),
    postgresql_where=servers.c.node_of.is_not(None),
)
Index(
    "ix_servers_superseded_by",
    servers.c.superseded_by,
    sqlite_where=servers.c.superseded_by.is_not(None),
    postgresql_where=servers.c.superseded_by.is_not(None),
)

Index(
    "ix_servers_flapping_since",
    servers.c.flapping_since,
    sqlite_where=servers.c.flapping_since.is_not(None),
    postgresql_where=servers.c.flapping_since.is_not(None),
)

Index(
    "ix_servers_family",
    servers.c.family,
    servers.c.server_id,
    sqlite_where=servers.c.family.is_not(None),
    postgresql_where=servers.c.family.is_not(None),
)
Index(
    "ix_servers_twin_of",
    servers.c.twin_of,
    sqlite_where=servers.c.twin_of.is_not(None),
    postgresql_where=servers.c.twin_of.is_not(None),
)
Index(
    "ix_servers_conflict_since",
    servers.c.conflict_since,
    sqlite_where=servers.c.conflict_since.is_not(None),
    postgresql_where=servers.c.conflict_since.is_not(None),
)

Index(
    "ix_servers_owner",
    servers.c.owner,
    sqlite_where=servers.c.owner.is_not(None),
    postgresql_where=servers.c.owner.is_not(None),
)

Index(
    "ix_servers_catalogue",
    servers.c.catalogue,
    sqlite_where=servers.c.catalogue.is_not(None),
    postgresql_where=servers.c.catalogue.is_not(None),
)

_is_described = and_(servers.c.catalogue.is_not(None), is_listed)

# For the servers in lists by catalogue. Those that changed only their state stay where they are.
Index(
    "ix_servers_described",
    servers.c.catalogue,
    servers.c.server_id,
    sqlite_where=_is_described,
    postgresql_where=_is_described,
)

# With what `is_listed` needs, so that a list of servers with a tool is read from the index alone.
Index(
    "ix_servers_toolset",
    servers.c.toolset,
    servers.c.server_id,
    servers.c.superseded_by,
    servers.c.node_of,
    servers.c.state,
    sqlite_where=servers.c.toolset.is_not(None),
    postgresql_where=servers.c.toolset.is_not(None),
)

profiles = Table(
    "profiles",
    metadata,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    ),
    Column("stage", Text, nullable=False),
    Column("odoo_version", Text),
    Column("version", Text),
    Column("network", Text),
    Column("owner", Text),
    Column("toolset", BigInteger),
)
"""
A row for each `receiver.domain.lists.profiles.Profile`: what servers that are alike have in common.

These are stage, versions, network, key and tools. There are few profiles, so a list that is
filtered by these values looks first which profiles match, and then for the servers with their ids.
"""

search_texts = Table(
    "search_texts",
    metadata,
    Column("server_id", Key, primary_key=True),
    Column("names", Text, nullable=False),
    Column("addresses", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""
The texts of each server that are searched (`receiver.domain.lists.search_texts.SearchText`).

A search for a word reads all rows of this table. They take a tenth of the space of the rows of
`servers`.
"""

saved_views = Table(
    "saved_views",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("sort", Text),
    Column("key_id", Text),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)
"""A row for each `receiver.domain.lists.saved_views.SavedView`."""

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


class ToolName(TypeDecorator[str]):
    """A tool name to search for: an array with its hash (PostgreSQL), or a text query (SQLite)."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(BigInteger()) if _has_arrays(dialect) else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        assert value is not None
        return [tool_hash(value)] if _has_arrays(dialect) else f'"{tool_word(value)}"'


class _OffersTool(FunctionElement[Any]):
    inherit_cache = True
    type = NullType()


@compiles(_OffersTool, "sqlite")
def _offers_tool_sqlite(element: _OffersTool, compiler: SQLCompiler, **options: Any) -> str:
    column, name = (compiler.process(each, **options) for each in element.clauses)
    return (
        f"{column} IN "  # noqa: S608 - compiled SQL
        f"(SELECT rowid FROM toolset_words WHERE toolset_words MATCH {name})"
    )


@compiles(_OffersTool, "postgresql")
def _offers_tool_postgresql(element: _OffersTool, compiler: SQLCompiler, **options: Any) -> str:
    column, name = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IN (SELECT id FROM toolsets WHERE hashes @> {name})"  # noqa: S608 - as above


def offers_tool(toolset: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """The condition that the set whose id is in the column `toolset` contains a tool name."""
    return _OffersTool(toolset, bindparam(None, name, type_=ToolName, unique=True))


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
        return dialect.type_descriptor(ARRAY(Text()) if _has_arrays(dialect) else Text())

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> Any:
        words = [*(value or ())]
        if _has_arrays(dialect):
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


facets = Table(
    "facets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("server_id", Key, primary_key=True),
    sqlite_with_rowid=False,
)
"""
An inverted index: from a value, such as the name of a database, to the servers that have it.

Each row says that the server `server_id` has the value `value`, and `name` says what the value is:

- `database` and `superseded_by`: The field of the record; no row if the field is None.
- `label`: A label of the server's database; a row for each.
- `state`: `superseded` if another server superseded this one, `node` if lists show another server
  of its database in its place, and otherwise the state of its record.
- `database_uuid`: The field of the record. Superseded servers have no such row.
- `standing`: The state, a slash and the stage. Superseded servers and nodes have no such row.

Long values are stored as `receiver.domain.queries.index_text` returns them. Stages, versions and
tools are in the table `profiles` instead.
"""


class IndexEntry(NamedTuple):
    """A row of the table `facets`, an inverted index: a server has a value under a name."""

    name: str
    value: str
    server_id: str


INDEXED_FIELDS = {
    "database": "database",
    "superseded_by": "superseded_by",
}
"""The fields of `ServerRecord` that the table `facets` has, by the `name` of their rows there."""

HEARTBEAT_COLUMNS = (
    "sequence",
    "status",
    "timestamp",
    "uptime_seconds",
    "last_seen",
    "heartbeat_count",
    "revision",
)
"""The columns of `servers` that are written after a heartbeat that changes nothing else."""

DUE_COLUMNS = ("due_at", "mark_at", "mark_heartbeats", "mark_sequence", "revision")
"""The columns of `servers` that a check for silence changes if it leaves the record as it is."""

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("kind", Member(EventKind), nullable=False),
    Column("server_id", Key),
    Column("details", JSON, nullable=False),
    Index("ix_events_at", "at"),
    Index("ix_events_kind_id", "kind", "id"),
    Index("ix_events_server_id_id", "server_id", "id"),
    sqlite_autoincrement=True,
)
"""A row for each `contract.Event`; the ids rise in the order in which events were committed."""

# The `|| ''` keeps SQLite from using the index of kinds, with which it would read all servers.
of_state = text("kind || '' IN ('late', 'down', 'recovered', 'rebuilt', 'flapping', 'calm')")
"""
The condition that an event tells of a change of a server's state.

`flapping` and `calm` are among these kinds, because between the two events of a server the changes
of its state cause no events.
"""

Index(
    "ix_events_of_life",
    events.c.server_id,
    events.c.id,
    events.c.at,
    events.c.kind,
    sqlite_where=of_state,
    postgresql_where=of_state,
)

annotations = Table(
    "annotations",
    metadata,
    Column("subject", Key, primary_key=True),
    Column("labels", Json(tuple[str, ...])),
    Column("note", Text, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("search_text", Text, nullable=False, server_default=""),
)
"""
A row for each `receiver.domain.databases.Annotation`: the labels and the note of a database.

`subject`: Which database it is: what `receiver.domain.databases.subject_of` returns for any of its
servers.

`search_text`: Labels and note as one text, in which words are searched
(`receiver.domain.databases.Annotation.search_text`). It follows from the other columns, and each
statement that writes these writes it, too.

The rows of these servers in `servers` have the labels, too, so that lists can be filtered by them.
A transaction that changes labels, creates or deletes a server, or changes the `database_uuid` of a
server locks the numbering of events before it reads this table, and until its commit. So of two
such transactions at the same time, the second one sees what the first one has written.
"""

tombstones = Table(
    "tombstones",
    metadata,
    Column("local_name", Key, primary_key=True),
    Column("title", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("first_seen", Moment, nullable=False),
    Column("forgotten_at", Moment, nullable=False),
    Index("ix_tombstones_forgotten_at", "forgotten_at"),
)
"""
A row for each `receiver.domain.agents.registry.Tombstone`: for each name in the MCP registry whose
server was deleted.

The row stays when a server gets the name again. So code that reads a row must look whether any
server has the name, or can have it.
"""

watches = Table(
    "watches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("heard_since", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("away_since", Moment),
)
"""
One row, in which receivers note every few seconds that they are running.

`heard_since`: Since when receivers have been running without an interruption.

`seen_at`: When a receiver last noted that it was running.

`away_since`: When the last interruption began, which ended at `heard_since`; NULL if there was
none.
"""

pauses = Table(
    "pauses",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("began", Moment, nullable=False),
    Column("ended", Moment, nullable=False),
)
"""
The times in which no receiver ran, and those by which the clock was set forward.

The row with the largest `id` is the latest. The first pause begins in 1970, and ends when the
first receiver started that writes this table.
"""

commits = Table(
    "commits",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("batch", BigInteger, nullable=False),
    Column("committed_at", DateTime(timezone=True), nullable=False),
)
"""
The number (`batch`) of the last committed transaction of each process of a receiver (`writer`).

A receiver whose connection broke during a commit finds out here whether the commit succeeded. Only
PostgreSQL has rows here.
"""

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Member(KeyScope), nullable=False),
    Column("servers", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    Column("messages", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default="0"),
    Index("ix_keys_revision", "revision"),
)
"""
A row for each `receiver.domain.keys.Key`.

No row is ever deleted, because the rows of servers hold the ids of the keys that own them.

Each write of a row sets its `revision` to the next number of `key_revisions`.
"""

is_lapsed = or_(keys.c.revoked_at.is_not(None), keys.c.expires_at <= bindparam("now", type_=Moment))
"""
The condition that a key has lapsed: it was revoked, or has expired by the parameter `now`.

Each query must evaluate it, because nothing is written to the row of a key when the key expires.
"""

is_of_lapsed_key = and_(
    servers.c.owner.is_not(None), servers.c.owner.in_(select(keys.c.id).where(is_lapsed))
)
"""The condition that a server belongs to a key that was revoked, or has expired by `:now`."""


def count_of_lapsed_keys(*conditions: ColumnElement[bool] | TextClause) -> ColumnElement[Any]:
    """
    A scalar subquery: how many servers meet all `conditions` and belong to lapsed keys.

    A key has lapsed if it was revoked, or has expired by the parameter `now`. The query counts key
    by key, because SQLite would read all servers to find those of several keys at once.
    """
    of_key = select(func.count()).select_from(servers).where(servers.c.owner == keys.c.id)
    counted = of_key.where(*conditions).correlate(keys).scalar_subquery()
    return select(func.coalesce(func.sum(counted), 0)).where(is_lapsed).scalar_subquery()


key_revisions = Table(
    "key_revisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
"""
One row: the `revision` that the last write of a row of `keys` has set.

A transaction that writes keys locks this row first, so that revisions rise in the order of the
commits.
"""

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("key_digest", LargeBinary, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_sessions_expires_at", "expires_at"),
)
"""A row for each `receiver.domain.sessions.Session` of a browser."""

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Secrets that all receivers of a database share; the first one that needs a secret creates it."""
