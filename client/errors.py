"""
The errors of the client: each class with its meaning and its `code`.

    contract.FleetError
    └── ClientError         root of the client's errors                 client_error
        ├── InvalidSetting  an argument that cannot work                invalid_setting
        │   ├── InvalidUrl      a base URL that is no http(s) URL       invalid_url
        │   ├── InvalidToken    a token that no header can carry        invalid_token
        │   └── InvalidCertificates  an unusable file of authorities    invalid_certificates
        └── CallFailed      a request without a usable answer           call_failed
            ├── Unreachable     no connection, or it broke              unreachable
            │   └── Untrusted       the certificate is not trusted      untrusted
            ├── TimedOut        no complete answer in time              timed_out
            ├── Refused         an HTTP error status or a redirect      the receiver's code,
            │                                                           or http_error
            └── BadAnswer       an answer that breaks the protocol      bad_answer

The text of each error is a sentence for an operator that fits on one log line.
No error shows the token, or user and password of the URL; they are masked even in text that the
error quotes from a receiver. No error has a `__cause__`, because the tracebacks of httpx's errors
refer to the request, and so to the token.
"""

from collections.abc import Iterable

from client.foreign import one_line
from contract import FleetError, Problem

__all__ = [
    "BadAnswer",
    "CallFailed",
    "ClientError",
    "InvalidCertificates",
    "InvalidSetting",
    "InvalidToken",
    "InvalidUrl",
    "Refused",
    "TimedOut",
    "Unreachable",
    "Untrusted",
]

_BUSY = {408, 429}


class ClientError(FleetError):
    """The base class of every error that the client raises on purpose."""

    code = "client_error"


class InvalidSetting(ClientError, ValueError):
    """The client was created with an invalid argument."""

    code = "invalid_setting"


class InvalidUrl(InvalidSetting):
    """The base URL is not a usable http or https URL."""

    code = "invalid_url"


class InvalidToken(InvalidSetting):
    """The token has characters that an HTTP header cannot carry."""

    code = "invalid_token"


class InvalidCertificates(InvalidSetting):
    """
    A file of certificate authorities to trust holds no authority, or cannot be read.

    Attributes:
        path: Path of the file.
    """

    code = "invalid_certificates"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(
            f"The authorities in the file {_clause(path)!r} cannot be used: {_clause(reason)}."
        )


class CallFailed(ClientError):
    """
    A request brought no usable answer; the receiver may or may not have processed it.

    Attributes:
        url: The receiver's base URL, without user and password.
        temporary: Whether a retry of the same request may succeed.
    """

    code = "call_failed"
    temporary = True

    def __init__(self, url: str, sentence: str) -> None:
        self.url = url
        super().__init__(sentence)


class Unreachable(CallFailed):
    """No connection could be made, or it broke before the answer was complete."""

    code = "unreachable"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, f"The receiver at {url} cannot be reached: {_clause(reason)}.")


class Untrusted(Unreachable):
    """
    The receiver's certificate is not trusted, so the client sent nothing.

    The error is temporary, because the certificate may be renewed.
    """

    code = "untrusted"

    def __init__(self, url: str, reason: str) -> None:
        CallFailed.__init__(
            self,
            url,
            f"The certificate of the receiver at {url} is not trusted: {_clause(reason)}.",
        )


class TimedOut(CallFailed):
    """
    The answer was not complete within the timeout.

    Attributes:
        timeout_seconds: How long the client waited.
    """

    code = "timed_out"

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        super().__init__(
            url, f"The receiver at {url} did not answer within {float(timeout_seconds)} s."
        )


class Refused(CallFailed):
    """
    The receiver answered with an error status, or with a redirect, which is not followed.

    Attributes:
        status: HTTP status of the answer. If only one heartbeat of a batch was refused, it is the
            status that this heartbeat would have got alone: 500 or 503 if the receiver could not
            write it, and otherwise 422.
        code: `code` of the RFC 9457 problem document; `http_error` if the answer has no code.
        detail: `detail` of the problem document, or its `title`; may be empty.
        errors: The problems that the receiver has found in the message; may be empty.
        temporary: Whether a retry may succeed: true if `status` is 408, 429 or 5xx.
        retry_after_seconds: `Retry-After` of the answer in seconds; None if the answer does not
            have this header, or if it cannot be read.
    """

    def __init__(  # noqa: PLR0913 - all but one by name, all but two optional
        self,
        url: str,
        *,
        status: int,
        code: str = "http_error",
        detail: str = "",
        errors: Iterable[Problem] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.temporary = status in _BUSY or status >= 500
        self.retry_after_seconds = retry_after_seconds
        super().__init__(url, self._sentence(url))

    def _sentence(self, url: str) -> str:
        # A receiver may repeat the errors in its detail.
        unsaid = [str(error) for error in self.errors if str(error) not in self.detail]
        because = _clause("; ".join(_clause(part) for part in [self.detail, *unsaid] if part))
        refusal = f"The receiver at {url} refused with {self.status} ({_clause(self.code)})"
        return f"{refusal}: {because}." if because else f"{refusal}."


class BadAnswer(CallFailed):
    """The answer violates HTTP, or is not what a receiver promises to answer."""

    code = "bad_answer"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            url, f"The receiver at {url} gave an answer that makes no sense: {_clause(reason)}."
        )


def _clause(text: str) -> str:
    """Put text from elsewhere on one line without its full stop, to make it part of a sentence."""
    return one_line(text).rstrip(".")
