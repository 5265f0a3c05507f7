"""Channels and rules: stored as they are, and what goes with them when they go or change."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest
from sqlalchemy import Engine, insert

from alert_values import NOW, alarm, channel, delivery, rule
from receiver.domain.alerts.values import Alarm, ChannelKind
from receiver.store import SqlStore
from receiver.store.alerts.alarms import _columns
from receiver.store.alerts.tables import alarms
from watched import Watched, at_once

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def put(engine: Engine, *made: Alarm) -> None:
    """Store alarms."""
    with engine.begin() as connection:
        connection.execute(insert(alarms), [_columns(each, {}) for each in made])


def evolve(before: Alarm | None, **values: Any) -> Alarm:
    """An alarm of which some attributes are different."""
    assert before is not None
    return attrs.evolve(before, **values)


def kept(store: SqlStore) -> Sequence[Alarm]:
    """All alarms, oldest first."""
    return store.alerts.alarms(limit=1000)[::-1]


def test_channel_is_stored_as_it_is(store: SqlStore) -> None:
    hook = channel(
        "hook",
        kind=ChannelKind.WEBHOOK,
        address=b"\x00\xff",
        report_at="0 8 * * 1",
        reported_at=NOW,
        created_at=NOW + SECOND,
    )
    store.alerts.add_channel(hook, None)
    store.alerts.add_channel(channel("mail"), None)

    assert [channel("mail"), hook] == store.alerts.channels()
    assert hook == store.alerts.channel("hook")
    assert None is store.alerts.channel("fax")
    assert None is store.alerts.channel("a\x00b")


def test_address_of_a_channel_is_not_in_its_text(store: SqlStore) -> None:
    store.alerts.add_channel(channel(address=b"secret"), None)

    assert "secret" not in repr(store.alerts.channels())


def test_changed_channel_keeps_the_fields_that_are_not_named(store: SqlStore) -> None:
    store.alerts.add_channel(channel(), None)

    assert store.alerts.change_channel("mail", name="Mail", report_at="0 8 * * 1")
    assert not store.alerts.change_channel("fax", name="Fax")
    assert [channel(name="Mail", report_at="0 8 * * 1")] == store.alerts.channels()


def test_first_channel_brings_the_default_rule_and_no_other_does(store: SqlStore) -> None:
    default = rule("default")
    store.alerts.add_channel(channel(), default)
    store.alerts.add_channel(channel("chat"), rule("second"))
    assert [default] == store.alerts.rules()

    store.alerts.remove_channel("mail", NOW)
    store.alerts.add_channel(channel("hook"), rule("third"))

    assert [] == store.alerts.rules()


def test_two_first_channels_bring_one_default_rule(store: SqlStore, other: SqlStore) -> None:
    at_once(
        lambda: store.alerts.add_channel(channel(), rule("one")),
        lambda: other.alerts.add_channel(channel("chat"), rule("two", channel_id="chat")),
    )

    assert 2 == len(store.alerts.channels())
    assert 1 == len(store.alerts.rules())


def test_rule_is_stored_as_it_is(store: SqlStore) -> None:
    store.alerts.add_channel(channel(), None)
    full = rule(
        "full",
        query='stage:production "a \\"b\\""',
        kinds=frozenset({"down", "twin", "key_expires"}),
        after=timedelta(minutes=5),
        remind_every=timedelta(days=400),
        created_at=NOW + SECOND,
    )

    assert store.alerts.add_rule(full)
    assert store.alerts.add_rule(rule())
    assert [rule(), full] == store.alerts.rules()
    assert full == store.alerts.rule("full")
    assert None is store.alerts.rule("none")
    assert None is store.alerts.rule("a\x00b")


def test_rule_needs_its_channel(store: SqlStore) -> None:
    store.alerts.add_channel(channel(), rule())

    assert not store.alerts.add_rule(rule("other", channel_id="gone"))
    assert not store.alerts.change_rule(rule(channel_id="gone"), NOW)
    assert not store.alerts.change_rule(rule("other"), NOW)
    assert [rule()] == store.alerts.rules()


def test_removed_rule_ends_its_alarms_untold(store: SqlStore, engine: Engine) -> None:
    store.alerts.add_channel(channel(), rule())
    store.alerts.add_rule(rule("other"))
    over = alarm(ended_at=NOW, ending="recovered", due_at=None)
    untold_end = alarm(ended_at=NOW, ending="recovered", told_at=NOW)
    put(engine, alarm(), over, untold_end, alarm(rule_id="other"))

    assert store.alerts.remove_rule("down", NOW + HOUR)
    assert not store.alerts.remove_rule("down", NOW + HOUR)
    assert not store.alerts.remove_rule("a\x00b", NOW + HOUR)

    assert [rule("other")] == store.alerts.rules()
    first, second, third, fourth = kept(store)
    ended = {"due_at": None, "ended_at": NOW + HOUR, "ending": "rule_removed"}
    assert evolve(alarm(), id=first.id, **ended) == first
    assert evolve(over, id=second.id) == second
    assert evolve(untold_end, id=third.id, due_at=None) == third
    assert evolve(alarm(rule_id="other"), id=fourth.id) == fourth


def test_removed_channel_takes_its_rules_along_and_ends_their_alarms(
    store: SqlStore, engine: Engine
) -> None:
    store.alerts.add_channel(channel(), rule())
    store.alerts.add_channel(channel("chat"), None)
    store.alerts.add_rule(rule("other", channel_id="chat"))
    put(engine, alarm(), alarm(rule_id="other", channel_id="chat"))

    assert store.alerts.remove_channel("mail", NOW + HOUR)
    for gone in ("mail", "a\x00b"):
        assert not store.alerts.remove_channel(gone, NOW + HOUR)
        assert not store.alerts.change_channel(gone, name="back")

    assert [channel("chat")] == store.alerts.channels()
    assert ["other"] == [each.id for each in store.alerts.rules()]
    assert ["channel_removed", None] == [each.ending for each in kept(store)]


def test_changed_rule_moves_what_its_alarms_have_still_to_tell(
    store: SqlStore, engine: Engine
) -> None:
    store.alerts.add_channel(channel(), rule())
    store.alerts.add_channel(channel("chat"), None)
    told = alarm(told_at=NOW, due_at=None)
    other_kind = alarm(kind="twin")
    silent = alarm(kind="fleet_silent", server_id=None)
    of_other_rule = alarm(rule_id="other")
    put(engine, alarm(), told, other_kind, silent, of_other_rule)
    changed = rule(after=HOUR, channel_id="chat", name="Down for an hour")

    assert store.alerts.change_rule(changed, NOW + SECOND)

    assert [changed] == store.alerts.rules()
    moved = {"channel_id": "chat"}
    ended = {"due_at": None, "ended_at": NOW + SECOND, "ending": "rule_changed"}
    assert [
        evolve(alarm(), id=1, due_at=NOW + HOUR, **moved),
        evolve(told, id=2, **moved),
        evolve(other_kind, id=3, **ended),
        evolve(silent, id=4, due_at=NOW + HOUR, **moved),
        evolve(of_other_rule, id=5),
    ] == kept(store)


def test_rule_that_tells_of_no_silence_has_no_alarm_of_the_whole_fleet(
    store: SqlStore, engine: Engine
) -> None:
    store.alerts.add_channel(channel(), rule())
    put(engine, alarm(kind="fleet_silent", server_id=None))

    store.alerts.change_rule(rule(kinds=frozenset({"twin"})), NOW)

    assert ["rule_changed"] == [each.ending for each in kept(store)]


@pytest.mark.parametrize(("what", "most"), [("channels", 100), ("rules", 1000)])
def test_number_of_channels_and_rules_is_limited(
    store: SqlStore, engine: Engine, what: str, most: int
) -> None:
    store.alerts.add_channel(channel(), rule())
    rows = {
        "channels": "INSERT INTO alert_channels SELECT {id}, name, kind, address, service,"
        " per_hour, report_at, time_zone, created_at, reported_at FROM alert_channels",
        "rules": "INSERT INTO alert_rules SELECT {id}, name, query, kinds, after_seconds,"
        " channel_id, remind_seconds, created_at, standing_after FROM alert_rules",
    }[what]
    with engine.begin() as connection:
        for n in range(most - 2):
            connection.exec_driver_sql(f"{rows.format(id=repr(f'x{n}'))} LIMIT 1")

    assert not store.alerts.is_full(what, NOW)  # type: ignore[arg-type]
    if what == "channels":
        store.alerts.add_channel(channel("last"), None)
    else:
        store.alerts.add_rule(rule("last"))
    assert store.alerts.is_full(what, NOW)  # type: ignore[arg-type]


def test_rule_of_a_channel_that_goes_at_the_same_time_is_not_left(
    store: SqlStore, other: SqlStore
) -> None:
    for n in range(10):
        name = f"channel-{n}"
        store.alerts.add_channel(channel(name), None)
        at_once(
            lambda name=name: store.alerts.remove_channel(name, NOW),  # type: ignore[misc]
            lambda name=name: other.alerts.add_rule(rule(name, channel_id=name)),  # type: ignore[misc]
            lambda name=name: other.alerts.enqueue(delivery(channel_id=name)),  # type: ignore[misc]
        )

    assert [] == store.alerts.channels()
    assert [] == store.alerts.rules()
    assert [] == store.alerts.deliveries(limit=99)


def test_alarms_are_listed_newest_first(store: SqlStore, engine: Engine) -> None:
    ended = {"ended_at": NOW, "ending": "recovered"}
    put(engine, alarm(), alarm(**ended), alarm(server_id="b"), alarm(due_at=None, **ended))
    put(engine, alarm(silenced_by="upgrade"), alarm(part_of=1), alarm(told_at=NOW, due_at=None))

    def ids(**asked: Any) -> list[int]:
        return [each.id for each in store.alerts.alarms(**{"limit": 99, **asked})]

    assert [7, 6, 5, 4, 3, 2, 1] == ids()
    assert [7, 6, 5, 3, 1] == ids(is_open=True)
    assert [4, 2] == ids(is_open=False)
    assert [3] == ids(server_id="b")
    assert [] == ids(server_id="b\x00")
    assert [4, 3] == ids(before=5, limit=2)
    assert [6] == ids(is_part=True)
    assert [7, 5, 3, 1] == ids(is_part=False, is_open=True)
    assert 3 == store.alerts.open_count()
    assert alarm(id=3, server_id="b") == evolve(store.alerts.alarm(3), id=3)
    assert None is store.alerts.alarm(8)


def test_acknowledged_alarm_is_an_event(fleet: Watched, engine: Engine) -> None:
    store = fleet.store
    store.alerts._on_events = fleet._hear  # noqa: SLF001 - the store is older than the test
    put(engine, alarm(), alarm(ended_at=NOW))

    assert store.alerts.acknowledge(1, NOW + SECOND, "acme")

    found = store.alerts.alarm(1)
    assert evolve(alarm(), id=1, acknowledged_at=NOW + SECOND, acknowledged_by="acme") == found
    assert [("acknowledged", "a")] == fleet.told()
    (recorded,) = store.events.after(0, limit=9)
    assert {"kind": "down", "by": "acme"} == recorded.event.details
    assert NOW + SECOND == recorded.event.at
    for gone in (1, 2, 3):
        assert not store.alerts.acknowledge(gone, NOW, "other")
    assert {"acknowledged": 1} == fleet.counts
