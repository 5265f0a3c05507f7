"""In which states a server was, from what is told of its life."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

from attrs import field, frozen

from contract import EventKind, State
from receiver.store.state_changes import Life
from receiver.store.tables import instant, microseconds

__all__ = ["LONGEST", "WINDOWS", "History", "Span"]

WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
"""Over which times availability is told."""

LONGEST = max(WINDOWS.values())

_STATE_AFTER: Mapping[str, str] = {
    EventKind.LATE.value: "late",
    EventKind.DOWN.value: "down",
    EventKind.RECOVERED.value: "up",
    EventKind.REBUILT.value: "superseded",
}
_RECOVERED = EventKind.RECOVERED.value
_AWAY = {"late", "down"}
_STALE = {state.value for state in State if state.stale}
_BEST_FIRST = ("up", "late", "down", "superseded")

_Part = tuple[str, int, int]
"""A state, and from when to when it was so, in microseconds since 1970."""


class Span(NamedTuple):
    """A time in which a server was in one state: `up`, `late`, `down` or `superseded`."""

    state: str
    start: datetime
    end: datetime


@frozen
class History:
    """
    The states of a server since a moment, oldest first, without a gap.

    One that is new counts as up.
    """

    _parts: Sequence[_Part] = field()
    _since: datetime = field()

    @classmethod
    def of(cls, lives: Collection[Life], *, since: datetime, now: datetime) -> "History":
        """
        The history of a server since a moment, or since it was first seen.

        With the lives of those that it has superseded, it is that of their database: at each
        moment the best of what those were who had not been superseded yet.
        """
        each = [_parts(life, microseconds(now)) for life in lives]
        parts = each[0] if len(each) == 1 else _best(each)
        start = microseconds(since)
        known = [(state, max(a, start), b) for state, a, b in parts if b > start]
        return cls(known or parts[-1:], since)

    def covers(self, window: timedelta) -> bool:
        """Whether as much time before now is told of."""
        return self._end() - window >= self._since

    def spans(self, window: timedelta) -> list[Span]:
        """The states of the last so much time, or of as much as there is."""
        parts = [*self._within(window)]
        ends = [instant(end) for _, _, end in parts]
        starts = [instant(start) for _, start, _ in parts[:1]] + ends
        states = [state for state, _, _ in parts]
        return [*map(Span, states, starts, ends)]

    def availability(self, window: timedelta) -> float | None:
        """
        The part of the last so much time in which the server was neither late nor down.

        From 0 to 1, of the time since it was first seen and not superseded; None when
        there was no such time.
        """
        time: Counter[str] = Counter()
        for state, start, end in self._within(window):
            time[state] += end - start
        total = time.total() - time["superseded"]
        return 1 - sum(time[state] for state in _AWAY) / total if total else None

    def _end(self) -> datetime:
        return instant(self._parts[-1][2])

    def _within(self, window: timedelta) -> Iterator[_Part]:
        start = self._parts[-1][2] - window // timedelta(microseconds=1)
        return ((state, max(a, start), b) for state, a, b in self._parts if b > start)


def _parts(life: Life, now: int) -> list[_Part]:
    parts: list[_Part] = []
    first_seen = life.first_seen
    state, since = "up", first_seen
    for kind, at in life.turns:
        if at < first_seen:  # of an earlier life
            continue
        if kind == _RECOVERED and not parts:
            # What told of its silence is forgotten, but not how long that was.
            silent_since = max(since, at - int(life.away_seconds * 1e6))
            parts.append((state, since, silent_since))
            state, since = "down", silent_since
        after = _STATE_AFTER[kind]
        if after != state:
            began = max(since, at)
            parts.append((state, since, began))
            state, since = after, began
    if not parts and life.state in _STALE:
        # What told of its silence is forgotten.
        silent_since = max(since, life.state_since)
        parts.append((state, since, silent_since))
        state, since = "superseded" if life.is_superseded else life.state, silent_since
    parts.append((state, since, max(since, now)))
    return parts


def _best(lives: Sequence[Sequence[_Part]]) -> list[_Part]:
    """The best of several at each moment, since the first of them was."""
    begins = [(start, n, state) for n, parts in enumerate(lives) for state, start, _ in parts]
    begins.sort(key=itemgetter(0))
    states: dict[int, str] = {}
    number: Counter[str] = Counter()
    best: list[tuple[str, int]] = []
    for start, n, state in begins:
        number.subtract([states[n]] if n in states else [])
        number[state] += 1
        states[n] = state
        first = next(state for state in _BEST_FIRST if number[state])
        if not best or best[-1][0] != first:
            best.append((first, start))
    ends = [*(start for _, start in best[1:]), max(parts[-1][2] for parts in lives)]
    return [(state, start, end) for (state, start), end in zip(best, ends, strict=True)]
