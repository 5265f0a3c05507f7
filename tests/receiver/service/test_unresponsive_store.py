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
from receiver.service.fleet import Fleet
from receiver.service.group_commit import Writer
from receiver.store.merging import Incoming
from receiver.store.server_list import EVERYTHING
from receiver.store.sql_store import SqlStore
from servers import Clock, wait_until
from watched import endless


@pytest.fixture
def store(postgresql_url: str) -> Iterator[SqlStore]:
    """It has heard of a server."""
    store = SqlStore(make_url(postgresql_url))
    store.apply([Incoming(Heartbeat(server_id="a"), Clock()())])
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


def ask(store: SqlStore, question: Callable[[Fleet], Awaitable[Any]]) -> Any:
    async def play() -> Any:
        writer = Writer(store.apply, endless())
        try:
            return await question(Fleet(store, writer, clock=Clock(), patience=0.2))
        finally:
            writer.close()

    return asyncio.run(play())


@pytest.mark.parametrize(
    "question",
    [
        lambda fleet: fleet.get("a"),
        lambda fleet: fleet.count(),
        lambda fleet: fleet.page(EVERYTHING, after=None, limit=1),
    ],
)
def test_a_read_is_not_waited_for(
    store: SqlStore, hold: Callable[[], Any], question: Callable[[Fleet], Awaitable[Any]]
) -> None:
    let_go = hold()
    begun = time.monotonic()

    async def timed(fleet: Fleet) -> float:
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await question(fleet)
        return time.monotonic() - begun

    waited = ask(store, timed)
    let_go()

    assert waited < 1
    assert 1 == ask(store, lambda fleet: fleet.count())


def test_a_deletion_that_does_not_end_may_have_happened(
    store: SqlStore, hold: Callable[[], Any]
) -> None:
    let_go = hold()

    async def delete(fleet: Fleet) -> None:
        with pytest.raises(OutcomeUnknown):
            await fleet.delete("a")
        let_go()
        await asyncio.to_thread(wait_until, lambda: store.get("a") is None)

    ask(store, delete)
