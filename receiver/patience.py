"""
A limit on how long one may wait.

What `asyncio.timeout` does, less exactly, with one timer for all who wait: one for
each costs as much as a merge.
"""

from asyncio import CancelledError, Task, TimerHandle, current_task, get_running_loop
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["Patience"]

T = TypeVar("T")

_LOOKS = 8
"""How often it is looked after those who wait, until the first of them is late."""


class Patience:
    """Waits for so many seconds and at most an eighth more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._looks = 0
        self._next_look: TimerHandle | None = None
        self._since: dict[Task[Any], int] = {}
        self._late: set[Task[Any]] = set()

    async def wait_for(self, awaitable: Awaitable[T]) -> T:
        """What the awaitable gives. Raises TimeoutError when that takes too long."""
        task = current_task()
        assert task is not None
        self._since[task] = self._looks
        if self._next_look is None:
            self._look_later()
        try:
            return await awaitable
        except CancelledError as error:
            if task in self._late and not task.uncancel():
                raise TimeoutError from error
            raise
        finally:
            del self._since[task]
            self._late.discard(task)

    def _look_later(self) -> None:
        self._next_look = get_running_loop().call_later(self.seconds / _LOOKS, self._look)

    def _look(self) -> None:
        self._looks += 1
        # Who began to wait first stands first.
        for task, since in self._since.items():
            if self._looks - since <= _LOOKS:
                break
            self._late.add(task)
            task.cancel()
        self._next_look = None
        if self._since:
            self._look_later()
