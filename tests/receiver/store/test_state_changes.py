"""State logs: the states of servers over time, correct for any window and cheap to read."""

import re
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, update

from receiver.app import create_app
from receiver.domain.instants import microseconds
from receiver.service.availability import History
from receiver.store import SqlStore, StateLog
from receiver.store.events import CHAIN
from receiver.store.state_changes import LAST_BEFORE, SINCE
from receiver.store.tables import servers
from servers import Clock, serve
from watched import Watched

DAY = timedelta(days=1)
DATABASE = {"database_uuid": "u-1", "database": "acme", "odoo_stage": "production"}
FLAPPING = [f"s{n:02}" for n in range(50)]
# Measuring coverage makes this several times as slow.
SECONDS = 0.3 if sys.gettrace() is None else 1.5


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


def test_history_has_every_state_with_its_duration(fleet: Watched) -> None:
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
    for n in range(60):
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
        since = clock.now - days * DAY
        begun = time.process_time()
        logs = flapping.servers.state_logs(ids, since)
        found = [History.of(logs[each], since=since, now=clock.now) for each in ids]
        shares = [each.availability(days * DAY) for each in found]
        seconds[days] = time.process_time() - begun
        assert [pytest.approx(0.4)] * len(ids) == shares

    assert {} == {days: took for days, took in seconds.items() if took > SECONDS}


@pytest.mark.parametrize("path", ["/", "/server/often", "/servers/often"])
def test_pages_of_flapping_servers_show_their_availability(
    flapping: SqlStore, sqlite_url: str, clock: Clock, path: str
) -> None:
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        answer = receiver.get(path)

    assert (200, True) == (answer.status_code, "40" in answer.text or "0.4" in answer.text)


def test_query_plan_of_state_logs_uses_a_covering_index(store: SqlStore, engine: Engine) -> None:
    Watched(store).beat(*FLAPPING)
    known = {"ids": FLAPPING, "first": 10}
    plans = [plan(engine, query.params(**known)) for query in (SINCE, LAST_BEFORE)]

    for found in plans:
        assert "ix_events_of_life" in found
        assert not re.search("SCAN events|SCAN earlier|Seq Scan on events", found)
    if engine.dialect.name == "sqlite":
        covering = "SEARCH {} USING COVERING INDEX ix_events_of_life (server_id=? AND id{}?)"
        assert covering.format("events", ">") in plans[0]
        assert covering.format("earlier", "<") in plans[1]


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
