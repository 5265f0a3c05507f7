"""
The watchdog: checks every second which servers have become late or down.

It also deletes old events and, if the settings say so, servers that have not sent for long.

It finds out since when receivers have been running without an interruption. Servers cannot send
while no receiver runs; therefore, after such a pause, the time since the last message of each
server is counted from zero. The watchdog also notices when the clock was set, by comparing the
clock with a monotonic clock and with the clock of the database.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from time import monotonic

from attrs import field, frozen

from receiver.domain.databases.silence import Rules, SweepOptions
from receiver.domain.errors import StoreUnavailable
from receiver.domain.forgetting import Stage
from receiver.domain.history import NOTHING_TAKEN, Taken
from receiver.store import SqlStore

__all__ = ["Timing", "Watchdog"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Timing:
    """
    The intervals and limits of the watchdog.

    Intervals are seconds of a monotonic clock, which a change of the system time does not move.

    Attributes:
        rules: How many servers must fall silent together to cause an event `fleet_silent`.
        retention: How long events are kept; only time in which receivers run is counted.
        look_seconds: How many seconds pass between two checks for servers whose `due_at` has come.
            `due_at` is the time at which a server that has not sent again becomes late or down.
        presence_seconds: How many seconds pass between two notes in the database, by which this
            receiver says that it runs.
        absence_seconds: The longest pause between two such notes that is not an interruption.
            After a longer one, by the system time or by the monotonic clock, the time since the
            last message of each server is counted from zero. A shorter one is within the tolerance
            of `contract.patience`, which says for how long a server may be silent and still is up.
        trim_seconds: How many seconds pass between two deletions of old events.
        forget_after: How long a server that is down, has left or is superseded is kept; None for
            ever.
        forget_seconds: How many seconds pass between two searches for servers that need not be kept
            any longer.
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
    Finds the servers that have become late or down, and deletes old events and servers.

    Args:
        store: Where servers and events are stored.
        timing: The intervals and limits.
        clock: Returns the current time.
        compare: A function that sets `clock` to the database's time, and returns whether that made
            a difference. It is called every few seconds with a function that returns the
            database's time.
        elapsed: Returns the seconds of a monotonic clock, which stands still while the machine is
            suspended; `clock` goes on then.
        taken: Returns how many heartbeats this process has written since it started, and how many
            requests with heartbeats it could not write.

    Attributes:
        heard_since: Since when receivers have been running without an interruption; None before
            the first call of `look`.
    """

    def __init__(  # noqa: PLR0913 - the clocks, and what is counted elsewhere
        self,
        store: SqlStore,
        timing: Timing,
        *,
        clock: Callable[[], datetime],
        compare: Callable[[Callable[[], datetime | None]], bool] = lambda _: False,
        elapsed: Callable[[], float] = monotonic,
        taken: Callable[[], Taken] = lambda: NOTHING_TAKEN,
    ) -> None:
        self._store = store
        self._timing = timing
        self._clock = clock
        self._compare = compare
        self._elapsed = elapsed
        self._taken = taken
        self._thread = ThreadPoolExecutor(1, "watchdog")
        self._noted = self._trimmed = self._forgot = self._last = float("-inf")
        self._stage: Stage | None = None
        self._noted_now: datetime | None = None
        self._last_now: datetime | None = None
        self.heard_since: datetime | None = None
        self._ended = monotonic()
        self._failure: str | None = None

    async def run(self) -> None:
        """
        Call `look` in a thread every `look_seconds`, and log its errors, until cancelled.

        It is called again at once as long as the `due_at` of more servers has come.
        """
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
        Why the database cannot be written now; None while the watchdog's own writes succeed.

        The watchdog writes to the database every few seconds, so it soon notices a failure. It also
        counts as one when no `look` has ended for 10 seconds.
        """
        if self._failure is not None:
            return self._failure
        age = monotonic() - self._ended
        return None if age < _HANGS_SECONDS else f"the database has not answered for {age:.0f} s"

    def close(self) -> None:
        """
        End the watchdog's thread; blocks until its current transaction is over.

        Then it adds to the history of the fleet how many heartbeats have come since `look` last did
        so (once a minute), unless the database cannot be written.
        """
        self._thread.shutdown()
        if self.trouble() is None:
            with suppress(StoreUnavailable):
                self._store.watch.note_taken(self._clock(), self._taken())

    def look(self) -> bool:
        """
        Do the work that is due: write states, delete old events and servers.

        Each call checks a limited number of the servers whose `due_at` has come, and writes their
        new states. At certain intervals it also writes that this receiver runs, and deletes some
        old events and servers. Once a minute it adds to the history of the fleet how many servers
        are in which state, and how many heartbeats have come.

        Blocks until the changes are committed. Returns whether the `due_at` of more servers has
        come, so that it should be called again at once. Raises StoreUnavailable.
        """
        timing = self._timing
        is_time_to_note = self._elapsed() - self._noted >= timing.presence_seconds
        is_corrected = is_time_to_note and self._compare(self._store.watch.database_time)
        # Read one right after the other, or the time between would look like a clock that is set.
        elapsed, now = self._elapsed(), self._clock()
        step = self._step(now, elapsed)
        is_start = self.heard_since is None
        if step < 0 or is_corrected or is_start:
            self._leave_no_future(now, step, is_start=is_start and not is_corrected)
        elif step > 0:
            _log.warning("The clock went forward by %.1f s, or the machine was suspended", step)
        is_any_due = None
        if step or is_corrected or is_time_to_note:
            is_any_due = self._note_presence(now, elapsed)
        self._last, self._last_now = elapsed, now

        assert self.heard_since is not None
        options = SweepOptions(
            now=now,
            heard_since=self.heard_since,
            rules=timing.rules,
            is_any_due=is_any_due,
            taken=self._taken(),
        )
        is_more_due = self._store.watch.sweep(options)
        if elapsed - self._trimmed >= timing.trim_seconds:
            # Only time in which receivers run counts, so a clock that is ahead deletes no event.
            since = self._store.watch.attended_since(now, timing.retention)
            is_more = self._store.events.trim(since)
            self._store.registry.trim_tombstones(since)
            self._trimmed = self._trimmed if is_more else elapsed
        if timing.forget_after is not None and elapsed - self._forgot >= timing.forget_seconds:
            self._forget(now, elapsed, timing.forget_after)
        return is_more_due

    def _forget(self, now: datetime, elapsed: float, after: timedelta) -> None:
        """Delete some servers that have not sent for `after`; the next call goes on from there."""
        step = self._store.servers.forget_silent(now, after, stage=self._stage)
        self._stage = step.next_stage
        if self._stage is None:
            self._forgot = elapsed
        if step.ids:
            ids = ", ".join(map(repr, step.ids))
            _log.info("%d silent servers are forgotten: %s", len(step.ids), ids)

    def _step(self, now: datetime, elapsed: float) -> float:
        """By how many seconds the clock was set since the last call; 0 if by less than a second."""
        if self._last_now is None:
            return 0.0
        step = (now - self._last_now).total_seconds() - (elapsed - self._last)
        return step if abs(step) >= _NOTICEABLE_SECONDS else 0.0

    def _leave_no_future(self, now: datetime, step: float, *, is_start: bool) -> None:
        """Replace servers' times after `now` by `now`: until then they would not become late."""
        found = self._store.watch.leave_no_future(now, is_start=is_start)
        if step < 0:
            _log.warning("The clock went back by %.1f s", -step)
        if found:
            _log.warning("%d servers had times in the future, which are now", found)

    def _note_presence(self, now: datetime, elapsed: float) -> bool:
        """
        Write that this receiver runs; read since when receivers run without interruption.

        Returns whether the `due_at` of any server has come.
        """
        absent = timedelta.max
        if self.heard_since is None or self._passed(now, elapsed) > self._timing.absence_seconds:
            absent = timedelta(seconds=self._timing.absence_seconds)
        presence = self._store.watch.note_presence(now, absent=absent)
        self.heard_since = presence.heard_since
        self._noted, self._noted_now = elapsed, now
        return presence.is_any_due

    def _passed(self, now: datetime, elapsed: float) -> float:
        """Seconds since the last `_note_presence`, by the clock that advanced more."""
        by_clock = 0.0 if self._noted_now is None else (now - self._noted_now).total_seconds()
        return max(elapsed - self._noted, by_clock)


_HANGS_SECONDS = 10.0
_NOTICEABLE_SECONDS = 1.0
"""A smaller step of the clock is ignored: NTP makes such steps to keep the clock right."""
