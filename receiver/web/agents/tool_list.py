"""
The calls that tell what tools do: a search over all servers, and the tools of one server.

Both answer in JSON, or with a file.
"""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from contract import unstructure
from receiver.domain.agents.tool_search import MOST_INDEXED_WORDS
from receiver.domain.cursors import write_tool_cursor
from receiver.domain.errors import Refusal
from receiver.domain.queries import OfferedTool, ToolPlace, ToolsOfServer
from receiver.service.agents.tool_search import MOST_TOOLS, ToolSearch
from receiver.web import openapi
from receiver.web.context import Services, services
from receiver.web.exports import AnyPart, FileFormat, Part, Sheet, file_answer, whole_file
from receiver.web.headers import json_answer, tag_of
from receiver.web.openapi import Json, answer, operation
from receiver.web.requests import tool_query

__all__ = [
    "FIND_TOOLS",
    "TOOLS_OF_SERVER",
    "find_tools",
    "find_tools_file",
    "offered",
    "search",
    "tools_of_server",
    "tools_of_server_file",
]

FIND_TOOLS = operation(
    "findTools",
    "The tools that a question means, and the servers that offer them",
    description="A tool is found when its name, title and description have all telling words of "
    "the question; when no page has such a tool, pages with those that come near follow. The best "
    f"{MOST_TOOLS} of a page are listed, the best first. A page may be empty: there may be more as "
    "long as there is a next_cursor. Of the description of a server's tools, the first "
    f"{MOST_INDEXED_WORDS:,} different words are searched, those of all names first.",
    parameters=[openapi.SEARCH, openapi.CURSOR, *openapi.FILTERS],
    answers={200: answer("A page", openapi.TOOLS_PAGE)},
    problems=(400, 401, 403, 503),
)
TOOLS_OF_SERVER = operation(
    "toolsOfServer",
    "What the tools of a server are for",
    answers={200: answer("The tools", openapi.TOOLS)},
    problems=(401, 403, 404, 503),
)


async def find_tools(request: Request) -> Response:
    """Answer with the tools that match a question in words, and the servers that offer them."""
    query = tool_query(request)
    page = await search(services(request)).find(query.matching, query.search, query.place)
    body = {
        "tools": [offered(each) for each in page.tools],
        "count": len(page.tools),
        "next_cursor": page.next_place and write_tool_cursor(page.next_place),
    }
    return Response(orjson.dumps(body), media_type="application/json")


async def find_tools_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the tools that match a question in words."""
    query = tool_query(request)
    tools = search(services(request))

    async def read(place: ToolPlace | None, _: int) -> AnyPart[ToolPlace]:
        page = await tools.find(query.matching, query.search, place or query.place)
        content = _FOUND.part(file_format, map(offered, page.tools))
        return Part(content, len(page.tools)), page.next_place

    return await file_answer(request, file_format, _FOUND, read)


async def tools_of_server(request: Request) -> Response:
    """Answer with the tools of a server, as the server has last described them."""
    server_id = request.path_params["server_id"]
    found = await _tools_of(request, server_id)
    body = orjson.dumps(
        {
            "server_id": server_id,
            "is_current": found.is_current,
            "tools": None if found.tools is None else unstructure(found.tools),
        }
    )
    return json_answer(request, body, tag_of(body))


async def tools_of_server_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the tools of a server, as the server has last described them."""
    server_id = request.path_params["server_id"]
    found = await _tools_of(request, server_id)
    tools = [unstructure(each) for each in found.tools or ()]
    return await whole_file(request, file_format, _TOOLS, tools)


async def _tools_of(request: Request, server_id: str) -> ToolsOfServer:
    found = await services(request).fleet.tools(server_id)
    if found is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    return found


def search(found: Services) -> ToolSearch:
    """The app's `ToolSearch`, which searches the descriptions of tools."""
    return ToolSearch(servers=found.store.servers, calls=found.calls)


def offered(each: OfferedTool) -> Json:
    """A tool and the servers that offer it, as a JSON object."""
    return {
        **unstructure(each.tool),
        "server_ids": [*each.server_ids],
        "server_count": each.server_count,
    }


_FIRST_COLUMNS = ("name", "title", "description", "provider")
_TOOLS = Sheet(name="tools", columns=_FIRST_COLUMNS)
_FOUND = Sheet(
    name="tools",
    columns=[*_FIRST_COLUMNS, "server_count", "server_ids"],
    special={"server_ids": lambda tool: ", ".join(tool["server_ids"])},
)
