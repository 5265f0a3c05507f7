"""The pages of alerts: what is alarming, forms for channels, rules and silences, and the report."""

import csv
import html
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import httpx
import pytest
from attrs import evolve
from sqlalchemy import Engine, text

import messages
from alert_values import NOW
from alert_values import silence as a_silence
from alerting import alerting_app, fill
from contract import ServerRecord
from keyring import bearer, keep, made
from receiver.app import create_app
from receiver.domain.alerts.values import TELLABLE
from receiver.domain.filter_text import FilterText
from receiver.service.alerts.outbox import WAITS
from receiver.web.pages.silenced import Silenced, Window
from servers import Clock, serve, wait_until
from sinks import HttpSink, closed_port, http_sink

HOSTILE = "<script>alert('x')</script>\"&\u202e"
NOWHERE = "http://127.0.0.1:9/hook"


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver without keys, which may send messages to this machine."""
    with serve(alerting_app(database_url, clock)) as client:
        yield client


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as sink:
        yield sink


def token(client: httpx.Client, path: str) -> str:
    """The CSRF token in the forms of a page; sets its cookie."""
    (found, *_) = re.findall(r'name="form" value="([^"]+)"', client.get(path).text)
    return str(found)


def post(client: httpx.Client, path: str, *, page: str | None = None, **fields: str) -> Any:
    """Send the form that is posted to `path` and is on `page`, by default that path."""
    form = {"form": token(client, page or path), **fields}
    return client.post(path, data=form)


def notice(client: httpx.Client, answer: httpx.Response, *, page: str = "/alerts") -> str:
    """Follow the redirect of a form to `page`; the text that this page shows once."""
    assert 303 == answer.status_code, answer.text
    there = client.get(str(answer.url.join(answer.headers["location"])))
    assert page == there.url.path
    (found,) = re.findall(r'id="notice" role="status">(.*?)</p>', there.text)
    return html.unescape(re.sub("<[^>]+>", "", found))


def fault(page: httpx.Response) -> str:
    """The error message on a page with a form."""
    (found,) = re.findall(r'role="alert">(.*?)</(?:p|div)>', page.text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def title(page: httpx.Response) -> str:
    (found,) = re.findall(r"<h1>([^<]*)</h1>", page.text)
    return html.unescape(found)


def fields_of(page: httpx.Response) -> dict[str, str]:
    """The texts in the input fields of a page, and `1` for each checkbox that is ticked."""
    found = {}
    for field in re.findall(r"<input ([^>]*)>", page.text):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', field))
        if attributes["type"] != "checkbox" or field.endswith(" checked"):
            found[attributes["name"]] = html.unescape(attributes.get("value", ""))
    return found


CHANNEL = {
    "name": "Operators",
    "kind": "webhook",
    "address": NOWHERE,
    "per_hour": "20",
    "report_at": "0 8 * * 1",
    "time_zone": "Europe/Vienna",
}


def new_channel(client: httpx.Client, **changed: Any) -> str:
    """Make a channel by the API; its id."""
    asked = {"name": "Operators", "kind": "webhook", "address": {"url": NOWHERE}, **changed}
    answer = client.post("/channels", json=asked).raise_for_status()
    return str(answer.json()["channel"]["id"])


def only(client: httpx.Client, what: str) -> dict[str, Any]:
    """The only channel, rule or silence that the API lists, without what no two have in common."""
    (found,) = client.get(f"/{what}").json()[what]
    return {name: value for name, value in found.items() if name not in {"id", "created_at"}}


# The page


def test_alerts_page_of_a_new_receiver_says_how_to_begin(receiver: httpx.Client) -> None:
    page = receiver.get("/alerts").text

    assert "Nobody is told of anything yet" in page
    assert 'href="./alerts/channels/new"' in page
    assert "Nothing is alarming" in page
    headings = re.findall(r"<h2[^>]*>(?:<span[^>]*>)?([^<]+)", page.partition("<footer")[0])
    assert ["Nobody is told of anything yet", "Nothing is alarming", "Silences"] == headings


@pytest.mark.both_databases
def test_alerts_page_shows_open_alarms_and_who_was_told(
    receiver: httpx.Client, clock: Clock, sink: HttpSink
) -> None:
    channel_id = new_channel(receiver, address={"url": sink.url})
    goes_down(receiver, clock, channel_id)
    wait_until(lambda: sink.received != [])
    wait_until(lambda: "sent <time" in receiver.get("/alerts").text)
    # The message may be sent before its receiver has counted again how many alarms are open.
    wait_until(lambda: "<title>(1) Alerts" in receiver.get("/alerts").text)

    page = receiver.get("/alerts").text

    assert ">1 alarming now<" in page
    assert 'href="./server/acme_web-1"' in page
    assert ">went down<" in page
    assert "through <bdi>Operators</bdi>" in page
    assert "Down: acme" in page
    assert 'id="untold"' not in page
    assert '<span class="told told">told <time' in receiver.get("/").text
    assert '<span class="count">1<span class="unseen"> alarming</span></span>' in page


def goes_down(client: httpx.Client, clock: Clock, channel_id: str, **rule: Any) -> int:
    """Let a server go down, of which a rule tells at once; the id of the alarm."""
    asked = {"name": "At once", "kinds": ["down"], "channel_id": channel_id, **rule}
    client.post("/rules", json=asked).raise_for_status()
    for each in client.get("/rules").json()["rules"]:
        if each["name"] != asked["name"]:
            client.delete(f"/rules/{each['id']}").raise_for_status()
    client.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    for state in ("late", "down"):
        clock.advance(200)
        wait_until(lambda: client.get("/servers/acme_web-1").json()["state"] == state)  # noqa: B023 - called at once
        wait_until(
            lambda: client.get(f"/events?kind={state}").json()["count"] == 1  # noqa: B023 - called at once
        )
    wait_until(lambda: client.get("/alarms?open=true").json()["count"] == 1)
    clock.advance(40)  # what is due within half a minute is one message
    (alarm,) = client.get("/alarms?open=true").json()["alarms"]
    return int(alarm["id"])


def test_acknowledged_alarm_says_by_whom(receiver: httpx.Client, clock: Clock) -> None:
    alarm_id = goes_down(receiver, clock, new_channel(receiver))

    answer = post(receiver, f"/alerts/alarms/{alarm_id}/acknowledge", page="/alerts")

    assert "The alarm was acknowledged: nobody is reminded of it any more." == notice(
        receiver, answer
    )
    assert "by <bdi>somebody without a key</bdi>" in receiver.get("/alerts").text
    assert "/acknowledge" not in receiver.get("/alerts").text


def test_ended_alarm_is_listed_as_ended(receiver: httpx.Client, clock: Clock) -> None:
    alarm_id = goes_down(receiver, clock, new_channel(receiver), after_seconds=600)
    for path in ("/", "/alerts"):
        assert "nobody is told before <time" in receiver.get(path).text
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    wait_until(lambda: receiver.get("/alarms?open=true").json()["count"] == 0)

    page = receiver.get("/alerts").text
    late = post(receiver, f"/alerts/alarms/{alarm_id}/acknowledge", page="/alerts")

    assert "Nothing is alarming" in page
    assert "<small>recovered</small>" in page
    assert (409, "That did not work") == (late.status_code, title(late))
    assert 'href="../../../alerts"' in late.text


def test_silenced_alarm_is_shown_as_silenced_and_not_counted(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/silences", json={"query": "", "reason": "x", "duration_seconds": 3600})
    goes_down(receiver, clock, new_channel(receiver))
    wait_until(lambda: "Nothing is alarming, 1 silenced" in receiver.get("/alerts").text)

    page = receiver.get("/alerts").text
    assert "<title>Alerts" in page
    assert 'class="state silenced"' in page


def test_alerts_page_lists_alarms_of_a_silent_fleet_under_the_fleet_alarm(
    receiver: httpx.Client, clock: Clock
) -> None:
    new_channel(receiver)
    beats = [messages.heartbeat(server_id=f"s{n}", odoo_stage="production") for n in range(6)]
    receiver.post("/heartbeats", json=beats).raise_for_status()
    for kind in ("late", "down"):
        clock.advance(200)
        wait_until(
            lambda: receiver.get(f"/events?kind={kind}").json()["count"] == 6  # noqa: B023 - called at once
        )
    wait_until(lambda: receiver.get("/alarms?open=true").json()["count"] == 7)

    page = receiver.get("/alerts").text

    assert ">1 alarming now<" in page
    assert "6 of 6 servers" in page
    assert 'untold-later-down"><b><a href="./?query=state%3Adown">6 servers</a> are down' in page
    assert "nobody is told before <time" in page
    assert "6 that are told with the fleet" in page


def test_alerts_page_warns_of_a_message_that_was_given_up(
    receiver: httpx.Client, clock: Clock, engine: Engine
) -> None:
    channel_id = new_channel(receiver, address={"url": f"http://127.0.0.1:{closed_port()}/"})
    goes_down(receiver, clock, channel_id)
    wait_until(lambda: receiver.get("/deliveries").json()["count"] == 1)
    wait_until(lambda: waits_after(receiver, clock, 1))
    with engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET attempts = :number"), {"number": len(WAITS)})
    clock.advance(9 * 3600)
    wait_until(lambda: is_given_up(receiver))

    page = receiver.get("/alerts").text
    assert "1 message could not be delivered within a day, and was given up." in page
    assert '<b class="fell">given up</b> after' in page
    assert "there was no answer" in page
    wait_until(lambda: "<b>1 message</b> about alarms reached nobody" in receiver.get("/").text)


def waits_after(client: httpx.Client, clock: Clock, attempts: int) -> bool:
    """Whether so many attempts to deliver the only message have failed, and the next is later."""
    (delivery,) = client.get("/deliveries").json()["deliveries"]
    if delivery["attempts"] != attempts or delivery["next_at"] is None:
        return False
    return datetime.fromisoformat(delivery["next_at"]) > clock.now


def is_given_up(client: httpx.Client) -> bool:
    (delivery,) = client.get("/deliveries").json()["deliveries"]
    return delivery["given_up_at"] is not None


def test_alerts_page_says_why_no_message_is_sent_about_a_server(
    receiver: httpx.Client, clock: Clock
) -> None:
    channel_id = new_channel(receiver)
    beat = messages.heartbeat(odoo_stage="staging")
    receiver.post("/heartbeat", json=beat).raise_for_status()
    for state in ("late", "down"):
        clock.advance(200)
        wait_until(lambda: receiver.get("/servers/acme_web-1").json()["state"] == state)  # noqa: B023 - called at once
        wait_until(lambda: receiver.get(f"/events?kind={state}").json()["count"] == 1)  # noqa: B023 - called at once
    clock.advance(100)

    def says(path: str, text: str) -> bool:
        return text in receiver.get(path).text

    # What is wrong is read every few seconds.
    for path in ("/", "/alerts"):
        wait_until(lambda: says(path, "nobody was told: no rule is about this"))  # noqa: B023 - called at once
        assert says(path, 'href="./alerts/rules/new">Add a rule')
    rule = {"name": "Late", "query": "stage:staging", "kinds": ["down"], "channel_id": channel_id}
    receiver.post("/rules", json=rule).raise_for_status()
    wait_until(lambda: bool(receiver.get("/deliveries").json()["deliveries"]))
    for path in ("/", "/alerts"):
        wait_until(lambda: not says(path, "nobody was told"))  # noqa: B023 - called at once


# Channels


@pytest.mark.both_databases
def test_channel_made_in_the_form_is_the_one_that_the_api_makes(receiver: httpx.Client) -> None:
    answer = post(receiver, "/alerts/channels/new", **CHANNEL)
    said = notice(receiver, answer)

    in_form = only(receiver, "channels")
    (channel,) = receiver.get("/channels").json()["channels"]
    receiver.delete(f"/channels/{channel['id']}").raise_for_status()
    new_channel(receiver, per_hour=20, report_at="0 8 * * 1", time_zone="Europe/Vienna")
    assert only(receiver, "channels") == in_form
    assert re.fullmatch(
        r"The channel Operators was made\. This is the only time that the secret which signs its "
        r"messages is shown: whsec_[A-Za-z0-9+/=]{44}",
        said,
    )


def test_secret_of_a_channel_is_shown_once_and_reloading_makes_nothing(
    receiver: httpx.Client,
) -> None:
    notice(receiver, post(receiver, "/alerts/channels/new", **CHANNEL))

    again = receiver.get("/alerts").text

    assert "whsec_" not in again
    assert NOWHERE not in again
    assert 1 == receiver.get("/channels").json()["count"]


def test_first_channel_gets_the_default_rule(receiver: httpx.Client) -> None:
    post(receiver, "/alerts/channels/new", **CHANNEL)

    page = receiver.get("/alerts").text

    assert "Down for five minutes" in page
    assert "<code><bdi>stage:none,production</bdi></code>" in page
    assert "after 5 min" in page


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"time_zone": "Europe/Nowhere"}, "Time zone expected an IANA time zone"),
        ({"per_hour": "many"}, "Messages an hour expected a whole number"),
        ({"address": "file:///etc/passwd"}, "Address "),
        ({"report_at": "at eight"}, "Weekly report "),
        ({"name": ""}, "Name expected 1 to 100 printable characters"),
    ],
)
def test_refused_channel_is_shown_again_without_its_address(
    receiver: httpx.Client, changed: dict[str, str], said: str
) -> None:
    answer = post(receiver, "/alerts/channels/new", **{**CHANNEL, **changed})

    assert 422 == answer.status_code
    assert fault(answer).startswith(said)
    assert {**CHANNEL, **changed, "address": ""}.items() >= (
        fields_of(answer).items() - {("form", fields_of(answer)["form"])}
    )
    assert 0 == receiver.get("/channels").json()["count"]


def test_channel_without_a_secret_key_of_the_receiver_says_how_to_make_one(
    database_url: str, clock: Clock
) -> None:
    with serve(create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)) as client:
        answer = post(client, "/alerts/channels/new", **CHANNEL)

    assert 409 == answer.status_code
    assert "secret-key" in fault(answer)


def test_change_of_a_channel_leaves_the_address_unless_there_is_another(
    receiver: httpx.Client,
) -> None:
    path = f"/alerts/channels/{new_channel(receiver, report_at='0 8 * * 1')}"
    shown = fields_of(receiver.get(path))
    same = post(receiver, path, **{**shown, "name": "Others", "report_at": ""})

    assert {
        "name": "Operators",
        "per_hour": "20",
        "report_at": "0 8 * * 1",
    }.items() <= shown.items()
    assert "" == shown["address"]
    assert "The channel Others was changed." == notice(receiver, same)
    assert ("127.0.0.1", None) == tuple(
        only(receiver, "channels")[name] for name in ("service", "report_at")
    )
    other = post(receiver, path, **{**shown, "address": "http://127.0.0.2:9/"})
    assert "whsec_" in notice(receiver, other)
    assert "127.0.0.2" == only(receiver, "channels")["service"]


def test_channel_is_removed_after_a_question(receiver: httpx.Client) -> None:
    path = f"/alerts/channels/{new_channel(receiver)}/remove"
    asked = receiver.get(path)

    assert "Remove this channel?" == title(asked)
    assert 1 == receiver.get("/channels").json()["count"]
    assert "The channel Operators was removed." == notice(receiver, post(receiver, path))
    assert 0 == receiver.get("/channels").json()["count"]


def test_channel_test_button_shows_its_outcome(receiver: httpx.Client, sink: HttpSink) -> None:
    works = new_channel(receiver, address={"url": sink.url})
    fails = new_channel(receiver, address={"url": f"http://127.0.0.1:{closed_port()}/"})

    sent = post(receiver, f"/alerts/channels/{works}/test", page="/alerts")
    assert "A test was sent through the channel Operators." == notice(receiver, sent)
    failed = post(receiver, f"/alerts/channels/{fails}/test", page="/alerts")
    assert "The test through the channel Operators failed: there was no answer" in notice(
        receiver, failed
    )
    (request,) = sink.received
    assert "fleet.test" == request.json["type"]


# Rules


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
    assert TELLABLE == {*re.findall(r'name="kind-(\w+)"', page)}


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


# Silences


@pytest.mark.both_databases
def test_silence_made_in_the_form_is_the_one_that_the_api_makes(receiver: httpx.Client) -> None:
    answer = post(
        receiver,
        "/alerts/silences/new",
        query="stage:staging",
        reason="Upgrade",
        begins_at="2026-03-29T01:30",
        ends_at="2026-03-29T03:30",
        lasts="",
        cron="",
        time_zone="Europe/Vienna",
    )

    in_form = only(receiver, "silences")
    end_silences(receiver)
    asked = {
        "query": "stage:staging",
        "reason": "Upgrade",
        "begins_at": "2026-03-29T00:30:00Z",
        "ends_at": "2026-03-29T01:30:00Z",
        "time_zone": "Europe/Vienna",
    }
    receiver.post("/silences", json=asked).raise_for_status()
    assert (
        "All servers that match stage:staging, 0 now, will be silenced from "
        "2026-03-29 00:30:00 UTC until 2026-03-29 01:30:00 UTC. Show the silence"
    ) == notice(receiver, answer)
    assert only(receiver, "silences") == in_form


def end_silences(client: httpx.Client) -> None:
    for silence in client.get("/silences").json()["silences"]:
        client.delete(f"/silences/{silence['id']}").raise_for_status()


def test_recurring_silence_is_made_in_the_form_and_listed(receiver: httpx.Client) -> None:
    answer = post(
        receiver,
        "/alerts/silences/new",
        query="",
        reason="Backup",
        lasts="90",
        cron="0 22 * * 6",
        time_zone="Europe/Vienna",
    )

    assert (
        "All servers, 0 now, will be silenced again and again, each time for 1 h 30 min. "
        "Show the silence"
    ) == notice(receiver, answer)
    made = only(receiver, "silences")
    assert ("0 22 * * 6", 5400, None) == tuple(
        made[name] for name in ("cron", "duration_seconds", "ends_at")
    )
    page = receiver.get("/alerts").text
    assert "<code>0 22 * * 6</code> for 1 h 30 min<small>Europe/Vienna</small>" in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lasts": ""}, "Ends say until when"),
        ({"reason": ""}, "Reason expected 1 to 200 printable characters"),
        ({"begins_at": "soon"}, "Begins expected"),
        ({"begins_at": "2026-01-31T12:00", "time_zone": "Nowhere"}, "Begins expected"),
        ({"cron": "daily"}, "Again and again "),
        ({"query": '"'}, "Servers "),
    ],
)
def test_refused_silence_form_keeps_the_input(
    receiver: httpx.Client, fields: dict[str, str], said: str
) -> None:
    given = {"query": "a", "reason": "b", "lasts": "60", "time_zone": "UTC", **fields}

    answer = post(receiver, "/alerts/silences/new", **given)

    assert 422 == answer.status_code
    assert said in fault(answer)
    assert given.items() <= fields_of(answer).items()


@pytest.mark.parametrize(
    ("what", "most", "fields"),
    [
        ("channels", 100, CHANNEL),
        ("rules", 1000, {"name": "a", "kind-down": "1", "channel_id": "mail"}),
        ("silences", 1000, {"reason": "a", "lasts": "60", "time_zone": "UTC"}),
    ],
)
def test_refusal_of_one_too_many_leads_to_those_that_can_be_removed(
    receiver: httpx.Client, engine: Engine, what: str, most: int, fields: dict[str, str]
) -> None:
    fill(engine, what, most)

    page = post(receiver, f"/alerts/{what}/new", **fields)

    assert 409 == page.status_code
    assert f"There are too many {what}." in fault(page)
    (link,) = re.findall(r'href="([^"]*#\w+)">All', page.text)
    there = receiver.get(str(page.url.join(html.unescape(link))))
    assert "/alerts" == there.url.path
    assert f'id="{what}"' in there.text
    assert most <= there.text.count(f"alerts/{what}/{what}-")


def test_silence_is_ended_by_its_button(receiver: httpx.Client) -> None:
    asked = {"query": "stage:dev", "reason": "a", "duration_seconds": 3600}
    silence_id = receiver.post("/silences", json=asked).json()["id"]

    answer = post(receiver, f"/alerts/silences/{silence_id}/end", page="/alerts")

    assert "The silence was ended. Alarms that last are told now." == notice(receiver, answer)
    assert 0 == receiver.get("/silences").json()["count"]
    assert "Nothing is silenced." in receiver.get("/alerts").text


@pytest.mark.parametrize("server_id", ["acme_web-1", "a/b", ".."])
def test_server_is_silenced_on_its_page_and_marked_in_the_list(
    receiver: httpx.Client, server_id: str
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id)).raise_for_status()
    (link,) = re.findall(r'data-label="Database"><a href="([^"]+)"', receiver.get("/").text)
    page = str(receiver.base_url.join(html.unescape(link)))
    text = receiver.get(page).text
    (action,) = re.findall(r'<form id="silence"[^>]* action="([^"]+)"', text)
    minutes = re.findall('name="minutes" value="(.*?)"', text)
    assert ["120", "30", "60", "240", "480", "1440"] == minutes
    path = str(httpx.URL(page).join(html.unescape(action)))

    answer = post(receiver, path, page=page, minutes="30", reason="Upgrade")
    there = receiver.get(str(answer.url.join(answer.headers["location"])))

    assert "The server is silenced</bdi> until <time " in there.text
    assert ">2026-01-31 12:30:00 UTC</time>. <a href" in there.text
    assert "Silenced: nobody is told of its alarms" in there.text
    assert "<bdi>Upgrade</bdi>" in there.text
    assert 'title="No alarm is told until 2026-01-31 12:30:00 UTC"' in (receiver.get("/").text)
    assert (server_id, "Upgrade") == tuple(
        only(receiver, "silences")[name] for name in ("server_id", "reason")
    )


def test_silence_of_a_server_needs_no_reason_and_a_length(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    page = "/server/acme_web-1"

    plain = post(receiver, f"{page}/silence", page=page, minutes="15", reason="")

    assert "The server is silenced until 2026-01-31 12:15:00 UTC. Show the silence" == notice(
        receiver, plain, page=page
    )
    assert "maintenance" == only(receiver, "silences")["reason"]
    wrong = post(receiver, f"{page}/silence", page=page, minutes="a while", reason="")
    assert 422 == wrong.status_code
    assert "minutes" in wrong.text


def test_silence_by_a_filter_marks_those_that_match(receiver: httpx.Client) -> None:
    fleet = [
        messages.heartbeat(server_id=f"s{n}", odoo_stage=["dev", "staging"][n]) for n in (0, 1)
    ]
    receiver.post("/heartbeats", json=fleet).raise_for_status()
    receiver.post(
        "/silences", json={"query": "stage:dev", "reason": HOSTILE[:-1], "duration_seconds": 60}
    ).raise_for_status()

    assert 1 == receiver.get("/").text.count('class="state silenced"')
    page = receiver.get("/server/s0").text
    assert "with <code><bdi>stage:dev</bdi></code>" in page
    assert "<script>alert" not in page
    assert "Silenced: nobody is told of its alarms" not in receiver.get("/server/s1").text


def test_node_is_silenced_with_the_server_that_stands_for_it() -> None:
    window = Window(a_silence(server_id="leader"), None, NOW)
    record = ServerRecord(server_id="leader", first_seen=NOW, last_seen=NOW, state_since=NOW)

    assert window.covers(record)
    assert window.covers(evolve(record, server_id="node", node_of="leader"))
    assert not window.covers(evolve(record, server_id="other"))


def test_silenced_server_is_silenced_until_the_end_of_its_last_silence() -> None:
    ends = [NOW + timedelta(hours=hours) for hours in (1, 3, 2)]
    silenced = Silenced(tuple(Window(a_silence(), FilterText(), end) for end in ends))
    record = ServerRecord(server_id="a", first_seen=NOW, last_seen=NOW, state_since=NOW)

    assert {"a": ends[1]} == silenced.until([record])
    assert {} == Silenced(()).until([record])


# Who may do it, and what else forms have


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/alerts/channels/none", "channel"),
        ("/alerts/channels/none/remove", "channel"),
        ("/alerts/rules/none", "rule"),
        ("/alerts/rules/none/remove", "rule"),
    ],
)
def test_alerts_page_of_an_unknown_id_is_404(receiver: httpx.Client, path: str, what: str) -> None:
    answer = receiver.get(path)

    assert (404, f"There is no such {what}") == (answer.status_code, title(answer))
    assert "All alerts" in answer.text


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/alerts/silences/none/end", "silence"),
        ("/alerts/alarms/none/acknowledge", "alarm"),
        ("/alerts/alarms/7/acknowledge", "alarm"),
        ("/alerts/channels/none/test", "channel"),
        ("/alerts/rules/none", "rule"),
    ],
)
def test_alerts_form_for_an_unknown_id_is_404(receiver: httpx.Client, path: str, what: str) -> None:
    answer = post(receiver, path, page="/alerts/channels/new")

    assert (404, f"There is no such {what}") == (answer.status_code, title(answer))


def test_alerts_form_without_a_csrf_token_changes_nothing(receiver: httpx.Client) -> None:
    answer = receiver.post("/alerts/channels/new", data=CHANNEL)

    assert 403 == answer.status_code
    assert "Nothing was changed. Send it again" in fault(answer)
    assert 0 == receiver.get("/channels").json()["count"]


@pytest.mark.parametrize(
    "path", ["/alerts", "/alerts/channels/new", "/report", "/alerts/rules/new?query=stage:dev"]
)
def test_sign_in_leads_back_to_the_alerts_page(
    receiver: httpx.Client, database_url: str, path: str
) -> None:
    key, secret = made("admin")
    keep(database_url, key)
    wait_until(lambda: receiver.get(path).status_code == 401)
    asked = receiver.get(path)
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))

    answer = receiver.post("/sign-in", data={**form, "key": secret})

    assert html.unescape(form["to"]) == path
    assert receiver.base_url.join(path) == answer.url.join(answer.headers["location"])


def test_session_that_ended_leads_from_a_button_back_to_the_page(
    receiver: httpx.Client, database_url: str
) -> None:
    channel_id = new_channel(receiver)
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    keep(database_url, made("admin")[0])
    wait_until(lambda: receiver.get("/alerts").status_code == 401)

    for path, to in (
        (f"/alerts/channels/{channel_id}/test", "/alerts"),
        ("/alerts/silences/a/end", "/alerts"),
        ("/alerts/alarms/1/acknowledge", "/alerts"),
        (f"/alerts/channels/{channel_id}/remove", f"/alerts/channels/{channel_id}/remove"),
        ("/server/acme_web-1/silence", "/server/acme_web-1"),
        ("/server/silence/owner", "/server/silence"),
    ):
        asked = receiver.post(path)
        assert 401 == asked.status_code
        assert f'name="to" value="{to}"' in asked.text


def test_viewer_sees_alerts_and_changes_nothing(
    receiver: httpx.Client, clock: Clock, database_url: str
) -> None:
    goes_down(receiver, clock, new_channel(receiver))
    receiver.post("/silences", json={"query": "", "reason": "a", "duration_seconds": 60})
    key, secret = made("viewer")
    keep(database_url, key)
    wait_until(lambda: receiver.get("/alerts").status_code == 401)
    as_viewer = bearer(secret)

    page = receiver.get("/alerts", headers=as_viewer).text
    server = receiver.get("/server/acme_web-1", headers=as_viewer).text
    form = receiver.get("/alerts/channels/new", headers=as_viewer)

    assert "went down" in page
    assert "Operators" in page
    for change in ("/acknowledge", "/test", "/end", "/remove", '/new"'):
        assert change not in page
    assert 'id="silence"' not in server
    assert 403 == form.status_code


def test_number_of_alarms_is_shown_only_to_keys_that_may_read(
    receiver: httpx.Client, clock: Clock, database_url: str
) -> None:
    goes_down(receiver, clock, new_channel(receiver))
    wait_until(lambda: 'class="count"' in receiver.get("/timeline").text)
    agent, agents = made("agent")
    viewer, viewers = made("viewer")
    keep(database_url, agent, viewer)
    wait_until(lambda: receiver.get("/alerts").status_code == 401)

    assert 'class="count"' in receiver.get("/timeline", headers=bearer(viewers)).text
    for path, headers in (
        ("/", {}),
        ("/sign-in", {}),
        ("/sign-in", bearer(agents)),
        ("/", bearer(agents)),
    ):
        assert 'class="count"' not in receiver.get(path, headers=headers).text


def test_hostile_names_on_the_alerts_pages_are_escaped(receiver: httpx.Client) -> None:
    name = "<script>alert('x')</script>\"&"
    channel_id = new_channel(receiver, name=name)
    rule = {"name": name, "query": f"'{name.replace(chr(34), '')}", "kinds": ["down"]}
    receiver.post("/rules", json={**rule, "channel_id": channel_id}).raise_for_status()

    for path in ("/alerts", "/alerts/rules/new", f"/alerts/channels/{channel_id}"):
        page = receiver.get(path).text
        assert "<script>alert" not in page
        assert name in html.unescape(page)


# The report


@pytest.mark.both_databases
def test_report_is_a_page_and_a_csv(receiver: httpx.Client, clock: Clock) -> None:
    goes_down(receiver, clock, new_channel(receiver))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="new", database="=1+1"))
    clock.advance(200)

    page = receiver.get("/report").text
    table = receiver.get("/report.csv")

    rows = {row["server_id"]: row for row in csv.DictReader(StringIO(table.text, newline=""))}
    assert "text/csv" == table.headers["content-type"].partition(";")[0]
    assert 'attachment; filename="fleet-2026-01-31.csv"' == table.headers["content-disposition"]
    assert {"acme_web-1", "new"} == rows.keys()
    assert ("1", "1", "True") == tuple(
        rows["acme_web-1"][name] for name in ("down", "alarms", "new")
    )
    assert 0 < float(rows["acme_web-1"]["availability"]) < 1
    assert "'=1+1" == rows["new"]["database"]
    assert "2 databases" in page
    assert f"<bdi>{html.escape('=1+1')}</bdi>" in page


def test_report_of_an_earlier_week_leaves_out_what_came_later(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    clock.advance(timedelta(days=8).total_seconds())
    newest = receiver.get("/report")

    (link,) = re.findall(r'href="([^"]+)" rel="prev"', newest.text)
    earlier = receiver.get(str(newest.url.join(html.unescape(link))))

    assert "none" in newest.text
    assert "The last seven days" not in newest.text
    assert "The last seven days" in earlier.text
    assert "<small>new</small>" in earlier.text
    assert "<small>new</small>" not in newest.text


def test_report_without_servers_says_so(receiver: httpx.Client) -> None:
    assert "There was no server." in receiver.get("/report").text


@pytest.mark.parametrize(
    "query", ["until=2027-01-01T00:00:00Z", "until=2020-01-01T00:00:00Z", "until=now", "since=1"]
)
def test_report_of_another_time_is_refused(receiver: httpx.Client, query: str) -> None:
    page = receiver.get(f"/report?{query}")
    table = receiver.get(f"/report.csv?{query}")

    assert (400, 400) == (page.status_code, table.status_code)
    assert "This address cannot be understood" == title(page)
    assert "invalid_parameter" == table.json()["code"]
