"""Finds catalogues (descriptions of a server's tools) by words, and the servers that have them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Text, bindparam, cast, func, select

from contract import Tool
from receiver.domain.queries import MOST_NAMED_SERVERS
from receiver.store.tables import among, catalogues, has_all_words, has_any_word, servers

__all__ = ["Candidates", "candidates"]

Filtering = Callable[[Select[Any]], Select[Any]]
"""Adds the conditions of a filter to a query of `servers`."""

MOST_CATALOGUES = 100
"""How many catalogues one call of `candidates` returns at most."""

MOST_CHARACTERS = 500_000
"""How many characters of JSON the catalogues of a call have together, unless one alone has more."""


class Candidates(NamedTuple):
    """
    The result of a search: catalogues that contain the words, and the servers that have them.

    The words may be in different tools of a catalogue.

    Attributes:
        tools: The tools of each catalogue, by the id of the catalogue.
        holders: By the id of the catalogue, the ids of up to `MOST_NAMED_SERVERS` servers that have
            it, sorted, and how many servers have it.
        next_after: The `after` for the next call; None if there are no more catalogues.
    """

    tools: Mapping[str, Sequence[Tool]]
    holders: Mapping[str, tuple[Sequence[str], int]]
    next_after: int | None


def candidates(
    connection: Connection,
    filtering: Filtering,
    words: Collection[str],
    *,
    after: int,
    is_any_enough: bool,
) -> Candidates:
    """
    Find catalogues (descriptions of all tools of a server) that contain words, a part at a time.

    Args:
        connection: A connection to read with.
        filtering: Adds the conditions of a filter to a query of `servers`. Catalogues that no
            matching server has now are left out.
        words: The stems of the words.
        after: Only catalogues with a number greater than this one; 0 for all.
        is_any_enough: Whether one of the words is enough; otherwise a catalogue needs all.
    """
    query = _WITH_ANY if is_any_enough else _WITH_ALL
    rows = connection.execute(query, {"words": words, "after": after}).all()
    taken: list[str] = []
    size = 0
    next_after = rows[-1].number if len(rows) == MOST_CATALOGUES else None
    for row in rows:
        size += row.size
        if taken and size > MOST_CHARACTERS:
            break
        taken.append(row.id)
        after = row.number
    if len(taken) < len(rows):
        next_after = after
    holders = _holders(connection, filtering, taken)
    tools = connection.execute(_TOOLS, {"ids": [*holders]}).all() if holders else []
    return Candidates({row.id: row.tools for row in tools}, holders, next_after)


def _holders(
    connection: Connection, filtering: Filtering, ids: Collection[str]
) -> Mapping[str, tuple[Sequence[str], int]]:
    each = filtering(
        select(
            servers.c.catalogue,
            servers.c.server_id,
            func.row_number()
            .over(partition_by=servers.c.catalogue, order_by=servers.c.server_id)
            .label("place"),
            func.count().over(partition_by=servers.c.catalogue).label("total"),
        ).where(among(servers.c.catalogue, "ids"), servers.c.catalogue.is_not(None), _IS_CURRENT)
    ).subquery()
    query = select(each).where(each.c.place <= MOST_NAMED_SERVERS).order_by(each.c.server_id)
    holders: dict[str, tuple[list[str], int]] = {}
    for row in connection.execute(query, {"ids": [*ids]}):
        found, _ = holders.setdefault(row.catalogue, ([], row.total))
        found.append(row.server_id)
    return holders


# As `receiver.domain.rows.is_of_catalogue` says: the id begins with the digest that came with it.
_BEGIN = servers.c.tools_digest + " "
_IS_CURRENT = func.substr(servers.c.catalogue, 1, func.length(_BEGIN)) == _BEGIN
_AFTER = (
    select(
        catalogues.c.number,
        catalogues.c.id,
        func.length(cast(catalogues.c.tools, Text)).label("size"),
    )
    .where(catalogues.c.number > bindparam("after"))
    .order_by(catalogues.c.number)
    .limit(MOST_CATALOGUES)
)
_WITH_ALL = _AFTER.where(has_all_words("words"))
_WITH_ANY = _AFTER.where(has_any_word("words"))
_TOOLS = select(catalogues.c.id, catalogues.c.tools).where(among(catalogues.c.id, "ids"))
