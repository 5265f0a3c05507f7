"""Heartbeats per second of the receiver, compared with a handler that stores nothing."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from attrs import frozen

import stored
from laboratory import DATABASES, Laboratory
from processes import BenchmarkFailed, Server
from traffic import Load, Traffic
from wrk import Run, run

__all__ = ["KEYED", "PLAIN", "Throughput", "measure"]

PLAIN = "the plain handler"
KEYED = "SQLite, with a key"
_SIZE = 10_000


@frozen(kw_only=True)
class Throughput:
    """
    What one contender achieved; each figure is the median over the rounds.

    A contender is a server with the requests that it is loaded with: the plain handler, which
    stores nothing, or a receiver on SQLite or PostgreSQL.

    Attributes:
        name: Name of the contender, such as `SQLite, batches`.
        heartbeats_per_second: Accepted heartbeats per second.
        p50_ms: Median latency of a request.
        p99_ms: 99th percentile of the latency.
        rate_to_plain: Ratio of heartbeats per second to the plain handler's in the same round.
        p99_to_plain: Ratio of `p99_ms` to the plain handler's in the same round.
        rounds: The measured runs.
    """

    name: str
    heartbeats_per_second: float
    p50_ms: float
    p99_ms: float
    rate_to_plain: float
    p99_to_plain: float
    rounds: Sequence[Run]


@frozen
class _Contender:
    name: str
    server: Server
    load: Load


def measure(
    lab: Laboratory, *, rounds: int, seconds: int, say: Callable[[str], None]
) -> list[Throughput]:
    """Load the plain handler and each receiver in turn, for `rounds` rounds after a warm-up."""
    contenders = _contenders(lab)
    runs: dict[str, list[Run]] = {each.name: [] for each in contenders}
    for number in range(rounds + 1):
        for each in contenders:
            done = run(each.load, each.server, seconds=seconds)
            runs[each.name].append(done)
            rate = done.per_second * each.load.heartbeats
            named = f"round {number} of {rounds}" if number else "warming up"
            say(f"{named}: {each.name}, {rate:,.0f} heartbeats/s")
    _expect_all_kept(contenders, runs)

    return [_result(each, runs) for each in contenders]


def _contenders(lab: Laboratory) -> list[_Contender]:
    traffic = Traffic(_SIZE, lab.folder)
    heartbeats, batches = traffic.heartbeats(), traffic.batches()
    receivers = {database: lab.receiver(database, "throughput") for database in DATABASES}
    keyed = lab.receiver("SQLite", "keyed", keys=True)
    for receiver in (*receivers.values(), keyed):
        stored.fill(receiver, traffic)
    for database in DATABASES:
        lab.settle(database, "throughput")

    return [
        _Contender(PLAIN, lab.plain_handler(), heartbeats),
        _Contender("SQLite", receivers["SQLite"], heartbeats),
        _Contender(KEYED, keyed, heartbeats),
        _Contender("PostgreSQL", receivers["PostgreSQL"], heartbeats),
        _Contender("SQLite, batches", receivers["SQLite"], batches),
        _Contender(f"{KEYED}, batches", keyed, batches),
        _Contender("PostgreSQL, batches", receivers["PostgreSQL"], batches),
    ]


def _expect_all_kept(contenders: Sequence[_Contender], runs: Mapping[str, Sequence[Run]]) -> None:
    """Raise BenchmarkFailed when a receiver has stored fewer heartbeats than it has answered."""
    for receiver in {each.server for each in contenders if each.name != PLAIN}:
        answered = sum(
            done.requests * each.load.heartbeats
            for each in contenders
            if each.server == receiver
            for done in runs[each.name]
        )
        kept = stored.heartbeat_count(receiver) - _SIZE
        if kept < answered:
            raise BenchmarkFailed(f"{answered} heartbeats were answered, but {kept} are stored.")


def _result(contender: _Contender, runs: Mapping[str, Sequence[Run]]) -> Throughput:
    mine, plain = runs[contender.name][1:], runs[PLAIN][1:]  # without the warm-up run
    beside = list(zip(mine, plain, strict=True))
    heartbeats = contender.load.heartbeats

    return Throughput(
        name=contender.name,
        heartbeats_per_second=median(done.per_second for done in mine) * heartbeats,
        p50_ms=median(done.p50_ms for done in mine),
        p99_ms=median(done.p99_ms for done in mine),
        rate_to_plain=median(a.per_second / b.per_second for a, b in beside) * heartbeats,
        p99_to_plain=median(a.p99_ms / b.p99_ms for a, b in beside),
        rounds=mine,
    )
