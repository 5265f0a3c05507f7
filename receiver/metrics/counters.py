"""
The counters of a receiver: of requests, commits and events.

Counting a request or a commit only adds to numbers in an array, because it happens for each of
them. Workers of one parent process share the arrays.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import fsum, inf
from multiprocessing.process import BaseProcess
from threading import Lock
from time import perf_counter

from contract import Event, EventKind
from receiver.domain.errors import Refusal
from receiver.domain.outcomes import Applied, BodyKind, Incoming, Outcome
from receiver.metrics.shared_rows import Alone, Doubles, Rows, rows_for
from receiver.service.ingest import Apply

__all__ = [
    "BATCH",
    "DURATION_BOUNDS",
    "EVENT_KINDS",
    "SIZE_BOUNDS",
    "Metrics",
    "Numbers",
]

BATCH = BodyKind.HEARTBEATS.value
BODY_KINDS = tuple(kind.value for kind in BodyKind)


class Metrics:
    """
    The counters of one process: a row of numbers in memory.

    Workers of one uvicorn map the rows of all of them from files, so that each can add them up.
    No lock is needed: each process changes only its own row, and in it the event loop changes
    the numbers of `answered` and the thread that writes those of `committed`. `total` may miss
    the last change.
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

        Whatever this process has counted before is dropped.
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

        The status tells whether its messages were accepted. `outcome` is the result of each
        message; only that of an accepted batch is counted.
        """
        timings = self._requests[kind][status]
        timings[bisect_left(DURATION_BOUNDS, seconds)] += 1
        timings[-1] += seconds
        if outcome is not None and kind == BATCH:
            refused = sum(not isinstance(each, Applied) for each in outcome)
            self.mine.batch_messages[0] += len(outcome) - refused
            self.mine.batch_messages[1] += refused

    def committed(self, messages: int, seconds: float) -> None:
        """Count a transaction with so many messages that took so many seconds."""
        self.mine.commits[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.mine.commits[-1] += seconds
        self.mine.commit_sizes[bisect_left(SIZE_BOUNDS, messages)] += 1
        self.mine.commit_sizes[-1] += messages

    def happened(self, events: Iterable[Event]) -> None:
        """Count committed events. Any thread may call it."""
        with self._events_lock:
            for event in events:
                self.mine.events[EVENT_KINDS.index(event.kind)] += 1

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
        """Wrap `apply` in a function that calls `committed` after each of its transactions."""

        def timed(incoming: Sequence[Incoming]) -> Sequence[Applied | Refusal]:
            began = perf_counter()
            applied = apply(incoming)
            self.committed(len(incoming), perf_counter() - began)
            return applied

        return timed


DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZE_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_OUTCOMES = ("accepted", "refused", "unavailable", "failed")
EVENT_KINDS = tuple(EventKind)

_DURATION_LENGTH = len(DURATION_BOUNDS) + 2
_SIZE_LENGTH = len(SIZE_BOUNDS) + 2
_ROW_LENGTH = (
    len(BODY_KINDS) * len(_OUTCOMES) * _DURATION_LENGTH
    + _DURATION_LENGTH
    + _SIZE_LENGTH
    + len(EVENT_KINDS)
    + 5  # batch_messages, queue and started_at
)

_LAYOUT = (
    DURATION_BOUNDS,
    SIZE_BOUNDS,
    BODY_KINDS,
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
        events: How many events were committed, in the order of `EVENT_KINDS`.
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
            kind: {outcome: take(_DURATION_LENGTH) for outcome in _OUTCOMES} for kind in BODY_KINDS
        }
        self.batch_messages = take(2)
        self.commits = take(_DURATION_LENGTH)
        self.commit_sizes = take(_SIZE_LENGTH)
        self.events = take(len(EVENT_KINDS))
        self.queue = take(2)
        self.started_at = take(1)
        assert len(row) == end


def _outcome(status: int) -> str:
    if status < 400:
        return "accepted"
    if status < 500:
        return "refused"
    return "unavailable" if status == 503 else "failed"
