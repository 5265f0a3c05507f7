"""Rate limits, with a clock that a test moves."""

from collections.abc import Callable

import pytest

from receiver.domain.errors import Refusal
from receiver.domain.rate_limits import RateLimits


class Seconds:
    """A monotonic clock that a test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def limits(seconds: Seconds) -> RateLimits:
    return RateLimits(
        messages_per_window=10, changes_per_hour=5, failures_per_window=3, clock=seconds
    )


def said(answer: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as raised:
        answer()
    return raised.value.code, raised.value.headers.get("Retry-After")


def test_messages_reduce_the_rest_of_the_rate_limit(limits: RateLimits) -> None:
    limits.spend("a", 3)
    limits.spend("a", 4)

    assert [3, 10] == [limits.left("a"), limits.left("b")]


def test_rate_limit_is_restored_after_its_window(limits: RateLimits, seconds: Seconds) -> None:
    limits.spend("a", 10)
    seconds.now += 59.9
    before = limits.left("a")
    seconds.now += 0.2

    assert [0, 10] == [before, limits.left("a")]


def test_key_over_its_limit_is_refused_until_the_window_ends(
    limits: RateLimits, seconds: Seconds
) -> None:
    """After a refusal, messages that would still fit are refused too: they cost as much."""
    limits.spend("a", 8)
    limits.check("a")

    refusal = limits.exceeded("a", 3)

    assert (429, "too_many_messages", "60") == (
        refusal.status,
        refusal.code,
        refusal.headers["Retry-After"],
    )
    seconds.now += 20.5
    assert ("too_many_messages", "40") == said(lambda: limits.check("a"))
    limits.check("b")
    seconds.now += 40
    limits.check("a")


def test_batch_larger_than_the_limit_has_its_own_error(limits: RateLimits) -> None:
    refusal = limits.exceeded("a", 11)

    assert (413, "batch_too_large") == (refusal.status, refusal.code)
    assert "This key may send 10 messages in 60 seconds. Send fewer at a time." == str(refusal)
    assert "too_many_messages" == said(lambda: limits.check("a"))[0]


def test_messages_of_other_receivers_count_but_are_not_reported_again(limits: RateLimits) -> None:
    limits.spent_elsewhere("a", 4)
    limits.spend("a", 1)

    assert 5 == limits.left("a")
    assert [{"a": 1}, {}] == [dict(limits.take_spent()), dict(limits.take_spent())]


def test_heavy_use_of_a_key_is_reported_soon(limits: RateLimits) -> None:
    limits.spend("a", 1)
    little = limits.is_much_spent()
    limits.spend("a", 1)

    assert [False, True] == [little, limits.is_much_spent()]


def test_changes_have_their_own_limit(limits: RateLimits, seconds: Seconds) -> None:
    limits.spend("a", 10)
    limits.spend_changes("a", 4)
    first = limits.changes_left("a")
    limits.spend_changes("a", 4)
    seconds.now += 3599

    assert [1, 0, 5] == [first, limits.changes_left("a"), limits.changes_left("b")]
    seconds.now += 2
    assert 5 == limits.changes_left("a")


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
        ("unix", "unix", True),
    ],
)
def test_failures_count_by_ipv4_address_or_ipv6_network(
    one: str,
    other: str,
    are_one: bool,  # noqa: FBT001 - a parameter of the test
    limits: RateLimits,
) -> None:
    for _ in range(3):
        assert limits.failed(one) is None

    refusal = limits.failed(other)

    assert are_one == (refusal is not None)


def test_failures_of_many_addresses_use_bounded_memory(limits: RateLimits) -> None:
    """The address with the most recent failures is not evicted."""
    for n in range(12_000):
        limits.failed(f"2001:db8:{n // 65536:x}:{n % 65536:x}::1")
    for _ in range(3):
        limits.failed("192.0.2.1")

    assert limits.failed("192.0.2.1") is not None
    kept = limits._address_limiter.storage._counters  # type: ignore[attr-defined] # noqa: SLF001 - how much is kept
    assert 10_000 == len(kept)


def test_many_failures_keep_the_limits_of_keys(limits: RateLimits) -> None:
    limits.spend("a", 10)
    for n in range(12_000):
        limits.failed(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}")

    assert 0 == limits.left("a")


def test_storage_implements_the_interface_of_the_library(limits: RateLimits) -> None:
    storage = limits._key_limiter.storage  # noqa: SLF001 - what the library calls
    limits.spend("a", 3)
    limits.spend("b", 3)

    assert storage.check()
    assert issubclass(storage.base_exceptions, ValueError)  # type: ignore[arg-type] # one, not many
    limits._key_limiter.clear(limits._message_limit, "a")  # noqa: SLF001 - as above
    assert [10, 7] == [limits.left("a"), limits.left("b")]
    storage.reset()
    assert 10 == limits.left("b")
