"""State logs: the states of servers over time, correct for any window and cheap to read."""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Engine, event, make_url, text, update

from contract.fields import format_moment
from odoos import DATABASE
from receiver.app import create_app
from receiver.domain.history import StateLog
from receiver.domain.instants import microseconds
from receiver.service.availability import WINDOWS, History
from receiver.store import SqlStore
from receiver.store.events import CHAIN
from receiver.store.state_changes import MOST_CHANGES, STATE_LOGS, STATE_LOGS_OF_ONE
from receiver.store.tables import servers
from receiver.web.pages.wording import exactly
from servers import Clock, serve
from watched import Watched

DAY = timedelta(days=1)
FLAPPING = [f"s{n:02}" for n in range(50)]
SECONDS = 0.3


def history(fleet: Watched, server_id: str, window: timedelta = DAY) -> History:
    """The history of a server in a window that ends now."""
    since = fleet.now - window
    return History.of(
        fleet.store.servers.state_logs([server_id], since)[server_id], since=since, now=fleet.now
    )


def minutes(fleet: Watched, server_id: str, window: timedelta = DAY) -> list[tuple[str, float]]:
    """The states of a server in order, each with its duration in minutes."""
    spans = history(fleet, server_id, window).spans(window)
    return [(state, (end - start) / timedelta(minutes=1)) for state, start, end in spans]


def test_state_history_has_every_state_with_its_duration(fleet: Watched) -> None:
    fleet.beat("a", "other")
    fleet.go_on(600, "a", every=60)
    fleet.go_on(420, "other", every=60)
    fleet.go_on(600, "a", every=60)

    assert [("up", 13), ("late", 3), ("down", 2), ("up", 9)] == minutes(fleet, "a")
    assert [("down", 1), ("up", 9)] == minutes(fleet, "a", timedelta(minutes=10))


@pytest.mark.parametrize("seconds", [30.0, 3600.0, 30 * 86400.0])
def test_state_at_the_start_of_a_window_is_that_of_the_last_event_before(
    fleet: Watched, seconds: float
) -> None:
    fleet.beat("a", "b")
    fleet.go_on(600)
    fleet.beat("a")
    fleet.go_on(60, "a")
    fleet.clock.advance(seconds)
    fleet.beat("a")

    window = timedelta(seconds=20)
    assert ["up"] == [state for state, _ in minutes(fleet, "a", window)]
    assert ["down"] == [state for state, _ in minutes(fleet, "b", window)]


def test_state_at_the_start_of_a_window_is_known_after_a_trim(
    fleet: Watched,
) -> None:
    fleet.beat("a", "b")
    fleet.go_on(3600, every=60)
    fleet.beat("a")
    while fleet.store.events.trim(fleet.now):
        pass
    fleet.clock.advance(1800)

    assert {"recovered"} == {kind for kind, _ in fleet.told()}
    assert [("up", 0), ("down", 60), ("up", 30)] == minutes(fleet, "a")
    assert [("down", 10)] == minutes(fleet, "b", timedelta(minutes=10))


def test_state_of_the_last_commit_counts_when_clocks_differ(fleet: Watched) -> None:
    """The order of commits counts, not the times of events."""
    fleet.beat("a")
    fleet.clock.advance(136)
    fleet.sweep()
    fleet.clock.advance(-1)
    fleet.beat("a")
    fleet.clock.advance(60)

    assert [("up", 0.5)] == minutes(fleet, "a", timedelta(seconds=30))


# Superseded servers


def test_history_of_a_successor_includes_its_superseded_server(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(1800, "old", every=60)
    fleet.go_on(3 * 3600, every=60)
    fleet.beat("new", **DATABASE)
    fleet.go_on(600, "new", every=60)

    assert "new" == fleet.record("old").superseded_by
    assert [("up", 33), ("late", 3), ("down", 174), ("up", 10)] == minutes(fleet, "new")
    assert pytest.approx(43 / 220) == history(fleet, "new").availability(DAY)
    assert pytest.approx(33 / 211) == history(fleet, "old").availability(DAY)
    assert [("down", 1), ("up", 10)] == minutes(fleet, "new", timedelta(minutes=11))
    assert [("up", 5)] == minutes(fleet, "new", timedelta(minutes=5))


def test_history_of_a_recovered_server_includes_the_silence_of_its_successor(
    fleet: Watched,
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(600, every=60)
    fleet.beat("new", **DATABASE)
    fleet.go_on(1800, "new", every=60)
    fleet.go_on(3 * 3600, every=60)
    fleet.beat("old")
    fleet.go_on(600, "old", every=60)

    assert "old" == fleet.record("new").superseded_by
    assert [("down", 20), ("up", 10)] == minutes(fleet, "old", timedelta(minutes=30))


def test_history_of_daily_rebuilds_is_complete(fleet: Watched) -> None:
    for n in range(40):  # more than any window has days
        fleet.beat(f"s{n:02}", **DATABASE)
        fleet.sweep()
        fleet.clock.advance(DAY.total_seconds() - 300)
        fleet.beat(f"s{n:02}")
        fleet.go_on(300)

    fleet.beat("last", **DATABASE)
    fleet.sweep()

    for days in (1, 7, 30):
        share = history(fleet, "last", days * DAY).availability(days * DAY)
        assert 1 - 150 / 86400 == pytest.approx(share, abs=1e-4)
        logs = fleet.store.servers.state_logs(["last"], fleet.now - days * DAY)["last"]
        assert days + 2 >= len(logs)


def test_state_logs_of_several_servers_are_read_together(fleet: Watched) -> None:
    for database in ("x", "y"):
        fleet.beat(f"{database}1", **{**DATABASE, "database": database, "database_uuid": database})
    fleet.go_on(300)
    for database in ("x", "y"):
        fleet.beat(f"{database}2", **{**DATABASE, "database": database, "database_uuid": database})
    fleet.sweep()

    found = fleet.store.servers.state_logs(["x2", "y2", "x1", "nobody"], fleet.now - DAY)

    number = {server_id: len(logs) for server_id, logs in found.items()}
    assert {"x2": 2, "y2": 2, "x1": 1} == number


def test_deleted_server_has_the_history_of_its_record(
    fleet: Watched,
) -> None:
    fleet.beat("a")
    record = fleet.record("a")
    fleet.store.servers.delete("a", fleet.now)

    assert {} == fleet.store.servers.state_logs(["a"], fleet.now - DAY)
    assert microseconds(record.first_seen) == StateLog.of(record).first_seen


# Costs and query plans


# Servers silent for three of every five minutes: `often` for five weeks, others for four days.
FLAPPING_EVENTS = """
INSERT INTO events (at, kind, server_id, details)
WITH RECURSIVE
    flaps(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM flaps WHERE n < 35 * 288),
    changes(seconds, kind) AS (VALUES (120, 'late'), (240, 'down'), (300, 'recovered'))
SELECT {end} + (seconds - n * 300) * 1000000, kind, server_id, '{{"away_seconds": 180}}'
FROM flaps, changes, servers WHERE server_id = 'often' OR n <= 4 * 288 ORDER BY 1
"""


@pytest.fixture
def flapping(sqlite_url: str, clock: Clock) -> Iterator[SqlStore]:
    """A store of servers that flap: each is late, down and recovered every five minutes."""
    store = SqlStore(make_url(sqlite_url))
    fleet = Watched(store)
    fleet.beat(*FLAPPING)
    fleet.beat("often")
    with store.transactions.read() as connection:
        connection.execute(update(servers).values(first_seen=clock.now - 90 * DAY))
        connection.exec_driver_sql(FLAPPING_EVENTS.format(end=microseconds(clock.now)))
        connection.commit()
    yield store
    store.close()


@pytest.mark.serial
def test_availability_of_flapping_servers_is_computed_quickly(
    flapping: SqlStore, clock: Clock
) -> None:
    asked = {1: FLAPPING, 7: ["often"], 30: ["often"]}
    seconds = {}
    for days, ids in asked.items():
        runs = [shares_of(flapping, ids, days, clock.now) for _ in range(3)]
        shares, took = zip(*runs, strict=True)
        assert [[pytest.approx(0.4)] * len(ids)] * 3 == [*shares]
        seconds[days] = min(took)

    assert {} == {days: took for days, took in seconds.items() if took > SECONDS}


def shares_of(
    store: SqlStore, ids: list[str], days: int, now: datetime
) -> tuple[list[float | None], float]:
    """The availability of servers, and the CPU seconds in which it was computed."""
    begun = time.process_time()
    since = now - days * DAY
    logs = store.servers.state_logs(ids, since)
    found = [History.of(logs[each], since=since, now=now) for each in ids]
    shares = [each.availability(days * DAY) for each in found]
    return shares, time.process_time() - begun


@pytest.mark.usefixtures("flapping")
def test_pages_of_flapping_servers_show_their_availability(sqlite_url: str, clock: Clock) -> None:
    paths = ["/", "/server/often", "/servers/often"]
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        answers = [receiver.get(path) for path in paths]

    for path, answer in zip(paths, answers, strict=True):
        assert 200 == answer.status_code, path
        assert "40" in answer.text or "0.4" in answer.text, path


# A server that is late and recovers, again and again: every second there is a change.
RESTLESS_EVENTS = """
INSERT INTO events (at, kind, server_id, details)
WITH RECURSIVE changes(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM changes WHERE n < {count})
SELECT {end} - n * CAST(1000000 AS BIGINT),
    CASE WHEN n / 2 * 2 = n THEN 'late' ELSE 'recovered' END, 'restless', {details}
FROM changes ORDER BY 1
"""


def make_restless(store: SqlStore, now: datetime, *, changes: int) -> None:
    Watched(store).beat("restless", "quiet")
    with store.transactions.read() as connection:
        connection.execute(update(servers).values(first_seen=now - 90 * DAY))
        json = "json " if connection.dialect.name == "postgresql" else ""
        statement = RESTLESS_EVENTS.format(
            end=microseconds(now), count=changes, details=json + """'{"away_seconds": 1}'"""
        )
        connection.exec_driver_sql(statement)
        connection.commit()


def test_history_of_too_many_changes_begins_with_the_oldest_that_is_read(
    store: SqlStore, clock: Clock
) -> None:
    make_restless(store, clock.now, changes=MOST_CHANGES + 2000)
    since = clock.now - 30 * DAY

    logs = store.servers.state_logs(["restless"], since)["restless"]
    both = store.servers.state_logs(["restless", "quiet"], since)
    found = History.of(logs, since=since, now=clock.now)

    begin = clock.now - timedelta(seconds=MOST_CHANGES)
    assert [MOST_CHANGES] == [len(log.changes) for log in logs]
    assert [MOST_CHANGES // 2] == [len(log.changes) for log in both["restless"]]
    assert [begin, begin, None] == [found.cut_within(n * DAY) for n in (30, 1, 0.5)]
    assert begin == found.spans(DAY)[0].start
    assert 0.5 == found.availability(DAY)
    assert [1.0, None] == [
        History.of(both["quiet"], since=since, now=clock.now).availability(DAY),
        History.of(both["quiet"], since=since, now=clock.now).cut_within(30 * DAY),
    ]


def test_answers_say_since_when_availability_is_known(sqlite_url: str, clock: Clock) -> None:
    store = SqlStore(make_url(sqlite_url))
    make_restless(store, clock.now, changes=MOST_CHANGES + 1)
    store.close()

    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        records = [receiver.get(f"/servers/{each}").json() for each in ("restless", "quiet")]
        pages = [receiver.get(each).text for each in ("/", "/server/restless", "/server/quiet")]

    begin = clock.now - timedelta(seconds=MOST_CHANGES)
    assert [format_moment(begin), None] == [each["availability_since"] for each in records]
    assert [dict.fromkeys(WINDOWS, share) for share in (0.5, 1.0)] == [
        each["availability"] for each in records
    ]
    # In the list two servers share the number of changes.
    later = clock.now - timedelta(seconds=MOST_CHANGES // 2)
    assert f"24 hours, known since {exactly(later)}" in pages[0]
    assert f'<dt>since <time datetime="{begin.isoformat()}"' in pages[1]
    assert "known for" not in pages[2]


def test_record_and_its_availability_are_read_by_one_query(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(600)
    fleet.beat("new", **DATABASE)
    fleet.sweep()
    queries: list[str] = []
    with fleet.store.transactions.read_once() as connection:
        engine = connection.engine

        @event.listens_for(engine, "before_cursor_execute")
        def note(*asked: Any) -> None:
            queries.append(asked[2])

    record, logs = fleet.store.servers.past("new", fleet.now - DAY) or (None, ())

    assert (fleet.record("new"), 2) == (record, len(logs))
    assert 1 == len([each for each in queries[:1] if "FROM events" in each])
    assert fleet.store.servers.state_logs(["new"], fleet.now - DAY)["new"] == logs


def test_unknown_server_has_no_past(fleet: Watched) -> None:
    fleet.beat("a")

    assert [None, None] == [fleet.store.servers.past(each, fleet.now) for each in ("b", "a\0")]


def test_history_is_that_of_all_events_about_a_server(fleet: Watched, engine: Engine) -> None:
    """Whatever the window, the query leaves out no change that matters."""
    ids = [f"r{n}" for n in range(12)]
    chance = Random(3)
    fleet.beat(*ids)
    for _ in range(150):
        fleet.clock.advance(chance.choice([20, 600, 9000, 90_000]))
        fleet.beat(*chance.sample(ids, 7))
        fleet.sweep()

    for hours in (1, 24, 24 * 7, 24 * 30):
        since = fleet.now - timedelta(hours=hours)
        for server_id, logs in fleet.store.servers.state_logs(ids, since).items():
            record = fleet.record(server_id)
            whole = evolve(StateLog.of(record), changes=all_changes(engine, server_id))
            expected = History.of([whole], since=since, now=fleet.now)
            _, own_logs = fleet.store.servers.past(server_id, since) or (None, ())
            for found in (logs, own_logs):
                history = History.of(found, since=since, now=fleet.now)
                assert expected.spans(30 * DAY) == history.spans(30 * DAY)


def all_changes(engine: Engine, server_id: str) -> list[tuple[str, int]]:
    query = text("SELECT kind, at FROM events WHERE server_id = :key ORDER BY id")
    kinds = {"late", "down", "recovered", "rebuilt"}
    with engine.connect() as connection:
        return [
            (kind, at)
            for kind, at in connection.execute(query, {"key": server_id})
            if kind in kinds
        ]


@pytest.mark.parametrize("query", [STATE_LOGS, STATE_LOGS_OF_ONE])
def test_query_plan_of_state_logs_uses_a_covering_index(
    store: SqlStore, engine: Engine, query: Any
) -> None:
    Watched(store).beat(*FLAPPING)

    found = plan(engine, query.params(ids=FLAPPING, id="s01", since=10))

    assert "ix_events_of_life" in found
    assert not re.search("SCAN events|Seq Scan on events|SCAN servers", found)
    if engine.dialect.name == "sqlite":
        covering = "SEARCH events USING COVERING INDEX ix_events_of_life (server_id=? AND id{}?)"
        assert covering.format(">") in found
        assert covering.format("<") in found
        assert not re.search("TEMP B-TREE", found)


def test_query_plan_of_superseded_servers_uses_an_index(store: SqlStore, engine: Engine) -> None:
    found = plan(engine, CHAIN.params(last="a"))

    assert "ix_servers_superseded_by" in found
    assert not re.search("SCAN (servers|older)|Seq Scan on servers", found)


def plan(engine: Engine, query: Any) -> str:
    """The query plan of a query, as the database prints it."""
    sql = query.compile(engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # or it would scan a table this small
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        rows = connection.exec_driver_sql(f"{explain} {sql}")
        return "\n".join(str(row[-1]) for row in rows)
