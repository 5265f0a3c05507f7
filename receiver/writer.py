"""
Group commit: what arrives together is committed together.

One task writes. While it commits, messages gather; then all that wait go into the next
transaction. So a busy receiver pays for one commit per crowd, not for one per message.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from receiver.batch import Applied, Incoming
from receiver.errors import Overloaded, StoreUnavailable

__all__ = ["Writer"]

Apply = Callable[[Sequence[Incoming]], list[Applied]]

_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    """Messages that are answered together, and their answer to come."""

    incoming: Sequence[Incoming]
    answer: "asyncio.Future[list[Applied]]"


class Writer:
    """
    The one who writes.

    Args:
        apply: Merges messages in one transaction; blocks until it is committed.
        max_waiting: How many messages may wait; what exceeds that is refused at once.
        max_batch: From how many messages on no more join a transaction.
        max_capabilities: The same for the capabilities that the messages name, each of
            which may have to be written.
        patience: For how many seconds a transaction may go on until nobody else waits for
            it: whoever waits to join the next one, or comes before it ends, is refused.
    """

    def __init__(
        self,
        apply: Apply,
        *,
        max_waiting: int = 10_000,
        max_batch: int = 1000,
        max_capabilities: int = 20_000,
        patience: float = 4.0,
    ) -> None:
        self._apply = apply
        self._patience = patience
        self._stuck = False
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._max_capabilities = max_capabilities
        self._thread = ThreadPoolExecutor(1, "writer")
        self._jobs: deque[_Job] = deque()
        self._submitted = asyncio.Event()
        self._waiting = 0

    async def submit(self, incoming: Sequence[Incoming]) -> list[Applied]:
        """
        Merge messages, and return after their commit.

        Raises Overloaded when too many wait already, and StoreUnavailable.
        """
        if self._stuck:
            raise StoreUnavailable("the database has not answered for some time")
        if self._waiting + len(incoming) > self._max_waiting:
            raise Overloaded(f"{self._waiting} messages wait to be written already")
        job = _Job(incoming, asyncio.get_running_loop().create_future())
        self._waiting += len(incoming)
        self._jobs.append(job)
        self._submitted.set()
        return await job.answer

    async def run(self) -> None:
        """Write whatever is submitted, until cancelled."""
        while True:
            await self._submitted.wait()
            self._submitted.clear()
            while self._jobs:
                await self._commit(self._next_crowd())

    def close(self) -> None:
        """Let go of the thread, once what it does is done."""
        self._thread.shutdown()

    def _next_crowd(self) -> list[_Job]:
        crowd: list[_Job] = []
        size = capabilities = 0
        while self._jobs and size < self._max_batch and capabilities < self._max_capabilities:
            job = self._jobs.popleft()
            crowd.append(job)
            size += len(job.incoming)
            for each in job.incoming:
                capabilities += len(each.message.capabilities or ())
        self._waiting -= size
        return crowd

    async def _commit(self, crowd: list[_Job]) -> None:
        try:
            applied = await self._written(crowd)
        except StoreUnavailable as error:
            _fail(crowd, error)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            await self._find_the_culprit(crowd, error)
        else:
            start = 0
            for job in crowd:
                end = start + len(job.incoming)
                _answer(job, applied[start:end])
                start = end

    async def _written(self, crowd: list[_Job]) -> list[Applied]:
        incoming = [each for job in crowd for each in job.incoming]
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._patience, self._turn_away)
        try:
            return await loop.run_in_executor(self._thread, self._apply, incoming)
        finally:
            timer.cancel()
            self._stuck = False

    def _turn_away(self) -> None:
        """
        Let nobody wait any more but the crowd under way.

        What becomes of that one only the end of its transaction tells.
        """
        self._stuck = True
        _fail(self._jobs, StoreUnavailable("the database has not answered for some time"))
        self._jobs.clear()
        self._waiting = 0

    async def _find_the_culprit(self, crowd: list[_Job], error: Exception) -> None:
        """One job may have failed the transaction of all: each gets one of its own."""
        if len(crowd) == 1:
            _fail(crowd, error)
            return
        _log.warning("A transaction of %s requests failed; each is tried alone", len(crowd))
        for job in crowd:
            await self._commit([job])


def _answer(job: _Job, applied: list[Applied]) -> None:
    if not job.answer.done():  # nobody waits any more when it is cancelled
        job.answer.set_result(applied)


def _fail(crowd: Iterable[_Job], error: Exception) -> None:
    for job in crowd:
        if not job.answer.done():
            job.answer.set_exception(error)
