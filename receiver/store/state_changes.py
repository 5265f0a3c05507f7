"""What is read to tell in which states servers were."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen
from sqlalchemy import (
    BigInteger,
    BindParameter,
    Connection,
    Select,
    Text,
    bindparam,
    or_,
    select,
    type_coerce,
)

from contract import EventKind, ServerRecord
from receiver.store.events import first_since
from receiver.store.tables import events, microseconds, of_life, servers

__all__ = ["PRECEDING", "TURNS", "Life", "Turn", "lives"]


Turn = tuple[str, int]
"""The kind of an event that tells of a state, and when that began, in microseconds since 1970."""


@frozen(kw_only=True)
class Life:
    """
    What tells in which states a server was.

    Attributes:
        first_seen: In microseconds since 1970.
        state: As it was last noticed.
        state_since: In microseconds since 1970.
        is_superseded: Whether it is now.
        turns: What has happened, oldest first.
        away_seconds: How long nothing had been heard, when the first of them is that it is back.
    """

    first_seen: int
    state: str
    state_since: int
    is_superseded: bool = False
    turns: Sequence[Turn] = ()
    away_seconds: float = 0.0

    @classmethod
    def of(cls, record: ServerRecord) -> "Life":
        """A server to which nothing has happened."""
        return cls(
            first_seen=microseconds(record.first_seen),
            state=record.state.value,
            state_since=microseconds(record.state_since),
            is_superseded=record.superseded_by is not None,
        )


def lives(
    connection: Connection, ids: Collection[str], since: datetime
) -> Mapping[str, Sequence[Life]]:
    """
    For each of some servers, its life and the lives of those that it has superseded, and so on.

    Only what counts since a moment: those that lived then or later, and what happened to
    them then, and the last that did before.
    """
    known = {"ids": [*ids], "since": microseconds(since)}
    rows = connection.execute(_CHAINS, known).all()
    turns, away = _turns(connection, {row.server_id for row in rows}, since)
    found: defaultdict[str, list[Life]] = defaultdict(list)
    for row in rows:
        found[row.root].append(
            Life(
                first_seen=row.first_seen,
                state=row.state,
                state_since=row.state_since,
                is_superseded=row.is_superseded,
                turns=turns.get(row.server_id, ()),
                away_seconds=away.get(row.server_id, 0.0),
            )
        )
    return found


def _turns(
    connection: Connection, ids: Collection[str], since: datetime
) -> tuple[Mapping[str, Sequence[Turn]], Mapping[str, float]]:
    """What has happened to servers; and how long they were away before the first of it."""
    # By numbers: they rise in the order of what happened, which times need not.
    known = {"ids": [*ids], "first": first_since(connection, since)}
    turns: defaultdict[str, list[Turn]] = defaultdict(list)
    back = []
    for query in (PRECEDING, TURNS):
        for server_id, number, kind, at in connection.execute(query, known).all():
            if kind == _RECOVERED and server_id not in turns:
                back.append(number)
            turns[server_id].append((kind, at))
    away = connection.execute(_AWAY, {"ids": back}) if back else ()
    return turns, {server_id: details["away_seconds"] for server_id, details in away}


def _life_of(server: Any) -> list[Any]:
    return [
        server.c.server_id,
        type_coerce(server.c.first_seen, BigInteger).label("first_seen"),
        type_coerce(server.c.state, Text).label("state"),
        type_coerce(server.c.state_since, BigInteger).label("state_since"),
        server.c.superseded_by.is_not(None).label("is_superseded"),
    ]


def _chains() -> Select[Any]:
    """Servers, each of them with those before it, as far as they count."""
    since = bindparam("since", type_=BigInteger)
    last = select(servers.c.server_id.label("root"), *_life_of(servers))
    found = last.where(servers.c.server_id.in_(_IDS)).cte("chains", recursive=True)
    older = servers.alias("older")
    before = select(found.c.root, *_life_of(older)).where(
        older.c.superseded_by == found.c.server_id,
        # Whoever was not up all the time may have followed, or come back after, an outage.
        or_(
            found.c.first_seen > since,
            found.c.state_since > since,
            type_coerce(older.c.last_seen, BigInteger) >= since,
        ),
    )
    return select(found.union(before)).limit(_MOST_LIVES)


_MOST_LIVES = 5000
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_CHAINS = _chains()

_TURN = (
    events.c.server_id,
    events.c.id,
    type_coerce(events.c.kind, Text),
    type_coerce(events.c.at, BigInteger),
)
TURNS = (
    select(*_TURN)
    .where(events.c.server_id.in_(_IDS), events.c.id >= bindparam("first"), of_life)
    .order_by(events.c.server_id, events.c.id)
)
_earlier = events.alias("earlier")
_last_before = (
    select(_earlier.c.id)
    .where(_earlier.c.server_id == servers.c.server_id, _earlier.c.id < bindparam("first"), of_life)
    .order_by(_earlier.c.id.desc())
    .limit(1)
)
PRECEDING = select(*_TURN).where(
    events.c.id.in_(
        select(_last_before.correlate(servers).scalar_subquery()).where(
            servers.c.server_id.in_(_IDS)
        )
    )
)
_AWAY = select(events.c.server_id, events.c.details).where(events.c.id.in_(_IDS))
_RECOVERED = EventKind.RECOVERED.value
