"""
The watchdog: looks every second for servers that are due, and trims old events.

It also knows since when servers can be heard without an interruption: after a pause of the
receiver, the silence of servers is counted anew, because their heartbeats could not arrive.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic

from attrs import field, frozen

from receiver.domain.errors import StoreUnavailable
from receiver.store import Look, Rules, Servers, SqlStore

__all__ = ["Timing", "Watchdog"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Timing:
    """
    The intervals and limits of the watchdog.

    Intervals are seconds of a monotonic clock, which a change of the system time does not move.

    Attributes:
        rules: How many servers must fall silent together for one event of the whole fleet.
        retention: How long events are kept.
        look_seconds: How often to look for servers that are due.
        presence_seconds: How often to note in the database that a receiver runs.
        absence_seconds: When no receiver ran for longer than this, by the system time or by
            the monotonic clock, the silence of each server is measured from zero again.
        trim_seconds: How often to trim old events.
    """

    rules: Rules = field(factory=Rules)
    retention: timedelta = timedelta(days=90)
    look_seconds: float = 1.0
    presence_seconds: float = 10.0
    absence_seconds: float = 30.0
    trim_seconds: float = 60.0


class Watchdog:
    """
    Looks at the servers that are due, again and again.

    Args:
        store: The servers and events.
        timing: How often.
        clock: The time.
        elapsed: A monotonic clock, in seconds. It stands still while the machine sleeps, which
            only `clock` shows.

    Attributes:
        heard_since: Since when servers can be heard without an interruption; None before the
            first look.
    """

    def __init__(
        self,
        store: SqlStore,
        timing: Timing,
        *,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._servers: Servers = store.servers
        self._events = store.events
        self._timing = timing
        self._clock = clock
        self._elapsed = elapsed
        self._thread = ThreadPoolExecutor(1, "watchdog")
        self._present = self._trimmed = self._last = float("-inf")
        self._last_now: datetime | None = None
        self.heard_since: datetime | None = None

    async def run(self) -> None:
        """Look, until cancelled."""
        is_away = False
        loop = asyncio.get_running_loop()
        while True:
            is_more_due = False
            try:
                is_more_due = await loop.run_in_executor(self._thread, self.look)
            except StoreUnavailable as error:
                if not is_away:
                    _log.warning("The silence of servers goes unnoticed for now: %s", error)
                is_away = True
            except Exception:  # noqa: BLE001 - the next look may succeed
                _log.exception("A look at the servers failed")
            else:
                is_away = False
            await asyncio.sleep(0 if is_more_due else self._timing.look_seconds)

    def close(self) -> None:
        """End the thread, once its transaction is over."""
        self._thread.shutdown()

    def look(self) -> bool:
        """
        Look at some of the servers that are due; return whether more are.

        Raises StoreUnavailable.
        """
        now, elapsed, timing = self._clock(), self._elapsed(), self._timing
        self.heard_since = self._note_presence(now, elapsed)
        look = Look(now=now, heard_since=self.heard_since, rules=timing.rules)
        is_more_due = self._servers.sweep(look)
        if elapsed - self._trimmed >= timing.trim_seconds:
            is_more = self._events.trim(now - timing.retention)
            self._trimmed = self._trimmed if is_more else elapsed
        self._last, self._last_now = elapsed, now
        return is_more_due

    def _note_presence(self, now: datetime, elapsed: float) -> datetime:
        """Since when servers can be heard without an interruption."""
        timing = self._timing
        absent = timedelta.max
        if self.heard_since is None or self._passed(now, elapsed) > timing.absence_seconds:
            absent = timedelta(seconds=timing.absence_seconds)
        elif elapsed - self._present <= timing.presence_seconds:
            return self.heard_since
        heard_since = self._servers.note_presence(now, absent=absent)
        self._present = elapsed
        return heard_since

    def _passed(self, now: datetime, elapsed: float) -> float:
        """Seconds since the last look, by whichever clock went further; one set back goes 0."""
        by_clock = 0.0 if self._last_now is None else (now - self._last_now).total_seconds()
        return max(elapsed - self._last, by_clock)
