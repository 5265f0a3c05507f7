"""Timeouts of calls to a store that does not answer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from contract import Heartbeat
from receiver.domain.errors import OutcomeUnknown, Refusal, StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS
from receiver.service.fleet import Fleet
from receiver.service.group_commit import GroupCommit
from receiver.service.store_calls import StoreCalls
from receiver.service.watchdog import Timing, Watchdog
from receiver.store import SqlStore
from receiver.store.dialects import postgresql
from servers import PATIENCE_SECONDS, Clock, wait_until
from watched import endless

StoreCall = Callable[[StoreCalls, Fleet], Awaitable[Any]]


@pytest.fixture
def store(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    """A store with one server; PostgreSQL lets it wait for a lock for as long as a test takes."""
    patient = postgresql._SETTINGS.replace("'2s'", "'600s'")  # noqa: SLF001 - it is no setting
    monkeypatch.setattr(postgresql, "_SETTINGS", patient)
    store = SqlStore(make_url(postgresql_url))
    store.servers.apply([Incoming(Heartbeat(server_id="a"), Clock()())])
    yield store
    store.close()


@pytest.fixture
def lock(postgresql_url: str) -> Iterator[Callable[[], Any]]:
    """A function that locks the table of servers, and returns a function that unlocks it."""
    url = make_url(postgresql_url).set(drivername="postgresql")
    with closing(psycopg.connect(url.render_as_string(hide_password=False))) as other:

        def begin() -> Callable[[], None]:
            other.execute("LOCK TABLE servers, liveness")
            return other.rollback

        yield begin


def run(store: SqlStore, call: StoreCall, *, patience: float = 0.2) -> Any:
    async def run_call() -> Any:
        group_commit = GroupCommit(store.servers.apply, endless())
        watchdog = Watchdog(store, Timing(), clock=Clock())
        try:
            calls = StoreCalls(patience=patience)
            fleet = Fleet(store, calls, group_commit, clock=Clock(), watchdog=watchdog)
            return await call(calls, fleet)
        finally:
            watchdog.close()
            group_commit.close()

    return asyncio.run(run_call())


@pytest.mark.parametrize(
    "call",
    [
        lambda _, __, fleet: fleet.get("a"),
        lambda store, calls, _: calls.read(store.servers.count, ALL_SERVERS),
        lambda _, __, fleet: fleet.page(ALL_SERVERS, after=None, limit=1),
    ],
)
def test_read_from_a_locked_table_times_out(
    store: SqlStore, lock: Callable[[], Any], call: Callable[..., Awaitable[Any]]
) -> None:
    unlock = lock()

    async def ask(calls: StoreCalls, fleet: Fleet) -> None:
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await call(store, calls, fleet)

    run(store, ask)
    unlock()

    assert 1 == store.servers.count(ALL_SERVERS)


def test_deletion_that_times_out_has_an_unknown_outcome(
    store: SqlStore, lock: Callable[[], Any]
) -> None:
    unlock = lock()

    async def delete(calls: StoreCalls, _: Fleet) -> None:
        with pytest.raises(OutcomeUnknown):
            await calls.change(store.servers.delete, "a", Clock()())
        unlock()
        await asyncio.to_thread(wait_until, lambda: store.servers.get("a") is None)

    run(store, delete)


def test_health_is_bad_after_a_write_that_failed(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be too full for a message, and not for what the watchdog writes."""

    async def ask(_: StoreCalls, fleet: Fleet) -> tuple[int, str]:
        before = await fleet.count()
        monkeypatch.setattr(fleet._group_commit, "trouble", lambda: "disk full")  # noqa: SLF001 - as after a failure
        with pytest.raises(Refusal) as refused:
            await fleet.count()
        return before, refused.value.code

    assert (1, "store_unavailable") == run(store, ask, patience=PATIENCE_SECONDS)
