"""Computes from events in which states a server was over time, and how available it was."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

from attrs import field, frozen

from contract import EventKind, State
from receiver.domain.history import StateChange, StateLog
from receiver.domain.instants import MICROSECOND, instant, microseconds

__all__ = ["LONGEST", "WINDOWS", "History", "Span"]

WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
"""The lengths of the periods for which availability is computed, by their names in the API."""

LONGEST = max(WINDOWS.values())

_STATE_AFTER: Mapping[str, str] = {
    EventKind.LATE.value: "late",
    EventKind.DOWN.value: "down",
    EventKind.RECOVERED.value: "up",
    EventKind.REBUILT.value: "superseded",
    EventKind.FLAPPING.value: "flapping",
}
_STATE_BEFORE: Mapping[str, str] = {
    EventKind.DOWN.value: "late",
    EventKind.RECOVERED.value: "down",
    EventKind.REBUILT.value: "down",
}
"""The state that a server had before an event; up before any other one."""
_RECOVERED = EventKind.RECOVERED.value
_UNAVAILABLE = {"late", "down"}
_LEFT = State.LEFT.value
_UNCOUNTED = {"superseded", "flapping", _LEFT}
_STALE = {state.value for state in State if state.stale}
_SILENT = {*_STALE, _LEFT}
_BEST_FIRST = ("up", "flapping", "late", "down", _LEFT, "superseded")

_Interval = tuple[str, int, int]
"""A state, and its start and end in microseconds since 1970."""


class Span(NamedTuple):
    """
    A time span in which a server was `up`, `late`, `down`, `superseded`, `flapping` or `left`.

    While a server flaps (stops sending and comes back again and again), its changes are only
    counted, so it is not known when it was up in such a span. `left` is the last span of a server
    that has said that it sends no more; that it had left before is not kept.
    """

    state: str
    start: datetime
    end: datetime


@frozen
class History:
    """
    The states of a server since a certain time, oldest first, without a gap.

    A server in the state `new` counts as up. The argument `window` of the methods is a length of
    time: what is meant is the time of this length before the end of the history, which is the time
    at which it was computed.
    """

    _intervals: Sequence[_Interval] = field()
    _since: datetime = field()
    _cut: datetime | None = field(default=None)

    @classmethod
    def of(cls, logs: Collection[StateLog], *, since: datetime, now: datetime) -> "History":
        """
        Compute the history of a server from `since`, or from when it was first seen, to `now`.

        Args:
            logs: The changes of the state of the server, and those of each server that it
                superseded: its predecessors in the same database. At each time the history has the
                best state of the servers that were not superseded by then; the best is up, then
                come flapping, late and down. It begins later than `since` when a server has
                changed its state so often that not all changes were read.
            since: The beginning of the history.
            now: The end of the history.
        """
        each = [_intervals(log, microseconds(now)) for log in logs]
        intervals = each[0] if len(each) == 1 else _best(each)
        cut = max((log.changes[0][1] for log in logs if log.is_cut), default=None)
        start = microseconds(since) if cut is None else max(cut, microseconds(since))
        known = [(state, max(a, start), b) for state, a, b in intervals if b > start]
        return cls(known or intervals[-1:], since, None if cut is None else instant(cut))

    @property
    def known_since(self) -> datetime:
        """When the known states begin: not before the server was first seen."""
        return instant(self._intervals[0][1])

    def covers(self, window: timedelta) -> bool:
        """Whether the history was computed from the beginning of the window on, or from earlier."""
        return self._end() - window >= self._since

    def cut_within(self, window: timedelta) -> datetime | None:
        """
        The time before which there were too many changes of states to read them all.

        The states before it are not known. Returns None if there is no such time within the window.
        """
        is_within = self._cut is not None and self._cut > self._end() - window
        return self._cut if is_within else None

    def spans(self, window: timedelta) -> list[Span]:
        """
        The states within the window, oldest first.

        The first one is cut at the start of the window, or begins with the history.
        """
        intervals = [*self._within(window)]
        ends = [instant(end) for _, _, end in intervals]
        starts = [instant(start) for _, start, _ in intervals[:1]] + ends
        states = [state for state, _, _ in intervals]
        return [*map(Span, states, starts, ends)]

    def availability(self, window: timedelta) -> float | None:
        """
        The share of the window, 0 to 1, in which the server was neither late nor down.

        Some time does not count: that before the beginning of the history, and that in which the
        server was superseded (replaced) or flapping, or had left. Returns None if no time in the
        window counts.
        """
        return _available_share(self._within(window))

    def availability_between(self, start: datetime, end: datetime) -> float | None:
        """
        The share of the time from `start` to `end`, 0 to 1, in which the server was neither late
        nor down.

        The time before the beginning of the history, and that in which the server was superseded
        (replaced) or flapping, or had left, does not count. Returns None if no time counts.
        """
        first, last = microseconds(start), microseconds(end)
        return _available_share(
            (state, max(a, first), min(b, last))
            for state, a, b in self._intervals
            if a < last and b > first
        )

    def _end(self) -> datetime:
        return instant(self._intervals[-1][2])

    def _within(self, window: timedelta) -> Iterator[_Interval]:
        start = self._intervals[-1][2] - window // MICROSECOND
        return ((state, max(a, start), b) for state, a, b in self._intervals if b > start)


def _available_share(intervals: Iterable[_Interval]) -> float | None:
    total = unavailable = 0
    for state, start, end in intervals:
        if state not in _UNCOUNTED:
            total += end - start
            unavailable += end - start if state in _UNAVAILABLE else 0
    return 1 - unavailable / total if total else None


def _intervals(log: StateLog, now: int) -> list[_Interval]:
    intervals: list[_Interval] = []
    state, since = "up", log.first_seen
    # What is older is about a server that was deleted, and created again since.
    changes = [each for each in log.changes if each[1] >= since]
    if changes and changes[0][0] == _RECOVERED:
        # The events `late` and `down` are so old that they are deleted; that of the recovery
        # says how long the server was silent.
        silent_since = max(since, changes[0][1] - int(log.away_seconds * 1e6))
        intervals.append((state, since, silent_since))
        state, since = "down", silent_since
    for n, (kind, at) in enumerate(changes):
        after = _STATE_AFTER.get(kind)
        if after is None:  # the server is calm
            if not intervals:  # the event `flapping` is so old that it is deleted
                state = "flapping"
            after = _state_when_calm(log, at, changes[n + 1 : n + 2])
        if after != state:
            began = max(since, at)
            intervals.append((state, since, began))
            state, since = after, began
    if not intervals and log.flapping_since is not None:
        # The event `flapping` is so old that it is deleted.
        began = max(since, log.flapping_since)
        intervals.append((state, since, began))
        state, since = "flapping", began
    if not intervals and log.state in _STALE:
        # The events `late` and `down` are so old that they are deleted.
        silent_since = max(since, log.state_since)
        intervals.append((state, since, silent_since))
        state, since = "superseded" if log.is_superseded else log.state, silent_since
    if log.state == _LEFT != state and not log.is_superseded:
        left_since = max(since, log.state_since)
        intervals.append((state, since, left_since))
        state, since = _LEFT, left_since
    intervals.append((state, since, max(since, now)))
    return intervals


def _state_when_calm(log: StateLog, at: int, later: Sequence[StateChange]) -> str:
    """The state of a server that is calm since `at`, before the next of the `later` changes."""
    if later:
        return _STATE_BEFORE.get(later[0][0], "up")
    if log.is_superseded:
        return "superseded"
    if log.state == _LEFT and log.state_since > at:
        return "up"  # that it left afterwards is no change of the log
    return log.state if log.state in _SILENT else "up"


def _best(histories: Sequence[Sequence[_Interval]]) -> list[_Interval]:
    """Merge histories: at each time the best state of any server, from the earliest start."""
    starts = [
        (start, n, state) for n, intervals in enumerate(histories) for state, start, _ in intervals
    ]
    starts.sort(key=itemgetter(0))
    states: dict[int, str] = {}
    number: Counter[str] = Counter()
    best: list[tuple[str, int]] = []
    for start, n, state in starts:
        number.subtract([states[n]] if n in states else [])
        number[state] += 1
        states[n] = state
        first = next(state for state in _BEST_FIRST if number[state])
        if not best or best[-1][0] != first:
            best.append((first, start))
    ends = [*(start for _, start in best[1:]), max(each[-1][2] for each in histories)]
    return [(state, start, end) for (state, start), end in zip(best, ends, strict=True)]
