"""The performance targets of the receiver."""

from collections.abc import Iterator, Sequence
from statistics import median

from attrs import field, frozen

import alerts
from alerts import Alerting
from greed import LONGEST_MS, MOST_ON_DISK, Greed
from laboratory import DATABASES
from neighbours import Reading, Storm
from scale import DISCOVERY, Cost
from throughput import KEYED, NEW, Throughput

__all__ = ["Bar", "bars"]


@frozen(kw_only=True)
class Bar:
    """
    A performance target, and the figure measured for it.

    Attributes:
        what: Name and unit of the figure.
        measured: The measured figure.
        bound: The target.
        lower: Whether `bound` is a lower bound; else it is an upper one.
        reached: Whether the figure meets the target.
    """

    what: str
    measured: float
    bound: float
    lower: bool
    reached: bool = field(init=False)

    @reached.default
    def _compare(self) -> bool:
        return self.measured >= self.bound if self.lower else self.measured <= self.bound


def bars(  # noqa: PLR0913, PLR0917 - the results of each part
    throughput: Sequence[Throughput],
    costs: Sequence[Cost],
    readings: Sequence[Reading],
    storms: Sequence[Storm],
    greedy: Sequence[Greed],
    alerting: Sequence[Alerting],
) -> list[Bar]:
    """The targets, each with the measured figure; only those for which there are results."""
    return [
        *_of_throughput(throughput),
        *(
            _at_most(2.0, each.p99_to_alone, f"{each.database}: p99 beside a reader, alone = 1")
            for each in readings
        ),
        *(
            _at_most(100, each.p99_ms, f"{each.database}: p99 beside a storm, ms, the worst")
            for each in storms
        ),
        *_of_greed(greedy),
        *_of_alerts(alerting),
        *_of_costs(costs),
    ]


def _of_throughput(throughput: Sequence[Throughput]) -> Iterator[Bar]:
    by_name = {each.name: each for each in throughput}
    if not by_name:
        return
    sqlite = by_name["SQLite"]
    for name, bound in _LOWEST_TO_PLAIN.items():
        what = f"{name}: heartbeats/s, plain handler = 1, the worst round"
        yield _at_least(bound, by_name[name].worst_to_plain, what)
    yield _at_most(2.0, sqlite.p99_to_plain, "SQLite: p99, plain handler = 1")
    beside = zip(by_name[KEYED].rounds, sqlite.rounds, strict=True)
    to_open = median(keyed.per_second / without.per_second for keyed, without in beside)
    yield _at_least(0.95, to_open, f"{KEYED}: heartbeats/s, without one = 1")
    for database in DATABASES:
        pairs = zip(by_name[database].rounds, by_name[f"{database}, {NEW}"].rounds, strict=True)
        cost = max(known.per_second / new.per_second for known, new in pairs)
        yield _at_most(2.0, cost, f"{database}: a new server, a heartbeat = 1, the worst round")


def _of_greed(greedy: Sequence[Greed]) -> Iterator[Bar]:
    if greedy:
        waits = max(each.longest_ms for each in greedy)
        yield _at_most(LONGEST_MS, waits, "beside a greedy key: the longest wait, ms")
        on_disk = max(each.on_disk for each in greedy)
        yield _at_most(MOST_ON_DISK, on_disk, "a greedy key: bytes on disk, sent = 1, the worst")


def _of_alerts(alerting: Sequence[Alerting]) -> Iterator[Bar]:
    for each in alerting:
        having = f"{each.database}, {alerts.RULES} rules, {alerts.SILENCES} silences"
        rate, p99 = each.rate_to_without, each.p99_to_without
        yield _at_least(alerts.LEAST_RATE, rate, f"{having}: heartbeats/s, without them = 1")
        yield _at_most(alerts.MOST_P99, p99, f"{having}: p99, without them = 1")


def _of_costs(costs: Sequence[Cost]) -> Iterator[Bar]:
    for cost in costs:
        most_ms = _MOST_MS.get((cost.what, cost.database), _MOST_MS.get((cost.what, "")))
        if most_ms is not None:
            what = f"{cost.database}: {cost.what}, ms at {_USUAL_SIZE:,} servers"
            yield _at_most(most_ms, cost.microseconds[_USUAL_SIZE] / 1e3, what)
        if cost.what == DISCOVERY:  # it lists all servers
            continue
        yield _at_most(1.3, cost.growth, f"{cost.database}: {cost.what}, 100,000 : 1,000 servers")


_LOWEST_TO_PLAIN = {
    "SQLite": 1.0,
    "PostgreSQL": 0.7,
    "SQLite, batches": 4.0,
    "PostgreSQL, batches": 2.5,
}
_USUAL_SIZE = 10_000
_MOST_MS = {
    ("first page", ""): 1.5,
    ("page of 1,000", ""): 12.0,
    ("one record", "SQLite"): 0.5,
    ("one record", "PostgreSQL"): 1.2,
    ("the front page", ""): 8.0,
    (DISCOVERY, ""): 60.0,
}
"""The longest median time of a read, by its name and database; without one it is that of both."""


def _at_least(bound: float, measured: float, what: str) -> Bar:
    return Bar(what=what, measured=measured, bound=bound, lower=True)


def _at_most(bound: float, measured: float, what: str) -> Bar:
    return Bar(what=what, measured=measured, bound=bound, lower=False)
