"""The client's retries and errors for every kind of failure; only the network is a fake."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from client import (
    BadAnswer,
    CallFailed,
    ClientError,
    HeartbeatReceipt,
    PhoneHomeClient,
    Refused,
    RegistrationReceipt,
    TimedOut,
    Unreachable,
)
from client.errors import InvalidUrl
from client.exchange import ANSWER_LIMIT_BYTES, wrapped
from client.foreign import Mask
from contract import Heartbeat, Problem, Registration

URL = "http://receiver.example/fleet"
DATE = "Sat, 31 Jan 2026 12:00:00 GMT"
BEAT = Heartbeat(server_id="acme_web-1")
REGISTRATION = Registration(server_id="acme_web-1")


class Network(httpx.BaseTransport):
    """A fake transport with one reaction for each request: a response, or an error to raise."""

    def __init__(self, *reactions: httpx.Response | Exception) -> None:
        self._reactions = iter(reactions)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reaction = next(self._reactions)
        if isinstance(reaction, Exception):
            raise reaction
        return reaction


def refusal(status: int, **problem: Any) -> httpx.Response:
    return httpx.Response(status, json=problem)


# A registration is retried


@pytest.mark.parametrize(
    "reaction",
    [
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.ReadError("[Errno 104] Connection reset by peer"),
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.Response(204),
        httpx.Response(408),
        httpx.Response(429),
        httpx.Response(500),
        httpx.Response(503),
    ],
    ids=repr,
)
def test_temporary_failure_of_a_registration_is_retried(
    reaction: httpx.Response | Exception,
) -> None:
    network = Network(reaction, httpx.Response(200))
    waits: list[float] = []
    with PhoneHomeClient(URL, transport=network, sleep=waits.append) as client:
        receipt = client.register(REGISTRATION)

    assert receipt == RegistrationReceipt(server_id="acme_web-1", created=False)
    assert [2] == waits


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 413, 415, 422])
def test_permanent_failure_of_a_registration_is_not_retried(status: int) -> None:
    network = Network(httpx.Response(status))
    waits: list[float] = []
    with (
        PhoneHomeClient(URL, transport=network, sleep=waits.append) as client,
        pytest.raises(Refused) as caught,
    ):
        client.register(REGISTRATION)

    assert (caught.value.status, caught.value.temporary) == (status, False)
    assert [] == waits


@pytest.mark.parametrize(
    ("attempts", "expected"), [(1, []), (2, [2]), (3, [2, 4]), (5, [2, 4, 8, 16])]
)
def test_back_off_doubles(attempts: int, expected: list[float]) -> None:
    network = Network(*(httpx.ConnectError("down") for _ in range(attempts)))
    waits: list[float] = []
    with (
        PhoneHomeClient(URL, transport=network, attempts=attempts, sleep=waits.append) as client,
        pytest.raises(Unreachable),
    ):
        client.register(REGISTRATION)

    assert waits == expected
    assert len(network.requests) == attempts


def test_registration_raises_the_failure_of_its_last_attempt() -> None:
    network = Network(httpx.ConnectError("down"), httpx.Response(503), refusal(422, code="no"))
    with (
        PhoneHomeClient(URL, transport=network, sleep=lambda _: None) as client,
        pytest.raises(Refused) as caught,
    ):
        client.register(REGISTRATION)

    assert "no" == caught.value.code


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, [7, 7]),
        ({"retry-after": " 3 "}, [3, 4]),
        ({"retry-after": "0"}, [2, 4]),
        ({"retry-after": "3600"}, [60, 60]),
        ({"retry-after": "9" * 100}, [60, 60]),
        ({"retry-after": "soon"}, [2, 4]),
        ({"retry-after": "-7"}, [2, 4]),
        ({"retry-after": "\xb2"}, [2, 4]),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:20 GMT", "date": DATE}, [20, 20]),
        ({"retry-after": "Sat, 31 Jan 2026 11:00:00 GMT", "date": DATE}, [2, 4]),
        ({"retry-after": "Sat, 31 Jan 2027 11:00:00 GMT", "date": DATE}, [60, 60]),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:20", "date": DATE}, [2, 4]),
        ({"retry-after": "Sat, 31 Jan 9999999999999999999 12:00:20 GMT", "date": DATE}, [2, 4]),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:20 GMT"}, [2, 4]),
        ({}, [2, 4]),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_back_off_honours_retry_after_up_to_a_minute(
    status: int, headers: dict[str, str], expected: list[float]
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    network = Network(*(httpx.Response(status, headers=raw) for _ in range(3)))
    waits: list[float] = []
    with (
        PhoneHomeClient(URL, transport=network, sleep=waits.append) as client,
        pytest.raises(Refused),
    ):
        client.register(REGISTRATION)

    assert waits == expected


def test_refusal_has_retry_after_seconds() -> None:
    error = failure_of(httpx.Response(429, headers={"retry-after": "3600"}))

    assert isinstance(error, Refused)
    assert 3600 == error.retry_after_seconds


# A heartbeat is not retried


@pytest.mark.parametrize(
    "reaction",
    [
        httpx.ConnectError("down"),
        httpx.ReadTimeout("slow"),
        httpx.Response(503),
        httpx.Response(429, headers={"retry-after": "7"}),
    ],
)
def test_heartbeat_is_not_retried(reaction: httpx.Response | Exception) -> None:
    network = Network(reaction)
    waits: list[float] = []
    with (
        PhoneHomeClient(URL, transport=network, sleep=waits.append) as client,
        pytest.raises(CallFailed),
    ):
        client.heartbeat(BEAT)

    assert [] == waits


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body",
    [b"", b"OK", b"<html>", b"\xff\xfe", b"[]", b"{}", b'{"heartbeat_count": true}', b"null"],
)
def test_successful_status_is_a_receipt_whatever_the_body_holds(status: int, body: bytes) -> None:
    network = Network(*(httpx.Response(status, content=body) for _ in range(2)))
    with PhoneHomeClient(URL, transport=network) as client:
        beaten = client.heartbeat(BEAT)
        registered = client.register(REGISTRATION)

    assert beaten == HeartbeatReceipt(server_id="acme_web-1", heartbeat_count=None)
    assert registered == RegistrationReceipt(server_id="acme_web-1", created=status == 201)


def test_long_body_is_cut_off_at_the_limit() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 65536
            yield bytes(65536)

    network = Network(httpx.Response(200, content=endless()))
    with PhoneHomeClient(URL, transport=network) as client:
        receipt = client.heartbeat(BEAT)

    assert receipt.heartbeat_count is None
    assert ANSWER_LIMIT_BYTES == taken


@pytest.mark.parametrize("status", [202, 204, 206])
def test_other_success_status_is_a_bad_answer(status: int) -> None:
    with (
        PhoneHomeClient(URL, transport=Network(httpx.Response(status))) as client,
        pytest.raises(BadAnswer, match=f"the status is {status}"),
    ):
        client.heartbeat(BEAT)


# The content of a refusal


def test_refusal_holds_the_problem_document() -> None:
    response = refusal(
        422,
        code="invalid_message",
        detail="The heartbeat breaks the contract.",
        errors=[{"path": "port", "message": "expected a port"}, "odd", {"path": 5}],
    )
    error = failure_of(response)

    assert isinstance(error, Refused)
    assert (422, "invalid_message", URL) == (error.status, error.code, error.url)
    assert "The heartbeat breaks the contract." == error.detail
    assert error.errors == (Problem("port", "expected a port"), Problem("", "odd"), Problem("", ""))
    assert str(error) == (
        f"The receiver at {URL} refused with 422 (invalid_message):"
        " The heartbeat breaks the contract; port: expected a port; odd."
    )


def test_text_of_a_refusal_repeats_nothing() -> None:
    response = refusal(
        422, code="invalid_message", detail="port: no", errors=[{"path": "port", "message": "no"}]
    )

    assert str(failure_of(response)).endswith("(invalid_message): port: no.")


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>Bad Gateway</html>"),
        refusal(502, code=5, detail=None, errors="none"),
        refusal(502, code=""),
        httpx.Response(502, json=["code"]),
    ],
)
def test_refusal_without_a_problem_document_has_the_code_http_error(
    response: httpx.Response,
) -> None:
    error = failure_of(response)

    assert isinstance(error, Refused)
    assert ("http_error", "", ()) == (error.code, error.detail, error.errors)
    assert str(error) == f"The receiver at {URL} refused with 502 (http_error)."


def test_text_of_a_refusal_has_the_title_when_the_detail_is_missing() -> None:
    assert str(failure_of(refusal(500, title="Broken"))).endswith("(http_error): Broken.")


def test_text_of_an_error_is_one_line() -> None:
    error = failure_of(refusal(400, code="x", detail="one\n2026 CRITICAL two\x1b[31m\u2028three."))

    assert str(error).endswith(": one 2026 CRITICAL two [31m three.")


def test_redirect_is_refused_and_quoted_without_secrets() -> None:
    place = "https://ann:pass@other.example/login?ticket=s3cret#s3cret"
    network = Network(httpx.Response(302, headers={"location": place}))
    error = failure_of(network=network)

    assert 1 == len(network.requests)
    assert str(error) == (
        f"The receiver at {URL} refused with 302 (http_error): it points to"
        " https://other.example/login, and a redirect is not followed."
    )


@pytest.mark.parametrize("headers", [{}, {"location": "http://[broken"}])
def test_redirect_without_a_valid_location_is_refused(headers: dict[str, str]) -> None:
    assert "points to nowhere" in str(failure_of(httpx.Response(302, headers=headers)))


# Batches


def test_batch_returns_a_receipt_or_refusal_for_each_heartbeat() -> None:
    rejected = {"status": "rejected", "code": "invalid_message", "errors": [{"path": "port"}]}
    results = [{"status": "ok", "heartbeat_count": 3}, rejected, {"status": 413, "code": "large"}]
    network = Network(httpx.Response(200, json={"results": results}))
    with PhoneHomeClient(URL, transport=network) as client:
        first, second, third = client.heartbeats([BEAT, BEAT, BEAT])

    assert first == HeartbeatReceipt(server_id="acme_web-1", heartbeat_count=3)
    assert isinstance(second, Refused)
    assert (422, "invalid_message") == (second.status, second.code)
    assert isinstance(third, Refused)
    assert (413, "large") == (third.status, third.code)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("store_unavailable", True),
        ("overloaded", True),
        ("outcome_unknown", True),
        ("internal_error", True),
        ("wrong_server", False),
        (503, False),
    ],
)
def test_heartbeat_of_a_batch_that_the_receiver_could_not_write_may_be_sent_again(
    code: object, expected: object
) -> None:
    rejected = {"status": "rejected", "code": code, "errors": []}
    network = Network(httpx.Response(200, json={"results": [rejected]}))
    with PhoneHomeClient(URL, transport=network) as client:
        (refused,) = client.heartbeats([BEAT])

    assert isinstance(refused, Refused)
    assert expected is refused.temporary


@pytest.mark.parametrize("body", [{}, {"results": {}}, {"results": []}, {"results": [1]}, []])
def test_batch_with_missing_results_is_a_bad_answer(body: Any) -> None:
    with (
        PhoneHomeClient(URL, transport=Network(httpx.Response(200, json=body))) as client,
        pytest.raises(BadAnswer),
    ):
        client.heartbeats([BEAT])


def test_empty_batch_sends_no_request() -> None:
    with PhoneHomeClient(URL, transport=Network()) as client:
        assert [] == client.heartbeats([])


def test_batch_of_more_than_a_thousand_heartbeats_is_split() -> None:
    sizes = batch_sizes([BEAT] * 2001)

    assert [1000, 1000, 1] == sizes


def test_batch_of_more_than_a_mebibyte_is_split() -> None:
    # Each is 524,287 bytes in JSON, so two with comma and brackets exceed 1 MiB by one byte.
    padding = "x" * (524_287 - len('{"server_id":"a","hostname":""}'))
    sizes = batch_sizes([Heartbeat(server_id="a", hostname=padding)] * 3)

    assert [1, 1, 1] == sizes


def test_batch_of_exactly_a_mebibyte_is_not_split() -> None:
    padding = "x" * (524_286 - len('{"server_id":"a","hostname":""}'))
    slimmer = Heartbeat(server_id="a", hostname=padding)
    wider = Heartbeat(server_id="a", hostname=padding + "x")

    assert [2] == batch_sizes([slimmer, wider])


# Health


@pytest.mark.parametrize("body", [b"", b"OK", b"[]"])
def test_unreadable_health_is_a_bad_answer(body: bytes) -> None:
    with (
        PhoneHomeClient(URL, transport=Network(httpx.Response(200, content=body))) as client,
        pytest.raises(BadAnswer),
    ):
        client.health()


def test_unhealthy_receiver_raises_refused() -> None:
    with (
        PhoneHomeClient(URL, transport=Network(refusal(503, code="store_unavailable"))) as client,
        pytest.raises(Refused) as caught,
    ):
        client.health()

    assert ("store_unavailable", True) == (caught.value.code, caught.value.temporary)


# Secrets


def test_token_quoted_by_a_receiver_is_masked() -> None:
    network = Network(refusal(401, code="unauthorized", detail="s3cret is not valid"))
    with (
        PhoneHomeClient(URL, token="s3cret", transport=network) as client,
        pytest.raises(Refused) as caught,
    ):
        client.heartbeat(BEAT)

    assert "*** is not valid" == caught.value.detail


@pytest.mark.parametrize(
    "reaction", [httpx.ConnectError("down"), httpx.ReadTimeout("slow"), httpx.Response(500)]
)
def test_no_error_shows_user_password_or_token(
    reaction: httpx.Response | Exception,
) -> None:
    url = "http://nora:pass@receiver.example"
    with (
        PhoneHomeClient(url, token="s3cret", transport=Network(reaction)) as client,
        pytest.raises(CallFailed) as caught,
    ):
        client.heartbeat(BEAT)

    shown = f"{caught.value!s} {caught.value!r} {caught.value.url} {client!r} {client.base_url}"
    assert not any(secret in shown for secret in ["nora", "pass", "s3cret"])


# Errors of httpx and of the operating system

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


def failure_of(
    response: httpx.Response | None = None, *, network: Network | None = None
) -> CallFailed:
    """The error of a heartbeat that is answered with this response."""
    if network is None:
        assert response is not None
        network = Network(response)
    with (
        PhoneHomeClient(URL, transport=network) as client,
        pytest.raises(CallFailed) as caught,
    ):
        client.heartbeat(BEAT)
    return caught.value


def batch_sizes(beats: list[Heartbeat]) -> list[int]:
    """Send the heartbeats; returns the number in each request."""
    sizes: list[int] = []

    def count(request: httpx.Request) -> httpx.Response:
        assert len(request.content) <= 1024 * 1024
        items = json.loads(request.content)
        sizes.append(len(items))
        return httpx.Response(200, json={"results": [{"status": "ok"} for _ in items]})

    with PhoneHomeClient(URL, transport=httpx.MockTransport(count)) as client:
        results = client.heartbeats(beats)

    assert len(results) == len(beats)
    return sizes
