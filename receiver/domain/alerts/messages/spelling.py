"""
How names, times and durations are written in messages, and texts in files for spreadsheets.

Names were reported by servers, and nobody has checked them. So they are written without line
breaks, without characters that change the direction of the text, and without those by which chats
and mail programs make links, mentions and other markup.
"""

import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

__all__ = ["cell", "duration", "exactly", "names", "safe"]


def safe(text: str, most: int = 80) -> str:
    """
    A text that somebody else has chosen, such that it cannot pretend to be more than a name.

    It is on one line, has at most `most` characters, and none that is invisible, changes the
    direction of the text, or makes a link, a mention or other markup in a chat or a mail program.
    """
    shown = "".join(map(_shown, text[: most + 1])).replace("://", ":\N{FRACTION SLASH}/")
    cut = shown if len(text) <= most else f"{shown[: most - 1]}…"
    return " ".join(cut.split()) or "(blank)"


def cell(value: object) -> object:
    """
    A value in CSV: a text that a spreadsheet would take for a formula begins with an apostrophe.

    Otherwise a server could let the spreadsheet of whoever opens the file do what its name says.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _shown(character: str) -> str:
    if character in _LOOKALIKES:
        return _LOOKALIKES[character]
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    return "\N{REPLACEMENT CHARACTER}" if category in _HIDDEN else character


def exactly(moment: datetime, where: tzinfo) -> str:
    """A time to the second, with its offset from UTC."""
    text = moment.astimezone(where).isoformat(sep=" ", timespec="seconds")
    return f"{text[:_WITHOUT_OFFSET]} UTC{text[_WITHOUT_OFFSET:]}"


def duration(passed: timedelta) -> str:
    """A duration in the largest unit that fits and the next smaller one, such as `2 h 5 min`."""
    rest = max(0, int(passed.total_seconds()))
    parts: list[str] = []
    for unit, size in _UNIT_SECONDS.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0 s"


def names(texts: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    first = ", ".join(safe(each, 60) for each in texts[:_MOST_NAMES])
    return f"{first} and {len(texts) - _MOST_NAMES} more" if len(texts) > _MOST_NAMES else first


_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
"""With what formulas begin; also in the wide forms, which some spreadsheets take for the same."""

_MOST_NAMES = 5
_WITHOUT_OFFSET = len("2026-01-31 12:00:00")
_UNIT_SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_HIDDEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
_LOOKALIKES = {
    "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
    ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
    "[": "(",
    "]": ")",
    "*": "\N{ASTERISK OPERATOR}",
    "`": "'",
    "|": "\N{BROKEN BAR}",
    "~": "\N{TILDE OPERATOR}",
    "@": "\N{FULLWIDTH COMMERCIAL AT}",
    "&": "\N{FULLWIDTH AMPERSAND}",
    "#": "\N{FULLWIDTH NUMBER SIGN}",
    "\\": "\N{REVERSE SOLIDUS OPERATOR}",
}
"""Characters that make markup somewhere, and others that look like them."""
