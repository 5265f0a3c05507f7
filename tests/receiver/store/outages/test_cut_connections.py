"""Connections to PostgreSQL that are cut: outcomes are reported right, nothing counts twice."""

import threading
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import inf

import pytest

from alert_values import channel, rule
from cut_connections import COMMIT, PING, is_waiting_for_a_lock
from proxy import Link, Once, Proxy, hang_up
from receiver.domain.errors import StoreUnavailable
from receiver.store import SqlStore
from receiver.store.dialects import stale
from servers import wait_until
from watched import MOMENT, beats, counts, hear


@pytest.mark.usefixtures("patience")
def test_commit_lost_on_the_way_is_retried(store: SqlStore, truth: SqlStore, proxy: Proxy) -> None:
    proxy.request_passes = cut = Once(COMMIT)

    (a, b) = hear(store, beats("a", "b"))

    assert cut.happened
    assert (2, 1) == (a.record.heartbeat_count, b.record.heartbeat_count)
    assert {"a": 2, "b": 1} == counts(truth)


@pytest.mark.usefixtures("patience")
def test_commit_whose_answer_is_lost_is_not_repeated(
    store: SqlStore, truth: SqlStore, proxy: Proxy
) -> None:
    proxy.answer_passes = cut = Once(COMMIT)

    (a, b) = hear(store, beats("a", "b"))

    assert cut.happened
    assert (2, 1) == (a.record.heartbeat_count, b.record.heartbeat_count)
    assert {"a": 2, "b": 1} == counts(truth)
    store.servers.apply(beats("a", "b"))
    assert {"a": 3, "b": 2} == counts(truth)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("way", ["request_passes", "answer_passes"])
def test_delete_whose_commit_is_cut_returns_its_outcome(
    store: SqlStore, truth: SqlStore, proxy: Proxy, way: str
) -> None:
    cut = Once(COMMIT)
    setattr(proxy, way, cut)

    assert store.servers.delete("a", MOMENT)
    assert cut.happened
    assert {} == counts(truth)


@pytest.mark.usefixtures("patience")
def test_commit_that_arrives_late_counts_once(
    store: SqlStore, truth: SqlStore, proxy: Proxy
) -> None:
    """The store asks for the outcome before PostgreSQL notices that the connection is closed."""
    late = threading.Event()

    def hold_back(link: Link, data: bytes) -> bool:
        if COMMIT in data and not late.is_set():
            late.set()
            hang_up(link.client)
            wait_until(lambda: is_waiting_for_a_lock(truth))
        return True

    proxy.request_passes = hold_back

    (a,) = hear(store, beats("a"))

    assert late.is_set()
    assert 2 == a.record.heartbeat_count
    assert {"a": 2} == counts(truth)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("way", ["request_passes", "answer_passes"])
def test_batch_counts_once_wherever_the_connection_is_cut(
    store: SqlStore, truth: SqlStore, proxy: Proxy, way: str
) -> None:
    """The connection is cut at the first chunk of a batch, at the second, and so on."""
    for n in range(1, 100):
        cut = Once(pieces=n)
        setattr(proxy, way, cut)

        store.servers.apply([*beats("a", f"new-{n}"), *beats("a")])

        assert {"a": 1 + 2 * n} | {f"new-{m}": 1 for m in range(1, n + 1)} == counts(truth)
        if not cut.happened:
            break
    else:
        pytest.fail("a batch has no end")
    assert n > 4


def test_stale_connections_are_replaced_without_an_error(
    store: SqlStore, truth: SqlStore, proxy: Proxy
) -> None:
    assert {"a": 1} == counts(store)
    proxy.cut_all()
    store.servers.apply(beats("a"))
    proxy.cut_all()
    assert {"a": 2} == counts(store)
    proxy.cut_all()
    assert store.servers.delete("a", MOMENT)

    assert {} == counts(truth)


def test_connection_that_was_just_used_costs_no_further_round_trip(
    store: SqlStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = Once(PING, pieces=2)
    proxy.request_passes = asks

    monkeypatch.setattr(stale, "_SURELY_OPEN_SECONDS", inf)
    assert store.servers.get("a") is not None
    assert 2 == asks.left

    monkeypatch.setattr(stale, "_SURELY_OPEN_SECONDS", 0.0)
    assert store.servers.get("a") is not None
    assert 1 == asks.left
    assert store.servers.get("a") is not None
    assert asks.happened


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("way", ["request_passes", "answer_passes"])
def test_alarm_is_told_once_wherever_the_connection_is_cut(
    store: SqlStore, truth: SqlStore, proxy: Proxy, way: str
) -> None:
    """The connection is cut at the first chunk of a look at the events, at the second and so on."""
    store.alerts.add_channel(channel(), rule(kinds=frozenset({"registered"})))
    for n in range(1, 100):
        store.servers.apply(beats(f"new-{n}"))
        cut = Once(pieces=n)
        setattr(proxy, way, cut)

        # A query is not repeated, but its look is, a second later.
        with suppress(StoreUnavailable):
            store.alerts.advance(MOMENT, None)
        proxy.let_all_pass()
        # Nothing is written until PostgreSQL notices that the other connection is gone.
        wait_until(partial(is_told, store, truth, number=n))

        found = [alarm.server_id for alarm in truth.alerts.alarms(limit=1000)]
        assert [f"new-{m}" for m in range(n, 0, -1)] == found
        if not cut.happened:
            break
    else:
        pytest.fail("a look has no end")
    assert n > 10
    store.alerts.advance(MOMENT + timedelta(seconds=30), None)
    (message,) = truth.alerts.deliveries(limit=9)
    assert n == len(message.body["data"]["alarms"])


def is_told(store: SqlStore, truth: SqlStore, *, number: int) -> bool:
    """Look at the events; whether there are as many alarms by now."""
    store.alerts.advance(MOMENT, None)
    return len(truth.alerts.alarms(limit=1000)) >= number
