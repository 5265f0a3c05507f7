"""What a request costs when there are a thousand servers, and when there are a hundred thousand."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from attrs import frozen

import stored
from laboratory import DATABASES, Laboratory
from processes import BenchmarkFailed, Server
from traffic import RARE_TOOL, Load, Traffic
from wrk import run

__all__ = ["SIZES", "Cost", "Memory", "measure"]

SIZES = (1_000, 10_000, 100_000)
_PAGE = 100


@frozen(kw_only=True)
class Cost:
    """
    What one request costs a receiver.

    Attributes:
        what: The request.
        database: Where the receiver keeps the fleet.
        microseconds: By the number of servers; medians of the rounds.
        growth: The cost at most servers against that at fewest, in the same round;
            median of the rounds.
        rounds: What came of each round, in microseconds by the number of servers.
    """

    what: str
    database: str
    microseconds: Mapping[int, float]
    growth: float
    rounds: Sequence[Mapping[int, float]]


@frozen(kw_only=True)
class Memory:
    """
    What a receiver's process holds in memory.

    Attributes:
        database: Where it keeps the fleet.
        servers: How many it has heard.
        rss_bytes: Resident.
        pss_bytes: Its share, where it shares pages with other processes.
    """

    database: str
    servers: int
    rss_bytes: int
    pss_bytes: int


@frozen
class _Subject:
    """A receiver that keeps a fleet of some size, and what it is asked, by name."""

    database: str
    size: int
    server: Server
    loads: Mapping[str, Load]


def measure(
    lab: Laboratory, *, rounds: int, seconds: int, say: Callable[[str], None]
) -> tuple[list[Cost], list[Memory]]:
    """
    Ask receivers of every size the same, round after round.

    A heartbeat is measured for so many seconds, a read for a fifth of them.
    """
    empty = [_memory(database, 0, lab.receiver(database, "empty")) for database in DATABASES]
    fleets = {database: _fleets(lab, database, say) for database in DATABASES}
    costs: dict[tuple[str, str], list[dict[int, float]]] = {}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: what a request costs")
        for database, subjects in fleets.items():
            for what in subjects[0].loads:
                # Whoever was first is last the next time.
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
    }


def _microseconds(subject: _Subject, what: str, seconds: int) -> float:
    """Of a heartbeat the time it takes up in a crowd, of a read the time until its answer."""
    load = subject.loads[what]
    if load.connections > 1:
        return 1e6 / run(load, subject.server, seconds=seconds).per_second
    return 1e3 * run(load, subject.server, seconds=max(1, seconds // 5)).p50_ms


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
