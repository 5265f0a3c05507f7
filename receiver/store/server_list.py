"""The SQL of a list of servers: filters through the inverted index, order, keyset pagination."""

from collections.abc import Sequence
from typing import Any

from attrs import Attribute, asdict
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

from contract import State
from receiver.domain.queries import NODE, SUPERSEDED, Filter, Order, Place, index_text
from receiver.store.tables import facets, is_listed, servers

__all__ = ["apply_filter", "list_query"]


def list_query(
    wanted: Sequence[ColumnElement[Any]],
    matching: Filter,
    order: Order,
    *,
    after: Place | None,
    limit: int,
) -> Select[Any]:
    """A SELECT of `wanted` columns: at most `limit` matching servers, ordered, after a place."""
    by_key = order.field == "server_id"
    query, key = apply_filter(select(*wanted) if by_key else select(servers.c.server_id), matching)
    columns: list[ColumnElement[Any]] = [key] if by_key else [servers.c[order.field], key]
    if after is not None:
        query = query.where(_is_beyond(order, columns, after))
    query = query.order_by(*_sorted_by(order, columns)).limit(limit)
    if by_key:
        return query
    # The database sorts keys alone, not whole rows.
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


def apply_filter(query: Select[Any], matching: Filter) -> tuple[Select[Any], ColumnElement[str]]:
    """
    Add the WHERE clauses of a filter to a query of `servers`.

    Returns also a column with the `server_id`: that of the table by which the database finds the
    servers. Sorting and comparing by this column needs no other index.
    """
    key: ColumnElement[str] = servers.c.server_id
    if matching.state is None:
        query = query.where(is_listed)
    if matching.q is not None:
        texts = (servers.c.hostname, servers.c.database, servers.c.server_id)
        query = query.where(or_(*(text.icontains(matching.q, autoescape=True) for text in texts)))
    if matching.stage == "" and matching.state in {SUPERSEDED, NODE}:
        query = query.where(func.coalesce(servers.c.odoo_stage, "") == "")
    elif matching.stage == "":
        listed = [state.value for state in State if state is not State.LEFT]
        states = listed if matching.state is None else [matching.state]
        standing = facets.alias()
        query = query.join(standing, standing.c.server_id == key).where(
            standing.c.name == "standing", standing.c.value.in_([f"{each}/" for each in states])
        )
        key = standing.c.server_id
    for name, text in asdict(matching, filter=_is_indexed).items():
        entry = facets.alias()
        query = query.join(entry, entry.c.server_id == key).where(
            entry.c.name == name, entry.c.value == index_text(text)
        )
        key = entry.c.server_id
    return query, key


def _is_indexed(field: "Attribute[Any]", value: object) -> bool:
    return value is not None and field.name != "q" and (field.name, value) != ("stage", "")
