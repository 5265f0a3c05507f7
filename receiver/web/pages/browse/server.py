"""The page of a server."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract import ServerRecord, Tool
from receiver.domain.agents.client_files import (
    API_KEY_STEPS,
    Client,
    client_file,
    install_link,
    is_connectable,
)
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.domain.queries import EventFilter
from receiver.service.availability import LONGEST
from receiver.service.fleet import Fleet
from receiver.web.agents.connection import connection_of
from receiver.web.context import Services, services, visitor
from receiver.web.pages import wording
from receiver.web.pages.browse.events import events_of
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.silenced import silenced_now
from receiver.web.requests import EventQuery
from receiver.web.routing import with_ids_in_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    # A server_id may contain slashes.
    page = PageRoute("/server/{server_id:path}", server_page, methods=["GET"], needs=Power.READ)
    return [*with_ids_in_query([page])]


async def server_page(request: Request) -> Response:
    """The page of a server: its record, availability and events."""
    server_id = request.path_params["server_id"]
    fleet = services(request).fleet
    found = await fleet.past(lambda *both: both, server_id, within=LONGEST)
    if found is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    server, history = found
    query = EventQuery(matching=EventFilter(server_id=server_id), limit=_TIMELINE)
    timeline, older = await events_of(fleet, query)
    silenced = await silenced_now(services(request))

    return await answer_from_thread(
        request,
        "server.html",
        server=server,
        facts=wording.facts(server.record),
        history=history,
        timeline=timeline,
        superseded=wording.superseded(server_id, [each.event for each in timeline]),
        older=older,
        may_delete=visitor(request).may_manage,
        windows=silenced.of(server.record),
        tools=await _described_tools(fleet, server_id),
        connect=await _ways_to_connect(services(request), server.record),
        api_key_steps=API_KEY_STEPS,
        **await _ownership(request, server_id),
    )


async def _described_tools(fleet: Fleet, server_id: str) -> Sequence[Tool]:
    """The first tools that a server has described."""
    found = await fleet.tools(server_id)
    return found.tools[:_DESCRIBED_TOOLS] if found is not None and found.tools else ()


async def _ways_to_connect(found: Services, record: ServerRecord) -> list[dict[str, Any]]:
    """The configuration files of MCP clients for a server, and links that install them."""
    reached = await connection_of(found, record)
    if reached is None:
        return []
    return [
        {
            "client": client.value,
            "file": client_file(client, [reached]),
            "link": install_link(reached) if client is Client.CURSOR else None,
        }
        for client in Client
        if is_connectable(client, reached)
    ]


async def _ownership(request: Request, server_id: str) -> dict[str, Any]:
    """For administrators: the key that owns a server, and the keys that could own it instead."""
    who = visitor(request)
    if who.key is None or not who.may_manage:
        return {"owner": None, "heirs": None}
    found = services(request)
    owner = await found.calls.read(found.store.servers.owner, server_id)
    now = found.clock()
    keys = found.mirror.keys
    heirs = [key for key in keys if key.why_not_own(server_id, now) is None and key.id != owner]
    return {"owner": owner and keys.get(owner), "heirs": heirs}


_TIMELINE = 100
_DESCRIBED_TOOLS = 100
