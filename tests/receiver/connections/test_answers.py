"""How answers are written, and the internals of uvicorn that this relies on."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raw_http import LAST, Small, answered, connected, served, talk
from receiver.connections import Careful


def test_uvicorn_has_the_internals_that_the_protocol_uses() -> None:
    """Internals of uvicorn that the protocol relies on and that no other test covers."""
    made: list[tuple[Careful, Any]] = []

    class Made(Small):
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            made.append((self, self.cycle))

    with served(Made) as port:
        talk(port, LAST)

    ((protocol, cycle),) = made
    overridden: list[Callable[..., object]] = [
        HttpToolsProtocol.connection_made,
        HttpToolsProtocol.data_received,
        HttpToolsProtocol.on_headers_complete,
        HttpToolsProtocol.on_response_complete,
        HttpToolsProtocol.send_400_response,
    ]
    assert {name for each in overridden for name in [each.__name__]} <= {*vars(HttpToolsProtocol)}
    assert cycle.scope is protocol.scope
    assert protocol.scope["headers"] == protocol.headers
    assert {"more_body", "response_complete", "response_started", "expected_content_length"} <= {
        *vars(cycle)
    }
    assert {"url", "connections", "pipeline", "flow", "timeout_keep_alive"} <= {*vars(protocol)}


class Recorder(asyncio.Transport):
    """A transport that notes what it writes."""

    written: ClassVar[list[bytes]] = []

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattribute__(self, name: str) -> Any:
        own = name in {"_transport", "write", "written"}
        return super().__getattribute__(name) if own else getattr(self._transport, name)

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))
        self._transport.write(data)


class Recorded(Small):
    """The protocol, of which a `Recorder` notes what it writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(Recorder(transport))


@pytest.mark.parametrize(
    ("request_line", "pieces"),
    [
        (b"GET /echo HTTP/1.1", [b"200 OK...<0 host,connection>"]),
        (b"GET /echo HTTP/1.0", [b"200 OK...<0 host,connection>"]),
        (b"HEAD /echo HTTP/1.1", [b"200 OK..."]),
        (b"GET /stream HTTP/1.1", [b"200 OK...", b"4", b"", b"3", b"0"]),
        (b"GET /stream HTTP/1.0", [b"200 OK...", b"one,", b"", b"two", b""]),
        (b"GET /broken HTTP/1.1", [b"200 OK..."]),
    ],
)
def test_head_of_an_answer_is_written_with_its_body(
    request_line: bytes, pieces: list[bytes]
) -> None:
    Recorder.written.clear()
    with served(Recorded) as port:
        answer = talk(port, request_line + b"\r\nHost: fleet\r\nConnection: close\r\n\r\n")

    assert answer == b"".join(Recorder.written)
    assert pieces == [shortened(each) for each in Recorder.written]


def shortened(piece: bytes) -> bytes:
    """A head as its status, dots and the body behind it; of a chunk the length."""
    if not piece.startswith(b"HTTP/1.1 "):
        return piece.partition(b"\r\n")[0]
    head, _, body = piece.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ") + b"..." + body


def test_100_continue_is_written_at_once(port: int) -> None:
    head = (
        b"POST /echo HTTP/1.1\r\nHost: fleet\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    with connected(port) as raw:
        raw.sendall(head)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == raw.recv(1000)
        raw.sendall(b"hello")
        assert answered(raw).startswith(b"HTTP/1.1 200 ")
