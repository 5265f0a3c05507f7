"""A fake receiver on a real socket, whose answers a test chooses."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from attrs import frozen

OK = (200, b'{"status": "ok"}')
CREATED = (201, b'{"status": "registered"}')


@frozen(kw_only=True)
class Heard:
    """
    One request that the fake receiver got.

    Attributes:
        call: Method and path, such as `POST /register`.
        headers: Header values by name in lower case.
        message: The decoded JSON body; None for an empty body.
    """

    call: str
    headers: dict
    message: dict | None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Ignore clients that have closed the connection, which tests of timeouts do."""


class Receiver:
    """
    A fake receiver that gives its `answers`, pairs of HTTP status and body, one after the other.

    It repeats the last answer. For a status of None it sends the body alone, which is no valid
    HTTP. While the event `answering` is not set, it delays its answers. `heard` lists the
    requests so far.
    """

    def __init__(self, *answers):
        self.heard = []
        self.answering = threading.Event()
        self.answering.set()
        self._answers = list(answers) or [OK]
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count):
        """Wait until there were `count` requests; returns False if not within 20 seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.heard) >= count, timeout=20)

    def _handler(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                receiver._hear(self)
                receiver.answering.wait()
                receiver._answer(self)

            do_GET = do_POST

            def log_message(self, *args):
                """Keep the log of http.server out of the test's output."""

        return Handler

    def _hear(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        heard = Heard(
            call=f"{handler.command} {handler.path}",
            headers={name.lower(): value for name, value in handler.headers.items()},
            message=json.loads(body) if body else None,
        )
        with self._changed:
            self.heard.append(heard)
            self._changed.notify_all()

    def _answer(self, handler):
        status, body = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if status is None:
            handler.wfile.write(body)
            return
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
