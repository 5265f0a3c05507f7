"""Test helper: a proxy between senders and a receiver that keeps what they send."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from attrs import define, field, frozen

__all__ = ["Sent", "Tap", "tapped"]


@frozen(kw_only=True)
class Sent:
    """
    A request of a sender.

    Attributes:
        path: `/register` or `/heartbeat`.
        message: Its decoded body.
        size_bytes: The size of the body.
    """

    path: str
    message: dict[str, Any]
    size_bytes: int


@define(kw_only=True)
class Tap:
    """
    A running proxy.

    Attributes:
        url: Its base URL, for senders.
        sent: What it has passed on so far, in the order of arrival.
    """

    url: str
    sent: list[Sent] = field(factory=list)

    def of(self, database: str) -> list[Sent]:
        return [each for each in self.sent if each.message["database"] == database]


@contextmanager
def tapped(receiver_url: str) -> Iterator[Tap]:
    """Pass each POST request on to the receiver, and its answer back."""
    with (
        httpx.Client(base_url=receiver_url, timeout=60, trust_env=False) as onward,
        ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server,
    ):
        tap = Tap(url=f"http://127.0.0.1:{server.server_port}")

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sent = Sent(path=self.path, message=json.loads(body), size_bytes=len(body))
                tap.sent.append(sent)
                answer = onward.post(self.path, content=body, headers=_kept(dict(self.headers)))
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *args: object) -> None:
                """Keep the log of http.server out of the test's output."""

        server.RequestHandlerClass = Handler
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield tap
        finally:
            server.shutdown()
            thread.join()


def _kept(headers: dict[str, str]) -> dict[str, str]:
    kept = {"authorization", "content-type"}
    return {name: value for name, value in headers.items() if name.lower() in kept}
