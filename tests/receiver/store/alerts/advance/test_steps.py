"""Alarms follow the events in small steps, whoever takes them, and whatever is interrupted."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import IntegrityError

from alarm_steps import (
    HALF_A_MINUTE,
    MINUTE,
    advance,
    kept,
    numbers_of_alarms,
    progress,
    set_progress,
    silence_servers,
    tell,
    told,
)
from alert_values import channel, rule, silence
from receiver.domain.alerts.values import DeliveryKind
from receiver.store import SqlStore
from receiver.store.alerts.alarms import take_step, write_step
from receiver.store.alerts.progress import _SEE
from refused_inserts import allow_inserts, refuse_inserts
from watched import Watched, at_once


def test_alarm_step_without_rules_is_one_small_read(
    fleet: Watched, statements: Callable[[], list[str]]
) -> None:
    fleet.store.alerts.remove_rule("down", fleet.now)
    silence_servers(fleet, "a")
    statements()

    assert not fleet.store.alerts.advance(fleet.now, None)
    assert 1 == len(statements())


def test_alarm_step_with_nothing_to_do_in_a_large_fleet_is_one_small_read(
    fleet: Watched, statements: Callable[[], list[str]]
) -> None:
    """5,000 servers, 100 rules and 50 silences; the read finds each row by a key."""
    store = fleet.store
    for n in range(100):
        store.alerts.add_rule(rule(f"rule-{n}", query=f"database:db-{n}"))
    for n in range(50):
        store.alerts.add_silence(silence(f"silence-{n}", query=f"database:db-{n}"), fleet.now)
    fleet.beat(*(f"s{n}" for n in range(5000)))
    advance(fleet)
    statements()

    assert not store.alerts.advance(fleet.now, None)

    assert 1 == len(statements())
    with store.transactions.read() as connection:
        query = _SEE.compile(connection, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        plan = str(connection.exec_driver_sql(f"{explain} {query}").all())
    assert "events" in plan
    assert "SCAN events" not in plan, plan
    assert "Seq Scan on events" not in plan, plan


def test_500_servers_that_are_down_are_told_by_small_transactions(
    fleet: Watched, engine: Engine
) -> None:
    """With 100 rules that name them, in a fleet of 2,000 of which the others go on sending."""
    store = fleet.store
    for n in range(100):
        store.alerts.add_rule(rule(f"rule-{n}", query=f"database:db-{n}"))
    alive = tuple(f"alive-{n}" for n in range(1500))
    ids = tuple(f"s{n}" for n in range(500))
    fleet.beat(*ids, *alive)
    advance(fleet)
    fleet.clock.advance(150)
    fleet.beat(*alive)
    fleet.sweep()
    fleet.clock.advance(150)
    fleet.beat(*alive)
    fleet.sweep()
    begun = [*numbers_of_alarms(fleet, engine)]

    assert 500 == begun[-1]
    assert 10 >= max(after - before for before, after in pairwise(begun))
    tell(fleet)
    (message,) = store.alerts.deliveries(limit=9)
    assert "500" in message.title
    assert {fleet.now} == {alarm.told_at for alarm in kept(store)}


def test_rules_that_each_match_many_servers_begin_a_limited_number_at_once(
    fleet: Watched, engine: Engine
) -> None:
    """150 rules and 10 servers: 1,500 alarms, of which a step begins 1,000 at most."""
    store = fleet.store
    for n in range(150):
        store.alerts.add_rule(rule(f"rule-{n}"))
    store.alerts.remove_rule("down", fleet.now)
    silence_servers(fleet, *"abcdefghij", alive=tuple(f"alive-{n}" for n in range(20)))
    numbers = [*numbers_of_alarms(fleet, engine)]

    assert 1500 == numbers[-1]
    assert 1000 >= max(after - before for before, after in pairwise(numbers))


def test_event_backlog_sends_no_message_before_all_of_it_is_read(fleet: Watched) -> None:
    """A thousand events came while nobody looked; the server that was down is back by then."""
    advance(fleet)  # the rule is not new any more
    silence_servers(fleet, "a", "b")
    fleet.beat(*(f"s{n}" for n in range(1000)))
    fleet.beat("a")
    fleet.clock.advance(2 * HALF_A_MINUTE)

    more = [fleet.store.alerts.advance(fleet.now, None) for _ in range(3)]

    assert [True, True, False] == more
    assert ["a", "b"] == sorted(each.server_id or "" for each in kept(fleet.store))
    advance(fleet)
    tell(fleet)
    (message,) = fleet.store.alerts.deliveries(limit=9)
    assert {"a": None, "b": message.created_at} == {
        each.server_id: each.told_at for each in kept(fleet.store)
    }


def test_event_backlog_does_not_delay_due_messages_for_long(fleet: Watched, engine: Engine) -> None:
    silence_servers(fleet, "a")
    advance(fleet)
    set_progress(engine, look_at=fleet.now)
    fleet.beat(*(f"s{n}" for n in range(1001)))
    fleet.clock.advance(HALF_A_MINUTE - 1)
    assert fleet.store.alerts.advance(fleet.now, None)
    assert [] == told(fleet.store)
    fleet.clock.advance(1)

    assert fleet.store.alerts.advance(fleet.now, None)

    assert ["alarm"] == told(fleet.store)


def test_two_receivers_tell_each_alarm_once(fleet: Watched, other: SqlStore) -> None:
    ids = [f"s{n}" for n in range(40)]
    alive = tuple(f"alive-{n}" for n in range(50))
    silence_servers(fleet, *ids, alive=alive)
    for _ in range(3):
        at_once(*(partial(advance, fleet, by=by) for by in (fleet.store, other) * 2))
        fleet.clock.advance(HALF_A_MINUTE)

    assert {1} == {*Counter(each.server_id for each in kept(fleet.store)).values()}
    assert sorted(ids) == sorted(each.server_id or "" for each in kept(fleet.store))
    assert ["alarm"] == told(fleet.store)
    fleet.beat(*ids)
    for _ in range(3):
        at_once(*(partial(advance, fleet, by=by) for by in (fleet.store, other) * 2))
        fleet.clock.advance(HALF_A_MINUTE)
    assert ["alarm", "end"] == told(fleet.store)


@pytest.mark.parametrize("table", ["alarms", "deliveries"])
def test_alarm_step_that_cannot_be_written_changes_nothing(
    fleet: Watched, engine: Engine, table: str
) -> None:
    silence_servers(fleet, "a")
    if table == "deliveries":
        advance(fleet)
        fleet.clock.advance(HALF_A_MINUTE)
    before = progress(engine), kept(fleet.store)
    refuse_inserts(engine, table)

    for _ in range(2):
        with pytest.raises(IntegrityError):
            fleet.store.alerts.advance(fleet.now, None)

    assert before == (progress(engine), kept(fleet.store))
    allow_inserts(engine)
    tell(fleet)
    assert ["a"] == [each.server_id for each in kept(fleet.store)]
    assert ["alarm"] == told(fleet.store)


@pytest.mark.parametrize(
    "change",
    [
        lambda store, now: store.alerts.acknowledge(1, now, "acme"),
        lambda store, now: store.alerts.add_silence(silence(), now),
        lambda store, now: store.alerts.remove_rule("down", now),
        lambda store, now: store.alerts.change_rule(rule(after=MINUTE), now),
        lambda store, _: store.alerts.change_channel("mail", per_hour=1),
        lambda store, now: store.alerts.remove_channel("mail", now),
        lambda store, _: store.alerts.add_channel(channel("chat"), None),
        lambda store, now: store.alerts.advance(now, None),
    ],
    ids=[
        "acknowledge",
        "add_silence",
        "remove_rule",
        "change_rule",
        "change_channel",
        "remove_channel",
        "add_channel",
        "advance",
    ],
)
def test_alarm_step_is_not_written_when_its_premises_have_changed(
    fleet: Watched, other: SqlStore, engine: Engine, change: Callable[[SqlStore, Any], object]
) -> None:
    store, dialect = fleet.store, fleet.store.transactions.dialect
    silence_servers(fleet, "a")
    advance(fleet)
    fleet.clock.advance(HALF_A_MINUTE)
    with store.transactions.read() as connection:
        step = take_step(dialect, connection, fleet.store.alerts._cache, fleet.now, None)  # noqa: SLF001 - to stop halfway
    assert step is not None
    assert [DeliveryKind.ALARM] == [each.kind for each in step.changes.deliveries]

    change(other, fleet.now)
    before = progress(engine), kept(other), other.alerts.deliveries(limit=9)

    assert not store.transactions.write(lambda connection: write_step(dialect, connection, step))
    assert before == (progress(engine), kept(other), other.alerts.deliveries(limit=9))


def test_receiver_does_not_wait_for_another_one_that_writes_a_step(postgresql_url: str) -> None:
    store = SqlStore(make_url(postgresql_url))
    other = create_engine(postgresql_url)
    store.alerts.add_channel(channel(), rule())
    fleet = Watched(store)
    silence_servers(fleet, "a")
    with other.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM alert_progress FOR UPDATE")
        advance(fleet)  # which would be unavailable if it had waited for the lock, in vain
        before = kept(store)
    advance(fleet)

    assert ([], 1) == (before, len(kept(store)))
    store.close()
    other.dispose()
