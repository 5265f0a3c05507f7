"""
One HTTP request and its answer, within a total timeout.

The timeouts of httpx are for each read and write, so a server that sends its answer one byte
at a time, or a DNS resolver that hangs, could block a caller for ever. This module runs each
request in a thread. The caller waits for the thread at most until the timeout, and then shuts
the connection down, which also ends the thread.

The traceback of an error of httpx refers to the request, and so to the token. Therefore this
module raises its own errors, without a `__cause__`.
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

# Loggers that write text chosen by a receiver, at INFO or DEBUG.
_LOGGERS = ("httpx", *(f"httpcore.{each}" for each in ("connection", "http11", "proxy", "socks")))

# Plain words for the OpenSSL verify codes whose own messages only experts understand.
_VERIFY_REASONS = {
    10: "it has expired",
    18: "it is self-signed",
    19: "the authority that issued it is not known here",
    20: "the authority that issued it is not known here",
}


@frozen(kw_only=True)
class Answer:
    """
    A receiver's answer, in which secrets are masked.

    Attributes:
        status: HTTP status.
        headers: The values of the headers by their names; upper and lower case in a name are the
            same.
        body: The body as it was sent, not decompressed, cut off after 1 MiB.
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
    Send a request, wait for the complete answer and return it, whatever its HTTP status.

    Args:
        http: Sends the request.
        request: The request.
        receiver: The receiver's URL in the form in which errors show it.
        timeout_seconds: How long everything may take, from the DNS look-up to the last byte of
            the answer.
        mask: Hides secrets in the answer, in errors and in logs.

    Raises TimedOut; Unreachable, also if the connection breaks; Untrusted if the certificate is not
    trusted; BadAnswer for an answer that violates HTTP; or InvalidUrl for a URL that httpx refuses.
    """
    connection = _Connection()
    request.extensions["trace"] = connection.trace
    try:
        return _in_thread(http, request, mask).result(timeout_seconds)
    except futures.TimeoutError:
        failure: ClientError = TimedOut(receiver, timeout_seconds)
    except _HTTPX_ERRORS as error:
        failure = wrapped(error, receiver=receiver, timeout_seconds=timeout_seconds, mask=mask)
    finally:
        connection.shut_down()
    raise failure


def wrapped(error: Exception, *, receiver: str, timeout_seconds: float, mask: Mask) -> ClientError:
    """
    Return the ClientError to raise in place of an error of httpx, ssl or the operating system.

    Args:
        error: The error of a request.
        receiver: The receiver's URL in the form in which errors show it.
        timeout_seconds: The timeout of the request, which a TimedOut tells.
        mask: Hides secrets in the text of the error.
    """
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(receiver, timeout_seconds)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return InvalidUrl(f"There can be no receiver at {receiver}.")
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            why = _VERIFY_REASONS.get(each.verify_code, each.verify_message)
            return Untrusted(receiver, mask(why))
        if isinstance(each, ssl.SSLError):
            why = (each.reason or str(each)).replace("_", " ").lower()
            return Unreachable(receiver, f"no TLS connection can be made, {mask(why)}")
    kind = BadAnswer if isinstance(error, _PROTOCOL_ERRORS) else Unreachable
    return kind(receiver, mask(str(error)) or type(error).__name__)


def mask_logs() -> None:
    """
    From now on, mask secrets in the log records that httpx writes about requests of `ask`.

    Each record is masked by the `mask` of its request. A second call changes nothing.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_masking_filter)


class _MaskingFilter(logging.Filter):
    """
    Masks secrets in the log records of threads of this module, and puts each on one line.

    Attributes:
        current: Thread-local; its `mask` is the mask of the thread's request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        mask = getattr(self.current, "mask", None)
        if mask is not None:
            record.msg, record.args = one_line(mask(record.getMessage())), ()
        return True


_masking_filter = _MaskingFilter()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, the error that caused it (`__cause__` or `__context__`), and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class _Connection:
    """The connections that httpcore opens for one request; another thread can shut them down."""

    def __init__(self) -> None:
        self._streams: list[Any] = []
        self._is_shut_down = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember each connection that httpcore opens; its `trace` extension calls this."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._streams.append(info["return_value"])
            if self._is_shut_down:
                self.shut_down()

    def shut_down(self) -> None:
        """
        Shut the connections down, also those that httpcore opens later.

        The data that has arrived could still be read after that. It may be megabytes of interim
        responses (1xx), which take seconds to parse. So reading from the connections fails, too.
        """
        self._is_shut_down = True
        for each in tuple(self._streams):
            each.read = _refuse_to_read
            with contextlib.suppress(OSError):
                # `SSLSocket.shutdown` is not safe while another thread uses the socket.
                socket.socket.shutdown(each.get_extra_info("socket"), socket.SHUT_RDWR)


def _refuse_to_read(*_: Any, **__: Any) -> bytes:
    raise OSError("the connection was shut down")


def _in_thread(http: httpx.Client, request: httpx.Request, mask: Mask) -> futures.Future[Answer]:
    future: futures.Future[Answer] = futures.Future()
    # A daemon thread: a DNS resolver that hangs must not keep the process from exiting.
    arguments = (future, http, request, mask)
    threading.Thread(target=_answer_into, args=arguments, daemon=True).start()
    return future


def _answer_into(
    future: futures.Future[Answer], http: httpx.Client, request: httpx.Request, mask: Mask
) -> None:
    _masking_filter.current.mask = mask
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
    # A test's transport may have read the body already.
    chunks = [response.content] if response.is_stream_consumed else response.iter_raw()
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) >= ANSWER_LIMIT_BYTES:
            break
    return bytes(body[:ANSWER_LIMIT_BYTES])


_PROTOCOL_ERRORS = (
    httpx.CookieConflict,
    httpx.DecodingError,
    httpx.HTTPStatusError,
    httpx.ProtocolError,
    httpx.TooManyRedirects,
)

# Python raises UnicodeError for a host name that is longer than DNS allows.
_HTTPX_ERRORS = (
    httpx.CookieConflict,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    OSError,
    UnicodeError,
)
