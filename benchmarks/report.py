"""The results of the benchmarks as Markdown and as JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from attrs import asdict, frozen

from alerts import RULES, SILENCES, Alerting
from bars import Bar
from greed import Greed
from neighbours import Reading, Storm
from processes import cores
from scale import SIZES, Cost, Memory
from throughput import Throughput

__all__ = ["Results", "to_json", "to_markdown"]


@frozen(kw_only=True)
class Results:
    """
    All measured figures, with the time and the machine.

    Attributes:
        date: When the benchmarks ended, in UTC.
        machine: Facts about hardware and software, by name.
        rounds: Number of measured runs of each kind.
        seconds: Duration of a run in seconds.
        throughput: Heartbeats per second of each server that was measured.
        costs: Cost of each kind of request.
        memory: Memory of the receivers.
        readings: What heartbeats notice of a reader.
        storms: What a sender notices of many others that come back at once.
        greedy: What a key can do within its limits.
        alerting: What heartbeats notice of many rules and silences.
        bars: The performance targets.
    """

    date: datetime
    machine: Mapping[str, str]
    rounds: int
    seconds: int
    throughput: Sequence[Throughput]
    costs: Sequence[Cost]
    memory: Sequence[Memory]
    readings: Sequence[Reading]
    storms: Sequence[Storm]
    greedy: Sequence[Greed]
    alerting: Sequence[Alerting]
    bars: Sequence[Bar]


def to_json(results: Results) -> str:
    return json.dumps(asdict(results), default=datetime.isoformat, indent=2)


def to_markdown(results: Results) -> str:
    """The results as tables, what their figures mean, and how they were measured."""
    return "\n\n".join(_parts(results))


def _parts(results: Results) -> Iterator[str]:
    yield _bars(results.bars)
    if results.throughput:
        yield _throughput(results.throughput)
        yield (
            "A heartbeat has about 560 bytes and is of one of 10,000 servers.\n"
            "It comes alone on one of 64 connections, or with 999 others on one of 4; "
            "p50 and p99 are those of a request."
        )
    if results.readings:
        yield _readings(results.readings)
        yield "The reader asks for pages of 100 servers over one connection, without a pause."
    if results.storms:
        yield _storms(results.storms)
        yield (
            "All of 20,000 servers that were down send again at once, in batches over 4 "
            "connections, while another server sends a heartbeat every 10 ms; three times, of "
            "which p99 is the worst."
        )
    if results.greedy:
        yield _greed(results.greedy)
        yield (
            "A key with the usual limits sends for 10 s over 4 connections without a pause; "
            "another key sends a heartbeat every 20 ms."
        )
    if results.alerting:
        yield _alerting(results.alerting)
        yield (
            f"A receiver with a channel, {RULES} rules and {SILENCES} silences, and one without "
            "any are loaded in turn with single heartbeats of 10,000 servers. Meanwhile a server "
            "changes its tools twice a second, which ten of the rules tell."
        )
    if results.costs:
        yield _costs(results.costs)
        yield (
            "What a heartbeat costs is a second divided by the heartbeats that 64 connections "
            "get through in it.\n"
            "What a read costs is its median time, at one connection.\n"
            "A page holds 100 records; 200 servers have the capability, however many there are."
        )
    if results.memory:
        yield _memory(results.memory)
    yield _circumstances(results)


def _bars(bars: Sequence[Bar]) -> str:
    return _table(
        ("bar", "", "measured", ""),
        (
            (
                bar.what,
                f"at {'least' if bar.lower else 'most'} {_figure(bar.bound)}",
                _figure(bar.measured),
                "reached" if bar.reached else "**missed**",
            )
            for bar in bars
        ),
    )


def _throughput(throughput: Sequence[Throughput]) -> str:
    return _table(
        ("what answers", "heartbeats/s", "plain handler = 1", "worst", "p50 ms", "p99 ms"),
        (
            (
                each.name,
                _figure(each.heartbeats_per_second),
                _figure(each.rate_to_plain),
                _figure(each.worst_to_plain),
                _figure(each.p50_ms),
                _figure(each.p99_ms),
            )
            for each in throughput
        ),
    )


def _readings(readings: Sequence[Reading]) -> str:
    return _table(
        ("heartbeats beside a reader", "p99 ms", "alone = 1"),
        ((each.database, _figure(each.p99_ms), _figure(each.p99_to_alone)) for each in readings),
    )


def _storms(storms: Sequence[Storm]) -> str:
    return _table(
        ("a heartbeat beside a storm", "p50 ms", "p99 ms", "storm s"),
        (
            (each.database, *map(_figure, (each.p50_ms, each.p99_ms, each.seconds)))
            for each in storms
        ),
    )


def _greed(greedy: Sequence[Greed]) -> str:
    return _table(
        (
            *("what a key sends", "database", "answers", "MB sent", "on disk, sent = 1"),
            *("a neighbour waits p50 ms", "longest ms", "refused", "events"),
        ),
        (
            (
                each.what,
                each.database,
                ", ".join(f"{count:,} times {status}" for status, count in each.statuses.items()),
                _figure(each.sent_bytes / 1e6),
                _figure(each.on_disk),
                _figure(each.p50_ms),
                _figure(each.longest_ms),
                f"{each.refused:,}",
                ", ".join(f"{count:,} {kind}" for kind, count in each.events.items()),
            )
            for each in greedy
        ),
    )


def _alerting(alerting: Sequence[Alerting]) -> str:
    return _table(
        (
            *(f"with {RULES} rules and {SILENCES} silences", "heartbeats/s", "without = 1"),
            *("p99 ms", "without = 1", "alarms", "messages"),
        ),
        (
            (
                each.database,
                _figure(each.heartbeats_per_second),
                _figure(each.rate_to_without),
                _figure(each.p99_ms),
                _figure(each.p99_to_without),
                f"{each.alarms:,}",
                f"{each.messages:,}",
            )
            for each in alerting
        ),
    )


def _costs(costs: Sequence[Cost]) -> str:
    sizes = [f"µs at {size:,} servers" for size in SIZES]
    growth = f"{SIZES[-1]:,} : {SIZES[0]:,}"
    return _table(
        ("request", "database", *sizes, growth),
        (
            (
                each.what,
                each.database,
                *map(_figure, each.microseconds.values()),
                _figure(each.growth),
            )
            for each in costs
        ),
    )


def _memory(memory: Sequence[Memory]) -> str:
    return _table(
        ("memory of a receiver on", "servers", "RSS MiB", "PSS MiB"),
        (
            (
                each.database,
                f"{each.servers:,}",
                _figure(each.rss_bytes / 2**20),
                _figure(each.pss_bytes / 2**20),
            )
            for each in memory
        ),
    )


def _circumstances(results: Results) -> str:
    both = cores()
    server, load = ("", "") if both is None else (f" on core {both[0]}", f" on core {both[1]}")
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return (
        f"Medians of {results.rounds} rounds of {results.seconds} s, in each of which everyone "
        "had a turn; a ratio is the median of each round's.\n"
        f"One uvicorn process{server} was loaded at a time, by `wrk -t1`{load}; "
        "PostgreSQL ran on any core.\n"
        "Both databases answered after a commit that was on the disk.\n"
        f"Measured on {results.date:%Y-%m-%d} with {machine}."
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


def _figure(value: float) -> str:
    """The figure with three significant digits, or all digits before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
