"""BodyTimeout: a timeout for slow clients, shared by many requests."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from selectors import SelectorKey, SelectSelector
from typing import Any

import pytest

from receiver.web.body_timeout import BodyTimeout


class Hasty(SelectSelector):
    """
    Lets time pass in place of waiting for it.

    Attributes:
        now: The time, in seconds.
    """

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class HastyLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on by what it would have to wait, and never else."""

    def __init__(self) -> None:
        self._hasty = Hasty()
        super().__init__(self._hasty)

    def time(self) -> float:
        return self._hasty.now


def run_scenario(scenario: Callable[[BodyTimeout], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await scenario(BodyTimeout(0.08))

    with closing(HastyLoop()) as loop:
        return loop.run_until_complete(run())


async def wait_in(timeout: BodyTimeout, seconds: float) -> str:
    with timeout:
        return await asyncio.sleep(seconds, "here")


def test_wait_that_ends_in_time_returns_its_result() -> None:
    assert "here" == run_scenario(lambda timeout: wait_in(timeout, 0.01))


def test_wait_that_is_too_long_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError):
        run_scenario(lambda timeout: wait_in(timeout, 60))


def test_blocks_without_a_wait_leave_the_timeout_usable() -> None:
    async def scenario(timeout: BodyTimeout) -> str:
        for _ in range(3):
            with timeout:
                pass
        return await wait_in(timeout, 0.01)

    assert "here" == run_scenario(scenario)


def test_later_wait_gets_the_full_timeout() -> None:
    async def scenario(timeout: BodyTimeout) -> tuple[str | BaseException, str | BaseException]:
        async def later() -> str:
            await asyncio.sleep(0.06)
            return await wait_in(timeout, 0.06)

        return await asyncio.gather(wait_in(timeout, 60), later(), return_exceptions=True)

    early, later = run_scenario(scenario)

    assert isinstance(early, TimeoutError)
    assert "here" == later


def test_error_in_the_block_is_raised_unchanged() -> None:
    async def scenario(timeout: BodyTimeout) -> None:
        with timeout:
            await asyncio.sleep(0)
            raise LookupError

    with pytest.raises(LookupError):
        run_scenario(scenario)


def test_wait_that_swallows_the_cancellation_returns_its_result() -> None:
    async def scenario(timeout: BodyTimeout) -> str:
        with timeout:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "late"
        return ""

    assert "late" == run_scenario(scenario)


def test_cancellation_from_outside_stays_a_cancellation() -> None:
    async def scenario(timeout: BodyTimeout) -> None:
        waiting = asyncio.create_task(wait_in(timeout, 60))
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        run_scenario(scenario)
