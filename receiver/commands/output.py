"""
How commands print what they have found: tables for people, JSON for programs.

On a terminal a table has colours and fits its width; elsewhere each row is one line, with two
spaces between columns. JSON is one object a line.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from io import StringIO
from typing import Any

import orjson
from attrs import frozen

from contract.fields import parse_moment
from receiver.commands.context import Surroundings

__all__ = ["Column", "Output", "day", "minute", "span", "visible"]

Json = dict[str, Any]
Column = tuple[str, Callable[[Json], str]]
"""The title of a column, and the text that an object has in it."""


@frozen(kw_only=True)
class Output:
    """
    Prints the results of a command.

    Attributes:
        surroundings: Prints the lines of the output.
        is_json: Whether the results are printed as JSON.
    """

    surroundings: Surroundings
    is_json: bool = False

    def objects(self, found: Iterable[Json], columns: Sequence[Column], *, if_none: str) -> None:
        """
        Print objects, one in each row of a table, or one line of JSON each.

        Args:
            found: The objects.
            columns: The columns of the table.
            if_none: A sentence that is printed to standard error in place of a table without rows.
        """
        if self.is_json:
            for each in found:
                self.json(each)
            return
        rows = [tuple(visible(write(each)) for _, write in columns) for each in found]
        if rows:
            self.table([title for title, _ in columns], rows)
        else:
            self.surroundings.explain(if_none)

    def one(self, found: Json, *lines: str) -> None:
        """Print an object as one line of JSON or, if `is_json` is false, print `lines` about it."""
        if self.is_json:
            self.json(found)
            return
        for line in lines:
            self.surroundings.say(line)

    def json(self, found: object) -> None:
        self.surroundings.say(orjson.dumps(found).decode())

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table, also if `is_json` is true; its texts must have no control characters."""
        width = self.surroundings.columns()
        lines = _plain(titles, rows) if width is None else _coloured(titles, rows, width)
        for line in lines:
            self.surroundings.say(line)


def visible(text: str) -> str:
    """
    The text, with Python's escapes in place of the characters that are not printable.

    A server may report a name that holds the control sequences of a terminal, or characters that
    reverse what follows.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _plain(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _coloured(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    from rich.console import Console  # noqa: PLC0415 - only terminals need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(Text(title), overflow="fold")
    for row in rows:
        # Text, as in a plain string rich would look for its own markup.
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    file = StringIO()
    Console(file=file, force_terminal=True, width=width).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


_STYLES = {
    "down": "bold red",
    "late": "yellow",
    "up": "green",
    "new": "cyan",
    "expired": "yellow",
    "revoked": "dim",
}


def span(length: timedelta) -> str:
    """
    Write a length of whole seconds by the largest unit of which it is a whole number.

    Examples are `90s`, `30m`, `12h` and `2d`.
    """
    unit, each = next(pair for pair in _UNITS if length % pair[1] == timedelta())
    return f"{length // each}{unit}"


def day(moment: str | None) -> str:
    """The day of a time in JSON, in UTC, such as `2027-01-31`; `never` for None."""
    return "never" if moment is None else f"{parse_moment(moment):%Y-%m-%d}"


def minute(moment: str | None) -> str:
    """A time in JSON to the minute, in UTC, such as `2027-01-31 12:00`; `never` for None."""
    return "never" if moment is None else f"{parse_moment(moment):%Y-%m-%d %H:%M}"


_UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
)
