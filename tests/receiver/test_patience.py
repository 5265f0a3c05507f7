"""A limit on how long one may wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from receiver.patience import Patience


def play(scene: Callable[[Patience], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await scene(Patience(0.08))

    return asyncio.run(run())


def test_what_comes_in_time_is_had() -> None:
    assert "here" == play(lambda patience: patience.wait_for(asyncio.sleep(0.01, "here")))


def test_what_does_not_come_is_not_waited_for() -> None:
    with pytest.raises(TimeoutError):
        play(lambda patience: patience.wait_for(asyncio.sleep(60)))


def test_who_comes_later_is_waited_for_as_long() -> None:
    async def scene(patience: Patience) -> tuple[str | BaseException, str | BaseException]:
        async def later() -> str:
            await asyncio.sleep(0.06)
            return await patience.wait_for(asyncio.sleep(0.06, "later"))

        early = patience.wait_for(asyncio.sleep(60, "early"))
        return await asyncio.gather(early, later(), return_exceptions=True)

    early, later = play(scene)

    assert isinstance(early, TimeoutError)
    assert "later" == later


def test_who_is_cancelled_by_somebody_else_stays_cancelled() -> None:
    async def scene(patience: Patience) -> None:
        waiting = asyncio.create_task(patience.wait_for(asyncio.sleep(60)))
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        play(scene)
