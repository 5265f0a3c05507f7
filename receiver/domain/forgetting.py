"""
Forgetting: which servers may be deleted in bulk, and what becomes of those that name them.

A server that is superseded may go by itself. One that stands for a database goes with all that
belongs to it, its nodes and the servers that it superseded, or not at all: alone, it would bring
these back into the list.
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
"""The values of the filter `state` by which servers can be forgotten, in this order."""


@frozen(kw_only=True)
class Forgettable:
    """
    Which servers to forget, of those that are superseded, have left or are down.

    Attributes:
        matching: The filter. Its state is one of `FORGETTABLE`; None stands for all of them.
        heard_before: Only servers whose last message was received before this time.
        same_since: Only servers that have been in their state since before this time.
    """

    matching: Filter = field(default=ALL_SERVERS)
    heard_before: datetime | None = None
    same_since: datetime | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """The values of the filter `state` to go through."""
        state = self.matching.state
        return FORGETTABLE if state is None else (state,)

    def may_go(self, record: ServerRecord) -> bool:
        """Whether a server is not heard, and has not been for long enough."""
        if record.superseded_by is None and record.state not in _GONE:
            return False
        if self.heard_before is not None and record.last_seen >= self.heard_before:
            return False
        return self.same_since is None or record.state_since < self.same_since


class Stage(NamedTuple):
    """How far the servers to forget were gone through: those of a state, after a `server_id`."""

    state: str
    after: str = ""


class Forgotten(NamedTuple):
    """
    What one transaction has deleted, or would delete.

    Attributes:
        ids: The servers, sorted by their id.
        next_stage: Where the next transaction goes on; None when all was gone through.
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
    The ids of the servers to delete.

    Args:
        rows: The rows of the chosen servers, of their nodes, and of servers that they superseded.
        chosen: The ids of servers that are superseded or stand for a database.
        asked: Which servers may go.
        known: Those of which `rows` has every server that they superseded. Others stay, and with
            them the server that stands for their database, for a later call.
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
    The row of a server that stays, without its references to servers that are deleted.

    It is superseded by the next successor that stays. A server that stands for itself again,
    as it has none, is checked by the next sweep.
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
    """The ids of rows, by the server that this field of their record names."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for server_id, row in rows.items():
        named = getattr(row.record, field)
        if named is not None:
            found[named].append(server_id)
    return found


def _all_before(line: Iterable[str], older: Mapping[str, list[str]]) -> list[str]:
    """The servers that these superseded, those that they superseded, and so on."""
    found: dict[str, None] = {}
    waiting = [*line]
    while waiting:
        new = [each for each in older[waiting.pop()] if each not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return [*found]


def _successor(record: ServerRecord, gone: Collection[str], rows: Mapping[str, Row]) -> str | None:
    by, seen = record.superseded_by, set[str]()
    while by is not None and by in gone:
        if by in seen:  # servers that supersede each other in a circle are all gone
            return None
        seen.add(by)
        by = rows[by].record.superseded_by
    return by
