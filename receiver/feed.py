"""
New events, handed on as they come.

One task reads what has been committed, whoever did, and hands it to all who follow. They
are never waited for: who does not take what there is is let go, and may come back and read
the rest from the store.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

import orjson
from anyio import fail_after, move_on_after, to_thread
from attrs import frozen
from sqlalchemy import URL

from receiver.databases import CHANNEL
from receiver.errors import StoreUnavailable
from receiver.store import Store
from receiver.timeline import ALL, Choice, Recorded

__all__ = ["Feed", "Follower", "News", "listen"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_AT_ONCE = 1000
"""How many events are read together."""


@frozen
class News(Recorded):
    """
    An event that is handed on.

    Attributes:
        message: What is sent of it. It is made once, for all who follow.
    """

    message: bytes

    @classmethod
    def of(cls, recorded: Recorded) -> "News":
        number, kind = recorded.id, recorded.event.kind.value.encode()
        content = orjson.dumps(recorded.to_json())
        message = b"id: %d\nevent: %b\ndata: %b\n\n" % (number, kind, content)
        return cls(number, recorded.event, message)


class Follower:
    """
    Somebody who wants to know, as an iterator over events, all that have come at a time.

    Args:
        wants: Which events are wanted.
        most_waiting: From how many on that were not taken the next ones end it.
    """

    def __init__(self, wants: Callable[[News], bool], *, most_waiting: int = 1000) -> None:
        self._wants = wants
        self._most_waiting = most_waiting
        self._waiting: list[News] = []
        self._ended = False
        self._changed = asyncio.Event()

    def hand(self, news: Sequence[News]) -> None:
        """Give it events, or end it when it does not keep up."""
        if len(self._waiting) >= self._most_waiting:
            self.end()
        elif not self._ended:
            self._waiting += filter(self._wants, news)
            self._changed.set()

    def end(self) -> None:
        """Let it have nothing any more."""
        self._ended = True
        self._waiting.clear()
        self._changed.set()

    def __aiter__(self) -> "Follower":
        return self

    async def __anext__(self) -> list[News]:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        news, self._waiting = self._waiting, []
        return news


class Feed:
    """
    Reads new events for all who follow; nothing while nobody does.

    Args:
        store: Where events are read.
        seconds: How often to look for events of which nobody tells: another process may
            have written to the same file.
        patience: For how many seconds a store that says nothing is waited for.
    """

    def __init__(self, store: Store, *, seconds: float = 2.0, patience: float = 4.0) -> None:
        self._store = store
        self._seconds = seconds
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._followers: list[Follower] = []
        self._last = 0

    def wake(self) -> None:
        """Say that there may be news; from any thread, at any time."""
        if self._followers:
            with suppress(RuntimeError):  # the loop is closed: nobody follows any more
                self._loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Hand on whatever is new, until cancelled."""
        fails = False
        while True:
            with move_on_after(self._seconds):
                await self._news.wait()
            self._news.clear()
            try:
                await self._hand_on()
                fails = False
            except Exception as error:  # noqa: BLE001 - nobody else would notice its end
                if not fails:
                    known = isinstance(error, StoreUnavailable)
                    _log.warning("New events have to wait: %s", error, exc_info=not known)
                fails = True

    @contextmanager
    def followed(self, follower: Follower, *, after: int) -> Iterator[None]:
        """
        Hand what is committed from now on to somebody; perhaps also some of what was before.

        Args:
            after: The number of an event that was among the newest just now.
        """
        if not self._followers:
            self._last = after
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

    async def last_event(self) -> int:
        """The number of the newest event. Raises StoreUnavailable."""
        return await self._asked(self._store.last_event)

    async def events_after(self, number: int, choice: Choice = ALL) -> list[News]:
        """The oldest of the newer events, if there are any. Raises StoreUnavailable."""

        def read() -> list[News]:
            return [*map(News.of, self._store.events_after(number, choice, limit=_AT_ONCE))]

        return await self._asked(read)

    async def _hand_on(self) -> None:
        is_more = True
        while self._followers and is_more:
            news = await self.events_after(self._last)
            if news:
                self._last = news[-1].id
                for follower in self._followers:
                    follower.hand(news)
            is_more = len(news) == _AT_ONCE

    async def _asked(self, question: Callable[[], T]) -> T:
        try:
            with fail_after(self._patience):
                return await to_thread.run_sync(question, abandon_on_cancel=True)
        except TimeoutError as error:
            raise StoreUnavailable("the database has not answered for some time") from error


async def listen(
    url: URL, wake: Callable[[], None], *, first_pause: float = 0.5, longest_pause: float = 15.0
) -> None:
    """
    Wake somebody whenever another receiver has written events, until cancelled.

    Over at once for a database that does not tell. A connection that breaks is made again
    after a pause in seconds, which grows as long as that fails.
    """
    if url.get_backend_name() == "sqlite":
        return
    import psycopg  # noqa: PLC0415 - only PostgreSQL needs it

    _, arguments = url.get_dialect()().create_connect_args(url)
    pause = 0.0
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                **{**_ALIVE, **arguments}, autocommit=True
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                pause = 0.0
                wake()  # for what was written meanwhile
                async for _ in connection.notifies():
                    wake()
        except psycopg.Error as error:
            if not pause:
                _log.warning("News of other receivers come later: %s", error)
        pause = min(2 * pause or first_pause, longest_pause)
        await asyncio.sleep(pause)


_ALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""So that the end of a connection is noticed on which nobody says anything."""
