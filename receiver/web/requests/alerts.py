"""The query parameters of lists of alarms, messages and silences, and of reports."""

import re
from datetime import datetime, timedelta

from attrs import frozen
from starlette.requests import Request

from contract import Problem
from receiver.domain.cursors import read_event_cursor
from receiver.domain.errors import Refusal
from receiver.web.requests.parameters import (
    DEFAULT_LIMIT,
    Parameter,
    read_flag,
    read_limit,
    read_parameters,
    read_text,
    read_time,
)

__all__ = [
    "AlarmQuery",
    "DeliveryQuery",
    "alarm_query",
    "asks_for_ended",
    "delivery_query",
    "report_end",
]


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


def alarm_query(request: Request) -> AlarmQuery:
    """
    Read the query parameters of a list of alarms.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return AlarmQuery(**read_parameters(request, _ALARMS))


def delivery_query(request: Request) -> DeliveryQuery:
    """
    Read the query parameters of a list of deliveries.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return DeliveryQuery(**read_parameters(request, _DELIVERIES))


def asks_for_ended(request: Request) -> bool:
    """Whether the query has `ended=true`. Raises Refusal (400) for any parameter but `ended`."""
    return bool(read_parameters(request, _ENDED).get("ended"))


def report_end(request: Request, *, now: datetime) -> datetime:
    """
    Read from the query at which time the week of a report ends: `until`, or `now` without it.

    Raises Refusal (400), which lists all parameters that are wrong, and for a time in the future or
    more than 365 days ago.
    """
    until: datetime = read_parameters(request, _REPORT).get("until", now)
    if not now - _LONGEST_AGO <= until <= now:
        problem = Problem("until", "expected a time within the last year")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return until


_LONGEST_AGO = timedelta(days=365)


def _delivery_id(text: str) -> str:
    if not _is_delivery_id(text):
        raise ValueError("expected the next_cursor of an earlier answer")
    return text


_is_delivery_id = re.compile("msg_[A-Za-z0-9]{27}").fullmatch
_REPORT: dict[str, Parameter] = {"until": ("until", read_time)}
_ALARMS: dict[str, Parameter] = {
    "limit": ("limit", read_limit),
    "cursor": ("before", read_event_cursor),
    "open": ("is_open", read_flag),
    "server_id": ("server_id", read_text),
}
_DELIVERIES: dict[str, Parameter] = {
    "limit": ("limit", read_limit),
    "cursor": ("before", _delivery_id),
    "channel_id": ("channel_id", read_text),
}
_ENDED: dict[str, Parameter] = {"ended": ("ended", read_flag)}
