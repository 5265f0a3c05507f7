"""The page of alarms: what is alarming, and who was told."""

import re
from datetime import datetime

import httpx
import pytest
from sqlalchemy import Engine, text

import messages
from alert_calls import new_channel
from alert_forms import goes_down, notice, post
from form_filling import title
from receiver.service.alerts.outbox import WAITS
from servers import Clock, wait_until
from sinks import HttpSink, closed_port


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
    assert '<span class="told told"><a href="./alerts#told">told <time' in receiver.get("/").text
    sent = re.search(r'data-label="When"><time [^>]*>([^<]*)<', page.partition('id="told"')[2])
    assert sent is not None
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", sent[1])
    assert '<span class="count">1<span class="unseen"> alarming</span></span>' in page


def test_alerts_page_says_of_how_many_servers_several_rules_tell(
    receiver: httpx.Client, clock: Clock
) -> None:
    channel_id = new_channel(receiver)
    goes_down(receiver, clock, channel_id)
    again = {"name": "Again", "kinds": ["down"], "channel_id": channel_id}
    receiver.post("/rules", json=again).raise_for_status()
    wait_until(lambda: receiver.get("/alarms?open=true").json()["count"] == 2)

    assert ">2 alarming now, about 1 server<" in receiver.get("/alerts").text


def test_acknowledged_alarm_says_by_whom(receiver: httpx.Client, clock: Clock) -> None:
    alarm_id = goes_down(receiver, clock, new_channel(receiver))
    wait_until(lambda: receiver.get("/alarms").json()["alarms"][0]["told_at"] is not None)

    answer = post(receiver, f"/alerts/alarms/{alarm_id}/acknowledge", page="/alerts")

    assert "The alarm of acme was acknowledged: nobody is reminded of it any more." == notice(
        receiver, answer
    )
    assert "by <bdi>somebody without a key</bdi>" in receiver.get("/alerts").text
    assert "/acknowledge" not in receiver.get("/alerts").text


def test_alarm_is_acknowledged_on_the_page_of_its_server(
    receiver: httpx.Client, clock: Clock
) -> None:
    """One that was not told yet is still told once."""
    alarm_id = goes_down(receiver, clock, new_channel(receiver), after_seconds=600)
    before = alarms_of_server(receiver)

    path = f"/alerts/alarms/{alarm_id}/acknowledge"
    answer = post(receiver, path, page="/server/acme_web-1", back="server")

    assert "Alarm: went down Told: not before 2026-01-31" in before
    assert before.endswith("Acknowledge acme_web-1 All alarms")
    assert (
        "The alarm of acme was acknowledged before it was told: it is told once, and nobody is "
        "reminded of it."
    ) == notice(receiver, answer, page="/server/acme_web-1")
    after = alarms_of_server(receiver)
    assert after.endswith("acknowledged just now by somebody without a key All alarms")


def alarms_of_server(client: httpx.Client) -> str:
    """The text of the section about alarms on the page of the server."""
    section = client.get("/server/acme_web-1").text.split('id="alarming"', 1)[1]
    section = section.partition(">")[2].split("</section>", 1)[0]
    return " ".join(re.sub("<[^>]*>", " ", section).split())


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
    lasting = receiver.get("/alarms?open=true").json()["alarms"]
    (of_fleet,) = (each["id"] for each in lasting if each["kind"] == "fleet_silent")
    answer = post(receiver, f"/alerts/alarms/{of_fleet}/acknowledge", page="/alerts")
    assert "The alarm was acknowledged: nobody is reminded of it any more." == notice(
        receiver, answer
    )


def test_alarms_of_a_large_outage_are_counted_and_all_but_the_newest_folded_away(
    receiver: httpx.Client, clock: Clock
) -> None:
    new_channel(receiver)
    names = {f"s{n:02d}": f"db{n // 2}" for n in range(50)}
    beats = [
        messages.heartbeat(server_id=each, database=name, odoo_stage="production")
        for each, name in names.items()
    ]
    receiver.post("/heartbeats", json=beats).raise_for_status()
    alive = [messages.slim(server_id=each) for each in [*names][22:]]
    for kind in ("late", "down"):
        for _ in range(4):
            clock.advance(50)
            receiver.post("/heartbeats", json=alive).raise_for_status()
        wait_until(
            lambda: receiver.get(f"/events?kind={kind}&limit=50").json()["count"] == 22  # noqa: B023 - called at once
        )
    wait_until(lambda: receiver.get("/alarms?open=true").json()["count"] == 22)

    page = receiver.get("/alerts").text

    assert ">22 alarming now<" in page
    first, _, further = page.partition('<details class="parts" id="further-alarms">')
    further = further.partition("</details>")[0]
    rows = [re.findall(r'<tr data-key="alarm-', each) for each in (first, further)]
    assert [20, 2] == [*map(len, rows)]
    assert "<summary>2 more, which began no later</summary>" in further
    assert {*[*names][:22]} == {*re.findall(r"<th [^>]*><a [^>]*><bdi>(\w+)</bdi>", page)}


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
