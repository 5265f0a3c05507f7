"""
The weekly report: how available each database was, what changed in the fleet, and the alarms.

The report has a line for each database: for each server that is in the list of servers, or that has
left or was deleted within the week. If several servers (nodes) share a database, the one that lists
show stands for all. Several databases may have the same name, such as those of different customers,
so a line is identified by the id of its server.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from io import StringIO
from statistics import fmean
from typing import Any, Final

from attrs import field, frozen

from contract import EventKind
from contract.fields import format_moment
from receiver.domain.alerts.messages.spelling import cell, safe
from receiver.domain.alerts.windows import zone_or_utc

__all__ = ["WEEK", "DatabaseWeek", "Report", "WeekCounts", "percent"]

WEEK: Final = timedelta(days=7)
"""How long the time is that a report is about."""


@frozen(kw_only=True)
class WeekCounts:
    """
    What is counted for a line of the report, by SQL.

    Attributes:
        server_id: The server that stands for the database.
        database: The name of the database; None if it is unknown, as that of a deleted server is.
        is_listed: Whether the server is in the list of servers now; False if it has left or was
            deleted.
        events: How many events of each kind there were within the week: about this server, about
            the other servers (nodes) of the database, and about servers that were superseded
            (replaced in a rebuild of the database).
        alarms: How many alarms about any of these servers began within the week.
    """

    server_id: str
    database: str | None
    is_listed: bool
    events: Mapping[str, int] = field(factory=dict)
    alarms: int = 0


@frozen(kw_only=True)
class DatabaseWeek:
    """
    A line of the report: what happened to one database within the week.

    Attributes:
        counts: The events and the alarms of the database.
        availability: The share of the week, 0 to 1, in which the database was neither late nor
            down. The time before it came to the fleet does not count, nor the time in which it
            flapped (its state changed again and again). None if no time counts, or if the server
            has left or was deleted.
        availability_before: The same share of the week before the one of the report.
    """

    counts: WeekCounts
    availability: float | None
    availability_before: float | None

    @property
    def name(self) -> str:
        """
        The name of the database, or the id of its server if the name is unknown.

        Another character stands for each one that is not printable.
        """
        name = self.counts.database or self.counts.server_id
        return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)

    @property
    def is_new(self) -> bool:
        """
        Whether the database came to the fleet within the week.

        That is so if it is still listed, and at least one of the servers that were registered for
        it in the week is neither a further node of the database, nor has superseded another one of
        its servers. The events of the week are only counted to find that out.
        """
        events = self.counts.events
        known = events.get(_REBUILT, 0) + events.get(EventKind.NODE.value, 0)
        return self.counts.is_listed and events.get(EventKind.REGISTERED.value, 0) > known

    @property
    def is_gone(self) -> bool:
        return not self.counts.is_listed

    @property
    def rebuilt(self) -> int:
        """How often the database was rebuilt within the week."""
        return self.counts.events.get(_REBUILT, 0)

    @property
    def upgraded(self) -> int:
        """How often a new version of Odoo or of the MCP server was reported within the week."""
        return self.counts.events.get(EventKind.UPGRADED.value, 0)

    @property
    def down(self) -> int:
        """How often the database went down within the week."""
        return self.counts.events.get(EventKind.DOWN.value, 0)

    @property
    def is_uneventful(self) -> bool:
        """
        Whether the database was available all the time, and nothing else happened to it.

        That it came to the fleet within the week does not count: `Report.news` tells it.
        """
        happened = self.down or self.rebuilt or self.upgraded or self.counts.alarms
        return self.availability == 1 and not (self.is_gone or happened)

    def to_json(self) -> dict[str, Any]:
        return {
            "server_id": self.counts.server_id,
            "database": self.counts.database,
            "availability": self.availability,
            "availability_before": self.availability_before,
            **{name: read(self) for name, read in _COLUMNS.items()},
        }


@frozen(kw_only=True)
class Report:
    """
    The report of a week.

    Attributes:
        since: The beginning of the week.
        until: The end of the week.
        lines: A line for each database, the least available first; databases that have left or were
            deleted come last.
        alarms: How many alarms began within the week, including those that are about no server.
    """

    since: datetime
    until: datetime
    lines: Sequence[DatabaseWeek]
    alarms: int

    @classmethod
    def of(cls, lines: Iterable[DatabaseWeek], *, until: datetime, fleet_alarms: int) -> "Report":
        """
        Make the report of the week that ends at `until`.

        Args:
            lines: The lines, in any order.
            until: The end of the week.
            fleet_alarms: How many alarms began within the week that are not counted in any line,
                such as those about no server.
        """
        worst_first = sorted(lines, key=_by_availability)
        return cls(
            since=until - WEEK,
            until=until,
            lines=worst_first,
            alarms=fleet_alarms + sum(each.counts.alarms for each in worst_first),
        )

    @property
    def listed(self) -> int:
        """How many databases there are, without those that have left or were deleted."""
        return sum(not line.is_gone for line in self.lines)

    @property
    def availability(self) -> float | None:
        """
        The mean availability of all databases whose availability is known, 0 to 1.

        None if it is not known of any.
        """
        return _mean(line.availability for line in self.lines)

    @property
    def availability_before(self) -> float | None:
        """The mean availability in the week before, 0 to 1; None if it is not known of any."""
        return _mean(line.availability_before for line in self.lines)

    @property
    def poor(self) -> list[DatabaseWeek]:
        """
        The lines of databases that were not available all the time, the least available first.

        Databases that have left or were deleted are left out, as are those whose availability is
        not known.
        """
        return [line for line in self.lines if not line.is_gone and _or_all(line.availability) < 1]

    @property
    def eventful(self) -> list[DatabaseWeek]:
        """The lines that tell more than that the database was available, in their order."""
        return [line for line in self.lines if not line.is_uneventful]

    @property
    def uneventful(self) -> list[DatabaseWeek]:
        """The lines of databases that were available all the time, and nothing else happened."""
        return [line for line in self.lines if line.is_uneventful]

    @property
    def news(self) -> dict[str, list[DatabaseWeek]]:
        """
        The lines of databases that came, went, were rebuilt or were upgraded within the week.

        They are in four lists, each sorted by name, by the words `New`, `Gone`, `Rebuilt` and
        `Upgraded`. A line may be in several of them, and a list may be empty.
        """
        return {
            label: sorted(filter(is_meant, self.lines), key=lambda line: line.name)
            for label, is_meant in _NEWS.items()
        }

    def title(self, zone: str) -> str:
        """
        One line that tells the days of the week, and how many databases and alarms there were.

        `zone` is the IANA time zone of the days.
        """
        databases, alarms = _count(self.listed, "database"), _count(self.alarms, "alarm")
        return f"Fleet report, {self._days(zone)}: {databases}, {alarms}"

    def text(self, zone: str, *, link: str | None) -> str:
        """
        The report as a message for people: plain text, of a length that a chat takes.

        Args:
            zone: The IANA time zone of the times.
            link: The URL of the report as a page; None if no URL of the receiver is known.
        """
        shares = percent(self.availability), percent(self.availability_before)
        parts = [
            f"{self._days(zone)}, times in {zone}.",
            f"{_count(self.listed, 'database')}, {_count(self.alarms, 'alarm')}.",
            "Available: {} of the time; in the week before: {}.".format(*shares),
            *(f"{label} ({len(lines):,}): {_names(lines)}" for label, lines in self.news.items()),
        ]
        if self.poor:
            parts += ["", "Least available:", *map(_sentence, self.poor[:_MOST_LINES])]
        if len(self.poor) > _MOST_LINES:
            parts.append(f"and {len(self.poor) - _MOST_LINES:,} more below 100%")
        if link is not None:
            parts += ["", link]
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The figures for programs: those of the whole fleet, and the first 100 lines."""
        return {
            "since": format_moment(self.since),
            "until": format_moment(self.until),
            "databases": self.listed,
            "alarms": self.alarms,
            "availability": self.availability,
            "availability_before": self.availability_before,
            "lines": [line.to_json() for line in self.lines[:_MOST_LINES_IN_JSON]],
        }

    def csv(self) -> str:
        """
        The report as CSV (RFC 4180), a row for each line.

        Shares are numbers from 0 to 1. A text that a spreadsheet would take for a formula begins
        with an apostrophe, because the names of servers are the words of whoever sends them.
        """
        out = StringIO()
        rows = [line.to_json() for line in self.lines]
        writer = csv.DictWriter(out, [*_CSV_FIRST, *_COLUMNS], lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
        return out.getvalue()

    def _days(self, zone: str) -> str:
        """The days of the week, such as `24 January to 31 January 2026`."""
        where = zone_or_utc(zone)
        first, last = self.since.astimezone(where), self.until.astimezone(where)
        begin = f"{first.day} {first:%B}" + (f" {first.year}" if first.year != last.year else "")
        return f"{begin} to {last.day} {last:%B %Y}"


def percent(share: float | None) -> str:
    """
    A share of 0 to 1 in percent, with one decimal: `99.9%`; a dash if it is None (unknown).

    A share below 1 is never rounded to 100%.
    """
    if share is None:
        return "\N{EN DASH}"
    return "100%" if share >= 1 else f"{min(share * 100, 99.9):.1f}%"


def _by_availability(line: DatabaseWeek) -> tuple[bool, float, str, str]:
    """The key by which lines are sorted: the least available first, those that are gone last."""
    share = _or_all(line.availability)
    return line.is_gone, share, line.name, line.counts.server_id


def _or_all(share: float | None) -> float:
    """The share; all of it where it is not known."""
    return 1.0 if share is None else share


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _mean(shares: Iterable[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return fmean(known) if known else None


def _names(lines: Sequence[DatabaseWeek]) -> str:
    if not lines:
        return "none"
    first = ", ".join(safe(line.name) for line in lines[:_MOST_NAMES])
    rest = len(lines) - _MOST_NAMES
    return f"{first} and {rest:,} more" if rest > 0 else first


def _sentence(line: DatabaseWeek) -> str:
    """A line of the report as a sentence."""
    before = f"week before: {percent(line.availability_before)}"
    down = {0: "", 1: ", down once"}.get(line.down, f", down {line.down} times")
    return f"- {safe(line.name)}: {percent(line.availability)} ({before}){down}"


_REBUILT = EventKind.REBUILT.value
_MOST_NAMES = 10
_MOST_LINES = 10
_MOST_LINES_IN_JSON = 100

_NEWS: Mapping[str, Callable[[DatabaseWeek], bool]] = {
    "New": lambda line: line.is_new,
    "Gone": lambda line: line.is_gone,
    "Rebuilt": lambda line: line.rebuilt > 0,
    "Upgraded": lambda line: line.upgraded > 0,
}

_CSV_FIRST = ("server_id", "database", "availability", "availability_before")
_COLUMNS: Mapping[str, Callable[[DatabaseWeek], Any]] = {
    "new": lambda line: line.is_new,
    "gone": lambda line: line.is_gone,
    "rebuilt": lambda line: line.rebuilt,
    "upgraded": lambda line: line.upgraded,
    "down": lambda line: line.down,
    "alarms": lambda line: line.counts.alarms,
}
"""The columns of a report that are counted, and how each is read from a line."""
