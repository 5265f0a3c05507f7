"""The forms of silences, and the marks of silenced servers."""

import html
import re
from datetime import timedelta

import httpx
import pytest
from attrs import evolve
from sqlalchemy import Engine

import messages
from alert_forms import CHANNEL, HOSTILE, fields_of, notice, only, post
from alert_values import NOW
from alert_values import silence as a_silence
from alerting import fill
from form_filling import fault
from receiver.domain.filter_text import FilterText
from receiver.web.pages.silenced import Silenced, Window
from server_records import server_record


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


def test_end_of_a_silence_wins_over_its_minutes_in_the_form(receiver: httpx.Client) -> None:
    """The form has minutes from the beginning on, and whoever writes an end leaves them there."""
    page = receiver.get("/alerts/silences/new").text
    given = {"query": "a", "reason": "b", "lasts": "120", "ends_at": "2026-01-31T15:00"}

    post(receiver, "/alerts/silences/new", **given)

    assert 'name="lasts" value="120"' in page
    assert "Ends; empty: after the minutes below" in page
    assert "2026-01-31T15:00:00Z" == only(receiver, "silences")["ends_at"]


def test_form_of_a_silence_asks_before_it_silences_all(receiver: httpx.Client) -> None:
    given = {"query": "", "reason": "b", "lasts": "60"}

    refused = post(receiver, "/alerts/silences/new", **given)

    assert "Servers say which servers are silenced, or tick All servers" in fault(refused)
    assert 0 == receiver.get("/silences").json()["count"]
    post(receiver, "/alerts/silences/new", **given, all="1")
    assert "" == only(receiver, "silences")["query"]


def end_silences(client: httpx.Client) -> None:
    for silence in client.get("/silences").json()["silences"]:
        client.delete(f"/silences/{silence['id']}").raise_for_status()


def test_recurring_silence_is_made_in_the_form_and_listed(receiver: httpx.Client) -> None:
    answer = post(
        receiver,
        "/alerts/silences/new",
        query="",
        all="1",
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
        ({"query": " "}, "Servers say which servers are silenced, or tick All servers"),
        ({"all": "1"}, "Servers say which servers are silenced, or tick All servers"),
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
        ("silences", 1000, {"query": "a", "reason": "a", "lasts": "60", "time_zone": "UTC"}),
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
    record = server_record("leader", at=NOW)

    assert window.covers(record)
    assert window.covers(evolve(record, server_id="node", node_of="leader"))
    assert not window.covers(evolve(record, server_id="other"))


def test_silenced_server_is_silenced_until_the_end_of_its_last_silence() -> None:
    ends = [NOW + timedelta(hours=hours) for hours in (1, 3, 2)]
    silenced = Silenced(tuple(Window(a_silence(), FilterText(), end) for end in ends))
    record = server_record(at=NOW)

    assert {"a": ends[1]} == silenced.until([record])
    assert {} == Silenced(()).until([record])
