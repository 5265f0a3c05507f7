"""Calls the blocking methods of the store from the event loop: in threads, with a time limit."""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import fail_after, to_thread

from receiver.domain.errors import OutcomeUnknown, StoreUnavailable

__all__ = ["StoreCalls"]

T = TypeVar("T")
P = ParamSpec("P")


class _NoAnswer(StoreUnavailable):
    """The database has not answered in time; it may still make a change that was asked for."""


class StoreCalls:
    """
    Runs the blocking methods of a store in threads, so that they do not hold up the event loop.

    Args:
        patience: How many seconds a call may take. After that, the caller gets StoreUnavailable;
            the thread goes on.
    """

    def __init__(self, *, patience: float = 4.0) -> None:
        self._patience = patience

    async def read(self, method: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """
        Call, in a thread, a method that changes nothing; return its result.

        Raises StoreUnavailable, also when the call takes longer than `patience`.
        """
        try:
            with fail_after(self._patience):
                return await to_thread.run_sync(
                    partial(method, *args, **options), abandon_on_cancel=True
                )
        except TimeoutError as error:
            raise _NoAnswer("the database has not answered for some time") from error

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
