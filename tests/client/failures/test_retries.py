"""A registration is retried, and a heartbeat is not."""

import httpx
import pytest

from client import CallFailed, PhoneHomeClient, Refused, RegistrationReceipt, Unreachable
from failing_network import BEAT, REGISTRATION, URL, Network, failure_of, refusal

DATE = "Sat, 31 Jan 2026 12:00:00 GMT"


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
