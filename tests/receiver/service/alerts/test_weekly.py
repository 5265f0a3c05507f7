"""The report of a week: counts of the database and the availability of servers, put together."""

import asyncio
from datetime import datetime, timedelta

import pytest

from alert_values import channel as a_channel
from receiver.domain.alerts.reports import WEEK, DatabaseWeek, Report
from receiver.domain.alerts.values import DeliveryKind
from receiver.service.alerts.weekly import report_delivery, report_of_week
from receiver.service.store_calls import StoreCalls
from watched import Watched

DAY = 86_400.0
QUARTER_DAY = DAY / 4
CALLS = StoreCalls(patience=60)


@pytest.fixture
def past(fleet: Watched) -> Watched:
    """A server that was silent for two days, five days ago, and was heard before and after that."""
    fleet.beat("a", database="acme", heartbeat_interval_seconds=QUARTER_DAY)
    fleet.go_on(8 * DAY, "a", every=QUARTER_DAY)
    fleet.go_on(2 * DAY, every=QUARTER_DAY)
    fleet.go_on(5 * DAY, "a", every=QUARTER_DAY)
    return fleet


def report(fleet: Watched, *, until: datetime | None = None) -> Report:
    return asyncio.run(report_of_week(fleet.store, CALLS, until=until or fleet.now, now=fleet.now))


def line(found: Report) -> DatabaseWeek:
    (only,) = found.lines
    return only


def test_report_has_the_availability_of_the_week_and_of_the_week_before(past: Watched) -> None:
    found = line(report(past))

    assert found.availability is not None
    assert 5 / 7 < found.availability < 6 / 7
    assert 1.0 == found.availability_before
    assert ("acme", 1, False) == (found.name, found.down, found.is_new)


def test_report_of_an_earlier_week_ends_there(past: Watched) -> None:
    found = line(report(past, until=past.now - timedelta(days=8)))

    assert (1.0, None, 0) == (found.availability, found.availability_before, found.down)
    assert found.is_new


def test_server_that_came_later_is_not_in_the_report_of_an_earlier_week(past: Watched) -> None:
    past.beat("b")
    past.clock.advance(60)

    assert "a" == line(report(past, until=past.now - WEEK)).counts.server_id
    assert {"a", "b"} == {each.counts.server_id for each in report(past).lines}


def test_server_that_left_is_gone_in_the_weekly_report(fleet: Watched) -> None:
    fleet.beat("a", "b", database="acme")
    fleet.clock.advance(60)
    fleet.beat("b", status="uninstalled")
    fleet.clock.advance(60)

    found = report(fleet)

    assert [("a", False), ("b", True)] == [
        (each.counts.server_id, each.is_gone) for each in found.lines
    ]
    assert 1 == found.listed


def test_histories_of_many_servers_are_read_in_parts(fleet: Watched) -> None:
    fleet.beat(*(f"s{n:03}" for n in range(250)), heartbeat_interval_seconds=DAY)
    fleet.clock.advance(3600)

    found = report(fleet)

    assert 250 == len(found.lines)
    assert {1.0} == {each.availability for each in found.lines}


def test_report_is_a_message_in_the_time_zone_of_its_channel(past: Watched) -> None:
    channel = a_channel(time_zone="Pacific/Kiritimati")

    made = asyncio.run(
        report_delivery(
            past.store, CALLS, channel, past.now, public_url="https://fleet.example.com/"
        )
    )

    url = "https://fleet.example.com/report?until=2026-02-15T12:00:00Z"
    assert (DeliveryKind.REPORT, "mail", past.now) == (made.kind, made.channel_id, made.next_at)
    assert "Fleet report, 9 February to 16 February 2026: 1 database, 0 alarms" == made.title
    assert made.text.endswith(f"\n\n{url}")
    assert ("fleet.report", "2026-02-15T12:00:00Z") == (made.body["type"], made.body["timestamp"])
    data = made.body["data"]
    assert (made.title, made.text, url) == (data["title"], data["text"], data["url"])
    assert ["acme"] == [each["database"] for each in data["lines"]]


def test_report_has_no_link_where_no_url_is_known(fleet: Watched) -> None:
    made = asyncio.run(report_delivery(fleet.store, CALLS, a_channel(), fleet.now, public_url=None))

    assert made.body["data"]["url"] is None
    assert "http" not in made.text
