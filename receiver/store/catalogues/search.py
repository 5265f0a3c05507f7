"""Finds tools by words, and the servers that offer them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from contract import Tool
from receiver.domain.agents.tool_search import best
from receiver.domain.queries import OfferedTool, ToolPage
from receiver.store.tables import among, catalogues, has_all_words, has_any_word, servers

__all__ = ["find_tools"]

Filtering = Callable[[Select[Any]], Select[Any]]
"""Adds the conditions of a filter to a query of `servers`."""

MOST_CATALOGUES = 100
"""How many catalogues are looked through for one page."""

MOST_NEAR = 20
"""How many tools a page has at most that lack some of the words."""

MOST_SERVERS = 20
"""How many servers are named for each tool."""


def find_tools(
    connection: Connection, filtering: Filtering, words: Collection[str], *, after: int
) -> ToolPage:
    """
    The tools of some servers that have all of some words in their name, title or description.

    If no tool has all words, those that come near are on the first page, which is the only one
    then. A page that is not the last one may be empty.

    Args:
        connection: A connection to read with.
        filtering: Which servers.
        words: The stems of the words; without any, no tool is found.
        after: The `next_after` of the page before; 0 for the first page.
    """
    if not words:
        return ToolPage(tools=[], next_after=None)
    found, next_after = _catalogues_with(connection, words, after=after)
    tools = _offered(connection, filtering, found, words, is_near_enough=False)
    if after or tools or next_after is not None:
        return ToolPage(tools=tools, next_after=next_after)
    found, _ = _catalogues_with(connection, words, after=0, is_any_enough=True)
    tools = _offered(connection, filtering, found, words, is_near_enough=True)
    return ToolPage(tools=tools[:MOST_NEAR], next_after=None)


def _offered(
    connection: Connection,
    filtering: Filtering,
    found: Mapping[str, Collection[Tool]],
    words: Collection[str],
    *,
    is_near_enough: bool,
) -> Sequence[OfferedTool]:
    """The tools of the catalogues `found` that servers of the filter offer, the best ones first."""
    holders = _holders(connection, filtering, found)
    held = {catalogue: found[catalogue] for catalogue in found if catalogue in holders}
    offered = []
    for each in best(held, words, is_near_enough=is_near_enough):
        counts = [holders[catalogue] for catalogue in each.catalogues]
        ids = sorted(server_id for ids, _ in counts for server_id in ids)
        total = sum(count for _, count in counts)
        offered.append(
            OfferedTool(tool=each.tool, server_ids=ids[:MOST_SERVERS], server_count=total)
        )
    return offered


def _holders(
    connection: Connection, filtering: Filtering, found: Collection[str]
) -> Mapping[str, tuple[Sequence[str], int]]:
    """The first servers that have each catalogue, sorted by id, and how many have it in all."""
    each = filtering(
        select(
            servers.c.catalogue,
            servers.c.server_id,
            func.row_number()
            .over(partition_by=servers.c.catalogue, order_by=servers.c.server_id)
            .label("place"),
            func.count().over(partition_by=servers.c.catalogue).label("total"),
        ).where(among(servers.c.catalogue, "catalogues"), servers.c.catalogue.is_not(None))
    ).subquery()
    query = select(each).where(each.c.place <= MOST_SERVERS).order_by(each.c.server_id)
    holders: dict[str, tuple[list[str], int]] = {}
    for row in connection.execute(query, {"catalogues": [*found]}):
        ids, _ = holders.setdefault(row.catalogue, ([], row.total))
        ids.append(row.server_id)
    return holders


def _catalogues_with(
    connection: Connection, words: Collection[str], *, after: int, is_any_enough: bool = False
) -> tuple[Mapping[str, Collection[Tool]], int | None]:
    """
    The tools of catalogues that have all of some words, perhaps in different tools.

    Args:
        connection: The transaction.
        words: The stems of the words.
        after: Only catalogues with a greater number; 0 for all.
        is_any_enough: Whether one of the words is enough.

    Returns the tools by the ids of the catalogues, and the number after which there may be more;
    None when there are no more.
    """
    query = _WITH_ANY if is_any_enough else _WITH_ALL
    rows = connection.execute(query, {"words": words, "after": after}).all()
    found = {row.id: row.tools for row in rows}
    return found, rows[-1].number if len(rows) == MOST_CATALOGUES else None


_AFTER = (
    select(catalogues.c.number, catalogues.c.id, catalogues.c.tools)
    .where(catalogues.c.number > bindparam("after"))
    .order_by(catalogues.c.number)
    .limit(MOST_CATALOGUES)
)
_WITH_ALL = _AFTER.where(has_all_words("words"))
_WITH_ANY = _AFTER.where(has_any_word("words"))
