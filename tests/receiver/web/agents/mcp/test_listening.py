"""Agents that listen to the MCP server."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from mcp import Client
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from sqlalchemy import make_url

from contract import Event, EventKind
from keyring import bearer
from mcp_agent import HEADERS, PING, asked, send
from receiver.domain.errors import StoreUnavailable
from receiver.domain.keys import id_of
from receiver.domain.queries import RecordedEvent
from receiver.service.feed import Follower, News
from receiver.store import SqlStore
from receiver.web.agents import mcp_sdk
from servers import DIRECT, Clock, receiver_process


@pytest.mark.both_databases
def test_mcp_listener_receives_changes_of_servers(receiver: httpx.Client) -> None:
    send(receiver)

    async def ask(agent: Client) -> list[Any]:
        heard: list[Any] = []
        uri = "fleet://servers/acme_web"
        async with agent.listen(resources_list_changed=True, resource_subscriptions=[uri]) as news:
            async for event in news:
                heard.append(event)
                if len(heard) == 1:  # it follows the feed now
                    await asyncio.to_thread(send, receiver, capabilities=["invoice_post"])
                    await asyncio.to_thread(send, receiver, server_id="new")
                if len(heard) == 3:
                    return heard
        raise AssertionError(heard)

    heard = asked(receiver, ask)

    assert ResourcesListChanged() == heard[0]
    assert {ResourcesListChanged(), ResourceUpdated(uri="fleet://servers/acme_web")} == {*heard[1:]}


LISTEN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "subscriptions/listen",
    "params": {
        "notifications": {"resourcesListChanged": True},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}

LISTENER = {
    **HEADERS,
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "subscriptions/listen",
}


def test_mcp_event_stream_ends_when_its_key_is_revoked(
    guarded: tuple[httpx.Client, str, str], sqlite_url: str, clock: Clock
) -> None:
    receiver, viewer, _ = guarded
    headers = LISTENER | bearer(viewer)
    with receiver.stream("POST", "/mcp", json=LISTEN, headers=headers) as answer:
        pieces = answer.iter_raw()
        first = next(pieces)
        store = SqlStore(make_url(sqlite_url))
        assert store.keys.revoke(id_of(viewer), clock.now)
        store.close()
        with suppress(httpx.RemoteProtocolError):  # it breaks off
            assert not [each for each in pieces if b"error" in each]

    assert b"notifications/subscriptions/acknowledged" in first
    assert 401 == receiver.post("/mcp", json=PING, headers=HEADERS | bearer(viewer)).status_code


@pytest.mark.serial
@pytest.mark.parametrize("workers", ["--workers=1", "--workers=2"])
def test_receiver_with_a_listening_agent_stops_within_seconds(
    sqlite_url: str, tmp_path: Path, workers: str
) -> None:
    with (
        receiver_process(tmp_path, workers, FLEET_DATABASE_URL=sqlite_url) as process,
        httpx.Client(base_url=process.url, **DIRECT) as client,
        client.stream("POST", "/mcp", json=LISTEN, headers=LISTENER) as answer,
    ):
        next(answer.iter_raw())
        begun = time.monotonic()
        process.terminate()
        process.wait()
        took = time.monotonic() - begun

    assert took < 12  # nothing else ends the stream, so a stop that waits for it has no end
    assert "Traceback" not in process.log.read_text()


class Feed:
    """A feed whose database is away when it is first asked; each event comes when it is handed."""

    def __init__(self) -> None:
        self.asked = 0
        self.followers: list[Follower] = []

    async def last_event(self) -> int:
        self.asked += 1
        if self.asked == 1:
            raise StoreUnavailable("it is away")
        return 0

    @contextmanager
    def followed(self, follower: Follower, *, after: int) -> Iterator[None]:
        assert 0 == after
        self.followers.append(follower)
        yield
        self.followers.remove(follower)


def test_mcp_news_bus_follows_the_feed_while_it_has_listeners_also_after_an_outage(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_sdk, "_RETRY_SECONDS", 0.01)
    feed = Feed()
    silent = Event(kind=EventKind.FLEET_SILENT, at=Clock().now, server_id=None, details={})

    async def listen() -> list[ServerEvent]:
        heard: list[ServerEvent] = []
        bus = mcp_sdk.NewsBus(cast("Any", feed))
        running = asyncio.create_task(bus.run())
        leave = [bus.subscribe(heard.append), bus.subscribe(lambda _: None)]
        while not heard:  # noqa: ASYNC110 - the bus tells a test of nothing else
            await asyncio.sleep(0.01)
        feed.followers[0].hand([News.of(RecordedEvent(1, silent))])
        leave[0]()
        await asyncio.sleep(0.05)
        assert [1] == [len(feed.followers)]  # one listens still
        leave[1]()
        leave[1]()
        while feed.followers:  # noqa: ASYNC110 - the bus tells a test of nothing else
            await asyncio.sleep(0.01)
        bus.subscribe(heard.append)()  # one who leaves at once
        await asyncio.sleep(0.05)
        assert not feed.followers
        running.cancel()
        return heard

    assert [ResourcesListChanged()] == asyncio.run(listen())
    assert "Agents that listen hear no news for now: it is away" in caplog.text
