"""What the receiver does, whoever asks: the routes and the pages call this."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from anyio import fail_after, to_thread
from attrs import frozen

from contract import Event, ServerRecord, State, unstructure
from receiver.errors import OutcomeUnknown, StoreUnavailable
from receiver.history import History
from receiver.intake import Outcome, Read, Submission
from receiver.store import EVERYTHING, Filter, Order, Place, Store
from receiver.sweep import state_at
from receiver.timeline import Choice, Recorded
from receiver.writer import Writer

__all__ = ["Fleet", "Page", "Sighting"]

T = TypeVar("T")


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


class _NoAnswer(StoreUnavailable):
    """The store neither answers nor refuses; what it was asked for may still happen."""


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

    def submit(self, body: bytes, read: Read) -> "asyncio.Future[Outcome]":
        """
        Take in what was posted, and tell what became of each message after their commit.

        The future raises what reading raises when none of the body can be used.
        """
        return self._writer.submit(Submission(body, read, self._clock()))

    async def get(self, server_id: str) -> Sighting | None:
        record = await self._asked(self._store.get, server_id)
        return None if record is None else self._seen(record)

    async def delete(self, server_id: str) -> bool:
        try:
            return await self._asked(self._store.delete, server_id, self._clock())
        except _NoAnswer as error:
            raise OutcomeUnknown("the database does not end a deletion") from error

    async def count(self, matching: Filter = EVERYTHING) -> int:
        return await self._asked(self._store.count, matching)

    async def page(
        self,
        matching: Filter,
        order: Order = Order.SERVER_ID,
        *,
        after: Place | None,
        limit: int,
    ) -> Page:
        """At most `limit` servers of those that match, in an order, beginning after a place."""
        read = partial(self._store.page, matching, order, after=after, limit=limit + 1)
        records = await self._asked(read)
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

    async def events(self, choice: Choice, *, before: int | None, limit: int) -> list[Recorded]:
        """At most `limit` of the events that are meant, newest first, older than a number."""
        return await self._asked(partial(self._store.events, choice, before=before, limit=limit))

    async def history(self, records: Iterable[ServerRecord]) -> dict[str, History]:
        """In which states servers were, by their `server_id`."""
        by_id = {record.server_id: record for record in records}
        if not by_id:
            return {}
        told: dict[str, list[Event]] = {server_id: [] for server_id in by_id}
        for recorded in await self._asked(self._store.lives, [*by_id]):
            told[str(recorded.event.server_id)].append(recorded.event)
        now = self._clock()
        return {key: History.of(by_id[key], events, now) for key, events in told.items()}

    async def _asked(self, question: Callable[..., T], *args: object) -> T:
        """What the store answers. Raises _NoAnswer when it says nothing."""
        try:
            with fail_after(self._patience):
                return await to_thread.run_sync(question, *args, abandon_on_cancel=True)
        except TimeoutError as error:
            raise _NoAnswer("the database has not answered for some time") from error

    def _seen(self, record: ServerRecord) -> Sighting:
        now = self._clock()
        heard_since = self._heard_since() or record.last_seen
        return Sighting(record=record, state=state_at(record, now, heard_since=heard_since))
