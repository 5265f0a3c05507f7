"""What the receiver does, whoever asks: the routes and the pages call this."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from attrs import frozen

from contract import ServerRecord, State, unstructure
from receiver.domain.errors import OutcomeUnknown
from receiver.domain.keys import Key
from receiver.service.availability import LONGEST, History
from receiver.service.group_commit import Writer
from receiver.service.ingest import Outcome, Read, Submission
from receiver.service.store_calls import NoAnswer, ask
from receiver.store.events import Choice, Part
from receiver.store.server_list import EVERYTHING, Filter, Order, Place
from receiver.store.sessions import Session
from receiver.store.silence import state_at
from receiver.store.sql_store import EVERY_FIELD, Store
from receiver.store.state_changes import Life

__all__ = ["MAX_EVENTS_BYTES", "Fleet", "Page", "Sighting"]

T = TypeVar("T")

MAX_EVENTS_BYTES = 1024 * 1024
"""About how long a part of the timeline may be: some events are as long as a message."""


@frozen(kw_only=True)
class Sighting:
    """A record, and what it says of its server at one moment."""

    record: ServerRecord
    state: State

    def to_json(self) -> dict[str, Any]:
        """The record's wire form, with `state` and `stale`."""
        return {**unstructure(self.record), "state": self.state.value, "stale": self.state.stale}


@frozen(kw_only=True)
class Page:
    """
    Some servers, in an order.

    Attributes:
        next_after: Where the next page begins; None on the last one.
    """

    servers: list[Sighting]
    next_after: Place | None


class Fleet:
    """
    The fleet, kept in a store.

    What writes is over after the commit.
    Every method raises StoreUnavailable when the store does not answer, and
    `submit` raises Overloaded when too much waits.

    Args:
        heard_since: Tells since when servers can be heard without a pause, if it is known.
        patience: For how many seconds a store that says nothing is waited for.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        *,
        clock: Callable[[], datetime],
        heard_since: Callable[[], datetime | None] = lambda: None,
        patience: float = 4.0,
    ) -> None:
        self._heard_since = heard_since
        self._patience = patience
        self._store = store
        self._clock = clock
        self._started_at = clock()
        self._writer = writer

    def now(self) -> datetime:
        return self._clock()

    def uptime_seconds(self) -> float:
        # The clock may have been set back.
        return max(0.0, (self._clock() - self._started_at).total_seconds())

    def submit(self, body: bytes, read: Read, key: Key | None = None) -> "asyncio.Future[Outcome]":
        """
        Take in what was posted, and tell what became of each message after their commit.

        Without a key every server may be written.

        The future raises what reading raises when none of the body can be used.
        """
        return self._writer.submit(Submission(body, read, self._clock(), key))

    async def get(self, server_id: str) -> Sighting | None:
        record = await self._asked(self._store.get, server_id)
        return None if record is None else self._seen(record)

    async def delete(self, server_id: str) -> bool:
        return await self._changed(self._store.delete, server_id, self._clock())

    async def owner(self, server_id: str) -> str | None:
        """The id of the key that a server belongs to; None when there is none."""
        return await self._asked(self._store.owner, server_id)

    async def hand_over(self, server_id: str, key_id: str | None) -> bool:
        """Let a server belong to a key, or to the one that writes it next."""
        return bool(await self._changed(self._store.hand_over, [server_id], key_id))

    async def keys(self) -> list[Key]:
        """All keys that were ever made, oldest first."""
        return await self._asked(self._store.all_keys)

    async def add_key(self, key: Key) -> None:
        await self._changed(self._store.add_key, key)

    async def revoke_key(self, key_id: str) -> bool:
        return await self._changed(self._store.revoke_key, key_id, self._clock())

    async def rotate_key(self, key: Key, digest: bytes) -> bool:
        """Let a key have another secret; False when it is revoked by now."""
        return await self._changed(self._store.rotate_key, key.id, digest, key.expires_at)

    async def begin_session(self, session: Session) -> None:
        await self._changed(self._store.begin_session, session, self._clock())

    async def session(self, digest: bytes) -> Session | None:
        """The session of whoever holds what has this digest; None when there is none any more."""
        session = await self._asked(self._store.session, digest)
        return None if session is None or session.expires_at <= self._clock() else session

    async def end_session(self, digest: bytes) -> None:
        await self._changed(self._store.end_session, digest)

    async def count(self, matching: Filter = EVERYTHING) -> int:
        return await self._asked(self._store.count, matching)

    async def page(
        self,
        matching: Filter,
        order: Order = Order.SERVER_ID,
        *,
        after: Place | None,
        limit: int,
        only: Sequence[str] = EVERY_FIELD,
    ) -> Page:
        """
        At most `limit` servers of those that match, in an order, beginning after a place.

        What is not among the fields that are asked for is left unknown.
        """
        read = partial(self._store.page, matching, order, after=after, limit=limit + 1)
        records = await self._asked(partial(read, only=only))
        listed = records[:limit]
        return Page(
            servers=[self._seen(record) for record in listed],
            next_after=order.place(listed[-1]) if len(records) > limit else None,
        )

    async def tally(self) -> Mapping[tuple[str, str], int]:
        """
        How many servers there are by state and stage, but those that are superseded.

        The state is the one last noticed; the stage is empty where it is unknown too.
        """
        return await self._asked(self._store.tally)

    async def events(self, choice: Choice, *, before: int | None, limit: int) -> Part:
        """At most `limit` of the events that are meant, newest first, older than a number."""
        read = partial(self._store.events, choice, before=before, limit=limit)
        return await self._asked(partial(read, max_bytes=MAX_EVENTS_BYTES))

    async def history(
        self, records: Iterable[ServerRecord], *, within: timedelta = LONGEST
    ) -> dict[str, History]:
        """
        In which states servers were for so much time before now, by their `server_id`.

        The history of those that they have superseded is a part of it.
        """
        by_id = {record.server_id: record for record in records}
        now = self._clock()
        since = now - within
        lives = await self._asked(self._store.lives, [*by_id], since) if by_id else {}
        return {
            key: History.of(lives.get(key) or [Life.of(record)], since=since, now=now)
            for key, record in by_id.items()
        }

    async def _changed(self, change: Callable[..., T], *args: object) -> T:
        try:
            return await self._asked(change, *args)
        except NoAnswer as error:
            raise OutcomeUnknown("the database does not end a change") from error

    async def _asked(self, question: Callable[..., T], *args: object) -> T:
        return await ask(partial(question, *args), patience=self._patience)

    def _seen(self, record: ServerRecord) -> Sighting:
        now = self._clock()
        heard_since = self._heard_since() or record.last_seen
        return Sighting(record=record, state=state_at(record, now, heard_since=heard_since))
