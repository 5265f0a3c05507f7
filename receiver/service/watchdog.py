"""
The watchdog: checks every second which servers have become late or down.

It also deletes old events, and, if that is wanted, servers that have been silent for long.

It knows since when receivers have been running without an interruption. Servers cannot send
while no receiver runs, so that after such a pause the time since the last message of each server
is counted from zero. And it notices when the clock was set, by a monotonic clock and by the clock
of the database.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic

from attrs import field, frozen

from receiver.domain.errors import StoreUnavailable
from receiver.domain.forgetting import Stage
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
        retention: How long events are kept, counted while receivers run.
        look_seconds: How often to look for servers whose `due_at` has come.
        presence_seconds: How often to note in the database that a receiver runs.
        absence_seconds: When no receiver could note that for longer than this, by the system
            time or by the monotonic clock, the silence of each server is measured from zero
            again. A shorter pause is within the tolerance of `contract.patience`.
        trim_seconds: How often to delete old events.
        forget_after: How long a server that is down, has left or is superseded is kept; None for
            ever.
        forget_seconds: How often to look for servers that need not be kept any longer.
    """

    rules: Rules = field(factory=Rules)
    retention: timedelta = timedelta(days=90)
    look_seconds: float = 1.0
    presence_seconds: float = 2.0
    absence_seconds: float = 5.0
    trim_seconds: float = 60.0
    forget_after: timedelta | None = None
    forget_seconds: float = 600.0


class Watchdog:
    """
    Checks the servers whose `due_at` has come and deletes what is old, again and again.

    Args:
        store: The servers and events.
        timing: The intervals and limits.
        clock: The time.
        compare: Called now and then with a function that asks for the time of the database;
            returns whether that has set `clock`.
        elapsed: A monotonic clock, in seconds. It stands still while the machine sleeps, which
            only `clock` shows.

    Attributes:
        heard_since: Since when receivers have been running without an interruption; None before
            the first call of `look`.
    """

    def __init__(
        self,
        store: SqlStore,
        timing: Timing,
        *,
        clock: Callable[[], datetime],
        compare: Callable[[Callable[[], datetime | None]], bool] = lambda _: False,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._servers: Servers = store.servers
        self._events = store.events
        self._timing = timing
        self._clock = clock
        self._compare = compare
        self._elapsed = elapsed
        self._thread = ThreadPoolExecutor(1, "watchdog")
        self._noted = self._trimmed = self._forgot = self._last = float("-inf")
        self._stage: Stage | None = None
        self._noted_now: datetime | None = None
        self._last_now: datetime | None = None
        self.heard_since: datetime | None = None
        self._ended = monotonic()
        self._failure: str | None = None

    async def run(self) -> None:
        """Call `look` once a second, and log what goes wrong, until cancelled."""
        is_away = False
        loop = asyncio.get_running_loop()
        while True:
            is_more_due = False
            try:
                is_more_due = await loop.run_in_executor(self._thread, self.look)
            except StoreUnavailable as error:
                self._failure = str(error)
                if not is_away:
                    _log.warning("The silence of servers goes unnoticed for now: %s", error)
                is_away = True
            except Exception as error:  # noqa: BLE001 - the next look may succeed
                self._failure = f"a look at the servers failed: {error!r}"
                _log.exception("A look at the servers failed")
            else:
                is_away = False
                self._failure = None
                self._ended = monotonic()
            await asyncio.sleep(0 if is_more_due else self._timing.look_seconds)

    def trouble(self) -> str | None:
        """
        Why nothing can be written now, as far as the looks tell; None when they succeed.

        A look writes every few seconds that this receiver runs.
        """
        if self._failure is not None:
            return self._failure
        age = monotonic() - self._ended
        return None if age < _HANGS_SECONDS else f"the database has not answered for {age:.0f} s"

    def close(self) -> None:
        """End the thread, once its transaction is over."""
        self._thread.shutdown()

    def look(self) -> bool:
        """
        Check some servers whose `due_at` has come, and now and then delete old events and servers.

        Returns whether the `due_at` of more servers has come. Raises StoreUnavailable.
        """
        timing = self._timing
        is_time_to_note = self._elapsed() - self._noted >= timing.presence_seconds
        is_corrected = is_time_to_note and self._compare(self._servers.database_time)
        # One right after the other: what passes between them would look like a clock that is set.
        elapsed, now = self._elapsed(), self._clock()
        step = self._step(now, elapsed)
        if step < 0 or is_corrected or self.heard_since is None:
            self._leave_no_future(now, step)
        elif step > 0:
            _log.warning("The clock went forward by %.1f s, or the machine was suspended", step)
        if step or is_corrected or is_time_to_note:
            self._note_presence(now, elapsed)
        self._last, self._last_now = elapsed, now

        assert self.heard_since is not None
        look = Look(now=now, heard_since=self.heard_since, rules=timing.rules)
        is_more_due = self._servers.sweep(look)
        if elapsed - self._trimmed >= timing.trim_seconds:
            # A clock that is ahead for a while makes no event old.
            since = self._servers.attended_since(now, timing.retention)
            is_more = self._events.trim(since)
            self._trimmed = self._trimmed if is_more else elapsed
        if timing.forget_after is not None and elapsed - self._forgot >= timing.forget_seconds:
            self._forget(now, elapsed, timing.forget_after)
        return is_more_due

    def _forget(self, now: datetime, elapsed: float, after: timedelta) -> None:
        """Delete some servers that have been silent for long enough; the next look goes on."""
        step = self._servers.forget_silent(now, after, stage=self._stage)
        self._stage = step.next_stage
        if self._stage is None:
            self._forgot = elapsed
        if step.ids:
            ids = ", ".join(map(repr, step.ids))
            _log.info("%d silent servers are forgotten: %s", len(step.ids), ids)

    def _step(self, now: datetime, elapsed: float) -> float:
        """By how many seconds the clock was set since the last look; 0 when by less than one."""
        if self._last_now is None:
            return 0.0
        step = (now - self._last_now).total_seconds() - (elapsed - self._last)
        return step if abs(step) >= _NOTICEABLE_SECONDS else 0.0

    def _leave_no_future(self, now: datetime, step: float) -> None:
        """Replace times in the future, in which a server could not be found to be silent."""
        found = self._servers.leave_no_future(now)
        if step < 0:
            _log.warning("The clock went back by %.1f s", -step)
        if found:
            _log.warning("%d servers had times in the future, which are now", found)

    def _note_presence(self, now: datetime, elapsed: float) -> None:
        """Note that this receiver runs, and find out since when servers can be heard."""
        absent = timedelta.max
        if self.heard_since is None or self._passed(now, elapsed) > self._timing.absence_seconds:
            absent = timedelta(seconds=self._timing.absence_seconds)
        self.heard_since = self._servers.note_presence(now, absent=absent)
        self._noted, self._noted_now = elapsed, now

    def _passed(self, now: datetime, elapsed: float) -> float:
        """Seconds since the last note, by whichever clock went further."""
        by_clock = 0.0 if self._noted_now is None else (now - self._noted_now).total_seconds()
        return max(elapsed - self._noted, by_clock)


_HANGS_SECONDS = 10.0
_NOTICEABLE_SECONDS = 1.0
"""The clock of a machine that is kept right by NTP is moved by less between two looks."""
