"""Benchmarks of the receiver against named baselines: `python benchmarks --help`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import alerts
import greed
import machine
import neighbours
import scale
import throughput
import wrk
from bars import bars
from laboratory import laboratory
from postgres import Postgres, running_postgres
from processes import BenchmarkFailed
from report import Results, to_json, to_markdown

__all__ = ["main"]

_OUTPUT = Path(".cache/benchmarks.json")
_PARTS = ("throughput", "neighbours", "greed", "alerts", "scale")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the benchmarks, print the results as tables and write them to a file as JSON.

    Returns the exit status: 1 when a benchmark failed, or with `--strict` when a bar (a
    performance target) was missed; else 0.
    """
    options = _options(arguments)
    try:
        wrk.require()
        with running_postgres(durable=True) as postgres:
            results = _measure(options, postgres)
    except BenchmarkFailed as error:
        _say(str(error))
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(to_json(results) + "\n")
    _say(f"written to {options.output}")
    print(to_markdown(results))

    return 1 if options.strict and not all(bar.reached for bar in results.bars) else 0


def _measure(options: argparse.Namespace, postgres: Postgres) -> Results:
    often = {"rounds": options.rounds, "seconds": options.seconds}
    heartbeats: list[throughput.Throughput] = []
    costs: list[scale.Cost] = []
    memory: list[scale.Memory] = []
    readings: list[neighbours.Reading] = []
    storms: list[neighbours.Storm] = []
    greedy: list[greed.Greed] = []
    alerting: list[alerts.Alerting] = []
    if options.only in {None, "throughput"}:
        with laboratory(postgres) as lab:
            heartbeats = throughput.measure(lab, **often, say=_say)
    if options.only in {None, "neighbours"}:
        readings, storms = neighbours.measure(postgres, **often, say=_say)
    if options.only in {None, "greed"}:
        with laboratory(postgres) as lab:
            greedy = greed.measure(lab, say=_say)
    if options.only in {None, "alerts"}:
        with laboratory(postgres) as lab:
            alerting = alerts.measure(lab, **often, say=_say)
    if options.only in {None, "scale"}:
        with laboratory(postgres) as lab:
            costs, memory = scale.measure(lab, **often, say=_say)

    return Results(
        date=datetime.now(timezone.utc),
        machine=machine.facts(postgres),
        **often,
        throughput=heartbeats,
        costs=costs,
        memory=memory,
        readings=readings,
        storms=storms,
        greedy=greedy,
        alerting=alerting,
        bars=bars(heartbeats, costs, readings, storms, greedy, alerting),
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=7, help="how often (7)")
    parser.add_argument("--seconds", type=_positive, default=3, help="how long a run takes (3)")
    parser.add_argument("--only", choices=_PARTS, help="a part; otherwise all")
    parser.add_argument("--output", type=Path, default=_OUTPUT, help=f"a file ({_OUTPUT})")
    parser.add_argument("--strict", action="store_true", help="fail when a bar is missed")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _say(text: str) -> None:
    """Print progress to standard error, since the results go to standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
