"""The receiver's pages for people."""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import urlencode

from attrs import evolve, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount

from contract import State
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.service.fleet import Fleet, Sighting
from receiver.store.events import Choice, Recorded
from receiver.store.server_list import Filter
from receiver.store.tables import facet_value
from receiver.web.context import door_of, fleet_of
from receiver.web.pages import wording
from receiver.web.pages.rendering import DAY, FILES, PageRoute, Versioned, answer, may_manage
from receiver.web.requests import (
    EventQuery,
    event_query,
    list_query,
    write_cursor,
    write_event_cursor,
)

__all__ = ["routes"]

PAGE_SIZE = 50

Tally = Mapping[tuple[str, str | None], int]
"""How many servers are in a state and a stage; None is any stage with a long name."""


def routes() -> list[BaseRoute]:
    """Each page, and what it is made of."""
    page = partial(PageRoute, methods=["GET"], needs=Power.READ)
    return [
        page("/", fleet_page),
        page("/timeline", timeline_page),
        # A server_id may hold slashes.
        page("/server/{server_id:path}", server_page),
        Mount("/static", Versioned(directory=FILES, check_dir=False)),
    ]


async def fleet_page(request: Request) -> Response:
    """The fleet as a table, and what has changed in it since yesterday."""
    view = View.of(request)
    fleet = fleet_of(request)
    query = list_query(view.asked(request))
    page = await fleet.page(query.matching, query.order, after=query.after, limit=query.limit)
    tally = _with_names(await fleet.tally(), _stages_known(query.matching, page.servers))
    total = _counted(tally, query.matching)
    now = fleet.now()
    news, older = await _events(fleet, EventQuery(choice=Choice(since=now - DAY), limit=_NEWS))

    return answer(
        request,
        "fleet.html",
        SORTS=_SORTS,
        view=view,
        matching=query.matching,
        order=query.order.value,
        servers=page.servers,
        history=await fleet.history([seen.record for seen in page.servers], within=DAY),
        total=await fleet.count(query.matching) if total is None else total,
        all_servers=sum(tally.values()),
        tiles=_tiles(tally, view, query.matching),
        stages=_stages(tally, query.matching),
        filters=[(name, label, view.get(name)) for name, label in _FILTERS.items()],
        next_page=page.next_after and view.link(cursor=write_cursor(query.order, page.next_after)),
        news=news,
        older=older,
        now=now,
        base_url=str(request.base_url).rstrip("/"),
        asks_for_keys=request.scope["key"] is not None,
    )


async def timeline_page(request: Request) -> Response:
    """What happened, newest first, by days."""
    view = View.of(request, "timeline")
    fleet = fleet_of(request)
    query = event_query(view.asked(request))
    events, older = await _events(fleet, query)

    return answer(
        request,
        "timeline.html",
        view=view,
        choice=query.choice,
        days=_by_day(events),
        count=len(events),
        older=older and view.link(cursor=older),
        as_json=evolve(view, path="events").link(cursor=view.get("cursor")),
    )


async def server_page(request: Request) -> Response:
    """All that is known of a server, and what happened to it."""
    server_id = request.path_params["server_id"]
    fleet = fleet_of(request)
    server = await fleet.get(server_id)
    if server is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    history = await fleet.history([server.record])
    choice = Choice(server_id=server_id)
    timeline, older = await _events(fleet, EventQuery(choice=choice, limit=_TIMELINE))

    return answer(
        request,
        "server.html",
        server=server,
        facts=wording.facts(server.record),
        history=history[server_id],
        timeline=timeline,
        older=older,
        may_delete=may_manage(request),
        **await _ownership(request, server_id),
    )


async def _ownership(request: Request, server_id: str) -> dict[str, Any]:
    """To which key a server belongs, and to which it could, for whoever may change that."""
    if request.scope["key"] is None or not may_manage(request):
        return {"owner": None, "heirs": None}
    fleet = fleet_of(request)
    door = door_of(request)
    owner = await fleet.owner(server_id)
    now = fleet.now()
    may_own = (key for key in door.keys if key.why_not_own(server_id, now) is None)
    heirs = [key for key in may_own if key.id != owner]
    return {"owner": owner and door.keys.get(owner), "heirs": heirs}


async def _events(fleet: Fleet, query: EventQuery) -> tuple[list[Recorded], str | None]:
    """The events that are asked for, and the cursor of those before them, if there are any."""
    part = await fleet.events(query.choice, before=query.before, limit=query.limit)
    return part.events, write_event_cursor(part.events[-1].id) if part.is_more else None


def _by_day(events: Iterable[Recorded]) -> dict[date, list[Recorded]]:
    days: dict[date, list[Recorded]] = {}
    for recorded in events:
        days.setdefault(recorded.event.at.date(), []).append(recorded)
    return days


@frozen
class View:
    """
    What the address of a list says, and the addresses of the lists beside it.

    A form without a script sends what was left empty too; that is as good as absent.
    Only an empty stage is one: that of a server without a stage.

    Attributes:
        path: Of the page, as a link on it says it.
    """

    parameters: tuple[tuple[str, str], ...]
    path: str = "./"

    @classmethod
    def of(cls, request: Request, path: str = "./") -> "View":
        said = request.query_params.multi_items()
        return cls(tuple((name, text) for name, text in said if text or name == "stage"), path)

    def asked(self, request: Request) -> Request:
        """The request without what was left empty, and for a page of some size."""
        limit = {} if self.get("limit") else {"limit": PAGE_SIZE}
        text = urlencode([*self.parameters, *limit.items()])
        return Request({**request.scope, "query_string": text.encode()})

    def get(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    def link(self, **changed: str | None) -> str:
        """The first page of the list with other parameters, None being without one."""
        kept = [each for each in self.parameters if each[0] not in {"cursor", *changed}]
        new = [(name, text) for name, text in changed.items() if text is not None]
        text = urlencode([*kept, *new])
        return f"{self.path}?{text}" if text else self.path

    def toggled(self, name: str, text: str) -> str:
        """The first page of the list with one more value of a parameter, or one less."""
        pair = (name, text)
        kept = tuple(each for each in self.parameters if each != pair)
        more = () if pair in self.parameters else (pair,)
        return evolve(self, parameters=(*kept, *more)).link()

    def only(self, **wanted: str | None) -> str:
        """The list with nothing but these parameters, sorted and paged in the same way."""
        return self.link(**{**dict.fromkeys(_NARROWING), **wanted})

    @property
    def is_narrowed(self) -> bool:
        return any(name in _NARROWING for name, _ in self.parameters)


def _stages_known(matching: Filter, servers: Iterable[Sighting]) -> set[str]:
    """The stage that is asked for, and those of servers that a link has room for."""
    found = {seen.record.odoo_stage or "" for seen in servers}
    return {matching.stage or "", *(each for each in found if len(each) <= _LONGEST_LINKED)}


def _with_names(tally: Mapping[tuple[str, str], int], stages: Iterable[str]) -> Tally:
    """A tally with the names of stages, which has long ones by their digest, as the store does."""
    known = {facet_value(stage): stage for stage in stages}
    named: dict[tuple[str, str | None], int] = {}
    for (state, stage), n in tally.items():
        # Whatever would not be kept as it is, is a digest.
        name = known.get(stage, stage if stage == facet_value(stage) else None)
        named[state, name] = named.get((state, name), 0) + n
    return named


@frozen(kw_only=True)
class Tile:
    """
    How many servers are in a state, and in which stages.

    Attributes:
        state: None for all states.
        stages: The most frequent; None is any with a long name.
        more_stages: How many others there are.
    """

    state: State | None
    label: str
    count: int
    stages: list[tuple[str | None, int]]
    more_stages: int
    link: str
    is_current: bool


def _tiles(tally: Tally, view: View, matching: Filter) -> list[Tile]:
    """The states of all servers, or of those in the stage that the list is narrowed to."""
    stage = matching.stage
    counted = {key: n for key, n in tally.items() if stage in (None, key[1])}
    return [_tile(counted, state, view, matching) for state in (None, *wording.STATES)]


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
    """How many servers are in each stage, most first."""
    stages: dict[str | None, int] = {}
    for (_, stage), n in tally.items():
        stages[stage] = stages.get(stage, 0) + n
    return sorted(stages.items(), key=lambda item: (-item[1], item[0] or ""))


def _stages(tally: Tally, matching: Filter) -> list[str]:
    """The stages to choose from: the most frequent, and the one that is chosen."""
    found = [stage for stage, _ in _by_stage(tally) if stage is not None][:_STAGES]
    chosen = matching.stage
    return found if chosen is None or chosen in found else [*found, chosen]


def _counted(tally: Tally, matching: Filter) -> int | None:
    """How many match, when the tally tells."""
    if matching.state == _SUPERSEDED:
        return None
    if matching != Filter(stage=matching.stage, state=matching.state):
        return None
    return sum(
        n
        for (state, stage), n in tally.items()
        if matching.state in (None, state) and matching.stage in (None, stage)
    )


_NEWS = 20
_STAGES = 4
_LONGEST_LINKED = 1000  # characters, of which a link has twelve times as many at worst
_TIMELINE = 100
_SUPERSEDED = "superseded"

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
