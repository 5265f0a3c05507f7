"""
Delays the end of a receiver that is asked to stop, so that load balancers notice it in time.

A receiver that closes its connections when it is asked to stop loses the requests that are on their
way to it. So it first answers for a while that it is not healthy, and goes on serving. A load
balancer that asks for its health sends further requests to another receiver meanwhile.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

__all__ = ["draining"]

_log = logging.getLogger(__name__)


@contextmanager
def draining(lasts: timedelta) -> Iterator[Callable[[], bool]]:
    """
    A context within which a first SIGTERM stops this process late, and a second one at once.

    Must be entered in the thread of the event loop, after the server (uvicorn) has set its own
    handler of SIGTERM, which is called in the end. Yields a function that returns whether SIGTERM
    has come. If `lasts` is zero, and in a thread other than the main one, which gets no signals,
    SIGTERM works as before, and the function always returns False.

    Args:
        lasts: How long this process goes on after the first SIGTERM.
    """
    asked = threading.Event()
    if not lasts or threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    loop = asyncio.get_running_loop()
    of_server = signal.getsignal(signal.SIGTERM)

    def begin(number: int, _: FrameType | None) -> None:
        if asked.is_set():
            stop(number)
            return
        asked.set()
        seconds = lasts.total_seconds()
        _log.info("Asked to stop, which is done in %g seconds", seconds)
        # From within the loop, which may wait for something to happen.
        loop.call_soon_threadsafe(loop.call_later, seconds, stop, number)

    def stop(number: int) -> None:
        signal.signal(number, of_server)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, begin)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, of_server)
