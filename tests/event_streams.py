"""Test helper: readers of the event stream, and the events that they are told of."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any

import httpx
import psutil
from starlette.applications import Starlette

import messages
from proxy import hang_up
from receiver.app import Tuning, create_app
from receiver.domain.keys import Power
from receiver.web.routing import Guarded
from receiver.web.sse import event_stream
from servers import Clock, serve, wait_until

__all__ = [
    "NEVER",
    "is_connected",
    "make_events",
    "make_long_events",
    "receiver_of",
    "slow_client",
    "stream",
    "timeline",
]


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
