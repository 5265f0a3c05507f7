"""Reads from the table of events when servers changed their states, to compute availability."""

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
from receiver.domain.instants import microseconds
from receiver.store.events import first_since
from receiver.store.tables import events, of_state, servers

__all__ = ["LAST_BEFORE", "SINCE", "StateChange", "StateLog", "state_logs"]


StateChange = tuple[str, int]
"""The kind of an event that changes a state, and its time in microseconds since 1970."""


@frozen(kw_only=True)
class StateLog:
    """
    The states of one server in a period that ends now, as the database tells them.

    Attributes:
        first_seen: When the receiver first heard of the server, in microseconds since 1970.
        state: The state now, as in the database.
        state_since: When the server entered this state, in microseconds since 1970.
        is_superseded: Whether its database was rebuilt, and runs under another `server_id` now.
        flapping_since: Since when its state has been changing so often that the changes are not
            told, in microseconds since 1970; None when they are.
        changes: The changes of its state in the period, and the last one before, oldest first.
        away_seconds: If the first change is from late or down to up: how many seconds the server
            had sent nothing before; otherwise 0.
    """

    first_seen: int
    state: str
    state_since: int
    is_superseded: bool = False
    flapping_since: int | None = None
    changes: Sequence[StateChange] = ()
    away_seconds: float = 0.0

    @classmethod
    def of(cls, record: ServerRecord) -> "StateLog":
        """The log of a server whose state never changed."""
        flapping_since = record.flapping_since
        return cls(
            first_seen=microseconds(record.first_seen),
            state=record.state.value,
            state_since=microseconds(record.state_since),
            is_superseded=record.superseded_by is not None,
            flapping_since=None if flapping_since is None else microseconds(flapping_since),
        )


def state_logs(
    connection: Connection, ids: Collection[str], since: datetime
) -> Mapping[str, Sequence[StateLog]]:
    """
    The state logs of servers and of the servers that each superseded, directly or not.

    Returns them by the `server_id` of each of `ids`. A log holds the changes at or after the
    instant `since`, and the last change before it. A superseded server that was last seen before
    `since` is left out, if its successor's state has not changed since then.
    """
    rows = connection.execute(_CHAINS, {"ids": [*ids], "since": microseconds(since)}).all()
    changes, away = _changes(connection, {row.server_id for row in rows}, since)
    found: defaultdict[str, list[StateLog]] = defaultdict(list)
    for row in rows:
        found[row.root].append(
            StateLog(
                first_seen=row.first_seen,
                state=row.state,
                state_since=row.state_since,
                is_superseded=row.is_superseded,
                flapping_since=row.flapping_since,
                changes=changes.get(row.server_id, ()),
                away_seconds=away.get(row.server_id, 0.0),
            )
        )
    return found


def _changes(
    connection: Connection, ids: Collection[str], since: datetime
) -> tuple[Mapping[str, Sequence[StateChange]], Mapping[str, float]]:
    """
    The attributes `changes` and `away_seconds` of the logs of servers, each by `server_id`.

    Servers without a change, or whose first change is no recovery, are left out.
    """
    # Event numbers rise in the order of the commits; times may not, as clocks differ.
    parameters = {"ids": [*ids], "first": first_since(connection, since)}
    changes: defaultdict[str, list[StateChange]] = defaultdict(list)
    recoveries = []
    for query in (LAST_BEFORE, SINCE):
        for server_id, number, kind, at in connection.execute(query, parameters).all():
            if kind == _RECOVERED and server_id not in changes:
                recoveries.append(number)
            changes[server_id].append((kind, at))
    away = connection.execute(_DETAILS, {"numbers": recoveries}) if recoveries else ()
    return changes, {server_id: details["away_seconds"] for server_id, details in away}


def _columns_of(server: Any) -> list[Any]:
    return [
        server.c.server_id,
        type_coerce(server.c.first_seen, BigInteger).label("first_seen"),
        type_coerce(server.c.state, Text).label("state"),
        type_coerce(server.c.state_since, BigInteger).label("state_since"),
        server.c.superseded_by.is_not(None).label("is_superseded"),
        type_coerce(server.c.flapping_since, BigInteger).label("flapping_since"),
    ]


def _chains() -> Select[Any]:
    """The query for servers (`root`) and those that they superseded, as `state_logs` needs them."""
    since = bindparam("since", type_=BigInteger)
    last = select(servers.c.server_id.label("root"), *_columns_of(servers))
    found = last.where(servers.c.server_id.in_(_IDS)).cte("chains", recursive=True)
    older = servers.alias("older")
    before = select(found.c.root, *_columns_of(older)).where(
        older.c.superseded_by == found.c.server_id,
        # While a server was up all the time, the states of those that it superseded do not matter.
        or_(
            found.c.first_seen > since,
            found.c.state_since > since,
            type_coerce(older.c.last_seen, BigInteger) >= since,
        ),
    )
    return select(found.union(before)).limit(_MOST_LOGS)


_MOST_LOGS = 5000
# Few enough to be bound one by one, which lets SQLite see that an index is worth it.
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_CHAINS = _chains()

_CHANGE = (
    events.c.server_id,
    events.c.id,
    type_coerce(events.c.kind, Text),
    type_coerce(events.c.at, BigInteger),
)
SINCE = (
    select(*_CHANGE)
    .where(events.c.server_id.in_(_IDS), events.c.id >= bindparam("first"), of_state)
    .order_by(events.c.server_id, events.c.id)
)
"""The query for the state changes of the servers `ids` with event numbers from `first` on."""

_earlier = events.alias("earlier")
_last_before = (
    select(_earlier.c.id)
    .where(
        _earlier.c.server_id == servers.c.server_id, _earlier.c.id < bindparam("first"), of_state
    )
    .order_by(_earlier.c.id.desc())
    .limit(1)
)
LAST_BEFORE = select(*_CHANGE).where(
    events.c.id.in_(
        select(_last_before.correlate(servers).scalar_subquery()).where(
            servers.c.server_id.in_(_IDS)
        )
    )
)
"""The query for the last state change before `first` of each of the servers `ids`."""

_DETAILS = select(events.c.server_id, events.c.details).where(
    events.c.id.in_(bindparam("numbers", expanding=True))
)
_RECOVERED = EventKind.RECOVERED.value
