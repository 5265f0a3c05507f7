"""The clock of the database decides, when it is another than this machine's."""

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import create_engine, make_url, text

from contract import Heartbeat
from receiver.app import create_app
from receiver.domain.outcomes import Incoming
from receiver.service.clock import SharedClock
from receiver.service.watchdog import Timing, Watchdog
from receiver.store import SqlStore
from servers import Clock, serve, wait_until

SECOND = timedelta(seconds=1)


class Carried:
    """The clock that nobody sets; it stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_clock_follows_the_database_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    local = Clock()
    clock = SharedClock(local, carry=Carried())
    before = clock()

    corrected = [clock.compare(lambda: local.now - 15 * SECOND) for _ in range(3)]

    assert (local.now, local.now - 15 * SECOND) == (before, clock())
    assert [True, False, False] == corrected
    assert ["This machine's clock is +15.0 s ahead of the database's, which decides"] == (
        caplog.messages
    )


@pytest.mark.parametrize("ahead", [-0.9, 0, 0.9])
def test_small_difference_is_ignored(ahead: float) -> None:
    local = Clock()
    clock = SharedClock(local, carry=Carried())

    assert not clock.compare(lambda: local.now - ahead * SECOND)
    assert local.now == clock()


def test_clock_that_is_right_again_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    local = Clock()
    clock = SharedClock(local, carry=Carried())
    clock.compare(lambda: local.now + 3600 * SECOND)

    assert clock.compare(lambda: local.now)
    assert local.now == clock()
    assert "This machine's clock is that of the database again" == caplog.messages[-1]


def test_clock_that_is_set_after_a_comparison_does_not_matter() -> None:
    """Also before the next comparison, and what passes meanwhile counts."""
    local, carried = Clock(), Carried()
    clock = SharedClock(local, carry=carried)
    before = local.now
    clock.compare(lambda: before)

    local.advance(-3600)
    carried.seconds += 1.5

    assert before + 1.5 * SECOND == clock()
    assert not clock.compare(lambda: before + 1.5 * SECOND)
    assert before + 1.5 * SECOND == clock()


def test_each_step_of_the_local_clock_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    local = Clock()
    clock = SharedClock(local, carry=Carried())
    right = local.now

    for seconds in (0, -3600, 3600, 7200):
        local.advance(seconds)
        for _ in range(3):
            clock.compare(lambda: right)

    assert [
        "This machine's clock is -3600.0 s ahead of the database's, which decides",
        "This machine's clock is that of the database again",
        "This machine's clock is +7200.0 s ahead of the database's, which decides",
    ] == caplog.messages


def test_slow_or_missing_answer_to_the_clock_comparison_is_ignored() -> None:
    local, carried = Clock(), Carried()
    clock = SharedClock(local, carry=carried)

    def slow() -> datetime:
        carried.seconds += 2
        return local.now - 60 * SECOND

    assert not clock.compare(slow)
    assert not clock.compare(lambda: None)
    assert local.now == clock()


@pytest.mark.parametrize("wrong", [-3600, -15, 15, 3600])
def test_receiver_with_a_wrong_clock_goes_by_the_clock_of_postgresql(
    postgresql_url: str, wrong: int
) -> None:
    """What it wrote by its own clock before is not left in the future."""
    store = SqlStore(make_url(postgresql_url))
    # Its monotonic clock stands still, so no answer of a busy database takes too long to count.
    clock = SharedClock(lambda: datetime.now(timezone.utc) + wrong * SECOND, carry=Carried())
    store.servers.apply([Incoming(Heartbeat(server_id="a"), clock())])
    watchdog = Watchdog(store, Timing(), clock=clock, compare=clock.compare)
    before = datetime.now(timezone.utc)
    watchdog.look()
    after = datetime.now(timezone.utc)
    watchdog.close()

    record = store.servers.get("a")
    store.close()
    assert record is not None
    assert before - SECOND < clock() < after + SECOND
    assert record.last_seen <= after + SECOND


def test_served_receiver_goes_by_the_clock_of_postgresql(postgresql_url: str) -> None:
    """The database goes by a clock of its own, which is an hour ahead."""
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        for statement in _AN_HOUR_AHEAD:
            connection.execute(text(statement.format(database=engine.url.database)))
    engine.dispose()

    with serve(create_app(environ={"FLEET_DATABASE_URL": postgresql_url})) as client:

        def is_heard_by_that_clock() -> bool:
            client.post("/heartbeat", json={"server_id": "a"}).raise_for_status()
            last_seen = datetime.fromisoformat(client.get("/servers/a").json()["last_seen"])
            ahead = last_seen - datetime.now(timezone.utc)
            return abs(ahead - 3600 * SECOND) < 60 * SECOND

        wait_until(is_heard_by_that_clock)


_AN_HOUR_AHEAD = [
    "CREATE SCHEMA ahead",
    """
    CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$
    """,
    "ALTER DATABASE {database} SET search_path = ahead, pg_catalog, public",
]


def test_sqlite_has_no_clock_of_its_own(sqlite_url: str) -> None:
    store = SqlStore(make_url(sqlite_url))

    assert None is store.watch.database_time()
    store.close()
