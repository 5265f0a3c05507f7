"""The page with the events of all servers, newest first."""

from collections.abc import Iterable
from datetime import date

from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.domain.keys import Power
from receiver.domain.queries import RecordedEvent
from receiver.web.context import services
from receiver.web.pages.browse.events import events_of
from receiver.web.pages.browse.view import View
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.requests import event_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    return [PageRoute("/timeline", timeline_page, methods=["GET"], needs=Power.READ)]


async def timeline_page(request: Request) -> Response:
    """The page with the events of all servers, newest first, grouped by day."""
    view = View.of(request, "timeline")
    fleet = services(request).fleet
    query = event_query(view.asked(request))
    events, older = await events_of(fleet, query)

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


def _by_day(events: Iterable[RecordedEvent]) -> dict[date, list[RecordedEvent]]:
    days: dict[date, list[RecordedEvent]] = {}
    for recorded in events:
        days.setdefault(recorded.event.at.date(), []).append(recorded)
    return days
