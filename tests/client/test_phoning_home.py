"""Successful requests of the client to a receiver on a real socket."""

import base64
import threading
from datetime import datetime, timezone
from typing import Any

import pytest

from client import HeartbeatReceipt, PhoneHomeClient, RegistrationReceipt
from client.api import user_agent
from client.made_up import made_up_fleet
from contract import Heartbeat, Registration, structure

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
REGISTRATION = Registration.from_payload(made_up_fleet(1)[0], started_at=NOW)
HEARTBEATS = [
    Heartbeat.from_payload(payload, timestamp=NOW, uptime_seconds=60.0)
    for payload in made_up_fleet(3)
]


def test_registration_arrives_whole(receiver: str, heard: list[dict[str, Any]]) -> None:
    with PhoneHomeClient(receiver) as client:
        receipt = client.register(REGISTRATION)

    (request,) = heard
    assert receipt == RegistrationReceipt(server_id=REGISTRATION.server_id, created=True)
    assert ("POST", "/register") == (request["method"], request["path"])
    assert "2026-01-31T12:00:00Z" == request["body"]["started_at"]
    assert REGISTRATION == structure(request["body"], Registration)


def test_heartbeat_arrives_whole(receiver: str, heard: list[dict[str, Any]]) -> None:
    with PhoneHomeClient(receiver) as client:
        receipt = client.heartbeat(HEARTBEATS[0])

    (request,) = heard
    assert receipt == HeartbeatReceipt(server_id=HEARTBEATS[0].server_id, heartbeat_count=7)
    assert ("POST", "/heartbeat") == (request["method"], request["path"])
    assert structure(request["body"], Heartbeat) == HEARTBEATS[0]


def test_batch_arrives_in_one_request(receiver: str, heard: list[dict[str, Any]]) -> None:
    with PhoneHomeClient(receiver) as client:
        receipts = client.heartbeats(HEARTBEATS)

    (request,) = heard
    assert "/heartbeats" == request["path"]
    assert receipts == [
        HeartbeatReceipt(server_id=beat.server_id, heartbeat_count=7) for beat in HEARTBEATS
    ]


def test_health_returns_the_answer_of_the_receiver(
    receiver: str, heard: list[dict[str, Any]]
) -> None:
    with PhoneHomeClient(receiver) as client:
        health = client.health()

    assert {"status": "healthy", "server_count": 1} == health
    assert [("GET", "/health")] == [(each["method"], each["path"]) for each in heard]


@pytest.mark.parametrize(
    "end", ["", "/", "/register", "/register/", "/heartbeat", "/heartbeats", "/heartbeats//"]
)
def test_path_prefix_is_kept_and_a_trailing_call_removed(
    receiver: str, heard: list[dict[str, Any]], end: str
) -> None:
    with PhoneHomeClient(f"{receiver}/fleet{end}") as client:
        client.heartbeat(HEARTBEATS[0])

    assert "/fleet/heartbeat" == heard[0]["path"]


def test_request_has_content_type_and_user_agent(
    receiver: str, heard: list[dict[str, Any]]
) -> None:
    with PhoneHomeClient(receiver) as client:
        client.heartbeat(HEARTBEATS[0])

    headers = heard[0]["headers"]
    assert "application/json" == headers["content-type"]
    assert headers["user-agent"] == user_agent()
    assert "authorization" not in headers


def test_token_is_sent_as_bearer(receiver: str, heard: list[dict[str, Any]]) -> None:
    with PhoneHomeClient(receiver, token="s3cret") as client:
        client.heartbeat(HEARTBEATS[0])

    assert "Bearer s3cret" == heard[0]["headers"]["authorization"]


def test_user_and_password_in_the_url_are_sent_as_basic(
    receiver: str, heard: list[dict[str, Any]]
) -> None:
    url = receiver.replace("//", "//ann:p%40ss@")
    with PhoneHomeClient(url) as client:
        client.heartbeat(HEARTBEATS[0])

    expected = "Basic " + base64.b64encode(b"ann:p@ss").decode()
    assert heard[0]["headers"]["authorization"] == expected


def test_token_overrides_a_password_in_the_url(receiver: str, heard: list[dict[str, Any]]) -> None:
    with PhoneHomeClient(receiver.replace("//", "//ann:pass@"), token="s3cret") as client:
        client.heartbeat(HEARTBEATS[0])

    assert "Bearer s3cret" == heard[0]["headers"]["authorization"]


def test_client_is_thread_safe(receiver: str, heard: list[dict[str, Any]]) -> None:
    with PhoneHomeClient(receiver) as client:
        threads = [
            threading.Thread(target=client.heartbeat, args=(HEARTBEATS[0],)) for _ in "12345678"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert 8 == len(heard)


def test_closed_client_raises_and_sends_nothing(receiver: str, heard: list[dict[str, Any]]) -> None:
    client = PhoneHomeClient(receiver)
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.heartbeat(HEARTBEATS[0])
    assert [] == heard


def test_user_agent_has_the_installed_version() -> None:
    assert user_agent("pytest") == f"pytest/{pytest.__version__}"


def test_user_agent_of_nothing_installed_has_no_version() -> None:
    assert "no-such-distribution" == user_agent("no-such-distribution")
