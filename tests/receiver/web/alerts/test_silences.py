"""Silences over HTTP."""

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import Engine

import messages
from alert_calls import check
from alerting import Keys, fill
from client import PhoneHomeClient, Refused
from keyring import bearer
from outages import away
from servers import Clock, Observed
from watched import Watched


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
