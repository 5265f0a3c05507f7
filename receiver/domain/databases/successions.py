"""
Decides which server takes the place of another: rebuilds, new leaders, nodes that are gone.

Also notes that two databases are twins if one is a copy of the other with another name. The package
`receiver.domain.databases` explains these words.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import combinations

from contract import ServerRecord, State, interval, patience
from receiver.domain.databases.lines import CheckTimes, Line, age, updated, with_state
from receiver.domain.databases.watching import are_apart, pair, were_long_together
from receiver.domain.rows import Row

__all__ = ["gone_after", "led", "paired", "replaced"]


def replaced(lines: Sequence[Line], times: CheckTimes) -> tuple[list[Line], list[Row]]:
    """
    Find rebuilds: lines that are late or down while another line sends for the same database.

    A line is the known servers of one database; its leader is the one that lists show. Returns the
    lines that stay, and the rows of all servers of the other, rebuilt lines, which are marked as
    superseded. All lines must have the same database name.
    """
    staying: list[Line] = []
    gone: list[Row] = []
    successor_of: dict[str, str] = {}
    for line in lines:
        found = [each for each in lines if _goes_on(each, line) and not _are_two(each, line, times)]
        if line.state.stale and found:
            successor = max(found, key=lambda each: age(each.record)).leader.server_id
            successor_of[line.leader.server_id] = successor
            gone.append(_superseded(line.leader, successor, times))
            gone += [_left(row, successor, times) for row in line.nodes]
        else:
            staying.append(line)
    return _twins_of_successors(staying, successor_of), gone


def _twins_of_successors(lines: Sequence[Line], successor_of: Mapping[str, str]) -> list[Line]:
    """
    Let the twin of a superseded server be the twin of the server that supersedes it.

    A twin is a server whose database is a copy of the other's, or the original of it.
    `successor_of` maps the `server_id` of a superseded leader to that of the leader that supersedes
    it.
    """
    found = list(lines)
    for n, line in enumerate(found):
        successor = successor_of.get(line.record.twin_of or "")
        if successor is not None:
            m = [each.leader.server_id for each in found].index(successor)
            without_twin = line._replace(leader=updated(line.leader, twin_of=None))
            found[n], found[m] = pair(without_twin, found[m])
    return found


def _goes_on(line: Line, silent: Line) -> bool:
    """Whether a line is up or new, and has sent since the last message of the line `silent`."""
    return line.state.is_heard and line.latest.last_seen >= silent.latest.last_seen


def _are_two(one: Line, other: Line, times: CheckTimes) -> bool:
    """Whether two lines have two databases: known twins, or long in parallel and never joined."""
    return are_apart(one, other) or were_long_together(one, other, times)


def _superseded(row: Row, by: str, times: CheckTimes) -> Row:
    """The row of a leader that is superseded by the server with the id `by`."""
    # Late, so that an event `recovered` follows if the server sends again.
    late = row if row.record.state.stale else with_state(row, State.LATE, times.now)
    return updated(late, superseded_by=by, twin_of=None, node_count=0)


def _left(row: Row, leader: str, times: CheckTimes) -> Row:
    """
    The row of a node that is gone, superseded by the leader of its database.

    Its state is `up` or `new`, so that no event `recovered` follows if it sends again.
    """
    state = State.UP if row.record.heartbeat_count else State.NEW
    return updated(with_state(row, state, times.now), superseded_by=leader, node_of=None)


def paired(lines: Sequence[Line]) -> list[Line]:
    """
    Note as twins all lines that send in parallel under different database names.

    A line is the known servers of one database. The database of one twin is a copy of the other's.
    Also clears `twin_of` of a line if its twin is not among these lines any more, or has left.
    """
    found = list(lines)
    for n, m in combinations(range(len(found)), 2):
        one, other = found[n], found[m]
        if one.name != other.name and _have_both_gone_on(one, other):
            found[n], found[m] = pair(one, other)
    there = {
        row.server_id for line in found if line.state is not State.LEFT for row in line.members
    }
    return [_without_lost_twin(line, there) for line in found]


def led(line: Line, times: CheckTimes) -> tuple[Line, list[Row]]:
    """
    Choose the leader of a line, and remove the nodes that are gone.

    A line is the servers of one database, and its leader is the one that lists show. A server is
    gone when it has sent nothing for the time `gone_after`. When the leader is gone, the server
    that sent last becomes the leader. If that server has another address than the leader, it
    becomes the leader already when the old leader has sent nothing for two intervals, because
    clients connect to the address of the leader.

    Args:
        line: The line.
        times: The times that the check needs.

    Returns the changed line, and the rows of the removed nodes, which are now superseded by the
    leader.
    """
    if not (line.nodes and line.state.is_heard):
        return line, []
    latest = line.latest
    silence, longest = times.silence(line.record), gone_after(line)
    is_elsewhere = _address(latest) != _address(line.record)
    if silence > longest or (is_elsewhere and silence > patience(line.record, intervals=2)):
        line = _led_by(line, latest.server_id)
    gone = [row for row in line.nodes if times.silence(row.record) > longest]
    staying = [row for row in line.nodes if row not in gone]
    leader = line.leader.server_id
    return line._replace(nodes=staying), [_left(row, leader, times) for row in gone]


def gone_after(line: Line) -> timedelta:
    """
    How long a node of a line may send no message until it counts as gone.

    In each interval one of the running nodes sends, at random. The time is so long that only about
    one check in 10⁹ finds a running node that has sent nothing for that time.
    """
    return 20 * len(line.members) * interval(line.record)


def _led_by(line: Line, server_id: str) -> Line:
    """Make the node with this id the leader of a line; the old leader becomes a node."""
    old = line.leader
    new = next(row for row in line.nodes if row.server_id == server_id)
    leader = updated(
        new,
        node_of=None,
        twin_of=old.record.twin_of,
        state=old.record.state,
        state_since=old.record.state_since,
    )
    others = [updated(old, twin_of=None), *(row for row in line.nodes if row is not new)]
    nodes = [updated(row, node_of=server_id)._replace(mark=None) for row in others]
    return line._replace(leader=leader._replace(mark=old.mark), nodes=nodes)


def _address(record: ServerRecord) -> object:
    """Where clients connect to a server: its URL, or else its primary IP address and its port."""
    addresses = record.ip_addresses
    return record.endpoint_url or (addresses and addresses.primary, record.port)


def _without_lost_twin(line: Line, there: set[str]) -> Line:
    """
    Clear `twin_of` of a line unless it names one of the servers `there`.

    `there` contains the ids of servers that are late or down, too, but not of those that have left.
    """
    if line.record.twin_of is None or line.record.twin_of in there:
        return line
    return line._replace(leader=updated(line.leader, twin_of=None))


def _have_both_gone_on(one: Line, other: Line) -> bool:
    """
    Whether two lines have sent in parallel for more than two heartbeat intervals.

    A server that registers again and again but never sends a heartbeat does not count as sending:
    something restarts it before it gets that far.
    """
    both_since = max(one.record.state_since, other.record.state_since)
    enough = 2 * max(interval(one.record), interval(other.record))
    return (
        State.UP is one.state is other.state
        and min(one.latest.last_seen, other.latest.last_seen) - both_since > enough
    )
