"""In which states a server was, from the events that tell of it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from attrs import field, frozen

from contract import Event, EventKind, ServerRecord

__all__ = ["WINDOWS", "History", "Span"]

WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
"""Over which times availability is told."""

_STATE_AFTER: Mapping[EventKind, str] = {
    EventKind.LATE: "late",
    EventKind.DOWN: "down",
    EventKind.RECOVERED: "up",
    EventKind.REBUILT: "superseded",
}
_AWAY = {"late", "down"}


@frozen
class Span:
    """A time in which a server was in one state: `up`, `late`, `down` or `superseded`."""

    state: str
    start: datetime
    end: datetime


@frozen
class History:
    """
    The states of a server since it was first seen, oldest first, without a gap.

    One that is new counts as up.
    """

    _spans: tuple[Span, ...] = field()

    @classmethod
    def of(cls, record: ServerRecord, events: Iterable[Event], now: datetime) -> "History":
        """The history of a server, of which events tell in their order."""
        spans: list[Span] = []
        state, since = "up", record.first_seen
        for event in events:
            after = _STATE_AFTER.get(event.kind)
            if event.at < record.first_seen:
                continue
            if event.kind is EventKind.RECOVERED and not spans:
                # What told of its silence is forgotten, but not how long that was.
                away = timedelta(seconds=event.details["away_seconds"])
                silent_since = max(since, event.at - away)
                spans.append(Span(state, since, silent_since))
                state, since = "down", silent_since
            if after not in (None, state):
                spans.append(Span(state, since, max(since, event.at)))
                state, since = str(after), max(since, event.at)
        if not spans and record.state.stale:
            # What told of its silence is forgotten.
            silent_since = max(since, record.state_since)
            spans.append(Span(state, since, silent_since))
            state = record.state.value if record.superseded_by is None else "superseded"
            since = silent_since
        spans.append(Span(state, since, max(since, now)))
        return cls(tuple(spans))

    def spans(self, window: timedelta) -> list[Span]:
        """The states of the last so much time, or of as much as there is."""
        start = self._spans[-1].end - window
        return [
            Span(each.state, max(each.start, start), each.end)
            for each in self._spans
            if each.end > start
        ]

    def availability(self, window: timedelta) -> float | None:
        """
        The part of the last so much time in which the server was neither late nor down.

        From 0 to 1, of the time since it was first seen and not superseded; None when
        there was no such time.
        """
        spans = [each for each in self.spans(window) if each.state != "superseded"]
        total = _length(spans)
        if not total:
            return None
        return 1 - _length(each for each in spans if each.state in _AWAY) / total


def _length(spans: Iterable[Span]) -> timedelta:
    return sum((each.end - each.start for each in spans), timedelta())
