"""Writes events in the transaction that makes the change they tell of; reads and deletes them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import cache
from itertools import starmap
from typing import Any

import orjson
from attrs import evolve
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
    type_coerce,
    union_all,
)

from contract import Event, EventKind
from receiver.domain.grouping.timeline import Alike, Brief, Stretch
from receiver.domain.instants import instant, microseconds
from receiver.domain.queries import ALL_EVENTS, EventFilter, EventPage, RecordedEvent
from receiver.store.dialects import Dialect, Inserted
from receiver.store.indexes.conditions import apply_conditions, conditions_of
from receiver.store.tables import columns_of, constant, events, servers
from receiver.store.transactions import Transactions

__all__ = [
    "ABOUT_FIRST_SINCE",
    "CHAIN",
    "FIRST_SINCE",
    "MOST_SEARCHED",
    "Events",
    "first_since",
    "read_after",
    "write_events",
]


def write_events(dialect: Dialect, connection: Connection, happened: Sequence[Event]) -> None:
    """
    Write events; to be called last in a transaction.

    Locks the numbering of events until the transaction ends, so that their numbers rise in the
    order of the commits. Other transactions that write events wait for that long.
    """
    if not happened:
        return
    dialect.lock_events(connection)
    rows = [(each.at, each.kind, each.server_id, dict(each.details)) for each in happened]
    dialect.insert(connection, Inserted(events, ("at", "kind", "server_id", "details"), rows))


def first_since(connection: Connection, since: datetime) -> int:
    """
    A lower bound for the numbers of all events at or after an instant, to find these by number.

    It is a little less than the number of the first such event, because the clocks of receivers may
    differ a little. Without such events it is the largest possible number.
    """
    found = connection.execute(select(FIRST_SINCE), {"since": microseconds(since)})
    return int(found.scalar_one())


def read_after(
    connection: Connection,
    number: int,
    matching: EventFilter = ALL_EVENTS,
    *,
    limit: int,
    max_bytes: int | None = None,
) -> EventPage:
    """
    The oldest events that match and have a number larger than `number`, oldest first.

    `next_before` of the page is None if there are no more events, and otherwise a number.

    Args:
        connection: A connection to read with.
        number: Only events with a larger number.
        matching: Which events.
        limit: How many events are returned at most.
        max_bytes: About how many bytes of JSON the events may have together; with None, their size
            does not matter. A single event is returned even if it has more.
    """
    query = _matching(connection, matching).where(events.c.id > number)
    return _page(connection, query.order_by(events.c.id), limit, max_bytes)


class Events:
    """
    The events in a database: what happened to servers, and to the fleet as a whole.

    Each method is one transaction, except where it says otherwise, and raises StoreUnavailable when
    the database does not answer.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._stretch: _Recent | None = None
        self._kinds: tuple[object, Counter[EventKind]] | None = None

    def page(
        self,
        matching: EventFilter,
        *,
        before: int | None,
        limit: int,
        max_bytes: int | None = None,
    ) -> EventPage:
        """
        The newest events that match, newest first.

        When the filter asks for certain kinds of events about one server, one call searches only
        `MOST_SEARCHED` events of that server. So a page may be empty although further pages have
        events; `next_before` of the page tells whether there may be any.

        Args:
            matching: Which events.
            before: Only events with a smaller number; None for all.
            limit: How many events are returned at most.
            max_bytes: About how many bytes of JSON the events may have together; None for any
                number. A single event is returned even if it has more.
        """
        with self._transactions.read() as connection:
            if matching.kinds and matching.server_id is not None:
                return _searched(connection, matching, before, limit, max_bytes)
            query = _newest(connection, matching, before)
            return _page(connection, query, limit, max_bytes)

    def stretch(self, matching: EventFilter, *, before: int | None = None, limit: int) -> Stretch:
        """
        The newest events that match, without their details.

        All events since an instant are read again only if they are others than those of the last
        call, and otherwise summed up by the database.

        Args:
            matching: Which events.
            before: Only events with a smaller number; None for all.
            limit: How many events there are at most.
        """
        with self._transactions.read_once() as connection:
            since = None if before is not None else _since_alone(matching)
            if since is None:
                query = _newest(connection, matching, before, _BRIEF).limit(limit + 1)
                return _stretch(connection.execute(query).all(), limit)
            asked = {"since": microseconds(since)}
            bounds = connection.execute(_BOUNDS, asked).one()
            last = self._stretch
            if last is None or not last.is_still_of(bounds, limit):
                rows = connection.execute(_RECENT, {**asked, "limit": limit + 1}).all()
                last = self._stretch = _Recent(limit, bounds, rows)
            return last.stretch

    def by_ids(self, ids: Collection[int], *, max_bytes: int) -> Mapping[int, RecordedEvent]:
        """
        The events with these numbers, by their numbers; numbers without an event are left out.

        The newest come first. If all together would have more than about `max_bytes` bytes of JSON,
        the oldest are left out, too, but never the newest one.
        """
        if not ids:
            return {}
        query = select(*_WHOLE).where(events.c.id.in_(ids)).order_by(events.c.id.desc())
        with self._transactions.read() as connection:
            page = _page(connection, query, len(ids), max_bytes)
        return {recorded.id: recorded for recorded in page.events}

    def alike(self, ids: Collection[int], *, max_bytes: int) -> list[Alike]:
        """
        The events with these numbers by their details, the most frequent details first.

        Details of more than about `max_bytes` bytes of JSON together are left out, but never the
        most frequent ones; and so are all but the 100 most frequent ones.
        """
        details = cast(events.c.details, Text)
        query = select(details, func.count()).where(events.c.id.in_(ids)).group_by(details)
        query = query.order_by(func.count().desc(), func.max(events.c.id).desc()).limit(_DIFFERENT)
        found: list[Alike] = []
        size = 0
        with self._transactions.read_once() as connection:
            for text, count in connection.execute(query):
                size += len(text)
                if found and size > max_bytes:
                    break
                found.append(Alike(orjson.loads(text), count))
        return found

    def count_kinds(self, matching: EventFilter, *, most: int) -> Counter[EventKind]:
        """
        How many events of each kind match a filter, among the newest `most` that match it.

        Kinds without an event are left out.
        """
        with self._transactions.read_once() as connection:
            since = _since_alone(matching)
            if since is not None:
                return self._kinds_since(connection, since, most)
            newest = _matching(connection, matching, [events.c.kind]).order_by(events.c.id.desc())
            found = newest.limit(most).subquery()
            query = select(found.c.kind, func.count()).group_by(found.c.kind)
            query = query.order_by(func.count().desc(), found.c.kind)
            return Counter(dict(connection.execute(query).all()))

    def _kinds_since(
        self, connection: Connection, since: datetime, most: int
    ) -> Counter[EventKind]:
        """
        How many events of each kind have happened since an instant, among the newest `most` events.

        It reads the index of kinds and numbers alone, a range for each kind, and none of the
        events; and nothing if the first and the last event are those of the last call.
        """
        numbers = connection.execute(_FIRST_AND_LAST, {"since": since}).one()
        if numbers.first is None:
            return Counter()
        least = max(numbers.first, numbers.last - most + 1)
        known = self._kinds
        if known is None or known[0] != (least, numbers.last):
            found = connection.execute(_COUNTS, {"least": least, "last": numbers.last})
            counted = sorted((-number, kind) for kind, number in found if number)
            kinds = Counter({EventKind(kind): -number for number, kind in counted})
            known = self._kinds = (least, numbers.last), kinds
        return known[1]

    def last_at(self, kinds: Collection[EventKind]) -> datetime | None:
        """When the last event of any of these kinds happened; None if there is no such event."""
        with self._transactions.read_once() as connection:
            found = connection.execute(_last_of_each(frozenset(kinds))).one()
        return max(filter(None, found), default=None)

    def after(
        self,
        number: int,
        matching: EventFilter = ALL_EVENTS,
        *,
        limit: int,
        max_bytes: int | None = None,
    ) -> list[RecordedEvent]:
        """
        The oldest events that match and have a number larger than `number`, oldest first.

        Returns at most `limit` events, and fewer if they would have more than about `max_bytes`
        bytes of JSON together, but at least one if there is any. With None for `max_bytes`, their
        size does not matter.
        """
        with self._transactions.read() as connection:
            page = read_after(connection, number, matching, limit=limit, max_bytes=max_bytes)
        return page.events

    def last(self) -> int:
        """The number of the newest event; 0 when there is none."""
        with self._transactions.read_once() as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def chain(self, server_id: str) -> list[str]:
        """A server's id, and the ids of up to 1,000 servers that it superseded, directly or not."""
        with self._transactions.read() as connection:
            return _chain(connection, server_id)

    def trim(self, until: datetime, *, limit: int = 1000) -> bool:
        """
        Delete events from before `until`: the oldest, and at most `limit` of them.

        Returns whether there may be more. One transaction looks whether there are any, and only
        then a second one deletes them.
        """
        with self._transactions.read() as connection:
            if connection.execute(_OLDEST, {"until": until}).first() is None:
                return False
        old = select(events.c.id).where(events.c.at < until).order_by(events.c.at).limit(limit)
        query = delete(events).where(events.c.id.in_(old))
        return limit == self._transactions.write(
            lambda connection: connection.execute(query).rowcount
        )


def _chain(connection: Connection, server_id: str) -> list[str]:
    if "\x00" in server_id:  # PostgreSQL refuses a NUL in a parameter
        return []
    return [server_id, *connection.execute(CHAIN, {"last": server_id}).scalars()]


def _searched(
    connection: Connection,
    matching: EventFilter,
    before: int | None,
    limit: int,
    max_bytes: int | None,
) -> EventPage:
    """A page of the events of certain kinds about a server, for which no index exists."""
    every_kind = evolve(matching, kinds=frozenset())
    searched = _newest(connection, every_kind, before).limit(MOST_SEARCHED).subquery()
    query = select(searched).where(searched.c.kind.in_(matching.kinds))
    page = _page(connection, query.order_by(searched.c.id.desc()), limit, max_bytes)
    if page.next_before is not None:
        return page
    number, oldest = connection.execute(select(func.count(), func.min(searched.c.id))).one()
    return EventPage(page.events, oldest if number == MOST_SEARCHED else None)


def _newest(
    connection: Connection,
    matching: EventFilter,
    before: int | None,
    columns: Sequence[ColumnElement[Any]] | None = None,
) -> Select[Any]:
    query = _matching(connection, matching, columns).order_by(events.c.id.desc())
    return query if before is None else query.where(events.c.id < before)


def _matching(
    connection: Connection,
    matching: EventFilter,
    columns: Sequence[ColumnElement[Any]] | None = None,
) -> Select[Any]:
    query = select(*(columns or _WHOLE))
    if matching.kinds:
        query = query.where(events.c.kind.in_(matching.kinds))
    if matching.server_id is not None:
        query = query.where(events.c.server_id.in_(_chain(connection, matching.server_id)))
    if matching.servers is not None:
        conditions = conditions_of(matching.servers, connection=connection)
        ids = apply_conditions(select(servers.c.server_id), conditions, wide=False)
        query = query.where(events.c.server_id.in_(ids))
    if matching.since is not None:
        first = first_since(connection, matching.since)
        query = query.where(events.c.at >= matching.since, events.c.id >= first)
    if matching.until is not None:
        last = connection.execute(_LAST_UNTIL, {"until": microseconds(matching.until)}).scalar()
        query = query.where(events.c.at <= matching.until, events.c.id <= (last or 0))
    return query


def _page(
    connection: Connection, query: Select[Any], limit: int, max_bytes: int | None
) -> EventPage:
    # Rows beyond the limits are not fetched, where the driver can stream.
    rows = connection.execute(query.limit(limit + 1), execution_options={"stream_results": True})
    found: list[RecordedEvent] = []
    size = 0
    with closing(rows):
        for row in starmap(_Whole, rows):
            size += len(row.details) + _FRAME_BYTES
            is_full = max_bytes is not None and size > max_bytes
            if found and (is_full or len(found) == limit):
                return EventPage(found, found[-1].id)
            details = orjson.loads(row.details)
            event = Event(kind=row.kind, at=row.at, server_id=row.server_id, details=details)
            found.append(RecordedEvent(row.id, event))
    return EventPage(found, None)


MOST_SEARCHED = 10_000
"""How many events of a server one call of `Events.page` searches for certain kinds of events."""

_FRAME_BYTES = 200
"""About how many bytes an event has in JSON, not counting its details."""

_DIFFERENT = 100
_CLOCK_SKEW_EVENTS = 1000
_MOST_AT_ONCE = 10_000  # ten of each message of a batch, with numbers in a row
_NEVER = 2**63 - 1


def _first_since(*sorting: ColumnElement[Any], lowered_by: int) -> ColumnElement[int]:
    at = type_coerce(events.c.at, BigInteger)
    first = (
        select(events.c.id - lowered_by)
        .where(at >= bindparam("since", type_=BigInteger))
        .order_by(*sorting)
        .limit(constant(1))
    )
    return func.coalesce(first.scalar_subquery(), _NEVER)


FIRST_SINCE = _first_since(events.c.at, events.c.id, lowered_by=_CLOCK_SKEW_EVENTS)
"""
A lower bound for the numbers of all events at or after the instant `since`; an SQL expression.

`since` is a parameter, in microseconds since 1970. The bound is a little less than the number of
the first such event, because the clocks of receivers may differ a little. Without such events it is
the largest possible number.
"""

ABOUT_FIRST_SINCE = _first_since(events.c.at, lowered_by=_CLOCK_SKEW_EVENTS + _MOST_AT_ONCE)
"""
A bound as `FIRST_SINCE`, but some thousands lower, for who looks for events of one server alone.

It costs less: PostgreSQL sorts all events of the first instant to find the one that `FIRST_SINCE`
needs, and a batch of messages writes thousands at one instant. Here any of these does.
"""

_LAST_UNTIL = (
    select(events.c.id + _CLOCK_SKEW_EVENTS)
    .where(type_coerce(events.c.at, BigInteger) <= bindparam("until", type_=BigInteger))
    .order_by(events.c.at.desc(), events.c.id.desc())
    .limit(1)
)
"""
The query for an upper bound for the numbers of all events at or before the instant `until`.

`until` is a parameter, in microseconds since 1970. The bound is a little more than the number of
the last such event, because the clocks of receivers may differ a little. Without such events there
is no row.
"""


class _Whole(Struct, gc=False):
    """A row of the table `events`; its details are JSON."""

    id: int
    at: datetime
    kind: EventKind
    server_id: str | None
    details: str


_BRIEF: Sequence[ColumnElement[Any]] = [
    events.c.id,
    type_coerce(events.c.at, BigInteger),
    type_coerce(events.c.kind, Text),
    events.c.server_id,
]
"""The columns of a `Brief`, as the database has them: SQLAlchemy takes twice as long to convert."""

_KINDS = {kind.value: kind for kind in EventKind}

_at = type_coerce(events.c.at, BigInteger)
_RECENT = (
    select(*_BRIEF)
    .where(_at >= bindparam("since", type_=BigInteger), events.c.id >= FIRST_SINCE)
    .order_by(events.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)
"""The query for the newest events since the instant `since`, at most `limit`, as `_BRIEF`."""

_first = select(_at).where(_at >= bindparam("since", type_=BigInteger)).order_by(_at)
_BOUNDS = select(
    _first.limit(constant(1)).scalar_subquery().label("first_at"),
    select(func.max(events.c.id)).scalar_subquery().label("last"),
    select(func.max(_at)).scalar_subquery().label("last_at"),
)
"""
The time of the first event since the instant `since`, the number of the last event of all, and the
latest time of any.
"""

_WHOLE: Sequence[ColumnElement[Any]] = columns_of(
    _Whole.__struct_fields__, events, details=cast(events.c.details, Text)
)
"""The columns that an event is made of."""


@cache
def _last_of_each(kinds: frozenset[EventKind]) -> Select[Any]:
    """The query for a row with the times at which the last events of some kinds happened."""
    last = select(events.c.at).order_by(events.c.id.desc()).limit(constant(1))
    # In the text of the query, so that PostgreSQL keeps a plan that knows which kinds are rare.
    named = [literal(kind, events.c.kind.type, literal_execute=True) for kind in sorted(kinds)]
    return select(*(last.where(events.c.kind == kind).scalar_subquery() for kind in named))


def _since_alone(matching: EventFilter) -> datetime | None:
    """The instant since which a filter finds all events; None if it says anything else."""
    return matching.since if matching == EventFilter(since=matching.since) else None


def _stretch(rows: Sequence[Any], limit: int) -> Stretch:
    """The stretch of at most `limit` events, and the one after it, of rows with `_BRIEF`."""
    briefs = [
        Brief(number, instant(at), _KINDS[kind], server_id) for number, at, kind, server_id in rows
    ]
    following = briefs[limit] if len(briefs) > limit else None
    return Stretch(briefs=briefs[:limit], following=following)


class _Recent:
    """
    The newest events since an instant, as they were read.

    Args:
        limit: How many events there are at most.
        bounds: The row of `_BOUNDS` for the instant, which was read before the events.
        rows: The rows of the events, and of one more if there are more.
    """

    def __init__(self, limit: int, bounds: Any, rows: Sequence[Any]) -> None:
        self.stretch = _stretch(rows, limit)
        self._limit = limit
        self._bounds = bounds
        self._first_at: Any = min((at for _, at, *_ in rows), default=None)

    def is_still_of(self, bounds: Any, limit: int) -> bool:
        """
        Whether these events are the newest since another instant, too, for which `bounds` are.

        An event never changes, except that the times that are in the future become those of the
        moment at which the clock was set back; then the latest time of any becomes another one.
        """
        known = self._bounds
        if (limit, bounds.last, bounds.last_at) != (self._limit, known.last, known.last_at):
            return False
        if self.stretch.following is None:  # these are all
            return bool(bounds.first_at == self._first_at)
        # None of these is too old, and there may be older ones as before.
        return bounds.first_at is not None and bounds.first_at <= self._first_at


_FIRST_AND_LAST = select(
    select(events.c.id)
    .where(events.c.at >= bindparam("since", type_=events.c.at.type))
    .order_by(events.c.at)
    .limit(constant(1))
    .scalar_subquery()
    .label("first"),
    select(func.max(events.c.id)).scalar_subquery().label("last"),
)
"""The number of the first event since the instant `since`, and that of the last event."""

_COUNTS = union_all(
    *(
        select(literal(kind.value).label("kind"), func.count())
        .where(
            events.c.kind == kind,
            events.c.id >= bindparam("least", type_=BigInteger),
            events.c.id <= bindparam("last", type_=BigInteger),
        )
        .select_from(events)
        for kind in EventKind
    )
)
"""How many events of each kind have a number from `least` to `last`."""

_LONGEST_CHAIN = 1000


def _chain_query() -> Select[Any]:
    found = (
        select(servers.c.server_id)
        .where(servers.c.superseded_by == bindparam("last"))
        .cte("chain", recursive=True)
    )
    older = servers.alias("older")
    before = select(older.c.server_id).where(older.c.superseded_by == found.c.server_id)
    return select(found.union(before)).limit(_LONGEST_CHAIN)


CHAIN = _chain_query()
"""The query for the ids of 1,000 servers at most that `:last` superseded, directly or not."""

_OLDEST = select(events.c.id).where(events.c.at < bindparam("until")).order_by(events.c.at).limit(1)
