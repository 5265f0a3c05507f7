"""What happened, written in the transaction of the change, and read again."""

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from attrs import frozen
from sqlalchemy import (
    Connection,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
)

from contract import Event, EventKind, unstructure
from receiver.store.dialects import Database
from receiver.store.tables import events, servers

__all__ = [
    "ALL",
    "CHAIN",
    "Choice",
    "Part",
    "Recorded",
    "after",
    "before",
    "chain",
    "first_since",
    "last",
    "trim",
    "write",
]


@frozen
class Recorded:
    """
    An event, and its number.

    Attributes:
        id: It rises in the order in which events are committed, and is never used again.
    """

    id: int
    event: Event

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, **unstructure(self.event), "details": dict(self.event.details)}


@frozen(kw_only=True)
class Choice:
    """
    Which events are meant: those that match in everything that is said.

    Attributes:
        kinds: Of these kinds; of any when it is empty.
        server_id: Of this server, and those that it has superseded; of any when it is None.
        since: Not before that.
    """

    kinds: frozenset[EventKind] = frozenset()
    server_id: str | None = None
    since: datetime | None = None


ALL = Choice()


class Part(NamedTuple):
    """Some of the events that were asked for, and whether there are more."""

    events: list[Recorded]
    is_more: bool


def write(database: Database, connection: Connection, happened: Sequence[Event]) -> None:
    """Write events, last of all in their transaction, so that they are numbered in its order."""
    if not happened:
        return
    database.announce(connection)
    connection.execute(
        insert(events),
        [
            {"at": e.at, "kind": e.kind, "server_id": e.server_id, "details": dict(e.details)}
            for e in happened
        ],
    )


def before(
    connection: Connection,
    choice: Choice,
    number: int | None,
    *,
    limit: int,
    max_bytes: int | None = None,
) -> Part:
    """The newest of the events that are older than a number, newest first."""
    query = _chosen(connection, choice).order_by(events.c.id.desc())
    if number is not None:
        query = query.where(events.c.id < number)
    return _part(connection, query, limit, max_bytes)


def after(
    connection: Connection,
    choice: Choice,
    number: int,
    *,
    limit: int,
    max_bytes: int | None = None,
) -> list[Recorded]:
    """The oldest of the events that are newer than a number, oldest first."""
    query = _chosen(connection, choice).where(events.c.id > number).order_by(events.c.id)
    return _part(connection, query, limit, max_bytes).events


def last(connection: Connection) -> int:
    """The number of the newest event, 0 when there is none."""
    return connection.execute(select(func.max(events.c.id))).scalar() or 0


def first_since(connection: Connection, since: datetime) -> int:
    """A number that no event has exceeded before a moment; about the first since then."""
    first = select(events.c.id).where(events.c.at >= since).order_by(events.c.at, events.c.id)
    number = connection.execute(first.limit(1)).scalar()
    # The index of times leads to about the place; clocks of receivers may differ a little.
    return _NEVER if number is None else number - _SKEW


def chain(connection: Connection, server_id: str) -> list[str]:
    """A server, and those that it has superseded, and so on; a thousand of them at most."""
    if "\x00" in server_id:  # PostgreSQL does not even take the question
        return []
    return [server_id, *connection.execute(CHAIN, {"last": server_id}).scalars()]


def trim(connection: Connection, until: datetime, *, limit: int) -> int:
    """Forget the oldest events, if they are older; how many those were."""
    old = select(events.c.id).where(events.c.at < until).order_by(events.c.at).limit(limit)
    return connection.execute(delete(events).where(events.c.id.in_(old))).rowcount


def _chosen(connection: Connection, choice: Choice) -> Select[Any]:
    details = cast(events.c.details, Text)
    query = select(events.c.id, events.c.at, events.c.kind, events.c.server_id, details)
    if choice.kinds:
        query = query.where(events.c.kind.in_(choice.kinds))
    if choice.server_id is not None:
        query = query.where(events.c.server_id.in_(chain(connection, choice.server_id)))
    if choice.since is not None:
        first = first_since(connection, choice.since)
        query = query.where(events.c.at >= choice.since, events.c.id >= first)
    return query


def _part(connection: Connection, query: Select[Any], limit: int, max_bytes: int | None) -> Part:
    """As much of what is asked for as there is room for, and one event at least."""
    # Nothing beyond is read, if the database can tell one row after another.
    rows = connection.execute(query.limit(limit + 1), execution_options={"stream_results": True})
    found: list[Recorded] = []
    size = 0
    with closing(rows):
        for number, at, kind, server_id, details in rows:
            size += len(details) + _FRAME_BYTES
            is_full = max_bytes is not None and size > max_bytes
            if found and (is_full or len(found) == limit):
                return Part(found, is_more=True)
            event = Event(kind=kind, at=at, server_id=server_id, details=orjson.loads(details))
            found.append(Recorded(number, event))
    return Part(found, is_more=False)


_FRAME_BYTES = 200  # of an event in JSON, about, but for its details
_SKEW = 1000
_NEVER = 2**63 - 1
_MOST_PREDECESSORS = 1000


def _chain() -> Select[Any]:
    found = (
        select(servers.c.server_id)
        .where(servers.c.superseded_by == bindparam("last"))
        .cte("chain", recursive=True)
    )
    older = servers.alias("older")
    before = select(older.c.server_id).where(older.c.superseded_by == found.c.server_id)
    return select(found.union(before)).limit(_MOST_PREDECESSORS)


CHAIN = _chain()
