"""A receiver that is asked to stop says so first, and goes on for a while."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

import messages
from receiver import app
from receiver.draining import draining
from servers import DIRECT, PATIENCE_SECONDS, receiver_process, serve, wait_until

SHORT = timedelta(milliseconds=20)
LONG = timedelta(hours=1)


@pytest.fixture
def stops() -> Iterator[list[float]]:
    """When the server was told to stop."""
    told: list[float] = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append(time.monotonic()))
    yield told
    signal.signal(signal.SIGTERM, before)


def test_signal_stops_the_server_after_the_draining_time(stops: list[float]) -> None:
    async def run() -> float:
        with draining(SHORT) as is_stopping:
            assert not is_stopping()
            asked = time.monotonic()
            signal.raise_signal(signal.SIGTERM)
            assert is_stopping()
            assert not stops
            while not stops:  # noqa: ASYNC110 - a handler of a signal sets it
                await asyncio.sleep(SHORT.total_seconds())
        return asked

    asked = asyncio.run(asyncio.wait_for(run(), PATIENCE_SECONDS))

    (stopped,) = stops
    assert stopped - asked >= SHORT.total_seconds()


def test_second_signal_stops_the_server_at_once(stops: list[float]) -> None:
    async def run() -> None:
        with draining(LONG):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert 1 == len(stops)
        signal.raise_signal(signal.SIGTERM)

    asyncio.run(run())

    assert 2 == len(stops), "what the server does is set again"


def test_signal_reaches_the_server_at_once_without_a_draining_time(stops: list[float]) -> None:
    async def run(lasts: timedelta) -> None:
        with draining(lasts):
            pass

    thread = threading.Thread(target=lambda: asyncio.run(run(LONG)))
    thread.start()
    thread.join()
    asyncio.run(run(timedelta()))
    signal.raise_signal(signal.SIGTERM)

    assert 1 == len(stops)


def test_receiver_that_is_about_to_stop_says_so(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that it is dead."""

    @contextmanager
    def begun(_: timedelta) -> Iterator[Callable[[], bool]]:
        yield lambda: True

    monkeypatch.setattr(app, "draining", begun)
    with serve(app.create_app(environ={"FLEET_DATABASE_URL": sqlite_url})) as client:
        answers = [client.get("/health"), client.get("/health/live")]

    assert [503, 200] == [answer.status_code for answer in answers]
    assert "stopping" == answers[0].json()["code"]


def test_receiver_serves_until_it_stops(tmp_path: Path) -> None:
    with (
        receiver_process(tmp_path, FLEET_DRAIN_SECONDS="600") as receiver,
        httpx.Client(base_url=receiver.url, **DIRECT) as client,
    ):
        receiver.terminate()
        wait_until(lambda: client.get("/health").status_code == 503)
        code = client.get("/health").json()["code"]
        answers = [client.get("/health/live"), client.post("/heartbeat", json=messages.heartbeat())]
        receiver.terminate()
        receiver.wait()

    assert "stopping" == code
    assert [200, 200] == [answer.status_code for answer in answers]


def test_receiver_stops_by_itself_after_the_time(tmp_path: Path) -> None:
    with receiver_process(tmp_path, FLEET_DRAIN_SECONDS="1") as receiver:
        asked = time.monotonic()
        receiver.terminate()
        receiver.wait()
        took = time.monotonic() - asked

    assert took >= 1
