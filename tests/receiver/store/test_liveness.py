"""What is written of a server that just goes on sending."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import IntegrityError

from receiver.store import SqlStore
from receiver.store.dialects.postgresql import _update_liveness as update_liveness
from receiver.store.tables import HEARTBEAT_COLUMNS, liveness
from refused_inserts import refuse_updates
from watched import Watched, counts


@pytest.fixture
def other(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(make_url(database_url))) as store:
        yield store


def revisions(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT server_id, revision FROM liveness"))
        return dict(map(tuple, found))


def test_heartbeats_and_checks_of_their_silence_leave_the_wide_rows_alone(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("a", hostname="web")
    before = revisions(engine)
    refuse_updates(engine, "servers")
    fleet.go_on(600, "a")

    assert ("up", 21) == (fleet.state("a"), fleet.record("a").heartbeat_count)
    assert revisions(engine)["a"] > before["a"] + 20, "the checks wrote, too"
    with pytest.raises(IntegrityError):
        fleet.beat("a", hostname="other")


def test_heartbeats_of_servers_with_awkward_ids_count(fleet: Watched) -> None:
    """PostgreSQL gets their ids as the text of an array."""
    ids = ['a"b', "a\\b", 255 * "\\", "{x,y}", "NULL", "null", " ", "'", ",", "é\u2028\U0001f4a9"]
    for _ in range(3):
        fleet.beat(*ids)

    assert dict.fromkeys(ids, 3) == counts(fleet.store)


def test_heartbeats_look_up_their_rows_and_read_no_others(postgresql_url: str) -> None:
    """PostgreSQL reads the whole of a table that is small if it expects a hundred heartbeats."""
    engine = create_engine(postgresql_url)
    values = {"sequence": "{1}", "timestamp": "{1}", "uptime_seconds": "{1}", "last_seen": "{1}"}
    values |= {"heartbeat_count": "{1}", "revision": "{1}", "server_id": '{"s7"}'}
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO liveness (server_id, last_seen, heartbeat_count, revision)"
            " SELECT 's' || n, 0, 1, 0 FROM generate_series(1, 13000) AS n(n)"
        )
        connection.exec_driver_sql("ANALYZE liveness")
        asked = update_liveness(HEARTBEAT_COLUMNS).compile(engine)
        found = connection.exec_driver_sql(f"EXPLAIN {asked}", values).scalars().all()
    engine.dispose()

    assert [] == [line for line in found if "Seq Scan" in line]
    assert any("pk_liveness" in line for line in found)


@pytest.mark.one_database
def test_no_heartbeat_moves_a_row_in_an_index() -> None:
    indexed = {column.name for index in liveness.indexes for column in index.columns}

    assert set() == indexed & {*HEARTBEAT_COLUMNS}


def test_receiver_sees_the_times_that_another_one_has_set_back(
    fleet: Watched, other: SqlStore
) -> None:
    """Also those that are in the wide rows, of which it has copies in memory."""
    elsewhere = Watched(other)
    elsewhere.clock.now = fleet.now
    elsewhere.beat("a")
    fleet.clock.advance(-3600)
    fleet.store.watch.leave_no_future(fleet.now)
    elsewhere.clock.now = fleet.now
    elsewhere.beat("a")

    record = elsewhere.record("a")
    assert [fleet.now] * 3 == [record.first_seen, record.last_seen, record.state_since]
    assert record == fleet.record("a")
