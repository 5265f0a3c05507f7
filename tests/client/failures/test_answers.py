"""Answers that are a success, or that nobody can read."""

from collections.abc import Iterator

import httpx
import pytest

from client import BadAnswer, HeartbeatReceipt, PhoneHomeClient, Refused, RegistrationReceipt
from client.exchange import ANSWER_LIMIT_BYTES
from failing_network import BEAT, REGISTRATION, URL, Network, refusal


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
