"""MCP clients that others wrote connect by the files that a receiver makes for them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent, Tool
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agents.clients import CLIENTS
from agents.conftest import Guarded
from agents.key_proxy import key_proxy
from agents.programs import Programs
from keyring import bearer
from receiver.web.agents.tools import TOOLS
from servers import serve

KEY = "0123456789abcdef"


class Endpoint:
    """An MCP server that takes a key, in the place of an Odoo, as an ASGI app."""

    def __init__(self) -> None:
        server: Server[Any] = Server(
            "odoo", version="1", on_list_tools=_list_tools, on_call_tool=_call_tool
        )
        self.manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (b"authorization", f"Bearer {KEY}".encode()) in scope["headers"]:
            await self.manager.handle_request(scope, receive, send)
        else:
            await Response(status_code=401)(scope, receive, send)


async def _list_tools(*_: object) -> ListToolsResult:
    schema = {"type": "object", "properties": {"order_id": {"type": "integer"}}}
    return ListToolsResult(tools=[Tool(name="sale_order_confirm", input_schema=schema)])


async def _call_tool(_: object, asked: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=asked.name)])


@contextmanager
def odoo_of_few_tools() -> Iterator[str]:
    """Run an `Endpoint`; yields its URL."""
    endpoint = Endpoint()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with endpoint.manager.run():
            yield

    with serve(Starlette(routes=[Route("/mcp/v1", endpoint)], lifespan=lifespan)) as client:
        yield str(client.base_url.join("/mcp/v1"))


def file_for(guarded: Guarded, server_id: str, client: str) -> str:
    """The file of a client for a server, from the receiver."""
    return (
        httpx.get(
            f"{guarded.process.url}/servers/{server_id}/connection",
            params={"client": client},
            headers=bearer(guarded.viewer),
            trust_env=False,
        )
        .raise_for_status()
        .text
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_client_lists_the_tools_of_a_server_by_its_file(
    programs: Programs, guarded: Guarded, client: str, tmp_path: Path
) -> None:
    name, connect = CLIENTS[client]
    with odoo_of_few_tools() as url, key_proxy(url) as passage:
        guarded.hear("acme_web", passage.url, "acme")
        file = file_for(guarded, "acme_web", name)
        connect(programs, file, KEY, tmp_path)

    assert ["sale_order_confirm"] == passage.tools()
    assert KEY not in file


@pytest.mark.parametrize("client", CLIENTS)
def test_client_lists_the_tools_of_the_receiver_itself(
    programs: Programs, guarded: Guarded, client: str, tmp_path: Path
) -> None:
    """The receiver is in the list itself, like a server, so that it makes files for itself."""
    name, connect = CLIENTS[client]
    with key_proxy(guarded.mcp) as passage:
        guarded.hear("fleet_web", passage.url, "fleet")
        connect(programs, file_for(guarded, "fleet_web", name), guarded.viewer, tmp_path)

    assert [*TOOLS] == passage.tools()


@pytest.mark.parametrize("client", CLIENTS)
def test_client_with_a_wrong_key_learns_no_tools(
    programs: Programs, guarded: Guarded, client: str, tmp_path: Path
) -> None:
    name, connect = CLIENTS[client]
    with odoo_of_few_tools() as url, key_proxy(url) as passage:
        guarded.hear("other_web", passage.url, "other")
        with pytest.raises(AssertionError):
            connect(programs, file_for(guarded, "other_web", name), KEY[::-1], tmp_path)

    assert [] == passage.tools()
