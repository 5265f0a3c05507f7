"""The forms of rules."""

import re

import httpx
import pytest

from alert_calls import new_channel
from alert_forms import fields_of, notice, only, post
from form_filling import fault, title
from receiver.domain.alerts.values import TELLABLE
from receiver.web.pages.wording import HINTS


@pytest.mark.both_databases
def test_rule_made_in_the_form_is_the_one_that_the_api_makes(receiver: httpx.Client) -> None:
    channel_id = new_channel(receiver)
    remove_rules(receiver)
    answer = post(
        receiver,
        "/alerts/rules/new",
        **{
            "name": "Production",
            "query": "stage:production,none  odoo:19.0",
            "kind-down": "1",
            "kind-twin": "1",
            "after": "2.5",
            "remind": "60",
            "channel_id": channel_id,
        },
    )

    in_form = only(receiver, "rules")
    remove_rules(receiver)
    asked = {
        "name": "Production",
        "query": "odoo:19.0 stage:production,none",
        "kinds": ["twin", "down"],
        "after_seconds": 150,
        "remind_seconds": 3600,
        "channel_id": channel_id,
    }
    receiver.post("/rules", json=asked).raise_for_status()
    assert "The rule Production was made." == notice(receiver, answer)
    assert only(receiver, "rules") == in_form


def remove_rules(client: httpx.Client) -> None:
    for rule in client.get("/rules").json()["rules"]:
        client.delete(f"/rules/{rule['id']}").raise_for_status()


def test_rule_has_every_kind_of_alarm_in_its_form(receiver: httpx.Client) -> None:
    channel_id = new_channel(receiver)
    remove_rules(receiver)
    every = {f"kind-{kind}": "1" for kind in TELLABLE}

    answer = post(
        receiver, "/alerts/rules/new", name="All", channel_id=channel_id, after="", **every
    )

    assert 303 == answer.status_code
    assert sorted(TELLABLE) == only(receiver, "rules")["kinds"]
    page = receiver.get("/alerts/rules/new").text
    assert TELLABLE == {*re.findall(r'name="kind-(\w+)"', page)} == HINTS.keys()


def test_rule_form_starts_with_the_stored_values(receiver: httpx.Client) -> None:
    new_channel(receiver)
    (rule,) = receiver.get("/rules").json()["rules"]
    path = f"/alerts/rules/{rule['id']}"
    shown = fields_of(receiver.get(path))

    answer = post(
        receiver,
        path,
        **{**shown, "name": "Changed", "remind": "30"},
        channel_id=rule["channel_id"],
    )

    assert {
        "name": "Down for five minutes",
        "query": "stage:none,production",
        "kind-down": "1",
        "after": "5",
        "remind": "",
    } == {name: text for name, text in shown.items() if name != "form"}
    assert "The rule Changed was changed." == notice(receiver, answer)
    (changed,) = receiver.get("/rules").json()["rules"]
    assert {**rule, "name": "Changed", "remind_seconds": 1800} == changed


def test_rule_is_removed_after_a_question(receiver: httpx.Client) -> None:
    new_channel(receiver)
    (rule,) = receiver.get("/rules").json()["rules"]
    path = f"/alerts/rules/{rule['id']}/remove"

    assert "Remove this rule?" == title(receiver.get(path))
    assert "The rule Down for five minutes was removed." == notice(receiver, post(receiver, path))
    assert 0 == receiver.get("/rules").json()["count"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind-down": "1", "query": "colour:blue"}, "Servers "),
        ({"query": ""}, "What is told expected at least one kind of alarms"),
        ({"kind-down": "1", "after": "soon"}, "After, in minutes expected a whole number"),
        ({"kind-down": "1", "remind": "1"}, "Again every, in minutes expected a whole number"),
        ({"kind-down": "1", "remind": "inf"}, "Again every, in minutes expected a whole number"),
        ({"kind-down": "1", "channel_id": "none"}, "Channel there is no channel"),
    ],
)
def test_refused_rule_form_keeps_the_input(
    receiver: httpx.Client, fields: dict[str, str], said: str
) -> None:
    given = {"name": "Mine", "channel_id": new_channel(receiver), **fields}

    answer = post(receiver, "/alerts/rules/new", **given)

    assert 422 == answer.status_code
    assert said in fault(answer)
    assert {"Mine", *fields.values()} - {"none"} <= {*fields_of(answer).values()}
