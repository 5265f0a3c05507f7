"""
Groups events that happened together, so that an outage of five hundred servers is one line.

A group consists of events of the same kind, of three or more servers, each within a minute of the
next. A group covers ten minutes at most, so that what goes on all day is not one group of a whole
day.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from attrs import field, frozen

from contract import Event, EventKind

__all__ = ["Alike", "Brief", "Entry", "Group", "Stretch", "together"]

_TOGETHER = timedelta(minutes=1)
_LONGEST = timedelta(minutes=10)
_FEWEST = 3


class Brief(NamedTuple):
    """
    An event without its details.

    Attributes:
        id: The event's number.
        at: When the receiver noticed the event.
        kind: What happened.
        server_id: The server that the event is about; None if it is not about a single server.
    """

    id: int
    at: datetime
    kind: EventKind
    server_id: str | None


class Alike(NamedTuple):
    """
    Events of a group that have the same details.

    Attributes:
        details: The details of each of the events.
        number: How many events there are.
    """

    details: Mapping[str, Any]
    number: int


@frozen(kw_only=True)
class Group:
    """
    Events of one kind, of three or more servers, that happened together.

    Attributes:
        id: The number of the newest event.
        kind: What happened.
        server_ids: The servers that the events are about, without repetitions; that of the newest
            event comes first.
        first: The time of the earliest event.
        last: The time of the latest event.
        event_ids: The numbers of all events of the group.
        alike: The events by their details, the most frequent details first; empty if nobody has
            read the details.
        each: The events, newest first, if they are few and have different details, and somebody has
            read them; otherwise empty.
        has_more: Whether there may be earlier events of the group that were left out.
    """

    id: int
    kind: EventKind
    server_ids: Sequence[str]
    first: datetime
    last: datetime
    event_ids: Sequence[int] = ()
    alike: Sequence[Alike] = ()
    each: Sequence[Event] = ()
    has_more: bool = False


Entry = Brief | Group
"""A line of a timeline: a single event, or a group of events."""


class _Run:
    """Events of one kind, newest first, each of which happened soon before the next."""

    def __init__(self) -> None:
        self.events: list[Brief] = []
        self.server_ids: dict[str, None] = {}
        self.is_group = False

    def takes(self, event: Brief) -> bool:
        newest, oldest = self.events[0].at, self.events[-1].at
        return oldest - event.at <= _TOGETHER and newest - event.at <= _LONGEST

    def add(self, event: Brief) -> None:
        self.events.append(event)
        if event.server_id is not None:
            self.server_ids[event.server_id] = None
            self.is_group = len(self.server_ids) >= _FEWEST

    def growth(self, event: Brief) -> int:
        """How many lines more the events take with another one; fewer, if they become a group."""
        if self.is_group:
            return 0
        known = len(self.server_ids)
        is_new = event.server_id is not None and event.server_id not in self.server_ids
        return 1 - len(self.events) if known + is_new >= _FEWEST else 1

    def entries(self, *, has_more: bool) -> list[Entry]:
        if not self.is_group:
            return [*self.events]
        moments = [event.at for event in self.events]
        group = Group(
            id=self.events[0].id,
            kind=self.events[0].kind,
            server_ids=tuple(self.server_ids),
            first=min(moments),
            last=max(moments),
            event_ids=[event.id for event in self.events],
            has_more=has_more,
        )
        return [group]


def together(
    events: Sequence[Brief], *, most: int, following: Brief | None = None
) -> tuple[list[Entry], int]:
    """
    Make the lines of a timeline from events.

    Args:
        events: The events, newest first.
        most: How many lines there are at most.
        following: The newest event that is older than these; None if there is none.

    Returns:
        The lines, sorted by their newest events, newest first; and how many of the events are in
        them. If these would be more than `most` lines, the oldest events are left out.
    """
    runs: list[_Run] = []
    latest: dict[EventKind, _Run] = {}
    lines = taken = 0
    for event in events:
        run = latest.get(event.kind)
        if run is None or event.server_id is None or not run.takes(event):
            run = _Run()
        growth = run.growth(event)
        if lines + growth > most:
            break
        if not run.events:
            runs.append(run)
            if event.server_id is not None:
                latest[event.kind] = run
        run.add(event)
        lines += growth
        taken += 1
    cut = events[taken] if taken < len(events) else following
    found = [
        entry
        for run in runs
        for entry in run.entries(
            has_more=cut is not None and run is latest.get(run.events[0].kind) and run.takes(cut)
        )
    ]
    return sorted(found, key=lambda entry: entry.id, reverse=True), taken


@frozen(kw_only=True, eq=False)
class Stretch:
    """
    A stretch of the timeline, which remembers what was computed of it.

    Attributes:
        briefs: Its events, newest first.
        following: The newest event that is older than these; None if there is none.
        kinds: How many of the events are of each kind.
    """

    briefs: Sequence[Brief]
    following: Brief | None
    kinds: Counter[EventKind] = field(init=False)
    _lines: dict[int, tuple[Sequence[Entry], int]] = field(factory=dict, init=False)

    @kinds.default
    def _count(self) -> Counter[EventKind]:
        return Counter(brief.kind for brief in self.briefs)

    def together(self, *, most: int) -> tuple[Sequence[Entry], int]:
        """The lines of the stretch, at most `most`, and how many events are in them."""
        found = self._lines.get(most)
        if found is None:
            found = together(self.briefs, most=most, following=self.following)
            self._lines[most] = found
        return found
