"""A limit on how long one may wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from receiver.web.body_timeout import BodyTimeout


def play(scene: Callable[[BodyTimeout], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await scene(BodyTimeout(0.08))

    return asyncio.run(run())


async def wait_in(patience: BodyTimeout, seconds: float) -> str:
    with patience:
        return await asyncio.sleep(seconds, "here")


def test_what_comes_in_time_is_had() -> None:
    assert "here" == play(lambda patience: wait_in(patience, 0.01))


def test_what_does_not_come_is_not_waited_for() -> None:
    with pytest.raises(TimeoutError):
        play(lambda patience: wait_in(patience, 60))


def test_what_is_done_at_once_needs_no_wait() -> None:
    async def scene(patience: BodyTimeout) -> str:
        for _ in range(3):
            with patience:
                pass
        return await wait_in(patience, 0.01)

    assert "here" == play(scene)


def test_who_comes_later_is_waited_for_as_long() -> None:
    async def scene(patience: BodyTimeout) -> tuple[str | BaseException, str | BaseException]:
        async def later() -> str:
            await asyncio.sleep(0.06)
            return await wait_in(patience, 0.06)

        return await asyncio.gather(wait_in(patience, 60), later(), return_exceptions=True)

    early, later = play(scene)

    assert isinstance(early, TimeoutError)
    assert "here" == later


def test_what_fails_meanwhile_fails_as_it_is() -> None:
    async def scene(patience: BodyTimeout) -> None:
        with patience:
            await asyncio.sleep(0)
            raise LookupError

    with pytest.raises(LookupError):
        play(scene)


def test_who_is_too_late_to_be_cancelled_is_let_go() -> None:
    async def scene(patience: BodyTimeout) -> str:
        with patience:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "came in the very last moment"
        return ""

    assert "came in the very last moment" == play(scene)


def test_who_is_cancelled_by_somebody_else_stays_cancelled() -> None:
    async def scene(patience: BodyTimeout) -> None:
        waiting = asyncio.create_task(wait_in(patience, 60))
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        play(scene)
