"""How the cost of a request grows from a thousand to a hundred thousand servers."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from attrs import frozen

import stored
from laboratory import DATABASES, Laboratory
from processes import BenchmarkFailed, Server
from traffic import RARE_TOOL, Load, Traffic
from wrk import run

__all__ = ["DISCOVERY", "SIZES", "Cost", "Memory", "measure"]

SIZES = (1_000, 10_000, 100_000)
DISCOVERY = "discovery for Prometheus"
_PAGE = 100


@frozen(kw_only=True)
class Cost:
    """
    The cost of one kind of request.

    Attributes:
        what: Name of the request, such as `one heartbeat`.
        database: `SQLite` or `PostgreSQL`.
        microseconds: Median cost over the rounds, by the number of servers.
        growth: Ratio of the cost with the most servers to that with the fewest, in the same
            round; median over the rounds.
        rounds: For each round, the cost in microseconds by the number of servers.
    """

    what: str
    database: str
    microseconds: Mapping[int, float]
    growth: float
    rounds: Sequence[Mapping[int, float]]


@frozen(kw_only=True)
class Memory:
    """
    The memory of a receiver's process.

    Attributes:
        database: `SQLite` or `PostgreSQL`.
        servers: Number of servers that have sent a heartbeat.
        rss_bytes: Resident set size.
        pss_bytes: Proportional set size, in which shared pages count in part.
    """

    database: str
    servers: int
    rss_bytes: int
    pss_bytes: int


@frozen
class _Subject:
    """A receiver that keeps records of `size` servers, and the requests to measure by name."""

    database: str
    size: int
    server: Server
    loads: Mapping[str, Load]


def measure(
    lab: Laboratory, *, rounds: int, seconds: int, say: Callable[[str], None]
) -> tuple[list[Cost], list[Memory]]:
    """
    Measure each kind of request on receivers with records of 1,000 to 100,000 servers.

    Each of the `rounds` runs each kind once: heartbeats for `seconds`, reads for a fifth of that.
    """
    empty = [_memory(database, 0, lab.receiver(database, "empty")) for database in DATABASES]
    fleets = {database: _fleets(lab, database, say) for database in DATABASES}
    costs: dict[tuple[str, str], list[dict[int, float]]] = {}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: what a request costs")
        for database, subjects in fleets.items():
            for what in subjects[0].loads:
                # Alternate the order, so that a drift of the machine favours no size.
                ordered = subjects[:: -1 if number % 2 else 1]
                found = {each.size: _microseconds(each, what, seconds) for each in ordered}
                costs.setdefault((what, database), []).append(dict(sorted(found.items())))
    full = [
        _memory(database, subjects[-1].size, subjects[-1].server)
        for database, subjects in fleets.items()
    ]

    return [_cost(what, database, each) for (what, database), each in costs.items()], empty + full


def _fleets(lab: Laboratory, database: str, say: Callable[[str], None]) -> list[_Subject]:
    subjects = []
    for size in SIZES:
        say(f"filling {database} with {size:,} servers")
        name = f"servers_{size}"
        server = lab.receiver(database, name)
        traffic = Traffic(size, lab.folder / database / name)
        stored.fill(server, traffic)
        lab.settle(database, name)
        subjects.append(_Subject(database, size, server, _loads(traffic, server)))
    return subjects


def _loads(traffic: Traffic, server: Server) -> dict[str, Load]:
    middle = stored.cursor_at(server, traffic.size // 2)
    pages = {
        "first page": f"/servers?limit={_PAGE}",
        "page in the middle": f"/servers?limit={_PAGE}&cursor={middle}",
        "page by capability": f"/servers?limit={_PAGE}&capability={RARE_TOOL}",
    }
    for what, path in pages.items():
        listed = len(stored.page(server, path))
        if listed != _PAGE:
            raise BenchmarkFailed(f"{what}: {listed} servers where {_PAGE} were expected.")

    return {
        "one heartbeat": traffic.heartbeats(),
        **{what: traffic.page(what, path) for what, path in pages.items()},
        "one record": traffic.records(),
        "page of 1,000": traffic.page("page of 1000", "/servers?limit=1000"),
        "the front page": traffic.page("front page", "/"),
        DISCOVERY: traffic.page("discovery", "/sd/prometheus"),
    }


def _microseconds(subject: _Subject, what: str, seconds: int) -> float:
    """Over many connections, the run time per answered request; over one, the median latency."""
    load = subject.loads[what]
    if load.connections > 1:
        return 1e6 / run(load, subject.server, seconds=seconds).per_second
    least = 1
    if what == DISCOVERY:  # each answer has all servers, and takes seconds where there are many
        least = max(1, subject.size // 8_000)
    return 1e3 * run(load, subject.server, seconds=max(least, seconds // 5), fewest=3).p50_ms


def _memory(database: str, servers: int, server: Server) -> Memory:
    rss, pss = server.memory()
    return Memory(database=database, servers=servers, rss_bytes=rss, pss_bytes=pss)


def _cost(what: str, database: str, rounds: Sequence[Mapping[int, float]]) -> Cost:
    return Cost(
        what=what,
        database=database,
        microseconds={size: median(each[size] for each in rounds) for size in SIZES},
        growth=median(each[SIZES[-1]] / each[SIZES[0]] for each in rounds),
        rounds=rounds,
    )
