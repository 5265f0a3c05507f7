"""
The types of the arguments of commands, and the argument QUERY, a filter of servers.

Each type is a function that reads the text of an argument, and raises BadParameter for a wrong one.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from contract.fields import parse_moment
from receiver.domain.filter_text import FilterText
from receiver.domain.keys import id_of

__all__ = [
    "QueryCommand",
    "expiry",
    "key_id",
    "length",
    "moment",
    "number",
    "query",
    "query_argument",
    "since",
    "some_text",
    "text",
]

F = TypeVar("F", bound=Callable[..., Any])


def text(given: str) -> str:
    """Read an argument that is any text."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("expected text in UTF-8") from None
    return given


def some_text(given: str) -> str:
    """Read an argument that is a text which is not empty."""
    if not given:
        raise click.BadParameter("expected some text")
    return text(given)


def key_id(given: str) -> str:
    """Read an argument that is the id of a key, or the whole text of the key; returns the id."""
    return text(id_of(given))


def length(given: str) -> timedelta:
    """
    Read a length of time: a whole number and a unit, such as `90d`, `12h`, `30m` or `90s`.

    The number is from 1 to 99,999; the units are days, hours, minutes and seconds.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})([dhms])", given)
    if match is None:
        raise click.BadParameter("expected a length of time such as 2d, 12h, 30m or 90s")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def number(given: str) -> int:
    """Read a whole number from 1 to 1,000."""
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= 1000):
        raise click.BadParameter("expected a whole number from 1 to 1000")
    return int(given)


def moment(given: str) -> datetime:
    """Read an ISO 8601 time with an offset, such as `2027-01-31T12:00:00Z`; returns it in UTC."""
    try:
        return parse_moment(given)
    except (ValueError, OverflowError):
        raise click.BadParameter("expected a time such as 2027-01-31T12:00:00Z") from None


def expiry(given: str) -> Callable[[datetime], datetime]:
    """
    Read an argument that says when a key expires: a length of time from now on, or a time.

    A length of time is a whole number and `d` for days, `h` for hours, `m` for minutes or `s` for
    seconds, such as `90d`. A time is in ISO 8601 with an offset, such as `2027-01-31T12:00:00Z`.
    Returns a function that takes the current time, and returns the time at which the key expires.
    """
    return _time(given, 1)


def since(given: str) -> Callable[[datetime], datetime]:
    """
    Read an argument that says where a period begins: a length of time before now, or a time.

    A length of time is a whole number and `d` for days, `h` for hours, `m` for minutes or `s` for
    seconds: `2h` means two hours ago. A time is in ISO 8601 with an offset, such as
    `2027-01-31T12:00:00Z`. Returns a function that takes the current time, and returns the time at
    which the period begins.
    """
    return _time(given, -1)


def _time(given: str, direction: int) -> Callable[[datetime], datetime]:
    with suppress(click.BadParameter):
        span = length(given) * direction
        return lambda now: now + span
    with suppress(click.BadParameter):
        at = moment(given)
        return lambda _: at
    raise click.BadParameter(
        "expected a length of time such as 90d, 12h or 30m, or a time such as 2027-01-31T12:00:00Z"
    )


def query(words: Sequence[str]) -> FilterText:
    """Read a filter of servers, such as `stage:production state:down`; each word is an argument."""
    try:
        return FilterText.parse(" ".join(map(text, words)))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


class QueryCommand(click.Command):
    """A command with the argument QUERY, in which a word such as `-tool:x` is not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A filter ignores the space, with which the word does not look like an option.
        return super().parse_args(ctx, [f" {a}" if _EXCLUDED.match(a) else a for a in args])


def query_argument(function: F) -> F:
    """Give a command the argument QUERY, a filter of servers in any number of words."""
    return click.argument(
        "query",
        nargs=-1,
        metavar="[QUERY]...",
        callback=lambda _, __, words: query(words),
    )(function)


_EXCLUDED = re.compile("-[a-z]+:")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
