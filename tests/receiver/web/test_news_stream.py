"""The stream that tells open pages that something has happened, and not what."""

import asyncio
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

import messages
from receiver.app import create_app
from receiver.domain.keys import Power
from receiver.service.feed import Bell
from receiver.web.routing import Guarded
from receiver.web.sse import news_stream, rings
from servers import Clock, serve

NEVER = 1e6


@pytest.fixture
def receiver(sqlite_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver whose stream tells news once only, and beats all the time."""
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)
    endpoint = partial(news_stream, beat_seconds=0.03, apart_seconds=NEVER)
    app.routes.insert(0, Guarded("/events/news", endpoint, methods=["GET"], needs=Power.READ))
    with serve(app) as client:
        yield client


def make_events(receiver: httpx.Client, first: int, count: int) -> None:
    beats = [messages.slim(server_id=f"s{n}") for n in range(first, first + count)]
    receiver.post("/heartbeats", json=beats).raise_for_status()


def told(lines: Iterator[str], *, beats: int) -> list[str]:
    """What a stream tells until it has told so many times that it is alive."""
    found: list[str] = []
    while found.count("event: beat") < beats:
        found.append(next(lines))
    return [line for line in found if line and "beat" not in line and line != "data: 1"]


def test_news_stream_sends_one_message_for_any_number_of_changes(
    receiver: httpx.Client,
) -> None:
    make_events(receiver, 0, 3)

    with receiver.stream("GET", "/events/news") as stream:
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
        assert "no-store" == stream.headers["cache-control"]
        lines = stream.iter_lines()
        before = told(lines, beats=3)
        make_events(receiver, 10, 300)
        news: list[str] = []
        while not news:
            news = told(lines, beats=1)
        make_events(receiver, 1000, 300)
        after = told(lines, beats=5)

    assert ["retry: 2000"] == before
    assert ["event: news", "data: 0"] == news
    assert [] == after


def test_news_stream_distinguishes_events_and_changes_of_alarms() -> None:
    async def follow() -> list[bytes]:
        bell, alarms = Bell(), [0]
        content = rings(bell, lambda: alarms[0], apart_seconds=0.02, look_seconds=0.01)
        found = [await anext(content)]
        alarms[0] = 3
        found.append(await anext(content))
        bell.hand([])
        bell.hand([])
        found.append(await anext(content))
        alarms[0] = 0
        found.append(await anext(content))
        bell.end()
        found += [each async for each in content]
        return found

    expected = [b"retry: 2000\n\n", *(b"event: news\ndata: %d\n\n" % n for n in (3, 3, 0))]
    assert expected == asyncio.run(follow())


def test_news_stream_is_quiet_while_no_event_and_no_alarm_begins_or_ends() -> None:
    async def follow() -> list[bytes]:
        alarms = iter((2, 2, 2, 3))
        content = rings(Bell(), lambda: next(alarms), apart_seconds=NEVER, look_seconds=0.001)
        return [await anext(content), await anext(content)]

    assert [b"retry: 2000\n\n", b"event: news\ndata: 3\n\n"] == asyncio.run(follow())
