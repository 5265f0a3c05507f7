"""Threads for requests to the receiver, so that no cron job and no HTTP request waits for it."""

import atexit
import logging
import threading
import time
from functools import cache

import psycopg2

_logger = logging.getLogger(__name__)

_lock = threading.Lock()
_threads: dict[tuple[str, str], "Background"] = {}


class Background(threading.Thread):
    """
    A daemon thread that calls `work(thread)`.

    Attributes:
        exit_wait_seconds: How long the process waits for the thread when it exits.
    """

    def __init__(self, database, work):
        super().__init__(name="mcp_phone_home", daemon=True)
        # Odoo's log formatter reads the database's name from this attribute.
        self.dbname = database
        self.exit_wait_seconds = 1.0
        self._work = work

    def run(self):
        try:
            self._work(self)
        except psycopg2.Error as error:
            # For example, the database was dropped. The next heartbeat is the retry.
            _logger.warning("Nothing was sent, since the database fails: %s", _one_line(error))
        except Exception:
            _logger.exception("Nothing was sent, and this is a bug of the addon")


class NotStarted(Exception):
    """No thread was started; the message is a sentence with the reason."""


class StillRunning(NotStarted):
    """The previous thread for the same database and occasion has not finished."""


def in_background(database, occasion, work):
    """
    Call `work(thread)` in a new thread, which logs any exception.

    At most one thread runs for each pair of database name and `occasion`, an arbitrary text.
    Raises StillRunning while the previous one runs, and NotStarted when the operating system
    gives no more threads or the process is exiting.
    """
    with _lock:
        current = _threads.get((database, occasion))
        if current is not None and current.is_alive():
            raise StillRunning("The message before it is still on its way.")
        thread = Background(database, work)
        try:
            _wait_at_exit()
            thread.start()
        except RuntimeError as error:
            raise NotStarted(f"No thread can be started: {_one_line(error)}.") from error
        _threads[database, occasion] = thread


def wait_for_all():
    """Wait for every running thread, but no longer than its `exit_wait_seconds`."""
    begun = time.monotonic()
    for thread in list(_threads.values()):
        while thread.is_alive() and time.monotonic() < begun + thread.exit_wait_seconds:
            thread.join(0.05)


def wait_for_others(thread, *, most_seconds):
    """
    Wait, in `thread`, until the other threads for its database have finished.

    Meanwhile `thread` takes over their `exit_wait_seconds`.
    """
    deadline = time.monotonic() + most_seconds
    for (database, _), other in list(_threads.items()):
        if database != thread.dbname or other is thread:
            continue
        while other.is_alive() and time.monotonic() < deadline:
            thread.exit_wait_seconds = other.exit_wait_seconds
            other.join(0.05)


@cache
def _wait_at_exit():
    atexit.register(wait_for_all)


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
