"""
What the receiver tells Prometheus about itself and the fleet.

Counting is for the hot path: plain numbers in plain lists. All that costs something is
done when somebody asks for the page.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
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
from starlette.requests import Request
from starlette.responses import Response

from contract import EventKind, InvalidMessage, State
from receiver.batch import Applied, Incoming
from receiver.errors import StoreUnavailable
from receiver.fleet import Fleet
from receiver.intake import Outcome

__all__ = ["BATCH", "KINDS", "Exposition", "Metrics", "metrics_page", "version_of"]

BATCH = "heartbeats"
KINDS = ("register", "heartbeat", BATCH)
"""What may be posted."""

Apply = Callable[[Sequence[Incoming]], Sequence[Applied]]
Waiting = Callable[[], tuple[int, int]]
"""How much waits to be written: requests, and their bytes."""


class Metrics:
    """
    What is counted while messages come in.

    `answered` belongs to the event loop and `committed` to whoever writes: each changes
    numbers of its own, and whoever reads them meanwhile may miss the last one.
    """

    def __init__(self) -> None:
        self.requests: dict[str, defaultdict[int, Timings]] = {
            kind: defaultdict(Timings) for kind in KINDS
        }
        self.items: Counter[str] = Counter()
        self.commits = Timings()
        self.crowds = Sizes()

    def answered(
        self, kind: str, status: int, seconds: float, outcome: Outcome | None = None
    ) -> None:
        """
        A request was answered, so many seconds after it came.

        What became of the messages is told by the status alone, but in a batch that was
        accepted: each of it has an outcome of its own.
        """
        timings = self.requests[kind][status]
        timings.counts[bisect_left(_SECONDS, seconds)] += 1
        timings.total += seconds
        if outcome is not None and kind == BATCH:
            refused = sum(isinstance(each, InvalidMessage) for each in outcome)
            self.items["accepted"] += len(outcome) - refused
            self.items["refused"] += refused

    def committed(self, messages: int, seconds: float) -> None:
        """So many messages were committed together, which took so many seconds."""
        self.commits.counts[bisect_left(_SECONDS, seconds)] += 1
        self.commits.total += seconds
        self.crowds.counts[bisect_left(_MESSAGES, messages)] += 1
        self.crowds.total += messages

    def timed(self, apply: Apply) -> Apply:
        """The same, with a note of each commit."""

        def timed(incoming: Sequence[Incoming]) -> Sequence[Applied]:
            began = perf_counter()
            applied = apply(incoming)
            self.committed(len(incoming), perf_counter() - began)
            return applied

        return timed


class Timings:
    """How often something took how long: in each range of `_SECONDS`, and in all."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0


class Sizes:
    """How often something had which size: in each range of `_MESSAGES`, and in all."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_MESSAGES) + 1)
        self.total = 0


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Exposition(Collector):
    """
    The page of one receiver.

    Args:
        metrics: What is counted.
        fleet: Is asked how many servers there are, and not again for some seconds.
        waiting: Tells how much waits to be written.
        events: How many events of each kind this receiver has written.
    """

    def __init__(
        self,
        metrics: Metrics,
        fleet: Fleet,
        *,
        waiting: Waiting,
        events: Mapping[str, int],
    ) -> None:
        self._metrics = metrics
        self._fleet = fleet
        self._waiting = waiting
        self._events = events
        self._tally: Mapping[tuple[str, str], int] | None = None
        self._tallied_at: datetime | None = None
        self._version = version_of("odoo-mcp-fleet")
        # One of its own: the one that prometheus-client offers is for a whole process.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page in the format that is accepted, and its media type."""
        await self._ask_the_fleet()
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # it asks for a version that is no number
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Every metric of the receiver."""
        yield from self._of_requests()
        yield from self._of_commits()
        yield from self._of_the_fleet()
        yield self._of_events()
        yield InfoMetricFamily("fleet_build", "This receiver.", {"version": self._version})
        uptime = self._fleet.uptime_seconds()
        yield GaugeMetricFamily("fleet_uptime_seconds", "Since this receiver started.", uptime)

    async def _ask_the_fleet(self) -> None:
        now = self._fleet.now()
        # The clock may have been set back.
        if self._tallied_at is not None and abs(now - self._tallied_at) < _KEPT:
            return
        try:
            self._tally = await self._fleet.tally()
            self._tallied_at = now
        except StoreUnavailable:
            self._tally = self._tallied_at = None

    def _of_requests(self) -> Iterator[Metric]:
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
        for kind, by_status in self._metrics.requests.items():
            seen = list(by_status.items())
            outcomes = self._outcomes(kind, {status: sum(each.counts) for status, each in seen})
            for outcome, count in outcomes.items():
                messages.add_metric((kind, outcome), count)
            columns = zip(*(timings.counts for _, timings in seen), strict=True)
            counts = [sum(column) for column in columns] or Timings().counts
            total = sum(timings.total for _, timings in seen)
            durations.add_metric((kind,), _buckets(_SECONDS, counts), total)
        yield messages
        yield durations

    def _outcomes(self, kind: str, requests: Mapping[int, int]) -> dict[str, int]:
        """How many messages of a kind had which outcome, by the requests of each status."""
        outcomes = dict.fromkeys(("accepted", "refused", "unavailable", "failed"), 0)
        for status, count in requests.items():
            outcomes[_outcome(status)] += count
        if kind == BATCH:
            outcomes["accepted"] = self._metrics.items["accepted"]
            outcomes["refused"] += self._metrics.items["refused"]
        return outcomes

    def _of_commits(self) -> Iterator[Metric]:
        commits, crowds = self._metrics.commits, self._metrics.crowds
        yield HistogramMetricFamily(
            "fleet_commit_duration_seconds",
            "One transaction, from its beginning to the end of its commit.",
            _buckets(_SECONDS, commits.counts),
            commits.total,
        )
        yield HistogramMetricFamily(
            "fleet_commit_messages",
            "Messages that were committed together.",
            _buckets(_MESSAGES, crowds.counts),
            crowds.total,
        )
        requests, size = self._waiting()
        yield GaugeMetricFamily(
            "fleet_queue_requests", "Requests that wait to be written.", requests
        )
        yield GaugeMetricFamily("fleet_queue_bytes", "Bytes that wait to be written.", size)

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

    def _of_events(self) -> Metric:
        events = CounterMetricFamily(
            "fleet_events", "Events that this receiver has written.", labels=("kind",)
        )
        for kind in EventKind:
            events.add_metric((kind.value,), self._events.get(kind.value, 0))
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


def _buckets(bounds: Sequence[float], counts: Iterable[int]) -> list[tuple[str, float]]:
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


async def metrics_page(request: Request) -> Response:
    """The metrics of this receiver, in the format that is asked for."""
    exposition: Exposition = request.app.state.exposition
    page, media_type = await exposition.page(request.headers.get("accept", ""))
    return Response(page, headers={"Content-Type": media_type})
