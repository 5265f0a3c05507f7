"""
The metrics of a receiver, and their exposition to Prometheus.

Counting a request or a commit only adds to numbers in an array, because it happens for each of
them. The metric families of prometheus-client are made when Prometheus scrapes `/metrics`.
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
_BODY_KINDS = tuple(kind.value for kind in BodyKind)

Waiting = Callable[[], tuple[int, int]]
"""How many requests wait to be written, and how many bytes they have."""


class Metrics:
    """
    The counters of one process, in a row that it may share with other workers.

    Only the event loop calls `answered`, and only the thread that writes calls `committed`.
    They change different numbers, so that they need no lock; `total` may miss the last change.
    """

    def __init__(self) -> None:
        self._events_lock = Lock()
        self._use_rows(Alone(_ROW_LENGTH))

    @property
    def is_shared(self) -> bool:
        """Whether the metrics are those of several workers."""
        return self._rows.is_shared

    def join(self, parent: BaseProcess | None, purpose: str) -> None:
        """
        From now on, share the metrics with the workers that have this parent and purpose.

        Counts from before are dropped.
        """
        self._use_rows(rows_for(parent, purpose + repr(_LAYOUT), _ROW_LENGTH))

    def leave(self) -> None:
        """Release the row of this process: the next worker continues it."""
        self._rows.close()

    def _use_rows(self, rows: Rows) -> None:
        self._rows = rows
        self.mine = mine = Numbers(rows.mine)
        # By every possible status, because `answered` looks it up for each request.
        self._requests = {
            kind: {status: by_outcome[_outcome(status)] for status in range(100, 600)}
            for kind, by_outcome in mine.requests.items()
        }

    def answered(
        self, kind: str, status: int, seconds: float, outcome: Outcome | None = None
    ) -> None:
        """
        Count a request that was answered so many seconds after it arrived.

        The status tells whether its messages were accepted. Only for a batch that was
        accepted, `outcome` tells it of each message.
        """
        timings = self._requests[kind][status]
        timings[bisect_left(_DURATION_BOUNDS, seconds)] += 1
        timings[-1] += seconds
        if outcome is not None and kind == _BATCH:
            refused = sum(not isinstance(each, Applied) for each in outcome)
            self.mine.batch_messages[0] += len(outcome) - refused
            self.mine.batch_messages[1] += refused

    def committed(self, messages: int, seconds: float) -> None:
        """Count a transaction with so many messages that took so many seconds."""
        self.mine.commits[bisect_left(_DURATION_BOUNDS, seconds)] += 1
        self.mine.commits[-1] += seconds
        self.mine.commit_sizes[bisect_left(_SIZE_BOUNDS, messages)] += 1
        self.mine.commit_sizes[-1] += messages

    def happened(self, events: Iterable[Event]) -> None:
        """Count committed events. Any thread may call it."""
        with self._events_lock:
            for event in events:
                self.mine.events[_EVENT_KINDS.index(event.kind)] += 1

    def total(self) -> "Numbers":
        """
        The sums over all workers.

        The queue is that of the workers that are alive, and `started_at` the earliest start.
        """
        rows, alive = zip(*self._rows.all(), strict=True)
        # `fsum` rounds only once, so that the sum of counters never decreases.
        total = Numbers(memoryview(array("d", map(fsum, zip(*rows, strict=True)))))
        workers = list(zip(map(Numbers, rows), alive, strict=True))
        for n in range(len(total.queue)):
            total.queue[n] = sum(numbers.queue[n] for numbers, is_alive in workers if is_alive)
        # It is 0 in the row of a worker that has just begun.
        total.started_at[0] = min(numbers.started_at[0] or inf for numbers, _ in workers)
        return total

    def timed(self, apply: Apply) -> Apply:
        """`apply`, which calls `committed` after each of its transactions."""

        def timed(incoming: Sequence[Incoming]) -> Sequence[Applied | Refusal]:
            began = perf_counter()
            applied = apply(incoming)
            self.committed(len(incoming), perf_counter() - began)
            return applied

        return timed


_DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZE_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_OUTCOMES = ("accepted", "refused", "unavailable", "failed")
_EVENT_KINDS = tuple(EventKind)

_DURATION_LENGTH = len(_DURATION_BOUNDS) + 2
_SIZE_LENGTH = len(_SIZE_BOUNDS) + 2
_ROW_LENGTH = (
    len(_BODY_KINDS) * len(_OUTCOMES) * _DURATION_LENGTH
    + _DURATION_LENGTH
    + _SIZE_LENGTH
    + len(_EVENT_KINDS)
    + 5  # batch_messages, queue and started_at
)

_LAYOUT = (
    _DURATION_BOUNDS,
    _SIZE_BOUNDS,
    _BODY_KINDS,
    _OUTCOMES,
    [kind.value for kind in EventKind],
)
"""What is in a row. Workers share rows only if they have the same layout."""


class Numbers:
    """
    The numbers of a row, by name; each attribute is a part of the row.

    A histogram is the number of observations in each bucket, then the sum of what was observed.

    Attributes:
        requests: Histograms of seconds, by the kind of body and the outcome.
        batch_messages: How many messages of accepted batches were accepted, and how many
            were refused.
        commits: A histogram of the seconds that transactions took.
        commit_sizes: A histogram of the messages in a transaction.
        events: How many events were committed, in the order of `_EVENT_KINDS`.
        queue: How many requests wait to be written, and how many bytes they have.
        started_at: When the first worker began to count in the row, in seconds since 1970;
            0 when it has just begun.
    """

    def __init__(self, row: Doubles) -> None:
        end = 0

        def take(length: int) -> Doubles:
            nonlocal end
            end += length
            return row[end - length : end]

        self.requests = {
            kind: {outcome: take(_DURATION_LENGTH) for outcome in _OUTCOMES} for kind in _BODY_KINDS
        }
        self.batch_messages = take(2)
        self.commits = take(_DURATION_LENGTH)
        self.commit_sizes = take(_SIZE_LENGTH)
        self.events = take(len(_EVENT_KINDS))
        self.queue = take(2)
        self.started_at = take(1)
        assert len(row) == end


class Exposition(Collector):
    """
    The `/metrics` page of a receiver: the sums over all its workers.

    Args:
        metrics: The counters.
        store: Counts the servers, at most every 5 seconds.
        calls: Calls the methods of the store in a thread.
        clock: The time.
        waiting: How many requests wait to be written, and how many bytes they have.
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
        started_at = metrics.mine.started_at
        started_at[0] = started_at[0] or clock().timestamp()
        self._tally: Mapping[tuple[str, str], int] | None = None
        self._tallied_at: datetime | None = None
        self._version = version_of("odoo-mcp-fleet")
        # The default registry of prometheus-client belongs to the process, which may run
        # several receivers.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        # These describe one process: of several workers, a scrape would reach any one.
        for_one_process = () if metrics.is_shared else (ProcessCollector, GCCollector)
        for collector in (PlatformCollector, *for_one_process):
            collector(registry=self._registry)

    async def run(self) -> None:
        """Write the size of the queue to the shared row every second, until cancelled."""
        while True:
            self._record_queue()
            await asyncio.sleep(1)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page in a format that the `Accept` header allows, and its media type."""
        await self._refresh_tally()
        self._record_queue()
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # the header asks for a version that is not a number
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Every metric of the receiver."""
        total = self._metrics.total()
        yield from _request_metrics(total)
        yield from _commit_metrics(total)
        yield from self._server_metrics()
        yield _event_metric(total)
        yield InfoMetricFamily("fleet_build", "This receiver.", {"version": self._version})
        # The clock may have been set back.
        uptime = max(0.0, self._clock().timestamp() - total.started_at[0])
        yield GaugeMetricFamily("fleet_uptime_seconds", "Since this receiver started.", uptime)

    def _record_queue(self) -> None:
        queue = self._metrics.mine.queue
        queue[0], queue[1] = self._waiting()

    async def _refresh_tally(self) -> None:
        now = self._clock()
        # The clock may have been set back.
        if self._tallied_at is not None and abs(now - self._tallied_at) < _TALLY_AGE:
            return
        try:
            self._tally = await self._calls.read(self._store.servers.tally)
            self._tallied_at = now
        except StoreUnavailable:
            self._tally = self._tallied_at = None

    def _server_metrics(self) -> Iterator[Metric]:
        is_up = self._tally is not None
        yield GaugeMetricFamily("fleet_store_up", "Whether the database answers.", is_up)
        if self._tally is None:
            return
        servers = GaugeMetricFamily(
            "fleet_servers",
            "Servers by state and stage; receivers that share a database report the same.",
            labels=("state", "stage"),
        )
        for (state, stage), count in _limit_stages(self._tally).items():
            servers.add_metric((state, stage), count)
        yield servers


def _request_metrics(total: Numbers) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        "fleet_messages",
        "Messages by outcome; a request that is refused as a whole counts as one.",
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
            accepted, refused = total.batch_messages
            outcomes["accepted"] = accepted
            outcomes["refused"] += refused
        for outcome, count in outcomes.items():
            messages.add_metric((kind, outcome), count)
        *counts, seconds = map(fsum, zip(*by_outcome.values(), strict=True))
        durations.add_metric((kind,), _buckets(_DURATION_BOUNDS, counts), seconds)
    yield messages
    yield durations


def _commit_metrics(total: Numbers) -> Iterator[Metric]:
    yield HistogramMetricFamily(
        "fleet_commit_duration_seconds",
        "One transaction, from its beginning to the end of its commit.",
        _buckets(_DURATION_BOUNDS, total.commits[:-1]),
        total.commits[-1],
    )
    yield HistogramMetricFamily(
        "fleet_commit_messages",
        "Messages that were committed together.",
        _buckets(_SIZE_BOUNDS, total.commit_sizes[:-1]),
        total.commit_sizes[-1],
    )
    requests, size = total.queue
    yield GaugeMetricFamily("fleet_queue_requests", "Requests that wait to be written.", requests)
    yield GaugeMetricFamily("fleet_queue_bytes", "Bytes that wait to be written.", size)


def _event_metric(total: Numbers) -> Metric:
    events = CounterMetricFamily(
        "fleet_events", "Events that this receiver has written.", labels=("kind",)
    )
    for kind, count in zip(_EVENT_KINDS, total.events, strict=True):
        events.add_metric((kind.value,), count)
    return events


_TALLY_AGE = timedelta(seconds=5)
"""How old the counts of servers may be before the store counts again."""

_MAX_STAGES = 20
_MAX_STAGE_LENGTH = 64


def _limit_stages(tally: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """
    How many servers have which state and stage, with a number for every state of each stage.

    Servers report any text as their stage, and each stage costs four time series. So only the
    20 most frequent stages are kept; the others, and those that are long, become "other".
    """
    servers: Counter[str] = Counter()
    for (_, stage), count in tally.items():
        servers[stage if len(stage) <= _MAX_STAGE_LENGTH else _OTHER] += count
    shown = {stage for stage, _ in servers.most_common(_MAX_STAGES)} or {""}
    if len(servers) > _MAX_STAGES:
        shown.add(_OTHER)
    limited = {(state.value, stage): 0 for stage in sorted(shown) for state in State}
    for (state, stage), count in tally.items():
        limited[state, stage if stage in shown else _OTHER] += count
    return limited


_OTHER = "other"


def _buckets(bounds: Sequence[float], counts: Iterable[float]) -> list[tuple[str, float]]:
    """The cumulative buckets of a histogram, as Prometheus expects them."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _outcome(status: int) -> str:
    if status < 400:
        return "accepted"
    if status < 500:
        return "refused"
    return "unavailable" if status == 503 else "failed"


def version_of(distribution: str) -> str:
    """The version of an installed package; "unknown" if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
