"""The windows of silences: once, or again and again, also when clocks are set to summer time."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.domain.alerts import windows
from receiver.domain.alerts.values import Silence

UTC = timezone.utc
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
CHANGES = [
    (BERLIN, datetime(2026, 3, 29, 1, tzinfo=UTC)),
    (BERLIN, datetime(2026, 10, 25, 1, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 3, 8, 7, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 11, 1, 6, tzinfo=UTC)),
]
"""When the clocks are set to summer time and back."""


def silence(**said: Any) -> Silence:
    given: dict[str, Any] = {"begins_at": NOON - 1000 * DAY, "ends_at": None, "cron": None}
    given |= {"duration": None, "time_zone": "UTC", **said}
    return Silence(id="s", query="", server_id=None, reason="", author="", created_at=NOON, **given)


def nightly(time_zone: str, cron: str = "30 2 * * *", **said: Any) -> Silence:
    return silence(**{"cron": cron, "duration": HOUR, "time_zone": time_zone} | said)


# One time


def test_silence_of_one_time_is_active_from_its_beginning_until_before_its_end() -> None:
    once = silence(begins_at=NOON, ends_at=NOON + HOUR)
    moments = [NOON - MINUTE, NOON, NOON + 59 * MINUTE, NOON + HOUR]

    assert [None, NOON + HOUR, NOON + HOUR, None] == [windows.active(once, at) for at in moments]


def test_silence_without_an_end_is_active_for_ever() -> None:
    assert windows.FOREVER == windows.active(silence(), NOON)


# Again and again


def test_window_opens_when_the_cron_expression_says_and_closes_after_its_duration() -> None:
    sundays = nightly("UTC", "30 2 * * SUN", duration=2 * HOUR)
    opens = datetime(2026, 2, 1, 2, 30, tzinfo=UTC)
    moments = [opens - MINUTE, opens, opens + 2 * HOUR - MINUTE, opens + 2 * HOUR, opens + DAY]

    assert [None, opens + 2 * HOUR, opens + 2 * HOUR, None, None] == [
        windows.active(sundays, at) for at in moments
    ]


def test_fraction_of_a_second_is_within_the_silence_window() -> None:
    opens = datetime(2026, 2, 1, 2, 30, tzinfo=UTC)
    little = timedelta(microseconds=1)

    assert [None, opens + HOUR, opens + HOUR, None] == [
        windows.active(nightly("UTC"), at)
        for at in (opens - little, opens + little, opens + HOUR - little, opens + HOUR + little)
    ]


def test_windows_that_overlap_close_with_the_last() -> None:
    hourly = nightly("UTC", "0 * * * *", duration=90 * MINUTE)

    assert NOON + 90 * MINUTE == windows.active(hourly, NOON + 10 * MINUTE)


def test_window_closes_with_the_silence() -> None:
    ends = NOON + 30 * MINUTE

    assert ends == windows.active(nightly("UTC", "0 12 * * *", ends_at=ends), NOON)


def test_window_that_opened_before_the_silence_begins_does_not_count() -> None:
    late = nightly("UTC", "0 12 * * *", begins_at=NOON + MINUTE)

    assert None is windows.active(late, NOON + 2 * MINUTE)
    assert NOON + DAY + HOUR == windows.active(late, NOON + DAY)


def test_window_that_opens_with_the_silence_counts() -> None:
    at_noon = nightly("UTC", "0 12 * * *", begins_at=NOON)

    assert NOON + HOUR == windows.active(at_noon, NOON)


def test_silence_window_is_not_open_before_the_first() -> None:
    leap = nightly("UTC", "0 0 29 2 *", begins_at=NOON - DAY)

    assert None is windows.active(leap, NOON)


@pytest.mark.parametrize(
    ("time_zone", "opens"),
    [
        (BERLIN, datetime(2026, 3, 29, 1, tzinfo=UTC)),  # 3:00, right after the missing hour
        (BERLIN, datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # the first of two 2:30
        (NEW_YORK, datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ],
)
def test_nightly_silence_window_opens_once_when_clocks_are_set(
    time_zone: str, opens: datetime
) -> None:
    night = nightly(time_zone)
    minutes = [opens + n * MINUTE for n in range(-240, 300)]

    assert [at for at in minutes if opens <= at < opens + HOUR] == [
        at for at in minutes if windows.active(night, at) is not None
    ]


# A reference, which walks through all minutes


@cache
def walls(time_zone: str, change: datetime) -> dict[datetime, datetime]:
    """What clocks show at each minute of three days before and after they are set."""
    zone = ZoneInfo(time_zone)
    minutes = [change + n * MINUTE for n in range(-3 * 1440, 3 * 1440)]
    return {minute: minute.astimezone(zone).replace(tzinfo=None) for minute in minutes}


def numbers(text: str, highest: int) -> set[int]:
    """The numbers that a field of a cron expression means."""
    found: set[int] = set()
    for part in text.split(","):
        body, _, step = part.partition("/")
        low, _, high = ("0", "", str(highest)) if body == "*" else body.partition("-")
        found |= set(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


@cache
def openings(cron: str, time_zone: str, change: datetime) -> list[datetime]:
    """When windows open within three days before and after clocks are set."""
    return [*_openings(cron, time_zone, change)]


def _openings(cron: str, time_zone: str, change: datetime) -> Iterator[datetime]:
    minute, hour, _, _, weekday = cron.split()
    minutes, hours, weekdays = numbers(minute, 59), numbers(hour, 23), numbers(weekday, 6)

    def is_meant(wall: datetime) -> bool:
        return (
            wall.minute in minutes and wall.hour in hours and (wall.weekday() + 1) % 7 in weekdays
        )

    is_fixed = not minute.startswith("*") and not hour.startswith("*")
    shown = set()
    before: datetime | None = None
    for at, wall in walls(time_zone, change).items():
        skipped = before is not None and wall - before > MINUTE
        missing = [before + n * MINUTE for n in range(1, 61)] if skipped and before else []
        if is_fixed:
            if (is_meant(wall) and wall not in shown) or any(map(is_meant, missing)):
                yield at
        elif is_meant(wall):
            yield at
        shown.add(wall)
        before = wall


CRONS = [
    "30 2 * * *",
    "0 2 * * *",
    "0 3 * * *",
    "30 1 * * *",
    "59 1,2 * * *",
    "0,30 2 * * 0",
    "0 0 * * *",
    "15 2-3 * * *",
    "*/20 2 * * *",
    "0 * * * *",
    "30 */2 * * *",
    "*/7 * * * 6,0",
]


@given(
    st.sampled_from(CRONS),
    st.sampled_from(CHANGES),
    st.integers(-1500, 1500),
    st.integers(1, 1500),
)
def test_silence_window_agrees_with_a_walk_through_all_minutes(
    cron: str, change: tuple[str, datetime], offset: int, minutes: int
) -> None:
    time_zone, at = change
    now = at + offset * MINUTE
    duration = minutes * MINUTE
    ends = [
        opens + duration
        for opens in openings(cron, time_zone, at)
        if opens <= now < opens + duration
    ]

    assert max(ends, default=None) == windows.active(
        nightly(time_zone, cron, duration=duration), now
    )


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cron", CRONS)
def test_silence_windows_around_a_clock_change_agree_with_a_walk_through_all_minutes(
    cron: str, change: tuple[str, datetime]
) -> None:
    """Each minute of the six hours in which clocks are set."""
    time_zone, at = change
    night = nightly(time_zone, cron, duration=MINUTE)
    minutes = [at + n * MINUTE for n in range(-180, 180)]
    expected = set(openings(cron, time_zone, at))

    assert [each for each in minutes if each in expected] == [
        each for each in minutes if windows.active(night, each) is not None
    ]


# Checks


@pytest.mark.parametrize("cron", [*CRONS, "0 8 * * 1", "0 0 L * *", "0 22 1-7 * MON#1"])
def test_supported_cron_expression_is_valid(cron: str) -> None:
    windows.check(cron, BERLIN)


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "has 5 fields"),
        ("0 8 * *", "has 5 fields"),
        ("0 0 8 * * 1", "has 5 fields"),
        ("@daily", "has 5 fields"),
        (f"{'1,' * 100}1 8 * * 1", "has 5 fields"),
        ("60 8 * * 1", '^"60 8 \\* \\* 1" is no cron expression: Bad minute.$'),
        ("0 8 31 2 *", "is no cron expression"),
        ("0 8 LW * */7", "never comes"),
    ],
)
def test_invalid_cron_expression_is_refused(cron: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        windows.check(cron, "UTC")


@pytest.mark.parametrize("name", ["", "Berlin", "Europe", "../etc", "/etc/passwd", "a\0b", "é"])
def test_unknown_time_zone_of_a_silence_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^There is no time zone .*Europe/Berlin or UTC\.$"):
        windows.check("0 8 * * 1", name)


@given(st.text() | st.text("*/,-0123456789LW#MON ", max_size=20), st.text(max_size=20))
def test_any_cron_expression_and_time_zone_is_valid_or_refused_with_a_sentence(
    cron: str, name: str
) -> None:
    asked = [(cron, "UTC"), (f"{cron} * * * *", "UTC"), ("0 8 * * 1", name)]

    assert all(said.endswith(".") for each in asked if (said := refusal(*each)) is not None)


def refusal(cron: str, time_zone: str) -> str | None:
    try:
        windows.check(cron, time_zone)
    except ValueError as error:
        return str(error)
    return None
