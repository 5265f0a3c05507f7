"""Connections to PostgreSQL that break: outcomes are reported right, nothing counts twice."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from math import inf

import psycopg
import pytest
from sqlalchemy import make_url

from alert_values import channel, rule
from contract import Heartbeat
from postgres import Postgres
from proxy import Link, Once, Proxy, hang_up
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS
from receiver.store import SqlStore, transactions
from receiver.store.dialects import stale
from servers import wait_until
from watched import have_patience, hear, kept_in

MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
COMMIT = b"COMMIT\0"  # in the client's request and in the server's answer
PING = b";\0"  # the empty statement by which SQLAlchemy asks whether a connection works
TIMELY_SECONDS = 9.5
"""
In less than this a call fails that waits for two seconds in all, also on a busy machine.

Five attempts, of two seconds each, would take longer.
"""

TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    proxy = Proxy(postgres)
    yield proxy
    proxy.close()


@pytest.fixture
def store(postgres: Postgres, postgresql_url: str, proxy: Proxy) -> Iterator[SqlStore]:
    """A store with one server, connected through the proxy."""
    url = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))
    store = SqlStore(make_url(url))
    store.servers.apply(beats("a"))
    yield store
    store.close()


@pytest.fixture
def truth(store: SqlStore, postgresql_url: str) -> Iterator[SqlStore]:
    """A store of the same database that bypasses the proxy, to read what was committed."""
    truth = SqlStore(make_url(postgresql_url))
    yield truth
    truth.close()


@pytest.fixture
def direct(postgresql_url: str) -> Iterator[SqlStore]:
    """A store without a proxy."""
    direct = SqlStore(make_url(postgresql_url))
    yield direct
    direct.close()


@pytest.fixture
def patience(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let the store wait half a minute for locks, and ask for a minute what became of a commit.

    A broken connection leaves a lock until PostgreSQL notices. On a busy machine that may take
    longer than the two seconds after which a receiver refuses the message, or does not know.
    """
    have_patience(store)
    ask_for_long(monkeypatch)


def ask_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 60.0)


def beats(*ids: str) -> list[Incoming]:
    return [Incoming(Heartbeat(server_id=each), MOMENT) for each in ids]


def counts(store: SqlStore) -> dict[str, int]:
    kept = kept_in(store)
    return {record.server_id: record.heartbeat_count for record in kept}


# The connection is cut


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


def is_waiting_for_a_lock(store: SqlStore) -> bool:
    with store.transactions.read() as connection:
        waiting = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(waiting.scalar_one())


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


# The database does not answer


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


# PostgreSQL terminates connections or restarts


def test_terminated_connections_are_replaced_without_an_error(
    direct: SqlStore, postgres: Postgres, postgresql_url: str
) -> None:
    direct.servers.apply(beats("a"))
    assert {"a": 1} == counts(direct)
    terminate(postgresql_url)
    direct.servers.apply(beats("a"))
    terminate(postgresql_url)
    assert {"a": 2} == counts(direct)


def terminate(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as administrator:
        administrator.execute(TERMINATE)


def test_store_works_again_after_a_restart_of_postgresql(
    direct: SqlStore, postgres: Postgres
) -> None:
    direct.servers.apply(beats("a"))
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailable):
            direct.servers.apply(beats("a"))
        with pytest.raises(StoreUnavailable):
            direct.servers.get("a")
    finally:
        postgres.start()

    direct.servers.apply(beats("a"))

    assert {"a": 2} == counts(direct)
    assert 1 == direct.generation  # the server may be a copy of the other, without its last rows
    assert [] == direct.keys.all()


def test_connections_to_a_server_that_has_become_read_only_are_made_anew(
    direct: SqlStore, postgres: Postgres, postgresql_url: str
) -> None:
    """Of several servers in the URL, another may be the one that takes writes by then."""
    name = make_url(postgresql_url).database
    direct.servers.apply(beats("a"))
    before = serving(direct)
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    terminate(postgresql_url)
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        direct.servers.apply(beats("a"))
    postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    direct.servers.apply(beats("a"))

    assert before != serving(direct)
    assert {"a": 2} == counts(direct)


def serving(store: SqlStore) -> int:
    """The process of PostgreSQL that serves the writes of a store."""
    return store.transactions.write(
        lambda connection: int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    )


class Senders:
    """
    Send heartbeats until `stop` is set, and count their outcomes.

    Attributes:
        outcomes: How many heartbeats were `applied`, `refused`, or of `unknown` outcome.
    """

    def __init__(self) -> None:
        self.outcomes = Counter[str]()
        self.stop = threading.Event()
        self._counting = threading.Lock()

    def wait_for_more(self, outcome: str = "applied") -> None:
        """
        Wait until some more heartbeats had an outcome.

        Then the next ones are sent: when one was applied, another is at any point of its commit.
        """
        before = self.outcomes[outcome]
        wait_until(lambda: self.outcomes[outcome] > before)

    def phone_home(self, store: SqlStore) -> None:
        while not self.stop.is_set():
            try:
                store.servers.apply(beats("a"))
            except OutcomeUnknown:
                self._count("unknown")
            except StoreUnavailable:
                self._count("refused")
            else:
                self._count("applied")

    def _count(self, outcome: str) -> None:
        with self._counting:  # two threads send
            self.outcomes[outcome] += 1


# After a failover, a new connection may lead to what was the primary and is a standby now


class Standby:
    """
    Lets new connections to a database be read-only, as those to a standby are.

    A connection stays what it was when it was made: one to a standby is never of use.
    """

    def __init__(self, postgres: Postgres, url: str) -> None:
        self._postgres = postgres
        self._change = f"ALTER DATABASE {make_url(url).database} %s default_transaction_read_only"

    def begin(self) -> None:
        self._postgres.sql(f"{self._change % 'SET'} = on")

    def end(self) -> None:
        self._postgres.sql(self._change % "RESET")


@pytest.fixture
def standby(postgres: Postgres, postgresql_url: str) -> Standby:
    return Standby(postgres, postgresql_url)


def test_connection_to_a_standby_is_replaced(
    store: SqlStore, truth: SqlStore, proxy: Proxy, standby: Standby
) -> None:
    standby.begin()
    proxy.cut_all()
    with pytest.raises(StoreUnavailable):
        store.servers.apply(beats("a"))
    standby.end()

    store.servers.apply(beats("a"))

    assert {"a": 2} == counts(truth)


def test_standby_does_not_tell_what_became_of_a_commit(
    store: SqlStore, truth: SqlStore, proxy: Proxy, standby: Standby
) -> None:
    proxy.answer_passes = before_cutting(Once(COMMIT), standby.begin)

    with pytest.raises(OutcomeUnknown):
        store.servers.apply(beats("a"))

    assert {"a": 2} == counts(truth)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("way", ["request_passes", "answer_passes"])
def test_commit_before_a_failover_counts_once(
    store: SqlStore, truth: SqlStore, proxy: Proxy, standby: Standby, way: str
) -> None:
    """The store asks a standby for the outcome first, then the new primary."""
    asked = Once(b"DO NOTHING")
    cut = before_cutting(Once(COMMIT), standby.begin)

    def pass_request(link: Link, data: bytes) -> bool:
        if not asked.happened and not asked(link, data):
            standby.end()
        return way == "answer_passes" or cut(link, data)

    proxy.request_passes = pass_request
    if way == "answer_passes":
        proxy.answer_passes = cut

    (a,) = hear(store, beats("a"))

    assert asked.happened
    assert 2 == a.record.heartbeat_count
    assert {"a": 2} == counts(truth)


def before_cutting(cut: Once, act: Callable[[], None]) -> Callable[[Link, bytes], bool]:
    """As `cut`, but with `act` called before the connection is cut."""

    def passes(link: Link, data: bytes) -> bool:
        if cut(link, data):
            return True
        act()
        return False

    return passes


@contextmanager
def senders_to(url: str) -> Iterator[Senders]:
    senders = Senders()
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(SqlStore(make_url(url)))) for _ in range(2)]
        threads = stack.enter_context(ThreadPoolExecutor(len(stores)))
        stack.callback(senders.stop.set)
        done = [threads.submit(senders.phone_home, store) for store in stores]
        yield senders
        senders.stop.set()
        for each in done:
            each.result()


def test_heartbeats_are_counted_exactly_while_connections_are_terminated(
    direct: SqlStore, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_long(monkeypatch)
    with senders_to(postgresql_url) as senders:
        for _ in range(60):
            senders.wait_for_more()
            terminate(postgresql_url)

    assert {"a": senders.outcomes["applied"]} == counts(direct)
    assert 0 == senders.outcomes["unknown"]


def test_heartbeats_are_counted_within_bounds_while_postgresql_restarts(
    direct: SqlStore, postgres: Postgres, postgresql_url: str
) -> None:
    with senders_to(postgresql_url) as senders:
        for _ in range(3):
            senders.wait_for_more()
            postgres.stop()
            senders.wait_for_more("refused")
            postgres.start()
        senders.wait_for_more()

    counted = counts(direct)["a"]
    assert senders.outcomes["applied"] <= counted
    assert counted <= senders.outcomes["applied"] + senders.outcomes["unknown"]
    assert senders.outcomes["refused"] > 0
