"""Runs background tasks as long as the app runs; ends the process when a task fails."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["running"]

_log = logging.getLogger(__name__)


@asynccontextmanager
async def running(**tasks: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """
    A context within which coroutines run as tasks; leaving the context cancels the tasks.

    A task may return early. When a task raises, or is cancelled before the context is left, the
    process ends with a log record and exit status 1, because a receiver that no longer writes
    messages, or no longer checks servers, must not seem to work.

    Args:
        tasks: The coroutines by the names of their tasks.
    """
    is_over = False

    def end_the_process(task: asyncio.Task[None]) -> None:
        if is_over or not (task.cancelled() or task.exception()):
            return
        reason = None if task.cancelled() else task.exception()
        _log.critical(
            "The background task %r has ended, and the receiver ends with it: %s",
            task.get_name(),
            reason or "it was cancelled",
            exc_info=reason,
        )
        raise SystemExit(1)  # asyncio raises it in the caller that runs the event loop

    started = [asyncio.create_task(task, name=name) for name, task in tasks.items()]
    for task in started:
        task.add_done_callback(end_the_process)
    try:
        yield
    finally:
        is_over = True
        for task in started:
            task.cancel()
        await asyncio.wait(started)
