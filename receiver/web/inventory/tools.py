"""All tools of the fleet: how many servers offer each and lack it, and how they describe it."""

from collections.abc import Sequence
from typing import Any

import orjson
from attrs import asdict, fields, frozen
from starlette.requests import Request
from starlette.responses import Response

from contract import Problem, unstructure
from receiver.domain.errors import Refusal
from receiver.domain.inventory.tools import (
    ORDERS,
    ToolOverview,
    ToolSummary,
    ToolVariant,
    ranked,
)
from receiver.domain.queries import ALL_SERVERS, FIRST_TOOLS
from receiver.web import openapi
from receiver.web.agents.tool_list import search
from receiver.web.context import Services, services
from receiver.web.exports import AnyPart, FileFormat, Part, Sheet, file_answer
from receiver.web.openapi import COUNT, TEXT, Json, answer, listed, object_of, operation, parameter
from receiver.web.requests import OfferedQuery, offered_query

__all__ = [
    "TOOLS_OF_FLEET",
    "ToolPage",
    "fleet_tools",
    "fleet_tools_file",
    "tool_named",
    "tool_page",
]

_DIFFERS_IN = {
    **listed({"enum": ["input_schema_digest", "description", "title", "annotations", "provider"]}),
    "description": "In which fields these descriptions differ.",
}
_TOOL: dict[str, Json] = {
    "name": TEXT,
    "title": {"type": ["string", "null"]},
    "provider": {"type": ["string", "null"]},
    "server_count": COUNT,
    "variant_count": {**COUNT, "description": "In how many ways servers describe it."},
    "differs_in": _DIFFERS_IN,
}
_LIST = object_of(
    tools=listed(object_of(**_TOOL)),
    count=COUNT,
    total={**COUNT, "description": "How many tools match."},
    servers={**COUNT, "description": "How many servers the list of servers has."},
    offering={**COUNT, "description": "How many of them offer any tools."},
    counted={
        **COUNT,
        "description": "How many of these are counted here: fewer while the names of their tools "
        "are still being read.",
    },
    next_cursor={"type": ["string", "null"]},
)
_ONE = object_of(
    **_TOOL,
    stages=listed(
        object_of(
            stage={**TEXT, "description": "Empty for servers without a stage."},
            offering=COUNT,
            lacking=COUNT,
        )
    ),
    variants=listed(
        {
            "allOf": [
                openapi.ref("Tool"),
                object_of(server_count=COUNT, server_ids=listed(TEXT), differs_in=_DIFFERS_IN),
            ]
        }
    ),
)
TOOLS_OF_FLEET = operation(
    "fleetTools",
    "Every tool of the fleet, or one of them",
    description="Of the servers that lists show. With name, the answer is about one tool: how many "
    "servers of the stages with most servers offer it and lack it, and the descriptions that "
    "servers give it, the most frequent ones first. What is unknown in a description differs from "
    "nothing. A list that changes while it is paged may repeat a tool, or leave one out.",
    parameters=[
        parameter("name", "Only the tool with this name.", TEXT),
        parameter(
            "search",
            "Only tools with these words in their names, titles or modules; if there are none, "
            "those that GET /tools finds.",
            {"type": "string", "maxLength": 1000},
        ),
        parameter(
            "differs", "Only tools that servers describe in different ways.", {"type": "boolean"}
        ),
        parameter("sort", "The order of the list.", {"enum": [*ORDERS]}),
        openapi.LIMIT,
        openapi.CURSOR,
    ],
    answers={200: answer("A page, or the tool", {"anyOf": [_LIST, _ONE]})},
    problems=(400, 401, 403, 404, 503),
)


@frozen(kw_only=True)
class ToolPage:
    """
    A page of the list of all tools of the fleet.

    Attributes:
        overview: All tools of the fleet, and the numbers of servers.
        tools: The tools of the page.
        total: How many tools match the query, on all pages.
        next_cursor: The cursor of the next page; None if this is the last one.
    """

    overview: ToolOverview
    tools: Sequence[ToolSummary]
    total: int
    next_cursor: str | None


async def fleet_tools(request: Request) -> Response:
    """
    Answer with a page of the list of all tools, or with the tool that the query names.

    The answer about one tool says how many servers offer it, in which stages, and how they describe
    it.
    """
    query = offered_query(request)
    found = services(request)
    if query.name is None:
        return _json(_list_as_json(await tool_page(found, query)))
    _, summary = await tool_named(found, query.name)
    content = {
        **asdict(summary),
        "stages": [asdict(each) for each in await found.tool_index.stages(query.name)],
        "variants": [_variant(each) for each in await found.tool_index.variants(query.name)],
    }
    return _json(content)


async def fleet_tools_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of all tools of the fleet that match the query."""
    query = offered_query(request)
    if query.name is not None:
        problem = Problem("name", "is told in JSON only, not in a file")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    _, matching = await _matching(services(request), query)

    async def read(begin: int | None, limit: int) -> AnyPart[int]:
        end = (begin or 0) + limit
        tools = matching[end - limit : end]
        content = _SHEET.part(file_format, map(asdict, tools))
        return Part(content, len(tools)), end if end < len(matching) else None

    return await file_answer(
        request,
        file_format,
        _SHEET,
        read,
        begin=query.skipped,
        most=query.limit if "limit" in request.query_params else None,
    )


async def tool_page(found: Services, query: OfferedQuery) -> ToolPage:
    """The page of the list of all tools that a query asks for. Raises StoreUnavailable."""
    overview, matching = await _matching(found, query)
    end = query.skipped + query.limit
    return ToolPage(
        overview=overview,
        tools=matching[query.skipped : end],
        total=len(matching),
        next_cursor=str(end) if end < len(matching) else None,
    )


async def _matching(
    found: Services, query: OfferedQuery
) -> tuple[ToolOverview, Sequence[ToolSummary]]:
    """All tools, and those that match the query, in the order that it asks for."""
    overview = await found.tool_index.overview()
    matching = await found.calls.read(_ranked, overview, query)
    if query.search and not matching:
        page = await search(found).find(ALL_SERVERS, query.search, FIRST_TOOLS)
        names = frozenset(each.tool.name for each in page.tools)
        matching = await found.calls.read(_ranked, overview, query, names)
    return overview, matching


def _ranked(
    overview: ToolOverview, query: OfferedQuery, names: frozenset[str] = frozenset()
) -> list[ToolSummary]:
    return ranked(
        overview.tools,
        search=query.search,
        names=names,
        differs=query.differs,
        order=query.order,
    )


async def tool_named(found: Services, name: str) -> tuple[ToolOverview, ToolSummary]:
    """
    All tools of the fleet, and the one with a name.

    Raises Refusal (404) if no server that lists show offers such a tool. Raises StoreUnavailable.
    """
    overview = await found.tool_index.overview()
    summary = await found.calls.read(overview.named, name)
    if summary is None:
        raise Refusal(404, "not_found", f"No server offers a tool {name!r}.")
    return overview, summary


def _list_as_json(page: ToolPage) -> dict[str, Any]:
    overview = page.overview
    return {
        "tools": [asdict(tool) for tool in page.tools],
        "count": len(page.tools),
        "total": page.total,
        "servers": overview.servers,
        "offering": overview.offering,
        "counted": overview.counted,
        "next_cursor": page.next_cursor,
    }


def _variant(variant: ToolVariant) -> dict[str, Any]:
    return {
        **unstructure(variant.tool),
        "server_count": variant.server_count,
        "server_ids": [*variant.server_ids],
        "differs_in": [*variant.differs_in],
    }


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


_SHEET = Sheet(name="tools", columns=[each.name for each in fields(ToolSummary)])
