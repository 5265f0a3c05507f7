"""The one who looks after the servers while nobody speaks."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic

from attrs import field, frozen

from receiver.domain.errors import StoreUnavailable
from receiver.store.silence import Look, Rules
from receiver.store.sql_store import Store

__all__ = ["Habits", "Watch"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Habits:
    """
    How the servers are looked after; seconds are of real time.

    Attributes:
        rules: What is taken for the silence of the fleet.
        retention: How long events are kept.
        look_seconds: How often those are looked at that are due.
        presence_seconds: How often it is noted that somebody listens.
        absence_seconds: After so long a pause, by the clock or in truth, the silence of
            servers begins anew: they could not be heard.
        trim_seconds: How often old events are forgotten.
    """

    rules: Rules = field(factory=Rules)
    retention: timedelta = timedelta(days=90)
    look_seconds: float = 1.0
    presence_seconds: float = 10.0
    absence_seconds: float = 30.0
    trim_seconds: float = 60.0


class Watch:
    """
    Looks at the servers that are due, again and again.

    Args:
        clock: What time it is.
        elapsed: Seconds that have passed, whatever the clock says; but not those in
            which the machine slept, which only the clock tells.
    """

    def __init__(
        self,
        store: Store,
        habits: Habits,
        *,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._habits = habits
        self._clock = clock
        self._elapsed = elapsed
        self._thread = ThreadPoolExecutor(1, "watch")
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
                    _log.warning("Nobody looks after the servers: %s", error)
                is_away = True
            except Exception:  # noqa: BLE001 - whatever it is, the next look may succeed
                _log.exception("A look at the servers failed")
            else:
                is_away = False
            await asyncio.sleep(0 if is_more_due else self._habits.look_seconds)

    def close(self) -> None:
        """Let go of the thread, once what it does is done."""
        self._thread.shutdown()

    def look(self) -> bool:
        """Look at some of the servers that are due; whether more are. Raises StoreUnavailable."""
        now, elapsed, habits = self._clock(), self._elapsed(), self._habits
        self.heard_since = self._be_present(now, elapsed)
        look = Look(now=now, heard_since=self.heard_since, rules=habits.rules)
        is_more_due = self._store.sweep(look)
        if elapsed - self._trimmed >= habits.trim_seconds:
            is_more = self._store.trim(now - habits.retention)
            self._trimmed = self._trimmed if is_more else elapsed
        self._last, self._last_now = elapsed, now
        return is_more_due

    def _be_present(self, now: datetime, elapsed: float) -> datetime:
        """Since when servers can be heard."""
        habits = self._habits
        absent = timedelta.max
        if self.heard_since is None or self._passed(now, elapsed) > habits.absence_seconds:
            absent = timedelta(seconds=habits.absence_seconds)
        elif elapsed - self._present <= habits.presence_seconds:
            return self.heard_since
        heard_since = self._store.watch(now, absent=absent)
        self._present = elapsed
        return heard_since

    def _passed(self, now: datetime, elapsed: float) -> float:
        """Seconds since the last look, by the clock that says more; one set back says none."""
        by_clock = 0.0 if self._last_now is None else (now - self._last_now).total_seconds()
        return max(elapsed - self._last, by_clock)
