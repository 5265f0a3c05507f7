"""How much may come from one key, and from one address that has none."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from threading import Lock

from limits import RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from receiver.domain.errors import Refusal

__all__ = ["RateLimits"]

Clock = Callable[[], float]
"""The time in seconds; only differences mean something."""

_HOUR = 3600


class RateLimits:
    """
    Counts what comes from keys and addresses, in windows of fixed length.

    Every receiver counts for itself. What a key has sent to others is added when it becomes
    known here, so that several receivers let through more than the limit for some seconds.

    Args:
        messages: How many messages of one key a window may hold. A long one counts for more.
        changes: How many events the servers of one key may cause in an hour; a long one
            counts for each KiB.
        failures: How many failed authentications of one address a window may hold.
        seconds: How long a window is.
        clock: A clock that is never set back.
    """

    def __init__(
        self,
        *,
        messages: int,
        changes: int,
        failures: int,
        seconds: int = 60,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self._of_keys = FixedWindowRateLimiter(_Windows(clock))
        self._of_addresses = FixedWindowRateLimiter(_Windows(clock))
        self._messages = RateLimitItemPerSecond(messages, seconds, "messages")
        self._changes = RateLimitItemPerSecond(changes, _HOUR, "changes")
        self._failures = RateLimitItemPerSecond(failures, seconds, "failures")
        self._full_until: dict[str, float] = {}
        self._spent: Counter[str] = Counter()
        self._lock = Lock()

    def check(self, key_id: str) -> None:
        """Raise a Refusal when nothing more is let through of a key for now."""
        if self._full_until and self._full_until.get(key_id, 0.0) > self._clock():
            raise self._too_many_messages(key_id)

    def left(self, key_id: str) -> int:
        """How many messages of a key are let through yet."""
        return self._of_keys.get_window_stats(self._messages, key_id).remaining

    def spend(self, key_id: str, messages: int) -> None:
        """Count messages of a key that were let through."""
        self._of_keys.hit(self._messages, key_id, cost=messages)
        with self._lock:
            self._spent[key_id] += messages

    def exceeded(self, key_id: str, messages: int) -> Refusal:
        """What is said to whoever sends more than is left; then nothing is, for a while."""
        self._of_keys.hit(self._messages, key_id, cost=self._messages.amount)
        self._full_until[key_id] = self._of_keys.get_window_stats(self._messages, key_id).reset_time
        if messages > self._messages.amount:
            return Refusal(413, "batch_too_large", f"{self._may_send} Send fewer at a time.")
        return self._too_many_messages(key_id)

    def spent_elsewhere(self, key_id: str, messages: int) -> None:
        """Count what other receivers have let through."""
        self._of_keys.hit(self._messages, key_id, cost=messages)

    def take_spent(self) -> Mapping[str, int]:
        """What was counted here since this was last asked, by key."""
        with self._lock:
            spent, self._spent = self._spent, Counter()
        return spent

    def is_much_spent(self) -> bool:
        """Whether a key has spent so much here that others should know soon."""
        with self._lock:
            return any(10 * spent > self._messages.amount for spent in self._spent.values())

    def changes_left(self, key_id: str) -> int:
        """How many events a key may cause yet."""
        return self._of_keys.get_window_stats(self._changes, key_id).remaining

    def spend_changes(self, key_id: str, size: int) -> None:
        """Count events that a key has caused."""
        self._of_keys.hit(self._changes, key_id, cost=size)

    def failed(self, address: str) -> Refusal | None:
        """
        Count a failed authentication; what is said when there were too many, else None.

        An IPv6 network of 64 bits is one address: whoever has one has all of it.
        """
        place = _place(address)
        if self._of_addresses.hit(self._failures, place):
            return None
        return Refusal(
            429,
            "too_many_failures",
            "Too many wrong keys came from this address. A right one is still let in.",
            headers=self._retry_after(self._of_addresses, self._failures, place),
        )

    def _too_many_messages(self, key_id: str) -> Refusal:
        return Refusal(
            429,
            "too_many_messages",
            f"{self._may_send} Nothing was changed; send it again later.",
            headers=self._retry_after(self._of_keys, self._messages, key_id),
        )

    @property
    def _may_send(self) -> str:
        amount, seconds = self._messages.amount, self._messages.get_expiry()
        return f"This key may send {amount} messages in {seconds} seconds."

    def _retry_after(
        self, limiter: FixedWindowRateLimiter, item: RateLimitItemPerSecond, name: str
    ) -> dict[str, str]:
        seconds = limiter.get_window_stats(item, name).reset_time - self._clock()
        return {"Retry-After": str(max(1, math.ceil(seconds)))}


class _Windows(Storage):
    """
    Counters that end after a time; the oldest are dropped when there are too many.

    Those that the library keeps in memory go by a clock that may be set back, and it looks
    through all of them a hundred times a second.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock, *, most: int = 10_000) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        self._counters: dict[str, tuple[int, float]] = {}
        self._lock = Lock()

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        with self._lock:
            count, until = self._counter(key)
            if not count:
                until = self._clock() + expiry
                self._counters.pop(key, None)  # the youngest stand last
                while len(self._counters) >= self._most:
                    del self._counters[next(iter(self._counters))]
            self._counters[key] = count + amount, until
            return count + amount

    def get(self, key: str) -> int:
        return self._counter(key)[0]

    def get_expiry(self, key: str) -> float:
        return self._counter(key)[1]

    def check(self) -> bool:
        return True

    def reset(self) -> None:
        self._counters.clear()

    def clear(self, key: str) -> None:
        self._counters.pop(key, None)

    def _counter(self, key: str) -> tuple[int, float]:
        """How much there is, and until when."""
        now = self._clock()
        count, until = self._counters.get(key, (0, now))
        return (count, until) if until > now else (0, now)


def _place(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return address if found.version == 4 else str(ip_network((found, 64), strict=False))
