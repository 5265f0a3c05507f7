"""The receiver's pages for people."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zlib import crc32

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from contract import EventKind, FleetError, State
from receiver import wording
from receiver.errors import Refusal, StoreUnavailable
from receiver.fleet import Fleet, Sighting
from receiver.history import History
from receiver.problems import RETRY_AFTER_SECONDS, refusal
from receiver.requests import ListQuery, list_query, write_cursor
from receiver.store import Filter
from receiver.timeline import Choice

__all__ = ["routes"]

PAGE_SIZE = 50
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
MONTH = timedelta(days=30)

Tally = Mapping[tuple[str, str], int]
Render = Callable[[Request], Awaitable[Response]]

_HERE = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_log = logging.getLogger(__name__)


def routes() -> list[BaseRoute]:
    """Each page, and what it is made of."""
    return [
        Route("/", _page(fleet_page), methods=["GET"]),
        # A server_id may hold slashes.
        Route("/server/{server_id:path}", _page(server_page), methods=["GET"]),
        Mount("/static", StaticFiles(directory=_HERE / "static", check_dir=False)),
    ]


def _page(render: Render) -> Render:
    """A page, or one that says what is wrong and what to do."""

    async def answer(request: Request) -> Response:
        try:
            return await render(request)
        except FleetError as error:
            if isinstance(error, StoreUnavailable):
                _log.warning("%s", error)
            return _trouble(request, refusal(error))

    return answer


async def fleet_page(request: Request) -> Response:
    """The fleet as a table, and what has changed in it since yesterday."""
    view = View.of(request)
    fleet: Fleet = request.app.state.fleet
    query = view.query(request)
    page = await fleet.page(query.matching, query.order, after=query.after, limit=query.limit)
    tally = await fleet.tally()
    total = _counted(tally, query.matching)
    now = fleet.now()
    news = await fleet.events(Choice(since=now - DAY), before=None, limit=_NEWS)

    return _answer(
        request,
        "fleet.html",
        view=view,
        matching=query.matching,
        order=query.order.value,
        servers=page.servers,
        history=await fleet.history([seen.record for seen in page.servers]),
        total=await fleet.count(query.matching) if total is None else total,
        all_servers=sum(tally.values()),
        tiles=_tiles(tally, view, query.matching),
        stages=_stages(tally, query.matching),
        filters=[(name, label, view.get(name)) for name, label in _FILTERS.items()],
        next_page=page.next_after and view.link(cursor=write_cursor(query.order, page.next_after)),
        news=news,
        now=now,
        base_url=str(request.base_url).rstrip("/"),
    )


async def server_page(request: Request) -> Response:
    """All that is known of a server, and what happened to it."""
    server_id = request.path_params["server_id"]
    fleet: Fleet = request.app.state.fleet
    server = await fleet.get(server_id)
    if server is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    history = await fleet.history([server.record])
    choice = Choice(server_id=server_id)

    return _answer(
        request,
        "server.html",
        server=server,
        facts=wording.facts(server.record),
        history=history[server_id],
        timeline=await fleet.events(choice, before=None, limit=_TIMELINE),
        now=fleet.now(),
    )


@frozen
class View:
    """
    What the address of a list says, and the addresses of the lists beside it.

    A form without a script sends what was left empty too; that is as good as absent.
    Only an empty stage is one: that of a server without a stage.
    """

    parameters: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, request: Request) -> "View":
        said = request.query_params.multi_items()
        return cls(tuple((name, text) for name, text in said if text or name == "stage"))

    def query(self, request: Request) -> ListQuery:
        """What is asked for. Raises Refusal with everything that is wrong in it."""
        limit = {} if self.get("limit") else {"limit": PAGE_SIZE}
        text = urlencode([*self.parameters, *limit.items()])
        return list_query(Request({**request.scope, "query_string": text.encode()}))

    def get(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    def link(self, **changed: str | None) -> str:
        """The first page of the list with other parameters, None being without one."""
        new = {**dict(self.parameters), "cursor": None, **changed}
        text = urlencode({name: value for name, value in new.items() if value is not None})
        return f"./?{text}" if text else "./"

    def only(self, **wanted: str | None) -> str:
        """The list with nothing but these parameters, sorted and paged in the same way."""
        return self.link(**{**dict.fromkeys(_NARROWING), **wanted})

    @property
    def is_narrowed(self) -> bool:
        return any(name in _NARROWING for name, _ in self.parameters)


@frozen(kw_only=True)
class Tile:
    """
    How many servers are in a state, and in which stages.

    Attributes:
        state: None for all states.
    """

    state: State | None
    label: str
    count: int
    stages: list[tuple[str, int]]
    link: str
    is_current: bool


def _tiles(tally: Tally, view: View, matching: Filter) -> list[Tile]:
    """The states of all servers, or of those in the stage that the list is narrowed to."""
    stage = matching.stage
    counted = {key: n for key, n in tally.items() if not stage or key[1] == stage}
    stage_alone = matching == Filter(stage=stage)
    everywhere = Tile(
        state=None,
        label="All servers",
        count=sum(counted.values()),
        stages=_by_stage(counted),
        link=view.only(stage=stage),
        is_current=stage_alone,
    )
    return [everywhere] + [
        Tile(
            state=state,
            label=state.value.capitalize(),
            count=sum(n for (found, _), n in counted.items() if found == state.value),
            stages=_by_stage({key: n for key, n in counted.items() if key[0] == state.value}),
            link=view.only(state=state.value, stage=stage),
            is_current=matching.state == state.value,
        )
        for state in wording.STATES
    ]


def _by_stage(tally: Tally) -> list[tuple[str, int]]:
    stages: dict[str, int] = {}
    for (_, stage), n in tally.items():
        stages[stage] = stages.get(stage, 0) + n
    return sorted(stages.items(), key=lambda item: (-item[1], item[0]))[:_STAGES]


def _stages(tally: Tally, matching: Filter) -> list[str]:
    """The stages to choose from: the most frequent, and the one that is chosen."""
    found = [stage for stage, _ in _by_stage(tally)]
    chosen = matching.stage
    return found if chosen is None or chosen in found else [*found, chosen]


def _counted(tally: Tally, matching: Filter) -> int | None:
    """How many match, when the tally tells; it does not know which servers have no stage."""
    if matching.stage == "" or matching.state == _SUPERSEDED:
        return None
    if matching != Filter(stage=matching.stage, state=matching.state):
        return None
    return sum(
        n
        for (state, stage), n in tally.items()
        if matching.state in (None, state) and matching.stage in (None, stage)
    )


def _trouble(request: Request, refused: Refusal) -> Response:
    return _answer(
        request,
        "trouble.html",
        status=refused.status,
        headers=refused.headers,
        refused=refused,
        retry_seconds=RETRY_AFTER_SECONDS,
    )


def _answer(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> Response:
    return _TEMPLATES.TemplateResponse(
        request,
        template,
        {**context, "root": _root(request), "kinds": _KINDS, "static": _static},
        status_code=status,
        headers={**_HEADERS, **(headers or {})},
    )


def _root(request: Request) -> str:
    """
    The way from a page to the first, whatever the path of that is.

    Browsers go by the slashes of the address as it was written, not as it was meant.
    """
    path: bytes = request.scope["raw_path"]
    below = path.removeprefix(request.scope.get("root_path", "").encode())
    return "../" * (below.count(b"/") - 1) or "./"


@cache
def _static(name: str) -> str:
    """The address of a file, which changes when the file does."""
    return f"static/{name}?v={crc32((_HERE / 'static' / name).read_bytes()):08x}"


def _in_path(text: str) -> str:
    """As one segment of a path, slashes and all."""
    return quote(text, safe="")


def _name(server: Sighting) -> str:
    return server.record.database or server.record.server_id


def _availability(history: History) -> list[tuple[str, str]]:
    return [(label, wording.percent(history.availability(time))) for label, time in _WINDOWS]


def _strip(history: History, time: timedelta, bars: int, now: datetime) -> wording.Strip:
    return wording.strip(history.spans(time), start=now - time, end=now, bars=bars)


def _make_templates() -> Jinja2Templates:
    templates = Jinja2Templates(directory=_HERE / "templates")
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    templates.env.filters.update(
        ago=wording.ago,
        availability=_availability,
        duration=wording.duration,
        exactly=wording.exactly,
        in_path=_in_path,
        name=_name,
        strip=_strip,
        tale=wording.tale,
    )
    templates.env.globals.update(DAY=DAY, WEEK=WEEK, SORTS=_SORTS, STATES=wording.STATES)
    return templates


_NEWS = 20
_STAGES = 4
_TIMELINE = 100
_SUPERSEDED = "superseded"
_KINDS = " ".join(kind.value for kind in EventKind)
_WINDOWS = (("24 hours", DAY), ("7 days", WEEK), ("30 days", MONTH))

_FILTERS = {
    "database": "Database",
    "capability": "Tool",
    "odoo_version": "Odoo version",
    "version": "MCP server version",
}
_NARROWING = ("state", "stage", "q", *_FILTERS)

_SORTS = {
    "server_id": "Name, A to Z",
    "-server_id": "Name, Z to A",
    "-last_seen": "Heard last first",
    "last_seen": "Silent longest first",
    "-first_seen": "Newest first",
    "first_seen": "Oldest first",
}

_TEMPLATES = _make_templates()
