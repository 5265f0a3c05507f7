"""A silent fleet: one message and not one for each server, and another when it is back."""

from datetime import timedelta

import pytest

from alarm_world import NOON, World, rule, silence
from contract import State
from receiver.domain.alerts.values import Rule

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
IDS = [f"db{n}_web" for n in range(10)]


def fleet_of(*rules: Rule, size: int = 10) -> World:
    fleet = World(*(rules or (rule(),)))
    for n in range(size):
        fleet.add(f"db{n}_web")
    return fleet


def test_total_outage_of_500_servers_is_one_message_and_its_end_another() -> None:
    fleet = fleet_of(size=500)
    ids = [*fleet.rows]

    fleet.fall_silent(*ids)
    fleet.wait(hours=1)
    assert ["Mass outage: 500 of 500 servers"] == fleet.titles()
    for n in range(0, 500, 50):
        fleet.go(State.UP, *ids[n : n + 50])
        fleet.wait(seconds=6)
    fleet.wait(days=1)

    assert ["alarm", "end"] == fleet.kinds()
    assert fleet.deliveries[0].thread == fleet.deliveries[1].thread
    assert [] == fleet.open_alarms()
    assert 501 == len(fleet.alarms)
    assert 1 == sum(alarm.told_at is not None for alarm in fleet.alarms.values())


def test_outage_that_is_over_before_it_is_told_is_never_told() -> None:
    fleet = fleet_of()

    fleet.fall_silent(*IDS)
    fleet.wait(minutes=4)
    fleet.go(State.UP, *IDS)
    fleet.wait(days=1)

    assert [] == fleet.deliveries
    assert {"recovered"} == {alarm.ending for alarm in fleet.alarms.values()}


@pytest.mark.parametrize(
    ("after", "told_after"),
    [(5 * MINUTE, 5 * MINUTE + 30 * SECOND), (0 * MINUTE, 2 * MINUTE + 30 * SECOND)],
)
def test_servers_that_stay_away_are_told_in_one_message(
    after: timedelta, told_after: timedelta
) -> None:
    fleet = fleet_of(rule(after=after))
    fleet.fall_silent(*IDS)
    fleet.wait(hours=1)

    fleet.go(State.UP, *IDS[:8])
    fleet.wait(seconds=(told_after - SECOND).total_seconds())
    assert ["alarm", "end"] == fleet.kinds()
    assert "Still away: 2 of them" in fleet.deliveries[1].text
    fleet.wait(seconds=1)

    assert ["alarm", "end", "alarm"] == fleet.kinds()
    assert "2 down: db8, db9" == fleet.titles()[2]
    fleet.go(State.UP, *IDS[8:])
    fleet.wait(days=1)
    assert ["alarm", "end", "alarm", "end"] == fleet.kinds()


def test_outage_lasts_while_more_than_half_of_its_servers_are_away() -> None:
    fleet = fleet_of()
    fleet.fall_silent(*IDS)
    fleet.wait(hours=1)

    fleet.go(State.UP, *IDS[:4])
    fleet.wait(hours=1)
    assert ["alarm"] == fleet.kinds()
    fleet.go(State.UP, IDS[4])
    fleet.wait(minutes=1)

    assert ["alarm", "end"] == fleet.kinds()
    assert "Over: 5 of the 10 servers that fell silent are back after 2 h" == (fleet.titles()[1])


def test_servers_that_were_down_before_do_not_keep_the_outage_open() -> None:
    fleet = fleet_of(size=20)
    old = [f"db{n}_web" for n in range(10, 20)]
    fleet.go(State.DOWN, *old)
    fleet.wait(hours=1)
    assert ["alarm"] == fleet.kinds()

    fleet.fall_silent(*IDS)
    fleet.wait(hours=1)
    fleet.go(State.UP, *IDS)
    fleet.wait(hours=1)

    assert ["alarm", "alarm", "end"] == fleet.kinds()
    assert "All of them are back." in fleet.deliveries[2].text


def test_servers_that_went_down_shortly_before_are_part_of_the_outage() -> None:
    fleet = fleet_of(rule(after=60 * MINUTE), size=12)
    fleet.go(State.DOWN, "db10_web")
    fleet.wait(minutes=1)
    fleet.go(State.DOWN, "db11_web")
    fleet.wait(minutes=10)

    fleet.fall_silent(*IDS)
    fleet.wait(hours=2)

    assert ["Down: db10 (production) on web", "Mass outage: 10 of 10 servers"] == fleet.titles()
    assert "db11 (production) on web" in fleet.deliveries[1].text


def test_server_that_was_told_before_the_outage_is_no_part_of_it() -> None:
    fleet = fleet_of(rule(after=0 * MINUTE), size=12)
    fleet.go(State.DOWN, "db10_web")
    fleet.wait(minutes=5)
    fleet.fall_silent(*IDS)
    fleet.wait(minutes=5)
    assert None is fleet.alarms[1].part_of

    fleet.go(State.UP, "db10_web")
    fleet.wait(minutes=5)

    assert ["alarm", "alarm", "end"] == fleet.kinds()


def test_server_that_goes_down_during_the_outage_is_part_of_it() -> None:
    fleet = fleet_of(size=11)
    fleet.fall_silent(*IDS)
    fleet.wait(hours=1)

    fleet.go(State.DOWN, "db10_web")
    fleet.wait(hours=1)

    assert ["alarm"] == fleet.kinds()


def test_late_servers_are_part_of_an_outage_that_is_told_at_once() -> None:
    fleet = fleet_of(rule("late", after=0 * MINUTE))

    fleet.go(State.LATE, "db0_web", "db1_web")
    fleet.wait(seconds=20)
    fleet.fall_silent(*IDS)
    fleet.wait(seconds=1)

    assert ["Mass outage: 8 of 8 servers"] == fleet.titles()
    assert "db0 (production) on web" in fleet.deliveries[0].text
    fleet.wait(hours=1)
    assert ["alarm"] == fleet.kinds()


def test_message_about_the_outage_names_twenty_servers_and_counts_the_others() -> None:
    fleet = fleet_of(size=30)

    fleet.fall_silent(*fleet.rows)
    fleet.wait(minutes=6)

    (delivery,) = fleet.deliveries
    assert 20 == delivery.text.count(" on web")
    assert " and 10 more" in delivery.text
    assert 30 == len(delivery.body["data"]["alarms"][0]["servers"])


def test_each_rule_has_an_outage_of_its_own_and_a_channel_tells_both_as_one() -> None:
    rules = [rule(rule_id="r"), rule("late", rule_id="s"), rule("fleet_silent", rule_id="t")]
    fleet = fleet_of(*rules, rule("twin", rule_id="u"))

    fleet.fall_silent(*IDS)
    fleet.wait(hours=1)
    fleet.go(State.UP, *IDS)
    fleet.wait(hours=1)

    assert ["alarm", "end"] == fleet.kinds()
    assert 3 == fleet.deliveries[0].body["data"]["total"]
    assert "Mass outage: 10 of 10 servers" == fleet.titles()[0]


def test_outage_in_a_silence_of_all_servers_is_told_when_the_silence_is_over() -> None:
    fleet = fleet_of()
    fleet.silences = [silence(ends_at=NOON + 60 * MINUTE)]

    fleet.fall_silent(*IDS)
    fleet.wait(minutes=59)
    assert [] == fleet.deliveries
    fleet.wait(minutes=1)

    assert ["Mass outage: 10 of 10 servers"] == fleet.titles()


def test_silence_of_some_servers_does_not_keep_an_outage_from_being_told() -> None:
    fleet = fleet_of()
    fleet.silences = [silence(query="stage:production", ends_at=NOON + 60 * MINUTE)]

    fleet.fall_silent(*IDS)
    fleet.wait(minutes=60)

    assert ["alarm"] == fleet.kinds()


def test_reminder_of_an_outage_says_for_how_long_it_has_lasted() -> None:
    fleet = fleet_of(rule(remind_every=60 * MINUTE))

    fleet.fall_silent(*IDS)
    fleet.wait(minutes=66)

    assert "Still mass outage: 10 of 10 servers, for 1 h 5 min" == fleet.titles()[1]
