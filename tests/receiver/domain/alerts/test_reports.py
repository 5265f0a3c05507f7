"""The weekly report: its figures, its text for people, and its CSV."""

import csv
from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any

import pytest

from receiver.domain.alerts.reports import WEEK, DatabaseWeek, Report, WeekCounts, percent

UNTIL = datetime(2026, 2, 2, 7, tzinfo=timezone.utc)
VIENNA = "Europe/Vienna"


def line(
    name: str | None = "acme",
    availability: float | None = 1.0,
    before: float | None = 1.0,
    *,
    is_listed: bool = True,
    alarms: int = 0,
    **events: int,
) -> DatabaseWeek:
    counts = WeekCounts(
        server_id=f"{name}_web-1",
        database=name,
        is_listed=is_listed,
        events=events,
        alarms=alarms,
    )
    return DatabaseWeek(counts=counts, availability=availability, availability_before=before)


def report(*lines: DatabaseWeek, fleet_alarms: int = 0) -> Report:
    return Report.of(lines, until=UNTIL, fleet_alarms=fleet_alarms)


def text(*lines: DatabaseWeek, link: str | None = None) -> list[str]:
    return report(*lines).text(VIENNA, link=link).splitlines()


def test_report_is_about_the_seven_days_before_its_end() -> None:
    found = report()

    assert (UNTIL - WEEK, UNTIL) == (found.since, found.until)
    assert timedelta(days=7) == WEEK


def test_least_available_database_is_first_and_the_gone_are_last() -> None:
    lines = [
        line("gone", None, is_listed=False, deleted=1),
        line("unknown", None),
        line("whole", 1.0),
        line("poor", 0.0),
        line("fair", 0.99),
    ]

    names = [each.name for each in report(*lines).lines]

    assert ["poor", "fair", "unknown", "whole", "gone"] == names


def test_availability_of_the_fleet_is_the_mean_of_what_is_known() -> None:
    found = report(line(availability=0.9, before=None), line(availability=None, before=None))

    assert 0.9 == found.availability
    assert found.availability_before is None


def test_report_counts_the_alarms_of_all_servers_and_of_the_fleet() -> None:
    assert 6 == report(line(alarms=3), line(alarms=1), fleet_alarms=2).alarms


@pytest.mark.parametrize(
    ("events", "is_new"),
    [
        ({"registered": 1}, True),
        ({"registered": 1, "rebuilt": 1}, False),
        ({"registered": 2, "node": 2}, False),
        ({"registered": 2, "node": 1}, True),
        ({"upgraded": 1}, False),
    ],
)
def test_rebuild_or_a_further_node_is_no_new_database(
    events: dict[str, Any], *, is_new: bool
) -> None:
    assert is_new == line(**events).is_new
    assert not line(**events, is_listed=False).is_new


def test_report_text_says_what_changed_in_the_fleet() -> None:
    lines = [
        line("acme", registered=1),
        line("beta", rebuilt=2, upgraded=1),
        line(None, is_listed=False, deleted=1),
    ]

    said = text(*lines, link="https://fleet.example.com/report")

    assert [
        "26 January to 2 February 2026, times in Europe/Vienna.",
        "2 databases, 0 alarms.",
        "Available: 100% of the time; in the week before: 100%.",
        "New (1): acme",
        "Gone (1): None_web-1",
        "Rebuilt (1): beta",
        "Upgraded (1): beta",
        "",
        "https://fleet.example.com/report",
    ] == said


def test_report_text_names_the_least_available_databases() -> None:
    said = text(
        line("acme", 0.95, None, down=1),
        line("beta", 0.0, 0.9999, down=3),
        line("gamma", 0.99999),
        line("delta", 1.0),
        line("gone", 0.5, is_listed=False),
    )

    assert [
        "Least available:",
        "- beta: 0.0% (week before: 99.9%), down 3 times",
        "- acme: 95.0% (week before: \N{EN DASH}), down once",
        "- gamma: 99.9% (week before: 100%)",
    ] == said[said.index("") + 1 :]


def test_report_text_is_short_for_a_large_fleet() -> None:
    lines = [line(f"db{n:03}" + "x" * 200, 0.5, registered=1, upgraded=1) for n in range(300)]

    said = text(*lines)

    assert max(map(len, said)) < 1000
    assert len(said) < 25
    assert said[3].endswith("… and 290 more")
    assert "and 290 more below 100%" == said[-1]


def test_control_characters_of_names_are_replaced_in_the_report_text() -> None:
    hostile = "a\nGone (9): \u202eb"

    assert "New (1): a�Gone (9): �b" in text(line(hostile, registered=1))


@pytest.mark.parametrize(
    ("found", "is_uneventful"),
    [
        (line(), True),
        (line(registered=1), True),
        (line(availability=0.999), False),
        (line(availability=None), False),
        (line(down=1), False),
        (line(rebuilt=1), False),
        (line(upgraded=1), False),
        (line(alarms=1), False),
        (line(is_listed=False), False),
    ],
)
def test_report_tells_databases_to_which_nothing_happened_from_the_others(
    found: DatabaseWeek, *, is_uneventful: bool
) -> None:
    made = report(found)

    assert ([], [found]) == (
        (made.eventful, made.uneventful) if is_uneventful else (made.uneventful, made.eventful)
    )


def test_report_title_names_both_years_of_a_week_that_spans_two() -> None:
    end = datetime(2026, 1, 3, tzinfo=timezone.utc)

    found = Report.of([line()], until=end, fleet_alarms=1)

    assert "Fleet report, 27 December 2025 to 3 January 2026: 1 database, 1 alarm" == found.title(
        "UTC"
    )


def test_report_title_has_the_days_of_the_time_zone() -> None:
    late = Report.of([], until=UNTIL + timedelta(hours=5), fleet_alarms=0)

    assert "27 January to 3 February 2026" in late.title("Pacific/Kiritimati")
    assert "25 January to 1 February 2026" in report().title("America/Los_Angeles")


def test_report_csv_has_a_row_for_each_line() -> None:
    found = report(line("acme", 0.5, None, alarms=2, down=1), line("beta", registered=1)).csv()

    rows = [*csv.DictReader(StringIO(found, newline=""))]
    assert "\r\n" == found[-2:]
    assert {
        "server_id": "acme_web-1",
        "database": "acme",
        "availability": "0.5",
        "availability_before": "",
        "new": "False",
        "gone": "False",
        "rebuilt": "0",
        "upgraded": "0",
        "down": "1",
        "alarms": "2",
    } == rows[0]
    assert ("beta", "True") == (rows[1]["database"], rows[1]["new"])


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_report_csv_holds_no_formula(name: str) -> None:
    (row,) = csv.DictReader(StringIO(report(line(name)).csv(), newline=""))

    assert f"'{name}" == row["database"]


def test_report_json_has_the_figures_and_the_first_hundred_lines() -> None:
    found = report(*(line(f"db{n:03}") for n in range(150)), fleet_alarms=1).to_json()

    assert "2026-01-26T07:00:00Z" == found["since"]
    assert (150, 1, 1.0) == (found["databases"], found["alarms"], found["availability"])
    assert [f"db{n:03}" for n in range(100)] == [each["database"] for each in found["lines"]]


@pytest.mark.parametrize(
    ("share", "shown"), [(1.0, "100%"), (0.99999, "99.9%"), (0.5, "50.0%"), (0.0, "0.0%")]
)
def test_percentage_below_100_is_never_rounded_up_to_100(share: float, shown: str) -> None:
    assert shown == percent(share)


def test_report_title_has_the_days_of_utc_when_the_time_zone_is_unknown() -> None:
    assert report().title("UTC") == report().title("Europe/Nowhere")
