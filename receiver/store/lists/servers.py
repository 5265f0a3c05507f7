"""The SQL of a list of servers: order, and keyset pagination in both directions."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

from attrs import evolve, field, fields, frozen
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
)

from contract import ServerRecord
from receiver.domain.instants import microseconds
from receiver.domain.queries import (
    Filter,
    Order,
    PageRequest,
    Place,
    Rank,
    Reachable,
    ServerPage,
    SignsOfLife,
    Walk,
    Whereabouts,
)
from receiver.domain.rows import Row
from receiver.store.indexes.conditions import (
    Conditions,
    apply_conditions,
    conditions_of,
    is_wide,
)
from receiver.store.rows import RowCache, records_of
from receiver.store.tables import COLUMNS, among, columns_of, liveness, servers, whole_servers

__all__ = ["ServerList", "reachable"]

Columns = Sequence[ColumnElement[Any]]
Listed = tuple[ServerRecord, Callable[[ServerRecord], Place]]
"""The record of a server in a list, and a function that returns the position after a record."""


@frozen(kw_only=True)
class ServerList:
    """
    A list of servers, which is read page by page.

    Attributes:
        connection: A connection to read with.
        cache: Rows that need not be read from the database if their revision is still the same.
        matching: The filter: which servers are in the list.
        order: The order of the list.
        conditions: The conditions of `matching`.
        wide: Whether many servers are in the list: more than `MOST_FEW`.
    """

    connection: Connection
    cache: RowCache
    matching: Filter
    order: Order
    conditions: Conditions = field(init=False)
    wide: bool = field(init=False)

    @conditions.default
    def _conditions(self) -> Conditions:
        return conditions_of(self.matching, connection=self.connection)

    @wide.default
    def _is_wide(self) -> bool:
        return is_wide(self.connection, self.conditions)

    def page(self, asked: PageRequest) -> ServerPage:
        """
        Read a page of the list.

        A list in the order of `last_seen` has two parts. The first has all servers in that order.
        The second has, in the order of `server_id`, the servers that have sent a message since the
        first page was read, because these may have changed their places in the first part.
        """
        after, limit = asked.after, asked.limit
        if after is not None and after.is_end:
            return self._page_before(after, asked)
        if after is not None and after.heard_after is not None:
            listed = self._second_part(after.heard_after, after, limit + 1)
            return _page(listed, limit, is_first=False)
        known = None if after is None else after.walk
        # Before the servers are read, so that a server that sends in between is in the second part.
        walk = known or (self._begun(microseconds(asked.now)) if self.order.is_moving else None)
        listed = self._first_part(after, walk, limit + 1)
        if known is not None and len(listed) <= limit:
            heard_after = self._heard_after(known)
            listed += self._second_part(heard_after, None, limit + 1 - len(listed))
        return _page(listed, limit, is_first=after is None)

    def number_before(self, place: Place) -> int:
        """How many servers come before the server that a place in the list names."""
        if place.heard_after is None:
            return self._count(self._before(place))
        earlier = _last_seen <= place.heard_after
        later = (_last_seen > place.heard_after, servers.c.server_id < place.server_id)
        return self._count([earlier]) + self._count(later)

    def page_at_once(self, asked: PageRequest) -> ServerPage | None:
        """
        Read a page in a way that needs no transaction around it.

        One query tells which servers are on the page; those that are not cached are read by a
        second one. Returns None if one of these was changed or deleted in between.

        The filter must be one of states alone, the order not by `last_seen`, and the page no one
        that ends at a place.
        """
        listed = self.revisions(asked.after, asked.limit + 1)
        records = records_of(self.connection, listed, self.cache)
        if len(records) < len(listed):
            return None
        page = [(each, self.order.place) for each in records]
        return _page(page, asked.limit, is_first=asked.after is None)

    def revisions(self, after: Place | None, limit: int) -> Sequence[Any]:
        """
        The ids and revisions of the next servers, at most `limit`, in the order of the list.

        They begin right after the place `after`; with None at the beginning. If the place `is_end`,
        they are the servers before it, the nearest first. The order must not be by `last_seen`, in
        which servers change their places.
        """
        if self.conditions.are_none and not (after is not None and after.is_end):
            query = _query_of_all(self.order, self.conditions.ranks, is_beyond=after is not None)
            position = {} if after is None else _position(after)
            return self.connection.execute(query, {"limit": limit, **position}).all()
        return self.connection.execute(self._query(after, limit)).all()

    def _page_before(self, end: Place, asked: PageRequest) -> ServerPage:
        """The page that ends at a place; if there are too few servers for it, the first page."""
        limit = asked.limit
        if end.heard_after is None:
            listed = self._first_part(end, end.walk, limit + 1)
        else:
            listed = self._second_part(end.heard_after, end, limit + 1)
            if len(listed) <= limit:
                last = Place("", None, Walk(end.heard_after), is_end=True)
                listed += self._first_part(last, last.walk, limit + 1 - len(listed))
        if len(listed) <= limit:
            return self.page(evolve(asked, after=None))
        listed = listed[limit - 1 :: -1]
        records = [record for record, _ in listed]
        (first, first_place), (last_one, last_place) = listed[0], listed[-1]
        return ServerPage(records, last_place(last_one), first_place(first)._replace(is_end=True))

    def _first_part(self, after: Place | None, walk: Walk | None, limit: int) -> list[Listed]:
        """
        The servers after a place in the first part, or in a list that has one part only.

        If the place `is_end`, the servers before it, the nearest first.
        """
        if self.order.is_moving:
            # Records in one query: a server that sends between two would change its position.
            records = self._records(self._query(after, limit))
        else:
            records = records_of(self.connection, self.revisions(after, limit), self.cache)
        place = partial(self.order.place, walk=walk)
        return [(each, place) for each in records]

    def _second_part(self, heard_after: int, after: Place | None, limit: int) -> list[Listed]:
        key = servers.c.server_id
        query = self._matching(_RECORDS).where(_last_seen > heard_after).limit(limit)
        if after is not None and after.is_end:
            query = query.where(key < after.server_id).order_by(key.desc())
        elif after is not None:
            query = query.where(key > after.server_id).order_by(key)
        else:
            query = query.order_by(key)

        def place(record: ServerRecord) -> Place:
            return Place(record.server_id, heard_after=heard_after)

        return [(each, place) for each in self._records(query)]

    def _query(self, after: Place | None, limit: int) -> Select[Any]:
        """A query of the next servers after a place; of those before it, if the place `is_end`."""
        where = [] if after is None else self._beyond(after)
        is_back = after is not None and after.is_end
        keys = self._matching(_keys(self.order)).where(*where)
        return _page_of(keys, self.order, limit, is_back=is_back)

    def _matching(self, query: Select[Any]) -> Select[Any]:
        by_rank = self.order is Order.TROUBLE
        return apply_conditions(query, self.conditions, wide=self.wide, by_rank=by_rank)

    def _beyond(self, place: Place) -> list[ColumnElement[bool]]:
        """The conditions that a server comes after a place, or before it if the place `is_end`."""
        if place.walk is not None and not place.server_id:  # the end of the first part
            return [_last_seen <= place.walk.began]
        found = [_is_beyond(self.order, place, is_back=place.is_end)]
        if place.walk is not None and not self.order.is_descending:
            found.append(_last_seen <= place.walk.began)
        return found

    def _before(self, place: Place) -> list[ColumnElement[bool]]:
        return [_is_beyond(self.order, place, is_back=True)]

    def _count(self, where: Sequence[ColumnElement[bool]]) -> int:
        counted = whole_servers if self.order.is_moving else servers
        query = self._matching(select(func.count()).select_from(counted)).where(*where)
        return int(self.connection.execute(query).scalar_one())

    def _begun(self, now: int) -> Walk:
        """The `Walk` of a list by `last_seen` whose first page is read now."""
        walk = Walk(now)
        return walk._replace(fingerprint=self._fingerprint(walk))

    def _heard_after(self, walk: Walk) -> int:
        """
        The time after which `last_seen` must be for a server to be in the second part of the list.

        Usually this is when the first page was read. In a descending list, a server whose message
        was received shortly before that but committed after it has moved to a page that was read
        already. If that may have happened, as the fingerprint has changed, the time is some
        seconds earlier, and the servers that sent in these seconds are listed twice.
        """
        is_same = walk.fingerprint == self._fingerprint(walk)
        return walk.began if is_same else walk.settled

    def _fingerprint(self, walk: Walk) -> int:
        """A checksum of who was last heard when, between `walk.settled` and `walk.began`."""
        if not self.order.is_descending:
            return 0
        # Not of the revisions, which also change when servers are checked for silence. A product,
        # so that one server cannot make up for another that had the same `last_seen`.
        each = (_last_seen % _PRIME) * func.hashtext(servers.c.server_id) % _PRIME
        total = func.coalesce(func.sum(each), 0)
        query = self._matching(select(total).select_from(whole_servers))
        query = query.where(_last_seen > walk.settled, _last_seen <= walk.began)
        return int(self.connection.execute(query).scalar_one())

    def _records(self, query: Select[Any]) -> list[ServerRecord]:
        return [ServerRecord(**row) for row in self.connection.execute(query).mappings()]


def reachable(
    connection: Connection, cache: RowCache, matching: Filter, *, after: str | None, limit: int
) -> Reachable:
    """
    Read where servers can be reached, and what tells whether they are alive, sorted by `server_id`.

    If the row of a server is cached, only its revision is read from the database, which takes half
    the time.

    Args:
        connection: A connection to read with.
        cache: Rows that need not be read from the database if their revision is still the same.
        matching: The filter that the servers match.
        after: Only servers whose `server_id` is after this one; None for all.
        limit: How many servers are returned at most.
    """
    listed = ServerList(
        connection=connection, cache=cache, matching=matching, order=Order.SERVER_ID
    )
    if listed.conditions.are_none:
        query = _query_of_reachable(listed.conditions.ranks)
        revisions = connection.execute(query, {"here": after or "", "limit": limit + 1}).all()
    else:
        revisions = listed.revisions(None if after is None else Place(after), limit + 1)
    next_after = revisions[limit - 1][0] if len(revisions) > limit else None
    found: dict[str, tuple[Whereabouts, SignsOfLife] | None] = {
        server_id: _reached(row)
        if (row := cache.get(server_id)) is not None and row.revision == revision
        else None
        for server_id, revision in revisions[:limit]
    }
    others = [server_id for server_id, reached in found.items() if reached is None]
    size = len(_WHEREABOUTS)
    for columns in connection.execute(_REACHABLE, {"ids": others}) if others else ():
        whereabouts = Whereabouts(*columns[:size])
        found[whereabouts.server_id] = (whereabouts, SignsOfLife(*columns[size:]))
    known = [reached for reached in found.values() if reached is not None]
    return Reachable([each for each, _ in known], [signs for _, signs in known], next_after)


def _reached(row: Row) -> tuple[Whereabouts, SignsOfLife]:
    """Where a server can be reached, and what tells whether it is alive, by its cached row."""
    record = row.record
    url, addresses = record.endpoint_url, record.ip_addresses
    # By place, in the order of their attributes: that takes a third of the time.
    return Whereabouts(
        record.server_id,
        url,
        addresses.primary if url is None and addresses is not None else None,
        record.port,
        record.hostname,
        record.odoo_stage,
        record.version,
        record.database,
        record.odoo_version,
    ), SignsOfLife(
        row.owner,
        record.last_seen,
        record.heartbeat_interval_seconds,
        record.node_count > 0 or record.node_of is not None,
    )


_last_seen = type_coerce(liveness.c.last_seen, BigInteger)
_RECORDS = select(*(COLUMNS[each.name] for each in fields(ServerRecord))).select_from(whole_servers)
_WHEREABOUTS: Columns = columns_of(
    Whereabouts.__struct_fields__,
    servers,
    # Of all addresses the primary alone, and only where it is needed: they are JSON.
    ip_address=case(
        (servers.c.endpoint_url.is_(None), servers.c.ip_addresses["primary"].as_string())
    ),
)
_SIGNS_OF_LIFE: Columns = columns_of(
    SignsOfLife.__struct_fields__,
    servers,
    last_seen=liveness.c.last_seen,
    interval_seconds=servers.c.heartbeat_interval_seconds,
    has_nodes=or_(servers.c.node_count > 0, servers.c.node_of.is_not(None)),
)
_REACHABLE = (
    select(*_WHEREABOUTS, *_SIGNS_OF_LIFE)
    .select_from(whole_servers)
    .where(among(servers.c.server_id, "ids"))
)


def _page(listed: Sequence[Listed], limit: int, *, is_first: bool) -> ServerPage:
    records = [record for record, _ in listed[:limit]]
    next_after = listed[limit - 1][1](records[-1]) if len(listed) > limit else None
    if is_first or not records:
        return ServerPage(records, next_after)
    return ServerPage(records, next_after, listed[0][1](records[0])._replace(is_end=True))


def _sort_columns(order: Order) -> Columns:
    if order.field == "server_id":
        return [servers.c.server_id]
    return [COLUMNS["rank" if order is Order.TROUBLE else order.field], servers.c.server_id]


def _keys(order: Order) -> Select[Any]:
    """The query of all that servers are sorted by in an order, their ids last."""
    return select(*_sort_columns(order)).select_from(whole_servers if order.is_moving else servers)


def _page_of(keys: Select[Any], order: Order, limit: Any, *, is_back: bool) -> Select[Any]:
    """
    The query of the first servers that the query `keys` finds, in its order or the other way round.

    It finds their ids and revisions, and in an order by `last_seen` their records. So the database
    sorts keys alone, which are in the indexes, and not whole rows.
    """
    is_descending = order.is_descending is not is_back

    def sort(query: Select[Any], by: Iterable[ColumnElement[Any]]) -> Select[Any]:
        return query.order_by(*(each.desc() if is_descending else each for each in by))

    page = sort(keys, keys.selected_columns).limit(limit).subquery()
    is_same = liveness.c.server_id == page.c.server_id
    if order.is_moving:
        return sort(_RECORDS.join(page, is_same), page.c)
    # For a join, PostgreSQL would read the whole of `liveness` if there are 13,000 servers.
    revision = select(liveness.c.revision).where(is_same).scalar_subquery()
    return sort(select(page.c.server_id, revision.label("revision")), page.c)


@lru_cache(maxsize=100)
def _query_of_all(order: Order, ranks: frozenset[Rank], *, is_beyond: bool) -> Select[Any]:
    """
    The query of the ids and revisions of all servers that have one of some ranks, in an order.

    Its parameters are the `limit`, and if the servers come after a place, those of `_position`.
    The query is kept, because SQLAlchemy takes as long to make it as to execute it. The limit is a
    parameter so that PostgreSQL plans each query anew: its plan for all values is slow.

    Args:
        order: The order; not by `last_seen`.
        ranks: The ranks.
        is_beyond: Whether the servers come after a place.
    """
    conditions = Conditions(ranks=ranks, of_profiles=(), of_servers=())
    by_rank = order is Order.TROUBLE
    keys = apply_conditions(_keys(order), conditions, wide=True, by_rank=by_rank)
    if is_beyond:
        some_place = Place("", None if order.field == "server_id" else 0)
        keys = keys.where(_is_beyond(order, some_place, is_back=False))
    limit = bindparam("limit", type_=Integer)
    return _page_of(keys, order, limit, is_back=False)


@lru_cache(maxsize=100)
def _query_of_reachable(ranks: frozenset[Rank]) -> Select[Any]:
    """
    The query of the ids and revisions of the first servers that have one of some ranks, by id.

    Its parameters are `here`, the id after which they begin, and the `limit`. Unlike the queries of
    pages it reads the revisions in the order of an index, since thousands are wanted one after
    another, and most servers have one of the ranks.
    """
    conditions = Conditions(ranks=ranks, of_profiles=(), of_servers=())
    revisions = select(servers.c.server_id, liveness.c.revision).select_from(whole_servers)
    found = apply_conditions(revisions, conditions, wide=True)
    found = found.where(servers.c.server_id > bindparam("here", type_=Text))
    return found.order_by(servers.c.server_id).limit(bindparam("limit", type_=Integer))


def _is_beyond(order: Order, place: Place, *, is_back: bool) -> ColumnElement[bool]:
    """
    The condition that a server comes after a place in a list; before it, if `is_back`.

    The place is in the parameters that `_position` names, which may be given anew with a query.
    """
    columns = _sort_columns(order)
    here: Any = bindparam("here", place.server_id, type_=Text)
    key: Any = columns[-1]
    if place.moment is not None:
        here = tuple_(bindparam("moment", place.moment, type_=BigInteger), here)
        key = tuple_(type_coerce(columns[0], BigInteger), columns[1])
    is_less = order.is_descending is not is_back
    return key < here if is_less else key > here  # type: ignore[no-any-return]  # SQLAlchemy compares


def _position(place: Place) -> dict[str, Any]:
    """The parameters of `_is_beyond` that stand for a place."""
    here = {"here": place.server_id}
    return here if place.moment is None else {"moment": place.moment, **here}


_PRIME = 2**31 - 1  # so that the sum for any number of servers is a BIGINT
