"""
The counters of a receiver: of requests, commits and events.

Counting must be cheap, because it happens for every request and every commit. So it only adds to
numbers in an array. The worker processes of one uvicorn share their arrays.
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
from receiver.domain.history import NOTHING_TAKEN, Taken
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

    The rows of the workers of one uvicorn are in memory-mapped files, so that each worker can add
    up all rows. `answered` and `committed` need no lock, because each process changes only its own
    row, where the event loop alone changes the numbers of requests, and the thread that writes to
    the database alone changes those of commits. `total` may miss the latest change.
    """

    def __init__(self) -> None:
        self._events_lock = Lock()
        self._use_rows(Alone(_ROW_LENGTH))

    @property
    def is_shared(self) -> bool:
        """Whether `total` adds up the rows of several worker processes."""
        return self._rows.is_shared

    def join(self, parent: BaseProcess | None, purpose: str) -> None:
        """
        Share the metrics, from now on, with the other workers of a parent process.

        What this process has counted before is dropped.

        Args:
            parent: The process that started this worker; None if this process is no worker.
            purpose: A text that identifies the receiver, such as the URL of its database. Only
                workers of one parent with the same purpose share metrics.
        """
        self._use_rows(rows_for(parent, purpose + repr(_LAYOUT), _ROW_LENGTH))

    def leave(self) -> None:
        """Release the row of this process, so that a new worker can go on counting in it."""
        self._rows.close()

    def _use_rows(self, rows: Rows) -> None:
        self._rows = rows
        self.mine = mine = Numbers(rows.mine)
        self._taken_before = NOTHING_TAKEN
        self._taken_before = self.taken()  # by a worker that counted in the row before
        # An entry for every possible status, so that `answered` needs only a look-up.
        self._requests = {
            kind: {status: by_outcome[outcome] for status, outcome in _OUTCOME_OF.items()}
            for kind, by_outcome in mine.requests.items()
        }

    def answered(
        self, kind: str, status: int, seconds: float, outcome: Outcome | None = None
    ) -> None:
        """
        Count a request that was answered.

        Args:
            kind: The value of the `BodyKind` of the request.
            status: The HTTP status of the answer, which tells whether the messages were accepted.
            seconds: The time from the arrival of the request to its answer.
            outcome: The result of each message of the body; None if the request was refused as a
                whole. Only the results of a batch are counted.
        """
        timings = self._requests[kind][status]
        timings[bisect_left(DURATION_BOUNDS, seconds)] += 1
        timings[-1] += seconds
        if outcome is not None and kind == BATCH:
            refused = sum(not isinstance(each, Applied) for each in outcome)
            self.mine.batch_messages[0] += len(outcome) - refused
            self.mine.batch_messages[1] += refused

    def committed(self, messages: int, seconds: float) -> None:
        """Count a transaction that merged or refused `messages` messages in `seconds` seconds."""
        self.mine.commits[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.mine.commits[-1] += seconds
        self.mine.commit_sizes[bisect_left(SIZE_BOUNDS, messages)] += 1
        self.mine.commit_sizes[-1] += messages

    def happened(self, events: Iterable[Event]) -> None:
        """Count committed events. Any thread may call it."""
        with self._events_lock:
            for event in events:
                self.mine.events[EVENT_KINDS.index(event.kind)] += 1

    def taken(self) -> Taken:
        """
        How many heartbeats this process has written, and how many requests it could not write.

        Both are counted since the process started or, if it has called `join`, since then. The
        requests are those with heartbeats that were answered with a status of 500 or more.
        """
        alone, batches = (self.mine.requests[kind.value] for kind in _OF_HEARTBEATS)
        written = sum(alone["accepted"][:-1]) + self.mine.batch_messages[0]
        refused = [of_kind[each] for of_kind in (alone, batches) for each in _NOT_WRITTEN]
        turned_away = sum(sum(timings[:-1]) for timings in refused)
        return Taken(int(written), int(turned_away)).since(self._taken_before)

    def total(self) -> "Numbers":
        """
        The sums of the numbers of all workers, including those that have ended.

        There are two exceptions: `queue` is the sum over the workers that are alive, and
        `started_at` is the earliest of all.
        """
        rows, alive = zip(*self._rows.all(), strict=True)
        # `fsum` rounds only once, so that the sum of counters never decreases.
        total = Numbers(memoryview(array("d", map(fsum, zip(*rows, strict=True)))))
        workers = list(zip(map(Numbers, rows), alive, strict=True))
        for n in range(len(total.queue)):
            total.queue[n] = sum(numbers.queue[n] for numbers, is_alive in workers if is_alive)
        # `started_at` is 0 in the row of a worker that has just begun.
        total.started_at[0] = min(numbers.started_at[0] or inf for numbers, _ in workers)
        return total

    def timed(self, apply: Apply) -> Apply:
        """Return a function that calls `apply`, and then counts its transaction (`committed`)."""

        def timed(incoming: Sequence[Incoming]) -> Sequence[Applied | Refusal]:
            began = perf_counter()
            applied = apply(incoming)
            self.committed(len(applied), perf_counter() - began)
            return applied

        return timed


DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZE_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_OUTCOMES = ("accepted", "refused", "unavailable", "failed")
_OUTCOME_OF = {
    **dict.fromkeys(range(100, 400), "accepted"),
    **dict.fromkeys(range(400, 500), "refused"),
    **dict.fromkeys(range(500, 600), "failed"),
    503: "unavailable",
}
"""The outcome that each HTTP status of an answer means."""
_NOT_WRITTEN = ("unavailable", "failed")
_OF_HEARTBEATS = (BodyKind.HEARTBEAT, BodyKind.HEARTBEATS)
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
"""
The lists that determine what each number of a row means.

Workers share rows only if these lists are the same.
"""


class Numbers:
    """
    What one worker process has counted, by name; each attribute is a slice of the worker's row.

    A histogram is the number of observations in each bucket, followed by the sum of all observed
    values.

    Attributes:
        requests: Histograms of the seconds from a request to its answer, by the kind of body and
            the outcome.
        batch_messages: Two numbers: how many messages of accepted batches were accepted, and how
            many were refused.
        commits: A histogram of the seconds that transactions took.
        commit_sizes: A histogram of the messages in a transaction.
        events: How many events of each kind were committed, in the order of `EVENT_KINDS`.
        queue: Two numbers: how many bodies of requests wait to be written to the database, and how
            many bytes these have.
        started_at: When a worker first counted in the row, in seconds since 1970; 0 if none has.
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
