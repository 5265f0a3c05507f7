"""Heartbeats per second of the receiver, compared with a handler that stores nothing."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from attrs import frozen

import stored
from alternatives import alternatives
from laboratory import DATABASES, Laboratory
from processes import BenchmarkFailed, Server, paused
from traffic import Load, Traffic
from wrk import Run, run

__all__ = ["KEYED", "NEW", "PLAIN", "Throughput", "measure"]

PLAIN = "the plain handler"
KEYED = "SQLite, with a key"
NEW = "new servers"
_SIZE = 10_000


@frozen(kw_only=True)
class Throughput:
    """
    What one contender achieved; each figure is the median over the rounds, unless it is the worst.

    A contender is a server with the requests that it is loaded with: the plain handler, which
    stores nothing, a receiver on SQLite or PostgreSQL, or what one might use instead.

    Attributes:
        name: Name of the contender, such as `SQLite, batches`.
        heartbeats_per_second: Accepted heartbeats per second.
        p50_ms: Median latency of a request.
        p99_ms: 99th percentile of the latency.
        rate_to_plain: Ratio of heartbeats per second to the plain handler's in the same round.
        worst_to_plain: The smallest of these ratios.
        p99_to_plain: Ratio of `p99_ms` to the plain handler's in the same round.
        rounds: The measured runs.
    """

    name: str
    heartbeats_per_second: float
    p50_ms: float
    p99_ms: float
    rate_to_plain: float
    worst_to_plain: float
    p99_to_plain: float
    rounds: Sequence[Run]


@frozen
class _Contender:
    name: str
    server: Server
    loads: Sequence[Load]
    """For each round, the warming up first, the requests; a single one is that of all rounds."""
    is_receiver: bool = True

    def load(self, number: int) -> Load:
        return self.loads[number % len(self.loads)]


def measure(
    lab: Laboratory, *, rounds: int, seconds: int, say: Callable[[str], None]
) -> list[Throughput]:
    """Load the plain handler and the others in turn, for `rounds` rounds after a warm-up."""
    contenders = _contenders(lab, rounds, say)
    runs: dict[str, list[Run]] = {each.name: [] for each in contenders}
    for number in range(rounds + 1):
        for each in contenders:
            load = each.load(number)
            with paused({other.server for other in contenders} - {each.server}):
                done = run(load, each.server, seconds=seconds)
            runs[each.name].append(done)
            rate = done.per_second * load.heartbeats
            named = f"round {number} of {rounds}" if number else "warming up"
            say(f"{named}: {each.name}, {rate:,.0f} heartbeats/s")
    _expect_all_kept(contenders, runs)

    return [_result(each, runs) for each in contenders]


def _contenders(lab: Laboratory, rounds: int, say: Callable[[str], None]) -> list[_Contender]:
    traffic = Traffic(_SIZE, lab.folder)
    heartbeats, batches = [traffic.heartbeats()], [traffic.batches()]
    newcomers = [traffic.newcomers(number) for number in range(rounds + 1)]
    growing = {database: lab.receiver(database, "growing") for database in DATABASES}
    receivers = {database: lab.receiver(database, "throughput") for database in DATABASES}
    keyed = lab.receiver("SQLite", "keyed", keys=True)
    for receiver in (*receivers.values(), keyed):
        stored.fill(receiver, traffic)
    for database in DATABASES:
        lab.settle(database, "throughput")

    return [
        _Contender(PLAIN, lab.plain_handler(), heartbeats, is_receiver=False),
        _Contender("SQLite", receivers["SQLite"], heartbeats),
        _Contender(KEYED, keyed, heartbeats),
        _Contender("PostgreSQL", receivers["PostgreSQL"], heartbeats),
        _Contender("SQLite, batches", receivers["SQLite"], batches),
        _Contender(f"{KEYED}, batches", keyed, batches),
        _Contender("PostgreSQL, batches", receivers["PostgreSQL"], batches),
        *(_Contender(f"{database}, {NEW}", growing[database], newcomers) for database in DATABASES),
        *(
            _Contender(each.name, each.server, [each.load], is_receiver=False)
            for each in alternatives(lab, traffic, say)
        ),
    ]


def _expect_all_kept(contenders: Sequence[_Contender], runs: Mapping[str, Sequence[Run]]) -> None:
    """Raise BenchmarkFailed when a receiver has stored fewer heartbeats than it has answered."""
    for receiver in {each.server for each in contenders if each.is_receiver}:
        answered = sum(
            done.requests * each.load(number).heartbeats
            for each in contenders
            if each.server == receiver
            for number, done in enumerate(runs[each.name])
        )
        kept = stored.heartbeat_count(receiver)
        if kept < answered:
            raise BenchmarkFailed(f"{answered} heartbeats were answered, but {kept} are stored.")


def _result(contender: _Contender, runs: Mapping[str, Sequence[Run]]) -> Throughput:
    mine, plain = runs[contender.name][1:], runs[PLAIN][1:]  # without the warm-up run
    beside = list(zip(mine, plain, strict=True))
    heartbeats = contender.load(0).heartbeats
    rates = [a.per_second / b.per_second * heartbeats for a, b in beside]

    return Throughput(
        name=contender.name,
        heartbeats_per_second=median(done.per_second for done in mine) * heartbeats,
        p50_ms=median(done.p50_ms for done in mine),
        p99_ms=median(done.p99_ms for done in mine),
        rate_to_plain=median(rates),
        worst_to_plain=min(rates),
        p99_to_plain=median(a.p99_ms / b.p99_ms for a, b in beside),
        rounds=mine,
    )
