"""The weekly report, as a page, in JSON and as CSV."""

import csv
import html
import json
import re
from datetime import timedelta
from io import StringIO

import httpx
import jsonschema
import pytest

import messages
from alert_calls import new_channel
from alert_forms import goes_down
from form_filling import title
from receiver.web.pages.alerting import report
from servers import Clock, wait_until


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
    told = receiver.get("/report.json").json()
    assert (2, 1) == (told["databases"], told["alarms"])
    assert ["acme_web-1", "new"] == [line["server_id"] for line in told["lines"]]
    schema = receiver.get("/openapi.json").json()["paths"]["/report.json"]["get"]
    answered = schema["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(told, answered)
    lines = receiver.get("/report.json?format=jsonl").text.splitlines()
    assert told["lines"] == [json.loads(line) for line in lines]
    assert table.text == receiver.get("/report.json?format=csv").text


def test_report_calls_databases_of_the_same_name_by_their_ids(
    receiver: httpx.Client, clock: Clock
) -> None:
    for server_id, name in {"odoo_web-1": "odoo", "odoo_web-2": "odoo", "x": "acme"}.items():
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id, database=name))
    clock.advance(60)

    new = re.findall(r"<dt>New <b>3</b></dt><dd>(.*?)</dd>", receiver.get("/report").text)

    assert ["acme", "odoo_web-1", "odoo_web-2"] == sorted(re.findall("<bdi>([^<]*)", new[0]))


def test_report_lists_what_happened_and_folds_the_rest(
    receiver: httpx.Client, clock: Clock
) -> None:
    goes_down(receiver, clock, new_channel(receiver))
    for n in range(3):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"calm-{n}"))
    clock.advance(60)

    page = receiver.get("/report").text

    (table,) = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert ["acme_web-1"] == re.findall(r'title="([^"]+)"', table)
    assert ["1", "1"] == re.findall(r'data-label="(?:Went down|Alarms)">(\d+)<', table)
    assert ["Rebuilt", "Upgraded"] == re.findall(r'data-label="(\w+)" class="nil">0<', table)
    assert "The week before</th>" not in page
    (calm,) = re.findall(r'id="calm">(.*?)</details>', page, re.DOTALL)
    assert "3 were available all the time, and nothing happened to them" in calm
    assert [f"calm-{n}" for n in range(3)] == re.findall(r'title="([^"]+)"', calm)
    (new,) = re.findall(r"<dt>New <b>4</b></dt><dd>(.*?)</dd>", page)
    assert 4 == new.count('<a href="./server/')


def test_report_of_a_large_fleet_is_a_short_page(
    receiver: httpx.Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its table is folded after some lines, and what it leaves out is in the CSV."""
    monkeypatch.setattr(report, "SHOWN_LINES", 2)
    monkeypatch.setattr(report, "MOST_LINES", 3)
    monkeypatch.setattr(report, "MOST_NAMES", 1)
    for n in range(5):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"down-{n}"))
    clock.advance(100)
    for n in range(2):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"calm-{n}"))
    clock.advance(60)
    wait_until(lambda: receiver.get("/events", params={"kind": "late"}).json()["count"] == 5)
    clock.advance(30)

    page = receiver.get("/report").text

    shown, folded = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert (2, 1) == (shown.count("<tr>"), folded.count("<tr>"))
    assert "<summary>1 more</summary>" in page
    assert "2 more are in the <a" in page
    assert "and 1 more, which are in the CSV" in page


def test_report_of_servers_with_long_names_is_a_small_page(
    receiver: httpx.Client, clock: Clock
) -> None:
    fleet = [messages.heartbeat(server_id=f"{n:03}{'ü' * 250}") for n in range(100)]
    receiver.post("/heartbeats", json=fleet).raise_for_status()
    clock.advance(100)
    receiver.post("/heartbeats", json=fleet[:50]).raise_for_status()
    clock.advance(60)
    wait_until(lambda: receiver.get("/events?kind=late&limit=100").json()["count"] == 50)
    clock.advance(30)

    page = receiver.get("/report")

    assert len(page.content) < 120 * 1024
    assert "100 databases" in page.text
    assert re.search(r">and \d+ more, which are in the CSV<", page.text)
    assert re.search(r">\d+ more are in the <a", page.text)


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
    assert "<dt>New <b>1</b></dt>" in earlier.text
    assert "<dt>New <b>0</b></dt>" in newest.text


def test_report_without_servers_says_so(receiver: httpx.Client) -> None:
    assert "There was no server." in receiver.get("/report").text


@pytest.mark.parametrize(
    "query", ["until=2027-01-01T00:00:00Z", "until=2020-01-01T00:00:00Z", "until=now", "since=1"]
)
def test_report_of_another_time_is_refused(receiver: httpx.Client, query: str) -> None:
    page = receiver.get(f"/report?{query}")
    table = receiver.get(f"/report.csv?{query}")
    told = receiver.get(f"/report.json?{query}")

    assert (400, 400, 400) == (page.status_code, table.status_code, told.status_code)
    assert "This address cannot be understood" == title(page)
    assert "invalid_parameter" == table.json()["code"]
