"""
The feed: hands new events to the open event streams, soon after they are committed.

One task reads new events from the store, whichever receiver wrote them, and hands them to the
followers: a `Follower` is the queue of one event stream. The task never waits for a follower.
When a follower does not keep up, its stream ends, and the client may come back and read the rest
from the store.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import orjson
from anyio import move_on_after
from attrs import frozen

from receiver.domain.errors import StoreUnavailable
from receiver.domain.queries import ALL_EVENTS, EventFilter, RecordedEvent
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore

__all__ = ["Feed", "Follower", "News", "NewsSignal"]

_log = logging.getLogger(__name__)

_PAGE_SIZE = 1000
"""How many events are read at a time."""

_PAGE_BYTES = 256 * 1024
"""About how many bytes of them."""


class NewsSignal:
    """Tells a feed that events were committed. Must be created in the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def set(self) -> None:
        """Say that there may be new events; from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._news.set)

    async def wait(self, seconds: float) -> None:
        """Wait until there may be new events, for so many seconds at most."""
        with move_on_after(seconds):
            await self._news.wait()
        self._news.clear()


@frozen
class News(RecordedEvent):
    """
    An event that was just committed, ready to be sent to the clients that follow the stream.

    Attributes:
        message: The event as a server-sent event (text/event-stream), the same for all clients.
    """

    message: bytes

    @classmethod
    def of(cls, recorded: RecordedEvent) -> "News":
        number, kind = recorded.id, recorded.event.kind.value.encode()
        content = orjson.dumps(recorded.to_json())
        message = b"id: %d\nevent: %b\ndata: %b\n\n" % (number, kind, content)
        return cls(number, recorded.event, message)


class Follower:
    """
    The new events for one event stream: an asynchronous iterator over lists of them.

    Args:
        wants: Whether an event belongs to the stream.
        most_waiting: When so many events are queued, the next events end the iteration.
        most_bytes: The same for the bytes of the queued events.
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
        """Queue events for this follower; end it when too many are queued already."""
        if len(self._waiting) >= self._most_waiting or self._bytes >= self._most_bytes:
            self.end()
        elif not self._ended:
            wanted = [*filter(self._wants, news)]
            self._waiting += wanted
            self._bytes += sum(len(each.message) for each in wanted)
            self._changed.set()

    def end(self) -> None:
        """Discard the events that are queued, and end the iteration."""
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
    Reads new events for all followers, the open event streams; reads nothing without any.

    Args:
        store: The events.
        calls: How the methods of the store are called.
        signal: Says that there may be new events.
        seconds: How often to read without a signal: another process may have written to the same
            SQLite file.
        most_followers: How many followers there may be.
    """

    def __init__(
        self,
        store: SqlStore,
        calls: StoreCalls,
        signal: NewsSignal,
        *,
        seconds: float = 2.0,
        most_followers: int = 1000,
    ) -> None:
        self._store = store
        self._events = store.events
        self._calls = calls
        self._signal = signal
        self._seconds = seconds
        self._most_followers = most_followers
        self._followers: list[Follower] = []
        self._last = 0
        self._generation = store.generation

    async def run(self) -> None:
        """Read new events and hand them to all followers, until cancelled."""
        is_away = False
        while True:
            await self._signal.wait(self._seconds)
            try:
                await self._hand_on()
                is_away = False
            except Exception as error:  # noqa: BLE001 - the next attempt may succeed
                if not is_away:
                    known = isinstance(error, StoreUnavailable)
                    _log.warning("New events have to wait: %s", error, exc_info=not known)
                is_away = True

    @contextmanager
    def followed(self, follower: Follower, *, after: int) -> Iterator[None]:
        """
        Hand new events to a follower within this context; events up to `after` may come too.

        Args:
            after: The number of the newest event, as it was read just before.
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
        """Whether there may be no more followers."""
        return len(self._followers) >= self._most_followers

    async def last_event(self) -> int:
        """The number of the newest event. Raises StoreUnavailable."""
        return await self._calls.read(self._events.last)

    async def chain(self, server_id: str) -> list[str]:
        """
        The ids of a server and of those that it superseded, directly or not.

        Raises StoreUnavailable.
        """
        return await self._calls.read(self._events.chain, server_id)

    async def events_after(self, number: int, matching: EventFilter = ALL_EVENTS) -> list[News]:
        """
        The events with larger numbers than `number`, in their order, at most a page of them.

        Raises StoreUnavailable.
        """

        def read() -> list[News]:
            found = self._events.after(number, matching, limit=_PAGE_SIZE, max_bytes=_PAGE_BYTES)
            return [*map(News.of, found)]

        return await self._calls.read(read)

    async def _hand_on(self) -> None:
        if self._generation != self._store.generation:
            self._generation = self._store.generation
            await self._end_those_ahead()
        while self._followers and (news := await self.events_after(self._last)):
            self._last = news[-1].id
            for follower in self._followers:
                follower.hand(news)

    async def _end_those_ahead(self) -> None:
        """
        End all streams if the database is another one, with fewer events than they have had.

        A client that comes back goes on from the newest event.
        """
        newest = await self.last_event()
        if newest < self._last:
            for follower in self._followers:
                follower.end()
