"""How many servers have which stage, version, tool and so on: the numbers beside the filters."""

from collections.abc import Iterable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from receiver.domain.keys import Power
from receiver.domain.lists.breakdown import FACETS, most_frequent
from receiver.web import openapi
from receiver.web.context import services, visitor
from receiver.web.headers import json_answer, tag_of
from receiver.web.openapi import COUNT, TEXT, answer, listed, object_of, operation
from receiver.web.requests import MAX_LIMIT, FacetQuery, facet_query
from receiver.web.routing import Guarded

__all__ = ["routes"]


def routes() -> list[Guarded]:
    return [
        Guarded("/facets", facets, methods=["GET"], needs=Power.READ, describes=_FACETS),
    ]


async def facets(request: Request) -> Response:
    """
    Answer with the most frequent values of the fields to filter by, and how many servers have each.

    Such a field is `stage`, for example. Only administrators get the values of the field `key`,
    which are the ids of API keys.
    """
    query = facet_query(request)
    found = services(request)
    names = [each for each in query.names or FACETS if each != "key" or visitor(request).may_manage]
    breakdown = await found.calls.read(found.store.servers.breakdown, query.matching)
    counts = breakdown.count(query.matching, lapsed=found.mirror.keys.lapsed(found.clock()))
    content = {
        "total": counts.total,
        "facets": {name: _listed(counts.values[name].items(), query) for name in names},
        "partial": counts.are_partial,
    }
    body = orjson.dumps(content)
    return json_answer(request, body, tag_of(body))


def _listed(values: Iterable[tuple[str, int]], query: FacetQuery) -> list[dict[str, Any]]:
    found = most_frequent(dict(values), query.find)[: query.limit]
    return [{"value": value, "count": count} for value, count in found]


_FACETS = openapi.tagged(
    operation(
        "facets",
        "How many servers have which state, stage, version, tool, network, key and label",
        description="The numbers of a name are those of the list without what its filter says of "
        "this name: they say what another choice would find. An empty text stands for no stage, or "
        "no key. Only administrators see keys.",
        parameters=[
            openapi.parameter(
                "facet",
                "Only this name; may be there several times.",
                listed({"enum": [*FACETS]}),
            ),
            openapi.parameter(
                "find", "Only values that contain this text.", {**TEXT, "maxLength": 200}
            ),
            openapi.parameter(
                "limit",
                "How many values of a name at most, the most frequent ones.",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 100},
            ),
            *openapi.FILTERS,
        ],
        answers={
            200: answer(
                "The numbers",
                object_of(
                    total={**COUNT, "description": "How many servers match."},
                    facets={
                        "type": "object",
                        "properties": {
                            name: listed(object_of(value=TEXT, count=COUNT)) for name in FACETS
                        },
                    },
                    partial={
                        "type": "boolean",
                        "description": "Whether tools were counted of the most frequent sets of "
                        "tools only, since there are too many.",
                    },
                ),
            )
        },
        problems=(400, 401, 403, 503),
    )
)
