"""Background tasks run as long as the app; a task that ends early ends the process."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ports import free_port
from receiver.service.background import running
from servers import DIRECT, PATIENCE_SECONDS, wait_until

DYING_RECEIVER = """
import asyncio, sys
import uvicorn
from receiver.app import app

async def dying(scope, receive, send):
    if scope["type"] == "http":
        (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "group_commit"]
        task.cancel()
    await app(scope, receive, send)

uvicorn.run(dying, port=int(sys.argv[1]), loop=sys.argv[2])
"""


async def forever() -> None:
    await asyncio.Event().wait()


async def early() -> None:
    pass


async def failing() -> None:
    raise LookupError("it lost its way")


def test_tasks_are_cancelled_when_the_context_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> set[str]:
        async with running(one=forever(), other=early()):
            await asyncio.sleep(0)
            began = {task.get_name() for task in asyncio.all_tasks()}
        return began - {task.get_name() for task in asyncio.all_tasks()}

    assert {"one"} <= asyncio.run(scenario())
    assert [] == caplog.records


def test_task_that_raises_ends_the_event_loop_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with running(watchdog=failing(), feed=forever()):
            await forever()

    with pytest.raises(SystemExit) as ended:
        asyncio.run(scenario())

    (record,) = caplog.records
    assert 1 == ended.value.code
    assert logging.CRITICAL == record.levelno
    assert "'watchdog' has ended" in record.getMessage()
    assert "it lost its way" in record.getMessage()
    assert record.exc_info


def test_task_that_is_cancelled_from_outside_ends_the_event_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with running(feed=forever()):
            (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "feed"]
            task.cancel()
            await forever()

    with pytest.raises(SystemExit):
        asyncio.run(scenario())

    assert ["it was cancelled"] == [each.getMessage().split(": ")[-1] for each in caplog.records]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_receiver_whose_group_commit_dies_exits_with_status_1(tmp_path: Path, loop: str) -> None:
    """Otherwise every message would wait for an answer that never comes."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", DYING_RECEIVER, str(port), loop],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )

    def has_been_asked() -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", **DIRECT)
        except httpx.TransportError:
            return process.poll() is not None
        return True

    wait_until(has_been_asked)
    _, log = process.communicate(timeout=PATIENCE_SECONDS)

    assert 1 == process.returncode
    assert "The background task 'group_commit' has ended" in log
