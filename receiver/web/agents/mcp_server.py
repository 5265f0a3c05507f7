"""
The MCP server of the receiver at `/mcp`: streamable HTTP, stateless, with answers in JSON.

Like the rest of the API, it requires one of the receiver's own keys.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Protocol

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from receiver.access.gate import is_this_machine
from receiver.domain.errors import Refusal
from receiver.service.feed import Feed
from receiver.web import openapi
from receiver.web.context import services, visitor
from receiver.web.openapi import Json, operation
from receiver.web.requests import json_body
from receiver.web.sse import is_locked_out, is_stopping

__all__ = ["MCP", "Mcp", "McpServer"]

_log = logging.getLogger(__name__)

_SDK = "receiver.web.agents.mcp_sdk"
_MAX_BYTES = 64 * 1024

_ANSWER: Json = {"application/json": {"schema": {"type": "object"}}}
MCP: Json = operation(
    "mcp",
    "The Model Context Protocol for agents, as streamable HTTP without sessions",
    description="Tools: list_servers, find_servers, find_tools, server, connection, "
    "what_happened. Each server is a resource, too. subscriptions/listen tells changes. The "
    "JSON-RPC error of a request that cannot be read has the status 400, and that of an unknown "
    "method may have 404.",
    request_body=openapi.body({"type": "object"}),
    answers={
        200: {
            "description": "The JSON-RPC response, or the stream of a subscription",
            "content": {**_ANSWER, "text/event-stream": {"schema": openapi.TEXT}},
        },
        202: {"description": "A notification was taken"},
    },
    problems=(400, 401, 403, 404, 406, 413, 415, 503),
)
for _status in ("400", "404", "406"):
    MCP["responses"][_status]["content"] |= _ANSWER


class Sdk(Protocol):
    """What `McpServer` calls of `mcp_sdk.SdkServer`, which is built on the official SDK of MCP."""

    async def run(self) -> None:
        """Run the sessions of the SDK, and send news to subscribers, until cancelled."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an MCP request. Waits until `run` has been started in another task."""


class McpServer:
    """
    The receiver's MCP server. It loads the SDK, which takes half a second, at the first request.

    Args:
        feed: Delivers the events from which the messages to subscribers are made.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._asked = asyncio.Event()
        self._ready: asyncio.Future[Sdk | None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Wait for the first request, then load the SDK and run it, until cancelled."""
        await self._asked.wait()
        try:
            module = await to_thread.run_sync(import_module, _SDK)
        except ImportError:
            _log.exception("Agents are not answered: the SDK of MCP cannot be imported")
            self._ready.set_result(None)
            return
        sdk: Sdk = module.SdkServer(self._feed)
        serving = asyncio.create_task(sdk.run())
        self._ready.set_result(sdk)
        await serving

    async def handle(self, request: Request, send: Send) -> None:
        """
        Answer a request that the gate has let in.

        Raises Refusal for a request that a web page of another origin sends; for one with a session
        cookie instead of a key, because agents have keys; for a client that takes no JSON; for a
        body that is too large, too slow or of another media type; and for every request if the SDK
        cannot be imported. A stream of messages to a subscriber ends when the client's key is no
        longer valid, and when the receiver stops.
        """
        if visitor(request).session is not None:
            raise Refusal(401, "key_missing", "Send a viewer's key: Authorization: Bearer ...")
        _check_origin(request)
        _check_accept(request)
        found = services(request)
        body = await json_body(request.scope, request.receive, _MAX_BYTES, found.body_timeout)
        self._asked.set()
        sdk = await asyncio.shield(self._ready)
        if sdk is None:
            raise Refusal(
                503, "mcp_unavailable", "The SDK of MCP is not installed as it is needed."
            )
        receive = _replayed(body, request.receive, lambda: _is_over(request))
        await sdk.handle(request.scope, receive, send)


class Mcp:
    """The endpoint `/mcp`, an ASGI app that passes requests on to the receiver's MCP server."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientDisconnect):
            await services(scope).answer_agent(Request(scope, receive), send)


def _check_origin(request: Request) -> None:
    """
    Raise Refusal when a browser says that a page of another host makes the request.

    A malicious site can let its own host name resolve to the receiver (DNS rebinding), and then
    `Host` and `Origin` agree. Over HTTPS it cannot: the browser would not accept the receiver's
    certificate for that name. So over plain HTTP only pages of this machine are let in.
    """
    origin = request.headers.get("origin")
    host = request.headers.get("host", "").lower()
    own = {f"https://{host}"}
    if is_this_machine(host.encode("latin-1")):
        own.add(f"http://{host}")
    if origin is not None and origin.lower() not in own:
        raise Refusal(
            403, "foreign_origin", f"A page of {origin!r} may not speak to this receiver."
        )


def _check_accept(request: Request) -> None:
    """Raise Refusal for a request whose answer may not be JSON."""
    accepted = request.headers.get("accept", "*/*").lower()
    if not any(each in accepted for each in ("application/json", "application/*", "*/*")):
        raise Refusal(
            406,
            "not_acceptable",
            "Say Accept: application/json, text/event-stream.",
        )


def _is_over(request: Request) -> bool:
    """Whether the receiver stops, or the key of a request is no longer valid."""
    return is_stopping() or is_locked_out(request)


def _replayed(body: bytes, receive: Receive, is_over: Callable[[], bool]) -> Receive:
    """
    Make a `receive` for a request whose body was read already.

    It returns the body, and then the end of the request: when the client disconnects, or within a
    second after `is_over` returns True.
    """
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        if unread:
            return unread.pop()
        arriving = asyncio.ensure_future(receive())
        try:
            while not is_over():
                done, _ = await asyncio.wait({arriving}, timeout=1)
                if done:
                    return arriving.result()
        finally:
            arriving.cancel()
        return {"type": "http.disconnect"}

    return receive_again
