"""Alarms: when they begin and end, in a fleet whose time passes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from alarm_world import NOON, World, channel, rule
from contract import Event, EventKind, State
from keyring import made, revoked
from receiver.domain.alerts.alarms import Situation, decide, default_rule, needs
from receiver.domain.alerts.values import TELLABLE, Alarm, Rule
from receiver.domain.keys import Key
from receiver.domain.queries import RecordedEvent

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
ACME, BLUE = "acme_web-1", "blue_web-1"


def fleet_of(*rules: Rule, servers: tuple[str, ...] = (ACME,), **options: Any) -> World:
    fleet = World(*rules, **options)
    for each in servers:
        fleet.add(each)
    return fleet


def only_alarm(fleet: World) -> Alarm:
    (alarm,) = fleet.alarms.values()
    return alarm


# Down and late


def test_server_that_is_down_long_enough_is_told_once_and_so_is_its_end() -> None:
    fleet = fleet_of(rule(after=5 * MINUTE))

    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=5, seconds=29)
    assert [] == fleet.deliveries
    fleet.wait(seconds=1)
    assert ["Down: acme (production) on web-1"] == fleet.titles()
    fleet.wait(days=2)
    fleet.go(State.UP, ACME)
    fleet.wait(days=2)

    assert ["alarm", "end"] == fleet.kinds()
    assert "Over: acme (production) on web-1 is back after 2 d" == fleet.titles()[1]
    assert fleet.deliveries[0].thread == fleet.deliveries[1].thread


def test_server_that_is_back_before_it_is_told_is_never_told() -> None:
    fleet = fleet_of(rule(after=5 * MINUTE))

    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=5)
    fleet.go(State.UP, ACME)
    fleet.wait(days=1)

    assert [] == fleet.deliveries
    assert ("recovered", None, None) == (
        (alarm := only_alarm(fleet)).ending,
        alarm.told_at,
        alarm.due_at,
    )


def test_server_that_is_late_is_told_until_it_is_heard() -> None:
    fleet = fleet_of(rule("late", after=MINUTE))

    fleet.go(State.LATE, ACME)
    fleet.wait(hours=1)
    assert State.DOWN is fleet.record(ACME).state
    assert ["alarm"] == fleet.kinds()
    fleet.go(State.UP, ACME)
    fleet.wait(hours=1)

    assert ["alarm", "end"] == fleet.kinds()


def test_rule_tells_of_the_servers_that_its_query_matches() -> None:
    fleet = fleet_of(rule(query="database:acme"), servers=(ACME, BLUE))

    fleet.go(State.DOWN, BLUE, ACME)
    fleet.wait(hours=1)

    assert ["Down: acme (production) on web-1"] == fleet.titles()


def test_rule_for_a_state_tells_of_a_server_that_has_it_when_the_alarm_begins() -> None:
    fleet = fleet_of(rule("down", "late", query="state:late", after=5 * MINUTE))

    fleet.go(State.LATE, ACME)
    fleet.wait(hours=1)

    assert ["Late: acme (production) on web-1"] == fleet.titles()


def test_default_rule_tells_what_is_down_in_production_or_without_a_stage() -> None:
    fleet = fleet_of(default_rule("c", now=NOON), servers=())
    for stage in ("production", "staging", "", None):
        fleet.add(f"{stage}_web", odoo_stage=stage, database=f"db{stage}")

    fleet.go(State.DOWN, *fleet.rows)
    fleet.wait(minutes=5, seconds=30)

    assert ["3 down: dbproduction, db, dbNone"] == fleet.titles()
    assert "Down for five minutes" == fleet.rules[0].name
    assert fleet.rules[0].kinds <= TELLABLE


def test_alarm_remembers_what_was_known_and_the_event_as_the_api_has_it() -> None:
    fleet = fleet_of(rule())

    fleet.wait(seconds=90)
    fleet.go(State.DOWN, ACME)
    fleet.wait(seconds=1)
    known = only_alarm(fleet).known

    assert {
        "id": 1,
        "kind": "down",
        "at": "2026-01-31T12:01:30Z",
        "server_id": ACME,
        "details": {"last_seen": "2026-01-31T12:00:00Z"},
    } == known["event"]
    assert ("acme", "production", "web-1", "down", "2026-01-31T12:00:00Z") == tuple(
        known["server"][each]
        for each in ("database", "odoo_stage", "hostname", "state", "last_seen")
    )


def test_long_texts_of_a_record_are_not_kept_in_an_alarm() -> None:
    fleet = fleet_of(rule("capabilities_changed"), servers=())
    fleet.add(ACME, capabilities=(), hostname="h" * 1000)

    fleet.change(ACME, capabilities=tuple(f"tool_{n}_{'x' * 50}" for n in range(1000)))
    fleet.wait(seconds=31)
    known = only_alarm(fleet).known

    assert {"truncated": True} == known["event"]["details"]
    assert "h" * 255 == known["server"]["hostname"]
    assert ["alarm"] == fleet.kinds()


# What becomes of servers


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        (lambda fleet: fleet.go(State.LEFT, ACME), "left"),
        (lambda fleet: fleet.delete(ACME), "deleted"),
        (lambda fleet: fleet.change(ACME, superseded_by=BLUE), "rebuilt"),
    ],
)
@pytest.mark.parametrize("is_told", [True, False])
def test_alarm_ends_with_its_server(
    change: Callable[[World], None], ending: str, *, is_told: bool
) -> None:
    fleet = fleet_of(rule("down", "conflict", after=5 * MINUTE), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME)
    fleet.change(ACME, conflict_since=fleet.now)
    fleet.wait(minutes=10 if is_told else 1)

    change(fleet)
    fleet.wait(hours=1)

    assert [ending, ending] == [alarm.ending for alarm in fleet.alarms.values()]
    assert (["alarm", "end"] if is_told else []) == fleet.kinds()


def test_node_that_has_left_its_database_for_good_ends_its_alarms() -> None:
    fleet = fleet_of(rule("conflict", after=0 * SECOND), servers=(ACME, BLUE))
    fleet.change(ACME, node_of=BLUE, conflict_since=fleet.now)
    fleet.wait(minutes=1)

    fleet.change(ACME, node_of=None, superseded_by=BLUE)
    fleet.wait(minutes=1)

    assert ["alarm", "end"] == fleet.kinds()
    assert "rebuilt" == only_alarm(fleet).ending


def test_alarm_goes_over_to_the_server_that_stands_for_the_database() -> None:
    fleet = fleet_of(rule())
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=1)
    fleet.add(BLUE, state=State.DOWN)
    fleet.change(ACME, node_of=BLUE)
    fleet.wait(minutes=10)
    assert (BLUE, None) == ((alarm := only_alarm(fleet)).server_id, alarm.ending)

    fleet.go(State.UP, BLUE)
    fleet.wait(minutes=10)

    assert ["alarm", "end"] == fleet.kinds()
    assert "recovered" == only_alarm(fleet).ending


def test_alarm_of_a_node_ends_when_the_leader_has_one_itself() -> None:
    fleet = fleet_of(rule("down", "twin"), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME, BLUE)
    fleet.change(ACME, twin_of="other")
    fleet.wait(minutes=10)
    assert ["alarm"] == fleet.kinds()

    fleet.change(ACME, node_of=BLUE)
    fleet.wait(minutes=10)

    assert ["alarm", "end"] == fleet.kinds()
    assert {(ACME, "down"): "node", (BLUE, "down"): None, (ACME, "twin"): None} == {
        (alarm.server_id, alarm.kind): alarm.ending for alarm in fleet.alarms.values()
    }


def test_alarm_of_a_node_ends_when_the_leader_is_up() -> None:
    fleet = fleet_of(rule(), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)

    fleet.change(ACME, node_of=BLUE)
    fleet.wait(minutes=10)

    assert ["alarm", "end"] == fleet.kinds()
    assert (BLUE, "recovered") == ((alarm := only_alarm(fleet)).server_id, alarm.ending)


def test_record_of_a_node_is_enough_while_the_event_is_still_to_be_read() -> None:
    """The record of the leader is not known at the first look."""
    fleet = fleet_of(rule(), servers=(ACME, BLUE, "green_web-1"))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.batch = 1

    fleet.change("green_web-1", hostname="web-9")
    fleet.change(ACME, node_of=BLUE)
    fleet.wait(seconds=0)
    assert (BLUE, None) == ((alarm := only_alarm(fleet)).server_id, alarm.ending)
    fleet.wait(seconds=1)

    assert "recovered" == only_alarm(fleet).ending


def test_alarm_of_a_node_whose_leader_has_one_ends_by_the_record_alone() -> None:
    fleet = fleet_of(rule(), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME, BLUE)
    fleet.wait(minutes=10)
    fleet.batch = 1

    fleet.change(BLUE, hostname="web-9")
    fleet.change(ACME, node_of=BLUE)
    fleet.wait(seconds=0)

    assert [(ACME, "node"), (BLUE, None)] == [
        (alarm.server_id, alarm.ending) for alarm in fleet.alarms.values()
    ]


# Events and records


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_events_that_are_read_late_tell_of_what_is_over_only_if_it_was_told(batch: int) -> None:
    fleet = fleet_of(rule(after=0 * SECOND))
    fleet.batch = batch
    fleet.is_attended = False
    for _ in range(2):
        fleet.go(State.LATE, ACME)
        fleet.wait(minutes=10)
        fleet.go(State.UP, ACME)
        fleet.wait(minutes=10)

    fleet.is_attended = True
    fleet.look_soon()
    fleet.wait(hours=1)

    assert [] == fleet.deliveries
    assert ["recovered", "recovered"] == [alarm.ending for alarm in fleet.alarms.values()]


def test_partial_look_sends_no_message_and_moves_no_alarm_to_another_server() -> None:
    fleet = fleet_of(rule(after=0 * SECOND), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME)
    fleet.wait(seconds=1)
    alarm = only_alarm(fleet)
    node = evolve(fleet.record(ACME), node_of=BLUE)
    situation = Situation(
        now=fleet.now + MINUTE,
        rules=fleet.rules,
        open_alarms=[alarm],
        records={ACME: node, BLUE: fleet.record(BLUE)},
        channels=fleet.channels,
        is_partial=True,
    )

    changes = decide(situation)
    whole = decide(evolve(situation, is_partial=False))

    assert ([], [], situation.now) == (changes.changed, changes.deliveries, changes.look_at)
    assert [(BLUE, "recovered")] == [(each.server_id, each.ending) for each in whole.changed]


def test_partial_look_leaves_due_alarms_to_a_full_look() -> None:
    fleet = fleet_of(rule(after=0 * SECOND))
    fleet.go(State.DOWN, ACME)
    fleet.wait(seconds=1)
    situation = Situation(
        now=fleet.now + MINUTE,
        rules=fleet.rules,
        open_alarms=[only_alarm(fleet)],
        records={ACME: fleet.record(ACME)},
        channels=fleet.channels,
    )

    assert [] == decide(evolve(situation, is_partial=True)).deliveries
    assert 1 == len(decide(situation).deliveries)


def test_end_by_a_record_is_when_the_server_was_heard() -> None:
    fleet = fleet_of(rule(), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.batch = 1
    fleet.is_attended = False

    fleet.change(BLUE, hostname="web-9")
    fleet.go(State.UP, ACME)
    back = fleet.now
    fleet.wait(minutes=10)
    fleet.is_attended = True
    fleet.look_soon()
    fleet.wait(seconds=0)

    assert back == only_alarm(fleet).ended_at


def test_alarm_does_not_end_before_it_began_whatever_the_clocks_say() -> None:
    fleet = fleet_of(rule())
    fleet.wait(minutes=2)
    fleet.go(State.DOWN, ACME)
    fleet.wait(seconds=1)
    fleet.now = NOON

    fleet.go(State.UP, ACME)
    fleet.look()

    assert NOON + 2 * MINUTE == only_alarm(fleet).ended_at


def test_event_ends_an_alarm_though_the_record_has_it_again() -> None:
    fleet = fleet_of(rule("conflict", "late", "down"), servers=(ACME, BLUE))
    fleet.change(ACME, conflict_since=NOON)
    fleet.wait(minutes=10)
    record = evolve(fleet.record(ACME), state=State.DOWN)
    events = [
        Event(kind=EventKind.REBUILT, at=NOON, server_id=ACME, details={"superseded_by": BLUE}),
        Event(kind=EventKind.RECOVERED, at=NOON, server_id=ACME),
    ]

    changes = decide(
        Situation(
            now=fleet.now,
            events=[RecordedEvent(n, each) for n, each in enumerate(events)],
            rules=fleet.rules,
            open_alarms=[only_alarm(fleet)],
            records={ACME: record},
        )
    )

    assert ["rebuilt"] == [alarm.ending for alarm in changes.changed]
    # That it is down again is told by an event that is still to be read.
    assert ["conflict"] == [alarm.kind for alarm in changes.begun]


def test_records_are_needed_of_servers_in_events_and_in_alarms_that_last() -> None:
    fleet = fleet_of(rule(after=0 * SECOND), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=1)
    alarm = only_alarm(fleet)
    events = [
        Event(kind=EventKind.MOVED, at=NOON, server_id="one_web"),
        Event(kind=EventKind.NODE, at=NOON, server_id="two_web", details={"node_of": "three_web"}),
        Event(kind=EventKind.COPIES, at=NOON, server_id=None),
    ]
    recorded = [RecordedEvent(n, each) for n, each in enumerate(events)]

    assert {"one_web", "two_web", "three_web", ACME} == needs(recorded, [alarm])
    assert set() == needs([], [evolve(alarm, ended_at=NOON), evolve(alarm, server_id=None)])


@pytest.mark.parametrize(
    ("said", "ending"), [({"state": State.LEFT}, "left"), ({"superseded_by": BLUE}, "rebuilt")]
)
def test_record_tells_the_end_before_its_event_is_read(said: dict[str, Any], ending: str) -> None:
    fleet = fleet_of(rule(), servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.batch = 1

    fleet.change(BLUE, hostname="web-9")
    fleet.change(ACME, **said)
    fleet.wait(seconds=0)
    assert ending == only_alarm(fleet).ending
    fleet.wait(minutes=10)

    assert ["alarm", "end"] == fleet.kinds()


# Twins, conflicts and servers that flap


@pytest.mark.parametrize(
    ("kind", "field", "value"), [("twin", "twin_of", BLUE), ("conflict", "conflict_since", NOON)]
)
def test_alarm_that_no_event_ends_is_ended_by_the_record(kind: str, field: str, value: Any) -> None:
    fleet = fleet_of(rule(kind, after=MINUTE))
    fleet.change(ACME, **{field: value})
    fleet.wait(minutes=10)
    assert ["alarm"] == fleet.kinds()

    fleet.change(ACME, **{field: None})
    fleet.wait(seconds=90)

    assert ["alarm", "end"] == fleet.kinds()
    assert "over" == only_alarm(fleet).ending


def test_twin_that_is_heard_again_stays_a_twin() -> None:
    fleet = fleet_of(rule("twin", "down", after=MINUTE))
    fleet.go(State.DOWN, ACME)
    fleet.change(ACME, twin_of=BLUE)
    fleet.wait(minutes=10)

    fleet.go(State.UP, ACME)
    fleet.wait(minutes=10)

    assert ["1 down, 1 twin: acme", "Over: acme (production) on web-1 is back after 10 min"] == (
        fleet.titles()
    )
    assert ["twin"] == [alarm.kind for alarm in fleet.open_alarms()]


def test_twin_of_a_third_server_begins_no_second_alarm() -> None:
    fleet = fleet_of(rule("twin", after=MINUTE))
    fleet.change(ACME, twin_of=BLUE)
    fleet.wait(minutes=10)

    fleet.change(ACME, twin_of="green_web-1")
    fleet.wait(minutes=10)

    assert ["alarm"] == fleet.kinds()


def test_conflict_of_a_server_that_comes_back_is_an_alarm_again() -> None:
    fleet = fleet_of(rule("conflict", after=MINUTE))
    fleet.change(ACME, conflict_since=NOON)
    fleet.wait(minutes=10)
    fleet.go(State.LEFT, ACME)
    fleet.wait(minutes=10)
    fleet.go(State.UP, ACME)
    fleet.wait(minutes=10)

    assert ["alarm", "end", "alarm"] == fleet.kinds()
    assert ["left", None] == [alarm.ending for alarm in fleet.alarms.values()]


def flap(fleet: World, *, times: int) -> None:
    for _ in range(times):
        fleet.go(State.LATE, ACME)
        fleet.wait(seconds=150)
        fleet.go(State.UP, ACME)
        fleet.wait(seconds=30)


def test_flapping_server_is_told_no_more_until_it_is_calm() -> None:
    fleet = fleet_of(rule(after=0 * SECOND))

    flap(fleet, times=100)
    assert ["alarm", "end"] * 3 == fleet.kinds()
    fleet.wait(hours=1)

    assert 6 == len(fleet.deliveries)


def test_flapping_alarm_and_its_end_are_each_reported_once() -> None:
    fleet = fleet_of(rule("flapping", after=5 * MINUTE))

    flap(fleet, times=20)
    fleet.wait(hours=1)

    assert ["alarm", "end"] == fleet.kinds()
    assert "calm" == only_alarm(fleet).ending


@pytest.mark.parametrize("kinds", [("late",), ("down",), ("late", "down")])
def test_server_that_flapped_and_stays_down_is_told_when_it_is_calm(kinds: tuple[str, ...]) -> None:
    fleet = fleet_of(rule(*kinds, after=5 * MINUTE))

    flap(fleet, times=5)
    fleet.go(State.LATE, ACME)
    fleet.wait(hours=1)

    (delivery,) = fleet.deliveries
    assert {*kinds} == {each["kind"] for each in delivery.body["data"]["alarms"]}


def test_server_that_is_late_when_it_is_calm_is_told_as_late_only() -> None:
    fleet = fleet_of(rule("late", "down", after=0 * SECOND))
    fleet.go(State.LATE, ACME)
    calm = Event(kind=EventKind.CALM, at=NOON, server_id=ACME)
    situation = Situation(
        now=NOON,
        events=[RecordedEvent(1, calm)],
        rules=fleet.rules,
        records={ACME: fleet.record(ACME)},
    )

    assert ["late"] == [alarm.kind for alarm in decide(situation).begun]


@pytest.mark.parametrize(
    "said", [{"node_of": BLUE}, {"superseded_by": BLUE}, {"state": State.LEFT}, {"state": State.UP}]
)
def test_server_that_stops_flapping_begins_no_alarm_unless_late_or_down_itself(
    said: dict[str, Any],
) -> None:
    fleet = fleet_of(rule("late", "down"))
    fleet.go(State.DOWN, ACME)
    calm = Event(kind=EventKind.CALM, at=NOON, server_id=ACME)
    situation = Situation(
        now=NOON,
        events=[RecordedEvent(1, calm)],
        rules=fleet.rules,
        records={ACME: evolve(fleet.record(ACME), **said)},
    )

    assert [] == decide(situation).begun


# Kinds that do not last


def test_momentary_event_is_reported_once_and_leaves_no_open_alarm() -> None:
    fleet = fleet_of(rule("recovered", "moved", after=5 * MINUTE))

    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=1)
    fleet.go(State.UP, ACME)
    fleet.wait(seconds=20)
    fleet.change(ACME, hostname="web-2")
    fleet.wait(days=1)

    assert ["1 recovered, 1 moved: acme"] == fleet.titles()
    assert [] == fleet.open_alarms()


def test_deleted_server_is_told_by_its_id() -> None:
    fleet = fleet_of(rule("deleted", query="acme"), servers=(ACME, BLUE))

    fleet.delete(ACME)
    fleet.delete(BLUE)
    fleet.wait(minutes=1)

    assert [f"Forgotten: {ACME}"] == fleet.titles()
    assert {"event", "thread"} == only_alarm(fleet).known.keys()


def test_fleet_event_is_reported_whatever_the_query_of_the_rule_is() -> None:
    fleet = fleet_of(rule("copies", query="database:other"))
    details = {"database_uuid": "6f1d", "servers": 51}

    fleet.happen(Event(kind=EventKind.COPIES, at=NOON, server_id=None, details=details))
    fleet.wait(minutes=1)

    assert ["Copies: The fleet"] == fleet.titles()


# Keys and receivers


def key(*, lasts: timedelta, age: timedelta = timedelta()) -> Key:
    """A key that was made some time ago and expires some time after it was made."""
    created_at = NOON - age
    return evolve(made("agent", name="CI")[0], created_at=created_at, expires_at=created_at + lasts)


@pytest.mark.parametrize(
    ("lasts", "told_after"), [(90 * DAY, 76 * DAY), (20 * DAY, 10 * DAY), (2 * DAY, DAY)]
)
def test_key_is_told_two_weeks_before_it_expires_or_at_half_its_time(
    lasts: timedelta, told_after: timedelta
) -> None:
    fleet = fleet_of(rule("key_expires", after=5 * MINUTE))
    fleet.keys = [key(lasts=lasts), evolve(key(lasts=lasts), expires_at=None)]

    fleet.wait(seconds=told_after.total_seconds())
    assert [] == fleet.deliveries
    fleet.wait(minutes=16)
    assert ["Key expires: CI"] == fleet.titles()
    fleet.wait(seconds=(lasts - told_after).total_seconds())

    assert ["alarm", "end"] == fleet.kinds()
    assert "expired" == only_alarm(fleet).ending


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        (lambda found: [revoked(found)], "revoked"),
        (lambda _: [], "revoked"),
        (lambda found: [evolve(found, expires_at=NOON + 90 * DAY)], "renewed"),
        (lambda found: [evolve(found, expires_at=None)], "renewed"),
    ],
)
def test_alarm_about_a_key_ends_when_the_key_is_another(
    change: Callable[[Key], list[Key]], ending: str
) -> None:
    fleet = fleet_of(rule("key_expires", "down"))
    fleet.keys = [key(lasts=90 * DAY, age=80 * DAY)]
    fleet.wait(hours=1)
    assert ["alarm"] == fleet.kinds()

    fleet.keys = change(fleet.keys[0])
    fleet.wait(hours=1)

    assert ["alarm", "end"] == fleet.kinds()
    assert ending == only_alarm(fleet).ending


def test_key_that_has_expired_or_is_revoked_begins_no_alarm() -> None:
    fleet = fleet_of(rule("key_expires"))
    old = key(lasts=90 * DAY, age=100 * DAY)
    fleet.keys = [old, revoked(key(lasts=90 * DAY, age=80 * DAY))]

    fleet.wait(days=1)

    assert {} == fleet.alarms


def test_pause_of_the_receivers_is_told_afterwards_if_it_was_long_enough() -> None:
    fleet = fleet_of(rule("receiver_away", after=MINUTE), rule("down", rule_id="s"))

    for seconds in (59, 60):
        fleet.pause = (fleet.now - seconds * SECOND, fleet.now)
        fleet.look_soon()
        fleet.wait(minutes=5)

    assert ["Receiver away: for 1 min"] == fleet.titles()


def test_channel_that_does_not_deliver_is_told_through_another_one() -> None:
    rules = [rule("undelivered", rule_id=each, channel_id=each) for each in ("c", "d")]
    fleet = fleet_of(*rules, channels=[channel("c", name="Mail"), channel("d", name="Chat")])
    details = {"channel": "Mail", "title": "Down: acme", "error": "550"}

    fleet.happen(Event(kind=EventKind.UNDELIVERED, at=NOON, server_id=None, details=details))
    fleet.wait(minutes=1)

    assert ["d"] == [each.channel_id for each in fleet.deliveries]


# Rules that change


def test_alarms_of_a_removed_rule_end_and_are_not_told() -> None:
    gone = rule("down", "moved", rule_id="gone", after=5 * MINUTE)
    fleet = fleet_of(gone, servers=(ACME, BLUE))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.go(State.DOWN, BLUE)
    fleet.change(BLUE, hostname="web-2")
    fleet.wait(seconds=1)

    fleet.rules = []
    fleet.look_soon()
    fleet.wait(hours=1)

    assert ["alarm"] == fleet.kinds()
    assert ["rule_removed", "rule_removed", "over"] == [
        alarm.ending for alarm in fleet.alarms.values()
    ]
    assert [] == [alarm for alarm in fleet.alarms.values() if alarm.due_at is not None]


def test_waiting_end_of_an_alarm_is_reported_though_its_rule_is_removed() -> None:
    fleet = fleet_of(rule())
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.go(State.UP, ACME)
    fleet.wait(seconds=1)

    fleet.rules = []
    fleet.look_soon()
    fleet.wait(hours=1)

    assert ["alarm", "end"] == fleet.kinds()


@pytest.mark.parametrize("change", [{"kinds": frozenset({"late"})}, {"query": "database:blue"}])
def test_alarm_that_its_rule_does_not_match_any_more_is_not_told(change: dict[str, Any]) -> None:
    fleet = fleet_of(rule("down", "moved"), servers=(ACME,))
    fleet.go(State.DOWN, ACME)
    fleet.change(ACME, hostname="web-2")
    fleet.wait(seconds=10)

    fleet.rules = [evolve(fleet.rules[0], **change)]
    fleet.look_soon()
    fleet.wait(hours=1)

    assert [] == fleet.deliveries
    assert {"down": "rule_changed", "moved": "over"} == {
        alarm.kind: alarm.ending for alarm in fleet.alarms.values()
    }


def test_alarm_is_told_through_the_channel_that_its_rule_has_when_it_is_due() -> None:
    fleet = fleet_of(rule(), servers=(ACME, BLUE), channels=[channel("c"), channel("d")])
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=10)
    fleet.go(State.DOWN, BLUE)
    fleet.wait(minutes=1)

    fleet.rules = [evolve(fleet.rules[0], channel_id="d")]
    fleet.look_soon()
    fleet.wait(minutes=10)
    fleet.go(State.UP, ACME, BLUE)
    fleet.wait(minutes=10)

    assert [("c", "alarm"), ("d", "alarm"), ("c", "end"), ("d", "end")] == [
        (each.channel_id, each.kind.value) for each in fleet.deliveries
    ]
