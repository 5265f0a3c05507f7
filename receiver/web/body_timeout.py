"""
A timeout for receiving the bodies of requests.

`BodyTimeout` does what `asyncio.timeout` does, but less exactly, and with one timer for all
requests, because a timer for each request would take as long as processing its message.
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

__all__ = ["BodyTimeout"]

_LOOKS = 8
"""How many times the timer fires within the timeout."""


class BodyTimeout:
    """
    A context that raises TimeoutError in a task that stays in it for too long.

    Any number of tasks of one event loop may be in the context at the same time.

    Args:
        seconds: How long a task may stay in the context. The error may be raised up to an eighth of
            this time later.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._looks = 0
        self._loop: AbstractEventLoop | None = None
        self._next_look: TimerHandle | None = None
        self._since: dict[Task[Any], int] = {}
        self._late: set[Task[Any]] = set()

    def __enter__(self) -> None:
        if self._next_look is None:
            self._look_later(get_running_loop())
        # Without the argument, Python 3.11 would make a system call (getpid) each time.
        task = current_task(self._loop)
        assert task is not None  # uvicorn handles each request in a task
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
        # Tasks are in the order of their entering: no task after the first punctual one is late.
        for task, since in self._since.items():
            if self._looks - since <= _LOOKS:
                break
            self._late.add(task)
            task.cancel()
        self._next_look = None
        if self._since:
            self._look_later(get_running_loop())
