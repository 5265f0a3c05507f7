"""Nobody waits for answers that do not come."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from contract import Heartbeat
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS
from receiver.service.fleet import Fleet
from receiver.service.group_commit import GroupCommit
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from servers import Clock, wait_until
from watched import endless

Question = Callable[[StoreCalls, Fleet], Awaitable[Any]]


@pytest.fixture
def store(postgresql_url: str) -> Iterator[SqlStore]:
    """It has heard of a server."""
    store = SqlStore(make_url(postgresql_url))
    store.servers.apply([Incoming(Heartbeat(server_id="a"), Clock()())])
    yield store
    store.close()


@pytest.fixture
def hold(postgresql_url: str) -> Iterator[Callable[[], Any]]:
    """Locks the servers, so that nobody reads or writes them, and lets them go again."""
    url = make_url(postgresql_url).set(drivername="postgresql")
    with closing(psycopg.connect(url.render_as_string(hide_password=False))) as other:

        def begin() -> Callable[[], None]:
            other.execute("LOCK TABLE servers")
            return other.rollback

        yield begin


def ask(store: SqlStore, question: Question) -> Any:
    async def play() -> Any:
        writer = GroupCommit(store.servers.apply, endless())
        try:
            calls = StoreCalls(patience=0.2)
            return await question(calls, Fleet(store, calls, writer, clock=Clock()))
        finally:
            writer.close()

    return asyncio.run(play())


@pytest.mark.parametrize(
    "question",
    [
        lambda _, __, fleet: fleet.get("a"),
        lambda store, calls, _: calls.read(store.servers.count, ALL_SERVERS),
        lambda _, __, fleet: fleet.page(ALL_SERVERS, after=None, limit=1),
    ],
)
def test_a_read_is_not_waited_for(
    store: SqlStore, hold: Callable[[], Any], question: Callable[..., Awaitable[Any]]
) -> None:
    let_go = hold()
    begun = time.monotonic()

    async def timed(calls: StoreCalls, fleet: Fleet) -> float:
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await question(store, calls, fleet)
        return time.monotonic() - begun

    waited = ask(store, timed)
    let_go()

    assert waited < 1
    assert 1 == store.servers.count(ALL_SERVERS)


def test_a_deletion_that_does_not_end_may_have_happened(
    store: SqlStore, hold: Callable[[], Any]
) -> None:
    let_go = hold()

    async def delete(calls: StoreCalls, _: Fleet) -> None:
        with pytest.raises(OutcomeUnknown):
            await calls.change(store.servers.delete, "a", Clock()())
        let_go()
        await asyncio.to_thread(wait_until, lambda: store.servers.get("a") is None)

    ask(store, delete)
