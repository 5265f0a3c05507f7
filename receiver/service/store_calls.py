"""Calls the blocking methods of the store from the event loop: in threads, with a time limit."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from receiver.domain.errors import OutcomeUnknown, StoreUnavailable

__all__ = ["StoreCalls"]

T = TypeVar("T")
P = ParamSpec("P")

_MOST_THREADS = 40


class _NoAnswer(StoreUnavailable):
    """The database has not answered in time; it may still make a change that was asked for."""


class StoreCalls:
    """
    Runs the blocking methods of a store in threads, so that they do not hold up the event loop.

    The threads are its own: with those of anyio, a call takes almost twice as long.

    Args:
        lull: Waits a moment for a good time to begin a call, when nothing more urgent is done;
            None begins each call at once.
        patience: How many seconds a call may take. After that, the caller gets StoreUnavailable;
            the thread goes on.
    """

    def __init__(
        self, *, lull: Callable[[], Awaitable[None]] | None = None, patience: float = 4.0
    ) -> None:
        self._lull = lull
        self._patience = patience
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="store")

    async def read(self, method: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """
        Call, in a thread, a method that changes nothing; return its result.

        Raises StoreUnavailable, also when the call takes longer than `patience`.
        """
        if self._lull is not None:
            await self._lull()
        # With the context, in which the log finds the id of the request.
        call = partial(copy_context().run, method, *args, **options)
        answer = asyncio.get_running_loop().run_in_executor(self._threads, call)
        try:
            done, _ = await asyncio.wait([answer], timeout=self._patience)
        finally:
            answer.cancel()  # if it is not done: nobody waits for it any more
        if not done:
            raise _NoAnswer("the database has not answered for some time")
        return answer.result()

    async def change(self, method: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """
        Call, in a thread, a method that writes; return its result after the commit.

        Raises StoreUnavailable when nothing was changed, and OutcomeUnknown when the change may
        still happen.
        """
        try:
            return await self.read(method, *args, **options)
        except _NoAnswer as error:
            raise OutcomeUnknown("the database does not end a change") from error

    def close(self) -> None:
        """Let the threads end; one that still waits for the database ends after that."""
        self._threads.shutdown(wait=False)
