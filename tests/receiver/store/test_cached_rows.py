"""The row cache agrees with the database, whoever writes."""

import pytest
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import IntegrityError

from contract import Heartbeat
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import Filter
from receiver.store import SqlStore
from refused_inserts import refuse_inserts
from watched import MOMENT, beats, counts, hear, kept_in


def test_cached_row_is_not_taken_for_a_new_row_of_the_same_server(
    store: SqlStore, other: SqlStore
) -> None:
    """Also when a clock went back, so that both rows are of the same microsecond."""
    old = Heartbeat(server_id="a", hostname="old", capabilities=("search",))
    store.servers.apply([Incoming(old, MOMENT)])
    other.servers.delete("a", MOMENT)
    other.servers.apply(beats("a"))

    store.servers.apply([Incoming(old, MOMENT)])

    record = other.servers.get("a")
    assert record is not None
    assert ("old", ("search",), 2) == (record.hostname, record.capabilities, record.heartbeat_count)
    assert 1 == other.servers.count(Filter(capability="search"))


def test_two_stores_of_one_database_count_each_heartbeat_once(
    store: SqlStore, other: SqlStore
) -> None:
    store.servers.apply(beats("a", hostname="first"))
    other.servers.apply(beats("a", "b", hostname="second"))
    store.servers.apply(beats("a", "b"))
    store.servers.delete("b", MOMENT)
    other.servers.apply(beats("b"))
    store.servers.apply(beats("b"))

    a, b = kept_in(store, limit=2)
    assert ("second", 3) == (a.hostname, a.heartbeat_count)
    assert (None, 2) == (b.hostname, b.heartbeat_count)


def test_write_of_another_store_is_seen_after_other_batches(
    store: SqlStore, other: SqlStore
) -> None:
    store.servers.apply(beats("a", "b"))
    other.servers.apply(beats("a", hostname="second"))
    for _ in range(2):
        store.servers.apply(beats("b"))

    (applied,) = hear(store, beats("a"))

    assert ("second", 3) == (applied.record.hostname, applied.record.heartbeat_count)


def test_deletion_by_another_store_is_seen_after_other_batches(
    store: SqlStore, other: SqlStore
) -> None:
    store.servers.apply(beats("a", "b", hostname="first"))
    other.servers.delete("a", MOMENT)
    for _ in range(2):
        store.servers.apply(beats("b"))

    (applied,) = hear(store, beats("a"))

    assert (True, None, 1) == (
        applied.created,
        applied.record.hostname,
        applied.record.heartbeat_count,
    )


def test_failed_batch_leaves_the_row_cache_unchanged(
    store: SqlStore, other: SqlStore, engine: Engine
) -> None:
    store.servers.apply(beats("a", hostname="first"))
    other.servers.apply(beats("a", hostname="second"))
    refuse_inserts(engine, "servers")
    with pytest.raises(IntegrityError):
        store.servers.apply(beats("a", "b", hostname="never"))

    (applied,) = hear(store, beats("a"))

    assert ("second", 3) == (applied.record.hostname, applied.record.heartbeat_count)
    assert {"a": 3} == counts(other)


def test_server_rows_evicted_from_the_cache_are_read_again(database_url: str) -> None:
    store = SqlStore(make_url(database_url), cache_bytes=1)
    ids = [f"s{n}" for n in range(5)]
    store.servers.apply(beats(*ids, hostname="host"))
    for _ in range(2):
        for server_id in ids:
            store.servers.apply(beats(server_id))

    kept = kept_in(store, limit=9)
    store.close()
    assert [(s, "host", 3) for s in ids] == [
        (r.server_id, r.hostname, r.heartbeat_count) for r in kept
    ]


def test_known_record_is_the_latest_that_this_store_has_written(
    store: SqlStore, other: SqlStore
) -> None:
    assert store.servers.known("a") is None

    store.servers.apply(beats("a", hostname="first"))
    other.servers.apply(beats("a", hostname="second"))

    stale = store.servers.known("a")
    assert stale is not None
    assert "first" == stale.hostname

    (applied,) = hear(store, beats("a"))
    assert applied.record is store.servers.known("a")


def test_records_that_are_read_share_what_many_servers_have_in_common(
    store: SqlStore, other: SqlStore
) -> None:
    other.servers.apply(beats("a", "b", version="1.0.0", capabilities=("search",)))

    one, another = (applied.record for applied in hear(store, beats("a", "b")))

    assert one.version is another.version
    assert one.capabilities is another.capabilities
