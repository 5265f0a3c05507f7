"""Finds the tools that match a question in words, and the servers that offer them."""

from collections.abc import Collection, Sequence

from attrs import frozen

from receiver.domain.agents.tool_search import best, words_of_question
from receiver.domain.queries import (
    MOST_NAMED_SERVERS,
    Filter,
    OfferedTool,
    ToolPage,
    ToolPlace,
)
from receiver.service.store_calls import StoreCalls
from receiver.store import Servers

__all__ = ["MOST_NEAR", "MOST_TOOLS", "ToolSearch"]

MOST_TOOLS = 100
"""How many tools a page has at most: the best ones."""

MOST_NEAR = 20
"""How many tools a page of those tools has at most that lack some words of the question."""


@frozen(kw_only=True)
class ToolSearch:
    """
    Searches the descriptions of tools by words.

    Attributes:
        servers: The servers in the database.
        calls: Calls their blocking methods in threads.
    """

    servers: Servers
    calls: StoreCalls

    async def find(self, matching: Filter, question: str, place: ToolPlace) -> ToolPage:
        """
        A page of the tools that fit a question such as "which Odoo can confirm a sale order?".

        A tool fits if its name, title and description together have all words of the question,
        apart from frequent words such as "which". The best tools come first. Only if all pages of
        such tools are empty, pages follow with tools that lack some words, and fit nearly as well
        as the best of these. A page may be empty although others follow. A question without words
        finds nothing.

        Args:
            matching: Only tools of servers that match this filter.
            question: The question, or some words.
            place: Where the page begins.
        """
        words = words_of_question(question)
        if not words:
            return ToolPage(tools=[], next_place=None)
        return await self.calls.read(self._find, matching, words, place)

    def _find(self, matching: Filter, words: Collection[str], place: ToolPlace) -> ToolPage:
        page = self._page(matching, words, place)
        is_first = page.next_place is not None and page.next_place.after == 0
        if page.tools or not is_first:
            return page
        return self._page(matching, words, ToolPlace(is_near=True))

    def _page(self, matching: Filter, words: Collection[str], place: ToolPlace) -> ToolPage:
        held = self.servers.tools_with(
            matching, words, after=place.after, is_any_enough=place.is_near
        )
        tools: list[OfferedTool] = []
        most = MOST_NEAR if place.is_near else MOST_TOOLS
        for found in best(held.tools, words, is_near_enough=place.is_near)[:most]:
            holders = [held.holders[catalogue] for catalogue in found.catalogues]
            ids = sorted(server_id for some, _ in holders for server_id in some)
            count = sum(number for _, number in holders)
            tools.append(
                OfferedTool(
                    tool=found.tool, server_ids=ids[:MOST_NAMED_SERVERS], server_count=count
                )
            )
        return ToolPage(tools=tools, next_place=_next(place, held.next_after, tools))


def _next(
    place: ToolPlace, next_after: int | None, tools: Sequence[OfferedTool]
) -> ToolPlace | None:
    has_found = place.has_found or bool(tools)
    if next_after is not None:
        return ToolPlace(next_after, place.is_near, has_found)
    return None if has_found or place.is_near else ToolPlace(is_near=True)
