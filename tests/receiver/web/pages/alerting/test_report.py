"""The weekly report, as a page and as CSV."""

import csv
import html
import re
from datetime import timedelta
from io import StringIO

import httpx
import pytest

import messages
from alert_calls import new_channel
from alert_forms import goes_down
from form_filling import title
from servers import Clock


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
