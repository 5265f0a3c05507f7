"""A URL gets requests as long as the receiver works."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from receiver.app import create_app
from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.service.alerts.delivery.sending import Sender
from receiver.service.alerts.ping import Ping
from servers import serve, wait_until
from sinks import HttpSink

pytestmark = pytest.mark.one_database


def pinging(
    sink: HttpSink,
    until: Callable[[], bool],
    trouble: Callable[[], str | None] = lambda: None,
) -> None:
    async def scenario() -> None:
        sender = Sender(Endpoints.of(DEFAULT_ENDPOINTS))
        ping = Ping(f"{sink.url}/uuid", sender, trouble=trouble, every_seconds=0.01)
        running = asyncio.create_task(ping.run())
        await asyncio.to_thread(wait_until, until)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(scenario())


def test_ping_requests_are_sent_at_each_interval(sink: HttpSink) -> None:
    pinging(sink, lambda: len(sink.received) >= 2)

    assert {("GET", "/uuid")} == {(each.method, each.path) for each in sink.received}


def test_ping_requests_stop_while_the_receiver_does_not_work(sink: HttpSink) -> None:
    looks: list[int] = []

    def trouble() -> str | None:
        looks.append(len(sink.received))
        return "the database does not answer" if len(looks) < 20 else None

    pinging(sink, lambda: bool(sink.received), trouble)

    assert [0] * 20 == looks[:20]


def test_ping_failures_are_logged_once_and_so_is_the_success_after_them(
    sink: HttpSink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "receiver.service.alerts.ping")
    sink.answer = lambda _: (500 if len(sink.received) <= 3 else 200, {})

    pinging(sink, lambda: len(sink.received) >= 6)

    assert [
        "The request to FLEET_PING_URL failed: the answer was 500 Internal Server Error",
        "The requests to FLEET_PING_URL succeed again",
    ] == [each.getMessage() for each in caplog.records if each.name.endswith("ping")]


def test_receiver_with_the_ping_setting_sends_requests(sqlite_url: str, sink: HttpSink) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_PING_URL": f"{sink.url}/uuid"}
    with serve(create_app(environ=environ)):
        wait_until(lambda: bool(sink.received))

    assert "/uuid" == sink.received[0].path
