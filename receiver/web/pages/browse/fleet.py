"""The page with what is wrong, the list of servers, the numbers by state, and what is new."""

from datetime import datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount

from receiver.domain.filter_text import MAX_LENGTH, FilterText
from receiver.domain.keys import Power
from receiver.domain.lists.saved_views import LONGEST_NAME
from receiver.domain.queries import EventFilter, Order
from receiver.service.fleet import Fleet, Overview
from receiver.service.problems.silences import Silenced, open_silences, urgency
from receiver.web.context import Services, Visitor, services, visitor
from receiver.web.pages.browse.facets import facet_groups, suggestion, tiles
from receiver.web.pages.browse.lines import News, news_of
from receiver.web.pages.browse.notes import shown_notes
from receiver.web.pages.browse.problems import problems_of
from receiver.web.pages.browse.saved_views import shown_views
from receiver.web.pages.browse.view import ListView
from receiver.web.pages.form_handlers import Fields, form
from receiver.web.pages.last_look import note_look
from receiver.web.pages.pictures import trend_of
from receiver.web.pages.rendering import (
    DAY,
    FILES,
    PageRoute,
    Versioned,
    answer,
    redirect,
)
from receiver.web.pages.sizes import SHOWN_LABELS, SHOWN_NODES, fitting_servers
from receiver.web.requests import ListQuery

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The routes of the page and its form, and of the static files of all pages."""
    return [
        PageRoute("/", fleet_page, methods=["GET"], needs=Power.READ),
        PageRoute("/seen", form(mark_as_seen), methods=["POST"], needs=Power.READ),
        Mount("/static", Versioned(directory=FILES, check_dir=False)),
    ]


async def fleet_page(request: Request) -> Response:
    """The page with what is wrong, the list of servers, the numbers by state, and what is new."""
    view = ListView.of(request)
    found = services(request)
    # Rendered in the thread that has read, since each way to a thread and back takes time.
    shown, now = await found.calls.read(_shown, request, view)
    note_look(request, shown, now)
    return shown


def _shown(request: Request, view: ListView) -> tuple[Response, datetime]:
    """Read and render the page; returns it, and the time that it is of. Blocks as `_read` does."""
    read = _read(request, view)
    now = services(request).fleet.now()
    shown = answer(
        request,
        "fleet.html",
        status=400 if view.error else 200,
        SHOWN_LABELS=SHOWN_LABELS,
        may_select=visitor(request).may_manage and not view.error,
        list_text=str(view.text),
        LONGEST_TEXT=MAX_LENGTH,
        SHOWN_NODES=SHOWN_NODES,
        LONGEST_NAME=LONGEST_NAME,
        SORTS=_SORTS,
        view=view,
        order=view.query.order.value,
        **read,
        now=now,
        base_url=str(request.base_url).rstrip("/"),
        asks_for_keys=visitor(request).key is not None,
    )
    return shown, now


def _read(request: Request, view: ListView) -> dict[str, Any]:
    """
    The variables of the template that come from the database, all of one moment.

    What is wrong with many servers may be some seconds older, see `Troubles.find`. Blocks, and
    raises StoreUnavailable.
    """
    found = services(request)
    with found.store.at_one_moment():
        troubles = found.troubles.find() if view.is_first_page else None
        seen = _overview_that_fits(found.fleet, view.query)
        silenced = open_silences(found.store, found.clock())
        return {
            **_page_of_list(found, view, seen, silenced),
            **_numbers(found, view, seen, visitor(request)),
            "problems": troubles and problems_of(found, troubles, view.text, silenced),
            "views": shown_views(request, query=str(view.text), sort=view.sort),
            "news": _news(request, view),
            "trend": trend_of(found),
        }


async def mark_as_seen(request: Request, _: Fields) -> RedirectResponse:
    """Note that somebody has seen what is new; redirect to the page, where nothing is new then."""
    away = redirect(request, "/")
    note_look(request, away, services(request).clock(), has_seen=True)
    return away


def _news(request: Request, view: ListView) -> News:
    """What has happened to the servers that the filters find, since somebody last looked."""
    if not view.is_narrowed:
        return news_of(request)
    matching = EventFilter(servers=view.query.matching)
    return news_of(request, matching, query=str(view.text))


def _page_of_list(
    found: Services, view: ListView, seen: Overview, silenced: Silenced
) -> dict[str, Any]:
    """The variables of the template for the servers of the page, and its place in the list."""
    servers = seen.page.servers
    silenced_until = silenced.until(each.record for each in servers)
    if view.query.order is Order.TROUBLE:
        servers = sorted(
            servers,
            key=lambda each: urgency(
                each.record, is_silenced=each.record.server_id in silenced_until
            ),
        )
    return {
        "servers": servers,
        "silenced": silenced_until,
        "notes": shown_notes(
            found.store.labels.notes(each.record for each in servers),
            view.text.words,
        ),
        "history": found.fleet.history([each.record for each in servers], within=DAY),
        "first": seen.before + 1,
        "last": seen.before + len(servers),
        "previous_page": view.page(seen.previous),
        "next_page": view.page(seen.page.next_after),
    }


def _numbers(found: Services, view: ListView, seen: Overview, who: Visitor) -> dict[str, Any]:
    """The variables of the template for the numbers of servers: in all, and with other filters."""
    lapsed = found.mirror.keys.lapsed(found.clock())
    counts = seen.breakdown.count(view.query.matching, lapsed=lapsed)
    keys = found.mirror.keys if _knows_keys(who) else None
    return {
        "total": counts.total,
        "tiles": tiles(counts, view),
        "stage_totals": seen.breakdown.stages if _counts_all(view.text) else None,
        "groups": facet_groups(counts, view, keys=keys),
        "meant": None if counts.total else suggestion(counts, view),
    }


def _counts_all(text: FilterText) -> bool:
    """Whether all servers in lists were read to be counted, whatever of them the filter finds."""
    return not (text.words or text.names() & _OF_SERVERS)


def _knows_keys(who: Visitor) -> bool:
    """Whether a visitor may know which keys there are."""
    return who.key is not None and who.may_manage


def _overview_that_fits(fleet: Fleet, query: ListQuery) -> Overview:
    """A page of servers, with fewer than asked for if more would make too much HTML."""
    read = partial(fleet.overview, query.matching, query.order, after=query.after)
    seen = read(limit=query.limit)
    fits = len(fitting_servers(seen.page.servers))
    return seen if fits == len(seen.page.servers) else read(limit=fits)


_OF_SERVERS = {"server", "database", "label"}
"""The names of filters by which only the servers that match are read to be counted."""

_SORTS = {
    "trouble": "Trouble first",
    "server_id": "Name, A to Z",
    "-server_id": "Name, Z to A",
    "-last_seen": "Heard last first",
    "last_seen": "Silent longest first",
    "-first_seen": "Newest first",
    "first_seen": "Oldest first",
}
