"""Lines: the rows of the servers (nodes) of one database, and the state that they share."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from attrs import evolve

from contract import ServerRecord, State
from receiver.domain.databases.liveness import state_at
from receiver.domain.instants import microseconds
from receiver.domain.rows import Mark, Row

__all__ = ["CheckTimes", "Line", "age", "join", "lines_of", "updated", "with_state"]


class CheckTimes(NamedTuple):
    """
    The times that a check of servers needs.

    Attributes:
        now: The time of the check.
        heard_since: Since when receivers have been running without an interruption. The time
            before does not count as silence of a server.
    """

    now: datetime
    heard_since: datetime

    def silence(self, record: ServerRecord) -> timedelta:
        """How long a server has sent nothing until `now`, without the time before `heard_since`."""
        return self.now - max(record.last_seen, self.heard_since)


class Line(NamedTuple):
    """
    The rows of the servers of one database, as far as is known.

    Attributes:
        leader: The row of the server that represents the database in lists and alarms.
        nodes: The rows of the other servers; empty if there are none.
        state: The state of the database at the time of the check. It is not in the rows yet.
    """

    leader: Row
    nodes: Sequence[Row]
    state: State

    @property
    def record(self) -> ServerRecord:
        """The record of the leader."""
        return self.leader.record

    @property
    def members(self) -> Sequence[Row]:
        """The rows of all servers, the leader's first."""
        return [self.leader, *self.nodes]

    @property
    def latest(self) -> ServerRecord:
        """The record of the server that sent the last message."""
        return max((row.record for row in self.members), key=_heard_last)

    @property
    def name(self) -> str:
        """The name of the database; empty if it is unknown."""
        return _name(self.leader)

    def mark(self, now: datetime) -> Mark:
        """A snapshot of how much all servers of the line have sent until `now`."""
        numbers = [row.record.sequence for row in self.members]
        known = [each for each in numbers if each is not None]
        heartbeats = sum(row.record.heartbeat_count for row in self.members)
        # Heartbeats without a number cannot be compared with numbers.
        sequence = max(known) if len(known) == len(numbers) else None
        return Mark(microseconds(now), heartbeats, sequence)


def lines_of(kin: Sequence[Row], times: CheckTimes) -> list[Line]:
    """
    Group the rows of servers by their databases; returns a line for each database.

    A line consists of the row of a leader and of the rows that name the leader in `node_of`. A node
    whose leader is not among the rows, or has another database name, becomes a line of its own. The
    line with the oldest leader comes first.
    """
    leaders = {row.server_id: row for row in kin if row.record.node_of is None}
    nodes: defaultdict[str, list[Row]] = defaultdict(list)
    leaderless: list[Row] = []
    for row in kin:
        of = row.record.node_of
        if of is None:
            continue
        if of in leaders and _name(leaders[of]) == _name(row):
            nodes[of].append(row)
        else:
            leaderless.append(updated(row, node_of=None))
    lines = [_line(row, nodes[row.server_id], times) for row in [*leaders.values(), *leaderless]]
    return sorted(lines, key=lambda line: age(line.record))


def join(elder: Line, younger: Line, times: CheckTimes) -> Line:
    """
    Make one line of two, because their servers turned out to be nodes of the same database.

    The leader of a line is the server that lists show in place of all of them. That of `elder`, the
    line whose leader was seen first, becomes the leader of the new line. `times` has the times of
    the check that has found this out.
    """
    leader = elder.leader
    joining = [
        updated(row, node_of=leader.server_id, twin_of=None)._replace(mark=None)
        for row in younger.members
    ]
    one, other = leader.mark, younger.leader.mark
    line = _line(leader, [*elder.nodes, *joining], times)
    # Counts since the same time are added; counts since different times cannot be, so begin anew.
    if one is not None and other is not None and one.at == other.at:
        mark = one.plus(other)
    else:
        mark = line.mark(times.now)
    return line._replace(leader=leader._replace(mark=mark))


def updated(row: Row, **fields: Any) -> Row:
    """The row with these values in fields of its record; the same object if nothing changes."""
    if all(getattr(row.record, name) == value for name, value in fields.items()):
        return row
    return row._replace(record=evolve(row.record, **fields))


def with_state(row: Row, state: State, now: datetime) -> Row:
    """The row with this state in its record; `state_since` is `now` if the state changes."""
    if row.record.state is state:
        return row
    return updated(row, state=state, state_since=now)


def age(record: ServerRecord) -> tuple[datetime, str]:
    """A sort key: the server that was first seen earlier comes first."""
    return record.first_seen, record.server_id


def _name(row: Row) -> str:
    return row.record.database or ""


def _line(leader: Row, nodes: Sequence[Row], times: CheckTimes) -> Line:
    line = Line(leader, nodes, leader.record.state)
    return line._replace(state=_state_of(line, times))


def _state_of(line: Line, times: CheckTimes) -> State:
    """
    The state of a database: what its leader's state would be if it had sent all nodes' messages.

    Each check writes the leader's state into the rows of its nodes. So a node that is up while the
    leader is late or down has sent a message after the last check.
    """
    latest, record = line.latest, line.record
    if latest.state is State.LEFT:
        return State.LEFT
    is_heard = any(row.record.state.is_heard for row in line.members)
    as_one = evolve(
        record,
        last_seen=latest.last_seen,
        heartbeat_count=line.mark(times.now).heartbeats,
        state=State.UP if is_heard and not record.state.is_heard else record.state,
    )
    return state_at(as_one, times.now, heard_since=times.heard_since)


def _heard_last(record: ServerRecord) -> tuple[datetime, str]:
    return record.last_seen, record.server_id
