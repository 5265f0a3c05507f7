"""Errors of httpx and of the operating system."""

import httpx
import pytest

from client import BadAnswer, ClientError, PhoneHomeClient, TimedOut, Unreachable
from client.errors import InvalidUrl
from client.exchange import wrapped
from client.foreign import Mask
from failing_network import BEAT, URL, Network

KINDS: dict[type[Exception], type[ClientError]] = {
    httpx.CloseError: Unreachable,
    httpx.ConnectError: Unreachable,
    httpx.ConnectTimeout: TimedOut,
    httpx.CookieConflict: BadAnswer,
    httpx.DecodingError: BadAnswer,
    httpx.HTTPError: Unreachable,
    httpx.HTTPStatusError: BadAnswer,
    httpx.InvalidURL: InvalidUrl,
    httpx.LocalProtocolError: BadAnswer,
    httpx.NetworkError: Unreachable,
    httpx.PoolTimeout: TimedOut,
    httpx.ProtocolError: BadAnswer,
    httpx.ProxyError: Unreachable,
    httpx.ReadError: Unreachable,
    httpx.ReadTimeout: TimedOut,
    httpx.RemoteProtocolError: BadAnswer,
    httpx.RequestError: Unreachable,
    httpx.RequestNotRead: Unreachable,
    httpx.ResponseNotRead: Unreachable,
    httpx.StreamClosed: Unreachable,
    httpx.StreamConsumed: Unreachable,
    httpx.StreamError: Unreachable,
    httpx.TimeoutException: TimedOut,
    httpx.TooManyRedirects: BadAnswer,
    httpx.TransportError: Unreachable,
    httpx.UnsupportedProtocol: InvalidUrl,
    httpx.WriteError: Unreachable,
    httpx.WriteTimeout: TimedOut,
}


def test_every_exported_error_of_httpx_is_covered() -> None:
    exported = (getattr(httpx, name) for name in httpx.__all__)
    errors = {each for each in exported if isinstance(each, type) and issubclass(each, Exception)}

    assert set(KINDS) == errors


@pytest.mark.parametrize("foreign", KINDS, ids=lambda kind: kind.__name__)
def test_error_of_httpx_is_wrapped(foreign: type[Exception]) -> None:
    error = foreign.__new__(foreign)
    Exception.__init__(error, "why")
    with (
        PhoneHomeClient(URL, transport=Network(error)) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.heartbeat(BEAT)

    assert type(caught.value) is KINDS[foreign]
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), UnicodeError("label too long")], ids=repr
)
def test_error_of_the_operating_system_is_wrapped(error: Exception) -> None:
    with (
        PhoneHomeClient(URL, transport=Network(error)) as client,
        pytest.raises(Unreachable) as caught,
    ):
        client.heartbeat(BEAT)

    assert str(caught.value) == f"The receiver at {URL} cannot be reached: {error}."


def test_error_without_text_is_named_by_its_class() -> None:
    error = wrapped(httpx.ConnectError(""), receiver=URL, timeout_seconds=1, mask=Mask())

    assert str(error) == f"The receiver at {URL} cannot be reached: ConnectError."


def test_bug_in_the_client_is_not_wrapped() -> None:
    with (
        PhoneHomeClient(URL, transport=Network(ZeroDivisionError("a bug"))) as client,
        pytest.raises(ZeroDivisionError),
    ):
        client.heartbeat(BEAT)
