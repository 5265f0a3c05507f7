"""Times and durations in words."""

from datetime import datetime

__all__ = ["ago", "clock", "duration", "exactly", "window"]


def exactly(moment: datetime) -> str:
    """A time in UTC as a text to the second, such as `2026-01-31 12:00:00 UTC`."""
    return f"{moment.isoformat(' ', 'seconds')[:19]} UTC"  # in a fifth of the time of `strftime`


def clock(moment: datetime, now: datetime) -> str:
    """
    A time in UTC as a text to the second, such as `12:00:00`; `31 Jan 12:00:00` on another day.

    The day is another one if it is not that of `now`.
    """
    is_today = moment.date() == now.date()
    return moment.strftime("%H:%M:%S" if is_today else "%d %b %H:%M:%S")


def window(label: str, cut: datetime | None) -> str:
    """
    The name of a period, such as `7 days`, for a heading.

    If the states of the server are known only since a time within the period, `cut` is that time,
    and the text says so, too. Otherwise `cut` is None.
    """
    return label if cut is None else f"{label}, known since {exactly(cut)}"


def ago(moment: datetime, now: datetime) -> str:
    """
    How long ago a time was, in the largest unit of which at least two have passed: `90 s ago`.

    The units are `d`, `h`, `min` and `s`. A time that is less than a second ago, or in the future,
    is `just now`.
    """
    seconds = (now - moment).total_seconds()
    for unit, size in _UNIT_SECONDS.items():
        if seconds >= 2 * size:
            return f"{int(seconds / size)} {unit} ago"
    return "1 s ago" if seconds >= 1 else "just now"


def duration(seconds: float) -> str:
    """
    A duration in the largest unit that fits and the next smaller one, such as `2 h 5 min`.

    The units are `d`, `h`, `min` and `s`. A duration of less than a second, or of a billion seconds
    or more, is told in seconds.
    """
    if not 1 <= seconds < _MAX_SECONDS:
        return f"{seconds:g} s"
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in _UNIT_SECONDS.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(filter(None, parts[:2]))


_UNIT_SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_MAX_SECONDS = 1e9  # longer durations are shown in seconds
