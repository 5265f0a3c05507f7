"""The query parameters of events, timelines and the history of the fleet."""

from functools import partial
from typing import Any

from attrs import evolve, fields, frozen
from starlette.requests import Request

from contract import EventKind
from receiver.domain.cursors import read_event_cursor
from receiver.domain.history import Period
from receiver.domain.queries import ALL_EVENTS, ALL_SERVERS, EventFilter, Filter
from receiver.web.requests.filters import ALL_STATES, read_filter
from receiver.web.requests.parameters import (
    DEFAULT_LIMIT,
    Parameter,
    read_flag,
    read_limit,
    read_one_of,
    read_parameters,
    read_text,
    read_time,
)

__all__ = ["EventQuery", "event_filter", "event_query", "period_query", "timeline_query"]


@frozen(kw_only=True)
class EventQuery:
    """
    The query parameters of a list of events.

    Attributes:
        limit: How many events to return at most, 1 to 1,000.
        before: Return only events whose id is smaller than this, from the cursor; None for the
            first page.
        matching: The filters.
    """

    limit: int = DEFAULT_LIMIT
    before: int | None = None
    matching: EventFilter = ALL_EVENTS


def event_query(request: Request, *, server_id: str | None = None) -> EventQuery:
    """
    Read the query parameters of a list of events.

    If `server_id` is given, it is the list of that server's events, and `server_id` is no parameter
    of the query. Raises Refusal (400), which lists all parameters that are wrong.
    """
    allowed = _EVENTS if server_id is None else _EVENTS_OF_ONE
    found = read_parameters(request, allowed)
    if server_id is not None:
        found["server_id"] = server_id
    return EventQuery(matching=_event_filter_of(found), **found)


def timeline_query(request: Request) -> tuple[EventQuery, bool]:
    """
    Read the query parameters of the timeline.

    Returns the query, and whether events that happened together are one line: True without the
    parameter `grouped`. Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = read_parameters(request, _TIMELINE)
    is_grouped = found.pop("is_grouped", True)
    return EventQuery(matching=_event_filter_of(found), **found), is_grouped


def _event_filter_of(found: dict[str, Any]) -> EventFilter:
    """Remove the parameters that are filters from `found`, and return them as an EventFilter."""
    names = [each.name for each in fields(EventFilter) if each.name in found]
    return EventFilter(**{name: found.pop(name) for name in names})


def period_query(request: Request) -> Period:
    """
    Read which period of the history is asked for: the last day, week or quarter; a day by default.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    period: Period = read_parameters(request, _HISTORY).get("period", Period.DAY)
    return period


def event_filter(request: Request) -> EventFilter:
    """
    Read the filters of a stream of events.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return EventFilter(**read_parameters(request, _STREAM))


def _servers_of_events(text: str) -> Filter | None:
    """
    The filter of the servers whose events are wanted; None for "", which wants all events.

    Unlike that of a list, it finds servers of all states if it names none: an event may tell that a
    server has left, or that another one has replaced it.
    """
    found = read_filter(text)
    if found == ALL_SERVERS:
        return None
    return found if found.state else evolve(found, state=ALL_STATES)


_HISTORY: dict[str, Parameter] = {"period": ("period", partial(read_one_of, Period))}
_STREAM: dict[str, Parameter] = {
    "kind": ("kinds", lambda text: frozenset({read_one_of(EventKind, text)})),
    "server_id": ("server_id", read_text),
}
_EVENTS: dict[str, Parameter] = {
    "limit": ("limit", read_limit),
    "cursor": ("before", read_event_cursor),
    "since": ("since", read_time),
    "until": ("until", read_time),
    "query": ("servers", _servers_of_events),
    **_STREAM,
}
_TIMELINE = {**_EVENTS, "grouped": ("is_grouped", read_flag)}
_EVENTS_OF_ONE = {
    name: each for name, each in _EVENTS.items() if name not in {"server_id", "query"}
}
