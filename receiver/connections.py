"""
Connections that cannot be had for nothing: `uvicorn receiver.app:app --http` takes `Careful`.

It is uvicorn's protocol on httptools, which waits for the end of a request for as long as a
client pleases, and keeps as much of it as that sends. A request that comes whole in one piece,
as nearly all do, pays for next to nothing of this. It needs a system that is a Unix.
"""

from asyncio import Transport
from collections.abc import Callable
from functools import cache
from heapq import nsmallest
from operator import attrgetter
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any, ClassVar
from weakref import WeakSet

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from receiver.domain.errors import Refusal
from receiver.web.headers import SECURITY_HEADERS
from receiver.web.problems import problem

__all__ = ["Careful", "room"]

_LOOKS = 8
"""How often it is looked after those who are waited for, until the first of them is late."""


@cache
def room() -> int:
    """How many connections a process has file descriptors for, beside its files and databases."""
    descriptors, _ = getrlimit(RLIMIT_NOFILE)
    return _MOST if descriptors == RLIM_INFINITY else min(_MOST, descriptors * 3 // 4)


class Careful(HttpToolsProtocol):
    """
    A connection that is closed when its client takes too long, or too much.

    Attributes:
        head_bytes: How long a request line and headers may be.
        most_headers: How many headers there may be, those after a body included.
        message_bytes: How much may be sent for one body, whatever is made of it.
        head_seconds: How long they may take, from the first byte of a request, or from the
            beginning of the connection; at most an eighth more.
        unread_seconds: How long a client may leave all that is sent to it.
        room: How many connections there may be in a process.
    """

    head_bytes: ClassVar[int] = 64 * 1024
    most_headers: ClassVar[int] = 100
    message_bytes: ClassVar[int] = 8 * 1024 * 1024  # a batch in the smallest of chunks
    head_seconds: ClassVar[float] = 10.0
    unread_seconds: ClassVar[float] = 30.0
    room: ClassVar[Callable[[], int]] = staticmethod(room)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bytes = 0
        """What came since a request was whole, but for the piece in which the next began."""
        self._since: float | None = None
        """Since when the client is waited for."""
        self._message: object = None
        """The scope of the request whose bytes are counted."""
        self._why: Refusal | None = None
        self._unread = 0
        self._read_at = 0.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # uvicorn's
        super().connection_made(transport)
        self._since = self._read_at = self.loop.time()
        if self.server_state not in _watched:
            _watched.add(self.server_state)
            self._look_later()
        if len(self.connections) > type(self).room():
            self._make_room()

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        _received(self, data)
        cycle = self.cycle
        if (
            cycle is None
            or cycle.more_body
            or cycle.response_complete
            or cycle.scope is not self.scope
        ):
            self._wait_for_more()
        else:
            self._bytes = 0
            self._since = None

    def on_headers_complete(self) -> None:
        if len(self.headers) > self.most_headers or (
            # It did not come in one short piece.
            (self._since is not None or self._bytes > self.head_bytes)
            and self._head_size() > self.head_bytes
        ):
            self._why = self._too_large()
            raise self._why  # and the parser stops, with a call of `send_400_response`
        _headers_complete(self)
        # What comes after a body is no header, though it looks like one.
        self.headers = self.headers[:]

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._why or Refusal(400, "malformed_request", msg))

    def _wait_for_more(self) -> None:
        """A request is not whole; or what comes is of none that is still to be answered."""
        if self._message is not self.scope:
            if self._message is not None or self._since is None:  # it is not the first
                self._since = self.loop.time()
            self._message, self._bytes = self.scope, 0
        cycle = self.cycle
        if self._is_in_head():
            if self._bytes > self.head_bytes or len(self.headers) > self.most_headers:
                self._refuse(self._too_large())
            return
        if cycle is not None and not cycle.response_complete:
            self._since = None  # the app waits for the body
        elif self._since is None:
            self._since = self.loop.time()
        if self._bytes > self.message_bytes or len(self.headers or ()) > self.most_headers:
            self.transport.close()

    def _is_in_head(self) -> bool:
        """Whether a request has begun whose headers are not complete."""
        scope = self.scope
        return scope is not None and (self.cycle is None or self.cycle.scope is not scope)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> Refusal:
        return Refusal(
            431,
            "headers_too_large",
            f"A request may have {self.most_headers} headers, and {self.head_bytes} bytes "
            "before its body.",
        )

    def _refuse(self, refused: Refusal) -> None:
        """Say why, unless another answer is under way; and hang up."""
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

    def _look_later(self) -> None:
        self.loop.call_later(self.head_seconds / _LOOKS, self._look)

    def _look(self) -> None:
        """Look after all connections of the server: one timer is enough for them."""
        now = self.loop.time()
        for each in self._all():
            each._hurry(now)  # noqa: SLF001 - it is another of the same
        if self.connections:
            self._look_later()
        else:
            _watched.discard(self.server_state)

    def _hurry(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread < self._unread:
            self._read_at = now
        self._unread = unread
        if now - self._read_at > self.unread_seconds:
            self.transport.abort()
        elif (
            self._since is not None
            and now - self._since > self.head_seconds
            and not self.transport.is_closing()
        ):
            if self._is_in_head():
                self._refuse(
                    Refusal(
                        408,
                        "headers_too_slow",
                        f"The headers did not arrive within {self.head_seconds:g} seconds.",
                    )
                )
            # Whoever has asked for nothing would take an answer for that to the next question.
            self.transport.close()

    def _make_room(self) -> None:
        """Hang up on some of those who are idle for longest, which the newest may be."""
        open_ones = [each for each in self._all() if not each.transport.is_closing()]
        if len(open_ones) <= type(self).room():
            return
        idle = [each for each in open_ones if each.is_idle]
        # More than one at a time: to find them takes a look at all.
        for each in nsmallest(len(idle) // 100 + 1, idle, key=attrgetter("idle_since")):
            each.transport.close()

    def _all(self) -> "list[Careful]":
        return [each for each in self.connections if isinstance(each, Careful)]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be answered."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self.transport.get_write_buffer_size()

    @property
    def idle_since(self) -> float:
        """Since when it is idle, in the time of its loop."""
        if self._since is not None:
            return self._since
        timer = self.timeout_keep_alive_task
        assert timer is not None  # as long as it is not waited for a request
        return timer.when() - self.timeout_keep_alive


# Python finds these faster than by `super()`.
_received = HttpToolsProtocol.data_received
_headers_complete = HttpToolsProtocol.on_headers_complete

_MOST = 10_000
_watched: WeakSet[ServerState] = WeakSet()
