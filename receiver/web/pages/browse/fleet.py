"""The page with what is wrong, the list of servers, the numbers by state, and what is new."""

from collections import Counter

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount

from receiver.domain.cursors import write_cursor
from receiver.domain.filter_text import FilterText
from receiver.domain.keys import Power
from receiver.service.fleet import Fleet, Page
from receiver.web.context import Services, services, visitor
from receiver.web.pages.browse.lines import news_of
from receiver.web.pages.browse.problems import problems_of
from receiver.web.pages.browse.tiles import LEFT, counted, stages, tiles, with_names
from receiver.web.pages.browse.view import FILTERS, View
from receiver.web.pages.form_handlers import Fields, form
from receiver.web.pages.last_look import note_look
from receiver.web.pages.pictures import trend_of
from receiver.web.pages.rendering import (
    DAY,
    FILES,
    PageRoute,
    Versioned,
    answer_from_thread,
    redirect,
)
from receiver.web.pages.silenced import silenced_now
from receiver.web.pages.sizes import SHOWN_NODES, fitting_servers
from receiver.web.requests import ListQuery, list_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The page, and the static files of all pages."""
    return [
        PageRoute("/", fleet_page, methods=["GET"], needs=Power.READ),
        PageRoute("/seen", form(mark_as_seen), methods=["POST"], needs=Power.READ),
        Mount("/static", Versioned(directory=FILES, check_dir=False)),
    ]


async def fleet_page(request: Request) -> Response:
    """The page with what is wrong, the list of servers, the numbers by state, and what is new."""
    view = View.of(request).expanded()
    found = services(request)
    fleet = found.fleet
    query = list_query(view.asked(request))
    page = await _page_that_fits(fleet, query)
    tally = await found.calls.read(found.store.servers.tally)
    tally = {key: n for key, n in tally.items() if key[0] != LEFT}
    named = with_names(tally, query.matching.stage)
    alive = with_names(Counter(tally) - await _lapsed(found), query.matching.stage)
    total = counted(named, query.matching)
    if total is None:
        total = await found.calls.read(found.store.servers.count, query.matching)
    silenced = await silenced_now(found)
    is_first = query.after is None
    matching = FilterText.of(query.matching)
    problems = await problems_of(found, matching, silenced) if is_first else None
    now = fleet.now()

    shown = await answer_from_thread(
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
        tiles=tiles(alive, view, query.matching),
        stages=stages(named, query.matching),
        filters=[(name, label, view.get(name)) for name, label in FILTERS.items()],
        next_page=page.next_after and view.link(cursor=write_cursor(query.order, page.next_after)),
        problems=problems,
        news=await news_of(request),
        trend=await trend_of(found),
        now=now,
        base_url=str(request.base_url).rstrip("/"),
        asks_for_keys=visitor(request).key is not None,
    )
    note_look(request, shown, now)
    return shown


async def mark_as_seen(request: Request, _: Fields) -> RedirectResponse:
    """Note that somebody has seen what is new; redirect to the page, which says what is newer."""
    away = redirect(request, "/")
    note_look(request, away, services(request).clock(), has_seen=True)
    return away


async def _lapsed(found: Services) -> Counter[tuple[str, str]]:
    """How many servers of lapsed keys there are, by state and stage; they are not alive."""
    now = found.clock()
    if not found.mirror.keys.lapsed(now):
        return Counter()
    return Counter(await found.calls.read(found.store.servers.lapsed_tally, now))


async def _page_that_fits(fleet: Fleet, query: ListQuery) -> Page:
    """A page of servers, with fewer than asked for if more would make too much HTML."""
    page = await fleet.page(query.matching, query.order, after=query.after, limit=query.limit)
    fits = len(fitting_servers(page.servers))
    if fits == len(page.servers):
        return page
    return await fleet.page(query.matching, query.order, after=query.after, limit=fits)


_SORTS = {
    "server_id": "Name, A to Z",
    "-server_id": "Name, Z to A",
    "-last_seen": "Heard last first",
    "last_seen": "Silent longest first",
    "-first_seen": "Newest first",
    "first_seen": "Oldest first",
}
