"""The tables of what people write: labels and notes of databases, and views of the list."""

from sqlalchemy import Column, Table, Text

from receiver.store.tables.columns import Json, Key, Moment, metadata

__all__ = ["annotations", "saved_views"]

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
