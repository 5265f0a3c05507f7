"""What the weekly report counts: events and alarms, for each database in the list of servers."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from contract import EventKind, State
from receiver.domain.alerts.reports import WeekCounts
from receiver.store.alerts.tables import alarms
from receiver.store.events import first_since
from receiver.store.tables import Moment, events, servers

__all__ = ["weekly"]


class _Known(NamedTuple):
    """What the report has to know of a server; `leader` is the server that stands for it."""

    database: str | None
    state: State
    leader: str | None


def weekly(
    connection: Connection, since: datetime, until: datetime
) -> tuple[list[WeekCounts], int]:
    """
    Count for the weekly report the events and the alarms from `since` to before `until`.

    What happened to nodes (servers for which lists show another server of their database) and to
    superseded servers is counted for the server that stands for them.

    Returns:
        A line for each server in the list of all servers and, marked as not listed, for each server
        that left or was deleted in that time; sorted by `server_id`. And the number of alarms that
        are in no line, such as those about the fleet as a whole.
    """
    known = {
        row.server_id: _Known(row.database, row.state, row.superseded_by or row.node_of)
        for row in connection.execute(_SERVERS)
    }
    week = {"since": since, "until": until}
    told: defaultdict[str, Counter[str]] = defaultdict(Counter)
    first = first_since(connection, since)
    for server_id, kind, number in connection.execute(_EVENTS, {**week, "first": first}):
        told[_leader(server_id, known)][kind.value] += number
    begun: Counter[str] = Counter()
    of_no_server = 0
    for server_id, number in connection.execute(_ALARMS, week):
        if server_id is None:
            of_no_server += number
        else:
            begun[_leader(server_id, known)] += number
    lines = [
        WeekCounts(
            server_id=server_id,
            database=known[server_id].database if server_id in known else None,
            is_listed=_is_listed(known.get(server_id)),
            events=dict(told[server_id]),
            alarms=begun.pop(server_id, 0),
        )
        for server_id in sorted(known.keys() | told.keys())
        if _is_line(known.get(server_id), told[server_id])
    ]
    return lines, of_no_server + begun.total()


def _leader(server_id: str, known: Mapping[str, _Known]) -> str:
    """The id of the server that stands for this one in lists; its own id if no other does."""
    passed = {server_id}
    while server_id in known:
        leader = known[server_id].leader
        if leader is None or leader in passed:
            break
        passed.add(leader)
        server_id = leader
    return server_id


def _is_listed(server: _Known | None) -> bool:
    return server is not None and server.leader is None and server.state is not State.LEFT


def _is_line(server: _Known | None, told: Mapping[str, int]) -> bool:
    """Whether the report has a line for a server: it is listed, or went within the week."""
    if server is None:
        return EventKind.DELETED.value in told
    return _is_listed(server) or (server.leader is None and EventKind.LEFT.value in told)


_SERVERS = select(
    servers.c.server_id,
    servers.c.database,
    servers.c.state,
    servers.c.superseded_by,
    servers.c.node_of,
)
_since, _until = (bindparam(name, type_=Moment) for name in ("since", "until"))
_EVENTS = (
    select(events.c.server_id, events.c.kind, func.count())
    .where(
        events.c.id >= bindparam("first"),
        events.c.at >= _since,
        events.c.at < _until,
        events.c.server_id.is_not(None),
    )
    .group_by(events.c.server_id, events.c.kind)
)
_ALARMS = (
    select(alarms.c.server_id, func.count())
    .where(alarms.c.begun_at >= _since, alarms.c.begun_at < _until)
    .group_by(alarms.c.server_id)
)
