"""The counts of the weekly report: a line for each database, and what is counted for it."""

from datetime import datetime, timedelta

from sqlalchemy import Engine, insert, update

from alert_values import alarm
from receiver.domain.alerts.reports import WeekCounts
from receiver.store import SqlStore
from receiver.store.alerts.alarms import _columns
from receiver.store.alerts.tables import alarms
from receiver.store.tables import servers
from watched import Watched

WEEK = timedelta(days=7)


def report(fleet: Watched) -> tuple[dict[str, WeekCounts], int]:
    """The lines of the last week by `server_id`, and the number of alarms of none of them."""
    lines, others = fleet.store.alerts.weekly(fleet.now - WEEK, fleet.now)
    assert sorted(line.server_id for line in lines) == [line.server_id for line in lines]
    return {line.server_id: line for line in lines}, others


def begin_alarms(engine: Engine, at: datetime, *server_ids: str | None) -> None:
    made = [alarm(server_id=each, begun_at=at) for each in server_ids]
    with engine.begin() as connection:
        connection.execute(insert(alarms), [_columns(each, {}) for each in made])


def test_server_has_a_line_with_its_events_and_alarms(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a", "b", database="acme")
    fleet.beat("a", hostname="one")
    fleet.beat("a", hostname="two")
    fleet.beat("a", hostname="three")
    begin_alarms(engine, fleet.now, "a", "a", None)
    fleet.clock.advance(1)

    lines, others = report(fleet)

    assert (
        WeekCounts(
            server_id="a",
            database="acme",
            is_listed=True,
            events={"registered": 1, "updated": 1, "moved": 2},
            alarms=2,
        )
        == lines["a"]
    )
    assert (
        WeekCounts(server_id="b", database="acme", is_listed=True, events={"registered": 1})
        == lines["b"]
    )
    assert 1 == others


def test_weekly_report_counts_only_events_and_alarms_within_the_week(
    fleet: Watched, engine: Engine
) -> None:
    """From its first microsecond on, and without that of its end."""
    begin = fleet.now
    fleet.beat("first")
    begin_alarms(engine, fleet.now, "first")
    fleet.clock.now = begin + WEEK
    fleet.beat("last")
    begin_alarms(engine, fleet.now, "last")

    lines, _ = report(fleet)
    fleet.clock.now += timedelta(microseconds=1)
    later, _ = report(fleet)

    assert ({"registered": 1}, 1) == (lines["first"].events, lines["first"].alarms)
    assert ({}, 0) == (lines["last"].events, lines["last"].alarms)
    assert ({}, 0) == (later["first"].events, later["first"].alarms)
    assert ({"registered": 1}, 1) == (later["last"].events, later["last"].alarms)


def test_deleted_server_has_a_line_in_the_weekly_report_that_says_so(fleet: Watched) -> None:
    fleet.beat("left", "deleted", database="acme")
    fleet.beat("left", status="uninstalled")
    fleet.store.servers.delete("deleted", fleet.now)
    fleet.clock.advance(1)

    lines, _ = report(fleet)
    fleet.clock.advance(WEEK.total_seconds())
    later, _ = report(fleet)

    assert (
        WeekCounts(
            server_id="left",
            database="acme",
            is_listed=False,
            events={"registered": 1, "left": 1},
        )
        == lines["left"]
    )
    assert (
        WeekCounts(
            server_id="deleted",
            database=None,
            is_listed=False,
            events={"registered": 1, "deleted": 1},
        )
        == lines["deleted"]
    )
    assert {} == later


def test_weekly_report_counts_nodes_and_superseded_servers_for_their_leader(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("leader", "node", "old", "older", database="acme")
    with engine.begin() as connection:
        for server_id, columns in {
            "node": {"node_of": "leader"},
            "old": {"superseded_by": "leader"},
            "older": {"superseded_by": "old"},
        }.items():
            which = servers.c.server_id == server_id
            connection.execute(update(servers).where(which).values(columns))
    begin_alarms(engine, fleet.now, "leader", "node", "older")
    fleet.clock.advance(1)

    lines, others = report(fleet)

    assert ["leader"] == [*lines]
    assert ({"registered": 4}, 3, 0) == (lines["leader"].events, lines["leader"].alarms, others)


def test_weekly_report_survives_servers_that_supersede_each_other(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("a", "b")
    with engine.begin() as connection:
        for server_id, other in (("a", "b"), ("b", "a")):
            which = servers.c.server_id == server_id
            connection.execute(update(servers).where(which).values(superseded_by=other))
    fleet.clock.advance(1)

    assert ({}, 0) == report(fleet)


def test_weekly_report_counts_alarms_of_unlisted_servers_with_those_of_the_fleet(
    fleet: Watched, engine: Engine
) -> None:
    begin_alarms(engine, fleet.now, "gone", None)
    fleet.clock.advance(1)

    assert ({}, 2) == report(fleet)


def test_empty_fleet_has_an_empty_report(store: SqlStore) -> None:
    assert ({}, 0) == report(Watched(store))
