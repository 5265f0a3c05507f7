"""Concurrent transactions in PostgreSQL: no heartbeat lost or counted twice, bounded waits."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
from sqlalchemy import Engine, event, make_url, text

from contract import Heartbeat, ServerRecord
from receiver.domain.errors import StoreUnavailable
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.queries import ALL_SERVERS, Filter, Order, PageRequest
from receiver.store import SqlStore
from servers import PATIENCE_SECONDS, wait_until
from watched import MOMENT, assert_tallied, at_once, beats, counts, have_patience, hear, kept_in

LOCK = "SELECT 1 FROM liveness WHERE server_id = %s FOR UPDATE"
INSERT = """
    WITH given AS (
        INSERT INTO servers (server_id, hostname, first_seen) VALUES (%s, 'other', 0)
        RETURNING server_id
    )
    INSERT INTO liveness (server_id, last_seen, heartbeat_count, revision)
    SELECT server_id, 0, 1, 0 FROM given
"""
FAIL_FIRST_WRITES = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('tries') <= {failures} THEN
                RAISE 'bad luck' USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN NEW;
        END $$;
    CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON servers FOR EACH ROW EXECUTE FUNCTION fail()
"""


@pytest.fixture
def stores(postgresql_url: str) -> Iterator[list[SqlStore]]:
    """The stores of two receivers, in one database, which wait for each other's locks."""
    stores = [SqlStore(make_url(postgresql_url)) for _ in range(2)]
    have_patience(*stores)
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def store(postgresql_url: str) -> Iterator[SqlStore]:
    """The store of a receiver, which waits two seconds for a lock."""
    store = SqlStore(make_url(postgresql_url))
    yield store
    store.close()


@pytest.fixture
def other(store: SqlStore, postgresql_url: str) -> Iterator[psycopg.Connection]:
    """A connection of another client, in a transaction."""
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as other:
        yield other


@pytest.fixture
def observer(store: SqlStore, postgresql_url: str) -> Iterator[psycopg.Connection]:
    """A connection that reads statistics and holds no locks."""
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as observer:
        yield observer


def number(connection: psycopg.Connection, query: str) -> int:
    """The one value that a query finds."""
    ((value,),) = connection.execute(query.encode()).fetchall()
    return int(value)


def is_waiting_for_a_lock(observer: psycopg.Connection) -> bool:
    return (
        number(
            observer,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()",
        )
        > 0
    )


# Many writers


def test_heartbeats_of_six_concurrent_writers_count_once(stores: list[SqlStore]) -> None:
    ids = [f"s{n}" for n in range(6)]
    sent: Counter[str] = Counter()

    def phone_home(store: SqlStore, seed: int) -> Callable[[], object]:
        choose = random.Random(seed)
        batches = [choose.choices(ids, k=choose.randint(1, 9)) for _ in range(80)]
        for batch in batches:
            sent.update(batch)
        return lambda: [store.servers.apply(beats(*batch)) for batch in batches]

    at_once(*(phone_home(store, seed) for seed, store in enumerate(stores * 3)))

    assert sent == counts(stores[0])
    assert sent.total() > 2000


def test_concurrent_writers_count_the_servers_that_change_come_and_go(
    stores: list[SqlStore], postgresql_url: str
) -> None:
    ids = [f"s{n}" for n in range(6)]

    def write(store: SqlStore, seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(80):
            sent = choose.sample(ids, 3)
            version = choose.choice("abc")
            beat = [Heartbeat(server_id=each, version=version) for each in sent]
            store.servers.apply([Incoming(each, MOMENT) for each in beat])
            store.servers.delete(choose.choice(ids), MOMENT)

    at_once(*(partial(write, store, seed) for seed, store in enumerate(stores * 2)))
    assert_tallied(stores[0])

    stores.append(SqlStore(make_url(postgresql_url)))
    assert_tallied(stores[0])
    with stores[0].transactions.read() as connection:
        writers = connection.execute(text("SELECT count(DISTINCT writer) FROM tallies"))
        assert writers.scalar_one() <= 1


def test_new_server_of_two_concurrent_stores_is_one_record(stores: list[SqlStore]) -> None:
    created: list[str] = []

    def discover(store: SqlStore, ids: list[str]) -> Callable[[], None]:
        def hear() -> None:
            applied = [
                each for each in store.servers.apply(beats(*ids)) if isinstance(each, Applied)
            ]
            created.extend(each.record.server_id for each in applied if each.created)

        return hear

    for n in range(40):
        ids = [f"new-{n}-{m}" for m in range(3)]
        at_once(discover(stores[0], ids), discover(stores[1], ids[::-1]))

    assert sorted(counts(stores[0])) == sorted(created)
    assert {2} == {*counts(stores[0]).values()}
    assert 120 == len(created)


def test_concurrent_batches_in_opposite_order_do_not_deadlock(stores: list[SqlStore]) -> None:
    ids = [f"s{n}" for n in range(50)]

    def change(store: SqlStore, name: str, order: list[str]) -> Callable[[], object]:
        """Alternate heartbeats with all fields and heartbeats with none."""
        full = [
            Incoming(Heartbeat(server_id=s, hostname=name, capabilities=(name, "both")), MOMENT)
            for s in order
        ]
        return lambda: [store.servers.apply(b) for _ in range(15) for b in (full, beats(*order))]

    at_once(change(stores[0], "up", ids), change(stores[1], "down", ids[::-1]))

    assert dict.fromkeys(ids, 60) == counts(stores[0])
    assert 50 == stores[0].servers.count(Filter(capability="both"))
    assert 50 == stores[0].servers.count(Filter(capability="up")) + stores[0].servers.count(
        Filter(capability="down")
    )


def test_concurrent_delete_and_heartbeat_leave_no_stale_index(
    stores: list[SqlStore],
) -> None:
    beat = Incoming(Heartbeat(server_id="a", capabilities=("search",)), MOMENT)

    at_once(
        lambda: [stores[0].servers.apply([beat]) for _ in range(100)],
        lambda: [stores[1].servers.delete("a", MOMENT) for _ in range(100)],
        lambda: [stores[1].servers.apply(beats("a")) for _ in range(100)],
    )

    stores[0].servers.apply([beat])
    assert 1 == stores[1].servers.count(Filter(capability="search"))
    assert stores[1].servers.delete("a", MOMENT)
    assert 0 == stores[1].servers.count(Filter(capability="search"))


def test_four_stores_open_one_new_database_concurrently(new_postgresql_url: str) -> None:
    stores: list[SqlStore] = []

    at_once(*[lambda: stores.append(SqlStore(make_url(new_postgresql_url)))] * 4)
    for store in stores:
        store.servers.apply(beats("a"))

    assert {"a": 4} == counts(stores[0])
    for store in stores:
        store.close()


# Another transaction locks a row


def test_row_locked_for_too_long_raises_store_unavailable(
    store: SqlStore, other: psycopg.Connection
) -> None:
    store.servers.apply(beats("a", "b"))
    other.execute(LOCK, ["b"])
    begun = time.monotonic()

    with pytest.raises(StoreUnavailable):
        store.servers.apply(beats("a", "b"))

    assert 1.5 < time.monotonic() - begun < 9.5, "it is not tried again"
    assert {"a": 1, "b": 1} == counts(store)
    other.rollback()
    store.servers.apply(beats("a", "b"))
    assert {"a": 2, "b": 2} == counts(store)


def test_locked_row_is_not_deleted(store: SqlStore, other: psycopg.Connection) -> None:
    store.servers.apply(beats("a"))
    other.execute(LOCK, ["a"])

    with pytest.raises(StoreUnavailable):
        store.servers.delete("a", MOMENT)

    other.rollback()
    assert {"a": 1} == counts(store)


def test_locked_row_can_be_read(store: SqlStore, other: psycopg.Connection) -> None:
    store.servers.apply(beats("a"))
    other.execute(LOCK, ["a"])

    assert {"a": 1} == counts(store)
    assert [store.servers.get("a")] == kept_in(store, limit=1)


def test_locked_table_raises_store_unavailable(store: SqlStore, other: psycopg.Connection) -> None:
    other.execute("LOCK TABLE liveness")

    with pytest.raises(StoreUnavailable):
        store.servers.get("a")


def test_row_unlocked_in_time_is_merged_into(
    store: SqlStore, other: psycopg.Connection, observer: psycopg.Connection
) -> None:
    have_patience(store)
    store.servers.apply(beats("a"))
    other.execute(LOCK, ["a"])

    with ThreadPoolExecutor(1) as thread:
        applying = thread.submit(hear, store, beats("a"))
        wait_until(lambda: is_waiting_for_a_lock(observer))
        other.execute("UPDATE liveness SET revision = revision + 1")
        other.execute("UPDATE servers SET hostname = 'other'")
        other.commit()
        (applied,) = applying.result(PATIENCE_SECONDS)

    assert ("other", 2) == (applied.record.hostname, applied.record.heartbeat_count)


def test_row_inserted_by_a_concurrent_transaction_is_merged_into(
    store: SqlStore, other: psycopg.Connection, observer: psycopg.Connection
) -> None:
    have_patience(store)
    other.execute(INSERT, ["b"])

    with ThreadPoolExecutor(1) as thread:
        applying = thread.submit(hear, store, beats("a", "b"))
        wait_until(lambda: is_waiting_for_a_lock(observer))
        other.commit()
        a, b = applying.result(PATIENCE_SECONDS)

    assert (True, None, 1) == (a.created, a.record.hostname, a.record.heartbeat_count)
    assert (False, "other", 2) == (b.created, b.record.hostname, b.record.heartbeat_count)


def test_row_deleted_by_a_concurrent_transaction_is_created_again(
    store: SqlStore, other: psycopg.Connection, observer: psycopg.Connection
) -> None:
    have_patience(store)
    store.servers.apply(beats("a", hostname="old"))
    other.execute("DELETE FROM facets")
    other.execute("DELETE FROM liveness")
    other.execute("DELETE FROM servers")

    with ThreadPoolExecutor(1) as thread:
        applying = thread.submit(hear, store, beats("a"))
        wait_until(lambda: is_waiting_for_a_lock(observer))
        other.commit()
        (applied,) = applying.result(PATIENCE_SECONDS)

    assert (True, None, 1) == (
        applied.created,
        applied.record.hostname,
        applied.record.heartbeat_count,
    )


# Deadlocks and serialization failures


def test_batch_is_retried_after_a_deadlock(
    store: SqlStore, other: psycopg.Connection, observer: psycopg.Connection
) -> None:
    store.servers.apply(beats("a", "b"))
    # PostgreSQL aborts the transaction that detects the deadlock: the store's, which looks for one
    # when it has waited for a second. If the machine is so slow that there was none yet, the lock
    # times out, the batch is refused, and all is done again.
    other.execute("SET deadlock_timeout = '60s'")
    wait = "SET lock_timeout = '10s'"  # the batch that is repeated may have to wait, too
    store.transactions.write(lambda connection: connection.exec_driver_sql(wait).close())
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

    def deadlock() -> bool:
        """Whether the batch was applied, and not refused."""
        other.execute(LOCK, ["b"])
        with ThreadPoolExecutor(1) as thread:
            applying = thread.submit(hear, store, beats("a", "b"))
            wait_until(lambda: is_waiting_for_a_lock(observer) or applying.done())
            other.execute(LOCK, ["a"])
            other.rollback()
            try:
                applying.result(PATIENCE_SECONDS)
            except StoreUnavailable:
                return False
        return True

    applied = 0
    for _ in range(10):
        applied += deadlock()
        assert {"a": 1 + applied, "b": 1 + applied} == counts(store)
        if number(observer, deadlocks):
            break
        time.sleep(1)  # PostgreSQL counts it a little later
    else:
        pytest.fail("no deadlock was found")
    assert applied


def test_batch_is_retried_after_a_serialization_failure(
    store: SqlStore, observer: psycopg.Connection
) -> None:
    store.servers.apply(beats("a"))
    observer.execute(FAIL_FIRST_WRITES.format(failures=2).encode())

    store.servers.apply(beats("a", "b"))

    assert {"a": 2, "b": 1} == counts(store)
    assert number(observer, "SELECT last_value FROM tries") > 2


def test_endless_serialization_failures_change_nothing(
    store: SqlStore, observer: psycopg.Connection
) -> None:
    store.servers.apply(beats("a"))
    observer.execute(FAIL_FIRST_WRITES.format(failures=1000).encode())

    with pytest.raises(StoreUnavailable):
        store.servers.apply(beats("a", "b"))

    assert {"a": 1} == counts(store)


def test_record_that_changes_between_two_queries_is_read_again(stores: list[SqlStore]) -> None:
    """The record and the log of its states are of one moment, however they are read."""
    reading, writing = stores
    hear(writing, beats("a"))
    first = PageRequest(limit=1, now=MOMENT)
    coming: list[Incoming] = []

    def hear_once(*_: object) -> None:
        if coming:
            hear(writing, [coming.pop()])

    reads: list[Callable[[], ServerRecord | None]] = [
        lambda: reading.servers.get("a"),
        lambda: (reading.servers.past("a", MOMENT) or [None])[0],
        lambda: reading.servers.page(ALL_SERVERS, Order.SERVER_ID, first).records[0],
    ]
    for count, read in enumerate(reads, start=2):
        coming.append(*beats("a"))
        event.listen(Engine, "after_cursor_execute", hear_once)
        try:
            record = read()
        finally:
            event.remove(Engine, "after_cursor_execute", hear_once)

        assert not coming
        assert record is not None
        assert count == record.heartbeat_count
