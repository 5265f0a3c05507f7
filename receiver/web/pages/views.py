"""The pages that only show: the list of servers, a server, and the timeline of events."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from attrs import evolve, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount

from contract import ServerRecord, State, Tool
from receiver.domain.agents.client_files import (
    API_KEY_STEPS,
    Client,
    client_file,
    install_link,
    is_connectable,
)
from receiver.domain.cursors import write_cursor, write_event_cursor
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.domain.queries import (
    NODE,
    SUPERSEDED,
    EventFilter,
    Filter,
    RecordedEvent,
    index_text,
)
from receiver.service.availability import LONGEST
from receiver.service.fleet import Fleet, Page
from receiver.web.agents.connection import connection_of
from receiver.web.context import Services, services, visitor
from receiver.web.pages import wording
from receiver.web.pages.rendering import DAY, FILES, PageRoute, Versioned, answer_from_thread
from receiver.web.pages.silenced import silenced_now
from receiver.web.pages.sizes import SHOWN_NODES, fitting_events, fitting_servers
from receiver.web.requests import EventQuery, ListQuery, event_query, filters_of, list_query
from receiver.web.routing import with_ids_in_query

__all__ = ["routes"]

PAGE_SIZE = 50

Tally = Mapping[tuple[str, str | None], int]
"""The number of servers by state and stage. None stands for all stages with long names."""


def routes() -> list[BaseRoute]:
    """Every page, and the static files."""
    page = partial(PageRoute, methods=["GET"], needs=Power.READ)
    return [
        page("/", fleet_page),
        page("/timeline", timeline_page),
        # A server_id may contain slashes.
        *with_ids_in_query([page("/server/{server_id:path}", server_page)]),
        Mount("/static", Versioned(directory=FILES, check_dir=False)),
    ]


async def fleet_page(request: Request) -> Response:
    """The page with the list of servers, the numbers by state, and the newest events."""
    view = View.of(request).expanded()
    found = services(request)
    fleet = found.fleet
    query = list_query(view.asked(request))
    page = await _page_that_fits(fleet, query)
    tally = await found.calls.read(found.store.servers.tally)
    tally = {key: n for key, n in tally.items() if key[0] != _LEFT}
    named = _with_names(tally, query.matching.stage)
    alive = _with_names(Counter(tally) - await _lapsed(found), query.matching.stage)
    total = _counted(named, query.matching)
    if total is None:
        total = await found.calls.read(found.store.servers.count, query.matching)
    silenced = await silenced_now(found)
    now = fleet.now()
    news, older = await _news(fleet, now - DAY)

    return await answer_from_thread(
        request,
        "fleet.html",
        SHOWN_NODES=SHOWN_NODES,
        SORTS=_SORTS,
        view=view,
        matching=query.matching,
        order=query.order.value,
        servers=page.servers,
        silenced=silenced.until(seen.record for seen in page.servers),
        history=await fleet.history([seen.record for seen in page.servers], within=DAY),
        total=total,
        all_servers=sum(named.values()),
        tiles=_tiles(alive, view, query.matching),
        stages=_stages(named, query.matching),
        filters=[(name, label, view.get(name)) for name, label in _FILTERS.items()],
        next_page=page.next_after and view.link(cursor=write_cursor(query.order, page.next_after)),
        news=news,
        older=older,
        now=now,
        base_url=str(request.base_url).rstrip("/"),
        asks_for_keys=visitor(request).key is not None,
    )


async def _lapsed(found: Services) -> Counter[tuple[str, str]]:
    """How many servers of lapsed keys there are, by state and stage; they are not alive."""
    now = found.clock()
    if not found.mirror.keys.lapsed(now):
        return Counter()
    return Counter(await found.calls.read(found.store.servers.lapsed_tally, now))


async def timeline_page(request: Request) -> Response:
    """The page with the events of all servers, newest first, grouped by day."""
    view = View.of(request, "timeline")
    fleet = services(request).fleet
    query = event_query(view.asked(request))
    events, older = await _events(fleet, query)

    return await answer_from_thread(
        request,
        "timeline.html",
        view=view,
        choice=query.matching,
        days=_by_day(events),
        count=len(events),
        older=older and view.link(cursor=older),
        as_json=evolve(view, path="events").link(cursor=view.get("cursor")),
    )


async def server_page(request: Request) -> Response:
    """The page of a server: its record, availability and events."""
    server_id = request.path_params["server_id"]
    fleet = services(request).fleet
    found = await fleet.past(lambda *both: both, server_id, within=LONGEST)
    if found is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    server, history = found
    query = EventQuery(matching=EventFilter(server_id=server_id), limit=_TIMELINE)
    timeline, older = await _events(fleet, query)
    silenced = await silenced_now(services(request))

    return await answer_from_thread(
        request,
        "server.html",
        server=server,
        facts=wording.facts(server.record),
        history=history,
        timeline=timeline,
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


async def _events(fleet: Fleet, query: EventQuery) -> tuple[list[RecordedEvent], str | None]:
    """The events of a query, and the cursor of the next page, if there is one."""
    part = await fleet.events(query.matching, before=query.before, limit=query.limit)
    older = None if part.next_before is None else write_event_cursor(part.next_before)
    return part.events, older


async def _page_that_fits(fleet: Fleet, query: ListQuery) -> Page:
    """A page of servers, with fewer than asked for if more would make too much HTML."""
    page = await fleet.page(query.matching, query.order, after=query.after, limit=query.limit)
    fits = len(fitting_servers(page.servers))
    if fits == len(page.servers):
        return page
    return await fleet.page(query.matching, query.order, after=query.after, limit=fits)


async def _news(fleet: Fleet, since: datetime) -> tuple[Sequence[RecordedEvent], str | None]:
    """The newest events, and the cursor of older ones, if there are any."""
    query = EventQuery(matching=EventFilter(since=since), limit=_NEWS)
    events, older = await _events(fleet, query)
    fitting = fitting_events(events)
    return fitting, older if len(fitting) == len(events) else write_event_cursor(fitting[-1].id)


def _by_day(events: Iterable[RecordedEvent]) -> dict[date, list[RecordedEvent]]:
    days: dict[date, list[RecordedEvent]] = {}
    for recorded in events:
        days.setdefault(recorded.event.at.date(), []).append(recorded)
    return days


@frozen
class View:
    """
    The query parameters of a list, and links to the same list with other parameters.

    A form that is sent without a script contains its empty fields, too. Empty fields are ignored,
    except for an empty stage, which means servers without a stage.

    Attributes:
        parameters: Names and texts, in the order of the URL.
        path: The relative URL of the page.
    """

    parameters: tuple[tuple[str, str], ...]
    path: str = "./"

    @classmethod
    def of(cls, request: Request, path: str = "./") -> "View":
        said = request.query_params.multi_items()
        return cls(tuple((name, text) for name, text in said if text or name == "stage"), path)

    def expanded(self) -> "View":
        """
        The view with the filters of the parameter `query` as parameters of their own.

        So the fields and links of the page show and change them. Raises Refusal for a text that is
        no filter of a list.
        """
        texts = [text for name, text in self.parameters if name == "query"]
        if len(texts) != 1:
            return self
        kept = [each for each in self.parameters if each[0] != "query"]
        return evolve(self, parameters=(*kept, *filters_of(texts[0])))

    def asked(self, request: Request) -> Request:
        """The request with `parameters` as its query, without empty ones, and a default `limit`."""
        limit = {} if self.get("limit") else {"limit": PAGE_SIZE}
        text = urlencode([*self.parameters, *limit.items()])
        return Request({**request.scope, "query_string": text.encode()})

    def get(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    def link(self, **changed: str | None) -> str:
        """A link to the first page of the list with some parameters changed, or removed (None)."""
        kept = [each for each in self.parameters if each[0] not in {"cursor", *changed}]
        new = [(name, text) for name, text in changed.items() if text is not None]
        text = urlencode([*kept, *new])
        return f"{self.path}?{text}" if text else self.path

    def toggled(self, name: str, text: str) -> str:
        """A link to the first page of the list with a value added, or removed if it is there."""
        pair = (name, text)
        kept = tuple(each for each in self.parameters if each != pair)
        more = () if pair in self.parameters else (pair,)
        return evolve(self, parameters=(*kept, *more)).link()

    def only(self, **wanted: str | None) -> str:
        """A link to the list with these filters and no others, in the same order."""
        return self.link(**{**dict.fromkeys(_NARROWING), **wanted})

    @property
    def is_narrowed(self) -> bool:
        return any(name in _NARROWING for name, _ in self.parameters)


def _with_names(tally: Mapping[tuple[str, str], int], stage: str | None) -> Tally:
    """
    Replace the digests by which the database counts stages with long names.

    Args:
        tally: The number of servers by state and stage, which may be the digest of a long name.
        stage: A known name; the digests of other names become None.
    """
    known = {index_text(stage or ""): stage or ""}
    named: dict[tuple[str, str | None], int] = {}
    for (state, text), n in tally.items():
        # The index stores short names unchanged: what it would change must be a digest.
        name = known.get(text, text if text == index_text(text) else None)
        named[state, name] = named.get((state, name), 0) + n
    return named


@frozen(kw_only=True)
class Tile:
    """
    How many servers are in a state, and in which stages.

    Attributes:
        state: The state; None for all states.
        label: The name of the state that people see.
        count: How many servers are in the state.
        stages: The most frequent stages and their numbers of servers; the stage None stands for
            all stages with long names.
        more_stages: How many other stages there are.
        link: A link to the list of these servers.
        is_current: Whether the page shows that list.
    """

    state: State | None
    label: str
    count: int
    stages: list[tuple[str | None, int]]
    more_stages: int
    link: str
    is_current: bool


def _tiles(tally: Tally, view: View, matching: Filter) -> list[Tile]:
    """A tile for all servers and one for each state, within the stage of the filter."""
    stage = matching.stage
    counted = {key: n for key, n in tally.items() if stage in (None, key[1])}
    return [_tile(counted, state, view, matching) for state in (None, *_COUNTED)]


def _tile(tally: Tally, state: State | None, view: View, matching: Filter) -> Tile:
    stage, name = matching.stage, state and state.value
    tally = {key: n for key, n in tally.items() if name in (None, key[0])}
    stages = _by_stage(tally)
    return Tile(
        state=state,
        label=name.capitalize() if name else "All servers",
        count=sum(tally.values()),
        stages=stages[:_STAGES],
        more_stages=len(stages[_STAGES:]),
        link=view.only(state=name, stage=stage),
        is_current=matching.state == name if name else matching == Filter(stage=stage),
    )


def _by_stage(tally: Tally) -> list[tuple[str | None, int]]:
    """The number of servers in each stage, the most frequent stage first."""
    stages: dict[str | None, int] = {}
    for (_, stage), n in tally.items():
        stages[stage] = stages.get(stage, 0) + n
    return sorted(stages.items(), key=lambda item: (-item[1], item[0] or ""))


def _stages(tally: Tally, matching: Filter) -> list[str]:
    """The stages that the filter offers: the most frequent, and the stage chosen now."""
    found = [stage for stage, _ in _by_stage(tally) if stage is not None][:_STAGES]
    chosen = matching.stage
    return found if chosen is None or chosen in found else [*found, chosen]


def _counted(tally: Tally, matching: Filter) -> int | None:
    """How many servers match a filter; None if a count by state and stage does not tell."""
    if matching.state in _UNCOUNTED:
        return None
    if matching != Filter(stage=matching.stage, state=matching.state):
        return None
    return sum(
        n
        for (state, stage), n in tally.items()
        if matching.state in (None, state) and matching.stage in (None, stage)
    )


_LEFT = State.LEFT.value
_UNCOUNTED = {SUPERSEDED, NODE, _LEFT}
"""Values of the filter `state` for which the page shows no number of servers."""

_COUNTED = [state for state in wording.STATES if state is not State.LEFT]
_NEWS = 20
_STAGES = 4
_TIMELINE = 100
_DESCRIBED_TOOLS = 100

_FILTERS = {
    "database": "Database",
    "capability": "Tool",
    "odoo_version": "Odoo version",
    "version": "MCP server version",
}
_NARROWING = ("state", "stage", "q", *_FILTERS, "kind", "server_id", "since")

_SORTS = {
    "server_id": "Name, A to Z",
    "-server_id": "Name, Z to A",
    "-last_seen": "Heard last first",
    "last_seen": "Silent longest first",
    "-first_seen": "Newest first",
    "first_seen": "Oldest first",
}
