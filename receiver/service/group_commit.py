"""
Group commit: messages that arrive together are committed together, and keys take turns.

One task writes. While it commits, messages queue up, in two queues for each key: one for batches,
and one for messages that come alone. The next transaction takes from each queue in turn, until it
has as much as it may take. So a busy receiver makes one commit for many messages; and however
much one key sends, the message of another key is in the next transaction. A message that comes
alone does not wait for the batches of its own key either.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from time import monotonic

from contract import FleetError
from receiver.domain.errors import Overloaded, StoreUnavailable
from receiver.domain.outcomes import Outcome
from receiver.domain.rate_limits import RateLimits
from receiver.service.decoding import Known
from receiver.service.ingest import MOST_MESSAGES, Apply, Body, QueueName, Submission, ingest

__all__ = ["Allowance", "Done", "GroupCommit"]

_KIB = 1024
_MIB = 1024 * _KIB

_NOT_FAILED = "", float("-inf")
_TROUBLED_SECONDS = 10.0
_GATHER_ITERATIONS = 4
"""
Loop iterations to wait so that concurrent requests join the batch.

A client that has just got its answer needs them for its next request: the answer is sent, the
request arrives, is read, and is submitted.
"""

_SHARED = 0.4
"""Which part of the usual time bodies are decoded for a transaction that several queues share."""

_log = logging.getLogger(__name__)

_Answer = asyncio.Future[Outcome]

Done = Callable[[Body], None]
"""A function that gets a body whose messages all have a result, or which has an `error`."""


class Allowance:
    """
    How many seconds a transaction may take: a function that the transaction calls while it runs.

    The limit changes during a transaction when a body of another queue begins to wait for its end.

    Args:
        seconds: The limit for a transaction with the messages of one queue only, while no body of
            another queue waits.
        hurried_seconds: The limit for any other transaction; None if it is `seconds`, too.

    Attributes:
        is_hurried: Whether `hurried_seconds` is the limit now. `GroupCommit` sets it.
    """

    def __init__(self, seconds: float = inf, hurried_seconds: float | None = None) -> None:
        self._seconds = seconds
        self._hurried_seconds = seconds if hurried_seconds is None else hurried_seconds
        self.is_hurried = False

    def __call__(self) -> float:
        return self._hurried_seconds if self.is_hurried else self._seconds


class _Job:
    """A posted body, and the function that is called with it once it has results or an error."""

    __slots__ = ("body", "done")

    def __init__(self, body: Body, done: Done) -> None:
        self.body = body
        self.done: Done | None = done


class _Queue:
    """
    Posted bodies that wait to be written: the batches of a key, or its other bodies.

    Attributes:
        jobs: The bodies in the order in which they came. Parts of the first one may be committed.
        size: How many bytes the bodies have.
    """

    def __init__(self) -> None:
        self.jobs: deque[_Job] = deque()
        self.size = 0


class GroupCommit:
    """
    Queues of posted bodies, and the task that writes them.

    Args:
        apply: Merges messages in one transaction; blocks until it is committed. It may leave the
            last messages to the next transaction, so that those of other keys need not wait long.
        limits: The rate limits of keys.
        known: What heartbeats may repeat, so that it need not be decoded or checked again.
        allowance: The limit for the length of a transaction, which `apply` must respect. This
            object sets its `is_hurried`.
        max_waiting_bytes: How many bytes may wait to be written. When a further body exceeds this,
            the newest bodies of the longest queue are refused.
        max_batch_bytes: A transaction that has this many bytes takes no second body from a queue.
        patience: How many seconds a transaction may take before all bodies that wait for it are
            refused. Until it ends, all bodies that arrive are refused, too.
        reading_seconds: How many seconds bodies are decoded at most for a transaction with bodies
            of one queue; with bodies of several queues it is two fifths of that.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        apply: Apply,
        limits: RateLimits,
        *,
        known: Known | None = None,
        allowance: Allowance | None = None,
        max_waiting_bytes: int = 16 * _MIB,
        max_batch_bytes: int = 256 * _KIB,
        patience: float = 4.0,
        reading_seconds: float = 0.03,
    ) -> None:
        self._ingest = partial(ingest, apply, limits, known=known)
        self._allowance = Allowance() if allowance is None else allowance
        self._reading_seconds = reading_seconds
        self._writing: set[QueueName] = set()
        self._over: asyncio.Future[None] | None = None
        self._patience = patience
        self._failed = _NOT_FAILED
        self._is_stuck = False
        self._most_messages = MOST_MESSAGES
        self._max_waiting_bytes = max_waiting_bytes
        self._max_batch_bytes = max_batch_bytes
        self._thread = ThreadPoolExecutor(1, "group-commit")
        self._queues: dict[QueueName, _Queue] = {}
        self._submitted = asyncio.Event()
        self._waiting_bytes = 0

    def submit(self, submission: Submission) -> _Answer:
        """
        Queue a body; return a future, which gets the results of its messages after their commit.

        Must be called in the event loop, and does not wait. Raises Overloaded when too many bytes
        wait to be written, and StoreUnavailable when the database has not answered for some
        seconds.

        If no message of the body is committed, awaiting the future may raise an error: the `error`
        of its `Body`; Overloaded, when the body was dropped unwritten from the longest queue to
        make room for a body of another queue; or any error of `apply`, such as StoreUnavailable.
        """
        answer = asyncio.get_running_loop().create_future()
        self.submit_to(partial(_resolve, answer), submission)
        return answer

    def submit_to(self, done: Done, submission: Submission) -> None:
        """
        Do what `submit` does, but call `done` in place of setting a future.

        Of a future, a callback would be called one iteration of the event loop later, which takes
        as long as to write the message.
        """
        if self._is_stuck:
            raise StoreUnavailable("the database has not answered for some time")
        job = _Job(Body(submission), done)
        if self._waiting_bytes + job.body.size > self._max_waiting_bytes:
            self._make_room(job)
        self._append(job)
        if self._writing and job.body.queue not in self._writing:
            self._allowance.is_hurried = True
        self._submitted.set()

    def trouble(self) -> str | None:
        """Why the last transaction failed; None if it did not, or if that is 10 seconds ago."""
        reason, failed_at = self._failed
        return reason if monotonic() - failed_at < _TROUBLED_SECONDS else None

    def waiting(self) -> tuple[int, int]:
        """How many bodies wait to be written, and how many bytes they have."""
        return sum(len(each.jobs) for each in self._queues.values()), self._waiting_bytes

    async def lull(self, *, at_most: float = 0.01) -> None:
        """
        Wait until the transaction under way is over, but for `at_most` seconds.

        For reads, which would take the processor from it. So a client that reads without a pause
        gets one page for each transaction, and not half of the processor.
        """
        if self._over is not None:
            await asyncio.wait([self._over], timeout=at_most)

    async def run(self) -> None:
        """Write the bodies that are submitted, until cancelled."""
        while True:
            await self._submitted.wait()
            self._submitted.clear()
            while self._queues:
                await self._gather()
                batch = self._next_batch()
                await self._commit(batch)
                self._put_back(batch)

    def close(self) -> None:
        """
        End the thread that writes; blocks until its current transaction is over.

        Whatever is still queued is not written, and its futures never get a result.
        """
        self._thread.shutdown()

    async def _gather(self) -> None:
        for _ in range(_GATHER_ITERATIONS):
            await asyncio.sleep(0)

    def _append(self, job: _Job) -> None:
        queue = self._queues.get(job.body.queue)
        if queue is None:
            queue = self._queues[job.body.queue] = _Queue()
        queue.jobs.append(job)
        queue.size += job.body.size
        self._waiting_bytes += job.body.size

    def _make_room(self, job: _Job) -> None:
        """
        Refuse the newest bodies of the queue that has most waiting, in favour of another queue.

        Raises Overloaded if the new body itself is the one to refuse.
        """
        error = Overloaded(f"{self._waiting_bytes} bytes wait to be written already")
        own = self._queues.get(job.body.queue, _Queue()).size + job.body.size
        while self._waiting_bytes + job.body.size > self._max_waiting_bytes:
            name = max(self._queues, key=lambda each: self._queues[each].size, default=None)
            if name is None or self._queues[name].size <= own:
                raise error
            _fail([self._taken_from(name, newest=True)], error)

    def _taken_from(self, name: QueueName, *, newest: bool = False) -> _Job:
        queue = self._queues[name]
        job = queue.jobs.pop() if newest else queue.jobs.popleft()
        queue.size -= job.body.size
        self._waiting_bytes -= job.body.size
        if not queue.jobs:
            del self._queues[name]
        return job

    def _next_batch(self) -> list[_Job]:
        """A body of each queue, and further ones of each in turn up to `max_batch_bytes`."""
        if len(self._queues) == 1:
            (queue,) = self._queues.values()
            if queue.size <= self._max_batch_bytes:  # as nearly always
                self._queues.clear()
                self._waiting_bytes -= queue.size
                return [*queue.jobs]
        batch: list[_Job] = []
        size = 0
        names = deque(self._queues)
        first_turns = len(names)
        while names and (len(batch) < first_turns or size < self._max_batch_bytes):
            name = names.popleft()
            job = self._taken_from(name)
            batch.append(job)
            size += job.body.size
            if name in self._queues:
                names.append(name)
        return batch

    def _put_back(self, batch: list[_Job]) -> None:
        """
        Queue again what a transaction has left, in the order of their turns.

        First come the queues of which it has written nothing, and last those that had a turn.
        """
        if len(self._queues) < 2 and all(job.body.is_done for job in batch):
            return
        by_queue: dict[QueueName, list[_Job]] = {}
        for job in batch:
            by_queue.setdefault(job.body.queue, []).append(job)
        first: dict[QueueName, _Queue] = {}
        last: dict[QueueName, _Queue] = {}
        for name, jobs in by_queue.items():
            queue = self._queues.pop(name, None) or _Queue()
            left = [job for job in jobs if not job.body.is_done]
            queue.jobs.extendleft(reversed(left))
            size = sum(job.body.size for job in left)
            queue.size += size
            self._waiting_bytes += size
            if queue.jobs:
                has_advanced = any(job.body.has_advanced for job in jobs)
                (last if has_advanced else first)[name] = queue
        self._queues = {**first, **self._queues, **last}

    async def _commit(self, batch: list[_Job]) -> None:
        try:
            await self._written(batch)
        except StoreUnavailable as error:
            self._failed = str(error), monotonic()
            _fail((job for job in batch if job.body.is_taken), error)
        except Exception as error:  # noqa: BLE001 - the futures carry it to the requests
            await self._commit_one_by_one(batch, error)
        else:
            self._failed = _NOT_FAILED
        for job in batch:
            if job.body.is_done:
                _answer(job)

    async def _written(self, batch: list[_Job]) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._patience, self._refuse_waiting)
        over = self._over = loop.create_future()
        try:
            bodies = [job.body for job in batch]
            self._writing = {body.queue for body in bodies}
            is_shared = len(self._writing) > 1
            self._allowance.is_hurried = is_shared or not self._queues.keys() <= self._writing
            write = partial(
                self._ingest,
                bodies,
                reading_seconds=self._reading_seconds * (_SHARED if is_shared else 1),
                most_messages=self._most_messages,
            )
            self._most_messages = await loop.run_in_executor(self._thread, write)
        finally:
            self._writing.clear()
            self._over = None
            over.set_result(None)
            timer.cancel()
            self._is_stuck = False

    def _refuse_waiting(self) -> None:
        """
        Refuse all bodies but those of the transaction under way.

        What becomes of those is only known when the transaction ends.
        """
        self._is_stuck = True
        error = StoreUnavailable("the database has not answered for some time")
        self._failed = str(error), monotonic()
        for queue in self._queues.values():
            _fail(queue.jobs, error)
        self._queues.clear()
        self._waiting_bytes = 0

    async def _commit_one_by_one(self, batch: list[_Job], error: Exception) -> None:
        """Write each body in a transaction of its own: one body may have made the batch fail."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        _log.warning("A transaction of %s requests failed; each is tried alone", len(batch))
        for job in batch:
            await self._commit([job])


def _fail(jobs: Iterable[_Job], error: Exception) -> None:
    """Answer with an error, or with what is committed if a part of a body is."""
    for job in jobs:
        job.body.fail(error)
        if job.body.error is None:
            _log.warning(
                "A part of a batch was not written: %s",
                error,
                exc_info=None if isinstance(error, FleetError) else error,
            )
        _answer(job)


def _answer(job: _Job) -> None:
    """Call the function of a job with its body, unless it was called before."""
    done, job.done = job.done, None
    if done is not None:
        try:
            done(job.body)
        except Exception:  # noqa: BLE001 - or no message would be written any more
            _log.exception("A request was not answered")


def _resolve(answer: _Answer, body: Body) -> None:
    if answer.done():  # cancelled, because the client has gone
        return
    if body.error is None:
        answer.set_result(body.outcomes)
    else:
        answer.set_exception(body.error)
