"""The call that answers with the figures of the page `/history`."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from contract import State
from contract.fields import format_moment
from receiver.domain.history import Hour, Period, Shares, Slot
from receiver.web import openapi
from receiver.web.context import services
from receiver.web.headers import json_answer, tag_of
from receiver.web.openapi import operation
from receiver.web.requests import period_query

__all__ = ["HISTORY", "history_as_json"]

_SHARES = {
    **openapi.listed(openapi.object_of(value={"type": ["string", "null"]}, servers=openapi.COUNT)),
    "description": "How many servers have which value, the most frequent first. An empty value "
    "stands for servers of which it is not known, null for all values that are not listed.",
}
_STATES = {
    "type": ["object", "null"],
    "additionalProperties": {"type": "number", "minimum": 0},
    "description": "How many servers were new, up, late and down.",
}
_OR_NULL = {"type": ["number", "null"], "minimum": 0}
HISTORY = operation(
    "getHistory",
    "The fleet over a day, a week or a quarter of a year",
    description="Servers are counted once a minute, without those of revoked and expired keys, "
    "and kept by the hour for three months. A slot with minutes 0 is a time in which no receiver "
    "ran: nothing is known of it, and its other figures are null. The last slot goes on.",
    parameters=[
        openapi.parameter(
            "period",
            "How much: a day in slots of an hour, which is the default, a week in slots of three "
            "hours, or a quarter in slots of a day.",
            {"type": "string", "enum": [each.value for each in Period]},
        )
    ],
    answers={
        200: openapi.answer(
            "The figures, oldest first",
            openapi.object_of(
                period={"type": "string", "enum": [each.value for each in Period]},
                availability={
                    **_OR_NULL,
                    "description": "The share of all servers that was neither late nor down, on "
                    "average over the minutes in which servers were counted, because a receiver "
                    "ran.",
                },
                listened={
                    **_OR_NULL,
                    "description": "The share of the time since the first known hour in which a "
                    "receiver ran.",
                },
                slots=openapi.listed(
                    openapi.object_of(
                        begins_at=openapi.MOMENT,
                        ends_at=openapi.MOMENT,
                        minutes={
                            **openapi.COUNT,
                            "description": "In how many minutes servers were counted.",
                        },
                        availability=_OR_NULL,
                        mean=_STATES,
                        worst=_STATES,
                        heartbeats={**_OR_NULL, "description": "How many were written."},
                        turned_away={
                            **_OR_NULL,
                            "description": "How many requests with heartbeats could not be "
                            "written, as the answer said.",
                        },
                        missed={
                            **_OR_NULL,
                            "description": "About how many heartbeats servers that were late or "
                            "down have missed.",
                        },
                        stages=_SHARES,
                        odoo_versions=_SHARES,
                        versions=_SHARES,
                    )
                ),
            ),
        )
    },
    problems=(400, 401, 403, 503),
)


async def history_as_json(request: Request) -> Response:
    """Answer with the history of the fleet over the last day, week or quarter, in JSON."""
    period = period_query(request)
    found = await services(request).fleet.figures(period)
    content = {
        "period": period.value,
        "availability": None if found.whole is None else found.whole.availability,
        "listened": found.listened,
        "slots": [_slot(each) for each in found.slots],
    }
    body = orjson.dumps(content)
    return json_answer(request, body, tag_of(body))


def _slot(slot: Slot) -> Mapping[str, Any]:
    times = {"begins_at": format_moment(slot.begins_at), "ends_at": format_moment(slot.ends_at)}
    return {**times, **(_NOTHING if slot.hour is None else _known(slot.hour))}


def _known(hour: Hour) -> Mapping[str, Any]:
    return {
        "minutes": hour.minutes,
        "availability": hour.availability,
        "mean": {state: hour.mean(state) for state in _COUNTED},
        "worst": {state: hour.worst.get(state, 0) for state in _COUNTED},
        "heartbeats": hour.heartbeats,
        "turned_away": hour.turned_away,
        "missed": round(hour.missed, 1),
        "stages": _shares(hour.stages),
        "odoo_versions": _shares(hour.odoo_versions),
        "versions": _shares(hour.versions),
    }


def _shares(shares: Shares) -> list[dict[str, Any]]:
    return [{"value": value, "servers": n} for value, n in shares]


_COUNTED = [state.value for state in State if state is not State.LEFT]
_NOTHING: Mapping[str, Any] = {
    "minutes": 0,
    **dict.fromkeys(("availability", "mean", "worst", "heartbeats", "turned_away", "missed")),
    "stages": [],
    "odoo_versions": [],
    "versions": [],
}
