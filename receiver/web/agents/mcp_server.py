"""
The MCP server of the receiver at `/mcp`: streamable HTTP, stateless, with answers in JSON.

It is guarded like the rest of the API, by the receiver's own keys.
"""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Protocol
from urllib.parse import urlsplit

from anyio import to_thread
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from receiver.domain.errors import Refusal
from receiver.service.feed import Feed
from receiver.web.context import services
from receiver.web.openapi import Json, answer, operation
from receiver.web.sse import is_locked_out

__all__ = ["MCP", "Mcp", "McpServer"]

MCP: Json = operation(
    "mcp",
    "The Model Context Protocol for agents, as streamable HTTP without sessions",
    description="Tools: list_servers, find_servers, server, connection, what_happened. Each "
    "server is a resource, too. subscriptions/listen tells changes.",
    request_body={
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
    answers={
        200: answer("The JSON-RPC response", {"type": "object"}),
        202: {"description": "A notification was taken"},
    },
    problems=(400, 401, 403, 413, 503),
)


class Sdk(Protocol):
    """The MCP server in terms of the official SDK, from `mcp_sdk`."""

    async def run(self) -> None:
        """Serve, and hand on news, until cancelled."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, while `run` runs."""


class McpServer:
    """
    The receiver's MCP server. It loads the SDK, which takes half a second, when it is first asked.

    Args:
        feed: Has the news that subscribers hear.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._asked = asyncio.Event()
        self._ready: asyncio.Future[Sdk] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Wait for the first request, and then serve until cancelled."""
        await self._asked.wait()
        module = await to_thread.run_sync(import_module, "receiver.web.agents.mcp_sdk")
        sdk: Sdk = module.SdkServer(self._feed)
        serving = asyncio.create_task(sdk.run())
        self._ready.set_result(sdk)
        await serving

    async def handle(self, request: Request, send: Send) -> None:
        """
        Answer a request, which was let in already.

        Raises Refusal for a request of a web page from another origin. A stream of news ends when
        the client's key is no longer good, and when the receiver stops.
        """
        _check_origin(request)
        self._asked.set()
        sdk = await asyncio.shield(self._ready)
        receive = _ending(request.receive, lambda: AppStatus.should_exit or is_locked_out(request))
        await sdk.handle(request.scope, receive, send)


class Mcp:
    """The endpoint `/mcp`, as an ASGI app: the MCP server of the receiver answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await services(scope).agents.handle(Request(scope, receive), send)


def _check_origin(request: Request) -> None:
    """Raise Refusal when a browser says that a page of another host makes the request."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Refusal(
            403, "foreign_origin", f"A page of {origin!r} may not speak to this receiver."
        )


def _ending(receive: Receive, is_over: Callable[[], bool]) -> Receive:
    """As `receive`, but it reports a disconnect within a second after `is_over` returns True."""

    async def receive_or_end() -> Message:
        arriving = asyncio.ensure_future(receive())
        try:
            while not is_over():
                done, _ = await asyncio.wait({arriving}, timeout=1)
                if done:
                    return arriving.result()
        finally:
            arriving.cancel()
        return {"type": "http.disconnect"}

    return receive_or_end
