"""
A limit on how long one may wait.

What `asyncio.timeout` does, less exactly, with one timer for all who wait: one for
each costs as much as a merge.
"""

from asyncio import (
    AbstractEventLoop,
    CancelledError,
    Task,
    TimerHandle,
    current_task,
    get_running_loop,
)
from types import TracebackType
from typing import Any

__all__ = ["Patience"]

_LOOKS = 8
"""How often it is looked after those who wait, until the first of them is late."""


class Patience:
    """
    A context that is left with a TimeoutError when one is in it for too long.

    Any number of tasks may be in it, each for so many seconds and at most an eighth more.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._looks = 0
        self._loop: AbstractEventLoop | None = None
        self._next_look: TimerHandle | None = None
        self._since: dict[Task[Any], int] = {}
        self._late: set[Task[Any]] = set()

    def begin(self) -> None:
        """Forget the event loop of an earlier run, and who waited there."""
        self._next_look = None
        self._since.clear()
        self._late.clear()

    def __enter__(self) -> None:
        if self._next_look is None:
            self._look_later(get_running_loop())
        # Python 3.11 asks the system which process this is, to find the loop.
        task = current_task(self._loop)
        assert task is not None  # only a task can wait
        self._since[task] = self._looks

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        task = current_task(self._loop)
        assert task is not None  # as above
        del self._since[task]
        if task in self._late:
            self._late.remove(task)
            if isinstance(error, CancelledError) and not task.uncancel():
                raise TimeoutError from error

    def _look_later(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._next_look = loop.call_later(self.seconds / _LOOKS, self._look)

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
            self._look_later(get_running_loop())
