"""Alarms when the clock is set back or the receiver starts, and the end of old ones."""

from datetime import timedelta

from sqlalchemy import Engine

from alarm_steps import MINUTE, advance, kept, progress, silence_servers, tell, told
from alert_values import delivery, rule, silence
from receiver.domain.alerts.values import DeliveryKind
from watched import Watched


def test_clock_that_is_set_back_puts_off_no_alarm_and_no_message(
    fleet: Watched, engine: Engine
) -> None:
    store = fleet.store
    store.alerts.change_rule(rule(after=5 * MINUTE, remind_every=60 * MINUTE), fleet.now)
    silence_servers(fleet, "a")
    tell(fleet)
    tell(fleet, seconds=300)
    silence_servers(fleet, "b")
    advance(fleet)
    store.alerts.lease(fleet.now, "killed", fleet.now + MINUTE, 8)
    assert ["alarm"] == told(store)
    fleet.clock.now -= timedelta(days=1)
    now = fleet.now
    store.watch.leave_no_future(now)

    first, second = kept(store)
    assert (now, None, now) == (first.begun_at, first.due_at, first.told_at)
    assert (now, now + 5 * MINUTE, None) == (second.begun_at, second.due_at, second.told_at)
    (message,) = store.alerts.deliveries(limit=9)
    assert (now, now) == (message.created_at, message.next_at)
    assert [] == store.alerts.lease(now, "two", now + MINUTE, 8)
    assert 1 == len(store.alerts.lease(now + MINUTE, "two", now + 2 * MINUTE, 8))
    assert progress(engine).event_at == now
    fleet.beat("alive")
    tell(fleet)
    assert 2 == len(kept(store))
    fleet.clock.advance(300)
    tell(fleet)
    assert ["alarm", "alarm"] == told(store)


def test_start_of_a_receiver_hurries_no_message(fleet: Watched) -> None:
    """Or the attempts of a day would be over in minutes where a receiver starts again and again."""
    alerts, now = fleet.store.alerts, fleet.now
    waiting = [delivery(next_at=now + timedelta(hours=hours)) for hours in (1, 8, 9)]
    for each in waiting:
        assert alerts.enqueue(each)

    fleet.store.watch.leave_no_future(now)

    expected = [now + timedelta(hours=hours) for hours in (1, 8, 8)]
    assert expected == sorted(each.next_at or now for each in alerts.deliveries(limit=9))


def test_silenced_alarm_stays_so_when_the_clock_is_set_back(fleet: Watched) -> None:
    fleet.store.alerts.add_silence(silence(ends_at=None), fleet.now)
    silence_servers(fleet, "a")
    tell(fleet)
    (before,) = kept(fleet.store)
    fleet.clock.now -= timedelta(hours=1)
    fleet.store.watch.leave_no_future(fleet.now)
    tell(fleet)

    (after,) = kept(fleet.store)
    assert ("upgrade", "upgrade") == (before.silenced_by, after.silenced_by)
    (moved,) = fleet.store.alerts.silences(fleet.now)
    assert moved.begins_at == moved.created_at < fleet.now
    assert [] == told(fleet.store)


def test_alarms_that_are_over_are_deleted_in_the_end(fleet: Watched) -> None:
    silence_servers(fleet, "a", "b")
    tell(fleet)
    fleet.beat("a")
    advance(fleet)
    until = fleet.now + timedelta(days=1)
    assert not fleet.store.alerts.trim(until)
    assert 2 == len(kept(fleet.store)), "the end is still to be told"
    tell(fleet)

    assert not fleet.store.alerts.trim(fleet.now - MINUTE)
    assert 2 == len(kept(fleet.store))
    assert not fleet.store.alerts.trim(until)
    assert ["b"] == [each.server_id for each in kept(fleet.store)]
    assert [DeliveryKind.END, DeliveryKind.ALARM] == [
        each.kind for each in fleet.store.alerts.deliveries(limit=9)
    ]
