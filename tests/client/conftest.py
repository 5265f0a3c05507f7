"""A minimal receiver on a real socket, which accepts every message."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Heard = dict[str, Any]
SILENT_UNTIL = "2026-01-31T12:30:00Z"


@pytest.fixture
def heard() -> list[Heard]:
    """The requests that the receiver got: method, path, headers by lower-case name, and body."""
    return []


@pytest.fixture
def receiver(heard: list[Heard]) -> Iterator[str]:
    """The URL of the receiver."""
    with serve(heard) as url:
        yield url


@contextmanager
def serve(heard: list[Heard]) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), handler(heard))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Server(ThreadingHTTPServer):
    """A server that may be slow to accept many connections which are made at the same time."""

    request_queue_size = 128


def handler(heard: list[Heard]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.hear(body)
            answer(self, *reply(self.path, body))

        def do_GET(self) -> None:
            self.hear(None)
            answer(self, 200, {"status": "healthy", "server_count": 1})

        def hear(self, body: Any) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard.append(
                {"method": self.command, "path": self.path, "headers": headers, "body": body}
            )

        def log_message(self, *_: object) -> None:
            """Keep the log of http.server out of the test's output."""

    return Handler


def reply(path: str, body: Any) -> tuple[int, Any]:
    if path.endswith("/register"):
        return 201, {"status": "registered", "server_id": body["server_id"]}
    if "/silence?" in path:
        return 201, {"id": "abcdefghij", "server_id": "acme_web-1", "ends_at": SILENT_UNTIL}
    if path.endswith("/heartbeats"):
        return 200, {"accepted": len(body), "rejected": 0, "results": list(map(counted, body))}
    return 200, counted(body)


def counted(beat: Any) -> Any:
    return {"status": "ok", "server_id": beat["server_id"], "heartbeat_count": 7}


def answer(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    content = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
