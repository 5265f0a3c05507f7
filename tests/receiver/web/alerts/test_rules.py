"""Rules over HTTP."""

import httpx
import pytest

from alert_calls import check, new_channel, new_rule


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
