"""Test helper: a server on a real socket that sends any bytes, valid HTTP or not."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.parser import BytesParser

from attrs import define, field

__all__ = ["Evil", "answer", "evil_server", "say"]

Talk = Callable[[socket.socket], None]

_PATIENCE_SECONDS = 60.0


@define
class Evil:
    """
    A running malicious server.

    Attributes:
        url: Base URL.
        connections: Number of connections so far, also of those without a request.
        heard: The requests so far, each with head and body.
    """

    url: str
    connections: int = 0
    heard: list[bytes] = field(factory=list)


@contextmanager
def evil_server(
    talk: Talk, *, tls: ssl.SSLContext | None = None, listens: bool = True
) -> Iterator[Evil]:
    """
    Serve connections one after the other: read a request, call `talk(socket)`, and close.

    With `listens=False` it calls `talk` without reading a request.
    """
    over = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0.02)
        scheme = "http" if tls is None else "https"
        evil = Evil(f"{scheme}://127.0.0.1:{server.getsockname()[1]}")

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    line, _ = server.accept()
                    evil.connections += 1
                    line.settimeout(_PATIENCE_SECONDS)
                    # The client may close the connection at any time.
                    with line, suppress(OSError), _secured(line, tls) as secured:
                        if listens:
                            evil.heard.append(_request(secured))
                        talk(secured)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield evil
        finally:
            over.set()
            thread.join(_PATIENCE_SECONDS)
        assert not thread.is_alive(), "a connection is still open"


def say(*parts: bytes) -> Talk:
    """A `talk` that sends these bytes."""

    def talk(line: socket.socket) -> None:
        for part in parts:
            line.sendall(part)

    return talk


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of a valid HTTP answer with a status such as `200 OK`."""
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def _secured(line: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    return line.dup() if tls is None else tls.wrap_socket(line, server_side=True)


def _request(line: socket.socket) -> bytes:
    """Read a whole request, since closing with unread data would reset the connection."""
    with line.makefile("rb") as stream:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.readline() or _hung_up()
        fields = BytesParser().parsebytes(head.partition(b"\r\n")[2])
        return head + stream.read(int(fields.get("content-length", 0)))


def _hung_up() -> bytes:
    raise OSError("the other side has hung up")
