"""
Groups events that happened together, so that an outage of five hundred servers is one line.

Three or more servers to which the same happened, each within a minute of the next, are one group. A
group covers ten minutes at most, so that what goes on all day is not one group of a whole day.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from attrs import frozen

from contract import EventKind

__all__ = ["Brief", "Entry", "Group", "together"]

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
        server_id: The server that the event is about; None for the fleet as a whole.
    """

    id: int
    at: datetime
    kind: EventKind
    server_id: str | None


@frozen(kw_only=True)
class Group:
    """
    Events of one kind, of several servers, that happened together.

    Attributes:
        id: The number of the newest event.
        kind: What happened.
        server_ids: The servers to which it happened, without repetitions, the newest event first.
        first: When it happened first.
        last: When it happened last.
    """

    id: int
    kind: EventKind
    server_ids: Sequence[str]
    first: datetime
    last: datetime


Entry = Brief | Group
"""A line of a timeline."""


class _Run:
    """Events of one kind, newest first, each of which happened soon before the next."""

    def __init__(self) -> None:
        self.events: list[Brief] = []
        self.server_ids: dict[str, None] = {}

    def takes(self, event: Brief) -> bool:
        newest, oldest = self.events[0].at, self.events[-1].at
        return oldest - event.at <= _TOGETHER and newest - event.at <= _LONGEST

    def add(self, event: Brief) -> None:
        self.events.append(event)
        if event.server_id is not None:
            self.server_ids[event.server_id] = None

    @property
    def is_group(self) -> bool:
        return len(self.server_ids) >= _FEWEST

    def growth(self, event: Brief) -> int:
        """How many lines more the events take with another one; fewer, if they become a group."""
        if self.is_group:
            return 0
        known = len(self.server_ids)
        is_new = event.server_id is not None and event.server_id not in self.server_ids
        return 1 - len(self.events) if known + is_new >= _FEWEST else 1

    def entries(self) -> list[Entry]:
        if not self.is_group:
            return [*self.events]
        moments = [event.at for event in self.events]
        group = Group(
            id=self.events[0].id,
            kind=self.events[0].kind,
            server_ids=tuple(self.server_ids),
            first=min(moments),
            last=max(moments),
        )
        return [group]


def together(events: Sequence[Brief], *, most: int) -> tuple[list[Entry], int]:
    """
    The lines of a timeline.

    Args:
        events: The events, newest first.
        most: How many lines there are at most.

    Returns:
        The lines, and how many of the events are in them. The first line is the one with the newest
        event. If not all events have a place, the oldest ones are left out.
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
    found = [entry for run in runs for entry in run.entries()]
    return sorted(found, key=lambda entry: entry.id, reverse=True), taken
