"""Alarms follow the events: each is looked at once, whoever looks, and whatever is interrupted."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Engine, create_engine, delete, func, make_url, select, update
from sqlalchemy.exc import IntegrityError

from alert_values import channel, delivery, rule, silence
from contract import Heartbeat
from keyring import made
from receiver.domain.alerts.values import Alarm, DeliveryKind
from receiver.domain.databases import Relabelling
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from receiver.store.alerts.alarms import take_step, write_step
from receiver.store.alerts.progress import _SEE
from receiver.store.alerts.tables import alarms, alert_progress
from receiver.store.tables import events
from watched import Watched, at_once

HALF_A_MINUTE = 30
MINUTE = timedelta(minutes=1)
AWAY_SECONDS = 300
"""After so many seconds without a message a server is down."""

REFUSE_INSERTS = {
    "sqlite": "CREATE TRIGGER no BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'no'); END",
    "postgresql": """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER no BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION no()
    """,
}
ALLOW_INSERTS = {"sqlite": "DROP TRIGGER no", "postgresql": "DROP FUNCTION no() CASCADE"}


@pytest.fixture
def store(store: SqlStore) -> SqlStore:
    """A store with the rule that tells of servers that are down, at once and by mail."""
    if not store.alerts.channels():
        store.alerts.add_channel(channel(), rule())
    return store


def advance(fleet: Watched, *, by: SqlStore | None = None) -> None:
    """Take steps until there are no more events."""
    store = by or fleet.store
    while store.alerts.advance(fleet.now, None):
        pass


def tell(fleet: Watched, seconds: float = HALF_A_MINUTE) -> None:
    """Let half a minute pass, after which what is due is told."""
    advance(fleet)
    fleet.clock.advance(seconds)
    advance(fleet)


def silence_servers(fleet: Watched, *ids: str, alive: tuple[str, ...] = ("alive",)) -> None:
    """Register servers that send nothing any more, until they are down; `alive` go on sending."""
    fleet.beat(*ids, *alive)
    fleet.go_on(AWAY_SECONDS, *alive)


def kept(store: SqlStore) -> list[Alarm]:
    """All alarms, oldest first."""
    return store.alerts.alarms(limit=100_000)[::-1]


def told(store: SqlStore) -> list[str]:
    """The kinds of all messages, oldest first."""
    return [each.kind.value for each in store.alerts.deliveries(limit=1000)[::-1]]


def numbers_of_alarms(fleet: Watched, engine: Engine) -> Iterator[int]:
    """Take steps until there are no more events; yields how many alarms there are after each."""
    counted = select(func.count()).select_from(alarms)
    is_more = True
    while is_more:
        with engine.connect() as connection:
            yield connection.execute(counted).scalar_one()
        is_more = fleet.store.alerts.advance(fleet.now, None)
    with engine.connect() as connection:
        yield connection.execute(counted).scalar_one()


def progress(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(alert_progress.select()).one()


def set_progress(engine: Engine, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(update(alert_progress).values(values))


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


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
    run(engine, REFUSE_INSERTS[engine.dialect.name].format(table))

    for _ in range(2):
        with pytest.raises(IntegrityError):
            fleet.store.alerts.advance(fleet.now, None)

    assert before == (progress(engine), kept(fleet.store))
    run(engine, ALLOW_INSERTS[engine.dialect.name])
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


# Another database in the place of the one that was open, and events that are gone


@pytest.fixture
def with_a_rule(database_url: str) -> None:
    """Store the channel and the rule before the database is copied."""
    store = SqlStore(make_url(database_url))
    store.alerts.add_channel(channel(), rule())
    store.close()


@pytest.mark.parametrize("is_progress_kept", [False, True])
def test_events_after_a_restored_backup_are_not_missed(
    with_a_rule: None,
    restore: Callable[[], object],
    fleet: Watched,
    engine: Engine,
    *,
    is_progress_kept: bool,
) -> None:
    """
    They have numbers that events had which were told before, and which the backup lacks.

    The progress may be that of the backup, or that of the database before.
    """
    silence_servers(fleet, "a")
    tell(fleet)
    assert ["alarm"] == told(fleet.store)
    before = progress(engine)
    restore()
    engine.dispose()
    assert 0 == fleet.store.events.last()
    assert 0 == progress(engine).event_id
    if is_progress_kept:
        set_progress(engine, event_id=before.event_id, event_at=before.event_at)
    fleet.clock.advance(1)
    silence_servers(fleet, "b")
    tell(fleet)

    assert ["b"] == [each.server_id for each in kept(fleet.store)]
    assert ["alarm"] == told(fleet.store)


@pytest.mark.parametrize("ahead", [1, 3, 1000])
def test_alarm_progress_ahead_of_the_events_misses_no_event(
    fleet: Watched, engine: Engine, ahead: int
) -> None:
    """As when the events alone are restored from a backup: later ones have the same numbers."""
    silence_servers(fleet, "a")
    advance(fleet)
    last = fleet.store.events.last()
    set_progress(engine, event_id=last + ahead, event_at=fleet.now)
    fleet.clock.advance(1)
    silence_servers(fleet, "b")
    advance(fleet)

    assert ["a", "b"] == [each.server_id for each in kept(fleet.store)]
    assert fleet.store.events.last() == progress(engine).event_id


def test_alarm_progress_behind_the_events_begins_no_alarm_twice(
    fleet: Watched, engine: Engine
) -> None:
    before = progress(engine)
    silence_servers(fleet, "a")
    tell(fleet)
    set_progress(engine, event_id=before.event_id, event_at=before.event_at)
    tell(fleet)

    assert 1 == len(kept(fleet.store))
    assert ["alarm"] == told(fleet.store)


def test_deleted_events_do_not_stop_the_alarms(
    fleet: Watched, engine: Engine, statements: Callable[[], list[str]]
) -> None:
    fleet.beat("b")
    advance(fleet)
    with engine.begin() as connection:
        connection.execute(delete(events))
    advance(fleet)
    statements()
    advance(fleet)
    assert 1 == len(statements())

    fleet.clock.advance(1)
    silence_servers(fleet, "a", "b")
    advance(fleet)

    assert ["a", "b"] == sorted(each.server_id or "" for each in kept(fleet.store))


def test_alarm_step_that_was_decided_by_another_database_is_not_written(
    restore: Callable[[], object], fleet: Watched, engine: Engine
) -> None:
    store, dialect = fleet.store, fleet.store.transactions.dialect
    silence_servers(fleet, "a")
    with store.transactions.read() as connection:
        step = take_step(dialect, connection, store.alerts._cache, fleet.now, None)  # noqa: SLF001 - to stop halfway
    assert step is not None
    restore()
    engine.dispose()
    set_progress(engine, revision=step.progress.revision)

    assert not store.transactions.write(lambda connection: write_step(dialect, connection, step))
    assert [] == kept(store)
    assert 0 == progress(engine).event_id


# The clock


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


# Old rows


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
