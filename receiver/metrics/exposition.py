"""Writes the counters in the formats of Prometheus, whenever Prometheus scrapes `/metrics`."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from math import fsum

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

from contract import State
from receiver.domain.alerts.values import OutboxCounts
from receiver.domain.errors import StoreUnavailable
from receiver.domain.lists.vitals import Vitals
from receiver.metrics.counters import (
    BATCH,
    DURATION_BOUNDS,
    EVENT_KINDS,
    SIZE_BOUNDS,
    Metrics,
    Numbers,
)

__all__ = ["Exposition", "version_of"]

Waiting = Callable[[], tuple[int, int]]
"""A function that returns how many bodies of requests wait to be written, and of how many bytes."""

Alerts = Callable[[], tuple[int, OutboxCounts]]
"""
A function that returns how many alarms have begun and not ended, without those that are silenced or
told as a part of another alarm; and how many messages about alarms wait or were given up.
"""


class Exposition(Collector):
    """
    The `/metrics` page of a receiver: the sums over all its workers.

    Args:
        metrics: The counters.
        vitals: Counts the servers in the database, by state and stage; called at most every 5
            seconds. May raise StoreUnavailable.
        clock: Returns the current time.
        waiting: Returns how many bodies of requests wait to be written, and of how many bytes.
        trouble: Returns why messages cannot be written now; None while they can.
        alerts: Returns how many alarms are open, and how many messages about alarms wait or were
            given up.
    """

    def __init__(  # noqa: PLR0913 - all that it tells of
        self,
        metrics: Metrics,
        vitals: Callable[[], Awaitable[Vitals]],
        *,
        clock: Callable[[], datetime],
        waiting: Waiting,
        trouble: Callable[[], str | None] = lambda: None,
        alerts: Alerts = lambda: (0, OutboxCounts(0, 0, None)),
    ) -> None:
        self._metrics = metrics
        self._count = vitals
        self._clock = clock
        self._waiting = waiting
        self._trouble = trouble
        self._alerts = alerts
        started_at = metrics.mine.started_at
        started_at[0] = started_at[0] or clock().timestamp()
        self._vitals: Vitals | None = None
        self._tallied_at: datetime | None = None
        self._version = version_of("odoo-mcp-fleet")
        # The default registry of prometheus-client belongs to the process, which may run
        # several receivers.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        # These collectors describe one process: a scrape would show any one of several workers.
        for_one_process = () if metrics.is_shared else (ProcessCollector, GCCollector)
        for collector in (PlatformCollector, *for_one_process):
            collector(registry=self._registry)

    async def run(self) -> None:
        """Write how many requests wait into this worker's row every second, until cancelled."""
        while True:
            self._record_queue()
            await asyncio.sleep(1)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """
        Return the body of the answer to `GET /metrics`, and its media type.

        The format is one that the request's `Accept` header (`accept`) allows; if it allows none,
        the format is Prometheus' text format. Without an answer of the database the page lacks the
        numbers of servers.
        """
        await self._refresh_tally()
        self._record_queue()
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # the header asks for a version that is not a number
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of the receiver; prometheus-client calls this to encode them."""
        total = self._metrics.total()
        yield from _request_metrics(total)
        yield from _commit_metrics(total)
        yield from self._server_metrics()
        yield _event_metric(total)
        yield from self._alert_metrics()
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
            self._vitals = await self._count()
            self._tallied_at = now
        except StoreUnavailable:
            self._vitals = self._tallied_at = None

    def _server_metrics(self) -> Iterator[Metric]:
        is_up = self._vitals is not None and self._trouble() is None
        text = "Whether the database can be read and written."
        yield GaugeMetricFamily("fleet_store_up", text, is_up)
        if self._vitals is None:
            return
        servers = GaugeMetricFamily(
            "fleet_servers",
            "Servers by state and stage, without those of lapsed keys; receivers that share a "
            "database report the same.",
            labels=("state", "stage"),
        )
        for (state, stage), count in _limit_stages(self._vitals.standing).items():
            servers.add_metric((state, stage), count)
        yield servers
        yield GaugeMetricFamily(
            "fleet_servers_flapping", "Servers that flap, of all states.", self._vitals.flapping
        )

    def _alert_metrics(self) -> Iterator[Metric]:
        alarms, counts = self._alerts()
        yield GaugeMetricFamily(
            "fleet_alarms_open",
            "Alarms that last, without those that are silenced; receivers that share a database "
            "report the same, as of the following.",
            alarms,
        )
        yield GaugeMetricFamily(
            "fleet_alert_deliveries_waiting",
            "Messages about alarms that wait to be delivered.",
            counts.waiting,
        )
        yield GaugeMetricFamily(
            "fleet_alert_deliveries_given_up",
            "Messages about alarms that were given up within the last day.",
            counts.given_up,
        )
        oldest_at = counts.oldest_at
        age = 0.0 if oldest_at is None else (self._clock() - oldest_at).total_seconds()
        yield GaugeMetricFamily(
            "fleet_alert_deliveries_waiting_seconds",
            "Since the oldest message about alarms that waits was made; 0 when none waits.",
            max(0.0, age),
        )


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
        if kind == BATCH:
            accepted, refused = total.batch_messages
            outcomes["accepted"] = accepted
            outcomes["refused"] += refused
        for outcome, count in outcomes.items():
            messages.add_metric((kind, outcome), count)
        *counts, seconds = map(fsum, zip(*by_outcome.values(), strict=True))
        durations.add_metric((kind,), _buckets(DURATION_BOUNDS, counts), seconds)
    yield messages
    yield durations


def _commit_metrics(total: Numbers) -> Iterator[Metric]:
    yield HistogramMetricFamily(
        "fleet_commit_duration_seconds",
        "One transaction, from its beginning to the end of its commit.",
        _buckets(DURATION_BOUNDS, total.commits[:-1]),
        total.commits[-1],
    )
    yield HistogramMetricFamily(
        "fleet_commit_messages",
        "Messages that were committed together.",
        _buckets(SIZE_BOUNDS, total.commit_sizes[:-1]),
        total.commit_sizes[-1],
    )
    requests, size = total.queue
    yield GaugeMetricFamily("fleet_queue_requests", "Requests that wait to be written.", requests)
    yield GaugeMetricFamily("fleet_queue_bytes", "Bytes that wait to be written.", size)


def _event_metric(total: Numbers) -> Metric:
    events = CounterMetricFamily(
        "fleet_events", "Events that this receiver has written.", labels=("kind",)
    )
    for kind, count in zip(EVENT_KINDS, total.events, strict=True):
        events.add_metric((kind.value,), count)
    return events


_TALLY_AGE = timedelta(seconds=5)
"""How old the counts of servers may become before the database must count them again."""

_MAX_STAGES = 20
_MAX_STAGE_LENGTH = 64


def _limit_stages(tally: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """
    Limit the labels of the numbers of servers by state and stage; add zeros for missing states.

    Servers may report any text as their stage, and each stage costs several time series. So only
    the 20 most frequent stages are kept; the others, and long ones, are counted as "other".
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


@cache  # reading the metadata of a package takes some milliseconds
def version_of(distribution: str) -> str:
    """The version of an installed package; "unknown" if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
