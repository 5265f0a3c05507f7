"""
An HTTP protocol for uvicorn that limits slow and oversized clients.

The class extends the protocol of uvicorn that uses httptools. That protocol has no timeout for the
headers of a request and no limit on their size, and it sends chunks to clients of HTTP/1.0, which
do not know them. Nearly all requests arrive in a single read, for which `Careful` does hardly any
work. The module needs a Unix, because it reads the limit of file descriptors.
"""

import sys
from asyncio import Transport
from collections.abc import Callable
from functools import cache
from heapq import nsmallest
from operator import attrgetter
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any, ClassVar
from weakref import WeakSet

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from receiver.connections.posts import TakesPosts
from receiver.domain.errors import Refusal
from receiver.web.headers import SECURITY_HEADERS
from receiver.web.problems import problem

__all__ = ["Careful", "max_connections"]

_CHECKS_PER_TIMEOUT = 8
"""How many times within `head_timeout_seconds` all connections are checked."""


@cache
def max_connections() -> int:
    """
    How many HTTP connections a process accepts at the same time.

    That is three quarters of the limit of file descriptors, but at most 10,000. The other
    descriptors are for files and for connections to the database.
    """
    descriptors, _ = getrlimit(RLIMIT_NOFILE)
    if descriptors == RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, descriptors * 3 // 4)


class Careful(TakesPosts):
    """
    An HTTP connection that is closed when its client is too slow or sends too much.

    Attributes:
        max_head_bytes: How many bytes the request line and headers of a request may have.
        max_headers: How many headers a request may have, including trailers after its body.
        max_body_bytes: How many bytes of a body may arrive, including the framing of chunks.
        head_timeout_seconds: How long the request line and headers may take to arrive. The time
            begins with the first byte of the request; for the first request, with the connection.
            A connection may be closed up to an eighth of this time later.
        write_timeout_seconds: How long a client may read nothing of an answer that is being sent.
        timeout_keep_alive: How long a connection may be idle after an answer, in seconds. It may be
            closed some seconds later.
        max_connections: Returns how many connections a process may have. When there are more, some
            of those that are idle are closed: those that have been so for longest.
    """

    max_head_bytes: ClassVar[int] = 64 * 1024
    max_headers: ClassVar[int] = 100
    # A batch of 1 MiB that is sent in chunks of one byte takes 6 MiB.
    max_body_bytes: ClassVar[int] = 8 * 1024 * 1024
    head_timeout_seconds: ClassVar[float] = 10.0
    write_timeout_seconds: ClassVar[float] = 30.0
    max_connections: ClassVar[Callable[[], int]] = staticmethod(max_connections)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bytes = 0
        """Bytes received of the current request, except for the read in which it began."""
        self._waiting_since: float | None = None
        """Loop time at which waiting for bytes of a request began; None if none are awaited."""
        self._counted_scope: object = None
        """The scope of the request whose bytes `_bytes` counts."""
        self._head_refusal: Refusal | None = None
        self._data = self._again = b""
        """`_data`: what the parser reads now; `_again`: what it reads next, before new bytes."""
        self._asks_for_upgrade = False
        """Whether the current request asks for another protocol, such as HTTP/2."""
        self._unsent_bytes = 0
        """Size of the write buffer at the last check."""
        self._drained_at = 0.0
        """Loop time of the last check at which the write buffer was empty or had shrunk."""
        self._answered_at: float | None = None
        """Loop time of the last answer; None if a request has begun to arrive since then."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # uvicorn's
        super().connection_made(transport)
        self._waiting_since = self._drained_at = self.loop.time()
        if self.server_state not in _checked_servers:
            _checked_servers.add(self.server_state)
            self._schedule_checks()
        if len(self.connections) > type(self).max_connections():
            self._close_idle_connections()

    def data_received(self, data: bytes) -> None:
        self._answered_at = None
        begins = self.is_between_requests
        if begins and self.take_known(data):
            self._waiting_since = None
            return
        self._bytes += len(data)
        self._data = data
        _data_received(self, data)
        while self._again:  # a loop, no recursion: one read may hold thousands of requests
            self._data, self._again = self._again, b""
            _data_received(self, self._data)
        self._data = b""
        cycle = self.cycle
        if (
            cycle is None
            or cycle.more_body
            or cycle.response_complete
            or cycle.scope is not self.scope
        ):
            self._check_incomplete_request()
        else:
            self._bytes = 0
            self._waiting_since = None
            if begins:
                self.remember(data)

    def on_headers_complete(self) -> None:
        if len(self.headers) > self.max_headers or (
            # A request that arrived in one short read is small: its size is not computed.
            (self._waiting_since is not None or self._bytes > self.max_head_bytes)
            and self._head_size() > self.max_head_bytes
        ):
            self._head_refusal = self._too_large()
            raise self._head_refusal  # the parser stops, and uvicorn calls `send_400_response`
        named = [value for name, value in self.headers if name == b"host"]
        if len(named) != 1 and self.parser.get_http_version() == "1.1":
            self._head_refusal = Refusal(400, "host_missing", _HOST_MISSING)
            raise self._head_refusal
        self._asks_for_upgrade = self.parser.should_upgrade()
        if self._asks_for_upgrade:
            if self.parser.get_method() == b"CONNECT":  # after its headers the parser stops, too
                self._head_refusal = Refusal(400, "malformed_request", _NO_PROXY)
                raise self._head_refusal
            return
        _on_headers_complete(self)
        # A copy, because httptools reports trailers as headers: the app must not see them.
        self.headers = self.headers[:]

    def call_app(self) -> None:
        super().call_app()
        if self.parser.get_http_version() in _WITHOUT_CHUNKS:
            _speak_without_chunks(self.cycle)

    def on_message_complete(self) -> None:
        if self._asks_for_upgrade:
            return
        if not self.parser.should_keep_alive():  # a trailer may say so, too: nothing more is read
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Do what uvicorn does, but without a timer for each answer, which takes 1 µs."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self.start(cycle, app)
        else:
            self._answered_at = self.loop.time()

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """
        Ignore the header Upgrade (RFC 9110, 7.8): parse the request again without it.

        uvicorn calls this method when the parser has stopped after the headers, because it expects
        another protocol to follow. So a new parser gets the headers again, without Upgrade.
        """
        stopped = sys.exc_info()[1]
        assert stopped is not None  # uvicorn calls this method while it handles the error
        kept = [(name, value) for name, value in self.headers if name not in _OF_AN_UPGRADE]
        if not self.parser.should_keep_alive():
            kept.append((b"connection", b"close"))
        version = self.parser.get_http_version().encode()
        begin = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)
        head = b"".join([begin, *(b"%s: %s\r\n" % header for header in kept), b"\r\n"])
        self._again = head + self._data[stopped.args[0] :]
        self.parser = HttpRequestParser(self)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._head_refusal or Refusal(400, "malformed_request", msg))

    def _check_incomplete_request(self) -> None:
        """
        Apply the limits to a request of which more bytes are to come.

        The request may have been answered before its body was complete.
        """
        if self._counted_scope is not self.scope:
            is_first = self._counted_scope is None
            if not is_first or self._waiting_since is None:
                self._waiting_since = self.loop.time()
            self._counted_scope, self._bytes = self.scope, 0
        cycle = self.cycle
        if self._is_reading_head():
            if self._bytes > self.max_head_bytes or len(self.headers) > self.max_headers:
                self._refuse(self._too_large())
            return
        if cycle is not None and not cycle.response_complete:
            self._waiting_since = None  # the app has a timeout of its own for bodies
        elif self._waiting_since is None:
            self._waiting_since = self.loop.time()
        if self._bytes > self.max_body_bytes or len(self.headers or ()) > self.max_headers:
            self.transport.close()

    def _is_reading_head(self) -> bool:
        """Whether a request has begun and its headers are incomplete."""
        scope = self.scope
        return scope is not None and (self.cycle is None or self.cycle.scope is not scope)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> Refusal:
        return Refusal(
            431,
            "headers_too_large",
            f"A request may have {self.max_headers} headers, and {self.max_head_bytes} bytes "
            "before its body.",
        )

    def _refuse(self, refused: Refusal) -> None:
        """Answer with a refusal, unless another answer is being sent, and close the connection."""
        if self.cycle is None or self.cycle.response_complete:
            answer = problem(refused)
            headers = [
                *self.server_state.default_headers,
                *answer.raw_headers,
                *SECURITY_HEADERS,
                (b"connection", b"close"),
            ]
            lines = [b"%s: %s\r\n" % header for header in headers]
            self.transport.write(
                b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", answer.body])
            )
        self.transport.close()

    def _schedule_checks(self) -> None:
        delay = self.head_timeout_seconds / _CHECKS_PER_TIMEOUT
        self.loop.call_later(delay, self._check_connections)

    def _check_connections(self) -> None:
        """Close those connections of this uvicorn server whose clients exceed a timeout."""
        now = self.loop.time()
        self.known_heads.forget()  # they are those of this server
        if self.connections:
            self._schedule_checks()
        else:
            _checked_servers.discard(self.server_state)
        for connection in self._careful_connections():
            connection._check_timeouts(now)  # noqa: SLF001 - it has the same class

    def _check_timeouts(self, now: float) -> None:
        self.call_app_if_slow(now)
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes == 0 or unsent_bytes < self._unsent_bytes:
            self._drained_at = now
        self._unsent_bytes = unsent_bytes
        if now - self._drained_at > self.write_timeout_seconds:
            self.transport.abort()
        elif self._answered_at is not None and now - self._answered_at > self.timeout_keep_alive:
            self.transport.close()
        elif (
            self._waiting_since is not None
            and now - self._waiting_since > self.head_timeout_seconds
            and not self.transport.is_closing()
        ):
            # A client that has sent nothing gets no 408: it would take the 408 for the answer
            # to its next request.
            if self._is_reading_head():
                self._refuse(
                    Refusal(
                        408,
                        "headers_too_slow",
                        f"The headers did not arrive within {self.head_timeout_seconds:g} seconds.",
                    )
                )
            self.transport.close()

    def _close_idle_connections(self) -> None:
        """If there are too many connections, close those that have been idle for longest."""
        connections = [
            each for each in self._careful_connections() if not each.transport.is_closing()
        ]
        if len(connections) <= type(self).max_connections():
            return
        idle = [each for each in connections if each.is_idle]
        # A hundredth of them at a time, so that not every new connection needs this scan of all.
        for each in nsmallest(len(idle) // 100 + 1, idle, key=attrgetter("idle_since")):
            each.transport.close()

    def _careful_connections(self) -> "list[Careful]":
        return [each for each in self.connections if isinstance(each, Careful)]

    @property
    def is_idle(self) -> bool:
        """Whether every request that is complete has been answered, and the answer was sent."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self.transport.get_write_buffer_size()

    @property
    def idle_since(self) -> float:
        """Loop time at which the connection became idle; to be read only if `is_idle` is true."""
        since = self._answered_at if self._waiting_since is None else self._waiting_since
        assert since is not None  # for a request, or since the answer to one
        return since


def _speak_without_chunks(cycle: RequestResponseCycle) -> None:
    """
    Keep uvicorn from sending chunks or `100 Continue`, which HTTP/1.0 does not have.

    The end of an answer without Content-Length is then the end of the connection (RFC 9112, 6.3).
    """
    is_unbounded = False

    async def send(message: Any) -> None:
        nonlocal is_unbounded
        if message["type"] == "http.response.start":
            # No `Connection: keep-alive`: uvicorn says that it closes.
            headers = [each for each in message["headers"] if each[0].lower() != b"connection"]
            message = {**message, "headers": headers}
            if all(name.lower() != b"content-length" for name, _ in headers):
                is_unbounded, cycle.chunked_encoding = True, False
        elif is_unbounded:
            # uvicorn checks how many bytes are sent, but the length of the answer is not known.
            cycle.expected_content_length = len(message.get("body", b""))
        await RequestResponseCycle.send(cycle, message)

    cycle.send = send  # type: ignore[method-assign]  # uvicorn creates the cycle itself
    cycle.keep_alive = cycle.waiting_for_100_continue = False


# These are called for each read, and `super()` would be slower.
_data_received = TakesPosts.data_received
_on_headers_complete = TakesPosts.on_headers_complete

_WITHOUT_CHUNKS = {"0.9", "1.0"}
# Not Connection: the gate recognises proxies by it, and without Upgrade it asks for nothing.
_OF_AN_UPGRADE = {b"upgrade", b"http2-settings"}
_HOST_MISSING = "A request of HTTP/1.1 has one header Host."
_NO_PROXY = "CONNECT is for a proxy, which this is not."

_MAX_CONNECTIONS = 10_000
_checked_servers: WeakSet[ServerState] = WeakSet()
"""The uvicorn servers of this process for which a timer checks the connections."""
