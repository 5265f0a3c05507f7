"""Channels over HTTP."""

import httpx
import pytest
from sqlalchemy import Engine

from alert_calls import WEBHOOK, check, new_channel
from alerting import Keys, fill
from keyring import bearer
from outages import away
from receiver.app import create_app
from servers import Clock, Observed, serve
from sinks import HttpSink, closed_port


@pytest.mark.both_databases
def test_channel_is_made_listed_changed_and_removed(receiver: httpx.Client) -> None:
    made = receiver.post("/channels", json=WEBHOOK)
    channel, secret = made.json()["channel"], made.json()["secret"]
    path = f"/channels/{channel['id']}"
    changed = receiver.patch(path, json={"name": "others", "per_hour": 5})
    listed = receiver.get("/channels")
    removed = receiver.delete(path)

    assert (201, 200) == (made.status_code, changed.status_code)
    assert secret.startswith("whsec_")
    assert ("Operators", "webhook", "127.0.0.1") == (
        channel["name"],
        channel["kind"],
        channel["service"],
    )
    assert {"channel": {**channel, "name": "others", "per_hour": 5}, "secret": None} == (
        changed.json()
    )
    assert {"channels": [changed.json()["channel"]], "count": 1} == listed.json()
    assert {"status": "removed", "id": channel["id"]} == removed.json()
    assert 0 == receiver.get("/channels").json()["count"]
    for answer, template in (
        (made, "/channels"),
        (changed, "/channels/{channel_id}"),
        (listed, "/channels"),
        (removed, "/channels/{channel_id}"),
    ):
        check(answer, template)


def test_another_address_of_a_webhook_gets_another_secret(receiver: httpx.Client) -> None:
    made = receiver.post("/channels", json=WEBHOOK).json()
    path = f"/channels/{made['channel']['id']}"
    changed = receiver.patch(path, json={"address": "http://127.0.0.2:9/"}).json()

    assert changed["secret"].startswith("whsec_")
    assert made["secret"] != changed["secret"]
    assert "127.0.0.2" == changed["channel"]["service"]


def test_channel_address_and_secret_are_in_no_answer(
    receiver: httpx.Client, audit: list[str], keys: Keys
) -> None:
    address = {"url": "http://127.0.0.1:9/hush", "secret": "whsec_" + 32 * "a"}
    path = f"/channels/{new_channel(receiver, address=address)}"
    receiver.post(f"{path}/test")
    answers = [
        receiver.get("/channels"),
        receiver.patch(path, json={"name": "b"}),
        receiver.get("/deliveries"),
        receiver.get("/channels", headers=bearer(keys.viewer)),
        receiver.post("/channels", json={**WEBHOOK, "address": "hush"}),
        receiver.delete(path),
    ]

    assert [200, 200, 200, 200, 422, 200] == [each.status_code for each in answers]
    for text in (*(each.text for each in answers), *audit):
        assert "hush" not in text
        assert 32 * "a" not in text


def test_changes_of_channels_rules_and_silences_are_in_the_audit_log(
    receiver: httpx.Client, audit: list[str]
) -> None:
    channel_id = new_channel(receiver)
    receiver.patch(f"/channels/{channel_id}", json={"per_hour": 5})
    receiver.delete(f"/channels/{channel_id}")

    did = [line.partition(" from ")[0].partition(") ")[2] for line in audit]
    assert [
        "made the channel 'Operators',",
        f"changed the channel '{channel_id}',",
        f"removed the channel '{channel_id}',",
    ] == did


@pytest.mark.both_databases
def test_channel_test_call_answers_with_its_outcome(receiver: httpx.Client, sink: HttpSink) -> None:
    made = receiver.post("/channels", json={**WEBHOOK, "address": f"{sink.url}/hook"}).json()
    away = new_channel(receiver, address=f"http://127.0.0.1:{closed_port()}/")
    delivered = receiver.post(f"/channels/{made['channel']['id']}/test")
    failed = receiver.post(f"/channels/{away}/test")

    (request,) = sink.received
    assert "fleet.test" == request.verified(made["secret"])["type"]
    assert {"status": "delivered", "error": None} == delivered.json()
    assert "failed" == failed.json()["status"]
    assert failed.json()["error"]
    check(failed, "/channels/{channel_id}/test")


def test_channel_without_a_secret_key_is_refused_with_what_to_do(
    database_url: str, clock: Clock, keys: Keys
) -> None:
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as client:
        answer = client.post("/channels", json=WEBHOOK, headers=bearer(keys.admin))

    assert (409, "no_secret_key") == (answer.status_code, answer.json()["code"])
    assert "odoo-mcp-fleet secret-key" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("address", "kind", "why"),
    [
        ("http://169.254.169.254/latest", "webhook", "are not allowed"),
        ("http://[::1]:9/", "webhook", "are not allowed"),
        ("syslog://", "apprise", "a service of the receiver's own machine"),
        ("file:///etc/passwd", "webhook", "an http or https URL"),
    ],
)
def test_channel_address_that_is_not_allowed_is_refused(
    receiver: httpx.Client, address: str, kind: str, why: str
) -> None:
    answer = receiver.post("/channels", json={**WEBHOOK, "address": address, "kind": kind})

    assert (422, "invalid_message") == (answer.status_code, answer.json()["code"])
    (error,) = answer.json()["errors"]
    assert "address" == error["path"]
    assert why in error["message"]


def test_more_channels_than_there_may_be_are_refused(
    receiver: httpx.Client, engine: Engine
) -> None:
    fill(engine, "channels", 100)

    answer = receiver.post("/channels", json=WEBHOOK)
    assert (409, "too_many") == (answer.status_code, answer.json()["code"])
    assert "There are too many channels. Remove one" in answer.json()["detail"]


@pytest.mark.both_databases
def test_unknown_channel_rule_silence_or_delivery_is_not_found(receiver: httpx.Client) -> None:
    rule = {"name": "a", "kinds": ["down"], "channel_id": "a"}
    for identity in ("nothing", "a%00b", "%C3%A9"):
        answers = [
            receiver.patch(f"/channels/{identity}", json={}),
            receiver.delete(f"/channels/{identity}"),
            receiver.post(f"/channels/{identity}/test"),
            receiver.put(f"/rules/{identity}", json=rule),
            receiver.delete(f"/rules/{identity}"),
            receiver.delete(f"/silences/{identity}"),
            receiver.post(f"/alarms/{identity}/acknowledge"),
            receiver.post(f"/servers/{identity}/silence", json={"minutes": 5}),
        ]

        found = [(each.status_code, each.json()["code"]) for each in answers]
        assert [(404, "not_found")] * 8 == found, identity


def test_test_that_was_sent_is_told_although_it_cannot_be_stored(
    receiver: httpx.Client, app: Observed, sink: HttpSink
) -> None:
    channel_id = new_channel(receiver, address={"url": f"{sink.url}/hook"})

    with away(app.services.store.alerts, "enqueue"):
        answer = receiver.post(f"/channels/{channel_id}/test")

    assert (200, "delivered") == (answer.status_code, answer.json()["status"])
    assert 1 == len(sink.received)
    assert 0 == receiver.get("/deliveries").json()["count"]
