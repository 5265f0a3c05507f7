"""
The feed: hands new events to the open event streams (GET /events/stream) after their commit.

One task reads new events from the database, whichever receiver wrote them, and puts them into the
queues of all streams; a `Follower` is the queue of one stream. The task never waits for a stream.
When a client does not read fast enough, its stream ends. The client may then reconnect, and gets
the missing events from the database.

A `Bell` follows the feed for a stream that tells only that there are new events, and not which.
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

__all__ = ["Bell", "Feed", "Follower", "News", "NewsSignal"]

_log = logging.getLogger(__name__)

_PAGE_SIZE = 1000
"""How many events are read at a time."""

_PAGE_BYTES = 256 * 1024
"""About how many bytes of events are read at a time."""


class NewsSignal:
    """
    Wakes a feed up when events were committed.

    Must be created in the thread of the event loop, while the loop runs.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def set(self) -> None:
        """Wake the feed up, because there may be new events. Any thread may call this method."""
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._news.set)

    async def wait(self, seconds: float) -> None:
        """Wait until `set` is called, or until this many seconds have passed."""
        with move_on_after(seconds):
            await self._news.wait()
        self._news.clear()


@frozen
class News(RecordedEvent):
    """
    A committed event, encoded for the clients of event streams.

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
    The queue of one event stream: an asynchronous iterator over lists of new events.

    Args:
        wants: Whether an event belongs to the stream.
        most_waiting: When at least this many events are queued, further events end the stream.
        most_bytes: When the queued events have at least this many bytes, further events end the
            stream.
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
        """
        Queue those events that belong to the stream, without waiting.

        If too many events are queued already, `end` the stream instead.
        """
        if len(self._waiting) >= self._most_waiting or self._bytes >= self._most_bytes:
            self.end()
        elif not self._ended:
            wanted = [*filter(self._wants, news)]
            self._waiting += wanted
            self._bytes += sum(len(each.message) for each in wanted)
            self._changed.set()

    def end(self) -> None:
        """Discard the events that are queued, and end the iteration over this queue."""
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


class Bell:
    """
    Notes that there are new events, but not which.

    It takes the place of a `Follower` for a stream that tells its client only that something new
    has happened.
    """

    def __init__(self) -> None:
        self._ended = False
        self._changed = asyncio.Event()

    def hand(self, _: Sequence[News]) -> None:
        """Note that there are new events."""
        self._changed.set()

    def end(self) -> None:
        """Make `has_ended` true, and let the current or the next call of `wait` return at once."""
        self._ended = True
        self._changed.set()

    @property
    def has_ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    async def wait(self, seconds: float) -> bool:
        """
        Wait until there are events since the last call, for at most `seconds`.

        Returns whether there are any, or `end` was called.
        """
        with move_on_after(seconds):
            await self._changed.wait()
        has_news = self._changed.is_set()
        self._changed.clear()
        return has_news


class Feed:
    """
    Reads new events once for all open event streams; reads nothing while no stream is open.

    Args:
        store: Where the events are stored.
        calls: Calls the store's blocking methods in threads.
        signal: Wakes the feed up when there may be new events.
        seconds: How many seconds to wait for a signal before reading without one, because another
            process may have written to the same SQLite file.
        most_followers: How many streams may be open at the same time.
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
        self._followers: list[Follower | Bell] = []
        self._last = 0
        self._generation = store.generation

    async def run(self) -> None:
        """Read new events and put them into the queues of all streams, until cancelled."""
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
    def followed(self, follower: Follower | Bell, *, after: int) -> Iterator[None]:
        """
        A context within which a stream's queue gets new events.

        The queue gets all events with a number above `after`, and perhaps some with a lower one.

        Args:
            follower: The queue of the stream, or the `Bell` that it has in place of a queue.
            after: The number of the newest event; call `last_event` for it right before.
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
        """Whether so many streams are open that no further stream may be opened."""
        return len(self._followers) >= self._most_followers

    async def last_event(self) -> int:
        """The number of the newest event; 0 if there is none. Raises StoreUnavailable."""
        return await self._calls.read(self._events.last)

    async def chain(self, server_id: str) -> list[str]:
        """
        The ids of a server, of the servers that it superseded (replaced), of those that these
        superseded, and so on, up to 1,000. Raises StoreUnavailable.
        """
        return await self._calls.read(self._events.chain, server_id)

    async def events_after(self, number: int, matching: EventFilter = ALL_EVENTS) -> list[News]:
        """
        The next events after a number that match a filter, in ascending order of their numbers.

        Returns at most 1,000 events and about 256 KiB of them; an empty list if no event follows.
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
        End all streams if the database was replaced by one that has fewer events.

        A client that reconnects gets the events after the newest event of that database.
        """
        newest = await self.last_event()
        if newest < self._last:
            for follower in self._followers:
                follower.end()
