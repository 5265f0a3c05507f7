"""
The metrics of a receiver: counted while it works, and exposed to Prometheus.

Each request and each commit is counted, so counting only adds to plain numbers. Everything that
costs more happens when somebody asks for the page.
"""

import asyncio
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from math import fsum, inf
from multiprocessing.process import BaseProcess
from threading import Lock
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from contract import Event, EventKind, State
from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.domain.outcomes import Applied, BodyKind, Incoming, Outcome
from receiver.metrics.shared_rows import Alone, Doubles, Rows, rows_for
from receiver.service.ingest import Apply
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore

__all__ = ["Exposition", "Metrics", "version_of"]

_BATCH = BodyKind.HEARTBEATS.value
_KINDS = tuple(kind.value for kind in BodyKind)

Waiting = Callable[[], tuple[int, int]]
"""How many requests wait to be written, and how many bytes they have."""


class Metrics:
    """
    What is counted while messages come in.

    `answered` belongs to the event loop and `committed` to whoever writes: each changes
    numbers of its own, and whoever reads them meanwhile may miss the last one.
    """

    def __init__(self) -> None:
        self._events_turn = Lock()
        self._count_in(Alone(_LENGTH))

    @property
    def is_shared(self) -> bool:
        """Whether other workers count beside this process."""
        return self._rows.is_shared

    def join(self, parent: BaseProcess | None, purpose: str) -> None:
        """
        Count together with the workers that have this parent and purpose, from now on.

        What was counted until now is forgotten.
        """
        self._count_in(rows_for(parent, purpose + repr(_LAYOUT), _LENGTH))

    def leave(self) -> None:
        """Let the next worker go on."""
        self._rows.close()

    def _count_in(self, rows: Rows) -> None:
        self._rows = rows
        self.mine = mine = Numbers(rows.mine)
        # Ready for every status, as this is looked up for each message.
        self._requests = {
            kind: {status: by_outcome[_outcome(status)] for status in range(100, 600)}
            for kind, by_outcome in mine.requests.items()
        }

    def answered(
        self, kind: str, status: int, seconds: float, outcome: Outcome | None = None
    ) -> None:
        """
        A request was answered, so many seconds after it came.

        What became of the messages is told by the status alone, but in a batch that was
        accepted: each of it has an outcome of its own.
        """
        timings = self._requests[kind][status]
        timings[bisect_left(_SECONDS, seconds)] += 1
        timings[-1] += seconds
        if outcome is not None and kind == _BATCH:
            refused = sum(not isinstance(each, Applied) for each in outcome)
            self.mine.items[0] += len(outcome) - refused
            self.mine.items[1] += refused

    def committed(self, messages: int, seconds: float) -> None:
        """So many messages were committed together, which took so many seconds."""
        self.mine.commits[bisect_left(_SECONDS, seconds)] += 1
        self.mine.commits[-1] += seconds
        self.mine.crowds[bisect_left(_MESSAGES, messages)] += 1
        self.mine.crowds[-1] += messages

    def happened(self, events: Iterable[Event]) -> None:
        """Events were committed, by any thread."""
        with self._events_turn:
            for event in events:
                self.mine.events[_KINDS_OF_EVENTS.index(event.kind)] += 1

    def total(self) -> "Numbers":
        """What all workers have counted; only those that are alive have a queue."""
        rows, alive = zip(*self._rows.all(), strict=True)
        # Rounded once: a sum of what only rises must not fall either.
        total = Numbers(memoryview(array("d", map(fsum, zip(*rows, strict=True)))))
        seen = list(zip(map(Numbers, rows), alive, strict=True))
        for n in range(len(total.queue)):
            total.queue[n] = sum(numbers.queue[n] for numbers, is_alive in seen if is_alive)
        # It is not there yet in a row that is new.
        total.started[0] = min(numbers.started[0] or inf for numbers, _ in seen)
        return total

    def timed(self, apply: Apply) -> Apply:
        """The same, with a note of each commit."""

        def timed(incoming: Sequence[Incoming]) -> Sequence[Applied | Refusal]:
            began = perf_counter()
            applied = apply(incoming)
            self.committed(len(incoming), perf_counter() - began)
            return applied

        return timed


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_OUTCOMES = ("accepted", "refused", "unavailable", "failed")
_KINDS_OF_EVENTS = tuple(EventKind)

_TIMINGS = len(_SECONDS) + 2
_SIZES = len(_MESSAGES) + 2
_LENGTH = len(_KINDS) * len(_OUTCOMES) * _TIMINGS + _TIMINGS + _SIZES + len(_KINDS_OF_EVENTS) + 5

_LAYOUT = (_SECONDS, _MESSAGES, _KINDS, _OUTCOMES, [kind.value for kind in EventKind])
"""Tells rows apart that different versions of this module have made."""


class Numbers:
    """
    The numbers in a row, by their names. Those of several rows can be added up.

    Attributes:
        requests: By kind and outcome: how many took how long, in each range of `_SECONDS`;
            the last number is all their seconds.
        items: Of batches that were accepted: messages accepted and refused.
        commits: The same as `requests`, for transactions.
        crowds: How many transactions had which size, in each range of `_MESSAGES`; the
            last number is all their messages.
        events: By kind.
        queue: Requests that wait now, and their bytes.
        started: When the first began to count here, in seconds since 1970.
    """

    def __init__(self, row: Doubles) -> None:
        taken = 0

        def take(length: int) -> Doubles:
            nonlocal taken
            taken += length
            return row[taken - length : taken]

        self.requests = {
            kind: {outcome: take(_TIMINGS) for outcome in _OUTCOMES} for kind in _KINDS
        }
        self.items = take(2)
        self.commits = take(_TIMINGS)
        self.crowds = take(_SIZES)
        self.events = take(len(_KINDS_OF_EVENTS))
        self.queue = take(2)
        self.started = take(1)
        assert len(row) == taken


class Exposition(Collector):
    """
    The page of one receiver, which is all its workers together.

    Args:
        metrics: The counters.
        store: Counts the servers, at most once in some seconds.
        calls: How the methods of the store are called.
        clock: The time.
        waiting: How much waits to be written.
    """

    def __init__(
        self,
        metrics: Metrics,
        store: SqlStore,
        calls: StoreCalls,
        *,
        clock: Callable[[], datetime],
        waiting: Waiting,
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._calls = calls
        self._clock = clock
        self._waiting = waiting
        started = metrics.mine.started
        started[0] = started[0] or clock().timestamp()
        self._tally: Mapping[tuple[str, str], int] | None = None
        self._tallied_at: datetime | None = None
        self._version = version_of("odoo-mcp-fleet")
        # One of its own: the one that prometheus-client offers is for a whole process.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        # Of several workers each would tell of itself.
        of_one = () if metrics.is_shared else (ProcessCollector, GCCollector)
        for collector in (PlatformCollector, *of_one):
            collector(registry=self._registry)

    async def run(self) -> None:
        """Let the other workers know how much waits here, until cancelled."""
        while True:
            self._note_the_queue()
            await asyncio.sleep(1)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page in the format that is accepted, and its media type."""
        await self._ask_the_fleet()
        self._note_the_queue()
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # it asks for a version that is no number
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Every metric of the receiver."""
        total = self._metrics.total()
        yield from _of_requests(total)
        yield from _of_commits(total)
        yield from self._of_the_fleet()
        yield _of_events(total)
        yield InfoMetricFamily("fleet_build", "This receiver.", {"version": self._version})
        # The clock may have been set back.
        uptime = max(0.0, self._clock().timestamp() - total.started[0])
        yield GaugeMetricFamily("fleet_uptime_seconds", "Since this receiver started.", uptime)

    def _note_the_queue(self) -> None:
        queue = self._metrics.mine.queue
        queue[0], queue[1] = self._waiting()

    async def _ask_the_fleet(self) -> None:
        now = self._clock()
        # The clock may have been set back.
        if self._tallied_at is not None and abs(now - self._tallied_at) < _KEPT:
            return
        try:
            self._tally = await self._calls.read(self._store.servers.tally)
            self._tallied_at = now
        except StoreUnavailable:
            self._tally = self._tallied_at = None

    def _of_the_fleet(self) -> Iterator[Metric]:
        is_up = self._tally is not None
        yield GaugeMetricFamily("fleet_store_up", "Whether the database answers.", is_up)
        if self._tally is None:
            return
        servers = GaugeMetricFamily(
            "fleet_servers",
            "Servers by state and stage; of those that share a database, each tells of all.",
            labels=("state", "stage"),
        )
        for (state, stage), count in _few_stages(self._tally).items():
            servers.add_metric((state, stage), count)
        yield servers


def _of_requests(total: Numbers) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        "fleet_messages",
        "Messages by what became of them; a request that is refused as a whole is one.",
        labels=("kind", "outcome"),
    )
    durations = HistogramMetricFamily(
        "fleet_request_duration_seconds",
        "From the request to the answer, which is after the commit.",
        labels=("kind",),
    )
    for kind, by_outcome in total.requests.items():
        outcomes = {outcome: sum(timings[:-1]) for outcome, timings in by_outcome.items()}
        if kind == _BATCH:
            accepted, refused = total.items
            outcomes["accepted"] = accepted
            outcomes["refused"] += refused
        for outcome, count in outcomes.items():
            messages.add_metric((kind, outcome), count)
        *counts, seconds = map(fsum, zip(*by_outcome.values(), strict=True))
        durations.add_metric((kind,), _buckets(_SECONDS, counts), seconds)
    yield messages
    yield durations


def _of_commits(total: Numbers) -> Iterator[Metric]:
    yield HistogramMetricFamily(
        "fleet_commit_duration_seconds",
        "One transaction, from its beginning to the end of its commit.",
        _buckets(_SECONDS, total.commits[:-1]),
        total.commits[-1],
    )
    yield HistogramMetricFamily(
        "fleet_commit_messages",
        "Messages that were committed together.",
        _buckets(_MESSAGES, total.crowds[:-1]),
        total.crowds[-1],
    )
    requests, size = total.queue
    yield GaugeMetricFamily("fleet_queue_requests", "Requests that wait to be written.", requests)
    yield GaugeMetricFamily("fleet_queue_bytes", "Bytes that wait to be written.", size)


def _of_events(total: Numbers) -> Metric:
    events = CounterMetricFamily(
        "fleet_events", "Events that this receiver has written.", labels=("kind",)
    )
    for kind, count in zip(_KINDS_OF_EVENTS, total.events, strict=True):
        events.add_metric((kind.value,), count)
    return events


_KEPT = timedelta(seconds=5)
"""How long it counts how many servers there are."""

_MOST_STAGES = 20
_LONGEST_STAGE = 64


def _few_stages(tally: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """
    The same numbers, with each state for each stage.

    A stage is whatever a server says. Each costs four time series, so that all beyond the
    most frequent, and long ones, are "other".
    """
    sizes: Counter[str] = Counter()
    for (_, stage), count in tally.items():
        sizes[stage if len(stage) <= _LONGEST_STAGE else _OTHER] += count
    shown = {stage for stage, _ in sizes.most_common(_MOST_STAGES)} or {""}
    if len(sizes) > _MOST_STAGES:
        shown.add(_OTHER)
    few = {(state.value, stage): 0 for stage in sorted(shown) for state in State}
    for (state, stage), count in tally.items():
        few[state, stage if stage in shown else _OTHER] += count
    return few


_OTHER = "other"


def _buckets(bounds: Sequence[float], counts: Iterable[float]) -> list[tuple[str, float]]:
    """How many were at most so large, for each bound, as Prometheus has it."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _outcome(status: int) -> str:
    if status < 400:
        return "accepted"
    if status < 500:
        return "refused"
    return "unavailable" if status == 503 else "failed"


def version_of(distribution: str) -> str:
    """The version of an installed package; "unknown" in a checkout, where it is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
