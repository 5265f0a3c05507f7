"""The performance targets of the receiver."""

from collections.abc import Iterator, Sequence
from statistics import median

from attrs import field, frozen

from scale import Cost
from throughput import KEYED, Throughput

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


def bars(throughput: Sequence[Throughput], costs: Sequence[Cost]) -> list[Bar]:
    """The targets, each with the measured figure; only those for which there are results."""
    return [*_of_throughput(throughput), *_of_costs(costs)]


def _of_throughput(throughput: Sequence[Throughput]) -> Iterator[Bar]:
    by_name = {each.name: each for each in throughput}
    if not by_name:
        return
    sqlite = by_name["SQLite"]
    yield _at_least(1.0, sqlite.rate_to_plain, "SQLite: heartbeats/s, plain handler = 1")
    yield _at_most(2.0, sqlite.p99_to_plain, "SQLite: p99, plain handler = 1")
    yield _at_least(
        0.6, by_name["PostgreSQL"].rate_to_plain, "PostgreSQL: heartbeats/s, plain handler = 1"
    )
    beside = zip(by_name[KEYED].rounds, sqlite.rounds, strict=True)
    to_open = median(keyed.per_second / without.per_second for keyed, without in beside)
    yield _at_least(0.95, to_open, f"{KEYED}: heartbeats/s, without one = 1")
    batches = by_name["SQLite, batches"]
    yield _at_least(20_000, batches.heartbeats_per_second, "SQLite, batches: heartbeats/s")


def _of_costs(costs: Sequence[Cost]) -> Iterator[Bar]:
    for cost in costs:
        yield _at_most(1.3, cost.growth, f"{cost.database}: {cost.what}, 100,000 : 1,000 servers")


def _at_least(bound: float, measured: float, what: str) -> Bar:
    return Bar(what=what, measured=measured, bound=bound, lower=True)


def _at_most(bound: float, measured: float, what: str) -> Bar:
    return Bar(what=what, measured=measured, bound=bound, lower=False)
