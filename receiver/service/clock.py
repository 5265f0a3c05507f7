"""The time that every part of a receiver goes by, and that receivers of one database share."""

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
Seconds of a clock that nobody sets, and that goes on while the machine is suspended.

Only Linux has such a clock; that of another system may stand still meanwhile.
"""


@frozen(kw_only=True)
class _Shown:
    """The time of the database, and what another clock showed at that moment, in seconds."""

    time: datetime
    at: float


class SharedClock:
    """
    The time of the database, carried on by a clock of this machine that nobody sets.

    So it does not matter when the clock of this machine is set. Before the first comparison, and
    for a database without a clock of its own, it is this machine's time.

    Args:
        local: This machine's clock.
        carry: Seconds of the clock that nobody sets.
    """

    elapsed = staticmethod(monotonic)
    """Seconds of a clock that nobody sets, and that stands still while the machine sleeps."""

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
        Ask for the time of the database, and go by it from now on; returns whether that differs.

        What differs by less than a second, or takes half a second to be asked for, is left as
        it was.
        """
        asked = self._carry()
        answer = ask()
        took = timedelta(seconds=self._carry() - asked)
        if answer is None or took >= _LONGEST_QUESTION:
            return False
        shown = _Shown(time=answer + took / 2, at=asked + took.total_seconds())
        self._say(self._local() - shown.time)
        differs = abs(shown.time - self()) >= _NOTICEABLE
        if differs:
            self._shown = shown
        elif self._shown is None:
            self._shown = _Shown(time=self._local(), at=self._carry())
        return differs

    def _say(self, ahead: timedelta) -> None:
        """Say when this machine's clock is another than before, compared with the database's."""
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
    A clock that a caller of `create_app` gives, such as a test: it is right, whatever it shows.

    Args:
        now: The time.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now()

    def elapsed(self) -> float:
        """Seconds by the same clock, so that it never seems to be set."""
        return self._now().timestamp()

    def compare(self, ask: Callable[[], datetime | None]) -> bool:  # noqa: ARG002 - it is right
        """Do not ask for another time; returns False."""
        return False
