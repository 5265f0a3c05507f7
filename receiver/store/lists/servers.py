"""The SQL of a list of servers: filters through the inverted index, order, keyset pagination."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import fields, frozen
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    case,
    exists,
    false,
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
    Reachable,
    ServerPage,
    Walk,
    index_text,
)
from receiver.domain.rows import Row
from receiver.store.rows import RowCache, records_of
from receiver.store.tables import among, facets, is_listed, offers_tool, servers

__all__ = ["ServerList", "apply_filter", "reachable"]

Columns = Sequence[ColumnElement[Any]]
Listed = tuple[ServerRecord, Callable[[ServerRecord], Place]]
"""The record of a server in a list, and a function that gives the position right after it."""


@frozen(kw_only=True)
class ServerList:
    """
    A list of servers, which is read page by page.

    Attributes:
        connection: A connection to read with.
        cache: Rows that need not be read from the database again.
        matching: Which servers are in the list.
        order: The order of the list.
    """

    connection: Connection
    cache: RowCache
    matching: Filter
    order: Order

    def page(self, asked: PageRequest) -> ServerPage:
        """
        A page of the list.

        A list in the order of `last_seen` has two parts. The first has all servers in that order.
        The second has, in the order of `server_id`, the servers that have sent a message since the
        first page was read, because these may have changed their places in the first part.
        """
        after, limit = asked.after, asked.limit
        if after is not None and after.heard_after is not None:
            return _page(self._second_part(after.heard_after, after, limit + 1), limit)
        known = None if after is None else after.walk
        # Before the servers are read, so that a server that sends in between is in the second part.
        walk = known or (self._begun(microseconds(asked.now)) if self.order.is_moving else None)
        listed = self._first_part(after, walk, limit + 1)
        if known is not None and len(listed) <= limit:
            heard_after = self._heard_after(known)
            listed += self._second_part(heard_after, None, limit + 1 - len(listed))
        return _page(listed, limit)

    def _first_part(self, after: Place | None, walk: Walk | None, limit: int) -> list[Listed]:
        # Records in one query: a server that sends between two would change its position.
        wanted = _RECORD if self.order.is_moving else _REVISION
        query = list_query(wanted, self.matching, self.order, after=after, limit=limit)
        records = self._records(query) if self.order.is_moving else self._cached(query)
        place = partial(self.order.place, walk=walk)
        return [(each, place) for each in records]

    def _second_part(self, heard_after: int, after: Place | None, limit: int) -> list[Listed]:
        query, key = apply_filter(select(*_RECORD), self.matching)
        query = query.where(_last_seen > heard_after).order_by(key).limit(limit)
        if after is not None:
            query = query.where(key > after.server_id)

        def place(record: ServerRecord) -> Place:
            return Place(record.server_id, heard_after=heard_after)

        return [(each, place) for each in self._records(query)]

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
        query, _ = apply_filter(select(total).select_from(servers), self.matching)
        query = query.where(_last_seen > walk.settled, _last_seen <= walk.began)
        return int(self.connection.execute(query).scalar_one())

    def _records(self, query: Select[Any]) -> list[ServerRecord]:
        return [ServerRecord(**row) for row in self.connection.execute(query).mappings()]

    def _cached(self, query: Select[Any]) -> list[ServerRecord]:
        found: Sequence[Any] = self.connection.execute(query).all()
        return records_of(self.connection, found, self.cache)


def reachable(
    connection: Connection, cache: RowCache, matching: Filter, *, after: str | None, limit: int
) -> Reachable:
    """
    At most `limit` servers that match and whose `server_id` is after `after`, sorted by it.

    If the row of a server is cached, only its revision is read from the database, which takes half
    the time.
    """
    query, key = apply_filter(select(*_REVISION), matching)
    if after is not None:
        query = query.where(key > after)
    revisions = connection.execute(query.order_by(key).limit(limit)).all()
    found: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}
    for server_id, revision in revisions:
        row = cache.get(server_id)
        if row is not None and row.revision == revision:
            found[server_id] = _reached(row)
    others = [server_id for server_id, _ in revisions if server_id not in found]
    size = len(_WHEREABOUTS)
    for columns in connection.execute(_REACHABLE, {"ids": others}) if others else ():
        found[columns[0]] = (columns[:size], columns[size:])
    known = [found[server_id] for server_id, _ in revisions if server_id in found]
    return Reachable([each for each, _ in known], [signs for _, signs in known])


def _reached(row: Row) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The fields of `Whereabouts` and `SignsOfLife` of a row of `servers`."""
    record = row.record
    needs_ip = record.endpoint_url is None and record.ip_addresses is not None
    return (
        record.server_id,
        record.endpoint_url,
        record.ip_addresses.primary if needs_ip and record.ip_addresses else None,
        record.port,
        record.hostname,
        record.odoo_stage,
        record.version,
        record.database,
        record.odoo_version,
    ), (
        row.owner,
        record.last_seen,
        record.heartbeat_interval_seconds,
        record.node_count > 0 or record.node_of is not None,
    )


_last_seen = type_coerce(servers.c.last_seen, BigInteger)
_RECORD: Columns = [servers.c[each.name] for each in fields(ServerRecord)]
_REVISION: Columns = [servers.c.server_id, servers.c.revision]
_WHEREABOUTS: Columns = [  # in the order of `Whereabouts`
    servers.c.server_id,
    servers.c.endpoint_url,
    # Of all addresses the primary alone, and only where it is needed: they are JSON.
    case((servers.c.endpoint_url.is_(None), servers.c.ip_addresses["primary"].as_string())),
    servers.c.port,
    servers.c.hostname,
    servers.c.odoo_stage,
    servers.c.version,
    servers.c.database,
    servers.c.odoo_version,
]
_SIGNS_OF_LIFE: Columns = [  # in the order of `SignsOfLife`
    servers.c.owner,
    servers.c.last_seen,
    servers.c.heartbeat_interval_seconds,
    or_(servers.c.node_count > 0, servers.c.node_of.is_not(None)),
]
_REACHABLE = select(*_WHEREABOUTS, *_SIGNS_OF_LIFE).where(among(servers.c.server_id, "ids"))


def _page(listed: Sequence[Listed], limit: int) -> ServerPage:
    records = [record for record, _ in listed[:limit]]
    next_after = listed[limit - 1][1](records[-1]) if len(listed) > limit else None
    return ServerPage(records=records, next_after=next_after)


def list_query(
    wanted: Columns,
    matching: Filter,
    order: Order,
    *,
    after: Place | None,
    limit: int,
) -> Select[Any]:
    """
    A SELECT of the `wanted` columns of at most `limit` servers that match.

    The servers are sorted in `order`, and come after the position `after`; None for the beginning.
    """
    # The servers with a tool may have to be sorted.
    by_key = order.field == "server_id" and matching.capability is None
    query, key = apply_filter(select(*wanted) if by_key else select(servers.c.server_id), matching)
    columns: list[ColumnElement[Any]] = [key]
    if order.field != "server_id":
        columns.insert(0, servers.c[order.field])
    if after is not None:
        query = query.where(_is_beyond(order, columns, after))
        if after.walk is not None and not order.is_descending:
            query = query.where(_last_seen <= after.walk.began)
    query = query.order_by(*_sorted_by(order, columns)).limit(limit)
    if by_key:
        return query
    # The database sorts keys alone, not whole rows.
    columns = [servers.c.server_id]
    if order.field != "server_id":
        columns.insert(0, servers.c[order.field])
    rows = select(*wanted).where(servers.c.server_id.in_(query))
    return rows.order_by(*_sorted_by(order, columns))


def _sorted_by(order: Order, columns: Sequence[ColumnElement[Any]]) -> Sequence[ColumnElement[Any]]:
    return [column.desc() if order.is_descending else column for column in columns]


def _is_beyond(
    order: Order, columns: Sequence[ColumnElement[Any]], place: Place
) -> ColumnElement[bool]:
    """The condition that a server comes after a position in a list of this order."""
    here: Any = place.server_id
    key: Any = columns[-1]
    if place.moment is not None:
        moment = bindparam("moment", place.moment, type_=BigInteger)
        here = tuple_(moment, bindparam("here", place.server_id, type_=Text))
        key = tuple_(type_coerce(columns[0], BigInteger), columns[1])
    return key < here if order.is_descending else key > here  # type: ignore[no-any-return]  # SQLAlchemy compares


def apply_filter(
    query: Select[Any], matching: Filter, *, listed: Any = is_listed
) -> tuple[Select[Any], ColumnElement[str]]:
    """
    Add the WHERE clauses of a filter to a query of `servers`.

    Without a filter by state the servers are those that meet the condition `listed`.

    Returns the query, and the column `server_id` of the table whose index finds the servers:
    sorting and comparing by this column needs no other index.
    """
    key: ColumnElement[str] = servers.c.server_id
    if not matching.state:
        query = query.where(listed)
    for word in matching.words:
        texts = (servers.c.hostname, servers.c.database, servers.c.server_id)
        query = query.where(or_(*(text.icontains(word, autoescape=True) for text in texts)))
    if matching.capability:
        query = query.where(or_(*(offers_tool(name) for name in matching.capability)))
    if matching.server_id:
        query = query.where(servers.c.server_id.in_(matching.server_id))
    for name, values in _indexed(matching):
        if "" in values or len(values) > 1:
            query = query.where(_has_any(name, values))
            continue
        entry = facets.alias()
        query = query.join(entry, entry.c.server_id == key).where(
            entry.c.name == name, entry.c.value == index_text(values[0])
        )
        key = entry.c.server_id
    for name, values in matching.without:
        query = query.where(~_has_any(name, values))
    return query, key


def _indexed(matching: Filter) -> list[tuple[str, tuple[str, ...]]]:
    names = ("state", "stage", "database", "version", "odoo_version")
    return [(name, values) for name in names if (values := getattr(matching, name))]


def _has_any(name: str, values: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a server has one of the values of an attribute of `Filter`."""
    if name == "capability":
        return func.coalesce(or_(*(offers_tool(value) for value in values)), false())
    if name == "server_id":
        return servers.c.server_id.in_(values)
    if name == "stage":
        return func.coalesce(servers.c.odoo_stage, "").in_(values)
    entry = facets.alias()
    texts = [index_text(value) for value in values]
    return exists().where(
        entry.c.name == name, entry.c.value.in_(texts), entry.c.server_id == servers.c.server_id
    )


_PRIME = 2**31 - 1  # so that the sum for any number of servers is a BIGINT
