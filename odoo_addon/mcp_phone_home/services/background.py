"""Doing what may take long without letting anybody wait for it."""

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
    A thread that ends with the process.

    Attributes:
        patience_seconds: How long a process that ends waits for it.
    """

    def __init__(self, database, work):
        super().__init__(name="mcp_phone_home", daemon=True)
        # Odoo's log tells the database by it.
        self.dbname = database
        self.patience_seconds = 1.0
        self._work = work

    def run(self):
        try:
            self._work(self)
        except psycopg2.Error as error:
            # The database was dropped, say; the next heartbeat is the next try.
            _logger.warning("Nothing was sent, since the database fails: %s", _one_line(error))
        except Exception:
            _logger.exception("Nothing was sent, and this is a bug of the addon")


class NotStarted(Exception):
    """No thread runs the work; the message is a sentence that says why."""


class StillRunning(NotStarted):
    """The thread before it for the same database and occasion is not done."""


def in_background(database, occasion, work):
    """
    Call `work(thread)` in a new thread. What `work` raises is logged.

    One thread runs at a time for each database and occasion, a text. Raises StillRunning while
    it does, and NotStarted where the process can start no thread, as when it ends.
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
    """Wait for those that are at it, for none longer than it asks for."""
    begun = time.monotonic()
    for thread in list(_threads.values()):
        while thread.is_alive() and time.monotonic() < begun + thread.patience_seconds:
            thread.join(0.05)


def wait_for_others(thread, *, most_seconds):
    """Let a thread wait for those that are at it for the same database."""
    deadline = time.monotonic() + most_seconds
    for (database, _), other in list(_threads.items()):
        if database != thread.dbname or other is thread:
            continue
        while other.is_alive() and time.monotonic() < deadline:
            thread.patience_seconds = other.patience_seconds
            other.join(0.05)


@cache
def _wait_at_exit():
    atexit.register(wait_for_all)


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
