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
    Return a text that somebody else has chosen, changed so that it can be no more than a name.

    It is on one line and has at most `most` characters. None of them is invisible, changes the
    direction of the text, or makes a link, a mention or other markup in a chat or a mail program;
    other characters stand for these. A text of which nothing is left becomes `(blank)`.
    """
    shown = "".join(map(_shown, text[: most + 1])).replace("://", ":\N{FRACTION SLASH}/")
    cut = shown if len(text) <= most else f"{shown[: most - 1]}…"
    return " ".join(cut.split()) or "(blank)"


def cell(value: object) -> object:
    """
    Return a value for a CSV file, with an apostrophe before a text that looks like a formula.

    Otherwise a server could choose a name that the spreadsheet of whoever opens the file carries
    out. Values that are no such text are returned as they are.
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
    """A time in the time zone `where`, to the second: `2026-01-31 12:00:00 UTC+01:00`."""
    text = moment.astimezone(where).isoformat(sep=" ", timespec="seconds")
    return f"{text[:_WITHOUT_OFFSET]} UTC{text[_WITHOUT_OFFSET:]}"


def duration(passed: timedelta) -> str:
    """
    A duration in its largest unit and the next smaller one, such as `2 h 5 min` or `3 d`.

    The units are d, h, min and s. What is less than a second, or negative, is `0 s`.
    """
    rest = max(0, int(passed.total_seconds()))
    parts: list[str] = []
    for unit, size in _UNIT_SECONDS.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0 s"


def names(texts: Sequence[str]) -> str:
    """The first five names, made `safe`, and how many more: `a, b, c, d, e and 2 more`."""
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
