"""Which servers a list means, and in which order, as a person asks and as a database does."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from attrs import Attribute, asdict, frozen
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    bindparam,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
)

from contract import ServerRecord, State
from receiver.store.merging import SUPERSEDED
from receiver.store.tables import facet_value, facets, microseconds, servers

__all__ = ["EVERYTHING", "Filter", "Order", "Place", "listed", "those"]


@frozen(kw_only=True)
class Filter:
    """
    Which servers are meant: those that match in everything that is not None.

    Attributes:
        state: A state as it was last noticed, or `superseded`; without it, any but that.
        stage: The stage; an empty one means servers without, whether they say so or not.
        q: Text in the hostname, the database or the server_id, in either case; on SQLite
            other letters than those of ASCII are found in their own case only.
    """

    state: str | None = None
    stage: str | None = None
    database: str | None = None
    version: str | None = None
    odoo_version: str | None = None
    capability: str | None = None
    q: str | None = None


EVERYTHING = Filter()


class Order(str, Enum):
    """In which order servers are listed; equal ones by their `server_id`."""

    SERVER_ID = "server_id"
    SERVER_ID_DOWN = "-server_id"
    FIRST_SEEN = "first_seen"
    FIRST_SEEN_DOWN = "-first_seen"
    LAST_SEEN = "last_seen"
    LAST_SEEN_DOWN = "-last_seen"

    @property
    def field(self) -> str:
        return self.value.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        return self.value.startswith("-")

    def place(self, record: ServerRecord) -> "Place":
        """Where a server stands in the list."""
        if self.field == "server_id":
            return Place(record.server_id)
        return Place(record.server_id, microseconds(getattr(record, self.field)))


class Place(NamedTuple):
    """A place in a list: of a server, and the moment in microseconds that it is listed by."""

    server_id: str
    moment: int | None = None


def listed(
    wanted: Sequence[ColumnElement[Any]],
    matching: Filter,
    order: Order,
    *,
    after: Place | None,
    limit: int,
) -> Select[Any]:
    """A query of columns, of at most `limit` servers that match, in an order, after a place."""
    by_key = order.field == "server_id"
    query, key = those(select(*wanted) if by_key else select(servers.c.server_id), matching)
    columns: list[ColumnElement[Any]] = [key] if by_key else [servers.c[order.field], key]
    if after is not None:
        query = query.where(_is_beyond(order, columns, after))
    query = query.order_by(*_sorted_by(order, columns)).limit(limit)
    if by_key:
        return query
    # What has to be sorted are the keys alone, not whole rows.
    columns = [servers.c[order.field], servers.c.server_id]
    rows = select(*wanted).where(servers.c.server_id.in_(query))
    return rows.order_by(*_sorted_by(order, columns))


def _sorted_by(order: Order, columns: Sequence[ColumnElement[Any]]) -> Sequence[ColumnElement[Any]]:
    return [column.desc() if order.is_descending else column for column in columns]


def _is_beyond(
    order: Order, columns: Sequence[ColumnElement[Any]], place: Place
) -> ColumnElement[bool]:
    here: Any = place.server_id
    key: Any = columns[-1]
    if place.moment is not None:
        moment = bindparam("moment", place.moment, type_=BigInteger)
        here = tuple_(moment, bindparam("here", place.server_id, type_=Text))
        key = tuple_(type_coerce(columns[0], BigInteger), columns[1])
    return key < here if order.is_descending else key > here  # type: ignore[no-any-return]  # SQLAlchemy compares


def those(query: Select[Any], matching: Filter) -> tuple[Select[Any], ColumnElement[str]]:
    """A query of `servers`, of those that match only; and their key, as an index has it."""
    key: ColumnElement[str] = servers.c.server_id
    if matching.state is None:
        query = query.where(servers.c.superseded_by.is_(None))
    if matching.q is not None:
        texts = (servers.c.hostname, servers.c.database, servers.c.server_id)
        query = query.where(or_(*(text.icontains(matching.q, autoescape=True) for text in texts)))
    if matching.stage == "" and matching.state == SUPERSEDED:
        query = query.where(func.coalesce(servers.c.odoo_stage, "") == "")
    elif matching.stage == "":
        states = [state.value for state in State] if matching.state is None else [matching.state]
        standing = facets.alias()
        query = query.join(standing, standing.c.server_id == key).where(
            standing.c.name == "standing", standing.c.value.in_([f"{each}/" for each in states])
        )
        key = standing.c.server_id
    for name, text in asdict(matching, filter=_is_facet).items():
        facet = facets.alias()
        query = query.join(facet, facet.c.server_id == key).where(
            facet.c.name == name, facet.c.value == facet_value(text)
        )
        key = facet.c.server_id
    return query, key


def _is_facet(field: "Attribute[Any]", value: object) -> bool:
    return value is not None and field.name != "q" and (field.name, value) != ("stage", "")
