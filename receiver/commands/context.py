"""What the commands need, beside their arguments, and how they print tables."""

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from getpass import getpass

from attrs import frozen

from receiver.settings import Settings
from receiver.store import SqlStore

__all__ = ["Context", "Print", "day", "minute", "read_secret", "span", "table"]

Print = Callable[[str], None]


@frozen
class Context:
    """
    What a command needs, beside its arguments.

    Attributes:
        store: The open database.
        settings: The settings of the receiver.
        now: The time at which the command began.
        say: Prints a line of the result.
        explain: Prints a sentence for people.
        read: Asks for a secret with a text, and reads it.
    """

    store: SqlStore
    settings: Settings
    now: datetime
    say: Print
    explain: Print
    read: Callable[[str], str]

    @property
    def database(self) -> str:
        """The URL of the database, with its password masked."""
        return str(self.settings.database_url)

    def no_such_key(self, key_id: str) -> int:
        """Print that a key does not exist or is revoked; return the exit status of a failure."""
        self.explain(
            f"There is no key {key_id!r} that is not revoked; see: python -m receiver keys list"
        )
        return 1


def read_secret(question: str) -> str:
    """
    Read a secret, which no argument of a command may hold, because `ps` shows arguments.

    It is typed, without being shown, at a terminal, and otherwise the first line of the standard
    input.
    """
    if sys.stdin.isatty():
        return getpass(f"{question}: ")
    return sys.stdin.readline().strip()


def table(lines: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a table, in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(map(str.ljust, line, widths)).rstrip()


def span(length: timedelta) -> str:
    """A length of whole seconds, as arguments have it: `90s`, `30m`, `12h` or `2d`."""
    unit, each = next(pair for pair in _UNITS if length % pair[1] == timedelta())
    return f"{length // each}{unit}"


def day(moment: datetime | None) -> str:
    return "never" if moment is None else moment.strftime("%Y-%m-%d")


def minute(moment: datetime | None) -> str:
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M")


_UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
)
