"""Reading the arguments of commands; each function raises ArgumentTypeError for a wrong one."""

import argparse
import re
from datetime import datetime, timedelta

from contract.fields import parse_moment

__all__ = ["length", "moment", "number", "some_text", "text"]


def text(given: str) -> str:
    """Read an argument that is any text."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("expected text in UTF-8") from None
    return given


def some_text(given: str) -> str:
    """Read an argument that is a text which is not empty."""
    if not given:
        raise argparse.ArgumentTypeError("expected some text")
    return text(given)


def length(given: str) -> timedelta:
    """Read a length of time, such as `90d`, `12h` or `30m`."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([dhms])", given)
    if match is None:
        raise argparse.ArgumentTypeError("expected a length of time such as 2d, 12h, 30m or 90s")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def number(given: str) -> int:
    """Read a whole number from 1 to 1,000."""
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= 1000):
        raise argparse.ArgumentTypeError("expected a whole number from 1 to 1000")
    return int(given)


def moment(given: str) -> datetime:
    """Read a time with an offset."""
    try:
        return parse_moment(given)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("expected a time such as 2027-01-31T12:00:00Z") from None


_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
