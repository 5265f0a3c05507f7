"""
The endpoints that stream new events to clients, as server-sent events: the events themselves, or
for open pages only that there are new ones.

A stream may end at any time: when the receiver stops, when the client is too slow, when its key is
revoked, or when the database does not answer. A client that reconnects with `Last-Event-ID` misses
no event.
"""

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import anyio
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import AppStatus, EventSourceResponse, SendTimeoutError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from contract import Problem
from receiver.domain.errors import Overloaded, Refusal, StoreUnavailable
from receiver.domain.queries import EventFilter
from receiver.service.feed import Bell, Feed, Follower, News
from receiver.web import openapi
from receiver.web.context import services, visitor
from receiver.web.openapi import operation
from receiver.web.problems import RETRY_AFTER_SECONDS
from receiver.web.requests import event_filter

__all__ = [
    "EVENT_STREAM",
    "NEWS_STREAM",
    "event_stream",
    "is_locked_out",
    "is_stopping",
    "news_stream",
    "rings",
]

_LAST_EVENT_ID = "Last-Event-ID"
_RETRY_MILLISECONDS = 2000
_GRACE_SECONDS = 0.5
_PIECE_BYTES = 64 * 1024
_SESSION_SECONDS = 60.0
_FULL = "Too many streams of events are open. Come back later, or read /events."

_log = logging.getLogger(__name__)

EVENT_STREAM = operation(
    "streamEvents",
    "What happens, as server-sent events",
    description="Each has the number of the event as its id, the kind as its event, and "
    "an Event in JSON as its data. At most 1,000 streams may be open at once.",
    parameters=[
        openapi.KIND,
        openapi.OF_SERVER,
        {
            "name": _LAST_EVENT_ID,
            "in": "header",
            "description": "The id of the last event that is known; it goes on after that. When "
            "empty, it goes on from now.",
            "schema": {**openapi.TEXT, "pattern": "^[0-9]{0,18}$"},
        },
    ],
    answers={200: openapi.text_answer("Events until the connection ends", "text/event-stream")},
    problems=(400, 401, 403, 503),
)


NEWS_STREAM = operation(
    "streamNews",
    "That something has happened, as server-sent events, for who reads again then",
    description="Pages listen to it. An event `news` comes after one or many events of the "
    "timeline, or when the number of open alarms has changed, which is its data; at most one a "
    "second, however much happens. An event `beat` comes every ten seconds, so that a client can "
    "tell a connection that has died from one on which nothing is said.",
    answers={200: openapi.text_answer("Events until the connection ends", "text/event-stream")},
    problems=(401, 403, 503),
)


async def event_stream(
    request: Request,
    *,
    ping_seconds: float = 15.0,
    send_seconds: float = 10.0,
    look_seconds: float = 3.0,
    session_seconds: float = _SESSION_SECONDS,
) -> EventSourceResponse:
    """
    Stream the events after `Last-Event-ID`, or all events from now on without that header.

    The stream goes on until the client disconnects, or ends earlier as the module describes. Raises
    Refusal when too many streams are open, and for a query or header that is wrong. Raises
    StoreUnavailable.

    Args:
        request: The request, whose query filters the events.
        ping_seconds: How many seconds pass between two comments that keep the connection open.
        send_seconds: How many seconds the client may leave data unread until it is disconnected.
        look_seconds: How many seconds pass between two checks that the client's key is valid.
        session_seconds: How many seconds pass between two queries whether the client's session
            still exists in the database.
    """
    matching = event_filter(request)
    known = _last_event_id(request)
    feed = services(request).feed
    newest = await feed.last_event()
    # A client may send a higher number, of a database that was replaced or has lost events.
    after = newest if known is None else min(known, newest)
    chain = [] if matching.server_id is None else await feed.chain(matching.server_id)
    follower = Follower(Wanted(matching, chain))
    return _followed(
        request,
        _messages(feed, follower, matching, after=after),
        follower,
        newest,
        ping=ping_seconds,
        ping_message_factory=lambda: ServerSentEvent(comment="ping", sep="\n"),
        send_timeout=send_seconds,
        until=partial(_until_locked_out, request, look_seconds, session_seconds),
    )


async def news_stream(
    request: Request,
    *,
    beat_seconds: float = 10.0,
    send_seconds: float = 10.0,
    apart_seconds: float = 1.0,
    look_seconds: float = 3.0,
) -> EventSourceResponse:
    """
    Stream that something has happened, but not what, and how many alarms are open; from now on.

    Raises Refusal when too many streams are open. Raises StoreUnavailable.

    Args:
        request: The request.
        beat_seconds: How many seconds pass between two events `beat`, which show that the stream is
            alive.
        send_seconds: How many seconds the client may leave data unread until it is disconnected.
        apart_seconds: How many seconds pass at least between two events `news`.
        look_seconds: How many seconds pass between two checks of the client's key, and of how many
            alarms are open.
    """
    found = services(request)
    newest = await found.feed.last_event()
    bell = Bell()
    return _followed(
        request,
        rings(bell, lambda: found.alerts.open_alarms, apart_seconds, look_seconds),
        bell,
        newest,
        ping=beat_seconds,
        ping_message_factory=lambda: ServerSentEvent(event="beat", data="1", sep="\n"),
        send_timeout=send_seconds,
        until=partial(_until_locked_out, request, look_seconds, _SESSION_SECONDS),
    )


def _followed(
    request: Request,
    content: AsyncIterator[bytes],
    follower: Follower | Bell,
    newest: int,
    *,
    until: Callable[[anyio.Event], Awaitable[None]],
    **habits: Any,
) -> "EventStream":
    """
    Make the response of a stream. Raises Refusal (503) if too many streams are open.

    Args:
        request: The request.
        content: The bytes of the stream, in pieces.
        follower: The object to which the feed hands new events, and from which `content` is made.
        newest: The number of the newest event.
        until: Waits until the stream has to end; it is given an event that is set when the receiver
            stops.
        habits: More arguments of EventStream.
    """
    feed = services(request).feed
    if feed.is_full:
        raise Refusal(
            503, Overloaded.code, _FULL, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
        )
    stopping = anyio.Event()

    async def end_in_time() -> None:
        await until(stopping)
        follower.end()

    return EventStream(
        content,
        feed.followed(follower, after=newest),
        sep="\n",
        data_sender_callable=end_in_time,
        shutdown_event=stopping,
        shutdown_grace_period=_GRACE_SECONDS,
        **habits,
    )


async def _until_locked_out(
    request: Request, look_seconds: float, session_seconds: float, stopping: anyio.Event
) -> None:
    """Wait until the client's key or session is no longer valid, or the receiver stops."""
    asked = anyio.current_time()
    while not stopping.is_set() and not is_locked_out(request):
        with anyio.move_on_after(look_seconds):
            await stopping.wait()
        if anyio.current_time() - asked >= session_seconds:
            asked = anyio.current_time()
            if await _has_signed_out(request):
                return


def is_stopping() -> bool:
    """Whether uvicorn was asked to stop this process, which may be one of its worker processes."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(AppStatus.should_exit or getattr(server, "should_exit", False))


def is_locked_out(request: Request) -> bool:
    """
    Whether the client's key or session is no longer valid; this does not query the database.

    A client that was let in without a key is locked out once the first key is made.
    """
    found, who = services(request), visitor(request)
    is_over = who.session is not None and found.sessions.has_expired(who.session)
    return is_over or not found.gate.would_admit(who.key)


async def _has_signed_out(request: Request) -> bool:
    session = visitor(request).session
    try:
        return session is not None and await services(request).sessions.is_over(session)
    except StoreUnavailable:
        return False  # the next check asks again


async def _messages(
    feed: Feed, follower: Follower, matching: EventFilter, *, after: int
) -> AsyncIterator[bytes]:
    """The events that the client missed, then new ones as they come."""
    # A client that is disconnected before the first event can continue from this number.
    yield ServerSentEvent(id=str(after), retry=_RETRY_MILLISECONDS, sep="\n").encode()
    try:
        while missed := await feed.events_after(after, matching):
            after = missed[-1].id
            pieces = [*_pieces(missed)]
            del missed  # much larger than the pieces, which a slow client may take long to read
            for piece in pieces:
                yield piece
        async for news in follower:
            for piece in _pieces(each for each in news if each.id > after):
                yield piece
    except StoreUnavailable as error:
        _log.warning("A stream of events ends: %s", error)


async def rings(
    bell: Bell, open_alarms: Callable[[], int], apart_seconds: float, look_seconds: float
) -> AsyncIterator[bytes]:
    """
    Make an event `news` whenever something has happened; its data is the number of open alarms.

    Yields the bytes of server-sent events, and ends when `bell.end` is called.

    Args:
        bell: Tells that there are new events in the fleet.
        open_alarms: Returns how many alarms are open. When this number changes, something has
            happened, too.
        apart_seconds: How many seconds pass at least between two events `news`.
        look_seconds: After how many seconds without a new event `open_alarms` is called again.
    """
    told = open_alarms()
    yield ServerSentEvent(retry=_RETRY_MILLISECONDS, sep="\n").encode()
    while True:
        has_news = await bell.wait(look_seconds)
        if bell.has_ended:
            return
        alarms = open_alarms()
        if has_news or alarms != told:
            told = alarms
            yield ServerSentEvent(event="news", data=str(alarms), sep="\n").encode()
            await anyio.sleep(apart_seconds)


def _pieces(events: Iterable[News]) -> Iterator[bytes]:
    """Join the bytes of events to larger pieces: sending a piece costs as much as one event."""
    piece = b""
    for each in events:
        piece += each.message
        if len(piece) > _PIECE_BYTES:
            yield piece
            piece = b""
    if piece:
        yield piece


class EventStream(EventSourceResponse):
    """
    A response with server-sent events. If it breaks off, the connection is closed.

    Args:
        content: The bytes of the stream, in pieces.
        followed: A context that is entered while the pieces are sent: `Feed.followed` makes it.
            Within it, the stream gets new events.
    """

    def __init__(
        self, content: AsyncIterator[bytes], followed: AbstractContextManager[None], **habits: Any
    ) -> None:
        super().__init__(content, **habits)
        self._followed = followed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_whole = False

        async def note(message: Message) -> None:
            nonlocal is_whole
            await send(message)
            is_whole = message["type"] == "http.response.body" and not message["more_body"]

        with suppress(SendTimeoutError), self._followed:
            await super().__call__(scope, receive, note)
        if not is_whole:
            await _hang_up(receive)


async def _hang_up(receive: Receive) -> None:
    """
    Abort the connection through uvicorn's transport, because ASGI has no message for that.

    uvicorn itself closes the connection of an incomplete answer only when the client has read
    everything, and the shutdown of the receiver would wait for that.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
        await receive()  # returns when uvicorn has noticed the end of the connection


class Wanted:
    """
    A function that tells whether an event matches the filters of a stream.

    Args:
        matching: The filters.
        chain: The ids of the server whose events are wanted, and of the servers that it superseded
            (replaced). Servers that it supersedes while the stream is open are added.
    """

    def __init__(self, matching: EventFilter, chain: Iterable[str]) -> None:
        self._matching = matching
        self._chain = {*chain}

    def __call__(self, news: News) -> bool:
        event, matching = news.event, self._matching
        if event.server_id is not None and event.details.get("superseded_by") in self._chain:
            self._chain.add(event.server_id)
        return (not matching.kinds or event.kind in matching.kinds) and (
            matching.server_id is None or event.server_id in self._chain
        )


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get(_LAST_EVENT_ID)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        problem = Problem(_LAST_EVENT_ID, "expected the id of an event, a whole number")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return int(text)
