"""The page of all tools of the fleet, and that of one tool: who offers it, and how it differs."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from receiver.domain.filter_text import FilterText
from receiver.domain.grouping.problems import counts_as_production
from receiver.domain.inventory.tools import StageCount, ToolSummary, ToolVariant
from receiver.domain.keys import Power
from receiver.service.fleet import Sighting
from receiver.web.context import Services, services
from receiver.web.headers import accepts_html
from receiver.web.inventory.tools import tool_named, tool_page
from receiver.web.pages.inventory.links import filled, link, list_link
from receiver.web.pages.rendering import PageRoute, answer_from_thread, server_url
from receiver.web.pages.sizes import fitting, html_bytes
from receiver.web.pages.wording import OF_TOOLS, apart, brief, called, is_seen
from receiver.web.requests import OfferedQuery, offered_query

__all__ = ["routes"]


class BrowserRoute(PageRoute):
    """
    A page at the path of a call of the API.

    A client that asks for HTML gets the page, and any other client the answer of the API. A client
    whose query has the parameter `format`, such as a browser that follows a link to a file, also
    gets the answer of the API.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is Match.NONE:  # first, because each request for another path ends here
            return match, found
        names_format = "format" in QueryParams(scope["query_string"])
        if names_format or not accepts_html(scope):
            return Match.NONE, {}
        return match, found


def routes() -> list[BaseRoute]:
    return [BrowserRoute("/tools", tools_page, methods=["GET"], needs=Power.READ)]


async def tools_page(request: Request) -> Response:
    """The page of all tools of the fleet, or that of the tool that the query names."""
    asked = filled(request, limit=str(_PAGE_SIZE))
    query = offered_query(asked)
    if query.name is not None:
        return await _page_of_one(request, query.name)
    return await _page_of_all(request, query)


# All tools


@frozen(kw_only=True)
class ShownTool:
    """
    A tool in the list.

    Attributes:
        tool: The tool.
        lacking: How many servers that lists show do not offer it.
        page: A link to the page of the tool.
        has: A link to the list of servers that offer it.
        lacks: A link to the list of servers that do not offer it.
        differs: The fields in which servers describe it in different ways, in words; empty if there
            are none.
    """

    tool: ToolSummary
    lacking: int
    page: str
    has: str
    lacks: str
    differs: str


async def _page_of_all(request: Request, query: OfferedQuery) -> Response:
    found = services(request)
    page = await tool_page(found, query)
    overview = page.overview
    fit = fitting(page.tools, _tool_bytes, _ROOM)
    shown = query.skipped + len(fit)
    parameters = {
        "search": query.search,
        "differs": "true" if query.differs else None,
        "sort": query.order if query.order in _SORTS else None,
    }

    def here(**changed: str | None) -> str:
        return link("tools", **{**parameters, **changed})

    return await answer_from_thread(
        request,
        "tools.html",
        query=query,
        overview=overview,
        tools=[_shown(tool, overview.servers) for tool in fit],
        total=page.total,
        first=query.skipped + 1,
        last=shown,
        here=here,
        SORTS={"": "Name", **_SORTS},
        as_json=link("tools.json", **parameters),
        as_csv=link("tools.json", **parameters, format="csv"),
        next_page=here(cursor=str(shown)) if shown < page.total else None,
        previous_page=_previous(query, here),
    )


def _previous(query: OfferedQuery, here: Any) -> str | None:
    if not query.skipped:
        return None
    before = max(0, query.skipped - query.limit)
    return str(here(cursor=str(before) if before else None))


def _shown(tool: ToolSummary, servers: int) -> ShownTool:
    return ShownTool(
        tool=tool,
        lacking=max(0, servers - tool.server_count),
        page=link("tools", name=tool.name),
        has=list_link(FilterText(tool=(tool.name,))),
        lacks=list_link(FilterText(without=(("tool", (tool.name,)),))),
        differs=_in_words(tool.differs_in),
    )


def _in_words(fields: Iterable[str]) -> str:
    """The fields in which descriptions of a tool differ, in words."""
    return ", ".join(OF_TOOLS[field] for field in fields).lower()


def _tool_bytes(tool: ToolSummary) -> int:
    """About how many bytes of HTML a tool takes in the list."""
    texts = [tool.name, tool.name, tool.title or "", tool.provider or ""]
    return 900 + html_bytes(texts) + 3 * len(link("", name=tool.name))


# One tool


@frozen(kw_only=True)
class ShownStage:
    """
    How many servers of a stage offer a tool and lack it, with links to these.

    Attributes:
        stage: The stage; "" for servers without one, None for all servers.
        offering: How many servers offer the tool.
        lacking: How many servers do not offer it.
        has: A link to the list of servers that offer it.
        lacks: A link to the list of servers that do not offer it.
    """

    stage: str | None
    offering: int
    lacking: int
    has: str
    lacks: str


@frozen(kw_only=True)
class NamedServers:
    """
    Servers of which the first ones are named on the page.

    Attributes:
        named: The servers that are named.
        count: How many servers there are.
        link: A link to the list of all of them.
    """

    named: Sequence[Sighting]
    count: int
    link: str


async def _page_of_one(request: Request, name: str) -> Response:
    found = services(request)
    overview, tool = await tool_named(found, name)
    variants = fitting(await found.tool_index.variants(name), _variant_bytes, _VARIANTS_ROOM)
    named = {each for variant in variants for each in variant.server_ids[:_SHOWN_HOLDERS]}
    names = await found.calls.read(found.store.servers.databases, named)
    stages = [each for each in await found.tool_index.stages(name) if len(each.stage) <= _LONGEST]
    stages.sort(key=lambda each: not counts_as_production(each.stage))
    counts = [(each.stage, each.offering, each.lacking) for each in stages]
    everywhere = (None, tool.server_count, max(0, overview.servers - tool.server_count))
    offering = FilterText(tool=(name,))

    return await answer_from_thread(
        request,
        "tool.html",
        tool=tool,
        stages=fitting(
            [_stage(name, *each) for each in (everywhere, *counts)], _stage_bytes, _STAGES_ROOM
        ),
        holders=await _named(found, offering, tool.server_count, most=_MOST_NAMED),
        lacking=await _lacking(found, name, stages),
        variants=variants,
        names=apart({server_id: each for server_id, each in names.items() if is_seen(each)}),
        in_words=_in_words,
        as_json=link("tools.json", name=name),
        SHOWN_HOLDERS=_SHOWN_HOLDERS,
    )


async def _lacking(found: Services, name: str, stages: Iterable[StageCount]) -> NamedServers | None:
    """The servers that lack a tool which most servers of their stage offer; None without any."""
    exceptions = [each for each in stages if each.offering > each.lacking > 0]
    shown = fitting(exceptions, lambda each: 2 * len(each.stage), _LONGEST_STAGES)
    if not shown:
        return None
    wanted = tuple(each.stage for each in shown)
    matching = FilterText(stage=wanted, without=(("tool", (name,)),))
    return await _named(found, matching, sum(each.lacking for each in shown), most=_MOST_LACKING)


async def _named(found: Services, matching: FilterText, count: int, *, most: int) -> NamedServers:
    """The first servers that match a filter; at most `most`, or fewer if their names are long."""
    page = await found.fleet.page(matching.to_filter(), after=None, limit=most)
    named = fitting(page.servers, _named_bytes, _NAMES_ROOM)
    return NamedServers(named=named, count=count, link=list_link(matching))


def _stage(name: str, stage: str | None, offering: int, lacking: int) -> ShownStage:
    stages = () if stage is None else (stage,)
    return ShownStage(
        stage=stage,
        offering=offering,
        lacking=lacking,
        has=list_link(FilterText(tool=(name,), stage=stages)),
        lacks=list_link(FilterText(stage=stages, without=(("tool", (name,)),))),
    )


def _named_bytes(server: Sighting) -> int:
    """About how many bytes of HTML a server takes that is named on the page of a tool."""
    record = server.record
    texts = [record.server_id, brief(called(record), 60), brief(record.odoo_stage or "", 60)]
    return 250 + html_bytes(texts) + len(server_url(record.server_id))


def _stage_bytes(stage: ShownStage) -> int:
    """About how many bytes of HTML a stage takes."""
    texts = [stage.stage or ""]
    return 400 + 2 * html_bytes(texts) + len(stage.has) + len(stage.lacks)


def _variant_bytes(variant: ToolVariant) -> int:
    """About how many bytes of HTML a description of a tool takes."""
    tool = variant.tool
    texts = [brief(tool.title or ""), tool.provider or "", *variant.server_ids[:_SHOWN_HOLDERS]]
    links = sum(len(server_url(each)) for each in variant.server_ids[:_SHOWN_HOLDERS])
    description = html_bytes([brief(tool.description or "", _DESCRIPTION)])
    return 1200 + 2 * html_bytes(texts) + description + 3 * links


_PAGE_SIZE = 50
_ROOM = 75_000
_VARIANTS_ROOM = 45_000
_STAGES_ROOM = 20_000
_NAMES_ROOM = 9_000
_MOST_NAMED = 24
"""How many servers that offer a tool are named on its page at most."""

_MOST_LACKING = 12
"""How many servers that lack a tool are named on its page at most."""

_LONGEST_STAGES = 400
"""How many characters the names of stages may take in the text of a filter, about."""

_DESCRIPTION = 1000
_SHOWN_HOLDERS = 5
_LONGEST = 200
"""How many characters the name of a stage may have for which there are links."""

_SORTS = {"-servers": "On most servers first", "servers": "On fewest servers first"}
