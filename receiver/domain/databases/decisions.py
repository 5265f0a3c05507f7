"""Decides how records change when servers are checked, each at the time `due_at` of its row."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from attrs import evolve

from contract import interval
from receiver.domain.databases.joining import judged
from receiver.domain.databases.lines import CheckTimes, Line, lines_of, updated, with_state
from receiver.domain.databases.liveness import due_after, due_at, state_at
from receiver.domain.databases.successions import gone_after, led, paired, replaced
from receiver.domain.databases.watching import (
    is_watched,
    marked,
    may_be_one,
    patient,
    watched,
    were_long_together,
    without_copies,
)
from receiver.domain.instants import microseconds
from receiver.domain.queries import index_text
from receiver.domain.rows import Row

__all__ = ["Decision", "decide", "is_alone"]


class Decision(NamedTuple):
    """
    The rows to write after servers were checked. Rows in which nothing changes are in neither list.

    Attributes:
        changed: For each row whose record changes, the row before and the row to write.
        postponed: The rows to write whose record stays as it is. Only the columns that the store
            calls `DUE_COLUMNS`, such as the time of the next check, must be written.
    """

    changed: list[tuple[Row, Row]]
    postponed: list[Row]


def decide(
    rows: Mapping[str, Row],
    families: Mapping[str, Sequence[str]],
    now: datetime,
    *,
    heard_since: datetime,
) -> Decision:
    """
    Check the servers whose next check is due (`due_at`), and decide how the records change.

    A server is checked together with its family: all servers with the same `database_uuid`.

    Args:
        rows: The rows of the servers to check and of their families, by `server_id`.
        families: The `server_id`s of each family, by the `database_uuid` as `index_text` returns
            it.
        now: The time of this check.
        heard_since: Since when receivers have been running without an interruption. The time before
            does not count as silence of a server.
    """
    times = CheckTimes(now, heard_since)
    due = [row for row in rows.values() if row.due_at is not None and _is_past(row.due_at, now)]
    after: dict[str, Row] = {}
    for row in due:
        if row.server_id in after:
            continue
        ids = families.get(index_text(row.record.database_uuid or ""), ())
        family = [rows[each] for each in ids if each in rows]
        kin = [each for each in family if _are_kin(each, row, family)] or [row]
        after |= {each.server_id: each for each in _settled(kin, times)}
        strangers = [each for each in family if each.server_id not in after]
        after |= {each.server_id: each for each in _without_twins(strangers, kin)}

    changed, postponed = [], []
    for server_id, row in after.items():
        before = rows[server_id]
        written = row._replace(revision=before.revision + 1)
        if row.record is not before.record:
            changed.append((before, written))
        elif row != before:
            postponed.append(written)
    return Decision(changed, postponed)


def _is_past(at: int, now: datetime) -> bool:
    return at <= microseconds(now)


def _are_kin(one: Row, other: Row, family: Iterable[Row]) -> bool:
    """
    Whether the server `one` must be checked together with the server `other`.

    They may share a database, or one may have a copy of the other's database, if they have the same
    UUID, stage and owner (API key); so the servers of one key never supersede those of another key.
    If only one key owns servers of the family (all servers with that UUID), a server without an
    owner counts as a server of this key. If `one` is superseded, it is not checked any more.
    """
    owners = {row.owner for row in family} - {None}
    only = owners.pop() if len(owners) == 1 else None
    return (
        (one.owner or only) == (other.owner or only)
        and bool(one.record.database_uuid)
        and one.record.database_uuid == other.record.database_uuid
        and (one.record.odoo_stage or "") == (other.record.odoo_stage or "")
        and one.record.superseded_by is None
    )


def _without_twins(strangers: Iterable[Row], kin: Iterable[Row]) -> Iterator[Row]:
    """
    Clear `twin_of` of servers that cannot be compared with their twin any more.

    `strangers` have the same `database_uuid` as `kin`, but another stage or owner, or are
    superseded. Yields the rows of those that named a server of `kin` as their twin.
    """
    ids = {row.server_id for row in kin}
    for row in strangers:
        if row.record.twin_of in ids:
            yield updated(row, twin_of=None)


def _settled(kin: Sequence[Row], times: CheckTimes) -> Iterator[Row]:
    """Check servers that may share a database; yields the rows of all, changed or not."""
    return alone(kin[0], times) if is_alone(kin) else together(kin, times)


def is_alone(kin: Sequence[Row]) -> bool:
    """
    Whether there is only one server, without relations to others, and not compared with others.

    Relations are those of nodes, twins and superseded servers.
    """
    row, *others = kin
    record = row.record
    relations = (record.node_of, record.twin_of, record.superseded_by, row.mark)
    return not others and not record.node_count and relations == (None, None, None, None)


def alone(row: Row, times: CheckTimes) -> Iterator[Row]:
    """
    Check a server for which `is_alone` is true; yields its row.

    `together` gives the same result, but takes five times as long, and most servers are alone.
    """
    state = state_at(row.record, times.now, heard_since=times.heard_since)
    return _written(Line(row, (), state), times, is_open=False)


def together(kin: Sequence[Row], times: CheckTimes) -> Iterator[Row]:
    """Check servers that may share a database, and compare them; yields the rows of all."""
    by_name: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines_of(kin, times):
        for each in without_copies(line, times):
            by_name[each.name].append(each)
    staying: list[Line] = []
    for lines in by_name.values():
        kept, gone = replaced(patient(judged(watched(lines, times), times), times), times)
        staying += kept
        yield from (row._replace(due_at=None, mark=None) for row in gone)
    found = paired(staying)
    for line in found:
        kept_line, gone = led(line, times)
        yield from (row._replace(due_at=None, mark=None) for row in gone)
        others = [each for each in found if each.name == line.name and each is not line]
        kept_line = marked(
            kept_line, times, is_watched=any(is_watched(line, each, times) for each in others)
        )
        is_open = any(
            may_be_one(line, each) and not were_long_together(line, each, times) for each in others
        )
        yield from _written(kept_line, times, is_open=is_open)


def _written(line: Line, times: CheckTimes, *, is_open: bool) -> Iterator[Row]:
    """
    Put the state of a line (the servers of one database) and its next check into the rows.

    Yields all rows of the line. If `is_open`, it is undecided whether another line is of the same
    database, so the next check is after one heartbeat interval or earlier.
    """
    leader = updated(with_state(line.leader, line.state, times.now), node_count=len(line.nodes))
    as_one = leader.record
    if line.nodes:
        as_one = evolve(as_one, last_seen=line.latest.last_seen)
    due = due_at(as_one, heard_since=times.heard_since)
    soon = due_after(times.now, interval(leader.record))
    if due is not None and _is_past(due, times.now):
        due = soon  # it has stopped sending, but keeps its state while undecided
    elif is_open:
        due = soon if due is None else min(due, soon)
    yield leader._replace(due_at=due)

    for row in line.nodes:
        gone_at = due_after(max(row.record.last_seen, times.heard_since), gone_after(line))
        is_heard = line.state.is_heard and row.record.state.is_heard
        node = row if is_heard else with_state(row, line.state, times.now)
        due_at_last = gone_at if line.state.is_heard else None
        yield updated(node, node_count=0)._replace(due_at=due_at_last)
