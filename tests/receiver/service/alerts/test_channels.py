"""Channels: their addresses are checked, encrypted and shown to nobody, and can be tried out."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
from attrs import evolve
from sqlalchemy import Engine, text

from commanding import Command
from receiver.app import create_app
from receiver.domain.alerts.requests import ChannelChange
from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.domain.errors import Refusal
from receiver.service.alerts.alert_service import AlertService
from receiver.service.alerts.secret_box import SecretBox
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from servers import Clock, serve, wait_until
from sinks import HttpSink, SmtpSink, http_sink
from telling import (
    SECRET,
    add_channel,
    add_webhook,
    beat,
    keep_channel,
    made,
    telling_receiver,
)

pytestmark = pytest.mark.one_database


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    with telling_receiver(database_url, clock) as client:
        yield client


def tried_out(receiver: httpx.Client, channel_id: str) -> tuple[str, str | None]:
    answer = receiver.post(f"/channels/{channel_id}/test")
    assert 200 == answer.status_code, answer.text
    return answer.json()["status"], answer.json()["error"]


def sealed(engine: Engine) -> bytes:
    with engine.connect() as connection:
        found: bytes = connection.execute(text("SELECT address FROM alert_channels")).scalar_one()
    return bytes(found)


@pytest.mark.both_databases
def test_webhook_gets_a_secret_which_its_messages_are_signed_with(
    receiver: httpx.Client, engine: Engine, sink: HttpSink
) -> None:
    url = f"{sink.url}/path-with-a-token"
    answer = made(receiver, "/channels", name="hook", kind="webhook", address={"url": url})
    channel_id = answer["channel"]["id"]

    outcome = tried_out(receiver, channel_id)

    listed = receiver.get("/channels").text + receiver.get("/deliveries").text
    assert ("delivered", None) == outcome
    assert "fleet.test" == sink.received[0].verified(answer["secret"])["type"]
    assert "127.0.0.1" == answer["channel"]["service"]
    for secret in ("path-with-a-token", answer["secret"]):
        assert secret not in listed
        assert secret.encode() not in sealed(engine)


def test_secret_of_a_webhook_may_be_given(receiver: httpx.Client, sink: HttpSink) -> None:
    channel_id = add_webhook(receiver, sink)

    tried_out(receiver, channel_id)

    assert "fleet.test" == sink.received[0].verified(SECRET)["type"]


def test_email_channel_can_be_tested(receiver: httpx.Client, mailbox: SmtpSink) -> None:
    url = f"mailto://127.0.0.1:{mailbox.port}?mode=insecure&from=a@example.com&to=b@example.com"
    channel_id = add_channel(receiver, name="mail", kind="apprise", address=url)

    outcome = tried_out(receiver, channel_id)

    (channel,) = receiver.get("/channels").json()["channels"]
    (email,) = mailbox.received
    assert ("delivered", None) == outcome
    assert "mailto" == channel["service"]
    assert "Test: this channel works" == email["Subject"]
    assert email["References"] is None


def test_failed_test_of_a_channel_says_why_and_is_not_repeated(
    receiver: httpx.Client, sink: HttpSink
) -> None:
    sink.answer = lambda _: (401, {})
    channel_id = add_webhook(receiver, sink)

    outcome = tried_out(receiver, channel_id)

    (delivery,) = receiver.get("/deliveries").json()["deliveries"]
    assert ("failed", "the answer was 401 Unauthorized") == outcome
    assert (outcome[1], 1, None) == (
        delivery["error"],
        delivery["attempts"],
        delivery["next_at"],
    )
    assert 0 == receiver.get("/health").json()["alerts"]["given_up"]


def test_changed_address_of_a_webhook_gets_another_secret(
    receiver: httpx.Client, sink: HttpSink
) -> None:
    channel_id = add_webhook(receiver, sink)
    with http_sink() as other:
        changed = receiver.patch(
            f"/channels/{channel_id}", json={"address": {"url": other.url}, "name": "other"}
        ).json()
        outcome = tried_out(receiver, channel_id)

        assert ("delivered", None) == outcome
        assert "other" == changed["channel"]["name"]
        assert changed["secret"] not in {None, SECRET}
        assert "fleet.test" == other.received[0].verified(changed["secret"])["type"]
    assert [] == sink.received


def test_changed_name_of_a_channel_keeps_the_secret(receiver: httpx.Client, sink: HttpSink) -> None:
    channel_id = add_webhook(receiver, sink)

    changed = receiver.patch(f"/channels/{channel_id}", json={"name": "other"}).json()
    tried_out(receiver, channel_id)

    assert ("other", None) == (changed["channel"]["name"], changed["secret"])
    assert "fleet.test" == sink.received[0].verified(SECRET)["type"]


def test_unusable_channel_address_is_refused_without_being_quoted(
    receiver: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    for kind, address in (
        ("webhook", {"url": "http://169.254.169.254/s3cr3t"}),
        ("webhook", {"url": "https://metadata.google.internal/s3cr3t"}),
        ("webhook", {"url": "https://user:s3cr3t@example.com/"}),
        ("apprise", "gnome://s3cr3t"),
        ("apprise", "file:///s3cr3t"),
        ("apprise", "exec:///s3cr3t"),
        ("apprise", "slack://s3cr3t"),
        ("apprise", "nonsense://s3cr3t"),
    ):
        answer = receiver.post("/channels", json={"name": "a", "kind": kind, "address": address})

        assert 422 == answer.status_code, address
        assert ["address"] == [each["path"] for each in answer.json()["errors"]], address
        assert "s3cr3t" not in answer.text + caplog.text, address
        assert [] == receiver.get("/channels").json()["channels"], address


def test_channel_is_refused_without_a_secret_key(sqlite_url: str) -> None:
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url})) as receiver:
        answers = [
            receiver.post("/channels", json={"name": "a", "kind": kind, "address": address})
            for kind, address in (
                ("webhook", {"url": "https://example.com/"}),
                ("apprise", "slack://wrong"),
            )
        ]

    for answer in answers:
        assert (409, "no_secret_key") == (answer.status_code, answer.json()["code"])
        assert "odoo-mcp-fleet secret-key" in answer.json()["detail"]


@pytest.mark.both_databases
def test_message_waits_until_the_key_of_its_channel_is_there(
    database_url: str, clock: Clock, sink: HttpSink, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = SecretBox.new_key(), SecretBox.new_key()
    with telling_receiver(database_url, clock, FLEET_SECRET_KEY=old) as receiver:
        channel_id = add_webhook(receiver, sink)
        made(receiver, "/rules", name="new", kinds=["registered"], channel_id=channel_id)
    with telling_receiver(database_url, clock, FLEET_SECRET_KEY=new) as receiver:
        tried = receiver.post(f"/channels/{channel_id}/test")
        beat(receiver, clock)
        wait_until(lambda: receiver.get("/alarms").json()["count"] == 1)
        clock.advance(31)
        wait_until(lambda: bool(receiver.get("/deliveries").json()["deliveries"]))
        # Its lease counts as an attempt before it is known that the address cannot be decrypted.
        wait_until(lambda: receiver.get("/deliveries").json()["deliveries"][0]["error"] is not None)
        (waiting,) = receiver.get("/deliveries").json()["deliveries"]
    received_before = len(sink.received)
    clock.advance(11)
    with telling_receiver(database_url, clock, FLEET_SECRET_KEY=f"{new},{old}") as receiver:
        wait_until(lambda: bool(sink.received))

    assert (409, "wrong_secret_key") == (tried.status_code, tried.json()["code"])
    assert "Add the key that it was made with" in tried.json()["detail"]
    assert "the address was encrypted with another key" in waiting["error"]
    assert 0 == received_before
    assert "fleet.alarm" == sink.received[0].verified(SECRET)["type"]
    assert "Nothing can be sent through these channels" in caplog.text
    assert "The addresses of 1 channels are encrypted with an older key" in caplog.text
    assert not any(key in caplog.text for key in (old, new))


@pytest.mark.both_databases
def test_secret_key_is_replaced_without_writing_addresses_anew(
    database_url: str, clock: Clock, engine: Engine, sink: HttpSink
) -> None:
    old, new = SecretBox.new_key(), SecretBox.new_key()
    with telling_receiver(database_url, clock, FLEET_SECRET_KEY=old) as receiver:
        channel_id = add_webhook(receiver, sink)
    before = sealed(engine)
    environ = {"FLEET_DATABASE_URL": database_url, "FLEET_SECRET_KEY": f"{new},{old}"}
    with telling_receiver(database_url, clock, FLEET_SECRET_KEY=f"{new},{old}") as receiver:
        reencrypted = Command(environ, clock)("channels", "reencrypt")
        again = Command(environ, clock)("channels", "reencrypt", "--json")
        meanwhile = tried_out(receiver, channel_id)
    with telling_receiver(database_url, clock, FLEET_SECRET_KEY=new) as receiver:
        outcome = tried_out(receiver, channel_id)

    assert (0, ["1"]) == (reencrypted.status, reencrypted.said)
    assert {"reencrypted": 0, "unreadable": []} == json.loads(again.said[0])
    assert before != sealed(engine)
    assert [("delivered", None)] * 2 == [meanwhile, outcome]
    assert ["fleet.test"] * 2 == [each.verified(SECRET)["type"] for each in sink.received]


def test_channel_that_is_gone_is_neither_tested_nor_changed(store: SqlStore, clock: Clock) -> None:
    service = AlertService(
        store,
        StoreCalls(),
        box=SecretBox(),
        allowed=Endpoints.of(DEFAULT_ENDPOINTS),
        clock=clock,
        trouble=lambda: None,
    )
    gone = evolve(keep_channel(store), id="gone")

    async def scenario() -> None:
        assert (None, None) == await service.change_channel(
            gone, ChannelChange(values={"name": "other"})
        )
        with pytest.raises(Refusal, match="there is no channel gone"):
            await service.test("gone")

    asyncio.run(scenario())


def test_health_and_metrics_count_the_waiting_messages(
    database_url: str, clock: Clock, store: SqlStore, sink: HttpSink
) -> None:

    with telling_receiver(database_url, clock) as receiver:
        before = receiver.get("/health").json()["alerts"]
        sink.answer = lambda _: (500, {})
        channel_id = add_webhook(receiver, sink)
        made(receiver, "/rules", name="new", kinds=["registered"], channel_id=channel_id)

        beat(receiver, clock)
        wait_until(lambda: bool(store.alerts.alarms(limit=1)))
        clock.advance(31)
        wait_until(lambda: receiver.get("/health").json()["alerts"]["waiting"] == 1)
        clock.advance(5)
        health = receiver.get("/health").json()["alerts"]
        metrics = receiver.get("/metrics").text.splitlines()

    assert {"waiting": 0, "given_up": 0, "oldest_waiting_seconds": None} == before
    assert {"waiting": 1, "given_up": 0, "oldest_waiting_seconds": 5.0} == health
    assert {
        "fleet_alarms_open 0.0",
        "fleet_alert_deliveries_waiting 1.0",
        "fleet_alert_deliveries_given_up 0.0",
        "fleet_alert_deliveries_waiting_seconds 5.0",
    } <= {*metrics}
