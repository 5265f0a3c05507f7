"""
Rules for deleting servers in bulk ("forgetting"): which ones may be deleted, and how the rows of
the servers that refer to them change.

A server that was superseded (replaced by another server of its database) may be deleted alone. A
server that is shown in lists is deleted either together with its nodes (the other servers of its
database) and the servers that it superseded, or not at all, because otherwise these would be
listed again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from attrs import evolve, field, frozen

from contract import ServerRecord, State
from receiver.domain.instants import microseconds
from receiver.domain.queries import ALL_SERVERS, SUPERSEDED, Filter
from receiver.domain.rows import Row

__all__ = ["FORGETTABLE", "Forgettable", "Forgotten", "Stage", "to_forget", "without"]

_GONE = (State.LEFT, State.DOWN)
FORGETTABLE = (SUPERSEDED, *(state.value for state in _GONE))
"""The values of `Filter.state` whose servers may be deleted, in the order of deletion."""


@frozen(kw_only=True)
class Forgettable:
    """
    A filter for servers to delete. Only servers that are superseded, down or have left match.

    Attributes:
        matching: A filter by attributes of servers. Its states are some of `FORGETTABLE`; without
            a state, it stands for all of these.
        heard_before: Only servers whose last message was received before this time; None if that
            does not matter.
        same_since: Only servers whose state has been the same since before this time; None if that
            does not matter.
    """

    matching: Filter = field(default=ALL_SERVERS)
    heard_before: datetime | None = None
    same_since: datetime | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """The values of `Filter.state` whose servers are searched, one after the other."""
        wanted = self.matching.state
        return tuple(state for state in FORGETTABLE if state in wanted) if wanted else FORGETTABLE

    def may_go(self, record: ServerRecord) -> bool:
        """
        Whether a server is superseded, down or has left, and matches `heard_before` and
        `same_since`.
        """
        if record.superseded_by is None and record.state not in _GONE:
            return False
        if self.heard_before is not None and record.last_seen >= self.heard_before:
            return False
        return self.same_since is None or record.state_since < self.same_since


class Stage(NamedTuple):
    """
    How far a deletion in several transactions has come.

    Attributes:
        state: The value of `Filter.state` whose servers the next transaction searches.
        after: It searches only servers whose `server_id` is after this one; empty for all.
    """

    state: str
    after: str = ""


class Forgotten(NamedTuple):
    """
    What one transaction has deleted, or would delete in a dry run.

    Attributes:
        ids: The `server_id`s, sorted.
        next_stage: Where the next transaction must go on; None if no servers are left to search.
    """

    ids: list[str]
    next_stage: Stage | None


def to_forget(
    rows: Mapping[str, Row],
    chosen: Collection[str],
    asked: Forgettable,
    *,
    known: Collection[str],
) -> set[str]:
    """
    Choose the servers to delete in one transaction; returns their ids.

    Args:
        rows: The rows of the chosen servers, of their nodes (the other servers of a database), and
            of servers that these superseded, by `server_id`.
        chosen: The ids of servers that match `asked.matching`: superseded servers, or servers that
            are shown in lists.
        asked: The filter. Its `may_go` must also be true for the nodes of a chosen server, and for
            the servers that these superseded; otherwise none of them is deleted.
        known: The ids of those servers for which `rows` has all servers that they superseded. Any
            other superseded server is kept for a later call, and so is the listed server that
            supersedes it, directly or not.
    """
    nodes, older = _by(rows, "node_of"), _by(rows, "superseded_by")
    gone: set[str] = set()
    for server_id in chosen:
        if rows[server_id].record.superseded_by is not None:
            line, before = [], [server_id]
        else:
            line = [server_id, *nodes[server_id]]
            before = _all_before(line, older)
        if all(asked.may_go(rows[each].record) for each in (*line, *before)):
            ready = [each for each in before if each in known]
            gone.update(ready, line if len(ready) == len(before) else ())
    return gone


def without(row: Row, gone: Collection[str], rows: Mapping[str, Row], at: datetime) -> Row:
    """
    The row of a server that is kept, without references to the deleted servers `gone`.

    `superseded_by` becomes the next successor that is kept, or None. If the server was superseded
    or a node, and is neither any more, its `due_at` becomes `at`, so that the watchdog (the task
    that looks for silent servers) checks it next. Returns the same object when nothing changes.

    Args:
        row: The row of the server that is kept.
        gone: The ids of the deleted servers.
        rows: Rows by `server_id`, among which those of the deleted servers must be.
        at: The time of the deletion.
    """
    before = row.record
    record = evolve(
        before,
        superseded_by=_successor(before, gone, rows),
        twin_of=None if before.twin_of in gone else before.twin_of,
        node_of=None if before.node_of in gone else before.node_of,
    )
    if record == before:
        return row
    was_led = (before.superseded_by, before.node_of) != (None, None)
    is_back = was_led and record.superseded_by is None is record.node_of
    due_at = microseconds(at) if is_back else row.due_at
    return row._replace(record=record, revision=row.revision + 1, due_at=due_at)


def _by(rows: Mapping[str, Row], field: str) -> Mapping[str, list[str]]:
    """Group the ids of rows by the `server_id` that this field of their record holds."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for server_id, row in rows.items():
        named = getattr(row.record, field)
        if named is not None:
            found[named].append(server_id)
    return found


def _all_before(line: Iterable[str], older: Mapping[str, list[str]]) -> list[str]:
    """
    The ids of all servers that the servers of a line (one database) superseded, directly or not.

    `older` holds, by `server_id`, the ids of the servers that each server superseded directly.
    """
    found: dict[str, None] = {}
    waiting = [*line]
    while waiting:
        new = [each for each in older[waiting.pop()] if each not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return [*found]


def _successor(record: ServerRecord, gone: Collection[str], rows: Mapping[str, Row]) -> str | None:
    """The id of the next server in the chain of `superseded_by` that is not among the deleted."""
    by, seen = record.superseded_by, set[str]()
    while by is not None and by in gone:
        if by in seen:  # a cycle, whose servers are all deleted
            return None
        seen.add(by)
        by = rows[by].record.superseded_by
    return by
