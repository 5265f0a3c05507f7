"""What is written of a server that just goes on sending."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import IntegrityError

from receiver.store import SqlStore
from receiver.store.tables import HEARTBEAT_COLUMNS, liveness
from refused_inserts import refuse_updates
from watched import Watched


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
