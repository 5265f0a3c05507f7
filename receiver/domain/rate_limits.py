"""Rate limits: messages and events of each API key, failed authentications of each IP address."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock

from limits import RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from receiver.domain.errors import Refusal

__all__ = ["RateLimits"]

Clock = Callable[[], float]
"""A function that returns the seconds since an arbitrary start, such as `time.monotonic`."""

_HOUR_SECONDS = 3600
_ROWS_PER_MESSAGE = 100
"""
How many changed rows of the database count as one message.

A new server with forty tools changes about half of that.
"""


class RateLimits:
    """
    Fixed-window rate limits: of messages and events for each key, of failures for each address.

    A window begins with the first thing that is counted in it. When it has ended, the count is zero
    again. Each receiver counts in its own memory. Every few seconds it is told how many messages a
    key has sent to the other receivers of its database (`spent_elsewhere`). Until it is told,
    several receivers together may let through more than the limit.

    Args:
        messages_per_window: How many messages of a key are let through in a window. A request
            counts as the number of messages in its body, or as one message for each 4 KiB of the
            body if that is more.
        changes_per_hour: How many events, such as a changed version or a silence, the servers of a
            key may cause in a window of an hour. An event counts as one, and as one more for each
            KiB of its details. Some events `refused_write` about a key do not count: the first
            ones in a window, up to a hundredth of this limit, but at least one.
        failures_per_window: How many failed authentications of an IP address are allowed in a
            window; for further ones `failed` returns a Refusal.
        window_seconds: The length of the windows of messages and failures.
        clock: Returns the seconds of a monotonic clock.
    """

    def __init__(
        self,
        *,
        messages_per_window: int,
        changes_per_hour: int,
        failures_per_window: int,
        window_seconds: int = 60,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self._key_limiter = FixedWindowRateLimiter(_WindowCounters(clock))
        self._address_limiter = FixedWindowRateLimiter(_WindowCounters(clock))
        self._message_limit = RateLimitItemPerSecond(
            messages_per_window, window_seconds, "messages"
        )
        self._change_limit = RateLimitItemPerSecond(changes_per_hour, _HOUR_SECONDS, "changes")
        refusals = max(1, changes_per_hour // 100)
        self._refusal_limit = RateLimitItemPerSecond(refusals, _HOUR_SECONDS, "refusals")
        self._failure_limit = RateLimitItemPerSecond(
            failures_per_window, window_seconds, "failures"
        )
        self._blocked_until: dict[str, float] = {}
        self._untaken: Counter[str] = Counter()
        self._lock = Lock()

    def check(self, key_id: str) -> None:
        """Raise Refusal if `exceeded` has blocked a key, and its window has not ended yet."""
        if self._blocked_until and self._blocked_until.get(key_id, 0.0) > self._clock():
            raise self._too_many_messages(key_id)

    def left(self, key_id: str) -> int:
        """How many messages of a key may still be let through in the current window."""
        return self._key_limiter.get_window_stats(self._message_limit, key_id).remaining

    def spend(self, key_id: str, cost: int) -> None:
        """
        Count `cost` messages of a key that this receiver has let through.

        The next call of `take_spent` returns them, so that other receivers can be told.
        """
        self._key_limiter.hit(self._message_limit, key_id, cost=cost)
        with self._lock:
            self._untaken[key_id] += cost

    def exceeded(self, key_id: str, cost: int) -> Refusal:
        """
        Block a key until its window ends, because a request exceeds what the key may still send.

        While the key is blocked, `check` raises Refusal for it. Returns the Refusal with which to
        answer the request: 429, or 413 if the request exceeds the limit of a whole window.

        Args:
            key_id: The id of the key.
            cost: The number of messages as which the request counts.
        """
        self._key_limiter.hit(self._message_limit, key_id, cost=self._message_limit.amount)
        self._blocked_until[key_id] = self._key_limiter.get_window_stats(
            self._message_limit, key_id
        ).reset_time
        if cost > self._message_limit.amount:
            return Refusal(
                413, "batch_too_large", f"{self._message_limit_text} Send fewer at a time."
            )
        return self._too_many_messages(key_id)

    def spent_elsewhere(self, key_id: str, cost: int) -> None:
        """Count `cost` messages of a key that other receivers of its database have let through."""
        self._key_limiter.hit(self._message_limit, key_id, cost=cost)

    def take_spent(self) -> Mapping[str, int]:
        """
        Return how many messages `spend` has counted since the last call of this method, by key id.

        The caller tells these numbers to the other receivers of the database. Keys without messages
        are left out.
        """
        with self._lock:
            taken, self._untaken = self._untaken, Counter()
        return taken

    def is_much_spent(self) -> bool:
        """
        Whether the other receivers should be told soon what keys have spent here.

        That is so if `spend` has counted for some key, since the last call of `take_spent`, more
        than a tenth of the messages that a key may send in a window.
        """
        with self._lock:
            return any(10 * cost > self._message_limit.amount for cost in self._untaken.values())

    def changes_left(self, key_id: str) -> int:
        """How many events the servers of a key may still cause in the current window of an hour."""
        return self._key_limiter.get_window_stats(self._change_limit, key_id).remaining

    def spend_rows(self, key_id: str, rows: int) -> None:
        """
        Count the rows that messages of a key have changed: each 100 rows count as one more message.

        What remains of `rows` after the last whole hundred is not counted.
        """
        if rows >= _ROWS_PER_MESSAGE:
            self.spend(key_id, rows // _ROWS_PER_MESSAGE)

    def spend_changes(self, key_id: str, size: int) -> None:
        """
        Count events that the servers of a key have caused.

        `size` is as what they count: each event as one, and as one more for each KiB of details.
        """
        self._key_limiter.hit(self._change_limit, key_id, cost=size)

    def refusals_left(self, key_id: str) -> int:
        """
        How many more events `refused_write` about a key are free in the current window of an hour.

        Events that are free need not be counted by `spend_changes`, but by `spend_refusals`. Such
        an event tells that the key tried to write a server that it may not write. Without free
        ones, a key could use up its limit with other events first, to hide such an attempt.
        """
        return self._key_limiter.get_window_stats(self._refusal_limit, key_id).remaining

    def spend_refusals(self, key_id: str, count: int) -> None:
        """Count events `refused_write` about a key that were free (`refusals_left`)."""
        self._key_limiter.hit(self._refusal_limit, key_id, cost=count)

    def failed(self, address: str) -> Refusal | None:
        """
        Count a failed authentication by an IP address.

        Returns None, or if the address has exceeded the limit, the Refusal (429) with which to
        answer.

        All addresses of an IPv6 /64 network count as one, because a client with such a network
        can use them all.
        """
        network = _network(address)
        if self._address_limiter.hit(self._failure_limit, network):
            return None
        return Refusal(
            429,
            "too_many_failures",
            "Too many wrong keys came from this address. A valid key is still accepted.",
            headers=self._retry_after(self._address_limiter, self._failure_limit, network),
        )

    def _too_many_messages(self, key_id: str) -> Refusal:
        return Refusal(
            429,
            "too_many_messages",
            f"{self._message_limit_text} Nothing was changed; send it again later.",
            headers=self._retry_after(self._key_limiter, self._message_limit, key_id),
        )

    @property
    def _message_limit_text(self) -> str:
        amount, seconds = self._message_limit.amount, self._message_limit.get_expiry()
        return f"This key may send {amount} messages in {seconds} seconds."

    def _retry_after(
        self, limiter: FixedWindowRateLimiter, item: RateLimitItemPerSecond, name: str
    ) -> dict[str, str]:
        seconds = limiter.get_window_stats(item, name).reset_time - self._clock()
        return {"Retry-After": str(max(1, math.ceil(seconds)))}


class _WindowCounters(Storage):
    """
    Counters in memory, each of which starts again from zero when its window ends.

    When there are `max_counters`, a new counter replaces the one whose window began first.

    The `MemoryStorage` of the library `limits` is not used: it needs the system clock, which may be
    set back, and scans all its counters a hundred times a second.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock, *, max_counters: int = 10_000) -> None:
        super().__init__()
        self._clock = clock
        self._max_counters = max_counters
        self._counters: dict[str, tuple[int, float]] = {}
        self._lock = Lock()

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        with self._lock:
            count, end = self._counter(key)
            if not count:
                end = self._clock() + expiry
                self._counters.pop(key, None)  # so that the newest window stands last
                while len(self._counters) >= self._max_counters:
                    del self._counters[next(iter(self._counters))]
            self._counters[key] = count + amount, end
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
        """The value of a counter, and when its window ends; 0 and now if it has no window."""
        now = self._clock()
        count, end = self._counters.get(key, (0, now))
        return (count, end) if end > now else (0, now)


def _network(address: str) -> str:
    """
    The /64 network of an IPv6 address; any other address as it is.

    `::ffff:192.0.2.1` is the IPv4 address 192.0.2.1, as a dual-stack socket reports it.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        is_ipv4 = parsed.ipv4_mapped is not None
        return str(parsed.ipv4_mapped if is_ipv4 else ip_network((parsed, 64), strict=False))
    return address
