"""What is told of an alarm, and what is not: reminders, silences, limits, keys and pauses."""

from collections.abc import Callable
from datetime import timedelta

from attrs import evolve

from alarm_steps import (
    AWAY_SECONDS,
    HALF_A_MINUTE,
    MINUTE,
    advance,
    kept,
    silence_servers,
    tell,
    told,
)
from alert_values import rule, silence
from keyring import made
from receiver.domain.databases import Relabelling
from watched import Watched


def test_server_that_is_down_is_told_once_and_so_is_its_return(fleet: Watched) -> None:
    silence_servers(fleet, "a")
    tell(fleet)
    tell(fleet)

    (alarm,) = kept(fleet.store)
    assert ("down", "a", "mail", None) == (
        alarm.kind,
        alarm.server_id,
        alarm.channel_id,
        alarm.ended_at,
    )
    assert fleet.now - MINUTE / 2 == alarm.told_at
    assert ["alarm"] == told(fleet.store)
    fleet.beat("a")
    tell(fleet)
    tell(fleet)
    (alarm,) = kept(fleet.store)
    assert ("recovered", fleet.now - MINUTE) == (alarm.ending, alarm.ended_at)
    assert ["alarm", "end"] == told(fleet.store)


def test_message_has_what_was_known_and_links(fleet: Watched) -> None:
    silence_servers(fleet, "a")
    fleet.store.alerts.advance(fleet.now, "https://fleet.example.com")
    fleet.clock.advance(HALF_A_MINUTE)
    fleet.store.alerts.advance(fleet.now, "https://fleet.example.com")

    (message,) = fleet.store.alerts.deliveries(limit=9)
    assert "https://fleet.example.com" in message.text
    assert "fleet.alarm" == message.body["type"]


def test_open_alarms_of_a_silent_fleet_become_part_of_one(fleet: Watched) -> None:
    """Also those that began before the event, and those of another step."""
    ids = "abcdefgh"
    fleet.store.alerts.change_rule(rule(kinds=frozenset({"late", "down"})), fleet.now)
    fleet.beat(*ids)
    fleet.go_on(140)
    advance(fleet)
    fleet.go_on(AWAY_SECONDS)
    advance(fleet)

    parents = [each for each in kept(fleet.store) if each.kind == "fleet_silent"]
    parts = [each for each in kept(fleet.store) if each.kind != "fleet_silent"]
    assert 1 == len(parents)
    assert {("late", each) for each in ids} | {("down", each) for each in ids} == {
        (each.kind, each.server_id) for each in parts
    }
    assert {parents[0].id} == {each.part_of for each in parts}
    assert 1 == fleet.store.alerts.open_count()
    tell(fleet)
    assert ["alarm"] == told(fleet.store)
    fleet.beat(*ids)
    tell(fleet)
    assert ["alarm", "end"] == told(fleet.store)
    assert [] == fleet.store.alerts.alarms(is_open=True, limit=9)


def test_reminders_are_sent_until_the_alarm_is_acknowledged(fleet: Watched) -> None:
    fleet.store.alerts.change_rule(rule(remind_every=timedelta(hours=1)), fleet.now)
    silence_servers(fleet, "a")
    tell(fleet)
    for _ in range(2):
        tell(fleet, seconds=3600)
    assert ["alarm", "reminder", "reminder"] == told(fleet.store)

    assert fleet.store.alerts.acknowledge(1, fleet.now, "acme")
    for _ in range(2):
        tell(fleet, seconds=3600)

    assert ["alarm", "reminder", "reminder"] == told(fleet.store)


def test_rules_and_silences_find_words_in_notes(fleet: Watched) -> None:
    fleet.store.alerts.change_rule(rule(query="ann"), fleet.now)
    fleet.store.alerts.add_silence(silence("bob", query="bob", ends_at=None), fleet.now)
    fleet.beat("a", "b", "c")
    for server_id, note in (("a", "Call Ann first."), ("b", "Ann or Bob")):
        asked = Relabelling.of({"note": note})
        fleet.store.labels.change([server_id], asked, at=fleet.now, by="Ada")

    silence_servers(fleet, "a", "b", "c")
    tell(fleet)

    found = {each.server_id: each.silenced_by for each in kept(fleet.store)}
    assert {"a": None, "b": "bob"} == found


def test_silenced_alarm_is_told_when_its_silence_is_ended(fleet: Watched) -> None:
    fleet.store.alerts.add_silence(silence(ends_at=fleet.now + timedelta(days=1)), fleet.now)
    silence_servers(fleet, "a")
    tell(fleet)
    (alarm,) = kept(fleet.store)
    assert ("upgrade", None) == (alarm.silenced_by, alarm.told_at)
    assert 0 == fleet.store.alerts.open_count()
    assert [] == told(fleet.store)

    fleet.store.alerts.end_silence("upgrade", fleet.now, "acme")
    tell(fleet)

    (alarm,) = kept(fleet.store)
    assert (None, fleet.now) == (alarm.silenced_by, alarm.told_at)
    assert ["alarm"] == told(fleet.store)


def test_silenced_alarm_is_told_when_its_silence_is_over(
    fleet: Watched, statements: Callable[[], list[str]]
) -> None:
    ends_at = fleet.now + timedelta(hours=2)
    fleet.store.alerts.add_silence(silence(ends_at=ends_at), fleet.now)
    silence_servers(fleet, "a")
    tell(fleet)
    statements()
    assert not fleet.store.alerts.advance(fleet.now, None)
    assert 1 == len(statements())

    fleet.clock.now = ends_at
    tell(fleet)

    assert ["alarm"] == told(fleet.store)


def test_limit_of_a_channel_counts_the_messages_of_the_last_hour(fleet: Watched) -> None:
    store = fleet.store
    store.alerts.change_channel("mail", per_hour=2)
    for name in "abc":
        silence_servers(fleet, name)
        tell(fleet)
    assert ["alarm", "alarm"] == told(store)

    tell(fleet, seconds=3600)

    assert ["alarm", "alarm", "alarm"] == told(store)
    assert [] == [each for each in kept(store) if each.told_at is None]


def test_key_that_is_about_to_expire_is_told_without_an_event(fleet: Watched) -> None:
    store = fleet.store
    key, _ = made("agent", name="acme", now=fleet.now)
    store.keys.add(evolve(key, expires_at=fleet.now + timedelta(days=40)))
    store.keys.add(made("viewer", now=fleet.now)[0])
    store.alerts.add_rule(rule("keys", kinds=frozenset({"key_expires"})))
    tell(fleet)
    assert [] == kept(store)

    fleet.clock.advance(86400 * 27)
    tell(fleet)

    (alarm,) = kept(store)
    assert ("key_expires", None, key.id) == (alarm.kind, alarm.server_id, alarm.subject)
    assert ["alarm"] == told(store)
    store.keys.rotate(key.id, key.digest, fleet.now + timedelta(days=90))
    tell(fleet, seconds=600)
    tell(fleet)
    assert ["alarm", "end"] == told(store)


def test_pause_of_the_receivers_is_told_once(fleet: Watched) -> None:
    store = fleet.store
    store.watch.note_presence(fleet.now, absent=timedelta(seconds=5))
    store.alerts.add_rule(rule("away", kinds=frozenset({"receiver_away"})))
    began = fleet.now
    fleet.clock.advance(3600)
    store.watch.note_presence(fleet.now, absent=timedelta(seconds=5))
    for _ in range(3):
        tell(fleet)

    (alarm,) = kept(store)
    assert ("receiver_away", began) == (alarm.kind, alarm.begun_at)
    assert began + timedelta(hours=1) == alarm.ended_at
    assert ["alarm"] == told(store)


def test_time_before_the_first_receiver_is_not_told_as_a_pause(fleet: Watched) -> None:
    store = fleet.store
    store.alerts.add_rule(rule("away", kinds=frozenset({"receiver_away"})))
    advance(fleet)
    store.watch.note_presence(fleet.now, absent=timedelta(seconds=5))
    tell(fleet)

    assert [] == kept(store)
