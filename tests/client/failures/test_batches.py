"""Batches of heartbeats, of which some or all fail."""

import json
from typing import Any

import httpx
import pytest

from client import BadAnswer, HeartbeatReceipt, PhoneHomeClient, Refused
from contract import Heartbeat
from failing_network import BEAT, URL, Network


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
