"""
Watching: counts what servers send in parallel, until it is decided if they share a database.

A `Line` is one server, or several that are known to be nodes of one database. Its `Mark` is a
snapshot of how much it had sent when the counting began. Two lines whose marks have the same time
are watched together. Until it is decided whether they share a database, neither becomes late or
down, because a node may send nothing for long while another node of its database runs the job that
sends heartbeats.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import combinations, pairwise

from contract import DEFAULT_INTERVAL_SECONDS, ServerRecord, State, interval
from receiver.domain.databases.judging import Sent, has_copies
from receiver.domain.databases.lines import CheckTimes, Line, lines_of, updated
from receiver.domain.instants import MICROSECOND, instant, microseconds
from receiver.domain.rows import Mark, Row

__all__ = [
    "are_apart",
    "are_in_order",
    "is_watched",
    "marked",
    "may_be_one",
    "pair",
    "patient",
    "sent_since",
    "watched",
    "were_long_together",
    "without_copies",
]


def without_copies(line: Line, times: CheckTimes) -> list[Line]:
    """
    Split a line into its servers if they turn out to belong to several copies of a database.

    A line is the servers that are known to be of one database. Returns a line for each server, or
    the line itself in a list.
    """
    mark = line.leader.mark
    if not line.nodes or mark is None:
        return [line]
    if not has_copies(sent_since(mark, line, times), in_order=are_in_order(line.members)):
        return [line]
    rows = [updated(row, node_of=None)._replace(mark=None) for row in line.members]
    return lines_of(rows, times)


def watched(lines: Sequence[Line], times: CheckTimes) -> list[Line]:
    """
    Begin to watch together the lines that send in parallel and are not watched together yet.

    To watch lines (each the known servers of one database) is to count their messages, in order to
    find out whether they share a database. Returns all lines. Lines that are watched from now on
    get a mark, a snapshot of how much they have sent until `times.now`. So do lines that were
    watched together with one of them already, because a line has only one mark, and lines whose
    marks have different times cannot be compared. All lines must have the same database name.
    """
    begun = {
        line.leader.server_id
        for elder, younger in combinations(lines, 2)
        if _are_parallel(elder, younger) and not is_watched(elder, younger, times)
        for line in (elder, younger)
    }
    reached = [line for line in lines if line.leader.server_id in begun]
    while reached:
        line = reached.pop()
        for other in lines:
            if other.leader.server_id not in begun and is_watched(line, other, times):
                begun.add(other.leader.server_id)
                reached.append(other)
    return [
        _with_mark(line, line.mark(times.now)) if line.leader.server_id in begun else line
        for line in lines
    ]


def patient(lines: Sequence[Line], times: CheckTimes) -> list[Line]:
    """
    Leave lines in their states while it is not decided whether another line has their database.

    A line is the known servers of one database. Returns all lines. A line that would become late or
    down now, but is undecided, has the state of its leader's record instead.
    """
    return [
        line._replace(state=line.record.state)
        if line.state.stale and any(_is_open(line, other, times) for other in lines)
        else line
        for line in lines
    ]


def marked(line: Line, times: CheckTimes, *, is_watched: bool) -> Line:
    """
    Give a line the mark that it needs from now on: a snapshot at which counting messages starts.

    A line that is watched together with another one keeps its mark. Any other line of several
    servers gets a recent mark, because `without_copies` needs one. A line of one server gets no
    mark.
    """
    mark = line.leader.mark
    if is_watched:
        return line
    if not line.nodes:
        return _with_mark(line, None)
    if mark is not None and _is_fresh(mark, line, times):
        return line
    return _with_mark(line, line.mark(times.now))


def _is_fresh(mark: Mark, line: Line, times: CheckTimes) -> bool:
    """Whether a mark can show copies in a line: it is recent, and no message since was missed."""
    now = line.mark(times.now)
    if mark.sequence is not None and now.sequence is not None and now.sequence < mark.sequence:
        return False  # the sequence numbers have begun anew
    return _is_valid(mark, times) and _intervals(mark, line.record, times) < _FRESH_INTERVALS


def may_be_one(one: Line, other: Line) -> bool:
    """
    Whether two lines (groups of servers) are worth comparing, because they may share a database.

    At least one of them must be new or up, none may have left, and they must not be known as twins,
    of which one has a copy of the other's database.
    """
    is_heard = one.state.is_heard or other.state.is_heard
    return is_heard and State.LEFT not in {one.state, other.state} and not are_apart(one, other)


def is_watched(one: Line, other: Line, times: CheckTimes) -> bool:
    """
    Whether two lines are watched together: their messages have been counted since the same time.

    False if no receiver ran for some time after the counting began, because messages may have been
    missed. Also False when the lines are known to be twins, or when neither line sends any more.
    """
    mark, second = one.leader.mark, other.leader.mark
    if mark is None or second is None or are_apart(one, other):
        return False
    if not (one.state.is_heard or other.state.is_heard):
        return False
    return mark.at == second.at and _is_valid(mark, times)


def are_apart(one: Line, other: Line) -> bool:
    """
    Whether two lines (groups of servers) are known to have two copies of a database.

    If so, the record of one names a server of the other as its twin.
    """
    first, second = one.record.twin_of, other.record.twin_of
    return first in [row.server_id for row in other.members] or second in [
        row.server_id for row in one.members
    ]


def were_long_together(one: Line, other: Line, times: CheckTimes) -> bool:
    """
    Whether two lines (groups of servers) sent in parallel for so long that they must have two
    databases.

    If they were nodes of one database, this would have shown while they were watched together
    (their messages were counted), and they would have been joined. So only the time counts in which
    they were watched together. This time begins anew with a new server, or when no receiver has run
    for a while.
    """
    begin = max(_alive_since(one.record), _alive_since(other.record))
    mark = one.leader.mark
    # A line that is late or down keeps its state, so the time before that goes on to count.
    if mark is not None and _are_both_alive(one, other) and is_watched(one, other, times):
        begin = max(begin, instant(mark.at))
    end = min(one.latest.last_seen, other.latest.last_seen)
    longer = max(interval(one.record), interval(other.record))
    return end - begin > _PATIENT_INTERVALS * longer


def _alive_since(record: ServerRecord) -> datetime:
    """Since when a server has sent without a gap; `first_seen` if it is late or down."""
    return record.first_seen if record.state.stale else record.state_since


def pair(one: Line, other: Line) -> tuple[Line, Line]:
    """
    Note in each of two lines that the other is its twin, unless it has a twin already.

    Lines are twins if the database of one is a copy of the other's.
    """
    return _with_twin(one, other), _with_twin(other, one)


def _with_twin(line: Line, twin: Line) -> Line:
    if line.record.twin_of is not None:
        return line
    return line._replace(leader=updated(line.leader, twin_of=twin.leader.server_id))


def _with_mark(line: Line, mark: Mark | None) -> Line:
    return line._replace(leader=line.leader._replace(mark=mark))


def _are_parallel(elder: Line, younger: Line) -> bool:
    """
    Whether the elder of two lines sent a message after the younger one had been started.

    One of them may have stopped sending after that, as long as its record does not say late or
    down.
    """
    if not may_be_one(elder, younger) or not _are_both_alive(elder, younger):
        return False
    started = min(_started(row.record) for row in younger.members)
    return elder.latest.last_seen > started + _CLOCK_TOLERANCE


def _are_both_alive(one: Line, other: Line) -> bool:
    """Whether the records of both leaders say `new` or `up`, as an earlier check found them."""
    return one.record.state.is_heard and other.record.state.is_heard


def _started(record: ServerRecord) -> datetime:
    """When a server was started, by the receiver's clock; never later than `first_seen`."""
    if record.started_at is None or record.timestamp is None:
        return min(record.first_seen, record.started_at or record.first_seen)
    up = max(record.timestamp - record.started_at, timedelta())
    return min(record.first_seen, record.last_seen - up)


def sent_since(mark: Mark, line: Line, times: CheckTimes) -> Sent:
    """What the servers of a line have sent since the snapshot `mark`."""
    now = line.mark(times.now)
    return Sent(
        intervals=_intervals(mark, line.record, times) if _is_valid(mark, times) else 0.0,
        heartbeats=max(0, now.heartbeats - mark.heartbeats),
        first=mark.sequence,
        last=now.sequence,
    )


def are_in_order(rows: Iterable[Row]) -> bool:
    """
    Whether the sequence numbers of servers rise in the order of their `last_seen`.

    The numbers of nodes of one database do. A copy of the database goes on counting by itself, so
    its numbers fall behind those of the original or run ahead of them.
    """
    records = sorted((row.record for row in rows), key=lambda record: record.last_seen)
    return all(
        one.sequence is None or other.sequence is None or one.sequence < other.sequence
        for one, other in pairwise(records)
        if one.last_seen < other.last_seen
    )


def _is_open(silent: Line, other: Line, times: CheckTimes) -> bool:
    """
    Whether it is still undecided if a late or down line shares its database with another line.

    It is undecided only while the other line sends and both are watched together, and for at most
    12 heartbeat intervals of the `silent` line.
    """
    mark = silent.leader.mark
    if mark is None or not other.state.is_heard or not is_watched(silent, other, times):
        return False
    longest = _PATIENT_INTERVALS * interval(silent.record)
    return microseconds(times.now) - mark.at < longest // MICROSECOND


def _intervals(mark: Mark, record: ServerRecord, times: CheckTimes) -> float:
    """How many heartbeat intervals of a server, each 7 days at most, have passed since a mark."""
    declared = record.heartbeat_interval_seconds or DEFAULT_INTERVAL_SECONDS
    seconds = min(declared, interval(record).total_seconds())
    return (microseconds(times.now) - mark.at) / 1e6 / seconds


def _is_valid(mark: Mark, times: CheckTimes) -> bool:
    """Whether receivers have run without interruption since a mark, so no message was missed."""
    return mark.at >= microseconds(times.heard_since)


_CLOCK_TOLERANCE = timedelta(seconds=2)
# Three nodes send by turns, at random: only one in 130 sends nothing for so many intervals.
_PATIENT_INTERVALS = 12
_FRESH_INTERVALS = 32
