"""What happened, written in the transaction of the change, and read again."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select

from contract import Event, EventKind, unstructure
from receiver.databases import Database
from receiver.tables import events, facet_value, facets

__all__ = ["ALL", "Choice", "Recorded", "after", "before", "last", "lives", "trim", "write"]


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

_MOST_PREDECESSORS = 1000


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
    connection: Connection, choice: Choice, number: int | None, *, limit: int
) -> list[Recorded]:
    """The newest of the events that are older than a number, newest first."""
    query = _chosen(connection, choice).order_by(events.c.id.desc()).limit(limit)
    if number is not None:
        query = query.where(events.c.id < number)
    return _recorded(connection, query)


def after(connection: Connection, choice: Choice, number: int, *, limit: int) -> list[Recorded]:
    """The oldest of the events that are newer than a number, oldest first."""
    query = _chosen(connection, choice).where(events.c.id > number)
    return _recorded(connection, query.order_by(events.c.id).limit(limit))


def last(connection: Connection) -> int:
    """The number of the newest event, 0 when there is none."""
    return connection.execute(select(func.max(events.c.id))).scalar() or 0


def lives(connection: Connection, ids: Collection[str]) -> list[Recorded]:
    """What tells in which states servers were, oldest first."""
    query = select(events).where(events.c.server_id.in_(ids), events.c.kind.in_(_OF_LIFE))
    return _recorded(connection, query.order_by(events.c.id))


def trim(connection: Connection, until: datetime, *, limit: int) -> int:
    """Forget the oldest events, if they are older; how many those were."""
    old = select(events.c.id).where(events.c.at < until).order_by(events.c.at).limit(limit)
    return connection.execute(delete(events).where(events.c.id.in_(old))).rowcount


def _chosen(connection: Connection, choice: Choice) -> Select[Any]:
    query = select(events)
    if choice.kinds:
        query = query.where(events.c.kind.in_(choice.kinds))
    if choice.server_id is not None:
        query = query.where(
            events.c.server_id.in_(_with_predecessors(connection, choice.server_id))
        )
    if choice.since is not None:
        # The index of times leads to about the place; clocks of receivers may differ a little.
        first = select(events.c.id).where(events.c.at >= choice.since)
        first = first.order_by(events.c.at, events.c.id).limit(1)
        start = connection.execute(first).scalar()
        query = query.where(events.c.at >= choice.since)
        query = query.where(events.c.id >= (_NEVER if start is None else start - _SKEW))
    return query


def _with_predecessors(connection: Connection, server_id: str) -> list[str]:
    """A server, and those that it has superseded, and so on."""
    if "\x00" in server_id:  # PostgreSQL does not even take the question
        return []
    ids = [server_id]
    for each in ids:
        if len(ids) > _MOST_PREDECESSORS:
            break
        found = connection.execute(_SUPERSEDED, {"by": facet_value(each)}).scalars()
        ids += [other for other in found if other not in ids]
    return ids


def _recorded(connection: Connection, query: Select[Any]) -> list[Recorded]:
    return [
        Recorded(
            row.id, Event(kind=row.kind, at=row.at, server_id=row.server_id, details=row.details)
        )
        for row in connection.execute(query)
    ]


_SKEW = 1000
_NEVER = 2**63 - 1
_OF_LIFE = [EventKind.LATE, EventKind.DOWN, EventKind.RECOVERED, EventKind.REBUILT]
_SUPERSEDED = select(facets.c.server_id).where(
    facets.c.name == "superseded_by", facets.c.value == bindparam("by")
)
