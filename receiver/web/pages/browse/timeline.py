"""The page with the events of all servers, newest first; what happened together is one line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from urllib.parse import urlencode

from attrs import evolve, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract import EventKind
from contract.fields import format_moment
from receiver.domain.cursors import write_event_cursor
from receiver.domain.filter_text import MAX_LENGTH, FilterText
from receiver.domain.grouping.timeline import Group
from receiver.domain.keys import Power
from receiver.domain.queries import EventFilter
from receiver.web.context import Services, services
from receiver.web.pages.browse.events import events_of
from receiver.web.pages.browse.lines import Line, grouped, names_in
from receiver.web.pages.browse.view import View
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.sizes import fitting_events
from receiver.web.pages.wording import TOPICS
from receiver.web.requests import EventQuery, timeline_query

__all__ = ["routes"]

Part = tuple[Sequence[Line], str | None, Mapping[str, str]]
"""
Lines of the timeline, the cursor of the next page, and the names of databases by the `server_id` of
the servers in the lines.
"""


def routes() -> list[BaseRoute]:
    return [PageRoute("/timeline", timeline_page, methods=["GET"], needs=Power.READ)]


async def timeline_page(request: Request) -> Response:
    """
    The page with the events of all servers, newest first, by day.

    Events that happened together are one line, unless the parameter `grouped` is false, or the
    events are those of one server.
    """
    typed = request.query_params.get("query", "")
    error = _why_unread(typed)
    view = _view_of(request, without="query" if error else "")
    query, is_grouped = timeline_query(view.asked(request))
    is_of_one = query.matching.server_id is not None
    found = services(request)
    if is_grouped and not is_of_one:
        lines, older, names = await _in_groups(found, query, view.get("query") or "")
    else:
        lines, older, names = await _one_by_one(found, query)

    return await answer_from_thread(
        request,
        "timeline.html",
        status=400 if error else 200,
        view=view,
        typed=typed,
        LONGEST_TEXT=MAX_LENGTH,
        error=error,
        choice=query.matching,
        since=query.matching.since,
        until=_whole(query.matching.until),
        AS_FIELD=_AS_FIELD,
        names=names,
        is_grouped=is_grouped,
        topics=_topics(view, query.matching),
        periods=_periods(view, query.matching, found.clock()),
        days=_by_day(lines),
        count=len(lines),
        older=older and view.link(cursor=older),
        as_json=evolve(view, path="events").link(cursor=view.get("cursor"), grouped=None),
        as_csv=evolve(view, path="events").link(limit=None, grouped=None, format="csv"),
    )


def _view_of(request: Request, *, without: str) -> View:
    """
    The query parameters, without one of them.

    A time without an offset, such as the fields of the form send, is one in UTC.
    """
    view = View.of(request, "timeline")
    return evolve(
        view,
        parameters=tuple(
            (name, _in_utc(text) if name in {"since", "until"} else text)
            for name, text in view.parameters
            if name != without
        ),
    )


def _in_utc(text: str) -> str:
    match = _time_of_field(text)
    return text if match is None else f"{match[1]}{match[2] or ':00'}Z"


def _why_unread(query: str) -> str:
    """Why the text of a filter cannot be used, as a sentence; empty if it can be used."""
    if len(urlencode({"query": query})) > _LONGEST_IN_LINK:
        return "The text is too long for the links of this page."
    try:
        FilterText.asked(query)
    except ValueError as problem:
        return str(problem)
    return ""


def _whole(until: datetime | None) -> datetime | None:
    """
    The end of the period, as the page tells it: the next whole second; None without an end.

    The page tells its beginning without parts of a second, so that all of the period is between.
    """
    if until is None or not until.microsecond:
        return until
    return min(until, _LATEST).replace(microsecond=0) + timedelta(seconds=1)


def _with(view: View, **values: Sequence[str]) -> str:
    """A link to the first page of the timeline with these values of some parameters."""
    kept = [each for each in view.parameters if each[0] not in {"cursor", *values}]
    new = [(name, text) for name, texts in values.items() for text in texts]
    return f"{view.path}?{urlencode([*kept, *new])}"


def _topics(view: View, matching: EventFilter) -> list[tuple[str, str, Sequence[EventKind], bool]]:
    """
    The topics that somebody may look for.

    Each has its name, a link to its events, the kinds of these events, and whether the page shows
    exactly these kinds.
    """
    return [
        (
            topic,
            _with(view, kind=[kind.value for kind in kinds]),
            kinds,
            matching.kinds == {*kinds},
        )
        for topic, kinds in TOPICS.items()
    ]


@frozen
class Period:
    """
    A recent time, for a link to what has happened in it.

    Attributes:
        name: Its name.
        link: The link.
        is_current: Whether the page shows exactly this time.
        hours: If the time is of certain days, when it begins and ends, in hours from the beginning
            of today, with a space between them; the script makes it a time in the time zone of the
            reader. It has no end if only one number is there. Empty for other times.
    """

    name: str
    link: str
    is_current: bool
    hours: str


def _periods(view: View, matching: EventFilter, now: datetime) -> list[Period]:
    """
    Recent times: two days and a night of UTC, and times that last until now.

    The latter begin at full ten minutes, so that an open page does not change all the time.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = now.replace(minute=now.minute - now.minute % 10, second=0, microsecond=0)
    times = {
        name: ([midnight + timedelta(hours=hour) for hour in hours], " ".join(map(str, hours)))
        for name, hours in _DAYS.items()
    }
    times |= {name: ([begins - length], "") for name, length in _PERIODS.items()}
    shown = [each for each in (matching.since, matching.until) if each is not None]
    return [
        Period(
            name,
            _with(view, since=[format_moment(since)], until=[*map(format_moment, until)]),
            matching.since is not None and shown == [since, *until],
            hours,
        )
        for name, ([since, *until], hours) in times.items()
    ]


async def _in_groups(found: Services, query: EventQuery, filter_text: str) -> Part:
    """
    The events of a query, those that happened together in one line, as many as fit on the page.

    `filter_text` is the text of the filter, which the page has in many links.
    """
    repeated = len(urlencode({"query": filter_text}))
    part = await found.calls.read(grouped, found.store, query, repeated=repeated)
    return part.lines, part.older, part.names


async def _one_by_one(found: Services, query: EventQuery) -> Part:
    """The events of a query, each in a line, as many as fit on the page."""
    events, older = await events_of(found.fleet, query)
    names = await found.calls.read(names_in, found.store, events)
    fit = fitting_events(events, names)
    if len(fit) < len(events):
        older = write_event_cursor(fit[-1].id)
    return [*fit], older, names


def _by_day(lines: Iterable[Line]) -> dict[date, list[Line]]:
    days: dict[date, list[Line]] = {}
    for line in lines:
        days.setdefault(_at(line).date(), []).append(line)
    return days


_DAYS = {"Today": (0,), "Yesterday": (-24, 0), "Last night": (-4, 8)}
"""Times of certain days: their beginnings and ends, in hours from the beginning of today."""

_PERIODS = {
    "Last hour": timedelta(hours=1),
    "Last 24 hours": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
}
_AS_FIELD = "%Y-%m-%dT%H:%M:%S"
_time_of_field = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(:\d\d(?:\.\d{1,3})?)?", re.ASCII
).fullmatch
_LONGEST_IN_LINK = 1000  # bytes
_LATEST = datetime.max.replace(tzinfo=timezone.utc) - timedelta(seconds=1)


def _at(line: Line) -> datetime:
    return line.last if isinstance(line, Group) else line.event.at
