"""The event feed: new events reach every follower in order, and slow followers are dropped."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, closing
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text

from contract import Heartbeat
from postgres import Postgres
from proxy import Proxy
from receiver.domain.errors import StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.service.feed import Feed, Follower, News, NewsSignal
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore, listen
from receiver.store.dialects.listen import CHANNEL
from servers import PATIENCE_SECONDS, Clock

T = TypeVar("T")


def register(store: SqlStore, *ids: str) -> None:
    """Make a `registered` event of each server."""
    store.servers.apply([Incoming(Heartbeat(server_id=each), Clock()()) for each in ids])


def feed_of(store: SqlStore, *, seconds: float = 2.0) -> Feed:
    """A feed that is signalled after each commit of a store."""
    news = NewsSignal()
    store.servers._on_events = lambda _: news.set()  # noqa: SLF001 - the store is older
    return Feed(store, StoreCalls(patience=PATIENCE_SECONDS), news, seconds=seconds)


def everything(_: News) -> bool:
    return True


def run_scenario(scenario: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(scenario, PATIENCE_SECONDS))


async def ids(follower: Follower, *, number: int) -> list[str | None]:
    """The server ids of the next events, at least `number` of them."""
    found: list[str | None] = []
    async for news in follower:
        found += [each.event.server_id for each in news]
        if len(found) >= number:
            break
    return found


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_every_follower_gets_new_events_in_order(store: SqlStore) -> None:
    register(store, "old")

    async def scenario() -> list[list[str | None]]:
        feed = feed_of(store, seconds=60)
        one, other = Follower(everything), Follower(everything)
        after = await feed.last_event()
        async with running(feed.run()):
            with feed.followed(one, after=after), feed.followed(other, after=after):
                await asyncio.to_thread(register, store, "b", "a")
                await asyncio.to_thread(register, store, "c")
                return [await ids(one, number=3), await ids(other, number=3)]

    assert [["b", "a", "c"]] * 2 == run_scenario(scenario())


def test_follower_that_asks_for_newer_events_gets_none_from_before_it_followed(
    store: SqlStore,
) -> None:
    """A read under way may still hand over the last of them, so a follower looks at the ids."""

    async def scenario() -> list[str | None]:
        feed = feed_of(store, seconds=60)
        async with running(feed.run()):
            first = Follower(everything)
            with feed.followed(first, after=0):
                await asyncio.to_thread(register, store, "a")
                await ids(first, number=1)
            await asyncio.to_thread(register, store, "b")
            after = await feed.last_event()
            follower = Follower(lambda news: news.id > after)
            with feed.followed(follower, after=after):
                await asyncio.to_thread(register, store, "c")
                return await ids(follower, number=1)

    assert ["c"] == run_scenario(scenario())


def test_unannounced_events_are_found_by_polling(store: SqlStore) -> None:
    async def scenario() -> list[str | None]:
        feed = feed_of(store, seconds=0.05)
        follower = Follower(everything)
        async with running(feed.run()):
            with feed.followed(follower, after=0):
                await asyncio.to_thread(register, store, "a")
                return await ids(follower, number=1)

    assert ["a"] == run_scenario(scenario())


def test_many_events_arrive_in_several_batches(store: SqlStore) -> None:
    many = [f"s{n}" for n in range(2500)]
    register(store, *many)

    async def scenario() -> list[str | None]:
        feed = feed_of(store, seconds=0.05)
        follower = Follower(everything)
        async with running(feed.run()):
            with feed.followed(follower, after=0):
                return await ids(follower, number=2500)

    assert many == run_scenario(scenario())


def test_slow_follower_is_dropped_and_others_continue(store: SqlStore) -> None:
    async def scenario() -> tuple[list[str | None], list[str | None], list[str | None]]:
        feed = feed_of(store, seconds=60)
        quick = Follower(everything, most_waiting=1)
        slow = Follower(everything, most_waiting=2)
        picky = Follower(lambda each: each.event.server_id == "d", most_waiting=1)
        taken = []
        async with running(feed.run()):
            with ExitStack() as followed:
                for each in (quick, slow, picky):
                    followed.enter_context(feed.followed(each, after=0))
                for server_id in "abcd":
                    await asyncio.to_thread(register, store, server_id)
                    taken += await ids(quick, number=1)
                return taken, await ids(slow, number=1), await ids(picky, number=1)

    assert (["a", "b", "c", "d"], [], ["d"]) == run_scenario(scenario())


def make_long_events(store: SqlStore, number: int) -> None:
    """Make some events of about 52 kB."""
    for n in range(number):
        tools = tuple(f"{n:02}_{tool:0190}" for tool in range(260))
        store.servers.apply(
            [Incoming(Heartbeat(server_id=f"s{n}", capabilities=("a",)), Clock()())]
        )
        store.servers.apply([Incoming(Heartbeat(server_id=f"s{n}", capabilities=tools), Clock()())])


def test_missed_events_are_read_in_batches_of_bounded_size(store: SqlStore) -> None:
    make_long_events(store, 20)

    async def scenario() -> list[list[News]]:
        feed, batches = feed_of(store), list[list[News]]()
        while not batches or batches[-1]:
            batches.append(await feed.events_after(batches[-1][-1].id if batches else 0))
        return batches

    batches = run_scenario(scenario())

    assert [*range(1, 41)] == [news.id for batch in batches for news in batch]
    sizes = [sum(len(news.message) for news in batch) for batch in batches]
    assert max(sizes) < 256 * 1024 < 4 * sizes[0]


def test_event_longer_than_a_batch_is_a_batch_of_its_own(store: SqlStore) -> None:
    make_long_events(store, 2)

    batches = [store.events.after(number, limit=9, max_bytes=1000) for number in range(5)]

    assert [[1], [2], [3], [4], []] == [[each.id for each in batch] for batch in batches]


def test_follower_with_too_many_waiting_bytes_is_dropped(store: SqlStore) -> None:
    make_long_events(store, 3)

    async def scenario() -> tuple[list[str | None], list[str | None]]:
        news = await feed_of(store).events_after(0)
        slow = Follower(everything, most_bytes=100_000)
        slow.hand(news)
        slow.hand(news)
        release = Follower(everything, most_bytes=200_000)
        for _ in range(9):
            release.hand(news)
            await ids(release, number=1)
        release.hand(news)
        return await ids(slow, number=1), await ids(release, number=1)

    assert ([], ["s0", "s0", "s1", "s1", "s2", "s2"]) == run_scenario(scenario())


def test_ended_follower_yields_no_events(store: SqlStore) -> None:
    register(store, "a")

    async def scenario() -> list[str | None]:
        follower = Follower(everything)
        (news,) = [await feed_of(store).events_after(0)]
        follower.hand(news)
        follower.end()
        follower.hand(news)
        return await ids(follower, number=1)

    assert [] == run_scenario(scenario())


def test_signal_may_be_set_after_its_loop_is_closed() -> None:
    async def scenario() -> NewsSignal:
        return NewsSignal()

    signal = run_scenario(scenario())

    signal.set()  # as a thread does whose commit ends late


# The database fails


def test_events_during_a_database_outage_are_delivered_later(
    postgres: Postgres, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy(postgres)
    url = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))

    async def scenario(store: SqlStore, direct: SqlStore) -> list[str | None]:
        feed = feed_of(store, seconds=0.02)
        follower = Follower(everything)
        async with running(feed.run()):
            with feed.followed(follower, after=0):
                await asyncio.to_thread(register, direct, "a")
                found = await ids(follower, number=1)
                proxy.refuse()
                proxy.cut_all()
                await until(lambda: len(caplog.records) > 0)
                await asyncio.to_thread(register, direct, "b", "c")
                await asyncio.sleep(0.2)  # retries; logs one warning only
                proxy.listen()
                return found + await ids(follower, number=2)

    with (
        closing(SqlStore(make_url(url))) as store,
        closing(SqlStore(make_url(postgresql_url))) as d,
    ):
        assert ["a", "b", "c"] == run_scenario(scenario(store, d))
    proxy.close()

    # A connection that is cut in the middle of a query is in the log of SQLAlchemy, too.
    (record,) = (each for each in caplog.records if each.name == "receiver.service.feed")
    assert "New events have to wait: the database does not answer" in record.message
    assert not record.exc_info


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - polls
        await asyncio.sleep(0.01)


def test_feed_continues_after_an_unexpected_error(
    store: SqlStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For example an event of a kind that only a later release knows."""
    register(store, "a", "b")
    rename(database_url, "registered", "abducted")

    async def scenario() -> list[str | None]:
        feed = feed_of(store, seconds=0.02)
        follower = Follower(everything)
        async with running(feed.run()):
            with feed.followed(follower, after=0):
                await until(lambda: len(caplog.records) > 0)
                await asyncio.to_thread(rename, database_url, "abducted", "registered")
                return await ids(follower, number=2)

    assert ["a", "b"] == run_scenario(scenario())
    (record,) = caplog.records
    assert record.exc_info


def rename(url: str, before: str, after: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE events SET kind = :after WHERE kind = :before"),
            {"before": before, "after": after},
        )
    engine.dispose()


def test_read_from_a_silent_database_times_out(postgresql_url: str) -> None:
    given_up, answered = threading.Event(), threading.Event()

    async def scenario(store: SqlStore) -> None:
        last = store.events.last

        def last_event() -> int:
            try:
                return last()
            finally:
                given_up.wait(PATIENCE_SECONDS)  # what the database says later comes too late
                answered.set()

        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await StoreCalls(patience=0.1).read(last_event)
        given_up.set()

    with closing(SqlStore(make_url(postgresql_url))) as store, connection(postgresql_url) as other:
        other.execute("BEGIN; LOCK TABLE events")
        run_scenario(scenario(store))
        other.rollback()
        assert answered.wait(PATIENCE_SECONDS)


# Notifications from other receivers


def connection(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


class Notifications:
    """Waits for the next notification."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()

    async def next(self) -> None:
        await self.arrived.wait()
        self.arrived.clear()


def test_listening_on_sqlite_returns_at_once(sqlite_url: str) -> None:
    run_scenario(listen(make_url(sqlite_url), lambda: None))


def test_listener_is_notified_of_events_of_another_receiver(postgresql_url: str) -> None:
    async def scenario(store: SqlStore) -> None:
        notifications = Notifications()
        async with running(listen(make_url(postgresql_url), notifications.arrived.set)):
            await notifications.next()
            for server_id in "abc":
                await asyncio.to_thread(register, store, server_id)
                await notifications.next()
            await asyncio.to_thread(register, store, "a")
            await asyncio.sleep(0.1)
            assert not notifications.arrived.is_set()

    with closing(SqlStore(make_url(postgresql_url))) as store:
        run_scenario(scenario(store))


def test_listener_reconnects_after_its_connection_breaks(
    postgres: Postgres, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy(postgres)
    url = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))

    async def scenario() -> None:
        notifications = Notifications()
        begin = listen(
            make_url(url), notifications.arrived.set, first_pause=0.01, longest_pause=0.04
        )
        async with running(begin):
            await notifications.next()
            proxy.refuse()
            proxy.cut_all()
            await until(lambda: len(caplog.records) > 0)
            await asyncio.sleep(0.2)  # retries; logs one warning only
            proxy.listen()
            await (
                notifications.next()
            )  # notified after a reconnect, since events may have been missed
            with connection(postgresql_url) as other:
                other.execute(f"NOTIFY {CHANNEL}")
            await notifications.next()

    run_scenario(scenario())
    proxy.close()

    (record,) = caplog.records
    assert "Events of other receivers arrive later" in record.message


def test_cancelled_listener_ends_at_once(postgres: Postgres, postgresql_url: str) -> None:
    """Also while it connects to a database that does not answer, for as long as it is asked."""
    proxy = Proxy(postgres)
    asked, release = threading.Event(), threading.Event()
    place = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))
    url = make_url(place).update_query_dict({"connect_timeout": "600"})

    def hang(_: object, __: bytes) -> bool:
        asked.set()
        release.wait()
        return False

    async def scenario() -> None:
        notifications = Notifications()
        async with running(listen(url, notifications.arrived.set)):
            await notifications.next()
        proxy.request_passes = hang
        async with running(listen(url, notifications.arrived.set)):
            assert await asyncio.to_thread(asked.wait, PATIENCE_SECONDS)

    try:
        run_scenario(scenario())
    finally:
        release.set()
        proxy.close()


@pytest.mark.parametrize("ahead", [0, 5])
def test_streams_end_when_another_database_has_fewer_events(store: SqlStore, ahead: int) -> None:
    """A stream that has had events of a larger number would wait for it in vain."""
    register(store, "a", "b")

    async def scenario() -> list[list[News]]:
        feed = feed_of(store, seconds=0.01)
        follower = Follower(everything)
        with feed.followed(follower, after=await feed.last_event() + ahead):
            store.transactions.generation += 1
            async with running(feed.run()):
                await asyncio.sleep(0.1)
                register(store, "c")
                return [news async for news in one_page(follower)]

    async def one_page(follower: Follower) -> AsyncIterator[list[News]]:
        async for news in follower:
            yield news
            return

    assert (0 if ahead else 1) == len(run_scenario(scenario()))
