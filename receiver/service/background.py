"""Background tasks, which run as long as the app does; when a task fails, the process ends."""

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
    Run tasks, given by their names, until the context is left, which cancels them.

    A task may return early. A task that raises or is cancelled meanwhile ends the process with
    its reason in the log and exit status 1: a receiver that no longer writes messages, or no
    longer checks servers, must not look as if it ran.
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
        raise SystemExit(1)  # asyncio hands it on to whoever runs the event loop

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
