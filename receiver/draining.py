"""
A stop that load balancers see coming.

A receiver that closes its connections when it is asked to stop loses the requests that are on their
way to it. So it first says for a while that it is not healthy, and goes on serving: whoever asks
for its health hands the requests to another receiver meanwhile.
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
    Let SIGTERM stop this process only after a while; a second SIGTERM stops it at once.

    It is entered in the event loop, when the server has set what it does at the signal. Does
    nothing for no time, and in a thread other than the main one, which gets no signals. Yields a
    function that tells whether this process was asked to stop.

    Args:
        lasts: How long the receiver goes on.
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
