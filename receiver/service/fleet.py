"""Writes and reads the servers and their events, for the API and for the pages."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
import orjson
from attrs import evolve, frozen

from contract import ServerRecord, State
from contract.fields import format_moment
from receiver.domain.databases.liveness import silent_before, state_at
from receiver.domain.errors import Refusal
from receiver.domain.history import Figures, Period, StateLog, figures
from receiver.domain.keys import Key
from receiver.domain.lists.breakdown import Breakdown
from receiver.domain.outcomes import BodyKind, Outcome
from receiver.domain.queries import (
    EventFilter,
    EventPage,
    Filter,
    Node,
    Order,
    PageRequest,
    Place,
    Reachable,
    SignsOfLife,
    ToolsOfServer,
)
from receiver.service.availability import LONGEST, History
from receiver.service.group_commit import GroupCommit
from receiver.service.ingest import Body, Submission
from receiver.service.store_calls import StoreCalls
from receiver.service.watchdog import Watchdog
from receiver.store import SqlStore

__all__ = ["MAX_EVENTS_BYTES", "Fleet", "Overview", "Page", "Sighting"]

T = TypeVar("T")

MAX_EVENTS_BYTES = 1024 * 1024
"""
About how many bytes of JSON a page of events may have.

A limit of the number of events is not enough, because an event may be as long as a message.
"""


_READ_ONLY = (
    "The database can be read, but messages cannot be written; the log of the receiver says why."
)


@frozen(kw_only=True)
class Sighting:
    """
    The record of a server, and the state that follows from it at the time of reading.

    Attributes:
        record: The record as stored. Its own `state` may be some seconds old, because it was
            written when the server was last checked.
        state: The state at the time of reading.
        nodes: The other Odoo processes of the same database, if lists show this server in place of
            all of them; otherwise empty.
        is_lapsed: Whether the server belongs to a key that was revoked or has expired. It cannot
            send any more, so it is left out when servers that are alive are counted.
    """

    record: ServerRecord
    state: State
    nodes: Sequence[Node] = ()
    is_lapsed: bool = False

    @property
    def last_heard(self) -> datetime:
        """When the latest message of the server, or of one of `nodes`, was received."""
        return max([self.record.last_seen, *(node.last_seen for node in self.nodes)])

    def encode(self, **further: Any) -> bytes:
        """
        Encode the server as a JSON object, as the API answers it.

        It has the fields of the record, with `state` at the time of reading; then `stale` (whether
        the server is late or down), `lapsed` (`is_lapsed`) and `nodes`; and last the fields
        `further`, which a caller adds.
        """
        same = self.record.state is self.state
        record = self.record if same else evolve(self.record, state=self.state)
        is_plain = not (self.nodes or further)
        plain = _ALONE[self.state.stale, self.is_lapsed]
        more = plain if is_plain else _dump({**self._more(), **further})[1:]
        return b"%b,%b" % (_encode(record)[:-1], more)

    def _more(self) -> dict[str, Any]:
        nodes = [
            {**node._asdict(), "last_seen": format_moment(node.last_seen)} for node in self.nodes
        ]
        return {"stale": self.state.stale, "lapsed": self.is_lapsed, "nodes": nodes}


@frozen(kw_only=True)
class Page:
    """
    A page of a list of servers.

    Attributes:
        servers: The servers, in the order of the list.
        next_after: The position in the list after which the next page begins; None on the last
            page.
    """

    servers: list[Sighting]
    next_after: Place | None


@frozen(kw_only=True)
class Overview:
    """
    A page of a list of servers, its place in the list, and how many servers there are.

    Attributes:
        page: The page.
        previous: Where the page before this one ends; None if this is the first page.
        before: How many servers of the list come before the page; 0 for a page without servers.
        breakdown: Counts the servers of the list, and those that it would have with another value
            in its filter.
    """

    page: Page
    previous: Place | None
    before: int
    breakdown: Breakdown


class Fleet:
    """
    Writes messages to the store, and reads servers with their states at the current time.

    Every coroutine raises StoreUnavailable when the database does not answer.

    Args:
        store: Where servers and events are stored.
        calls: Calls the store's blocking methods in threads.
        group_commit: Writes the messages of several requests in one transaction.
        clock: Returns the current time.
        watchdog: Tells since when receivers have been running without an interruption, and
            whether the database can be written.
        lapsed_keys: Returns the ids of the keys that are revoked or expired at a time.
    """

    def __init__(  # noqa: PLR0913 - what it reads, and what it needs for that
        self,
        store: SqlStore,
        calls: StoreCalls,
        group_commit: GroupCommit,
        *,
        clock: Callable[[], datetime],
        watchdog: Watchdog,
        lapsed_keys: Callable[[datetime], frozenset[str]] = lambda _: frozenset(),
    ) -> None:
        self._store = store
        self._calls = calls
        self._group_commit = group_commit
        self._clock = clock
        self._watchdog = watchdog
        self._lapsed_keys = lapsed_keys
        self._started_at = clock()

    def now(self) -> datetime:
        return self._clock()

    def uptime_seconds(self) -> float:
        # The clock may have been set back since the start.
        return max(0.0, (self._clock() - self._started_at).total_seconds())

    def heard_since(self) -> datetime | None:
        """
        Since when receivers have been running without an interruption.

        None until the watchdog, the task that looks for silent servers, has run for the first time.
        """
        return self._watchdog.heard_since

    def trouble(self) -> str | None:
        """
        Why messages cannot be written to the database: its last transactions have failed.

        None if they can be written. A failure of a message counts for 10 seconds, or until another
        one is written.
        """
        return self._watchdog.trouble() or self._group_commit.trouble()

    async def count(self) -> int:
        """
        How many servers are listed: neither superseded (replaced) nor left (uninstalled).

        Several Odoo processes of one database count once, and the servers of revoked and expired
        keys do not count.

        A client takes the count as a sign that the receiver works. Therefore this raises Refusal
        when the receiver's database can be read but not written. That error does not give the
        reason, because it may be shown to clients without a key, and the texts of database errors
        name machines and users.
        """
        count = await self._calls.read(self._store.servers.count_active, self._clock())
        if self.trouble() is not None:
            raise Refusal(503, "store_unavailable", _READ_ONLY, headers={"Retry-After": "5"})
        return count

    def submit(
        self, body: bytes, kind: BodyKind, key: Key | None = None
    ) -> "asyncio.Future[Outcome]":
        """
        Queue the messages of a body to be written; their time of receipt is the current time.

        Returns a future at once. Raises Overloaded when too many bytes wait to be written, and
        StoreUnavailable when the database has not answered for some seconds.

        Once each message of the body is committed or refused, the result of the future is the list
        of their results, in the order of the body. If none is committed, awaiting the future may
        raise an error instead: MalformedJSON or InvalidMessage for a body that is invalid as a
        whole; Refusal for a body that exceeds the rate limit of its key; Overloaded for a body that
        was dropped unwritten from the longest queue, to make room for a body of another queue (each
        key has two, for batches and for other bodies); and StoreUnavailable when the database does
        not answer.

        Args:
            body: The body as it was received.
            kind: Which kind of messages the body contains.
            key: The key of the request, which may write only its own servers. None if the receiver
                requires no keys; then all servers may be written.
        """
        return self._group_commit.submit(Submission(body, kind, self._clock(), key))

    def submit_to(
        self, done: Callable[[Body], None], body: bytes, kind: BodyKind, key: Key | None = None
    ) -> None:
        """Do what `submit` does, but call `done` with the body in place of setting a future."""
        self._group_commit.submit_to(done, Submission(body, kind, self._clock(), key))

    async def get(self, server_id: str) -> Sighting | None:
        """The record and state of a server; None when there is no such server."""
        return await self._calls.read(self._get, server_id)

    def _get(self, server_id: str) -> Sighting | None:
        record = self._store.servers.get(server_id)
        return None if record is None else self.seen([record])[0]

    async def past(
        self, render: Callable[[Sighting, History], T], server_id: str, *, within: timedelta
    ) -> T | None:
        """
        Read a server and its history, and call `render` with both in the thread that has read them.

        So `render` may take long without blocking the event loop. Returns its result, or None when
        there is no such server.

        Args:
            render: The function.
            server_id: The id of the server.
            within: How far back the history reaches from now on.
        """
        return await self._calls.read(self._past, render, server_id, within)

    def _past(
        self, render: Callable[[Sighting, History], T], server_id: str, within: timedelta
    ) -> T | None:
        now = self._clock()
        found = self._store.servers.past(server_id, now - within)
        if found is None:
            return None
        record, logs = found
        history = History.of(logs, since=now - within, now=now)
        return render(self.seen([record])[0], history)

    async def page(
        self,
        matching: Filter,
        order: Order = Order.SERVER_ID,
        *,
        after: Place | None,
        limit: int,
    ) -> Page:
        """
        A page of the list of the servers that match a filter.

        Args:
            matching: The filter.
            order: The order of the list.
            after: The position after which the page begins, or before which it ends if its `is_end`
                is true; None for the first page.
            limit: How many servers the page has at most.
        """
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
        """
        Read a page, as `page` does with the same arguments, call `render` with it, and return what
        this returns.

        `render` runs in the thread that has read the page, so it does not block the event loop.
        """
        asked = PageRequest(limit=limit, now=self._clock(), after=after)
        return await self._calls.read(lambda: render(self._page(matching, order, asked)))

    def overview(
        self, matching: Filter, order: Order, *, after: Place | None, limit: int
    ) -> Overview:
        """
        A page of the list of the servers that match a filter, and what is needed to count them.

        All of it is of the same moment. The arguments are those of `page`. Blocks, because it reads
        the database. Raises StoreUnavailable.
        """
        asked = PageRequest(limit=limit, now=self._clock(), after=after)
        page, before, breakdown = self._store.servers.overview(matching, order, asked)
        return Overview(
            page=Page(servers=self.seen(page.records), next_after=page.next_after),
            previous=page.previous,
            before=before,
            breakdown=breakdown,
        )

    def _page(self, matching: Filter, order: Order, asked: PageRequest) -> Page:
        page = self._store.servers.page(matching, order, asked)
        return Page(servers=self.seen(page.records), next_after=page.next_after)

    async def reachable(
        self, render: Callable[[Reachable], T], matching: Filter, *, after: str | None
    ) -> tuple[T, str | None]:
        """
        Read the addresses of servers, at most 5,000 of them, sorted by `server_id`.

        The filter takes the states in the database. A server that is up or new there may have
        become late since; `are_heard` tells which ones have not.

        Args:
            render: Called with the servers in the thread that has read them, so that it does not
                block the event loop.
            matching: Only servers that match this filter.
            after: Only servers whose `server_id` is after this one; None for the first call.

        Returns:
            The result of `render`, and the `after` for the next call; None if there are no more
            servers.
        """
        return await self._calls.read(self._reachable, render, matching, after)

    def _reachable(
        self, render: Callable[[Reachable], T], matching: Filter, after: str | None
    ) -> tuple[T, str | None]:
        found = self._store.servers.reachable(matching, after=after, limit=_AT_ONCE)
        return render(found), found.next_after

    def are_heard(self, signs: Sequence[SignsOfLife]) -> list[bool]:
        """
        Tell for each server whether it is still up or new at the current time.

        Otherwise it has become late since its state was written to the database.

        Args:
            signs: One item for each server. All these servers must have had the state up or new
                when they were read.
        """
        now, heard_since = self._clock(), self._watchdog.heard_since
        intervals = {each.interval_seconds for each in signs}
        limits = {each: silent_before(each, now) for each in intervals}
        # In the time before `heard_since` nobody can have been silent.
        due = {
            each: limit
            for each, limit in limits.items()
            if heard_since is None or limit > heard_since
        }
        return [
            # The watchdog has judged all nodes of a database together.
            each.has_nodes
            or each.interval_seconds not in due
            or each.last_seen >= due[each.interval_seconds]
            for each in signs
        ]

    async def events(self, matching: EventFilter, *, before: int | None, limit: int) -> EventPage:
        """
        A page of the events that match a filter, newest first.

        Args:
            matching: The filter.
            before: Only events with a number below this one; None for the newest events.
            limit: How many events the page has at most. It has less than that if they are longer
                than `MAX_EVENTS_BYTES`.
        """
        return await self._calls.read(
            self._store.events.page,
            matching,
            before=before,
            limit=limit,
            max_bytes=MAX_EVENTS_BYTES,
        )

    async def tools(self, server_id: str) -> ToolsOfServer | None:
        """The description of the tools of a server; None when there is no such server."""
        return await self._calls.read(self._store.servers.tools, server_id)

    def history(
        self, records: Iterable[ServerRecord], *, within: timedelta = LONGEST
    ) -> dict[str, History]:
        """
        The states of servers during the last `within` (a length of time), by `server_id`.

        The history of a server includes that of the servers that it superseded (replaced). Blocks,
        because it reads the database. Raises StoreUnavailable.
        """
        by_id = {record.server_id: record for record in records}
        now = self._clock()
        since = now - within
        logs = self._store.servers.state_logs([*by_id], since) if by_id else {}
        return {
            key: History.of(logs.get(key) or [StateLog.of(record)], since=since, now=now)
            for key, record in by_id.items()
        }

    async def figures(self, period: Period) -> Figures:
        """The history of all servers together in a day, a week or a quarter that ends now."""
        return await self._calls.read(self.figures_now, period)

    def figures_now(self, period: Period) -> Figures:
        """What `figures` returns. Blocks, and raises StoreUnavailable."""
        now = self._clock()
        return figures(self._store.hours.since(period.since(now)), period, now)

    def seen(self, records: Sequence[ServerRecord]) -> list[Sighting]:
        """
        Add to records their states now, the other nodes of their databases, and `is_lapsed`.

        Returns the servers in the order of the records. Blocks, because it reads the database.
        Raises StoreUnavailable.
        """
        leaders = [record.server_id for record in records if record.node_count]
        nodes = self._store.servers.nodes(leaders) if leaders else {}
        now = self._clock()
        lapsed = self._of_lapsed_keys(records, now)
        heard_since = self._watchdog.heard_since
        seen = []
        for record in records:
            others = nodes.get(record.server_id, ())
            if others or record.node_of is not None:  # the watchdog has judged all nodes together
                state = record.state
            else:
                since = heard_since or record.last_seen
                state = state_at(record, now, heard_since=since)
            is_lapsed = record.server_id in lapsed
            seen.append(Sighting(record=record, state=state, nodes=others, is_lapsed=is_lapsed))
        return seen

    def _of_lapsed_keys(self, records: Sequence[ServerRecord], now: datetime) -> frozenset[str]:
        """The ids of those servers whose owner is a key that was revoked or has expired."""
        lapsed = self._lapsed_keys(now)
        if not lapsed:
            return frozenset()
        owners = self._store.servers.owners([record.server_id for record in records])
        return frozenset(server_id for server_id, owner in owners.items() if owner in lapsed)


def _same(page: Page) -> Page:
    return page


_AT_ONCE = 5000
_encode = msgspec.json.Encoder().encode
_dump = orjson.dumps
_ALONE = {
    (stale, lapsed): orjson.dumps({"stale": stale, "lapsed": lapsed, "nodes": []})[1:]
    for stale in (False, True)
    for lapsed in (False, True)
}
"""The end of the JSON of a server without other nodes."""
