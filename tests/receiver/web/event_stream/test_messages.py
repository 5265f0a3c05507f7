"""The event stream: new events of the timeline as server-sent events."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import make_url
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette

import messages
from contract import Heartbeat
from postgres import Postgres
from proxy import Once, Proxy, hang_up
from receiver.app import Tuning, create_app
from receiver.domain.keys import Power
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from receiver.web.routing import Guarded
from receiver.web.sse import EventStream, event_stream
from servers import DIRECT, Clock, Observed, Process, serve, wait_until

pytestmark = pytest.mark.both_databases


@dataclass
class Message:
    """One server-sent event with data."""

    id: int
    event: str
    data: dict[str, Any]


class Stream:
    """
    Reads a stream in a thread.

    Attributes:
        start_id: The id in the first message, which has no event.
        retry: How many milliseconds to wait before a reconnect.
        messages: The events received so far.
        comments: The comments received so far.
        ended: None while open; then whether the last message was complete.
    """

    def __init__(self, base_url: object, query: str = "", *, after: int | None = None) -> None:
        url = httpx.URL(str(base_url))
        self._connection = HTTPConnection(url.host, url.port)
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        self._connection.request("GET", f"/events/stream{query}", headers=headers)
        self._socket = self._connection.sock
        self._answer = self._connection.getresponse()
        assert 200 == self._answer.status, self._answer.read()
        self.headers = self._answer.headers
        self.start_id = self.retry = -1
        self.messages: list[Message] = []
        self.comments: list[str] = []
        self.ended: bool | None = None
        self._fields: dict[str, str] = {}
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        wait_until(lambda: self.start_id >= 0)

    @property
    def ids(self) -> list[int]:
        return [message.id for message in self.messages]

    @property
    def news(self) -> list[tuple[str, str | None]]:
        """Kind and server of each received event."""
        return [(message.event, message.data.get("server_id")) for message in self.messages]

    def wait_for(self, number: int) -> None:
        wait_until(lambda: len(self.messages) >= number)

    def close(self) -> None:
        hang_up(self._socket)
        self._thread.join()
        self._connection.close()

    def _read(self) -> None:
        whole = False
        with suppress(OSError, HTTPException):
            rest = b""
            while piece := self._answer.read1(65536):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take_line(line.decode())
            whole = rest == b""
        self.ended = whole

    def _take_line(self, line: str) -> None:
        name, _, text = line.partition(": ")
        if not line:
            self._take(self._fields)
            self._fields = {}
        elif not name:
            self.comments.append(text)
        else:
            assert name not in self._fields
            self._fields[name] = text

    def _take(self, fields: dict[str, str]) -> None:
        match fields:
            case {"id": start_id, "retry": retry}:
                self.start_id, self.retry = int(start_id), int(retry)
            case {"id": number, "event": event, "data": data}:
                self.messages.append(Message(int(number), event, json.loads(data)))
            case _:
                assert {} == fields


@contextmanager
def stream(base_url: object, query: str = "", *, after: int | None = None) -> Iterator[Stream]:
    with closing(Stream(base_url, query, after=after)) as opened:
        yield opened


def make_events(receiver: httpx.Client, *ids: str) -> None:
    """Make a `registered` event of each new server."""
    beats = [messages.slim(server_id=each) for each in ids]
    receiver.post("/heartbeats", json=beats).raise_for_status()


def timeline(receiver: httpx.Client) -> list[dict[str, Any]]:
    """The events of the timeline, oldest first."""
    events: list[dict[str, Any]] = receiver.get("/events", params={"limit": 1000}).json()["events"]
    return events[::-1]


def test_live_messages_equal_the_events_of_the_timeline(receiver: httpx.Client) -> None:
    with stream(receiver.base_url) as live:
        receiver.post("/register", json=messages.registration())
        receiver.post("/heartbeat", json=messages.heartbeat(hostname="web-2\n\u2028é", port=1))
        receiver.delete("/servers/acme_web-1")
        live.wait_for(3)

        assert timeline(receiver) == [message.data for message in live.messages]
    assert ["registered", "moved", "deleted"] == [message.event for message in live.messages]
    assert live.ids == [message.data["id"] for message in live.messages] == sorted(set(live.ids))


def test_stream_headers_forbid_caching_and_buffering(receiver: httpx.Client) -> None:
    with stream(receiver.base_url) as live:
        headers = {name.lower(): text for name, text in live.headers.items()}

    assert "text/event-stream; charset=utf-8" == headers["content-type"]
    assert "no-store" == headers["cache-control"]
    assert "no" == headers["x-accel-buffering"]
    assert 2000 == live.retry


def test_head_request_of_a_stream_ends_at_once(receiver: httpx.Client) -> None:
    assert 200 == receiver.head("/events/stream").status_code


def test_stream_starts_with_new_events(receiver: httpx.Client) -> None:
    make_events(receiver, "a", "b")

    with stream(receiver.base_url) as live:
        make_events(receiver, "c")
        live.wait_for(1)

    assert [("registered", "c")] == live.news


def test_first_message_has_an_id_to_reconnect_with(
    receiver: httpx.Client,
) -> None:
    make_events(receiver, "a")
    with stream(receiver.base_url) as live:
        pass
    make_events(receiver, "b")

    with stream(receiver.base_url, after=live.start_id) as again:
        again.wait_for(1)

    assert [("registered", "b")] == again.news


def test_reconnecting_client_gets_each_event_once(receiver: httpx.Client) -> None:
    stop = threading.Event()

    def go_on() -> None:
        with httpx.Client(base_url=receiver.base_url, **DIRECT) as other:
            number = 0
            while not stop.is_set():
                make_events(other, f"s{number}", f"t{number}")
                number += 1

    with stream(receiver.base_url) as live:
        writer = threading.Thread(target=go_on)
        writer.start()
        live.wait_for(1)
    received = live.ids
    for _ in range(15):
        with stream(receiver.base_url, after=received[-1]) as live:
            live.wait_for(3)
        received += live.ids
    stop.set()
    writer.join()
    with stream(receiver.base_url, after=received[-1]) as live:
        wait_until(lambda: (received + live.ids)[-1] == newest(receiver))

    received += live.ids
    assert [*range(received[0], received[-1] + 1)] == received


def newest(receiver: httpx.Client) -> int:
    (event,) = receiver.get("/events", params={"limit": "1"}).json()["events"]
    return int(event["id"])


def test_many_missed_events_arrive_in_order(receiver: httpx.Client) -> None:
    ids = [f"s{n}" for n in range(2100)]
    for first in range(0, len(ids), 700):
        make_events(receiver, *ids[first : first + 700])

    with stream(receiver.base_url, after=0) as live:
        live.wait_for(len(ids))
        make_events(receiver, "last")
        live.wait_for(len(ids) + 1)

    assert [("registered", each) for each in [*ids, "last"]] == live.news


def test_last_event_id_beyond_the_timeline_gets_new_events(receiver: httpx.Client) -> None:
    """The client has followed a database that was replaced by another one."""
    make_events(receiver, "a")

    with stream(receiver.base_url, after=10**17) as live:
        make_events(receiver, "b")
        live.wait_for(1)

    assert [("registered", "b")] == live.news


MATCHING = {
    "?kind=deleted": [("deleted", "a"), ("deleted", "b")],
    "?kind=deleted&kind=moved": [("moved", "a"), ("deleted", "a"), ("deleted", "b")],
    "?server_id=a": [("registered", "a"), ("updated", "a"), ("moved", "a"), ("deleted", "a")],
    "?server_id=b&kind=registered&kind=moved": [("registered", "b")],
}
"""Filters of streams, and the events of the test that match them."""


def test_stream_sends_only_events_that_match_its_filter(receiver: httpx.Client) -> None:
    with ExitStack() as stack:
        live = {query: stack.enter_context(stream(receiver.base_url, query)) for query in MATCHING}
        make_events(receiver, "a", "b")
        receiver.post("/heartbeat", json=messages.slim(server_id="a", hostname="web-1"))
        receiver.post("/heartbeat", json=messages.slim(server_id="a", hostname="web-2"))
        receiver.delete("/servers/a")
        receiver.delete("/servers/b")
        missed = {
            query: stack.enter_context(stream(receiver.base_url, query, after=0))
            for query in MATCHING
        }
        for query, news in MATCHING.items():
            live[query].wait_for(len(news))
            missed[query].wait_for(len(news))

    assert MATCHING == {query: each.news for query, each in live.items()}
    assert MATCHING == {query: each.news for query, each in missed.items()}


def test_stream_of_a_server_includes_its_superseded_server(
    receiver: httpx.Client, clock: Clock
) -> None:
    uuid = "1f2e3d4c-0000-4000-8000-000000000001"
    same = {"database_uuid": uuid, "hostname": "web"}
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="old", **same))
    with stream(receiver.base_url, "?server_id=new") as live:
        clock.advance(150)
        wait_until(lambda: any(event["kind"] == "late" for event in timeline(receiver)))
        clock.advance(1)
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="new", **same))
        live.wait_for(2)

    with stream(receiver.base_url, "?server_id=new", after=0) as missed:
        missed.wait_for(4)

    assert {("rebuilt", "old"), ("registered", "new")} == set(live.news)
    assert [("registered", "old"), ("late", "old"), *live.news] == missed.news


UUID = {"database_uuid": "1f2e3d4c-0000-4000-8000-000000000001", "hostname": "web"}


def kinds(receiver: httpx.Client) -> list[tuple[str, str]]:
    return [(event["kind"], event["server_id"]) for event in timeline(receiver)]


def test_stream_of_a_server_equals_its_list_of_events(receiver: httpx.Client, clock: Clock) -> None:
    """Also events of superseded servers from before the server existed."""
    for older, newer in (("first", "second"), ("second", "third")):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=older, **UUID))
        clock.advance(150)
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=newer, **UUID))
        wait_until(lambda older=older: ("rebuilt", older) in kinds(receiver))  # type: ignore[misc]  # binds it

    listed = receiver.get("/events?server_id=third&limit=1000").json()["events"][::-1]
    with stream(receiver.base_url, "?server_id=third", after=0) as missed:
        missed.wait_for(len(listed))
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="first", port=1))
        missed.wait_for(len(listed) + 1)

    assert {"first", "second", "third"} == {event["server_id"] for event in listed}
    assert listed == [message.data for message in missed.messages][: len(listed)]
    assert "first" == missed.messages[len(listed)].data["server_id"]


def test_stream_includes_a_server_superseded_while_it_is_open(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="old", **UUID))
    clock.advance(150)
    receiver.post("/heartbeat", json=messages.slim(server_id="new"))
    with stream(receiver.base_url, "?server_id=new") as live:
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="new", **UUID))
        wait_until(lambda: ("rebuilt", "old") in live.news)
        receiver.delete("/servers/old")
        wait_until(lambda: ("deleted", "old") in live.news)


@pytest.mark.parametrize(
    ("query", "path", "message"),
    [
        ("kind=exploded", "kind", "expected one of registered, moved,"),
        ("server_id=%00", "server_id", "expected text without a NUL"),
        ("server_id=a&server_id=b", "server_id", "is there more than once"),
        ("limit=1", "limit", "is no parameter here; these are: kind, server_id"),
    ],
)
def test_invalid_stream_parameter_is_named(
    receiver: httpx.Client, query: str, path: str, message: str
) -> None:
    answer = receiver.get(f"/events/stream?{query}")

    assert 400 == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert "invalid_parameter" == answer.json()["code"]
    (error,) = answer.json()["errors"]
    assert path == error["path"]
    assert message in error["message"]


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "1" * 19, "²"])
def test_invalid_last_event_id_is_refused(receiver: httpx.Client, text: str) -> None:
    answer = receiver.get("/events/stream", headers={b"Last-Event-ID": text.encode()})

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert "Last-Event-ID" == answer.json()["errors"][0]["path"]


def test_empty_last_event_id_counts_as_absent(receiver: httpx.Client) -> None:
    make_events(receiver, "a")
    headers = {"Last-Event-ID": ""}
    with receiver.stream("GET", "/events/stream", headers=headers) as answer:
        assert 200 == answer.status_code
        assert "id: 1\nretry: 2000" == next(answer.iter_text()).strip()


# Slow clients and limits


NEVER = 1e6
"""More seconds than any test takes."""

USUAL = Tuning()


def with_timeouts(app: Starlette, *, path: str = "/events/stream", **arguments: Any) -> Starlette:
    """Let an app serve its event stream with other timeouts, perhaps at another path, too."""
    endpoint = partial(event_stream, **arguments)
    route = Guarded(path, endpoint, methods=["GET"], needs=Power.READ)
    app.router.routes.insert(0, route)
    return app


@contextmanager
def receiver_of(url: str, tuning: Tuning = USUAL, **timeouts: Any) -> Iterator[httpx.Client]:
    """A receiver, whose event stream may have other timeouts."""
    app = create_app(environ={"FLEET_DATABASE_URL": url}, clock=Clock(), tuning=tuning)
    with serve(with_timeouts(app, **timeouts) if timeouts else app) as client:
        yield client


def test_idle_stream_sends_ping_comments(sqlite_url: str) -> None:
    with (
        receiver_of(sqlite_url, ping_seconds=0.02) as receiver,
        stream(receiver.base_url) as live,
    ):
        wait_until(lambda: len(live.comments) > 2)
        make_events(receiver, "a")
        live.wait_for(1)

    assert {"ping"} == set(live.comments)


@contextmanager
def slow_client(base_url: object, path: str = "/events/stream") -> Iterator[socket.socket]:
    """A slow client: it requests a stream and never reads it."""
    url = httpx.URL(str(base_url))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((url.host, url.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
        yield client


def make_long_events(receiver: httpx.Client, live: Stream) -> int:
    """
    Make more events than the buffers of a connection hold; returns their number.

    Waits for `live` after each request, because a stream that falls 8 MiB behind is ended.
    """
    for n in range(16):
        beats = [
            messages.slim(capabilities=[f"{n}_{k}_{tool:0190}" for tool in range(250)])
            for k in range(16)
        ]
        receiver.post("/heartbeats", json=beats).raise_for_status()
        live.wait_for(16 * (n + 1))
    return 16 * 16


def is_connected(client: socket.socket) -> bool:
    """Whether the receiver, in this process, still has the connection open."""
    held = psutil.net_connections("tcp4")  # the oldest psutil has no such method of a process
    return client.getsockname() in [each.raddr for each in held if each.pid == os.getpid()]


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


# Several receivers on one database


@pytest.mark.parametrize("written_by", ["first", "second"])
def test_events_of_another_receiver_are_read_when_it_tells_of_them(
    postgres: Postgres, postgresql_url: str, written_by: str
) -> None:
    """The receivers never read events without being told that there are any."""

    def listeners() -> str:
        database = str(make_url(postgresql_url).database)
        return postgres.sql(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN %'",
            database=database,
        )

    told = Tuning(feed_seconds=NEVER)
    with (
        receiver_of(postgresql_url, told) as first,
        receiver_of(postgresql_url, told) as second,
        stream(first.base_url) as live,
    ):
        writer = {"first": first, "second": second}[written_by]
        wait_until(lambda: listeners() == "2")
        for n in range(1, 6):
            make_events(writer, f"s{n}")
            live.wait_for(n)

    assert [("registered", f"s{n}") for n in range(1, 6)] == live.news


def test_streams_of_two_receivers_have_the_same_order(postgresql_url: str) -> None:
    with (
        receiver_of(postgresql_url) as first,
        receiver_of(postgresql_url) as second,
        stream(first.base_url) as one,
        stream(second.base_url) as other,
    ):

        def go_on(receiver: httpx.Client, name: str) -> None:
            for n in range(40):
                make_events(receiver, *(f"{name}{n}-{k}" for k in range(5)))

        writers = [
            threading.Thread(target=go_on, args=args) for args in [(first, "a"), (second, "b")]
        ]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        one.wait_for(400)
        other.wait_for(400)

        assert [event["id"] for event in timeline(first)] == one.ids == other.ids


def test_events_of_another_process_on_sqlite_arrive(sqlite_url: str) -> None:
    with (
        receiver_of(sqlite_url) as receiver,
        stream(receiver.base_url) as live,
        closing(SqlStore(make_url(sqlite_url))) as other,
    ):
        other.servers.apply([Incoming(Heartbeat(server_id="a"), Clock()())])
        live.wait_for(1)

    assert [("registered", "a")] == live.news


# Database outages, and the end of a receiver


@contextmanager
def proxied(postgres: Postgres, url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before PostgreSQL, and the URL that leads through it to the database of `url`."""
    with closing(Proxy(postgres)) as proxy:
        yield proxy, url.replace(str(postgres.socket_folder), str(proxy.folder))


def test_stream_continues_after_a_database_outage(postgres: Postgres, postgresql_url: str) -> None:
    with (
        proxied(postgres, postgresql_url) as (proxy, url),
        receiver_of(url) as receiver,
        stream(receiver.base_url) as live,
        closing(SqlStore(make_url(postgresql_url))) as other,
    ):
        make_events(receiver, "a")
        live.wait_for(1)
        proxy.refuse()
        proxy.cut_all()
        refused = receiver.get("/events/stream")
        other.servers.apply([Incoming(Heartbeat(server_id="b"), Clock()())])
        proxy.listen()
        live.wait_for(2)

    assert [("registered", "a"), ("registered", "b")] == live.news
    assert (503, "store_unavailable") == (refused.status_code, refused.json()["code"])


def test_stream_ends_when_missed_events_cannot_be_read(
    postgres: Postgres, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    query = "?kind=registered"
    with proxied(postgres, postgresql_url) as (proxy, url), receiver_of(url) as receiver:
        make_events(receiver, "a")
        # The feed reads events of all kinds, so this is no query of the feed.
        proxy.request_passes = cut = Once(b"events.kind IN ")
        with stream(receiver.base_url, query, after=0) as live:
            wait_until(lambda: live.ended is not None)
        assert cut.happened
        with stream(receiver.base_url, query, after=0) as again:
            again.wait_for(1)

    assert ([], True) == (live.messages, live.ended)
    assert "A stream of events ends" in caplog.text


def test_stream_ends_with_its_receiver(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stream(receiver.base_url) as live:
        monkeypatch.setattr(AppStatus, "should_exit", True)  # as a signal does
        wait_until(lambda: live.ended is not None)

    assert live.ended


class PatientProcess(Process):
    """A receiver in a process of its own, which waits for slow clients as long as it runs."""

    app = "patient_streams:app"

    def __init__(self, folder: Path, **environ: str) -> None:
        super().__init__(folder, f"--app-dir={Path(__file__).parents[2]}", **environ)


@contextmanager
def patient_receiver(folder: Path, **environ: str) -> Iterator[Process]:
    process = PatientProcess(folder, **environ)
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.kill()


def test_receiver_with_open_streams_stops_without_waiting_for_clients(
    database_url: str, tmp_path: Path
) -> None:
    with (
        patient_receiver(tmp_path, FLEET_DATABASE_URL=database_url) as process,
        httpx.Client(base_url=process.url, **DIRECT) as client,
        stream(process.url) as live,
        stream(process.url, "?kind=deleted") as quiet,
        slow_client(process.url),
    ):
        make_long_events(client, live)
        process.terminate()
        process.wait()
        wait_until(lambda: None not in (live.ended, quiet.ended))

    assert (True, True) == (live.ended, quiet.ended)
    assert "ERROR" not in process.log.read_text()
    assert "Traceback" not in process.log.read_text()
