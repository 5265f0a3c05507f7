"""Reading and validating requests: bodies, forms and query parameters."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from attrs import evolve, fields, frozen
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from contract import EventKind, Problem, State
from contract.fields import parse_moment
from receiver.domain.agents.client_files import Client
from receiver.domain.cursors import read_cursor, read_event_cursor, read_tool_cursor
from receiver.domain.errors import Refusal
from receiver.domain.filter_text import FilterText
from receiver.domain.forgetting import FORGETTABLE
from receiver.domain.history import Period
from receiver.domain.inventory.tools import ORDERS
from receiver.domain.lists.breakdown import FACETS
from receiver.domain.queries import (
    ALL_EVENTS,
    ALL_SERVERS,
    FIRST_TOOLS,
    NODE,
    SUPERSEDED,
    EventFilter,
    Filter,
    Grouping,
    Order,
    Place,
    ToolPlace,
)
from receiver.web.body_timeout import BodyTimeout

__all__ = [
    "DEFAULT_LIMIT",
    "FILTER_NAMES",
    "MAX_DAYS",
    "MAX_FORM_BYTES",
    "MAX_LIMIT",
    "AlarmQuery",
    "CompareQuery",
    "DeliveryQuery",
    "EventQuery",
    "FacetQuery",
    "ForgetQuery",
    "ListQuery",
    "OfferedQuery",
    "ToolQuery",
    "alarm_query",
    "asks_for_ended",
    "asks_to_forget",
    "badge_filter",
    "compare_query",
    "connection_query",
    "delivery_query",
    "event_filter",
    "event_query",
    "facet_query",
    "forget_query",
    "form_fields",
    "form_pairs",
    "json_body",
    "list_query",
    "offered_query",
    "period_query",
    "report_end",
    "timeline_query",
    "tool_query",
    "wall_query",
]

Named = TypeVar("Named", bound=Enum)

MAX_FORM_BYTES = 16 * 1024
_MAX_FIELDS = 100  # a form may have a checkbox for each kind of alarms
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_DAYS = 36_500


@frozen(kw_only=True)
class ListQuery:
    """
    The query parameters of a list of servers.

    Attributes:
        limit: How many servers to return at most, 1 to 1,000.
        after: From the cursor, the position in the list after which the page begins, or at which it
            ends if its `is_end` is true; None for the first page.
        matching: The filters.
        order: The order of the list.
        total: Whether to count all servers that match, for which the database must scan them.
    """

    limit: int = DEFAULT_LIMIT
    after: Place | None = None
    matching: Filter = ALL_SERVERS
    order: Order = Order.SERVER_ID
    total: bool = False


async def json_body(scope: Scope, receive: Receive, max_bytes: int, timeout: BodyTimeout) -> bytes:
    """
    Read the body of a request whose Content-Type is JSON, without parsing it.

    Raises Refusal for another media type, for a Content-Encoding, for a body of more than
    `max_bytes`, and for a body that does not arrive within the timeout. Raises ClientDisconnect
    when the client has closed the connection.
    """
    _check_headers(scope, "JSON", "application/json", max_bytes)
    return await _body(receive, max_bytes, timeout)


async def form_fields(scope: Scope, receive: Receive, timeout: BodyTimeout) -> dict[str, str]:
    """
    Read the fields of a form: their texts by their names.

    Raises Refusal for a malformed form, a repeated field, more than 100 fields, another media type,
    a Content-Encoding, a body of more than `MAX_FORM_BYTES`, and a body that does not arrive within
    the timeout. Raises ClientDisconnect when the client has closed the connection.
    """
    pairs = await form_pairs(scope, receive, timeout)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Refusal(400, "invalid_form", "A field of the form is there more than once.")
    return fields


async def form_pairs(
    scope: Scope,
    receive: Receive,
    timeout: BodyTimeout,
    *,
    max_bytes: int = MAX_FORM_BYTES,
    max_fields: int = _MAX_FIELDS,
) -> list[tuple[str, str]]:
    """
    Read the fields of a form, as pairs of name and text in order; names may be repeated.

    Raises Refusal for a malformed form, more than `max_fields` fields, another media type, a
    Content-Encoding, a body of more than `max_bytes`, and a body that does not arrive within the
    timeout. Raises ClientDisconnect when the client has closed the connection.
    """
    _check_headers(scope, "a form", "application/x-www-form-urlencoded", max_bytes)
    body = await _body(receive, max_bytes, timeout)
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=max_fields,
        )
    except ValueError as error:
        raise Refusal(400, "invalid_form", "The form cannot be read.") from error


async def _body(receive: Receive, max_bytes: int, timeout: BodyTimeout) -> bytes:
    body = b""
    more = True
    try:
        with timeout:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise _too_slow(timeout.seconds) from error
    return body


def _too_slow(seconds: float) -> Refusal:
    return Refusal(
        408,
        "body_too_slow",
        f"The body did not arrive within {seconds:g} seconds.",
        headers={"Connection": "close"},
    )


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        413,
        "body_too_large",
        f"A body may have {max_bytes} bytes at most.",
        headers={"Connection": "close"},
    )


def _check_headers(scope: Scope, what: str, media_type: str, max_bytes: int) -> None:
    headers = dict(scope["headers"])
    if int(headers.get(b"content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    if content_type != media_type:
        _check_media_type(content_type, what, media_type)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(
            415,
            "unsupported_media_type",
            "Send the body as it is, without Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        )


def _check_media_type(text: str, what: str, wanted: str) -> None:
    media_type = text.partition(";")[0].strip().lower()
    if media_type != wanted:
        raise Refusal(
            415,
            "unsupported_media_type",
            f"Send {what} with Content-Type: {wanted}, not {media_type or 'nothing'}.",
            headers={"Accept": wanted},
        )


@frozen(kw_only=True)
class FacetQuery:
    """
    The query parameters of `GET /facets`, which counts servers by their stage, version and so on.

    Attributes:
        limit: How many values of a name to return at most, 1 to 1,000; the most frequent ones.
        names: The names whose values to count, such as `stage`; all names if it is empty.
        find: Only values that contain this text, ignoring case; all values if it is empty.
        matching: Only servers that match this filter.
    """

    limit: int = DEFAULT_LIMIT
    names: frozenset[str] = frozenset()
    find: str = ""
    matching: Filter = ALL_SERVERS


@frozen(kw_only=True)
class ToolQuery:
    """
    The query parameters of a search for tools.

    Attributes:
        search: What the tools are to be able to do, in words, such as `confirm a sale order`.
        place: Where the page begins, from the cursor.
        matching: Only tools of servers that match this filter.
    """

    search: str
    place: ToolPlace = FIRST_TOOLS
    matching: Filter = ALL_SERVERS


@frozen(kw_only=True)
class OfferedQuery:
    """
    The query parameters of the list of all tools of the fleet.

    Attributes:
        name: The name of the only tool to answer with, in detail; None for the list.
        search: Only tools with these words; all tools if it is empty.
        differs: Whether to list only tools that servers describe in different ways.
        order: The order of the list, one of `receiver.domain.inventory.tools.ORDERS`.
        limit: How many tools to return at most, 1 to 1,000.
        skipped: How many tools of the list come before the page, from the cursor; 0 for the first
            page.
    """

    name: str | None = None
    search: str = ""
    differs: bool = False
    order: str = ORDERS[0]
    limit: int = DEFAULT_LIMIT
    skipped: int = 0


@frozen(kw_only=True)
class CompareQuery:
    """
    The query parameters of a comparison: the ids of two servers.

    Attributes:
        a: The id of the first server; empty if it is missing.
        b: The id of the second server; empty if it is missing.
    """

    a: str = ""
    b: str = ""


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


@frozen(kw_only=True)
class ForgetQuery:
    """
    The query parameters of a call that deletes ("forgets") servers.

    Attributes:
        limit: How many servers to delete at most, 1 to 1,000. A few more may be deleted, because
            all servers of a database are deleted together.
        matching: The filters.
        silent_for: Delete only servers whose last message was received longer ago than this; None
            for any time.
        is_dry_run: Whether only to list the servers that would be deleted.
    """

    limit: int = MAX_LIMIT
    matching: Filter = ALL_SERVERS
    silent_for: timedelta | None = None
    is_dry_run: bool = False


@frozen(kw_only=True)
class AlarmQuery:
    """
    The query parameters of a list of alarms.

    Attributes:
        limit: How many alarms to return at most, 1 to 1,000.
        before: Return only alarms whose id is smaller than this, from the cursor; None for the
            first page.
        is_open: Only open alarms if it is True, only alarms that are over if it is False; all
            alarms if it is None.
        server_id: Only alarms about this server; None for alarms about anything.
    """

    limit: int = DEFAULT_LIMIT
    before: int | None = None
    is_open: bool | None = None
    server_id: str | None = None


@frozen(kw_only=True)
class DeliveryQuery:
    """
    The query parameters of a list of deliveries: messages about alarms, sent or to be sent.

    Attributes:
        limit: How many deliveries to return at most, 1 to 1,000.
        before: The id of the last delivery on the page before, from the cursor; None for the first
            page.
        channel_id: Only deliveries through the channel with this id; None for all channels.
    """

    limit: int = DEFAULT_LIMIT
    before: str | None = None
    channel_id: str | None = None


def list_query(request: Request) -> ListQuery:
    """
    Read the query parameters of a list of servers.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = _parameters(request, _LIST)
    matching = _filter_of(found)
    order = found.setdefault("order", Order.SERVER_ID)
    order_of_cursor, found["after"] = found.pop("after", (order, None))
    if order_of_cursor is not order:
        problem = Problem("cursor", "is of a list in another order")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return ListQuery(matching=matching, **found)


def facet_query(request: Request) -> FacetQuery:
    """
    Read the query parameters of `GET /facets`, which counts servers by their values.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = _parameters(request, _FACETS)
    return FacetQuery(matching=_filter_of(found), **found)


def forget_query(request: Request) -> ForgetQuery:
    """
    Read the query parameters of a call that deletes ("forgets") servers.

    Raises Refusal (400), which lists all parameters that are wrong. Raises Refusal, too, when the
    query has no filter, because a URL that has lost its query must not delete all servers.
    """
    found = _parameters(request, _FORGET)
    matching = _filter_of(found)
    if matching == ALL_SERVERS and "silent_for" not in found:
        raise Refusal(400, "filter_missing", _SAY_WHICH)
    return ForgetQuery(matching=matching, **found)


def badge_filter(request: Request, *, allows_query: bool) -> tuple[Filter, str]:
    """
    Read from the query which servers a badge is about, and the text on its left side.

    Returns the filter, and the text, which is empty if the query has none. Raises Refusal (400),
    which lists all parameters that are wrong. The parameter `query`, which holds the filter, is
    wrong unless `allows_query`.

    Its words are not searched in labels and notes: the address of a badge is known to many, who
    could otherwise find out by trial what a note says.
    """
    found = _parameters(request, _BADGE if allows_query else _BADGE_OF_ONE)
    matching: Filter = evolve(found.get("written", ALL_SERVERS), in_notes=False)
    return matching, found.get("label", "")


def alarm_query(request: Request) -> AlarmQuery:
    """
    Read the query parameters of a list of alarms.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return AlarmQuery(**_parameters(request, _ALARMS))


def delivery_query(request: Request) -> DeliveryQuery:
    """
    Read the query parameters of a list of deliveries.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return DeliveryQuery(**_parameters(request, _DELIVERIES))


def asks_for_ended(request: Request) -> bool:
    """Whether the query has `ended=true`. Raises Refusal (400) for any parameter but `ended`."""
    return bool(_parameters(request, _ENDED).get("ended"))


def _filter_of(found: dict[str, Any]) -> Filter:
    """
    Remove the parameters that are filters from `found`, and return them as a Filter.

    The parameter `query` holds several filters as one text. Raises Refusal (400) if there is
    another filter beside it.
    """
    beside = [name for name, key in _FILTERS.items() if key in found]
    by_key = {key: found.pop(key) for key in _FILTERS.values() if key in found}
    written: Filter | None = found.pop("written", None)
    if written is None:
        return Filter(**by_key)
    if beside:
        problem = Problem("query", f"cannot stand beside {', '.join(beside)}: write these in it")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return written


def connection_query(request: Request, *, allows_filters: bool) -> tuple[Client, Filter]:
    """
    Read which MCP client a configuration file is for, and which servers it is to contain.

    Raises Refusal (400), which lists all parameters that are wrong, or says that the client is
    missing. If `allows_filters` is False, each filter of the query is wrong.
    """
    found = _parameters(request, _CONNECTIONS if allows_filters else _CONNECTION)
    if "client" not in found:
        names = ", ".join(each.value for each in Client)
        problem = Problem("client", f"is missing; it is one of {names}")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return found.pop("client"), _filter_of(found)


def tool_query(request: Request) -> ToolQuery:
    """
    Read what to search tools for, and on which servers.

    Raises Refusal (400), which lists all parameters that are wrong, or says that the text to search
    for is missing.
    """
    found = _parameters(request, _TOOLS)
    if "search" not in found:
        problem = Problem("search", "is missing; it says what a tool is to do, in words")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return ToolQuery(matching=_filter_of(found), **found)


def offered_query(request: Request) -> OfferedQuery:
    """
    Read the query parameters of the list of all tools of the fleet, or of one of these tools.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return OfferedQuery(**_parameters(request, _OFFERED))


def compare_query(request: Request, *, needs_both: bool = True) -> CompareQuery:
    """
    Read which two servers are compared.

    Raises Refusal (400), which lists all parameters that are wrong. If it `needs_both`, it also
    raises Refusal for ids that are missing; otherwise these are empty in the result.
    """
    found = CompareQuery(**_parameters(request, _COMPARE))
    problems = [Problem(name, _NEEDS_ID) for name in ("a", "b") if not getattr(found, name)]
    if needs_both and problems:
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)
    return found


def asks_to_forget(request: Request) -> bool:
    """Whether the query has `forget=true`. Raises Refusal (400) for any parameter but `forget`."""
    return bool(_parameters(request, _REVOKE).get("forget"))


def event_query(request: Request, *, server_id: str | None = None) -> EventQuery:
    """
    Read the query parameters of a list of events.

    If `server_id` is given, it is the list of that server's events, and `server_id` is no parameter
    of the query. Raises Refusal (400), which lists all parameters that are wrong.
    """
    allowed = _EVENTS if server_id is None else _EVENTS_OF_ONE
    found = _parameters(request, allowed)
    if server_id is not None:
        found["server_id"] = server_id
    return EventQuery(matching=_event_filter_of(found), **found)


def timeline_query(request: Request) -> tuple[EventQuery, bool]:
    """
    Read the query parameters of the timeline.

    Returns the query, and whether events that happened together are one line: True without the
    parameter `grouped`. Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = _parameters(request, _TIMELINE)
    is_grouped = found.pop("is_grouped", True)
    return EventQuery(matching=_event_filter_of(found), **found), is_grouped


def _event_filter_of(found: dict[str, Any]) -> EventFilter:
    """Remove the parameters that are filters from `found`, and return them as an EventFilter."""
    names = [each.name for each in fields(EventFilter) if each.name in found]
    return EventFilter(**{name: found.pop(name) for name in names})


def report_end(request: Request, *, now: datetime) -> datetime:
    """
    Read from the query at which time the week of a report ends: `until`, or `now` without it.

    Raises Refusal (400), which lists all parameters that are wrong, and for a time in the future or
    more than 365 days ago.
    """
    until: datetime = _parameters(request, _REPORT).get("until", now)
    if not now - _LONGEST_AGO <= until <= now:
        problem = Problem("until", "expected a time within the last year")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return until


def period_query(request: Request) -> Period:
    """
    Read which period of the history is asked for: the last day, week or quarter; a day by default.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    period: Period = _parameters(request, _HISTORY).get("period", Period.DAY)
    return period


def wall_query(request: Request) -> tuple[Filter, Grouping]:
    """
    Read which servers the wallboard shows, and by which field it groups them: by stage by default.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = _parameters(request, _WALL)
    by: Grouping = found.pop("by", Grouping.STAGE)
    return found.get("written", ALL_SERVERS), by


def event_filter(request: Request) -> EventFilter:
    """
    Read the filters of a stream of events.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return EventFilter(**_parameters(request, _STREAM))


def _parameters(request: Request, allowed: Mapping[str, "Parameter"]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    of_route = request.scope.get("parameter_of_route")
    given = [each for each in request.query_params.multi_items() if each[0] != of_route]
    if len(given) > _MAX_PARAMETERS:
        problem = Problem("", f"expected at most {_MAX_PARAMETERS} parameters, got {len(given)}")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    problems = []
    for name, text in given:
        try:
            _set_parameter(found, allowed, name, text)
        except ValueError as error:
            problems.append(Problem(name, str(error)))
    if problems:
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)
    return found


def _set_parameter(
    found: dict[str, Any], allowed: Mapping[str, "Parameter"], name: str, text: str
) -> None:
    if name not in allowed:
        raise ValueError(f"is no parameter here; these are: {', '.join(allowed)}")
    key, read = allowed[name]
    value = read(text)
    if isinstance(value, frozenset):  # may be there several times
        value |= found.pop(key, frozenset())
    if key in found:
        raise ValueError("is there more than once")
    found[key] = value


_SAY_WHICH = (
    "Say which servers to forget: by state=down, silent_for_days=30 or another filter of the "
    "list. With dry_run=true nothing is forgotten, and the answer says what would be."
)
_MAX_PARAMETERS = 100
_LONGEST_AGO = timedelta(days=365)
_MAX_SEARCH_BYTES = 1000
_MAX_TEXT_BYTES = 4000  # a page repeats the filters in many links


def _one_of(kind: type[Named], text: str) -> Named:
    names = [each.value for each in kind]
    if text not in names:
        raise ValueError(f"expected one of {', '.join(names)}")
    return kind(text)


_ALL_STATES = (*(state.value for state in State), SUPERSEDED, NODE)


def _states(text: str) -> frozenset[str]:
    states = frozenset(text.split(","))
    if not states.issubset(_ALL_STATES):
        raise ValueError(f"expected one of {', '.join(_ALL_STATES)}, or several with commas")
    return states


def _forgettable_states(text: str) -> frozenset[str]:
    states = frozenset(text.split(","))
    if not states.issubset(FORGETTABLE):
        raise ValueError(_MAY_NOT_GO)
    return states


def _forgettable_filter(text: str) -> Filter:
    found = _written_filter(text)
    if not {*found.state}.issubset(FORGETTABLE):
        raise ValueError(f"state: {_MAY_NOT_GO}")
    return found


_MAY_NOT_GO = (
    f"expected one of {', '.join(FORGETTABLE)}: servers that are heard are not forgotten, "
    "and a node goes with its database; DELETE /servers/{server_id} deletes any server"
)


def _days(text: str) -> timedelta:
    if not (_is_number(text) and int(text) <= MAX_DAYS):
        raise ValueError(f"expected a whole number of days from 1 to {MAX_DAYS}")
    return timedelta(days=int(text))


def _since(text: str) -> datetime:
    try:
        return parse_moment(text)
    except (ValueError, OverflowError):
        raise ValueError(
            "expected an ISO 8601 time with an offset, such as 2026-01-31T12:00:00Z"
        ) from None


def _limit(text: str) -> int:
    if not (_is_number(text) and 1 <= int(text) <= MAX_LIMIT):
        raise ValueError(f"expected a whole number from 1 to {MAX_LIMIT}")
    return int(text)


_is_number = re.compile("[1-9][0-9]{0,4}").fullmatch


def _text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("expected text without a NUL")
    return text


def _short_text(text: str, *, at_most: int = _MAX_TEXT_BYTES) -> str:
    if len(text.encode()) > at_most:
        raise ValueError(f"expected at most {at_most} bytes of text")
    return _text(text)


def _facet(text: str) -> str:
    if text not in FACETS:
        raise ValueError(f"expected one of {', '.join(FACETS)}")
    return text


def _network(text: str) -> frozenset[str]:
    return frozenset(FilterText.parse(f'network:"{_short_text(text, at_most=100)}"').network)


def _value(text: str) -> frozenset[str]:
    return frozenset({_short_text(text)})


def _label(text: str) -> frozenset[str]:
    return frozenset({_short_text(text).lower()})


def _words(text: str) -> frozenset[str]:
    """A set with a text that servers are searched for; empty for "", which all contain."""
    return frozenset({_short_text(text, at_most=_MAX_SEARCH_BYTES)} - {""})


def _some_words(text: str) -> frozenset[str]:
    if not text:
        raise ValueError("is empty, which finds every server; leave it out, if that is meant")
    return _words(text)


def _written_filter(text: str) -> Filter:
    return FilterText.parse(_short_text(text)).to_filter()


def _servers_of_events(text: str) -> Filter | None:
    """
    The filter of the servers whose events are wanted; None for "", which wants all events.

    Unlike that of a list, it finds servers of all states if it names none: an event may tell that a
    server has left, or that another one has replaced it.
    """
    found = _written_filter(text)
    if found == ALL_SERVERS:
        return None
    return found if found.state else evolve(found, state=_ALL_STATES)


def _order_of_tools(text: str) -> str:
    if text not in ORDERS:
        raise ValueError(f"expected one of {', '.join(ORDERS)}")
    return text


def _skipped(text: str) -> int:
    if not _is_place(text):
        raise ValueError("expected the next_cursor of an earlier answer")
    return int(text)


_is_place = re.compile("[1-9][0-9]{0,8}").fullmatch


def _delivery_id(text: str) -> str:
    if not _is_delivery_id(text):
        raise ValueError("expected the next_cursor of an earlier answer")
    return text


_is_delivery_id = re.compile("msg_[A-Za-z0-9]{27}").fullmatch


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("expected true or false")
    return text == "true"


_FILTERS = {
    "state": "state",
    "stage": "stage",
    "database": "database",
    "version": "version",
    "odoo_version": "odoo_version",
    "capability": "capability",
    "server_id": "server_id",
    "network": "network",
    "key": "key",
    "label": "label",
    "q": "words",
}
"""The query parameters that are filters; for each the attribute of `Filter` that it sets."""

FILTER_NAMES = tuple(_FILTERS)
"""The names of the query parameters that are filters, but for `query`, which holds several."""

Parameter = tuple[str, Callable[[str], Any]]
"""The attribute that a query parameter sets, and the function that parses the parameter's text."""

_LIST: dict[str, Parameter] = {
    "limit": ("limit", _limit),
    "cursor": ("after", read_cursor),
    "total": ("total", _flag),
    "sort": ("order", partial(_one_of, Order)),
    "query": ("written", _written_filter),
    **{name: (key, _value) for name, key in _FILTERS.items()},
    "state": ("state", _states),
    "network": ("network", _network),
    "label": ("label", _label),
    "q": ("words", _words),
}
_FACETS: dict[str, Parameter] = {
    "limit": ("limit", _limit),
    "facet": ("names", lambda text: frozenset({_facet(text)})),
    "find": ("find", partial(_short_text, at_most=_MAX_SEARCH_BYTES)),
    **{name: _LIST[name] for name in (*_FILTERS, "query")},
}
_FORGET: dict[str, Parameter] = {
    "dry_run": ("is_dry_run", _flag),
    "limit": ("limit", _limit),
    "silent_for_days": ("silent_for", _days),
    **{name: _LIST[name] for name in _FILTERS},
    "query": ("written", _forgettable_filter),
    "state": ("state", _forgettable_states),
    "q": ("words", _some_words),
}
_CONNECTION: dict[str, Parameter] = {"client": ("client", partial(_one_of, Client))}
_CONNECTIONS = {**_CONNECTION, **{name: _LIST[name] for name in (*_FILTERS, "query")}}
_TOOLS: dict[str, Parameter] = {
    "search": ("search", partial(_short_text, at_most=_MAX_SEARCH_BYTES)),
    "cursor": ("place", read_tool_cursor),
    **{name: _LIST[name] for name in (*_FILTERS, "query")},
}
_OFFERED: dict[str, Parameter] = {
    "name": ("name", _short_text),
    "search": ("search", partial(_short_text, at_most=_MAX_SEARCH_BYTES)),
    "differs": ("differs", _flag),
    "sort": ("order", _order_of_tools),
    "limit": ("limit", _limit),
    "cursor": ("skipped", _skipped),
}
_COMPARE: dict[str, Parameter] = {name: (name, _short_text) for name in ("a", "b")}
_NEEDS_ID = "is missing; it is the server_id of a server"
_REVOKE: dict[str, Parameter] = {"forget": ("forget", _flag)}
_REPORT: dict[str, Parameter] = {"until": ("until", _since)}
_HISTORY: dict[str, Parameter] = {"period": ("period", partial(_one_of, Period))}
_WALL: dict[str, Parameter] = {
    "by": ("by", partial(_one_of, Grouping)),
    "query": ("written", _written_filter),
}
_BADGE: dict[str, Parameter] = {
    "query": ("written", _written_filter),
    "label": ("label", partial(_short_text, at_most=200)),
}
_BADGE_OF_ONE: dict[str, Parameter] = {"label": _BADGE["label"]}
_ALARMS: dict[str, Parameter] = {
    "limit": ("limit", _limit),
    "cursor": ("before", read_event_cursor),
    "open": ("is_open", _flag),
    "server_id": ("server_id", _short_text),
}
_DELIVERIES: dict[str, Parameter] = {
    "limit": ("limit", _limit),
    "cursor": ("before", _delivery_id),
    "channel_id": ("channel_id", _short_text),
}
_ENDED: dict[str, Parameter] = {"ended": ("ended", _flag)}
_STREAM: dict[str, Parameter] = {
    "kind": ("kinds", lambda text: frozenset({_one_of(EventKind, text)})),
    "server_id": ("server_id", _short_text),
}
_EVENTS: dict[str, Parameter] = {
    "limit": ("limit", _limit),
    "cursor": ("before", read_event_cursor),
    "since": ("since", _since),
    "until": ("until", _since),
    "query": ("servers", _servers_of_events),
    **_STREAM,
}
_TIMELINE = {**_EVENTS, "grouped": ("is_grouped", _flag)}
_EVENTS_OF_ONE = {
    name: each for name, each in _EVENTS.items() if name not in {"server_id", "query"}
}
