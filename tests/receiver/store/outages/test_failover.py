"""After a failover, a new connection may lead to what was the primary and is a standby now."""

from collections.abc import Callable

import pytest
from sqlalchemy import make_url

from cut_connections import COMMIT
from postgres import Postgres
from proxy import Link, Once, Proxy
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.store import SqlStore
from watched import beats, counts, hear


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
