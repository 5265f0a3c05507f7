"""The states of a server over some time, as a row of SVG bars."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby

from attrs import frozen

from receiver.service.availability import Span
from receiver.web.pages.wording.times import duration

__all__ = ["Strip", "strip"]


@frozen(kw_only=True)
class Bar:
    """
    One of the bars of a `Strip`, a row of SVG bars: the state of a server in a part of some time.

    Attributes:
        x: The left edge of the bar, in SVG units.
        width: The width of the bar, in SVG units.
        state: The worst state of the server in the time of the bar, as in `Strip.states`.
        title: The tooltip, such as `31 Jan 12:00 to 13:00 UTC: up`.
    """

    x: float
    width: float
    state: str
    title: str


@frozen(kw_only=True)
class Strip:
    """
    The states of a server over some time, as a row of SVG bars of the same width.

    Each bar shows the worst state of its time, so that short outages are visible.

    Attributes:
        start: When the first bar begins.
        length: The time that a bar covers.
        states: For each bar the worst state in its time. The worst one is `down`; then come `late`,
            `flapping`, `up`, `left` and `superseded`, and at last `unknown`, where no state is
            known.
        times: How long the server was in each state.
    """

    start: datetime
    length: timedelta
    states: list[str]
    times: Mapping[str, timedelta]

    @property
    def says(self) -> str:
        """
        How long the server was in each state, in words, the longest time first; `not known` if no
        state is known. Of times of less than a second only the longest is told.
        """
        longest_first = sorted(self.times.items(), key=lambda item: item[1], reverse=True)
        told = ", ".join(
            f"{state} for {duration(time.total_seconds())}"
            for n, (state, time) in enumerate(longest_first)
            if not n or time >= timedelta(seconds=1)
        )
        return told or "not known"

    @property
    def bars(self) -> list[Bar]:
        """The bars with positions and tooltips, to be drawn one by one."""
        times = [self.start + n * self.length for n in range(len(self.states) + 1)]
        return [
            Bar(
                x=_BAR_STEP * n,
                width=_BAR_STEP - 1,
                state=state,
                title=f"{times[n]:%d %b %H:%M} to {times[n + 1]:%H:%M} UTC: {state}",
            )
            for n, state in enumerate(self.states)
        ]

    @property
    def paths(self) -> Mapping[str, str]:
        """
        For each state all of its bars as one SVG path, which needs fewer bytes than single bars.

        Neighbours of the same state are one horizontal line. The page must draw it dashed, so that
        the bars are seen.
        """
        return _paths(tuple(self.states))


@lru_cache(maxsize=1000)
def _paths(states: Sequence[str]) -> Mapping[str, str]:
    """The paths of `Strip.paths`; many servers of a list have the same ones."""
    paths: dict[str, str] = {}
    n = 0
    for state, run in groupby(states):
        bars = sum(1 for _ in run)
        line = f"M{_BAR_STEP * n} 5h{_BAR_STEP * bars - 1}"
        paths[state] = paths.get(state, "") + line
        n += bars
    return paths


def strip(spans: Sequence[Span], *, start: datetime, end: datetime, bars: int) -> Strip:
    """
    Divide a time into bars of the same length, and find the worst state of a server in each.

    Args:
        spans: The states of the server.
        start: When the time begins.
        end: When the time ends.
        bars: How many bars there are.
    """
    length = (end - start) / bars
    worst = ["unknown"] * bars
    total: dict[str, timedelta] = {}
    for span in spans:
        first = min(bars - 1, max(0, (span.start - start) // length))
        last = min(bars - 1, (span.end - start) // length)
        total[span.state] = total.get(span.state, timedelta()) + (span.end - span.start)
        severity = _SEVERITY[span.state]
        worst[first : last + 1] = [
            span.state if _SEVERITY[each] < severity else each for each in worst[first : last + 1]
        ]
    return Strip(start=start, length=length, states=worst, times=total)


_BAR_STEP = 4  # SVG units from the left edge of a bar to that of the next
_WORST_LAST = ("unknown", "superseded", "left", "up", "flapping", "late", "down")
_SEVERITY = {state: n for n, state in enumerate(_WORST_LAST)}
