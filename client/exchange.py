"""
One question, one answer, in a bounded time.

httpx bounds each single read and write, so a server that drips its answer, or a
resolver that hangs, could hold a caller for ever. Here the exchange runs in a
thread of its own; the caller waits as long as it said, then cuts the connection,
which ends the thread too.
"""

import contextlib
import socket
from collections.abc import Mapping
from concurrent import futures
from threading import Thread
from typing import Any

import httpx
from attrs import frozen

from client.errors import BadAnswer, ClientError, InvalidUrl, TimedOut, Unreachable

__all__ = ["ANSWER_LIMIT_BYTES", "Answer", "ask", "wrapped"]

ANSWER_LIMIT_BYTES = 1024 * 1024


@frozen(kw_only=True)
class Answer:
    """
    What a receiver answered.

    Attributes:
        status: The HTTP status.
        headers: Case does not matter.
        body: As sent, nothing unpacked, cut off at 1 MiB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    http: httpx.Client, request: httpx.Request, *, receiver: str, timeout_seconds: float
) -> Answer:
    """
    Send a request, and wait for the whole answer no longer than the timeout.

    `receiver` is the URL that errors show.

    Raises Unreachable, TimedOut or BadAnswer. Any HTTP status is an answer.
    """
    line = _Line()
    request.extensions["trace"] = line.trace
    try:
        return _in_thread(http, request).result(timeout_seconds)
    except futures.TimeoutError as error:
        raise TimedOut(receiver, timeout_seconds) from error
    except _FOREIGN as error:
        raise wrapped(error, receiver=receiver, timeout_seconds=timeout_seconds) from error
    finally:
        line.cut()


def wrapped(error: Exception, *, receiver: str, timeout_seconds: float) -> ClientError:
    """The error of ours that says what one of httpx or of the system means."""
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(receiver, timeout_seconds)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return InvalidUrl(f"There can be no receiver at {receiver}.")
    kind = BadAnswer if isinstance(error, _NONSENSE) else Unreachable
    return kind(receiver, str(error) or type(error).__name__)


class _Line:
    """The connection of one exchange, which any thread can cut."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of what httpx's transport reports that it opened."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._sockets.append(info["return_value"].get_extra_info("socket"))
            if self._is_cut:
                self.cut()

    def cut(self) -> None:
        """End the connection, now or as soon as there is one."""
        self._is_cut = True
        for each in tuple(self._sockets):
            with contextlib.suppress(OSError):
                # Not a TLS socket's own shutdown, which is not for two threads.
                socket.socket.shutdown(each, socket.SHUT_RDWR)


def _in_thread(http: httpx.Client, request: httpx.Request) -> futures.Future[Answer]:
    future: futures.Future[Answer] = futures.Future()
    # A daemon: a resolver that hangs must not keep a process from ending.
    Thread(target=_answer_into, args=(future, http, request), daemon=True).start()
    return future


def _answer_into(
    future: futures.Future[Answer], http: httpx.Client, request: httpx.Request
) -> None:
    try:
        future.set_result(_answer(http, request))
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        future.set_exception(error)


def _answer(http: httpx.Client, request: httpx.Request) -> Answer:
    with contextlib.closing(http.send(request, stream=True)) as response:
        return Answer(status=response.status_code, headers=response.headers, body=_body(response))


def _body(response: httpx.Response) -> bytes:
    # A transport without a network may have read everything by now.
    chunks = [response.content] if response.is_stream_consumed else response.iter_raw()
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) >= ANSWER_LIMIT_BYTES:
            break
    return bytes(body[:ANSWER_LIMIT_BYTES])


_NONSENSE = (
    httpx.CookieConflict,
    httpx.DecodingError,
    httpx.HTTPStatusError,
    httpx.ProtocolError,
    httpx.TooManyRedirects,
)

# UnicodeError: what a name longer than DNS allows ends in.
_FOREIGN = (
    httpx.CookieConflict,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    OSError,
    UnicodeError,
)
