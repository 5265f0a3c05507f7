"""New events reach everybody who follows, in their order, and nobody is waited for."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
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


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(make_url(database_url))) as store:
        yield store


def register(store: SqlStore, *ids: str) -> None:
    """Make an event of each."""
    store.servers.apply([Incoming(Heartbeat(server_id=each), Clock()()) for each in ids])


def feed_of(store: SqlStore, *, seconds: float = 2.0) -> Feed:
    """A feed that hears of the commits of a store."""
    news = NewsSignal()
    store.servers._on_events = lambda _: news.set()  # noqa: SLF001 - the store is older
    return Feed(store, StoreCalls(), news, seconds=seconds)


def everything(_: News) -> bool:
    return True


def play(scene: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(scene, PATIENCE_SECONDS))


async def ids(follower: Follower, *, number: int) -> list[str | None]:
    """The servers of the next events."""
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


def test_everybody_gets_what_is_new_in_its_order(store: SqlStore) -> None:
    register(store, "old")

    async def scene() -> list[list[str | None]]:
        feed = feed_of(store, seconds=60)
        one, other = Follower(everything), Follower(everything)
        after = await feed.last_event()
        async with running(feed.run()):
            with feed.followed(one, after=after), feed.followed(other, after=after):
                await asyncio.to_thread(register, store, "b", "a")
                await asyncio.to_thread(register, store, "c")
                return [await ids(one, number=3), await ids(other, number=3)]

    assert [["b", "a", "c"]] * 2 == play(scene())


def test_what_was_written_while_nobody_followed_is_not_handed_on(store: SqlStore) -> None:
    async def scene() -> list[str | None]:
        feed = feed_of(store, seconds=60)
        async with running(feed.run()):
            first = Follower(everything)
            with feed.followed(first, after=0):
                await asyncio.to_thread(register, store, "a")
                await ids(first, number=1)
            await asyncio.to_thread(register, store, "b")
            follower = Follower(everything)
            with feed.followed(follower, after=await feed.last_event()):
                await asyncio.to_thread(register, store, "c")
                return await ids(follower, number=1)

    assert ["c"] == play(scene())


def test_news_of_which_nobody_tells_are_found(store: SqlStore) -> None:
    async def scene() -> list[str | None]:
        feed = feed_of(store, seconds=0.05)
        follower = Follower(everything)
        async with running(feed.run()):
            with feed.followed(follower, after=0):
                await asyncio.to_thread(register, store, "a")
                return await ids(follower, number=1)

    assert ["a"] == play(scene())


def test_many_events_come_in_several_parts(store: SqlStore) -> None:
    many = [f"s{n}" for n in range(2500)]
    register(store, *many)

    async def scene() -> list[str | None]:
        feed = feed_of(store, seconds=0.05)
        follower = Follower(everything)
        async with running(feed.run()):
            with feed.followed(follower, after=0):
                return await ids(follower, number=2500)

    assert many == play(scene())


def test_who_does_not_keep_up_is_let_go_and_others_go_on(store: SqlStore) -> None:
    async def scene() -> tuple[list[str | None], list[str | None], list[str | None]]:
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

    assert (["a", "b", "c", "d"], [], ["d"]) == play(scene())


def tell_much(store: SqlStore, number: int) -> None:
    """Make some events of about 52 kB."""
    for n in range(number):
        tools = tuple(f"{n:02}_{tool:047}" for tool in range(1000))
        store.servers.apply(
            [Incoming(Heartbeat(server_id=f"s{n}", capabilities=("a",)), Clock()())]
        )
        store.servers.apply([Incoming(Heartbeat(server_id=f"s{n}", capabilities=tools), Clock()())])


def test_what_was_missed_comes_in_parts_that_can_be_kept(store: SqlStore) -> None:
    tell_much(store, 20)

    async def scene() -> list[list[News]]:
        feed, parts = feed_of(store), list[list[News]]()
        while not parts or parts[-1]:
            parts.append(await feed.events_after(parts[-1][-1].id if parts else 0))
        return parts

    parts = play(scene())

    assert [*range(1, 41)] == [news.id for part in parts for news in part]
    sizes = [sum(len(news.message) for news in part) for part in parts]
    assert max(sizes) < 256 * 1024 < 4 * sizes[0]


def test_an_event_that_is_too_long_for_a_part_is_one(store: SqlStore) -> None:
    tell_much(store, 2)

    parts = [store.events.after(number, limit=9, max_bytes=1000) for number in range(5)]

    assert [[1], [2], [3], [4], []] == [[each.id for each in part] for part in parts]


def test_who_does_not_keep_up_with_long_events_is_let_go(store: SqlStore) -> None:
    tell_much(store, 3)

    async def scene() -> tuple[list[str | None], list[str | None]]:
        news = await feed_of(store).events_after(0)
        slow = Follower(everything, most_bytes=100_000)
        slow.hand(news)
        slow.hand(news)
        enough = Follower(everything, most_bytes=200_000)
        for _ in range(9):
            enough.hand(news)
            await ids(enough, number=1)
        enough.hand(news)
        return await ids(slow, number=1), await ids(enough, number=1)

    assert ([], ["s0", "s0", "s1", "s1", "s2", "s2"]) == play(scene())


def test_who_was_ended_has_nothing_any_more(store: SqlStore) -> None:
    register(store, "a")

    async def scene() -> list[str | None]:
        follower = Follower(everything)
        (news,) = [await feed_of(store).events_after(0)]
        follower.hand(news)
        follower.end()
        follower.hand(news)
        return await ids(follower, number=1)

    assert [] == play(scene())


def test_signal_may_be_set_after_its_loop_is_closed() -> None:
    async def scene() -> NewsSignal:
        return NewsSignal()

    signal = play(scene())

    signal.set()  # as a thread does that commits late


# The database fails


def test_nothing_is_lost_while_the_database_is_away(
    postgres: Postgres, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy(postgres)
    url = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))

    async def scene(store: SqlStore, direct: SqlStore) -> list[str | None]:
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
                await asyncio.sleep(0.2)  # it tries again and again, and says so once
                proxy.listen()
                return found + await ids(follower, number=2)

    with (
        closing(SqlStore(make_url(url))) as store,
        closing(SqlStore(make_url(postgresql_url))) as d,
    ):
        assert ["a", "b", "c"] == play(scene(store, d))
    proxy.close()

    (record,) = caplog.records
    assert "New events have to wait: the database does not answer" in record.message
    assert not record.exc_info


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


def test_feed_outlives_what_nobody_foresaw(
    store: SqlStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as an event that only a later release knows."""
    register(store, "a", "b")
    rename(database_url, "registered", "abducted")

    async def scene() -> list[str | None]:
        feed = feed_of(store, seconds=0.02)
        follower = Follower(everything)
        async with running(feed.run()):
            with feed.followed(follower, after=0):
                await until(lambda: len(caplog.records) > 0)
                await asyncio.to_thread(rename, database_url, "abducted", "registered")
                return await ids(follower, number=2)

    assert ["a", "b"] == play(scene())
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


def test_database_that_says_nothing_is_not_waited_for(postgresql_url: str) -> None:
    answered = threading.Event()

    async def scene(store: SqlStore) -> None:
        last = store.events.last

        def witnessed() -> int:
            try:
                return last()
            finally:
                answered.set()

        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await StoreCalls(patience=0.1).read(witnessed)

    with closing(SqlStore(make_url(postgresql_url))) as store, connection(postgresql_url) as other:
        other.execute("BEGIN; LOCK TABLE events")
        play(scene(store))
        other.rollback()
        assert answered.wait(PATIENCE_SECONDS)


# Other receivers tell


def connection(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


class Ears:
    """Hear whenever somebody is woken."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    async def hear(self) -> None:
        await self.heard.wait()
        self.heard.clear()


def test_sqlite_does_not_tell(sqlite_url: str) -> None:
    play(listen(make_url(sqlite_url), lambda: None))


def test_events_of_another_receiver_are_told(postgresql_url: str) -> None:
    async def scene(store: SqlStore) -> None:
        ears = Ears()
        async with running(listen(make_url(postgresql_url), ears.heard.set)):
            await ears.hear()
            for server_id in "abc":
                await asyncio.to_thread(register, store, server_id)
                await ears.hear()
            await asyncio.to_thread(register, store, "a")
            await asyncio.sleep(0.1)
            assert not ears.heard.is_set()

    with closing(SqlStore(make_url(postgresql_url))) as store:
        play(scene(store))


def test_listener_comes_back_when_its_connection_breaks(
    postgres: Postgres, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy(postgres)
    url = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))

    async def scene() -> None:
        ears = Ears()
        begin = listen(make_url(url), ears.heard.set, first_pause=0.01, longest_pause=0.04)
        async with running(begin):
            await ears.hear()
            proxy.refuse()
            proxy.cut_all()
            await until(lambda: len(caplog.records) > 0)
            await asyncio.sleep(0.2)  # it tries again and again, and says so once
            proxy.listen()
            await ears.hear()  # for what it may have missed
            with connection(postgresql_url) as other:
                other.execute(f"NOTIFY {CHANNEL}")
            await ears.hear()

    play(scene())
    proxy.close()

    (record,) = caplog.records
    assert "Events of other receivers arrive later" in record.message


def test_listener_ends_at_once_wherever_it_is(postgres: Postgres, postgresql_url: str) -> None:
    proxy = Proxy(postgres)
    enough = threading.Event()
    url = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))

    async def scene() -> None:
        ears = Ears()
        async with running(listen(make_url(url), ears.heard.set)):
            await ears.hear()
        proxy.request_passes = lambda _, __: not enough.wait(PATIENCE_SECONDS)
        async with running(listen(make_url(url), ears.heard.set)):
            await asyncio.sleep(0.2)

    seconds = asyncio.run(timed(scene()))
    enough.set()
    proxy.close()

    assert seconds < 2


async def timed(scene: Awaitable[None]) -> float:
    clock = asyncio.get_running_loop().time
    begun = clock()
    await scene
    return clock() - begun
