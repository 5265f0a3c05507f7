"""The servers and their events, as both the API and the pages write and read them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
import orjson
from attrs import evolve, frozen

from contract import ServerRecord, State, unstructure
from contract.fields import format_moment
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.liveness import state_at
from receiver.domain.outcomes import BodyKind, Outcome
from receiver.domain.queries import (
    ALL_SERVERS,
    EventFilter,
    EventPage,
    Filter,
    Node,
    Order,
    PageRequest,
    Place,
)
from receiver.service.availability import LONGEST, History
from receiver.service.group_commit import GroupCommit
from receiver.service.ingest import Submission
from receiver.service.store_calls import StoreCalls
from receiver.service.watchdog import Watchdog
from receiver.store import SqlStore, StateLog

T = TypeVar("T")

__all__ = ["MAX_EVENTS_BYTES", "Fleet", "Page", "Sighting"]

MAX_EVENTS_BYTES = 1024 * 1024
"""About how long a page of events may be in JSON: one event may be as long as a message."""


_READ_ONLY = (
    "The database can be read, but messages cannot be written; the log of the receiver says why."
)


@frozen(kw_only=True)
class Sighting:
    """
    A record as it was read.

    Attributes:
        record: The record.
        state: The state of its server at the time of reading.
        nodes: The other nodes of the database that the server stands for.
    """

    record: ServerRecord
    state: State
    nodes: Sequence[Node] = ()

    @property
    def last_heard(self) -> datetime:
        """When the latest message of the server or of a node was received."""
        return max([self.record.last_seen, *(node.last_seen for node in self.nodes)])

    def to_json(self) -> dict[str, Any]:
        """The record's wire form, with `state`, `stale` and `nodes`."""
        return {**unstructure(self.record), "state": self.state.value, **self._more()}

    def encode(self) -> orjson.Fragment:
        """What `to_json` returns as JSON, in a tenth of the time."""
        same = self.record.state is self.state
        record = self.record if same else evolve(self.record, state=self.state)
        more = orjson.dumps(self._more())[1:] if self.nodes else _ALONE[self.state.stale]
        return orjson.Fragment(b"%b,%b" % (_encode(record)[:-1], more))

    def _more(self) -> dict[str, Any]:
        nodes = [
            {**node._asdict(), "last_seen": format_moment(node.last_seen)} for node in self.nodes
        ]
        return {"stale": self.state.stale, "nodes": nodes}


@frozen(kw_only=True)
class Page:
    """
    A page of a list of servers.

    Attributes:
        servers: The servers.
        next_after: The place after which the next page begins; None on the last page.
    """

    servers: list[Sighting]
    next_after: Place | None


class Fleet:
    """
    The servers of a store, as they are now.

    Every coroutine raises StoreUnavailable when the store does not answer.

    Args:
        store: Where the servers are.
        calls: How the methods of the store are called.
        group_commit: Writes the bodies that are submitted.
        clock: The time.
        watchdog: Knows since when receivers have been running without an interruption, and
            whether the database can be written.
    """

    def __init__(
        self,
        store: SqlStore,
        calls: StoreCalls,
        group_commit: GroupCommit,
        *,
        clock: Callable[[], datetime],
        watchdog: Watchdog,
    ) -> None:
        self._store = store
        self._calls = calls
        self._group_commit = group_commit
        self._clock = clock
        self._watchdog = watchdog
        self._started_at = clock()

    def now(self) -> datetime:
        return self._clock()

    def uptime_seconds(self) -> float:
        # The clock may have been set back since the start.
        return max(0.0, (self._clock() - self._started_at).total_seconds())

    def trouble(self) -> str | None:
        """Why nothing can be written now, or could not in the last seconds; None if it can."""
        return self._watchdog.trouble() or self._group_commit.trouble()

    async def count(self) -> int:
        """
        How many servers there are, without superseded ones.

        Raises Refusal when the database can be read but not written. Its text does not say
        why: anybody may ask for the health, and a database names machines and users.
        """
        count = await self._calls.read(self._store.servers.count, ALL_SERVERS)
        if self.trouble() is not None:
            raise Refusal(503, "store_unavailable", _READ_ONLY, headers={"Retry-After": "5"})
        return count

    def submit(
        self, body: bytes, kind: BodyKind, key: Key | None = None
    ) -> "asyncio.Future[Outcome]":
        """
        Queue a body to be merged, with the current time as the time of receipt.

        The future returns what became of each message, once all of them are committed. It
        raises MalformedJSON or InvalidMessage when no message of the body can be used, and
        StoreUnavailable when the database does not answer.

        Args:
            body: The body as it was received.
            kind: What the body holds.
            key: The key of the request. It may write only its own servers; None, where the
                receiver needs no keys, may write all.

        Raises Overloaded when too much waits, and StoreUnavailable when the database hangs.
        """
        return self._group_commit.submit(Submission(body, kind, self._clock(), key))

    async def get(self, server_id: str) -> Sighting | None:
        """The record and state of a server; None when there is no such server."""
        return await self._calls.read(self._get, server_id)

    def _get(self, server_id: str) -> Sighting | None:
        record = self._store.servers.get(server_id)
        return None if record is None else self._seen([record])[0]

    async def page(
        self,
        matching: Filter,
        order: Order = Order.SERVER_ID,
        *,
        after: Place | None,
        limit: int,
    ) -> Page:
        """At most `limit` servers that match, after a place."""
        return await self.rendered_page(_same, matching, order, after=after, limit=limit)

    async def rendered_page(
        self,
        render: Callable[[Page], T],
        matching: Filter,
        order: Order = Order.SERVER_ID,
        *,
        after: Place | None,
        limit: int,
    ) -> T:
        """What `render` makes of a page, in the thread that reads it."""
        asked = PageRequest(limit=limit, now=self._clock(), after=after)
        return await self._calls.read(lambda: render(self._page(matching, order, asked)))

    def _page(self, matching: Filter, order: Order, asked: PageRequest) -> Page:
        page = self._store.servers.page(matching, order, asked)
        return Page(servers=self._seen(page.records), next_after=page.next_after)

    async def events(self, matching: EventFilter, *, before: int | None, limit: int) -> EventPage:
        """At most `limit` events that match, newest first, with a number below `before`."""
        return await self._calls.read(
            self._store.events.page,
            matching,
            before=before,
            limit=limit,
            max_bytes=MAX_EVENTS_BYTES,
        )

    async def history(
        self, records: Iterable[ServerRecord], *, within: timedelta = LONGEST
    ) -> dict[str, History]:
        """
        The states of servers in the time before now, by `server_id`.

        The history of a server contains that of the servers that it superseded.
        """
        by_id = {record.server_id: record for record in records}
        now = self._clock()
        since = now - within
        read = self._store.servers.state_logs
        logs = await self._calls.read(read, [*by_id], since) if by_id else {}
        return {
            key: History.of(logs.get(key) or [StateLog.of(record)], since=since, now=now)
            for key, record in by_id.items()
        }

    def _seen(self, records: Sequence[ServerRecord]) -> list[Sighting]:
        """Records with their states now, and with the other nodes of their databases."""
        leaders = [record.server_id for record in records if record.node_count]
        nodes = self._store.servers.nodes(leaders) if leaders else {}
        now = self._clock()
        heard_since = self._watchdog.heard_since
        seen = []
        for record in records:
            others = nodes.get(record.server_id, ())
            if others or record.node_of is not None:  # the sweep knows when any node was heard
                state = record.state
            else:
                since = heard_since or record.last_seen
                state = state_at(record, now, heard_since=since)
            seen.append(Sighting(record=record, state=state, nodes=others))
        return seen


def _same(page: Page) -> Page:
    return page


_encode = msgspec.json.Encoder().encode
_ALONE = {stale: orjson.dumps({"stale": stale, "nodes": []})[1:] for stale in (False, True)}
"""The end of the JSON of a server without other nodes."""
