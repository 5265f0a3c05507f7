"""
What is kept of each hour: in which states the servers were, and how many heartbeats came.

Once a minute a receiver counts the servers (`Census`) and adds the numbers to the hour. So an hour
in which no receiver ran is not there at all, and of an hour in which one ran for a part of the time
it is known in how many minutes that was.
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

The value "" stands for all servers of which the value is not known, and None, which comes last, for
the servers with all values that are not listed.
"""


class Taken(NamedTuple):
    """
    What a receiver has done with the heartbeats that were sent to it.

    Attributes:
        heartbeats: How many it has written.
        turned_away: How many requests with heartbeats it could not write, for instance because the
            database did not answer: those that it answered with a status of 500 or more. A request
            may have held several.
    """

    heartbeats: int = 0
    turned_away: int = 0

    def since(self, before: "Taken") -> "Taken":
        """What has come since an earlier moment, at which the numbers were those of `before`."""
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
        odoo_versions: How many servers have which version of Odoo; None if that was not counted.
        versions: The same for the versions of the MCP server.
        missed: How many heartbeats the servers that are late or down have promised for a minute.
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
    What a receiver notes at its first look in a minute.

    Attributes:
        at: The time of the look.
        census: The servers at this time; None if another receiver has counted them in this minute.
        taken: What has come since this receiver's last note.
        taken_at: The time of that last note, which tells to which hour `taken` belongs.
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
        begins_at: When the hour begins, in UTC.
        counted_at: When the servers were last counted in it.
        minutes: In how many of its minutes the servers were counted.
        sums: For each state the numbers of servers at all these counts, added up.
        worst: How many servers were in which state when most of them were late or down; of several
            such counts, at the one with most down, and of several of those at the last one.
        stages: How many servers had which stage at the last count.
        odoo_versions: How many servers had which version of Odoo, when that was last counted.
        versions: The same for the versions of the MCP server.
        heartbeats: How many heartbeats were written.
        turned_away: How many requests with heartbeats could not be written (`Taken`).
        missed: How many heartbeats of servers that were late or down did not come; about so many.
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
        """The hour in which a census is the first one."""
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
        """Whether nobody has counted the servers in the minute of a census yet."""
        return begin_of_minute(self.counted_at) < begin_of_minute(census.at)

    def counted(self, census: Census) -> "Hour":
        """The hour with one more census."""
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
        """This hour and a later one, as if they were one."""
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
        """The share of all servers, over the time, that was neither late nor down; 0 to 1."""
        total = sum(self.sums.values())
        return 1 - silent(self.sums) / total if total else None

    def mean(self, state: str) -> float:
        """How many servers were in a state on average."""
        return self.sums.get(state, 0) / self.minutes


def silent(states: Mapping[str, int]) -> int:
    """How many servers are late or down."""
    return sum(states.get(state, 0) for state in _SILENT)


def begin_of_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def begin_of_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def most_frequent(counts: Mapping[str, int], total: int) -> Shares:
    """
    The values that most servers have, as many as are kept for an hour.

    Servers may report any text. So only the 12 most frequent values are kept; the others, and those
    of more than 64 characters, are counted together.

    Args:
        counts: How many servers have which value, where it is known.
        total: How many servers there are.
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
