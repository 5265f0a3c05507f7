"""How long a sender waits for its answer while others load the same receiver."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median, quantiles
from threading import Event

import httpx
from attrs import frozen

import stored
from laboratory import DATABASES, Laboratory, laboratory
from postgres import Postgres
from processes import BenchmarkFailed, Server
from traffic import Load, Traffic
from wrk import run

__all__ = ["Reading", "Storm", "measure"]

_SIZE = 10_000
_STORM_SIZE = 20_000
_STORMS = 3
_STORM_INTERVAL_SECONDS = 5.0  # the shortest that is judged, so that silence is told soon
_SILENT_WITHIN_SECONDS = 120.0
_PAUSE_SECONDS = 0.01  # between two heartbeats of the probe


@frozen(kw_only=True)
class Reading:
    """
    What heartbeats notice of a client that reads pages of 100 servers without a pause.

    Attributes:
        database: `SQLite` or `PostgreSQL`.
        p99_ms: 99th percentile of the heartbeats' latency beside the reader.
        p99_to_alone: Ratio to that without a reader in the same round; median over the rounds.
    """

    database: str
    p99_ms: float
    p99_to_alone: float


@frozen(kw_only=True)
class Storm:
    """
    What another sender notices while 20,000 silent servers send in batches at once.

    Attributes:
        database: `SQLite` or `PostgreSQL`.
        seconds: How long it took until all were answered; median over the storms.
        p50_ms: Median latency of the other sender's heartbeats.
        p99_ms: 99th percentile of it; the worst of the storms.
    """

    database: str
    seconds: float
    p50_ms: float
    p99_ms: float


def measure(
    postgres: Postgres, *, rounds: int, seconds: int, say: Callable[[str], None]
) -> tuple[list[Reading], list[Storm]]:
    """
    Measure both on SQLite and PostgreSQL: readings for `rounds` rounds, and three storms.

    The receiver of the other database does not run meanwhile: it would check its own silent
    servers on the same core.
    """
    readings, storms = [], []
    for database in DATABASES:
        with laboratory(postgres) as lab:
            server, traffic = lab.receiver(database, "reading"), Traffic(_SIZE, lab.folder)
            readings.append(_beside_reader(server, database, traffic, rounds, seconds, say))
        with laboratory(postgres) as lab:
            storms.append(_result(database, _storms(lab, database, say)))
    return readings, storms


def _beside_reader(  # noqa: PLR0913, PLR0917 - what `measure` was given
    server: Server,
    database: str,
    traffic: Traffic,
    rounds: int,
    seconds: int,
    say: Callable[[str], None],
) -> Reading:
    stored.fill(server, traffic)
    heartbeats, pages = traffic.heartbeats(), traffic.page("pages", "/servers?limit=100")
    run(heartbeats, server, seconds=seconds)  # warming up
    ratios, beside = [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: {database}, beside a reader")
        alone = run(heartbeats, server, seconds=seconds).p99_ms
        with _reading(pages, server, seconds + 1):
            beside.append(run(heartbeats, server, seconds=seconds).p99_ms)
        ratios.append(beside[-1] / alone)
    return Reading(database=database, p99_ms=median(beside), p99_to_alone=median(ratios))


@contextmanager
def _reading(pages: Load, server: Server, seconds: int) -> Iterator[None]:
    with ThreadPoolExecutor(1) as thread:
        reader = thread.submit(run, pages, server, seconds=seconds)
        time.sleep(0.5)
        yield
        reader.result()


def _storms(
    lab: Laboratory, database: str, say: Callable[[str], None]
) -> list[tuple[float, list[float]]]:
    """Three storms on one database; nothing else runs meanwhile."""
    traffic = Traffic(_STORM_SIZE, lab.folder, interval_seconds=_STORM_INTERVAL_SECONDS)
    server = lab.receiver(database, "storm")
    stored.fill(server, traffic)
    found = []
    for number in range(_STORMS):
        say(f"storm {number + 1} of {_STORMS}: waiting until all are silent, {database}")
        _wait_until_all_are_down(server)
        found.append(_storm(server, traffic))
    return found


def _result(database: str, storms: Sequence[tuple[float, list[float]]]) -> Storm:
    return Storm(
        database=database,
        seconds=median(seconds for seconds, _ in storms),
        p50_ms=median(each for _, waits in storms for each in waits),
        p99_ms=max(quantiles(waits, n=100)[-1] for _, waits in storms),
    )


def _wait_until_all_are_down(server: Server) -> None:
    deadline = time.monotonic() + _SILENT_WITHIN_SECONDS
    while any(stored.page(server, f"/servers?state={each}&limit=1") for each in ("up", "late")):
        if time.monotonic() > deadline:
            raise BenchmarkFailed("Servers that sent nothing for two minutes were not down.")
        time.sleep(1)


def _storm(server: Server, traffic: Traffic) -> tuple[float, list[float]]:
    """Send a heartbeat of each server; return the seconds that takes, and a probe's waits in ms."""
    is_over = Event()
    with ThreadPoolExecutor(1) as thread:
        probe = thread.submit(_probe, server, is_over)
        begun = time.perf_counter()
        try:
            stored.fill(server, traffic, connections=4)
        finally:
            seconds = time.perf_counter() - begun
            is_over.set()
        return seconds, probe.result()


def _probe(server: Server, is_over: Event) -> list[float]:
    waits: list[float] = []
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        while not is_over.wait(_PAUSE_SECONDS) or len(waits) < 2:
            begun = time.perf_counter()
            body = {"server_id": "probe", "heartbeat_interval_seconds": 0.1}
            answer = client.post("/heartbeat", json=body)
            waits.append((time.perf_counter() - begun) * 1e3)
            if answer.status_code != 200:
                raise BenchmarkFailed(f"A heartbeat was answered with: {answer.text[:500]}")
    return waits
