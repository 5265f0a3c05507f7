"""The time that every part of a receiver goes by, and that receivers of one database share."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

__all__ = ["GivenClock", "SharedClock"]

_log = logging.getLogger(__name__)

_NOTICEABLE = timedelta(seconds=1)
_LONGEST_QUESTION = timedelta(seconds=0.5)


class SharedClock:
    """
    The time of the database, by this machine's clock and how far that is ahead.

    Before the first comparison, and for a database without a clock of its own, it is this
    machine's time.

    Args:
        local: This machine's clock.
    """

    elapsed = staticmethod(monotonic)
    """Seconds of a clock that nobody sets."""

    def __init__(self, local: Callable[[], datetime]) -> None:
        self._local = local
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return self._local() - self._ahead

    def compare(self, ask: Callable[[], datetime | None]) -> bool:
        """
        Ask for the time of the database, and go by it from now on; returns whether that differs.

        What differs by less than a second, or takes half a second to be asked for, is left as
        it was.
        """
        asked = self._local()
        shown = ask()
        took = self._local() - asked
        if shown is None or not timedelta(0) <= took < _LONGEST_QUESTION:
            return False
        ahead = asked + took / 2 - shown
        if abs(ahead - self._ahead) < _NOTICEABLE:
            return False
        self._ahead = ahead if abs(ahead) >= _NOTICEABLE else timedelta(0)
        if self._ahead:
            _log.warning(
                "This machine's clock is %+.1f s ahead of the database's, which decides",
                ahead.total_seconds(),
            )
        else:
            _log.warning("This machine's clock is that of the database again")
        return True


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
