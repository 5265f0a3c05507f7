"""The last day of one server: a band of its states, exact to the minute, and its silences."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from attrs import evolve, frozen

from receiver.service.availability import Span

__all__ = ["Day", "Silence", "day"]

_MINUTES = 24 * 60
_NARROWEST = 4
_SILENT = {"late", "down"}


@frozen(kw_only=True)
class Silence:
    """
    A time in which a server was not heard.

    Attributes:
        began: When the server became late.
        down: When it went down; None if it was only late.
        ended: When it was heard again; None if it is still silent.
        seconds: How many seconds it lasted, or has lasted up to now.
    """

    began: datetime
    down: datetime | None
    ended: datetime | None
    seconds: float

    @property
    def state(self) -> str:
        """The worst state of the server in this time: `down`, or else `late`."""
        return "late" if self.down is None else "down"


@frozen(kw_only=True)
class Day:
    """
    A picture of the last 24 hours of a server, in minutes from left to right.

    Attributes:
        width: How wide the picture is: one SVG unit for each minute.
        bands: The states in the order in which they are drawn, each with the SVG path of its times.
            A short silence is drawn wider than it was, so that it is seen.
        silences: The times in which the server was not heard, the newest first.
        hours: The full hours that are named below the picture, every sixth one: where each is, in
            percent of the width, and its name in UTC, such as `06:00`.
    """

    width: int
    bands: Sequence[tuple[str, str]]
    silences: Sequence[Silence]
    hours: Sequence[tuple[float, str]]


def day(spans: Sequence[Span], now: datetime) -> Day:
    """
    Draw the last 24 hours of a server.

    Args:
        spans: The states of the server in this time, oldest first.
        now: The end of this time.
    """
    begin = now - timedelta(minutes=_MINUTES)
    bands: dict[str, str] = {}
    for span in spans:
        first, last = _minute(span.start, begin), _minute(span.end, begin)
        width = max(last - first, _NARROWEST if span.state in _SILENT else 0)
        x = min(first, _MINUTES - width)
        if width:
            bands[span.state] = bands.get(span.state, "") + f"M{x} 0h{width}v10h-{width}z"
    return Day(
        width=_MINUTES,
        bands=sorted(bands.items(), key=lambda item: _FRONT.index(item[0])),
        silences=[*reversed([*_silences(spans)])],
        hours=[*_hours(begin, now)],
    )


def _minute(moment: datetime, begin: datetime) -> int:
    return round((moment - begin) / timedelta(minutes=1))


def _silences(spans: Iterable[Span]) -> Iterable[Silence]:
    """The silences: a server that is late and then down is silent once."""
    began: datetime | None = None
    down: datetime | None = None
    for span in spans:
        if span.state in _SILENT:
            began = began or span.start
            ended = span.end
            if span.state == "down":
                down = down or span.start
        elif began is not None:
            yield _silence(began, down, ended)
            began = down = None
    if began is not None:  # the history ends a moment before the page is made
        yield evolve(_silence(began, down, ended), ended=None)


def _silence(began: datetime, down: datetime | None, ended: datetime) -> Silence:
    return Silence(began=began, down=down, ended=ended, seconds=(ended - began).total_seconds())


def _hours(begin: datetime, now: datetime) -> Iterable[tuple[float, str]]:
    hour = begin.replace(minute=0, second=0, microsecond=0)
    while hour < now:
        percent = 100 * ((hour - begin) / timedelta(minutes=_MINUTES))
        if hour.hour % 6 == 0 and 0 <= percent <= _LAST_PERCENT:
            yield round(percent, 1), f"{hour:%H:%M}"
        hour += timedelta(hours=1)


_LAST_PERCENT = 94.0  # a name further to the right would not fit
_FRONT = ("superseded", "left", "unknown", "up", "flapping", "late", "down")
"""The states, from the back to the front."""
