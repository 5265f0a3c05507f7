"""
What is kept of each hour: in which states the servers were, and how many heartbeats came.

Once a minute a receiver counts the servers (`Census`) and adds the numbers to the hour. So there is
no `Hour` for an hour in which no receiver ran, and each `Hour` says in how many of its minutes the
servers were counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from attrs import evolve, frozen

from contract import State

__all__ = [
    "MOST_HOURS",
    "NOTHING_TAKEN",
    "Census",
    "Hour",
    "Minute",
    "Shares",
    "Taken",
    "begin_of_hour",
    "begin_of_minute",
    "most_frequent",
]

MOST_HOURS = 93 * 24
"""How many hours are kept: those of a quarter of a year, which has at most 92 days, and a day."""

Shares = Sequence[tuple[str | None, int]]
"""
How many servers have which value of a field, such as their stage; the most frequent values first.

After these, the value "" stands for the servers of which the value is not known, and at the end
None stands for the servers with any value that is not listed.
"""


class Taken(NamedTuple):
    """
    How many heartbeats a receiver has taken in, in some time or since it was started.

    Attributes:
        heartbeats: How many heartbeats it has written to the database.
        turned_away: How many requests with heartbeats it has answered with a status of 500 or more,
            for instance because the database did not answer. A request may have held several
            heartbeats.
    """

    heartbeats: int = 0
    turned_away: int = 0

    def since(self, before: "Taken") -> "Taken":
        """
        How much of these numbers has come since an earlier moment.

        Both count from the start of the receiver; `before` has the numbers of that moment.
        """
        return Taken(self.heartbeats - before.heartbeats, self.turned_away - before.turned_away)


NOTHING_TAKEN = Taken()


@frozen(kw_only=True)
class Census:
    """
    The servers that lists show at one moment, without those of revoked and expired keys.

    Attributes:
        at: The moment.
        states: How many servers are in which state.
        stages: How many servers have which stage.
        odoo_versions: How many servers have which version of Odoo; None if the versions were not
            counted this time.
        versions: How many servers have which version of the MCP server; None if the versions were
            not counted this time.
        missed: How many heartbeats the servers that are late or down would send in a minute at the
            intervals that they have declared.
    """

    at: datetime
    states: Mapping[str, int]
    stages: Shares
    odoo_versions: Shares | None = None
    versions: Shares | None = None
    missed: float = 0.0


@frozen(kw_only=True)
class Minute:
    """
    What a receiver adds to the history once a minute.

    Attributes:
        at: The time at which it does so.
        census: The servers at this time; None if another receiver has counted them in this minute.
        taken: How many heartbeats this receiver has taken in since it last added to the history.
        taken_at: When it last added to the history; `taken` is counted for the hour of this time.
    """

    at: datetime
    census: Census | None = None
    taken: Taken = NOTHING_TAKEN
    taken_at: datetime


@frozen(kw_only=True)
class Hour:
    """
    What is known of an hour, or of several hours together.

    Attributes:
        begins_at: When the hour, or the first of several hours, begins, in UTC.
        counted_at: When the servers were last counted in it.
        minutes: In how many of its minutes the servers were counted.
        sums: For each state the numbers of servers at all these counts, added up.
        worst: How many servers were in which state at the worst count: the one with the most
            servers late or down. Of several such counts it is the one with the most servers down,
            and of several of these the last one.
        stages: How many servers had which stage at the last count.
        odoo_versions: How many servers had which version of Odoo, when that was last counted; empty
            if it never was.
        versions: How many servers had which version of the MCP server, when that was last counted;
            empty if it never was.
        heartbeats: How many heartbeats all receivers have written.
        turned_away: How many requests with heartbeats they have answered with a status of 500 or
            more.
        missed: An estimate of how many heartbeats did not come, of servers that were late or down.
    """

    begins_at: datetime
    counted_at: datetime
    minutes: int
    sums: Mapping[str, int]
    worst: Mapping[str, int]
    stages: Shares = ()
    odoo_versions: Shares = ()
    versions: Shares = ()
    heartbeats: int = 0
    turned_away: int = 0
    missed: float = 0.0

    @classmethod
    def begun_by(cls, census: Census) -> "Hour":
        """Make the hour in which a census is taken, if it is the first one of this hour."""
        return cls(
            begins_at=begin_of_hour(census.at),
            counted_at=census.at,
            minutes=1,
            sums=census.states,
            worst=census.states,
            stages=census.stages,
            odoo_versions=census.odoo_versions or (),
            versions=census.versions or (),
            missed=census.missed,
        )

    def lacks(self, census: Census) -> bool:
        """Whether the servers were not counted yet in the minute in which a census is taken."""
        return begin_of_minute(self.counted_at) < begin_of_minute(census.at)

    def counted(self, census: Census) -> "Hour":
        """Return the hour with a further census added to it."""
        return evolve(
            self,
            counted_at=census.at,
            minutes=self.minutes + 1,
            sums=_added(self.sums, census.states),
            worst=_worse(self.worst, census.states),
            stages=census.stages,
            odoo_versions=self.odoo_versions
            if census.odoo_versions is None
            else census.odoo_versions,
            versions=self.versions if census.versions is None else census.versions,
            missed=self.missed + census.missed,
        )

    def with_next(self, other: "Hour") -> "Hour":
        """Return this hour and a later one (or several) together, as one `Hour`."""
        return evolve(
            self,
            counted_at=other.counted_at,
            minutes=self.minutes + other.minutes,
            sums=_added(self.sums, other.sums),
            worst=_worse(self.worst, other.worst),
            stages=other.stages,
            odoo_versions=other.odoo_versions,
            versions=other.versions,
            heartbeats=self.heartbeats + other.heartbeats,
            turned_away=self.turned_away + other.turned_away,
            missed=self.missed + other.missed,
        )

    @property
    def availability(self) -> float | None:
        """
        Which share of the servers was neither late nor down, on average over the time, 0 to 1.

        None if there were no servers.
        """
        total = sum(self.sums.values())
        return 1 - silent(self.sums) / total if total else None

    def mean(self, state: str) -> float:
        """How many servers were in a state, on average over the minutes that were counted."""
        return self.sums.get(state, 0) / self.minutes


def silent(states: Mapping[str, int]) -> int:
    """How many servers are late or down, of the numbers of servers in each state."""
    return sum(states.get(state, 0) for state in _SILENT)


def begin_of_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def begin_of_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def most_frequent(counts: Mapping[str, int], total: int) -> Shares:
    """
    Choose the most frequent values of a field, as many as are kept for an hour.

    Servers may report any text. So only the 12 most frequent values of at most 64 characters are
    kept. Servers with another value are counted together, under None, and servers whose value is
    unknown under the empty text; these two come last, in addition to the 12.

    Args:
        counts: How many servers have which value; an empty value stands for an unknown one.
        total: How many servers there are. The value of those that are not in `counts` is unknown.
    """
    known = Counter({text: n for text, n in counts.items() if text and n > 0})
    short = Counter({text: n for text, n in known.items() if len(text) <= _LONGEST})
    shown = sorted(short.items(), key=lambda item: (-item[1], item[0]))[:_MOST_VALUES]
    others = known.total() - sum(n for _, n in shown)
    unknown = total - known.total()
    ends: list[tuple[str | None, int]] = [("", unknown), (None, others)]
    return [*shown, *((text, n) for text, n in ends if n > 0)]


def _added(a: Mapping[str, int], b: Mapping[str, int]) -> Mapping[str, int]:
    return Counter(a) + Counter(b)


def _worse(a: Mapping[str, int], b: Mapping[str, int]) -> Mapping[str, int]:
    """The worse of two counts, or the later one, `b`."""
    return a if _badness(a) > _badness(b) else b


def _badness(states: Mapping[str, int]) -> tuple[int, int]:
    return silent(states), states.get(State.DOWN.value, 0)


_SILENT = [state.value for state in State if state.stale]
_MOST_VALUES = 12
_LONGEST = 64
