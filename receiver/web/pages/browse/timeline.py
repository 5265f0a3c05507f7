"""The page with the events of all servers, newest first; what happened together is one line."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract.fields import format_moment
from receiver.domain.cursors import write_event_cursor
from receiver.domain.grouping.timeline import Group
from receiver.domain.keys import Power
from receiver.web.context import Services, services
from receiver.web.pages.browse.events import events_of
from receiver.web.pages.browse.lines import Line, grouped
from receiver.web.pages.browse.view import View
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.sizes import fitting_events
from receiver.web.pages.wording import TOPICS
from receiver.web.requests import EventQuery, timeline_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    return [PageRoute("/timeline", timeline_page, methods=["GET"], needs=Power.READ)]


async def timeline_page(request: Request) -> Response:
    """
    The page with the events of all servers, newest first, by day.

    Events that happened together are one line, unless the parameter `grouped` is false, or the
    events are those of one server.
    """
    view = View.of(request, "timeline")
    query, is_grouped = timeline_query(view.asked(request))
    is_of_one = query.matching.server_id is not None
    if is_grouped and not is_of_one:
        found = services(request)
        part = await found.calls.read(grouped, found.store, query)
        lines, older = part.lines, part.older
    else:
        lines, older = await _one_by_one(services(request), query)

    return await answer_from_thread(
        request,
        "timeline.html",
        view=view,
        choice=query.matching,
        is_grouped=is_grouped,
        topics=[
            (
                topic,
                _with(view, kind=[kind.value for kind in kinds]),
                kinds,
                query.matching.kinds == {*kinds},
            )
            for topic, kinds in TOPICS.items()
        ],
        periods=_periods(view, services(request).clock()),
        days=_by_day(lines),
        count=len(lines),
        older=older and view.link(cursor=older),
        as_json=evolve(view, path="events").link(cursor=view.get("cursor"), grouped=None),
        as_csv=evolve(view, path="events").link(limit=None, grouped=None, format="csv"),
    )


def _with(view: View, **values: Sequence[str]) -> str:
    """A link to the first page of the timeline with these values of some parameters."""
    kept = [each for each in view.parameters if each[0] not in {"cursor", *values}]
    new = [(name, text) for name, texts in values.items() for text in texts]
    return f"{view.path}?{urlencode([*kept, *new])}"


def _periods(view: View, now: datetime) -> list[tuple[str, str]]:
    """
    Names of recent times, and links to what has happened in them.

    They begin at full ten minutes, so that an open page does not change all the time.
    """
    begins = now.replace(minute=now.minute - now.minute % 10, second=0, microsecond=0)
    return [
        (name, _with(view, since=[format_moment(begins - length)], until=[]))
        for name, length in _PERIODS.items()
    ]


async def _one_by_one(found: Services, query: EventQuery) -> tuple[list[Line], str | None]:
    """The events of a query, as many as fit on the page, and the cursor of the next page."""
    events, older = await events_of(found.fleet, query)
    fitting = fitting_events(events)
    return [*fitting], older if len(fitting) == len(events) else write_event_cursor(fitting[-1].id)


def _by_day(lines: Iterable[Line]) -> dict[date, list[Line]]:
    days: dict[date, list[Line]] = {}
    for line in lines:
        days.setdefault(_at(line).date(), []).append(line)
    return days


_PERIODS = {
    "Last hour": timedelta(hours=1),
    "Last 24 hours": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
}


def _at(line: Line) -> datetime:
    return line.last if isinstance(line, Group) else line.event.at
