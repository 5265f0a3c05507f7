"""PostgreSQL terminates connections, restarts, or becomes read-only."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import pytest
from sqlalchemy import make_url

from cut_connections import ask_for_long, terminate
from postgres import Postgres
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.store import SqlStore
from servers import wait_until
from watched import beats, counts


def test_terminated_connections_are_replaced_without_an_error(
    direct: SqlStore, postgres: Postgres, postgresql_url: str
) -> None:
    direct.servers.apply(beats("a"))
    assert {"a": 1} == counts(direct)
    terminate(postgresql_url)
    direct.servers.apply(beats("a"))
    terminate(postgresql_url)
    assert {"a": 2} == counts(direct)


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
