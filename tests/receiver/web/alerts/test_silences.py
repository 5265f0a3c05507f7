"""Channels, rules, silences, alarms and deliveries over HTTP."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import jsonschema
import pytest
from sqlalchemy import Engine

import messages
from alerting import Keys, fill
from client import PhoneHomeClient, Refused
from keyring import bearer
from outages import away
from receiver.app import create_app
from receiver.store import SqlStore
from receiver.web import api, openapi
from servers import Clock, Observed, serve, wait_until
from sinks import HttpSink, closed_port, http_sink
from telling import NOON, delivery
from watched import Watched

WEBHOOK = {"name": "operators", "kind": "webhook", "address": {"url": "http://127.0.0.1:9/hook"}}


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as sink:
        yield sink


def check(answer: httpx.Response, path: str) -> None:
    """Check an answer by the schema that the OpenAPI document has for it."""
    document = openapi.document(api.routes())
    operation = document["paths"][path][answer.request.method.lower()]
    content = operation["responses"][str(answer.status_code)]["content"]
    described = content[answer.headers["content-type"]]
    schema = {**document, **described["schema"]}
    jsonschema.validate(answer.json(), schema, cls=jsonschema.Draft202012Validator)


def new_channel(receiver: httpx.Client, **changed: Any) -> str:
    """Make a channel; returns its id."""
    answer = receiver.post("/channels", json={**WEBHOOK, **changed}).raise_for_status()
    found: str = answer.json()["channel"]["id"]
    return found


def new_rule(receiver: httpx.Client, channel_id: str, **changed: Any) -> httpx.Response:
    asked = {"name": "Down", "kinds": ["down"], "channel_id": channel_id, **changed}
    return receiver.post("/rules", json=asked)


# Channels


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
    assert ("operators", "webhook", "127.0.0.1") == (
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
        "made the channel 'operators',",
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


# Rules


@pytest.mark.both_databases
def test_first_channel_gets_a_rule(receiver: httpx.Client) -> None:
    channel_id = new_channel(receiver)
    listed = receiver.get("/rules")

    (rule,) = listed.json()["rules"]
    assert ("Down for five minutes", ["down"], 300) == (
        rule["name"],
        rule["kinds"],
        rule["after_seconds"],
    )
    assert ("stage:none,production", channel_id, None) == (
        rule["query"],
        rule["channel_id"],
        rule["remind_seconds"],
    )
    check(listed, "/rules")


@pytest.mark.both_databases
def test_rule_is_made_changed_and_removed(receiver: httpx.Client) -> None:
    channel_id = new_channel(receiver)
    made = new_rule(receiver, channel_id, query='database:"acme"', remind_seconds=3600)
    path = f"/rules/{made.json()['id']}"
    asked = {"name": "Late", "kinds": ["late", "down"], "channel_id": channel_id}
    changed = receiver.put(path, json={**asked, "after_seconds": 60})
    removed = receiver.delete(path)

    assert (201, 200, 200) == (made.status_code, changed.status_code, removed.status_code)
    assert ("database:acme", 3600) == (made.json()["query"], made.json()["remind_seconds"])
    assert {
        **made.json(),
        "name": "Late",
        "kinds": ["down", "late"],
        "query": "",
        "after_seconds": 60,
        "remind_seconds": None,
    } == changed.json()
    assert made.json()["id"] not in receiver.get("/rules").text
    check(made, "/rules")
    check(changed, "/rules/{rule_id}")
    check(removed, "/rules/{rule_id}")


def test_rule_of_an_unknown_channel_is_refused(receiver: httpx.Client) -> None:
    channel_id = new_channel(receiver)
    (rule,) = receiver.get("/rules").json()["rules"]
    asked = {"name": "a", "kinds": ["down"], "channel_id": "nothing"}
    answers = [
        receiver.post("/rules", json=asked),
        receiver.put(f"/rules/{rule['id']}", json=asked),
    ]

    assert [422, 422] == [each.status_code for each in answers]
    for answer in answers:
        (error,) = answer.json()["errors"]
        assert {"path": "channel_id", "message": "there is no channel 'nothing'"} == error
    assert channel_id == receiver.get("/rules").json()["rules"][0]["channel_id"]


# Silences


@pytest.mark.both_databases
def test_silence_is_made_listed_and_ended(receiver: httpx.Client, clock: Clock) -> None:
    asked = {"query": "stage:staging", "duration_seconds": 3600, "reason": "upgrade"}
    made = receiver.post("/silences", json=asked)
    listed = receiver.get("/silences")
    clock.advance(60)
    path = f"/silences/{made.json()['id']}"
    ended = receiver.delete(path)
    again = receiver.delete(path)

    assert 201 == made.status_code
    assert ("stage:staging", None, "admin", True) == (
        made.json()["query"],
        made.json()["server_id"],
        made.json()["author"],
        made.json()["is_active"],
    )
    assert "2026-01-31T13:00:00Z" == made.json()["ends_at"]
    assert {"silences": [made.json()], "count": 1} == listed.json()
    assert {"status": "ended", "id": made.json()["id"]} == ended.json()
    assert (409, "silence_over") == (again.status_code, again.json()["code"])
    assert 0 == receiver.get("/silences").json()["count"]
    (over,) = receiver.get("/silences?ended=true").json()["silences"]
    assert ("2026-01-31T12:01:00Z", False) == (over["ends_at"], over["is_active"])
    check(made, "/silences")
    check(listed, "/silences")
    check(ended, "/silences/{silence_id}")


def test_silences_are_in_the_timeline(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    asked = {"server_id": "acme_web-1", "duration_seconds": 600, "reason": "upgrade"}
    made = receiver.post("/silences", json=asked).json()
    receiver.delete(f"/silences/{made['id']}")

    events = receiver.get("/servers/acme_web-1/events?kind=silenced").json()["events"]
    assert [("upgrade", "admin")] * 2 == [
        (each["details"]["reason"], each["details"]["by"]) for each in events
    ]


def test_silence_of_an_unknown_server_is_refused(receiver: httpx.Client) -> None:
    asked = {"server_id": "acme_wbe-1", "duration_seconds": 600, "reason": "upgrade"}
    answer = receiver.post("/silences", json=asked)

    (error,) = answer.json()["errors"]
    assert 422 == answer.status_code
    assert {"path": "server_id", "message": "there is no server 'acme_wbe-1'"} == error


def test_recurring_silence_has_no_end(receiver: httpx.Client) -> None:
    asked = {
        "query": "",
        "cron": "0 22 * * 6",
        "duration_seconds": 3600,
        "time_zone": "Europe/Berlin",
        "reason": "backup",
    }
    made = receiver.post("/silences", json=asked)

    assert (asked["cron"], 3600, "Europe/Berlin", None, False) == (
        made.json()["cron"],
        made.json()["duration_seconds"],
        made.json()["time_zone"],
        made.json()["ends_at"],
        made.json()["is_active"],
    )
    check(made, "/silences")


@pytest.mark.both_databases
def test_agent_silences_its_own_server_only(receiver: httpx.Client, keys: Keys) -> None:
    beat = messages.heartbeat()
    receiver.post("/heartbeat", json=beat, headers=bearer(keys.agent)).raise_for_status()
    path = "/servers/acme_web-1/silence"
    asked = {"minutes": 30, "reason": "upgrade"}
    own, others, admins = (
        receiver.post(path, json=asked, headers=bearer(token))
        for token in (keys.agent, keys.other, keys.admin)
    )

    assert [201, 403, 201] == [each.status_code for each in (own, others, admins)]
    assert "server_of_another_key" == others.json()["code"]
    assert "A key may silence its own servers" in others.json()["detail"]
    assert ("acme_web-1", "agent", "upgrade", "2026-01-31T12:30:00Z") == (
        own.json()["server_id"],
        own.json()["author"],
        own.json()["reason"],
        own.json()["ends_at"],
    )
    assert {"agent", "admin"} == {
        each["author"] for each in receiver.get("/silences").json()["silences"]
    }
    check(own, "/servers/{server_id}/silence")


def test_agent_silences_its_server_for_a_day_at_most(receiver: httpx.Client, keys: Keys) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(keys.agent))
    answer = receiver.post(
        "/servers/acme_web-1/silence", json={"minutes": 1441}, headers=bearer(keys.agent)
    )

    assert 422 == answer.status_code
    assert "from 1 to 1,440" in answer.json()["detail"]


def test_new_silence_by_an_agent_replaces_the_earlier_one(
    receiver: httpx.Client, keys: Keys, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(keys.agent))
    asked = {"server_id": "acme_web-1", "duration_seconds": 600, "reason": "mine"}
    receiver.post("/silences", json=asked).raise_for_status()
    for minutes in (30, 5):
        clock.advance(60)
        receiver.post(
            "/servers/acme_web-1/silence", json={"minutes": minutes}, headers=bearer(keys.agent)
        ).raise_for_status()

    found = receiver.get("/silences").json()["silences"]
    assert [("admin", "mine"), ("agent", "maintenance")] == [
        (each["author"], each["reason"]) for each in found
    ]
    assert "2026-01-31T12:07:00Z" == found[1]["ends_at"]


def test_new_silence_replaces_the_one_before_in_one_transaction(
    receiver: httpx.Client, app: Observed, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    path = "/servers/acme_web-1/silence"
    receiver.post(path, json={"minutes": 30}).raise_for_status()
    clock.advance(60)

    with away(app.services.store.alerts, "end_silence"):
        answer = receiver.post(path, json={"minutes": 5})

    (left,) = receiver.get("/silences").json()["silences"]
    assert (201, left["id"]) == (answer.status_code, answer.json()["id"])
    events = receiver.get("/events?kind=silenced").json()["events"]
    assert ["2026-01-31T12:01:00Z", "2026-01-31T12:06:00Z", "2026-01-31T12:30:00Z"] == [
        each["details"]["until"] for each in events
    ]


def test_full_list_of_silences_accepts_a_replacement(
    receiver: httpx.Client, keys: Keys, engine: Engine
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(keys.agent))
    path, asked = "/servers/acme_web-1/silence", {"minutes": 30}
    receiver.post(path, json=asked, headers=bearer(keys.agent)).raise_for_status()
    fill(engine, "silences", 999)

    again = receiver.post(path, json=asked, headers=bearer(keys.agent))
    other = receiver.post(path, json=asked)
    assert (201, 409) == (again.status_code, other.status_code)
    assert "There are too many silences. End one" in other.json()["detail"]


@pytest.fixture
def nodes(fleet: Watched) -> None:
    """The servers a and b, of which b is a node; a stands for both in lists."""
    for number in range(20):
        each = "ab"[number % 2]
        fleet.beat(each, database_uuid="u-1", hostname=f"web-{each}", sequence=number)
        fleet.sweep()
        fleet.clock.advance(60)
    assert "a" == fleet.record("b").node_of


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(("owner", "silenced"), [("agent", "a"), ("other", "b")])
def test_silence_by_an_agent_covers_a_node_if_its_leader_belongs_to_the_key(
    receiver: httpx.Client, keys: Keys, owner: str, silenced: str
) -> None:
    hand_over(receiver, "b", keys.agent)
    hand_over(receiver, "a", getattr(keys, owner))

    answer = receiver.post("/servers/b/silence", json={"minutes": 30}, headers=bearer(keys.agent))
    assert (201, silenced) == (answer.status_code, answer.json()["server_id"])


def hand_over(receiver: httpx.Client, server_id: str, token: str) -> None:
    """Make a key the owner of a server."""
    asked = {"key_id": token.split("_")[1]}
    receiver.put(f"/servers/{server_id}/owner", json=asked).raise_for_status()


@pytest.mark.parametrize("server_id", ["acme_web-1", "..", "a/silence", "é ü?&=#"])
def test_client_silences_a_server_of_any_id(
    receiver: httpx.Client, keys: Keys, server_id: str
) -> None:
    beat = messages.heartbeat(server_id=server_id)
    receiver.post("/heartbeat", json=beat, headers=bearer(keys.agent)).raise_for_status()
    with PhoneHomeClient(str(receiver.base_url), token=keys.agent) as client:
        receipt = client.silence(server_id, minutes=30, reason="upgrade")

    assert (server_id, Clock().now + timedelta(minutes=30)) == (receipt.server_id, receipt.until)


def test_client_raises_the_reason_of_a_refused_silence(receiver: httpx.Client, keys: Keys) -> None:
    with (
        PhoneHomeClient(str(receiver.base_url), token=keys.agent) as client,
        pytest.raises(Refused, match="There is no server 'acme_web-1'"),
    ):
        client.silence("acme_web-1", minutes=30)


# Alarms and deliveries


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
