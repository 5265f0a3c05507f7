"""Test helper: real places to which messages of alerts are sent."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from attrs import field, frozen
from standardwebhooks import Webhook

from messages import Json
from ports import free_port
from servers import PATIENCE_SECONDS

__all__ = ["HttpSink", "Request", "SmtpSink", "closed_port", "http_sink", "smtp_sink"]


@frozen(kw_only=True)
class Request:
    """
    A request that was received.

    Attributes:
        method: The method.
        path: The path, with the query.
        headers: The headers, whose names are in lower case.
        body: The body.
        at: When it was received, in seconds of a monotonic clock.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(factory=time.monotonic)

    @property
    def json(self) -> Json:
        """The body, decoded."""
        found: Json = json.loads(self.body)
        return found

    def verified(self, secret: str) -> Json:
        """The body, decoded by a library that checks the signature of a webhook."""
        found: Json = Webhook(secret).verify(self.body, dict(self.headers))
        return found


Answer = Callable[[Request], tuple[int, Mapping[str, str]]]
"""A function that returns the status and the headers with which a request is answered."""


class HttpSink:
    """
    A web server that keeps what it receives.

    Attributes:
        url: Its URL.
        received: The requests.
        answer: How requests are answered; 200 at first.
    """

    def __init__(self) -> None:
        self.received: list[Request] = []
        self.answer: Answer = lambda _: (200, {})
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(method=self.command, path=self.path, headers=headers, body=body)
                answer = sink.answer  # before a test that sees the request can change it
                sink.received.append(request)
                status, more = answer(request)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - http.server calls it

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def hang(self) -> threading.Event:
        """From now on, answer no request before the event that is returned is set."""
        is_over = threading.Event()

        def wait(_: Request) -> tuple[int, Mapping[str, str]]:
            is_over.wait()
            return 200, {}

        self.answer = wait
        return is_over

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def http_sink() -> Iterator[HttpSink]:
    sink = HttpSink()
    try:
        yield sink
    finally:
        sink.close()


class SmtpSink:
    """
    A mail server that keeps what it receives.

    Attributes:
        received: The e-mails.
        port: Its port at 127.0.0.1.
        refused: The recipients that it does not know.
    """

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.port = free_port()
        self.refused: set[str] = set()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it
        self.received.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@contextmanager
def smtp_sink() -> Iterator[SmtpSink]:
    sink = SmtpSink()
    controller = Controller(
        sink, hostname="127.0.0.1", port=sink.port, ready_timeout=PATIENCE_SECONDS
    )
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()


def closed_port() -> int:
    """A port of this machine at which nobody listens, and nobody will."""
    return free_port()
