"""Alarms and deliveries over HTTP."""

from typing import Any

import httpx
import pytest

import messages
from alert_calls import check, new_channel, new_rule
from outages import away
from receiver.app import create_app
from receiver.store import SqlStore
from servers import Clock, Observed, serve, wait_until
from sinks import HttpSink
from telling import NOON, delivery


@pytest.fixture
def down(receiver: httpx.Client, clock: Clock, sink: HttpSink) -> httpx.Client:
    """A receiver with alarms of the servers a, b and c, which are down."""
    channel_id = new_channel(receiver, address=f"{sink.url}/hook")
    (default,) = receiver.get("/rules").json()["rules"]
    receiver.delete(f"/rules/{default['id']}").raise_for_status()
    new_rule(receiver, channel_id, remind_seconds=3600).raise_for_status()
    for server_id in "abc":
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id))
    clock.advance(200)
    wait_until(lambda: receiver.get("/events?kind=late").json()["count"] == 3)
    clock.advance(200)
    wait_until(lambda: receiver.get("/alarms?open=true").json()["count"] == 3)
    return receiver


@pytest.mark.both_databases
def test_alarm_is_acknowledged_once(down: httpx.Client, clock: Clock) -> None:
    (alarm,) = down.get("/alarms?server_id=b&open=true").json()["alarms"]
    clock.advance(1)
    path = f"/alarms/{alarm['id']}/acknowledge"
    acknowledged = down.post(path)
    clock.advance(1)
    again = down.post(path)

    assert "admin" == acknowledged.json()["acknowledged_by"]
    assert acknowledged.json()["acknowledged_at"] == again.json()["acknowledged_at"]
    (event,) = down.get("/servers/b/events?kind=acknowledged").json()["events"]
    assert {"kind": "down", "by": "admin"} == event["details"]
    check(acknowledged, "/alarms/{alarm_id}/acknowledge")


def test_acknowledgement_is_told_although_the_alarm_cannot_be_read_again(
    down: httpx.Client, app: Observed
) -> None:
    (alarm,) = down.get("/alarms?server_id=b&open=true").json()["alarms"]

    with away(app.services.store.alerts, "alarm", after=1):
        answer = down.post(f"/alarms/{alarm['id']}/acknowledge")

    (stored,) = down.get("/alarms?server_id=b&open=true").json()["alarms"]
    names = ("id", "acknowledged_by", "acknowledged_at")
    assert 200 == answer.status_code
    assert [stored[name] for name in names] == [answer.json()[name] for name in names]
    assert "admin" == stored["acknowledged_by"]


def test_alarm_that_is_over_cannot_be_acknowledged(down: httpx.Client) -> None:
    (alarm,) = down.get("/alarms?server_id=c&open=true").json()["alarms"]
    down.post("/heartbeat", json=messages.heartbeat(server_id="c"))
    wait_until(lambda: down.get("/alarms?server_id=c&open=true").json()["count"] == 0)
    answer = down.post(f"/alarms/{alarm['id']}/acknowledge")

    (over,) = down.get("/alarms?server_id=c&open=false").json()["alarms"]
    assert (409, "alarm_over") == (answer.status_code, answer.json()["code"])
    assert (alarm["id"], "recovered") == (over["id"], over["ending"])


def test_alarm_that_does_not_exist_is_not_found(receiver: httpx.Client) -> None:
    for identity in ("0", "-1", "1e3", "9" * 18, "9" * 30, "٣"):
        answer = receiver.post(f"/alarms/{identity}/acknowledge")

        assert (404, "not_found") == (answer.status_code, answer.json()["code"]), identity


@pytest.mark.both_databases
def test_pages_of_alarms_and_deliveries_hold_every_item_once(
    down: httpx.Client, store: SqlStore
) -> None:
    (channel,) = store.alerts.channels()
    for number in range(3):
        store.alerts.enqueue(delivery(number, channel, next_at=None, sent_at=NOON))

    for name in ("alarms", "deliveries"):
        seen: list[Any] = []
        pages: list[httpx.Response] = []
        cursor = None
        while cursor or not pages:
            query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            pages.append(down.get(f"/{name}", params=query).raise_for_status())
            seen += [each["id"] for each in pages[-1].json()[name]]
            cursor = pages[-1].json()["next_cursor"]
        assert len(seen) == len(set(seen)) >= 3
        assert all(page.json()["count"] <= 2 for page in pages)
        for page in pages:
            check(page, f"/{name}")


def test_deliveries_are_listed_by_channel(receiver: httpx.Client, sink: HttpSink) -> None:
    used = new_channel(receiver, address=f"{sink.url}/hook")
    unused = new_channel(receiver)
    receiver.post(f"/channels/{used}/test").raise_for_status()

    counts = [
        receiver.get("/deliveries", params={"channel_id": each}).json()["count"]
        for each in (used, unused, "nothing")
    ]
    (delivery,) = receiver.get("/deliveries").json()["deliveries"]
    assert [1, 0, 0] == counts
    assert ("test", 1, None) == (delivery["kind"], delivery["attempts"], delivery["error"])
    assert delivery["sent_at"] is not None


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/alarms?open=yes", "open"),
        ("/alarms?cursor=a", "cursor"),
        ("/alarms?limit=0", "limit"),
        ("/alarms?state=down", "state"),
        ("/deliveries?cursor=WzFd", "cursor"),
        ("/deliveries?channel_id=%00", "channel_id"),
        ("/silences?ended=1", "ended"),
    ],
)
def test_invalid_parameter_of_the_alerts_api_is_refused(
    shared_receiver: httpx.Client, path: str, parameter: str
) -> None:
    answer = shared_receiver.get(path)

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert [parameter] == [each["path"] for each in answer.json()["errors"]]


def test_change_without_a_key_is_recorded_without_an_author(
    database_url: str, clock: Clock
) -> None:
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as client:
        asked = {"query": "", "duration_seconds": 600, "reason": "upgrade"}
        made = client.post("/silences", json=asked)

    assert "somebody without a key" == made.json()["author"]


@pytest.mark.parametrize("path", ["/channels/a/test", "/alarms/1/acknowledge"])
def test_alert_call_without_a_body_is_refused_without_a_key(
    database_url: str, clock: Clock, path: str
) -> None:
    """A web page in a browser of this machine can make such a request, and no other one."""
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as client:
        answers = [
            client.post(path, headers={"Origin": "https://elsewhere.example"}),
            client.post("/silences", content=b"{}", headers={"Content-Type": "text/plain"}),
        ]

    assert [(403, "no_keys_yet"), (415, "unsupported_media_type")] == [
        (each.status_code, each.json()["code"]) for each in answers
    ]
