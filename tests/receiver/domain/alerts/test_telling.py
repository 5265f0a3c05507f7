"""Telling: what is one message, what a silence keeps back, limits of channels, and reminders."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from alarm_world import NOON, World, channel, rule, silence
from contract import State
from receiver.domain.alerts.alarms import Situation, decide
from receiver.domain.alerts.values import Rule

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ACME, BLUE, GREEN = "acme_web-1", "blue_web-1", "green_web-1"


def fleet_of(*rules: Rule, **options: Any) -> World:
    fleet = World(*(rules or (rule(),)), **options)
    fleet.add(ACME)
    fleet.add(BLUE)
    fleet.add(GREEN, odoo_stage="staging")
    return fleet


# One message


def test_alarms_due_within_half_a_minute_share_one_message() -> None:
    fleet = fleet_of()

    fleet.go(State.DOWN, ACME)
    fleet.wait(seconds=29)
    fleet.go(State.DOWN, BLUE)
    fleet.wait(seconds=2)
    fleet.go(State.DOWN, GREEN)
    fleet.wait(hours=1)

    assert ["2 down: acme, blue", "Down: green (staging) on web-1"] == fleet.titles()


def test_ends_of_alarms_within_half_a_minute_share_one_message() -> None:
    fleet = fleet_of()
    fleet.go(State.DOWN, ACME, BLUE)
    fleet.wait(hours=1)

    fleet.go(State.UP, BLUE)
    fleet.wait(seconds=29)
    fleet.go(State.UP, ACME)
    fleet.wait(hours=1)

    assert ["2 down: acme, blue", "Over: 2 down: acme, blue"] == fleet.titles()
    assert 1 == len({each.thread for each in fleet.deliveries})


def test_servers_that_do_not_come_back_are_not_told_as_if_they_did() -> None:
    fleet = fleet_of()
    fleet.go(State.DOWN, ACME, BLUE, GREEN)
    fleet.wait(hours=1)

    fleet.delete(ACME)
    fleet.delete(BLUE)
    fleet.go(State.UP, GREEN)
    fleet.wait(hours=1)

    assert "Over: 3 down (2 forgotten): acme, blue, green" == fleet.titles()[-1]


def test_two_rules_of_a_channel_name_a_server_once() -> None:
    fleet = fleet_of(rule(rule_id="r"), rule(rule_id="s", query="acme"))

    fleet.go(State.DOWN, ACME)
    fleet.wait(hours=1)

    (delivery,) = fleet.deliveries
    assert "Down: acme (production) on web-1" == delivery.title
    assert "Rule: Rule r, Rule s" in delivery.text
    assert 2 == delivery.body["data"]["total"]


def test_each_channel_has_messages_of_its_own() -> None:
    fleet = fleet_of(
        rule(rule_id="r"),
        rule(rule_id="s", channel_id="d", after=HOUR),
        channels=[channel("c"), channel("d")],
    )

    fleet.go(State.DOWN, ACME)
    fleet.wait(hours=2)

    assert [("c", NOON + 5.5 * MINUTE), ("d", NOON + HOUR + 30 * SECOND)] == [
        (each.channel_id, each.created_at) for each in fleet.deliveries
    ]


def test_alarm_waits_until_its_channel_is_there() -> None:
    fleet = fleet_of(channels=[])

    fleet.go(State.DOWN, ACME)
    fleet.wait(hours=1)
    assert [] == fleet.deliveries
    fleet.channels = [channel()]
    fleet.wait(minutes=2)

    assert ["alarm"] == fleet.kinds()


# Silences


def test_silenced_alarm_is_told_when_the_silence_is_over_and_it_lasts() -> None:
    fleet = fleet_of()
    fleet.silences = [silence("s", ends_at=NOON + 20 * MINUTE)]

    fleet.go(State.DOWN, ACME, BLUE)
    fleet.wait(minutes=19)
    assert [] == fleet.deliveries
    assert ["s", "s"] == [alarm.silenced_by for alarm in fleet.open_alarms()]
    fleet.go(State.UP, BLUE)
    fleet.wait(minutes=1, seconds=30)

    assert ["Down: acme (production) on web-1"] == fleet.titles()
    assert [None] == [alarm.silenced_by for alarm in fleet.open_alarms()]


def test_momentary_event_of_a_silenced_server_is_never_reported() -> None:
    fleet = fleet_of(rule("moved"))
    fleet.silences = [silence("s", ends_at=NOON + 20 * MINUTE)]

    fleet.change(ACME, hostname="web-2")
    fleet.wait(hours=1)

    (alarm,) = fleet.alarms.values()
    assert (None, None, "s") == (alarm.told_at, alarm.due_at, alarm.silenced_by)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"query": "stage:production"}, [GREEN]),
        ({"query": "database:acme"}, [BLUE, GREEN]),
        ({"server_id": BLUE}, [ACME, GREEN]),
        ({"query": "stage:staging", "server_id": ACME}, [BLUE, GREEN]),
        ({"begins_at": NOON + HOUR}, [ACME, BLUE, GREEN]),
        ({}, []),
    ],
)
def test_silence_is_about_the_servers_that_it_matches(
    said: dict[str, Any], told: list[str]
) -> None:
    fleet = fleet_of()
    fleet.silences = [silence(**said)]

    fleet.go(State.DOWN, ACME, BLUE, GREEN)
    fleet.wait(minutes=30)

    numbers = [each["server_id"] for d in fleet.deliveries for each in d.body["data"]["alarms"]]
    assert told == numbers


def test_end_of_an_alarm_that_was_told_is_told_in_a_silence() -> None:
    fleet = fleet_of()
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)

    fleet.silences = [silence()]
    fleet.look_soon()
    fleet.wait(minutes=10)
    assert ["s"] == [alarm.silenced_by for alarm in fleet.open_alarms()]
    fleet.go(State.UP, ACME)
    fleet.wait(minutes=10)

    assert ["alarm", "end"] == fleet.kinds()


def test_silence_that_is_over_is_not_noted_any_more_in_an_alarm_that_was_told() -> None:
    fleet = fleet_of()
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.silences = [silence()]
    fleet.look_soon()
    fleet.wait(minutes=1)

    fleet.silences = []
    fleet.look_soon()
    fleet.wait(minutes=10)

    assert [None] == [alarm.silenced_by for alarm in fleet.open_alarms()]
    assert ["alarm"] == fleet.kinds()


def test_alarm_keeps_the_silence_that_it_has_and_takes_the_longest_first() -> None:
    fleet = fleet_of()
    short = silence("short", ends_at=NOON + 20 * MINUTE)
    fleet.silences = [short, silence("long", ends_at=NOON + 2 * HOUR)]
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    assert ["long"] == [alarm.silenced_by for alarm in fleet.open_alarms()]

    fleet.silences.append(silence("longer", ends_at=NOON + 3 * HOUR))
    fleet.look_soon()
    fleet.wait(minutes=1)
    assert ["long"] == [alarm.silenced_by for alarm in fleet.open_alarms()]
    fleet.wait(hours=2)
    assert ["longer"] == [alarm.silenced_by for alarm in fleet.open_alarms()]
    fleet.wait(hours=2)

    assert ["alarm"] == fleet.kinds()


def test_window_that_opens_again_and_again_silences_each_time() -> None:
    """From two to three at night in Berlin, which is 1:00 to 2:00 in UTC in winter."""
    fleet = fleet_of(rule(after=0 * SECOND))
    fleet.silences = [
        silence(cron="0 2 * * *", duration=HOUR, time_zone="Europe/Berlin", query="acme")
    ]

    fleet.wait(hours=13, minutes=30)
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=30)
    assert [] == fleet.deliveries
    fleet.wait(seconds=30)
    assert ["alarm"] == fleet.kinds()
    fleet.go(State.UP, ACME)
    fleet.wait(hours=23, minutes=15)
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)

    assert ["alarm", "end"] == fleet.kinds()


# Limits


def test_message_limit_of_a_channel_loses_no_alarm() -> None:
    fleet = fleet_of(rule("moved"), channels=[channel(per_hour=2)])

    for n in range(24):
        fleet.change(ACME, hostname=f"web-{n + 2}")
        fleet.wait(minutes=5)
    fleet.wait(hours=2)

    assert len(fleet.deliveries) <= 7
    assert 24 == sum(each.body["data"]["total"] for each in fleet.deliveries)


def test_end_that_waits_longest_is_told_first_when_the_limit_allows_it() -> None:
    fleet = fleet_of(channels=[channel(per_hour=1)])
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.go(State.UP, ACME)
    fleet.wait(minutes=1)
    fleet.go(State.DOWN, BLUE)
    fleet.wait(minutes=40)
    assert ["alarm"] == fleet.kinds()

    fleet.wait(hours=1)
    assert ["alarm", "end"] == fleet.kinds()
    fleet.wait(hours=1)

    assert ["alarm", "end", "alarm"] == fleet.kinds()


def test_alarm_over_before_the_channel_limit_allows_its_message_is_not_reported() -> None:
    fleet = fleet_of(channels=[channel(per_hour=1)])
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=6)
    fleet.go(State.DOWN, BLUE)
    fleet.wait(minutes=30)
    fleet.go(State.UP, BLUE)
    fleet.wait(hours=3)

    assert ["alarm"] == fleet.kinds()


@pytest.mark.parametrize("is_told", [True, False])
def test_alarm_that_waits_for_the_channel_limit_is_looked_at_once_a_minute(
    *, is_told: bool
) -> None:
    fleet = fleet_of(rule(remind_every=HOUR), channels=[channel(per_hour=1)])
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=4)
    (alarm,) = fleet.alarms.values()
    found = evolve(alarm, told_at=NOON, due_at=None) if is_told else alarm
    now = NOON + 2 * HOUR

    changes = decide(
        Situation(
            now=now,
            rules=fleet.rules,
            open_alarms=[found],
            records={ACME: fleet.record(ACME)},
            channels=fleet.channels,
            sent_in_hour={"c": 1},
        )
    )

    assert ([], now + MINUTE) == (changes.deliveries, changes.look_at)


# Reminders


def test_alarm_that_lasts_is_told_again_until_somebody_acknowledges_it() -> None:
    fleet = fleet_of(rule(remind_every=HOUR))
    fleet.go(State.DOWN, ACME)
    fleet.wait(hours=3)
    assert ["alarm", "reminder", "reminder"] == fleet.kinds()
    assert "Still down: acme (production) on web-1, for 2 h 5 min" == fleet.titles()[2]

    fleet.acknowledge(1)
    fleet.look_soon()
    fleet.wait(hours=3)
    assert 3 == len(fleet.deliveries)
    fleet.go(State.UP, ACME)
    fleet.wait(hours=3)

    assert ["alarm", "reminder", "reminder", "end"] == fleet.kinds()
    assert 1 == len({each.thread for each in fleet.deliveries})


def test_reminders_come_when_they_are_due() -> None:
    fleet = fleet_of(rule(remind_every=7 * MINUTE))

    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=20)

    times = [each.created_at - NOON for each in fleet.deliveries]
    assert [5.5 * MINUTE, 12.5 * MINUTE, 19.5 * MINUTE] == times


def test_reminders_of_half_a_minute_are_one_message() -> None:
    other = {"after": 5 * MINUTE + 31 * SECOND, "remind_every": HOUR - 30 * SECOND}
    fleet = fleet_of(
        rule(rule_id="r", query="acme", remind_every=HOUR),
        rule(rule_id="s", query="blue", **other),
    )

    fleet.go(State.DOWN, ACME, BLUE)
    fleet.wait(minutes=64)
    assert ["alarm", "alarm"] == fleet.kinds()
    fleet.wait(hours=1, minutes=4)

    assert ["alarm", "alarm", "reminder", "reminder"] == fleet.kinds()
    assert ["Still: 2 down: acme, blue"] * 2 == fleet.titles()[2:]
    threads = [each.thread for each in fleet.deliveries]
    assert ["alarm-1", "alarm-2", "alarm-1", "alarm-1"] == threads


def test_silenced_alarm_is_not_told_again() -> None:
    fleet = fleet_of(rule(remind_every=HOUR))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)

    fleet.silences = [silence(ends_at=NOON + 3 * HOUR)]
    fleet.look_soon()
    fleet.wait(minutes=165)
    assert ["alarm"] == fleet.kinds()
    fleet.wait(minutes=20)

    assert ["alarm", "reminder"] == fleet.kinds()


def test_alarm_that_its_rule_does_not_match_any_more_is_not_told_again_but_its_end_is() -> None:
    fleet = fleet_of(rule(remind_every=HOUR))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)

    fleet.rules = [evolve(fleet.rules[0], query="blue")]
    fleet.look_soon()
    fleet.wait(hours=5)
    fleet.go(State.UP, ACME)
    fleet.wait(minutes=10)

    assert ["alarm", "end"] == fleet.kinds()


def test_alarm_that_is_acknowledged_before_it_is_told_is_told_with_the_name() -> None:
    fleet = fleet_of()
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=1)

    fleet.acknowledge(1)
    fleet.wait(hours=1)

    assert ["alarm"] == fleet.kinds()
    assert "Acknowledged by: ada" in fleet.deliveries[0].text
