"""The ids of events rise in the order of commits, so that a reader misses none."""

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

from sqlalchemy import Engine, create_engine, make_url

from receiver.domain.errors import StoreUnavailable
from receiver.domain.queries import RecordedEvent
from receiver.store import SqlStore
from servers import PATIENCE_SECONDS, wait_until
from timeline import run
from watched import Watched, have_patience


def test_event_ids_rise_and_are_never_reused(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a", "b", "c")
    run(engine, "DELETE FROM events")
    fleet.beat("d")

    assert [4] == [each.id for each in fleet.store.events.after(0, limit=9)]
    assert 4 == fleet.store.events.last()


def test_last_event_id_of_an_empty_timeline_is_zero(store: SqlStore) -> None:
    assert (0, []) == (store.events.last(), store.events.after(0, limit=9))


def beat_with_retries(fleet: Watched, *ids: str, **said: str) -> None:
    """Retry as clients do: under many writers SQLite may report that the database is locked."""
    while True:
        try:
            fleet.beat(*ids, **said)
        except StoreUnavailable:
            continue
        return


def test_reader_that_continues_after_the_last_id_misses_no_event(
    store: SqlStore, other: SqlStore
) -> None:
    """Also while four threads write batches of many sizes at the same time."""
    fleets = [Watched(store), Watched(other)]
    is_over, read = Event(), list[RecordedEvent]()
    barrier = Barrier(5)

    def write(number: int) -> None:
        choose, fleet = random.Random(number), fleets[number % 2]
        barrier.wait(PATIENCE_SECONDS)
        for n in range(30):
            ids = [f"{number}-{n}-{m}" for m in range(choose.choice([1, 1, 2, 40]))]
            ids += ["shared"] * (n % 5 == 0)
            beat_with_retries(fleet, *ids, hostname=f"{number}-{n}")

    def follow() -> None:
        barrier.wait(PATIENCE_SECONDS)
        while True:
            was_over = is_over.is_set()
            news = store.events.after(read[-1].id if read else 0, limit=7)
            read.extend(news)
            if was_over and not news:
                return

    with ThreadPoolExecutor(5) as threads:
        reading = threads.submit(follow)
        try:
            for writing in [threads.submit(write, number) for number in range(4)]:
                writing.result(PATIENCE_SECONDS)
        finally:
            is_over.set()
        reading.result(PATIENCE_SECONDS)

    everything = store.events.after(0, limit=100_000)
    assert len(everything) > 120
    assert everything == read
    counted = [sum(each.counts.values()) for each in fleets]
    assert len(everything) == sum(counted)


SLOW_COMMIT = """
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.server_id = 'slow' THEN PERFORM pg_advisory_xact_lock(1); END IF;
            RETURN NULL;
        END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON events
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()
"""
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


def test_event_of_a_slow_commit_is_readable_before_higher_ids(postgresql_url: str) -> None:
    """A reader that has seen a higher id would never ask for a lower one again."""
    stores = [SqlStore(make_url(postgresql_url)) for _ in range(2)]
    have_patience(*stores)
    engine = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    slow, quick = map(Watched, stores)

    def write_and_read() -> list[tuple[str, str | None]]:
        quick.beat("quick")
        return quick.told(but=())

    with engine.connect() as connection, ThreadPoolExecutor(2) as threads:

        def number_of_waiting() -> int:
            return int(connection.exec_driver_sql(WAITING).scalar_one())

        connection.exec_driver_sql(SLOW_COMMIT)
        connection.exec_driver_sql("SELECT pg_advisory_lock(1)")
        try:
            writing = threads.submit(slow.beat, "slow")
            wait_until(lambda: number_of_waiting() == 1)
            reading = threads.submit(write_and_read)
            wait_until(lambda: reading.done() or number_of_waiting() == 2)
        finally:
            connection.exec_driver_sql("SELECT pg_advisory_unlock(1)")
        found_events = reading.result(PATIENCE_SECONDS)
        writing.result(PATIENCE_SECONDS)
    for store in stores:
        store.close()
    engine.dispose()

    assert [("registered", "slow"), ("registered", "quick")] == found_events
