"""
One question, one answer, in a bounded time.

httpx bounds each single read and write, so a server that drips its answer, or a
resolver that hangs, could hold a caller for ever. Here the exchange runs in a
thread of its own; the caller waits as long as it said, then cuts the connection,
which ends the thread too.

What httpx raises holds the request in its frames, and so the token. Errors of ours are
raised without it as their cause.
"""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

import httpx
from attrs import frozen

from client.errors import BadAnswer, ClientError, InvalidUrl, TimedOut, Unreachable, Untrusted
from client.foreign import Mask, one_line

__all__ = ["ANSWER_LIMIT_BYTES", "Answer", "ask", "mask_logs", "wrapped"]

ANSWER_LIMIT_BYTES = 1024 * 1024

# What logs, at INFO or DEBUG, words that a receiver chose.
_LOGGERS = ("httpx", *(f"httpcore.{each}" for each in ("connection", "http11", "proxy", "socks")))

# OpenSSL's numbers for what is wrong with a certificate, where its words are for experts.
_CERTIFICATE = {
    10: "it has expired",
    18: "it is self-signed",
    19: "the authority that issued it is not known here",
    20: "the authority that issued it is not known here",
}


@frozen(kw_only=True)
class Answer:
    """
    What a receiver answered.

    Attributes:
        status: The HTTP status.
        headers: Case does not matter.
        body: As sent, nothing unpacked, cut off at 1 MiB.

    The values and the body are masked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    http: httpx.Client,
    request: httpx.Request,
    *,
    receiver: str,
    timeout_seconds: float,
    mask: Mask,
) -> Answer:
    """
    Send a request, and wait for the whole answer no longer than the timeout.

    `receiver` is the URL that errors show; `mask` hides secrets that the answer quotes.

    Raises Unreachable, TimedOut or BadAnswer. Any HTTP status is an answer.
    """
    line = _Line()
    request.extensions["trace"] = line.trace
    try:
        return _in_thread(http, request, mask).result(timeout_seconds)
    except futures.TimeoutError:
        failure: ClientError = TimedOut(receiver, timeout_seconds)
    except _FOREIGN as error:
        failure = wrapped(error, receiver=receiver, timeout_seconds=timeout_seconds, mask=mask)
    finally:
        line.cut()
    raise failure


def wrapped(error: Exception, *, receiver: str, timeout_seconds: float, mask: Mask) -> ClientError:
    """The error of ours that says what one of httpx or of the system means."""
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(receiver, timeout_seconds)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return InvalidUrl(f"There can be no receiver at {receiver}.")
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            why = _CERTIFICATE.get(each.verify_code, each.verify_message)
            return Untrusted(receiver, mask(why))
        if isinstance(each, ssl.SSLError):
            why = (each.reason or str(each)).replace("_", " ").lower()
            return Unreachable(receiver, f"no TLS connection can be made, {mask(why)}")
    kind = BadAnswer if isinstance(error, _NONSENSE) else Unreachable
    return kind(receiver, mask(str(error)) or type(error).__name__)


def mask_logs() -> None:
    """From now on, mask what httpx logs of exchanges of ours, and of no others."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_discretion)


class _Discretion(logging.Filter):
    """Hides what the mask of an exchange hides, and keeps each record on one line."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        mask = getattr(self.here, "mask", None)
        if mask is not None:
            record.msg, record.args = one_line(mask(record.getMessage())), ()
        return True


_discretion = _Discretion()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what has led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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


def _in_thread(http: httpx.Client, request: httpx.Request, mask: Mask) -> futures.Future[Answer]:
    future: futures.Future[Answer] = futures.Future()
    # A daemon: a resolver that hangs must not keep a process from ending.
    arguments = (future, http, request, mask)
    threading.Thread(target=_answer_into, args=arguments, daemon=True).start()
    return future


def _answer_into(
    future: futures.Future[Answer], http: httpx.Client, request: httpx.Request, mask: Mask
) -> None:
    _discretion.here.mask = mask
    try:
        future.set_result(_answer(http, request, mask))
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        future.set_exception(error)


def _answer(http: httpx.Client, request: httpx.Request, mask: Mask) -> Answer:
    with contextlib.closing(http.send(request, stream=True)) as response:
        return Answer(
            status=response.status_code,
            headers=httpx.Headers([(k, mask.data(v)) for k, v in response.headers.raw]),
            body=mask.data(_body(response)),
        )


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
