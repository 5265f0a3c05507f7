"""The clock of a receiver: it shows the database's time, so that all its receivers agree."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from attrs import frozen

__all__ = ["GivenClock", "SharedClock", "since_boot"]

_log = logging.getLogger(__name__)

_NOTICEABLE = timedelta(seconds=1)
_LONGEST_QUESTION = timedelta(seconds=0.5)


_BOOT = getattr(time, "CLOCK_BOOTTIME", None)
since_boot = monotonic if _BOOT is None else partial(time.clock_gettime, _BOOT)
"""
Returns the seconds of a monotonic clock, which goes on while the machine is suspended.

Only Linux has such a clock. On another system the clock may stand still during a suspension.
"""


@frozen(kw_only=True)
class _Shown:
    """
    A time, and the reading of the monotonic clock at that moment.

    Attributes:
        time: The time.
        at: The reading of the monotonic clock, in seconds.
    """

    time: datetime
    at: float


class SharedClock:
    """
    A clock that shows the database's time, by adding to it the seconds of a monotonic clock.

    Setting this machine's system clock does not change the time that it shows. Before the first
    call of `compare`, and for a database without a clock of its own (SQLite), it shows the system
    time.

    Args:
        local: Returns the system time.
        carry: Returns the seconds of a monotonic clock, which are added to the database's time.
    """

    elapsed = staticmethod(monotonic)
    """Returns the seconds of a monotonic clock that stands still while the machine is suspended."""

    def __init__(
        self, local: Callable[[], datetime], *, carry: Callable[[], float] = since_boot
    ) -> None:
        self._local = local
        self._carry = carry
        self._shown: _Shown | None = None
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        shown = self._shown
        if shown is None:
            return self._local()
        return shown.time + timedelta(seconds=self._carry() - shown.at)

    def compare(self, ask: Callable[[], datetime | None]) -> bool:
        """
        Set this clock to the database's time; return whether that made a difference.

        A difference below a second is ignored, and so is an answer that took half a second or more.
        Blocks while `ask` does.

        Args:
            ask: Returns the database's time; None if the database has no clock of its own.
        """
        asked = self._carry()
        answer = ask()
        took = timedelta(seconds=self._carry() - asked)
        if answer is None or took >= _LONGEST_QUESTION:
            return False
        shown = _Shown(time=answer + took / 2, at=asked + took.total_seconds())
        self._log_change(self._local() - shown.time)
        differs = abs(shown.time - self()) >= _NOTICEABLE
        if differs:
            self._shown = shown
        elif self._shown is None:
            self._shown = _Shown(time=self._local(), at=self._carry())
        return differs

    def _log_change(self, ahead: timedelta) -> None:
        """Log how far the system clock is ahead of the database's, if that changed by a second."""
        if abs(ahead - self._ahead) < _NOTICEABLE:
            return
        self._ahead = ahead if abs(ahead) >= _NOTICEABLE else timedelta(0)
        if self._ahead:
            _log.warning(
                "This machine's clock is %+.1f s ahead of the database's, which decides",
                ahead.total_seconds(),
            )
        else:
            _log.warning("This machine's clock is that of the database again")


class GivenClock:
    """
    A clock that the caller of `create_app` provides, such as a test. It is never set to the
    database's time.

    Args:
        now: Returns the time.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now()

    def elapsed(self) -> float:
        """
        Return the time that this clock shows, in seconds since 1970.

        The watchdog compares a clock with its `elapsed` seconds to find out whether it was set. As
        both are the same here, it never finds that.
        """
        return self._now().timestamp()

    def compare(self, ask: Callable[[], datetime | None]) -> bool:  # noqa: ARG002 - it is right
        """Return False without calling `ask`, because this clock is never corrected."""
        return False
