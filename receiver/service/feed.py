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
from functools import partial

import orjson
from anyio import move_on_after
from attrs import frozen
from sqlalchemy import URL

from receiver.domain.errors import StoreUnavailable
from receiver.service.store_calls import ask
from receiver.store.dialects import CHANNEL
from receiver.store.events import ALL, Choice, Recorded
from receiver.store.sql_store import Store

__all__ = ["Feed", "Follower", "News", "listen"]

_log = logging.getLogger(__name__)

_AT_ONCE = 1000
"""How many events are read together."""

_BYTES_AT_ONCE = 256 * 1024
"""About how many bytes of them."""


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
        most_bytes: The same, of their messages together.
    """

    def __init__(
        self,
        wants: Callable[[News], bool],
        *,
        most_waiting: int = 1000,
        most_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self._wants = wants
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._waiting: list[News] = []
        self._bytes = 0
        self._ended = False
        self._changed = asyncio.Event()

    def hand(self, news: Sequence[News]) -> None:
        """Give it events, or end it when it does not keep up."""
        if len(self._waiting) >= self._most_waiting or self._bytes >= self._most_bytes:
            self.end()
        elif not self._ended:
            wanted = [*filter(self._wants, news)]
            self._waiting += wanted
            self._bytes += sum(len(each.message) for each in wanted)
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
        news, self._waiting, self._bytes = self._waiting, [], 0
        return news


class Feed:
    """
    Reads new events for all who follow; nothing while nobody does.

    Args:
        store: Where events are read.
        seconds: How often to look for events of which nobody tells: another process may
            have written to the same file.
        patience: For how many seconds a store that says nothing is waited for.
        most_followers: How many there is room for.
    """

    def __init__(
        self,
        store: Store,
        *,
        seconds: float = 2.0,
        patience: float = 4.0,
        most_followers: int = 1000,
    ) -> None:
        self._most_followers = most_followers
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

    @property
    def is_full(self) -> bool:
        """Whether nobody more may follow."""
        return len(self._followers) >= self._most_followers

    async def last_event(self) -> int:
        """The number of the newest event. Raises StoreUnavailable."""
        return await ask(self._store.last_event, patience=self._patience)

    async def chain(self, server_id: str) -> list[str]:
        """A server, and those that it has superseded, and so on. Raises StoreUnavailable."""
        return await ask(partial(self._store.chain, server_id), patience=self._patience)

    async def events_after(self, number: int, choice: Choice = ALL) -> list[News]:
        """
        The oldest of the newer events, if there are any, not too many to be kept.

        Raises StoreUnavailable.
        """

        def read() -> list[News]:
            found = self._store.events_after(
                number, choice, limit=_AT_ONCE, max_bytes=_BYTES_AT_ONCE
            )
            return [*map(News.of, found)]

        return await ask(read, patience=self._patience)

    async def _hand_on(self) -> None:
        while self._followers and (news := await self.events_after(self._last)):
            self._last = news[-1].id
            for follower in self._followers:
                follower.hand(news)


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
