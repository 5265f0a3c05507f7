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
from functools import partial

from contract import FleetError
from receiver.domain.errors import Overloaded, Refusal, StoreUnavailable
from receiver.domain.rate_limits import Limits
from receiver.service.ingest import Outcome, Submission, take_in
from receiver.store.merging import Applied, Incoming

__all__ = ["Writer"]

_KIB = 1024
_MIB = 1024 * _KIB

_TURNS = 4
"""Of the event loop: answers go out, requests come in, they are read, they are submitted."""

_log = logging.getLogger(__name__)


_Answer = asyncio.Future[Outcome]
_Job = tuple[Submission, _Answer]
"""What was posted, and the answer to come."""


class Writer:
    """
    The one who writes.

    Args:
        apply: Merges messages in one transaction; blocks until it is committed.
        limits: How much may come from one key.
        most_waiting: How many bytes may wait; what exceeds that is refused at once.
        most_together: From how many bytes on no more join a transaction: what a message
            costs there, such as a row for each of its capabilities, goes by its length.
        patience: For how many seconds a transaction may go on until nobody else waits for
            it: whoever waits to join the next one, or comes before it ends, is refused.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[Incoming]], Sequence[Applied | Refusal]],
        limits: Limits,
        *,
        most_waiting: int = 16 * _MIB,
        most_together: int = 256 * _KIB,
        patience: float = 4.0,
    ) -> None:
        self._take_in = partial(take_in, apply, limits)
        self._patience = patience
        self._stuck = False
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._thread = ThreadPoolExecutor(1, "writer")
        self._jobs: deque[_Job] = deque()
        self._submitted = asyncio.Event()
        self._waiting = 0

    def submit(self, submission: Submission) -> _Answer:
        """
        Merge messages, and tell what became of them after their commit.

        Raises Overloaded when too much waits already, and StoreUnavailable, at once or
        from the future.
        """
        if self._stuck:
            raise StoreUnavailable("the database has not answered for some time")
        size = len(submission.body)
        if self._waiting + size > self._most_waiting:
            raise Overloaded(f"{self._waiting} bytes wait to be written already")
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting += size
        self._jobs.append((submission, answer))
        self._submitted.set()
        return answer

    def waiting(self) -> tuple[int, int]:
        """How many requests wait to be written, and their bytes."""
        return len(self._jobs), self._waiting

    async def run(self) -> None:
        """Write whatever is submitted, until cancelled."""
        while True:
            await self._submitted.wait()
            self._submitted.clear()
            while self._jobs:
                await self._gather()
                await self._commit(self._next_crowd())

    def close(self) -> None:
        """Let go of the thread, once what it does is done."""
        self._thread.shutdown()

    async def _gather(self) -> None:
        """Let those come who are on their way: two small crowds cost more than a large one."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _next_crowd(self) -> list[_Job]:
        crowd = []
        size = 0
        while self._jobs and size < self._most_together:
            job = self._jobs.popleft()
            crowd.append(job)
            size += len(job[0].body)
        self._waiting -= size
        return crowd

    async def _commit(self, crowd: list[_Job]) -> None:
        try:
            outcomes = await self._written([submission for submission, _ in crowd])
        except StoreUnavailable as error:
            _fail(crowd, error)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            await self._find_the_culprit(crowd, error)
        else:
            for (_, answer), outcome in zip(crowd, outcomes, strict=True):
                if answer.done():  # it was cancelled: nobody waits any more
                    continue
                if isinstance(outcome, FleetError):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    async def _written(self, submissions: list[Submission]) -> list[Outcome | FleetError]:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._patience, self._turn_away)
        try:
            return await loop.run_in_executor(self._thread, self._take_in, submissions)
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


def _fail(crowd: Iterable[_Job], error: Exception) -> None:
    for _, answer in crowd:
        if not answer.done():
            answer.set_exception(error)
