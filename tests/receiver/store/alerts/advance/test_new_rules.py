"""New rules take up what is wrong already."""

from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import Engine

from alarm_steps import (
    AWAY_SECONDS,
    HALF_A_MINUTE,
    MINUTE,
    advance,
    kept,
    numbers_of_alarms,
    silence_servers,
    tell,
    told,
)
from alert_values import rule
from contract import Heartbeat
from keyring import made
from receiver.domain.outcomes import Incoming
from watched import Watched


def test_events_before_the_first_rule_are_not_told(fleet: Watched) -> None:
    fleet.store.alerts.remove_rule("down", fleet.now)
    silence_servers(fleet, "a")
    fleet.beat("a")
    fleet.store.watch.note_presence(fleet.now, absent=timedelta(seconds=5))
    fleet.store.alerts.add_rule(rule(kinds=frozenset({"down", "receiver_away"})))
    tell(fleet)

    assert [] == kept(fleet.store)


def test_first_rule_tells_once_of_servers_that_are_down_already(fleet: Watched) -> None:
    store = fleet.store
    store.alerts.remove_rule("down", fleet.now)
    fleet.beat("c")
    silence_servers(fleet, "a", "b", alive=("alive", "c"))
    down_since = fleet.record("a").state_since
    fleet.go_on(3600, "alive", "c")
    both = rule(kinds=frozenset({"down", "late"}), query="-server:b", after=5 * MINUTE)
    store.alerts.add_rule(both)
    tell(fleet)
    tell(fleet)

    assert [("a", "down", None, down_since), ("a", "late", None, down_since)] == sorted(
        (each.server_id, each.kind, each.event_id, each.begun_at) for each in kept(store)
    )
    assert ["alarm"] == told(store)
    (message,) = store.alerts.deliveries(limit=9)
    assert "a" in message.title
    assert "1970" not in message.text
    fleet.beat("a")
    tell(fleet)
    assert ["alarm", "end"] == told(store)
    assert {"recovered"} == {each.ending for each in kept(store)}


def test_changed_rule_tells_of_servers_that_are_down_already(fleet: Watched) -> None:
    store = fleet.store
    store.alerts.change_rule(rule(query="stage:production"), fleet.now)
    silence_servers(fleet, "a")
    tell(fleet)
    before = kept(store)
    store.alerts.change_rule(rule(query="server:a"), fleet.now)
    tell(fleet)
    store.alerts.change_rule(rule(query="server:a", name="Again"), fleet.now)
    tell(fleet)

    assert [] == before
    assert ["a"] == [each.server_id for each in kept(store)]
    assert ["alarm"] == told(store)


def test_new_rules_tell_of_many_servers_in_small_steps_and_one_message(
    fleet: Watched, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fleet.store
    store.alerts.remove_rule("down", fleet.now)
    ids = [f"away-{n}" for n in range(9)]
    silence_servers(fleet, *ids, alive=tuple(f"alive-{n}" for n in range(20)))
    monkeypatch.setattr("receiver.store.alerts.alarms._MOST_ALARMS", 4)
    for name in ("one", "two", "three"):
        store.alerts.add_rule(rule(name))
    fleet.clock.advance(HALF_A_MINUTE)

    begun = [*numbers_of_alarms(fleet, engine)]

    assert 27 == begun[-1]
    assert 4 >= max(after - before for before, after in pairwise([0, *begun]))
    assert {fleet.now} == {each.told_at for each in kept(store)}
    assert 1 == len(store.alerts.deliveries(limit=9))


def test_new_rules_that_match_few_servers_take_few_steps(fleet: Watched, engine: Engine) -> None:
    silence_servers(fleet, *"abcdefghi", alive=tuple(f"alive-{n}" for n in range(20)))
    advance(fleet)
    for n in range(100):
        fleet.store.alerts.add_rule(rule(f"new-{n}", query="server:h"))

    assert [9, 109, 109] == [*numbers_of_alarms(fleet, engine)]


def test_many_new_rules_look_at_few_servers_in_a_step(
    fleet: Watched, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence_servers(fleet, *"abcdefghi", alive=tuple(f"alive-{n}" for n in range(20)))
    advance(fleet)
    monkeypatch.setattr("receiver.store.alerts.alarms._MOST_MATCHES", 10)
    for n in range(3):
        fleet.store.alerts.add_rule(rule(f"new-{n}", query="server:c,h"))

    assert [9, 12, 12, 15, 15, 15] == [*numbers_of_alarms(fleet, engine)]


def test_rule_that_takes_up_many_servers_holds_up_no_message_of_another_rule(
    fleet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fleet.store
    store.alerts.change_rule(rule(query="server:known"), fleet.now)
    alive = tuple(f"alive-{n}" for n in range(20))
    silence_servers(fleet, *(f"away-{n}" for n in range(9)), alive=("known", *alive))
    advance(fleet)
    monkeypatch.setattr("receiver.store.alerts.alarms._MOST_ALARMS", 4)
    store.alerts.add_rule(rule("new"))
    more = [store.alerts.advance(fleet.now, None)]
    fleet.go_on(AWAY_SECONDS, *alive)
    for _ in range(2):
        more.append(store.alerts.advance(fleet.now, None))
        fleet.clock.advance(HALF_A_MINUTE)

    assert [True, True, True] == more
    assert {"known"} == {each.server_id for each in kept(store) if each.told_at is not None}
    advance(fleet)
    assert 11 == len([each for each in kept(store) if each.told_at is not None])
    assert ["alarm", "alarm"] == told(store)


def test_new_rule_takes_up_what_is_wrong_after_a_backlog_of_events(
    fleet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fleet.store
    ids = [f"away-{n}" for n in range(9)]
    silence_servers(fleet, *ids, alive=tuple(f"alive-{n}" for n in range(20)))
    tell(fleet)
    monkeypatch.setattr("receiver.store.alerts.alarms._MOST_EVENTS", 10)
    monkeypatch.setattr("receiver.store.alerts.alarms._MOST_ALARMS", 4)
    fleet.beat(*(f"s{n}" for n in range(11)))
    store.alerts.add_rule(rule("new", query="server:away-8"))
    tell(fleet)

    assert ["away-8"] == [each.server_id for each in kept(store) if each.rule_id == "new"]
    assert set() == {each.server_id for each in kept(store) if each.told_at is None}


def test_new_rule_does_not_tell_of_servers_whose_key_was_revoked(fleet: Watched) -> None:
    store = fleet.store
    store.alerts.remove_rule("down", fleet.now)
    key, _ = made("agent", now=fleet.now)
    store.keys.add(key)
    store.servers.apply([Incoming(Heartbeat(server_id="of-key"), fleet.now, key)])
    silence_servers(fleet, "a")
    store.keys.revoke(key.id, fleet.now)
    store.alerts.add_rule(rule())
    tell(fleet)

    assert ["a"] == [each.server_id for each in kept(store)]
