"""The tables by which lists find servers without reading their rows."""

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from receiver.store.tables.columns import Key, metadata

__all__ = ["INDEXED_FIELDS", "IndexEntry", "facets", "profiles", "search_texts", "tallies"]

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

tallies = Table(
    "tallies",
    metadata,
    Column(
        "profile",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("writer", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""
How many servers have a profile and a rank: the sum of the numbers of all rows with both.

So nobody has to count the rows of `servers`. Each transaction that changes the profile or the rank
of servers adds to the numbers, in rows that no other process writes: a process of a receiver has
rows of its own (`writer`), whose numbers may be negative.
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

- `database`: The field of the record; no row if the field is None.
- `label`: A label of the server's database; a row for each.

Long values are stored as `receiver.domain.queries.index_text` returns them. Stages, versions and
tools are in the table `profiles` instead; states and UUIDs of databases have indexes of `servers`.
"""


class IndexEntry(NamedTuple):
    """A row of the table `facets`, an inverted index: a server has a value under a name."""

    name: str
    value: str
    server_id: str


INDEXED_FIELDS = {"database": "database"}
"""The fields of `ServerRecord` that the table `facets` has, by the `name` of their rows there."""
