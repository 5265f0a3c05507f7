"""
The page of a server, in the order of the questions that people have.

Is it well, and since when; how is it reached; what does it offer; what happened to it; and the
rest of its record.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from anyio import to_thread
from attrs import evolve, frozen
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
from receiver.domain.alerts.values import Alarm
from receiver.domain.cursors import write_event_cursor
from receiver.domain.databases import LONGEST_NOTE
from receiver.domain.errors import Refusal
from receiver.domain.inventory.tool_groups import ToolGroup, grouped
from receiver.domain.keys import Power
from receiver.domain.queries import EventFilter, Node, RecordedEvent
from receiver.service.availability import LONGEST, WINDOWS, History
from receiver.service.fleet import Fleet
from receiver.store import SqlStore
from receiver.web.agents.connection import connection_of, may_be_at
from receiver.web.context import Services, services, visitor
from receiver.web.databases.labels import annotation_of
from receiver.web.pages import wording
from receiver.web.pages.browse.events import events_of
from receiver.web.pages.rendering import PageRoute, answer_from_thread, server_url
from receiver.web.pages.silenced import silenced_now
from receiver.web.pages.sizes import fitting, html_bytes, lines_bytes
from receiver.web.requests import EventQuery
from receiver.web.routing import with_ids_in_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    # A server_id may contain slashes.
    page = PageRoute("/server/{server_id:path}", server_page, methods=["GET"], needs=Power.READ)
    return [*with_ids_in_query([page])]


async def server_page(request: Request) -> Response:
    """The page of a server: its state, how to reach it, its tools, its events and its record."""
    server_id = request.path_params["server_id"]
    found = services(request)
    fleet = found.fleet
    past = await fleet.past(lambda *both: both, server_id, within=LONGEST)
    if past is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    server, history = past
    record = server.record
    events, older = await _events(fleet, server_id)
    silenced = await silenced_now(found)
    alarms, channel_names = await found.calls.read(_alarms, found.store, server_id)
    search = request.query_params.get("tools", "")[:_LONGEST_SEARCH]
    described = await _described(fleet, server_id)
    # In a thread, since a thousand tools take several milliseconds.
    offered = await to_thread.run_sync(offers, record.capabilities or (), described, search)

    return await answer_from_thread(
        request,
        "server.html",
        server=server,
        shares=shares(history, fleet.now()),
        history=history,
        offers=offered,
        facts=wording.facts(record),
        timeline=events,
        superseded=wording.superseded(server_id, [each.event for each in events]),
        older=older,
        may_delete=visitor(request).may_manage,
        windows=silenced.of(record),
        alarms=alarms,
        channel_names=channel_names,
        said=await annotation_of(request, server_id),
        LONGEST_NOTE=LONGEST_NOTE,
        links_to_endpoint=_may_link(found, record),
        connect=await _ways_to_connect(found, record),
        api_key_steps=API_KEY_STEPS,
        nodes=fitting(server.nodes, _node_bytes, _NODES_BYTES),
        is_by_id=server_id in {".", ".."},
        **await _ownership(request, server_id),
    )


# Availability


@frozen(kw_only=True)
class Share:
    """
    How available a server was in some time up to now.

    Attributes:
        label: The name of the time, such as `7 days`; empty for all the time that is known.
        share: The availability as a text; `not known` if none of that time counts.
        since: When that time begins, if it is all the time that is known; otherwise None.
    """

    label: str
    share: str
    since: datetime | None = None

    @property
    def is_known(self) -> bool:
        return self.share != _NOT_KNOWN


def shares(history: History, now: datetime) -> list[Share]:
    """
    How available a server was in the last 24 hours, 7 days and 30 days.

    If its states are not known for so long, the last item is about all the time for which they are,
    and longer times are left out.
    """
    found: list[Share] = []
    for name, window in WINDOWS.items():
        known = history.availability(window)
        share = _NOT_KNOWN if known is None else wording.percent(known)
        if history.known_since > now - window:
            return [*found, Share(label="", share=share, since=history.known_since)]
        found.append(Share(label=_WINDOW_LABELS[name], share=share))
    return found


# Tools


@frozen(kw_only=True)
class ShownGroup:
    """
    The tools of one module, in the form in which the page shows them.

    Attributes:
        provider: The name of the Odoo module; None for tools whose module is unknown.
        count: How many tools of the module there are, with those that do not fit on the page.
        tools: The tools that fit on the page.
    """

    provider: str | None
    count: int
    tools: Sequence[Tool]


@frozen(kw_only=True)
class Offers:
    """
    The tools of a server, in the form in which the page shows them.

    Attributes:
        search: The text that somebody searches; empty if all tools are shown.
        total: How many tools the server offers.
        count: How many of its tools were found by the search.
        shown: How many of the tools that were found fit on the page.
        groups: The tools by module; without modules whose tools do not fit.
        is_open: Whether the groups are unfolded at first.
    """

    search: str
    total: int
    count: int
    shown: int
    groups: Sequence[ShownGroup]
    is_open: bool


def offers(names: Sequence[str], described: Sequence[Tool], search: str) -> Offers:
    """
    The tools of a server by module, as many as fit on the page.

    If the tools do not fit with their descriptions, they are shown without these.

    Args:
        names: The names of all tools that the server offers.
        described: The tools as the server has described them; some may be missing, or offered no
            more.
        search: Only tools with each of these words; all tools if there are no words.
    """
    groups = grouped(names, described, search=search)
    every = [tool for group in groups for tool in group.tools]
    fit = fitting(every, _tool_bytes, _TOOLS_BYTES)
    if len(fit) < len(every):
        plain = [evolve(tool, description=None) for tool in every]
        fit = fitting(plain, _tool_bytes, _TOOLS_BYTES)
    return Offers(
        search=search,
        total=len({*names}),
        count=len(every),
        shown=len(fit),
        groups=_shown(groups, fit),
        is_open=bool(search.strip()) or len(every) <= _UNFOLDED,
    )


def _shown(groups: Sequence[ToolGroup], fit: Sequence[Tool]) -> list[ShownGroup]:
    shown: list[ShownGroup] = []
    begin = 0
    for group in groups:
        tools = fit[begin : begin + len(group.tools)]
        begin += len(group.tools)
        if tools:
            shown.append(ShownGroup(provider=group.provider, count=len(group.tools), tools=tools))
    return shown


def _tool_bytes(tool: Tool) -> int:
    """About how many bytes of HTML a tool takes."""
    texts = [tool.name, tool.title or "", wording.brief(tool.description or "", 160)]
    return 120 + html_bytes(texts) + len(quote(tool.name, safe=""))


async def _described(fleet: Fleet, server_id: str) -> Sequence[Tool]:
    """The tools as a server has described them; empty if it has never done so."""
    found = await fleet.tools(server_id)
    return () if found is None else found.tools or ()


# The rest


async def _events(fleet: Fleet, server_id: str) -> tuple[Sequence[RecordedEvent], str | None]:
    """The newest events of a server that fit, and the cursor of older ones, if there are any."""
    query = EventQuery(matching=EventFilter(server_id=server_id), limit=_EVENTS)
    events, older = await events_of(fleet, query)
    fit = fitting(events, lambda each: lines_bytes([each], {}), _EVENTS_BYTES)
    return fit, older if len(fit) == len(events) else write_event_cursor(fit[-1].id)


def _alarms(store: SqlStore, server_id: str) -> tuple[Sequence[Alarm], Mapping[str, str]]:
    """The newest alarms about a server that last, and the names of the channels by their ids."""
    alarms = store.alerts.alarms(is_open=True, server_id=server_id, limit=_MOST_ALARMS)
    channels = store.alerts.channels() if alarms else ()
    return alarms, {channel.id: channel.name for channel in channels}


def _node_bytes(node: Node) -> int:
    """About how many bytes of HTML a node takes."""
    return 250 + len(server_url(node.server_id)) + html_bytes([node.server_id, node.hostname or ""])


def _may_link(found: Services, record: ServerRecord) -> bool:
    """Whether the page links to the endpoint of a server: only where agents may be sent, too."""
    url = record.endpoint_url
    if url is None or len(url) > _LONGEST_URL:
        return False
    return may_be_at(found, urlsplit(url).hostname or "")


async def _ways_to_connect(found: Services, record: ServerRecord) -> list[dict[str, Any]]:
    """
    The configuration files of MCP clients for a server, the name of the environment variable for
    the API key where a file has one, and links that install them.
    """
    reached = await connection_of(found, record)
    if reached is None or len(reached.url) > _LONGEST_URL:
        return []
    return [
        {
            "client": client.value,
            "file": file,
            "variable": reached.variable if reached.variable in file.text else None,
            "link": install_link(reached) if client is Client.CURSOR else None,
        }
        for client in Client
        if is_connectable(client, reached)
        for file in [client_file(client, [reached])]
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


_NOT_KNOWN = "not known"
_WINDOW_LABELS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_MOST_ALARMS = 5
_EVENTS = 30
_EVENTS_BYTES = 18_000
_NODES_BYTES = 8_000
_UNFOLDED = 20
"""How many tools are shown without a click."""

_TOOLS_BYTES = 40_000
_LONGEST_URL = 1000
"""How many characters an address may have with which the page shows how to connect."""

_LONGEST_SEARCH = 200
