"""
The MCP server of the receiver, built on the official SDK of MCP.

Importing this module imports the SDK, which takes half a second. Therefore `mcp_server` imports it
only at the first request of an agent.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
    Tool,
    ToolAnnotations,
)
from starlette.types import Receive, Scope, Send

from contract import EventKind, FleetError
from receiver.domain.errors import StoreUnavailable
from receiver.service.feed import Feed, Follower, News
from receiver.web.agents.tools import (
    INSTRUCTIONS,
    TOOLS,
    URI,
    read_server,
    server_of,
    server_uri,
)
from receiver.web.context import services
from receiver.web.problems import refusal

__all__ = ["NewsBus", "SdkServer"]

_log = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]

_RETRY_SECONDS = 1.0
_RESOURCES = 100
"""How many resources a page has."""

_JSON = "application/json"
_LISTED = {
    EventKind.REGISTERED,
    EventKind.REBUILT,
    EventKind.RECOVERED,
    EventKind.LEFT,
    EventKind.DELETED,
    EventKind.NODE,
    EventKind.NODE_LEFT,
}
"""The kinds of events after which the list of resources may have other servers."""


class SdkServer:
    """
    The MCP server. It answers requests of old and new versions of the protocol, without sessions.

    Args:
        feed: Delivers the events from which the messages to subscribers are made.
    """

    def __init__(self, feed: Feed) -> None:
        self._news = NewsBus(feed)
        server: Server[Any] = Server(
            "odoo-mcp-fleet",
            version="1",
            title="Odoo MCP Fleet",
            instructions=INSTRUCTIONS,
            on_list_tools=_list_tools,
            on_call_tool=_call_tool,
            on_list_resources=_list_resources,
            on_list_resource_templates=_list_templates,
            on_read_resource=_read_resource,
            on_subscriptions_listen=ListenHandler(self._news, max_subscriptions=100),
        )
        self._manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
        self._is_running = asyncio.Event()

    async def run(self) -> None:
        """Run the sessions of the SDK, and send news to subscribers, until cancelled."""
        async with self._manager.run():
            self._is_running.set()
            await self._news.run()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an MCP request. Waits until `run` has been started in another task."""
        await self._is_running.wait()
        await self._manager.handle_request(scope, receive, send)


class NewsBus(InMemorySubscriptionBus):
    """
    Notifies subscribed MCP clients of new events, also of those that another receiver wrote.

    It reads events from the feed only while there are subscribers.
    """

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        self._subscribers: set[object] = set()
        self._is_asked = asyncio.Event()
        self._follower = Follower(_everything)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        unsubscribe = super().subscribe(listener)
        token = object()
        self._subscribers.add(token)
        self._is_asked.set()

        def leave() -> None:
            unsubscribe()
            self._subscribers.discard(token)
            if not self._subscribers:
                self._is_asked.clear()
                self._follower.end()

        return leave

    async def run(self) -> None:
        """While there are subscribers, send each new event to them; run until cancelled."""
        while True:
            await self._is_asked.wait()
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - the next attempt may succeed
                known = isinstance(error, StoreUnavailable)
                reason = "Agents that listen hear no news for now: %s"
                _log.warning(reason, error, exc_info=not known)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        after = await self._feed.last_event()
        if not self._subscribers:
            return
        self._follower = Follower(_everything)
        with self._feed.followed(self._follower, after=after):
            # What happened before, and while nobody followed, is not known: so much may be new.
            await self.publish(ResourcesListChanged())
            async for news in self._follower:
                await self._tell(news)

    async def _tell(self, news: list[News]) -> None:
        about = dict.fromkeys(each.event.server_id for each in news)
        for server_id in filter(None, about):
            await self.publish(ResourceUpdated(uri=server_uri(server_id)))
        if any(each.event.kind in _LISTED for each in news):
            await self.publish(ResourcesListChanged())


def _everything(_: News) -> bool:
    return True


async def _list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(
        tools=[
            Tool(
                name=each.name,
                title=each.title,
                description=each.description,
                input_schema=each.input_schema,
                output_schema=each.answers,
                annotations=ToolAnnotations(
                    title=each.title,
                    read_only_hint=True,
                    destructive_hint=False,
                    idempotent_hint=True,
                    open_world_hint=False,
                ),
            )
            for each in TOOLS.values()
        ]
    )


async def _call_tool(context: Context, asked: CallToolRequestParams) -> CallToolResult:
    tool = TOOLS.get(asked.name)
    if tool is None:
        known = ", ".join(TOOLS)
        raise MCPError(INVALID_PARAMS, f"There is no tool {asked.name!r}; these are: {known}")
    try:
        found = await tool(_services(context), asked.arguments or {})
    except FleetError as error:
        # The reasons that databases give name machines and users.
        return CallToolResult(content=[TextContent(text=str(refusal(error)))], is_error=True)
    return CallToolResult(content=[TextContent(text=_text(found))], structured_content=found)


async def _list_resources(
    context: Context, asked: PaginatedRequestParams | None
) -> ListResourcesResult:
    arguments: dict[str, Any] = {"limit": _RESOURCES}
    if asked is not None and asked.cursor is not None:
        arguments["cursor"] = asked.cursor
    try:
        page = await TOOLS["list_servers"](_services(context), arguments)
    except FleetError as error:
        raise _mcp_error(error) from error
    return ListResourcesResult(
        resources=[
            Resource(
                uri=server_uri(each["server_id"]),
                name=each["server_id"],
                mime_type=_JSON,
            )
            for each in page["servers"]
        ],
        next_cursor=page["next_cursor"],
    )


async def _list_templates(
    _: Context, __: PaginatedRequestParams | None
) -> ListResourceTemplatesResult:
    template = ResourceTemplate(
        uri_template=URI,
        name="server",
        title="An Odoo server",
        description="All that is known of a server, as the tool `server` answers it.",
        mime_type=_JSON,
    )
    return ListResourceTemplatesResult(resource_templates=[template])


async def _read_resource(context: Context, asked: ReadResourceRequestParams) -> ReadResourceResult:
    server_id = server_of(asked.uri)
    if server_id is None:
        raise MCPError(INVALID_PARAMS, f"There is no resource {asked.uri!r}.")
    try:
        found = await read_server(_services(context), server_id)
    except FleetError as error:
        raise _mcp_error(error) from error
    contents = TextResourceContents(uri=asked.uri, mime_type=_JSON, text=_text(found))
    return ReadResourceResult(contents=[contents])


def _services(context: Context) -> Any:
    assert context.request is not None  # each message comes in a request of its own
    return services(context.request.scope)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _mcp_error(error: FleetError) -> MCPError:
    refused = refusal(error)
    return MCPError(INTERNAL_ERROR if refused.status >= 500 else INVALID_PARAMS, str(refused))
