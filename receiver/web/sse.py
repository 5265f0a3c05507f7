"""
The timeline, live, as server-sent events.

A stream may end at any time: when the receiver stops, when its reader is too slow or may read
no more, when the database is away. Whoever comes back with `Last-Event-ID` misses nothing.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import anyio
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from contract import Problem
from receiver.domain.errors import Overloaded, Refusal, StoreUnavailable
from receiver.service.feed import Feed, Follower, News
from receiver.store.events import Choice
from receiver.store.sessions import Session
from receiver.web.context import door_of, fleet_of, signing_of
from receiver.web.problems import RETRY_AFTER_SECONDS
from receiver.web.requests import event_choice

__all__ = ["event_stream"]

_LAST_EVENT_ID = "Last-Event-ID"
_RETRY_MILLISECONDS = 2000
_GRACE_SECONDS = 0.5
_PIECE_BYTES = 64 * 1024
_FULL = "Too many streams of events are open. Come back later, or read /events."

_log = logging.getLogger(__name__)


async def event_stream(
    request: Request,
    *,
    ping_seconds: float = 15.0,
    send_seconds: float = 10.0,
    look_seconds: float = 3.0,
    session_seconds: float = 60.0,
) -> EventSourceResponse:
    """
    What happens from now on, or since the last event that the reader knows.

    Args:
        ping_seconds: How often a comment says that the connection is alive.
        send_seconds: How long a reader may leave what is sent to it, until it is dropped.
        look_seconds: How often it is looked whether the reader may still read.
        session_seconds: How often the database is asked whether they are still signed in.
    """
    choice = event_choice(request)
    known = _last_event_id(request)
    feed: Feed = request.app.state.feed
    newest = await feed.last_event()
    # Whoever knows of more has followed another database, or what this one has lost.
    after = newest if known is None else min(known, newest)
    chain = [] if choice.server_id is None else await feed.chain(choice.server_id)
    if feed.is_full:
        raise Refusal(
            503, Overloaded.code, _FULL, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
        )
    follower = Follower(Wanted(choice, chain))
    stopping = anyio.Event()

    async def end_in_time() -> None:
        asked = anyio.current_time()
        while not stopping.is_set() and not _may_read_no_more(request):
            with anyio.move_on_after(look_seconds):
                await stopping.wait()
            if anyio.current_time() - asked >= session_seconds:
                asked = anyio.current_time()
                if await _has_signed_out(request):
                    break
        follower.end()

    return EventStream(
        _messages(feed, follower, choice, after=after),
        feed.followed(follower, after=newest),
        ping=ping_seconds,
        ping_message_factory=lambda: ServerSentEvent(comment="ping", sep="\n"),
        sep="\n",
        send_timeout=send_seconds,
        data_sender_callable=end_in_time,
        shutdown_event=stopping,
        shutdown_grace_period=_GRACE_SECONDS,
    )


def _may_read_no_more(request: Request) -> bool:
    """Whether the key is not good any more, or the session is over, as far as is known here."""
    door = door_of(request)
    session: Session | None = request.scope.get("session")
    is_late = session is not None and session.expires_at <= fleet_of(request).now()
    return is_late or not door.would_admit(request.scope["key"])


async def _has_signed_out(request: Request) -> bool:
    session: Session | None = request.scope.get("session")
    signing = signing_of(request)
    try:
        return session is not None and await signing.is_over(session)
    except StoreUnavailable:
        return False  # it is asked once more


async def _messages(
    feed: Feed, follower: Follower, choice: Choice, *, after: int
) -> AsyncIterator[bytes]:
    """First what has happened since, then what happens."""
    # The number tells where to go on also to a reader who is cut off before the first event.
    yield ServerSentEvent(id=str(after), retry=_RETRY_MILLISECONDS, sep="\n").encode()
    try:
        while missed := await feed.events_after(after, choice):
            after = missed[-1].id
            pieces = [*_pieces(missed)]
            del missed  # much larger, and nobody knows how long the reader takes
            for piece in pieces:
                yield piece
        async for news in follower:
            for piece in _pieces(each for each in news if each.id > after):
                yield piece
    except StoreUnavailable as error:
        _log.warning("A stream of events ends: %s", error)


def _pieces(events: Iterable[News]) -> Iterator[bytes]:
    """Many in one piece, which costs what one does, but not all: some are 64 KiB long."""
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
    An answer that hangs up when it is over before its end.

    Args:
        content: What is sent.
        followed: A context to send it in.
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
    End a connection at once.

    ASGI has no word for it. An answer that breaks off makes uvicorn close the connection, but
    closing waits until all is read, and so would the end of the receiver.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
        await receive()  # that it has ended, which uvicorn knows by then


class Wanted:
    """
    Whether an event is of those that are meant.

    Args:
        choice: Which are.
        chain: The server of the choice, and those that it has superseded. Others join them.
    """

    def __init__(self, choice: Choice, chain: Iterable[str]) -> None:
        self._choice = choice
        self._chain = {*chain}

    def __call__(self, news: News) -> bool:
        event, choice = news.event, self._choice
        if event.server_id is not None and event.details.get("superseded_by") in self._chain:
            self._chain.add(event.server_id)
        return (not choice.kinds or event.kind in choice.kinds) and (
            choice.server_id is None or event.server_id in self._chain
        )


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get(_LAST_EVENT_ID)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        problem = Problem(_LAST_EVENT_ID, "expected the id of an event, a whole number")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return int(text)
