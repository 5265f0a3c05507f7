"""
Group commit: what arrives together is committed together.

One task writes. While it commits, messages gather; then all that wait go into the next
transaction. So a busy receiver pays for one commit per crowd, not for one per message.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from anyio import to_thread
from attrs import define, field

from receiver.batch import Applied, Incoming
from receiver.errors import Overloaded, StoreUnavailable

__all__ = ["Writer"]

Apply = Callable[[Sequence[Incoming]], list[Applied]]

_log = logging.getLogger(__name__)


@define(eq=False)
class _Job:
    """Messages that are answered together, and their answer to come."""

    incoming: Sequence[Incoming]
    answer: "asyncio.Future[list[Applied]]" = field(
        factory=lambda: asyncio.get_running_loop().create_future()
    )


class Writer:
    """
    The one who writes.

    Args:
        apply: Merges messages in one transaction; blocks until it is committed.
        max_waiting: How many messages may wait; what exceeds that is refused at once.
        max_batch: From how many messages on no more join a transaction.
    """

    def __init__(self, apply: Apply, *, max_waiting: int = 10_000, max_batch: int = 1000) -> None:
        self._apply = apply
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._waiting = 0

    async def submit(self, incoming: Sequence[Incoming]) -> list[Applied]:
        """
        Merge messages, and return after their commit.

        Raises Overloaded when too many wait already, and StoreUnavailable.
        """
        if self._waiting + len(incoming) > self._max_waiting:
            raise Overloaded(f"{self._waiting} messages wait to be written already")
        job = _Job(incoming)
        self._waiting += len(incoming)
        self._jobs.put_nowait(job)
        return await job.answer

    async def run(self) -> None:
        """Write whatever is submitted, until cancelled."""
        while True:
            await self._commit(await self._next_crowd())

    async def _next_crowd(self) -> list[_Job]:
        job = await self._jobs.get()
        crowd, size = [job], len(job.incoming)
        while size < self._max_batch and not self._jobs.empty():
            job = self._jobs.get_nowait()
            crowd.append(job)
            size += len(job.incoming)
        self._waiting -= size
        return crowd

    async def _commit(self, crowd: list[_Job]) -> None:
        incoming = [each for job in crowd for each in job.incoming]
        try:
            applied = iter(await to_thread.run_sync(self._apply, incoming))
        except StoreUnavailable as error:
            _fail(crowd, error)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            await self._find_the_culprit(crowd, error)
        else:
            for job in crowd:
                _answer(job, [next(applied) for _ in job.incoming])

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


def _fail(crowd: list[_Job], error: Exception) -> None:
    for job in crowd:
        if not job.answer.done():
            job.answer.set_exception(error)
