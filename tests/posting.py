"""Test helper: messages posted by hand, and a protocol that tells how they were handled."""

import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import httpx

from keyring import expired, keep, made, revoked
from receiver.app import Tuning, create_app
from receiver.connections import Careful
from servers import DIRECT, PATIENCE_SECONDS, Clock, serve

__all__ = [
    "ADMINISTERING",
    "KEY",
    "LIMITED",
    "LOST",
    "READING",
    "TOKEN",
    "TOO_LATE",
    "Watched",
    "post",
    "read_answer",
    "read_answers",
    "receiving",
    "settle",
    "told",
]

KEY, TOKEN = made("agent", name="a")
READER, READING = made("viewer", name="r")
GONE, LOST = made("agent", name="g")
NARROW, LIMITED = made("agent", name="n", servers="other_*")
LATE, TOO_LATE = made("agent", name="l")
ADMIN, ADMINISTERING = made("admin", name="m")


class Watched(Careful):
    """
    The protocol, which notes how requests were handled.

    Attributes:
        called: For how many requests the app was called.
        taken: For how many it was not, at least not before there was an error.
        known: How many of those the parser has not read, as their heads were known.
        made: All connections.
    """

    # No test takes as long as a check of the connections would be away, which forgets the heads.
    head_timeout_seconds = 100 * PATIENCE_SECONDS
    called = taken = known = 0
    made: ClassVar[list["Watched"]] = []

    @staticmethod
    def count_anew() -> None:
        Watched.called = Watched.taken = Watched.known = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        Watched.made.append(self)

    def start(self, cycle: Any, app: Any) -> None:
        Watched.called += 1
        super().start(cycle, app)

    def call_app(self) -> None:
        Watched.called += 1
        super().call_app()

    def take(self, exchange: Any) -> None:
        Watched.taken += 1
        super().take(exchange)

    def take_known(self, data: bytes) -> bool:
        is_known = super().take_known(data)
        Watched.known += is_known
        return is_known


@contextmanager
def receiving(
    url: str, environ: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> Iterator[int]:
    """A receiver that has some keys, under uvicorn with its options; yields its port."""
    keep(url, ADMIN, KEY, READER, NARROW, revoked(GONE), expired(LATE))
    tuning = Tuning(body_seconds=0.2)
    environ = {"FLEET_DATABASE_URL": url, "FLEET_MESSAGES_PER_MINUTE": "1000000", **environ}
    app = create_app(environ=environ, clock=Clock(), tuning=tuning)
    with serve(app, **{"http": Watched, **options}) as client:
        Watched.count_anew()
        yield client.base_url.port or 0


def post(
    content: object, *more: bytes, path: bytes = b"/heartbeat", token: str | None = TOKEN
) -> bytes:
    """A request with a body in JSON; `more` are further header lines, or others in their place."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = {
        b"host": b"Host: 127.0.0.1",
        b"content-type": b"Content-Type: application/json",
        b"content-length": b"Content-Length: %d" % len(body),
    }
    if token is not None:
        lines[b"authorization"] = b"Authorization: Bearer " + token.encode()
    lines |= {line.partition(b":")[0].lower(): line for line in more}
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", *lines.values(), b"", body])


def read_answer(raw: socket.socket) -> bytes:
    """The next answer on a connection: its head and its body."""
    (answer,) = read_answers(raw, 1)
    return answer


def read_answers(raw: socket.socket, count: int) -> list[bytes]:
    """The next answers on a connection, after which nothing comes."""
    received = b""
    answers: list[bytes] = []
    while len(answers) < count:
        piece = raw.recv(10_000)
        assert piece, received
        received += piece
        while found := _ANSWER.match(received):
            end = found.end() + int(found[1])
            if len(received) < end:
                break
            answers.append(received[:end])
            received = received[end:]
    assert not received
    return answers


_ANSWER = re.compile(rb"HTTP/1.1 .*?content-length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n", re.DOTALL)


def settle(port: int) -> None:
    """Wait until the server has read what was sent to it before, by another request."""
    called = Watched.called
    assert httpx.get(f"http://127.0.0.1:{port}/health/live", **DIRECT).is_success
    Watched.called = called


def told(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The status line, the sorted header lines and the body, without what differs each time."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, sorted(x for x in lines if not x.startswith((b"date:", b"x-request-id:"))), body
