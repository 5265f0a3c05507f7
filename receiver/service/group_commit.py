"""
Group commit: messages that arrive together are committed together.

One task writes. While it commits, messages queue up; then all that wait go into the next
transaction. So a busy receiver pays for one commit per batch, not for one per message.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

from contract import FleetError
from receiver.domain.errors import Overloaded, StoreUnavailable
from receiver.domain.outcomes import Outcome
from receiver.domain.rate_limits import RateLimits
from receiver.service.ingest import Apply, Submission, ingest

__all__ = ["GroupCommit"]

_KIB = 1024
_MIB = 1024 * _KIB

_TROUBLED_SECONDS = 10.0
_GATHER_ITERATIONS = 4
"""
Loop iterations to wait so that concurrent requests join the batch.

A client that has just got its answer needs them for its next request: the answer is sent, the
request arrives, is read, and is submitted.
"""

_log = logging.getLogger(__name__)

_Answer = asyncio.Future[Outcome]
_Job = tuple[Submission, _Answer]
"""A body, and the future of what becomes of it."""


class GroupCommit:
    """
    A queue of bodies, and the task that writes them.

    Args:
        apply: Merges messages in one transaction; blocks until it is committed.
        limits: The rate limits of keys.
        max_waiting_bytes: How many bytes may wait; more are refused at once.
        max_batch_bytes: A batch that has so many bytes takes no further body: the cost of a
            message in a transaction, such as a row for each tool, grows with its length.
        patience: After so many seconds of one transaction, whatever waits is refused, and so
            is whatever arrives until the transaction ends.
    """

    def __init__(
        self,
        apply: Apply,
        limits: RateLimits,
        *,
        max_waiting_bytes: int = 16 * _MIB,
        max_batch_bytes: int = 256 * _KIB,
        patience: float = 4.0,
    ) -> None:
        self._ingest = partial(ingest, apply, limits)
        self._patience = patience
        self._failed = "", float("-inf")
        self._is_stuck = False
        self._max_waiting_bytes = max_waiting_bytes
        self._max_batch_bytes = max_batch_bytes
        self._thread = ThreadPoolExecutor(1, "group-commit")
        self._jobs: deque[_Job] = deque()
        self._submitted = asyncio.Event()
        self._waiting_bytes = 0

    def submit(self, submission: Submission) -> _Answer:
        """
        Queue a body; the returned future gets the result of each message after their commit.

        Raises Overloaded when too many bytes wait. Raises StoreUnavailable, and so may the
        future.
        """
        if self._is_stuck:
            raise StoreUnavailable("the database has not answered for some time")
        size = len(submission.body)
        if self._waiting_bytes + size > self._max_waiting_bytes:
            raise Overloaded(f"{self._waiting_bytes} bytes wait to be written already")
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting_bytes += size
        self._jobs.append((submission, answer))
        self._submitted.set()
        return answer

    def trouble(self) -> str | None:
        """Why messages could not be written in the last seconds; None when they could."""
        reason, failed_at = self._failed
        return reason if monotonic() - failed_at < _TROUBLED_SECONDS else None

    def waiting(self) -> tuple[int, int]:
        """How many bodies wait to be written, and how many bytes they have."""
        return len(self._jobs), self._waiting_bytes

    async def run(self) -> None:
        """Write whatever is submitted, until cancelled."""
        while True:
            await self._submitted.wait()
            self._submitted.clear()
            while self._jobs:
                await self._gather()
                await self._commit(self._next_batch())

    def close(self) -> None:
        """End the thread, once its transaction is over."""
        self._thread.shutdown()

    async def _gather(self) -> None:
        for _ in range(_GATHER_ITERATIONS):
            await asyncio.sleep(0)

    def _next_batch(self) -> list[_Job]:
        batch = []
        size = 0
        while self._jobs and size < self._max_batch_bytes:
            job = self._jobs.popleft()
            batch.append(job)
            size += len(job[0].body)
        self._waiting_bytes -= size
        return batch

    async def _commit(self, batch: list[_Job]) -> None:
        try:
            outcomes = await self._written([submission for submission, _ in batch])
        except StoreUnavailable as error:
            self._failed = str(error), monotonic()
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - the futures carry it to the requests
            await self._commit_one_by_one(batch, error)
        else:
            for (_, answer), outcome in zip(batch, outcomes, strict=True):
                if answer.done():  # cancelled: the client has gone
                    continue
                if isinstance(outcome, FleetError):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    async def _written(self, submissions: list[Submission]) -> list[Outcome | FleetError]:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._patience, self._refuse_waiting)
        try:
            return await loop.run_in_executor(self._thread, self._ingest, submissions)
        finally:
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
        _fail(self._jobs, error)
        self._jobs.clear()
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
    for _, answer in jobs:
        if not answer.done():
            answer.set_exception(error)
