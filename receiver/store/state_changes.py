"""Reads from the table of events when servers changed their states, to compute availability."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import evolve
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)

from contract import EventKind
from receiver.domain.history import StateLog
from receiver.domain.instants import microseconds
from receiver.store.events import ABOUT_FIRST_SINCE
from receiver.store.tables import among, constant, events, liveness, of_state, servers

__all__ = [
    "MOST_CHANGES",
    "STATE_LOGS",
    "STATE_LOGS_OF_ONE",
    "revision_and_logs",
    "state_logs",
]

MOST_CHANGES = 50_000
"""
How many changes of states one query reads at most, of all servers together.

The number is divided by the number of logs, and no log has more changes than that. So to compute a
history takes a limited time, however often servers change their states.
"""


def state_logs(
    connection: Connection, ids: Collection[str], since: datetime
) -> Mapping[str, Sequence[StateLog]]:
    """
    The state logs of the servers `ids`, and of the servers that each superseded, directly or not.

    Returns them by the `server_id` of each of `ids`, without servers that do not exist. A log holds
    the changes at or after the instant `since`, and the last change before it. When there are more
    changes than `MOST_CHANGES` allows, the log holds only the newest. A superseded server that was
    last seen before `since` is left out, if its successor's state has not changed since then.
    """
    rows = connection.execute(STATE_LOGS, {"ids": [*ids], "since": microseconds(since)}).all()
    return _logs(connection, rows, since)


def revision_and_logs(
    connection: Connection, server_id: str, since: datetime
) -> tuple[int, Sequence[StateLog]] | None:
    """
    The revision of a server's row, and what `state_logs` has for the server, in one query.

    None if there is no such server.
    """
    parameters = {"id": server_id, "since": microseconds(since)}
    rows = connection.execute(STATE_LOGS_OF_ONE, parameters).all()
    if not rows:
        return None
    revisions = {row.server_id: row.revision for row in rows}
    return revisions[server_id], _logs(connection, rows, since)[server_id]


def _logs(
    connection: Connection, rows: Sequence[Any], since: datetime
) -> Mapping[str, Sequence[StateLog]]:
    """The state logs in rows of `STATE_LOGS`, by the `server_id` that they were asked for."""
    begin = microseconds(since)
    found: defaultdict[str, list[StateLog]] = defaultdict(list)
    recoveries: dict[int, tuple[str, int]] = {}
    for row in rows:
        first, log = _log(row, most=MOST_CHANGES // len(rows))
        if log.changes and log.changes[0][0] == _RECOVERED and log.changes[0][1] >= begin:
            recoveries[first] = (row.root, len(found[row.root]))
        found[row.root].append(log)
    for number, away_seconds in _away(connection, recoveries):
        root, place = recoveries[number]
        found[root][place] = evolve(found[root][place], away_seconds=away_seconds)
    return found


def _log(row: Any, *, most: int) -> tuple[int, StateLog]:
    """The number of the first change in a row of `STATE_LOGS` (0: there is none), and the log."""
    parts = row.changes.split() if row.changes else []
    is_cut = len(parts) == 3 * most
    if row.last_before and not is_cut:
        parts += row.last_before.split()
    changes = [*zip(parts[-2::-3], map(int, parts[-1::-3]), strict=True)]
    log = StateLog(
        first_seen=row.first_seen,
        state=row.state,
        state_since=row.state_since,
        is_superseded=row.is_superseded,
        flapping_since=row.flapping_since,
        changes=changes,
        is_cut=is_cut,
    )
    return int(parts[-3]) if parts else 0, log


def _away(connection: Connection, numbers: Collection[int]) -> list[tuple[int, float]]:
    """The numbers of events about recoveries, and how many seconds the servers had been silent."""
    if not numbers:
        return []
    found = connection.execute(_DETAILS, {"numbers": [*numbers]})
    return [(number, details["away_seconds"]) for number, details in found]


def _columns_of(server: Any, living: Any) -> list[Any]:
    return [
        server.c.server_id,
        living.c.revision,
        type_coerce(server.c.first_seen, BigInteger).label("first_seen"),
        type_coerce(server.c.state, Text).label("state"),
        type_coerce(server.c.state_since, BigInteger).label("state_since"),
        server.c.superseded_by.is_not(None).label("is_superseded"),
        type_coerce(server.c.flapping_since, BigInteger).label("flapping_since"),
    ]


def _chains(is_asked: ColumnElement[bool]) -> Select[Any]:
    """The query for servers (`root`) and those that they superseded, as `state_logs` needs them."""
    since = bindparam("since", type_=BigInteger)
    last = select(servers.c.server_id.label("root"), *_columns_of(servers, liveness))
    of_last = last.join(liveness, liveness.c.server_id == servers.c.server_id)
    found = of_last.where(is_asked).cte("chains", recursive=True)
    older, living = servers.alias("older"), liveness.alias("living")
    before = select(found.c.root, *_columns_of(older, living)).where(
        older.c.superseded_by == found.c.server_id,
        living.c.server_id == older.c.server_id,
        # While a server was up all the time, the states of those that it superseded do not matter.
        or_(
            found.c.first_seen > since,
            found.c.state_since > since,
            type_coerce(living.c.last_seen, BigInteger) >= since,
        ),
    )
    return select(found.union(before)).limit(constant(_MOST_LOGS))


def _with_changes(is_asked: ColumnElement[bool]) -> Select[Any]:
    """
    The query for the state logs of the servers for which a condition is true.

    A row for each change would take several times as long. So the changes of a server are one
    text, the newest first: number, kind and time of each, all separated by spaces. The inner
    queries read an index backwards, until they have enough.
    """
    logs = _chains(is_asked).cte("logs")
    first = select(ABOUT_FIRST_SINCE.label("id")).cte("first")
    begin = select(first.c.id).scalar_subquery()
    most = select(constant(MOST_CHANGES) // func.count()).select_from(logs)
    of_log = select(_CHANGE.label("change")).where(events.c.server_id == logs.c.server_id, of_state)
    newest = of_log.order_by(events.c.id.desc()).correlate(logs)
    changes = newest.where(events.c.id >= begin).limit(most.scalar_subquery()).subquery()
    last_before = newest.where(events.c.id < begin).limit(constant(1))
    return select(
        logs,
        select(func.aggregate_strings(changes.c.change, _SPACE)).scalar_subquery().label("changes"),
        last_before.scalar_subquery().label("last_before"),
    )


_MOST_LOGS = 5000
_SPACE: Any = literal_column("' '", Text)
_CHANGE: ColumnElement[str] = (
    cast(events.c.id, Text)
    .concat(_SPACE)
    .concat(type_coerce(events.c.kind, Text))
    .concat(_SPACE)
    .concat(cast(type_coerce(events.c.at, BigInteger), Text))
)

STATE_LOGS = _with_changes(among(servers.c.server_id, "ids"))
"""
The query for the state logs of the servers `ids`, and of those that they superseded.

`ids` and `since`, the beginning of the logs in microseconds since 1970, are its parameters.
"""

STATE_LOGS_OF_ONE = _with_changes(servers.c.server_id == bindparam("id"))
"""
The query for the state logs of the one server `id`, and of those that it superseded.

Its parameters are `id` and `since`, as in `STATE_LOGS`.
"""

_DETAILS = select(events.c.id, events.c.details).where(
    events.c.id.in_(bindparam("numbers", expanding=True))
)
_RECOVERED = EventKind.RECOVERED.value
