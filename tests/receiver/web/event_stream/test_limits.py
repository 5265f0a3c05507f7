"""How long an event stream waits for its client, and how many streams there may be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import pytest

from event_streams import (
    is_connected,
    make_events,
    make_long_events,
    receiver_of,
    slow_client,
    stream,
)
from receiver.app import Tuning, create_app
from receiver.web.sse import EventStream
from servers import Clock, Observed, serve, wait_until

pytestmark = pytest.mark.both_databases


def test_idle_stream_sends_ping_comments(sqlite_url: str) -> None:
    with (
        receiver_of(sqlite_url, ping_seconds=0.02) as receiver,
        stream(receiver.base_url) as live,
    ):
        wait_until(lambda: len(live.comments) > 2)
        make_events(receiver, "a")
        live.wait_for(1)

    assert {"ping"} == set(live.comments)


def test_slow_client_is_dropped_and_others_continue(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        receiver_of(database_url, path="/hurried", send_seconds=0.3) as receiver,
        stream(receiver.base_url) as live,
        slow_client(receiver.base_url, "/hurried") as client,
    ):
        assert is_connected(client)
        number = make_long_events(receiver, live)
        wait_until(lambda: not is_connected(client))
        make_events(receiver, "b")
        live.wait_for(number + 1)

    assert [] == [each for each in caplog.records if each.name != "receiver.access.gate"]


async def no_events() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


def test_disconnect_ends_the_stream_on_any_asgi_server() -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    sent = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(
        EventStream(no_events(), nullcontext())({"type": "http", "method": "GET"}, receive, send)
    )

    assert ["http.response.start"] == sent


def test_stream_above_the_limit_is_answered_with_503(sqlite_url: str) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url}
    app = Observed(create_app(environ=environ, clock=Clock(), tuning=Tuning(most_streams=2)))
    with serve(app) as receiver:
        feed = app.services.feed
        with stream(receiver.base_url), stream(receiver.base_url) as second:
            refused = receiver.get("/events/stream")
            second.close()
            wait_until(lambda: not feed.is_full)
            with stream(receiver.base_url):
                assert feed.is_full

    assert (503, "overloaded") == (refused.status_code, refused.json()["code"])
    assert "5" == refused.headers["Retry-After"]
