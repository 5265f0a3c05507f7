"""A database that does not answer, or is not there."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import make_url

from cut_connections import COMMIT, TIMELY_SECONDS
from postgres import Postgres
from proxy import Link, Once, Proxy, hang_up
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.domain.queries import ALL_SERVERS
from receiver.store import SqlStore
from servers import wait_until
from watched import MOMENT, beats, counts, hear, kept_in


@pytest.mark.parametrize(
    ("way", "kept"), [("request_passes", {"a": 1}), ("answer_passes", {"a": 2})]
)
def test_commit_without_a_known_outcome_raises_outcome_unknown(
    store: SqlStore, truth: SqlStore, proxy: Proxy, way: str, kept: dict[str, int]
) -> None:
    cut = Once(COMMIT)

    def cut_and_refuse(link: Link, data: bytes) -> bool:
        passes = cut(link, data)
        if not passes:
            proxy.refuse()
        return passes

    setattr(proxy, way, cut_and_refuse)
    begun = time.monotonic()

    with pytest.raises(OutcomeUnknown):
        store.servers.apply(beats("a"))

    assert time.monotonic() - begun < TIMELY_SECONDS
    proxy.listen()
    assert kept == counts(truth)
    (a,) = hear(store, beats("a"))
    assert kept["a"] + 1 == a.record.heartbeat_count == counts(truth)["a"]


def test_hanging_commit_raises_outcome_unknown(
    store: SqlStore, truth: SqlStore, proxy: Proxy
) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hold_back(link: Link, data: bytes) -> bool:
        if COMMIT in data and not hanging.is_set():
            hanging.set()
            hang_up(link.client)
            assert release.wait(20)
        return True

    proxy.request_passes = hold_back
    begun = time.monotonic()

    with pytest.raises(OutcomeUnknown):
        store.servers.apply(beats("a"))

    assert time.monotonic() - begun < TIMELY_SECONDS
    release.set()
    wait_until(lambda: counts(truth) == {"a": 2})
    store.servers.apply(beats("a"))
    assert {"a": 3} == counts(truth)


@pytest.mark.serial
def test_unreachable_database_raises_store_unavailable_at_once(
    store: SqlStore, truth: SqlStore, proxy: Proxy
) -> None:
    assert seconds_to_fail(store, proxy, lambda: store.servers.apply(beats("a", "b"))) < 0.8
    assert {"a": 4} == counts(truth)


def seconds_to_fail(store: SqlStore, proxy: Proxy, ask: Callable[[], object]) -> float:
    """
    In how many seconds a call fails when the database has become unreachable.

    The shortest of three times, since the machine may be busy. Before each the server `a` is heard.
    """

    def once() -> float:
        (a,) = hear(store, beats("a"))
        assert a.record in kept_in(store)
        proxy.refuse()
        proxy.cut_all()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable) as raised:
            ask()
        took = time.monotonic() - begun
        proxy.listen()
        assert StoreUnavailable is raised.type
        return took

    return min(once() for _ in range(3))


def test_store_works_again_when_the_database_is_back(store: SqlStore, proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut_all()
    for _ in range(20):  # more than the size of the connection pool
        with pytest.raises(StoreUnavailable):
            store.servers.apply(beats("a"))
        with pytest.raises(StoreUnavailable):
            store.servers.get("a")
    proxy.listen()

    store.servers.apply(beats("a"))

    assert {"a": 2} == counts(store)


@pytest.mark.serial
def test_reads_of_an_unreachable_database_fail_at_once(store: SqlStore, proxy: Proxy) -> None:
    for ask in (
        lambda: store.servers.get("a"),
        lambda: kept_in(store, limit=1),
        lambda: store.servers.count(ALL_SERVERS),
        lambda: store.servers.delete("a", MOMENT),
    ):
        assert seconds_to_fail(store, proxy, ask) < 0.8


def test_silent_database_times_out(store: SqlStore, truth: SqlStore, proxy: Proxy) -> None:
    """The database accepts connections and never answers."""
    release = threading.Event()
    proxy.cut_all()
    proxy.request_passes = lambda _, __: not release.wait(20)
    begun = time.monotonic()

    with pytest.raises(StoreUnavailable):
        store.servers.apply(beats("a"))

    assert time.monotonic() - begun < TIMELY_SECONDS
    release.set()
    assert {"a": 1} == counts(truth)


def test_opening_a_store_without_a_database_raises_store_unavailable(
    postgres: Postgres, postgresql_url: str, proxy: Proxy
) -> None:
    proxy.refuse()

    with pytest.raises(StoreUnavailable):
        SqlStore(make_url(postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))))
