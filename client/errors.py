"""
What can go wrong when a server phones home.

    contract.FleetError
    └── ClientError         the root of all of these                    client_error
        ├── InvalidSetting  the client was made with a useless value    invalid_setting
        │   ├── InvalidUrl      a base URL that leads nowhere           invalid_url
        │   ├── InvalidToken    a token that no header can carry        invalid_token
        │   └── InvalidCertificates  a file that holds no authority     invalid_certificates
        └── CallFailed      the message may not have arrived            call_failed
            ├── Unreachable     no connection, or it broke              unreachable
            │   └── Untrusted       it may be anybody: its certificate  untrusted
            ├── TimedOut        no whole answer in time                 timed_out
            ├── Refused         an answer that says no                  the receiver's code,
            │                                                           or http_error
            └── BadAnswer       an answer that makes no sense           bad_answer

Each reads as a sentence for an operator, on one line of a log. None shows the token, nor
a name or a password that stood in the URL; what others wrote is searched for them. None has
a cause: an error of httpx holds the request, and the token with it.
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
    """Anything the client raises on purpose."""

    code = "client_error"


class InvalidSetting(ClientError, ValueError):
    """The client was made with a value that cannot work."""

    code = "invalid_setting"


class InvalidUrl(InvalidSetting):
    """The base URL is not one of an http or https server."""

    code = "invalid_url"


class InvalidToken(InvalidSetting):
    """The token holds what an HTTP header cannot carry."""

    code = "invalid_token"


class InvalidCertificates(InvalidSetting):
    """
    The file that should hold the authorities to trust does not, or cannot be read.

    Attributes:
        path: The file.
    """

    code = "invalid_certificates"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(
            f"The authorities in the file {_clause(path)!r} cannot be used: {_clause(reason)}."
        )


class CallFailed(ClientError):
    """
    A call that brought no usable answer; the receiver may or may not have heard it.

    Attributes:
        url: The receiver's base URL, without a name or a password.
        temporary: Whether the same call may succeed later.
    """

    code = "call_failed"
    temporary = True

    def __init__(self, url: str, sentence: str) -> None:
        self.url = url
        super().__init__(sentence)


class Unreachable(CallFailed):
    """There was no connection, or it broke before the answer was complete."""

    code = "unreachable"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, f"The receiver at {url} cannot be reached: {_clause(reason)}.")


class Untrusted(Unreachable):
    """
    Nothing was sent, for whoever answered could not prove to be the receiver.

    It may be in order later: certificates are renewed.
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
    The answer was not complete in time.

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
    The receiver answered with an error, or with a redirect, which is not followed.

    Attributes:
        status: The HTTP status.
        code: From the problem document, or `http_error` when there is none.
        detail: The receiver's words; may be empty.
        errors: What is wrong with the message, item by item; may be empty.
        temporary: True for 408, 429 and 5xx.
        retry_after_seconds: How long the receiver asks to be left alone, or None.
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
        # The detail of a receiver may list the errors already.
        unsaid = [str(error) for error in self.errors if str(error) not in self.detail]
        because = _clause("; ".join(_clause(part) for part in [self.detail, *unsaid] if part))
        refusal = f"The receiver at {url} refused with {self.status} ({_clause(self.code)})"
        return f"{refusal}: {because}." if because else f"{refusal}."


class BadAnswer(CallFailed):
    """The receiver answered something that it should never answer."""

    code = "bad_answer"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            url, f"The receiver at {url} gave an answer that makes no sense: {_clause(reason)}."
        )


def _clause(text: str) -> str:
    """Foreign text as a part of a sentence."""
    return one_line(text).rstrip(".")
