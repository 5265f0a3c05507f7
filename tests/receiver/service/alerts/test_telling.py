"""What happens to servers is told: once, again as a reminder, and once more when it is over."""

from datetime import datetime, timezone
from functools import partial

import httpx
import pytest

import messages
from contract.fields import format_moment
from receiver.store import SqlStore
from servers import Clock, wait_until
from sinks import HttpSink, SmtpSink, http_sink
from telling import (
    SECRET,
    add_channel,
    add_webhook,
    beat,
    event_kinds,
    made,
    settle,
    telling_receiver,
)


def fall_silent(receiver: httpx.Client, clock: Clock, servers: int = 1) -> None:
    """Let time pass until so many servers are down: 340 seconds."""
    for state in ("late", "down"):
        clock.advance(170)
        wait_until(partial(have_been, receiver, state, servers))


def have_been(receiver: httpx.Client, state: str, servers: int) -> bool:
    return event_kinds(receiver).count(state) == servers


def test_down_alarm_is_reported_reminded_acknowledged_and_ended_through_each_channel(
    database_url: str, store: SqlStore, clock: Clock, sink: HttpSink, mailbox: SmtpSink
) -> None:
    """Through a webhook, by e-mail and in a chat, here a Mattermost's incoming webhook."""
    with telling_receiver(database_url, clock) as receiver, http_sink() as chat:
        token = "3ccdd113474722377935511fc85d3dd4"
        mail = (
            f"mailto://127.0.0.1:{mailbox.port}?mode=insecure&from=a@example.com&to=b@example.com"
        )
        channels = [
            add_webhook(receiver, sink),
            add_channel(receiver, kind="apprise", address=mail),
            add_channel(receiver, kind="apprise", address=f"mmost://127.0.0.1:{chat.port}/{token}"),
        ]
        (default,) = receiver.get("/rules").json()["rules"]
        receiver.delete(f"/rules/{default['id']}").raise_for_status()
        for channel_id in channels:
            asked = {"kinds": ["down"], "after_seconds": 300, "remind_seconds": 600}
            made(receiver, "/rules", name="down", channel_id=channel_id, **asked)

        def wait_for(count: int) -> None:
            wait_until(
                lambda: {count} == {len(sink.received), len(mailbox.received), len(chat.received)}
            )

        beat(receiver, clock)
        fall_silent(receiver, clock)
        clock.advance(340)
        wait_for(1)
        clock.advance(640)
        wait_for(2)
        for alarm in receiver.get("/alarms?open=true").json()["alarms"]:
            receiver.post(f"/alarms/{alarm['id']}/acknowledge").raise_for_status()
        clock.advance(1300)
        settle(store, clock)
        beat(receiver, clock)
        wait_until(lambda: "recovered" in event_kinds(receiver))
        clock.advance(40)
        wait_for(3)
        wait_until(lambda: store.alerts.counts(clock.now).waiting == 0)

        alarms = receiver.get("/alarms?open=true").json()["alarms"]
        deliveries = receiver.get("/deliveries").json()["deliveries"]

    bodies = [request.verified(SECRET) for request in sink.received]
    assert ["fleet.alarm", "fleet.reminder", "fleet.end"] == [body["type"] for body in bodies]
    (last,) = bodies[-1]["data"]["alarms"]
    assert ("down", "recovered", "a") == (last["kind"], last["ending"], last["server_id"])
    assert "root" == last["acknowledged_by"]
    assert "https://fleet.example.com/server/a" == last["url"]
    assert ["Down", "Still down", "Over"] == [
        each["Subject"].partition(":")[0] for each in mailbox.received
    ]
    assert 1 == len({each["References"] for each in mailbox.received})
    assert "Page: https://fleet.example.com/server/a" in mailbox.received[0].get_content()
    for request, word in zip(chat.received, ("Down:", "Still down:", "Over:"), strict=True):
        assert f"/hooks/{token}" == request.path
        assert word in str(request.json)
    assert [] == alarms
    assert 9 == len(deliveries)
    assert None not in [each["sent_at"] for each in deliveries]


def test_outage_of_all_servers_is_one_message_and_its_end_another(
    database_url: str, store: SqlStore, clock: Clock, sink: HttpSink
) -> None:
    names = [f"server-{number:03}" for number in range(500)]

    def all_beat() -> None:
        beats = [
            messages.heartbeat(server_id=name, database=name, timestamp=format_moment(clock.now))
            for name in names
        ]
        for first in range(0, len(beats), 100):
            receiver.post("/heartbeats", json=beats[first : first + 100]).raise_for_status()

    with telling_receiver(database_url, clock) as receiver:
        add_webhook(receiver, sink)
        all_beat()
        fall_silent(receiver, clock, len(names))
        clock.advance(170)
        wait_until(lambda: len(sink.received) == 1)
        clock.advance(400)
        settle(store, clock)
        all_beat()
        settle(store, clock)
        clock.advance(40)
        wait_until(lambda: len(sink.received) == 2)
        for _ in range(8):
            clock.advance(60)
            all_beat()
            settle(store, clock)

        deliveries = receiver.get("/deliveries").json()["deliveries"]

    bodies = [request.verified(SECRET) for request in sink.received]
    assert ["fleet.alarm", "fleet.end"] == [body["type"] for body in bodies]
    assert "Mass outage: 500 of 500 servers" == bodies[0]["data"]["title"]
    assert ["fleet_silent"] == [each["kind"] for each in bodies[1]["data"]["alarms"]]
    assert 2 == len(deliveries)


@pytest.mark.parametrize(
    "evening",
    [
        datetime(2026, 3, 28, 21, tzinfo=timezone.utc),
        datetime(2026, 3, 29, 20, tzinfo=timezone.utc),
    ],
    ids=["winter", "summer"],
)
def test_recurring_silence_keeps_its_local_time_when_summer_begins(
    database_url: str, store: SqlStore, clock: Clock, sink: HttpSink, evening: datetime
) -> None:
    """From 22:00 to 24:00 in Berlin, which is an hour earlier by UTC from 29 March on."""
    clock.now = evening
    clock.advance(-420)
    with telling_receiver(database_url, clock) as receiver:
        add_webhook(receiver, sink)
        asked = {"cron": "0 22 * * *", "duration_seconds": 7200, "time_zone": "Europe/Berlin"}
        silence = made(receiver, "/silences", query="", reason="backup", **asked)
        beat(receiver, clock)
        fall_silent(receiver, clock)  # 21:58:40
        clock.advance(340)  # 22:04:20, when the alarm is due for half a minute at least
        settle(store, clock)
        (early,) = receiver.get("/alarms?open=true").json()["alarms"]
        clock.advance(6880)  # 23:59
        settle(store, clock)
        during = receiver.get("/deliveries").json()["count"]
        clock.advance(60)  # 24:00
        settle(store, clock)
        clock.advance(40)
        wait_until(lambda: len(sink.received) == 1)

    assert (silence["id"], 0) == (early["silenced_by"], during)
    assert "fleet.alarm" == sink.received[0].verified(SECRET)["type"]
