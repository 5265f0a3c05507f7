"""Two servers side by side: the fields and the tools in which they differ."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response

from contract import ServerRecord, Tool, unstructure
from receiver.domain.errors import Refusal
from receiver.domain.inventory.comparison import ToolsCompared, compare_tools
from receiver.service.fleet import Sighting
from receiver.web.context import Services, services
from receiver.web.openapi import COUNT, TEXT, Json, answer, listed, object_of, operation, parameter
from receiver.web.requests import compare_query

__all__ = ["COMPARISON", "Compared", "compared", "comparison"]

_NAMES = listed(TEXT)
_ANY: Json = {"description": "As in the record; null if it is unknown."}
COMPARISON: Json = operation(
    "compare",
    "Two servers side by side",
    description="What is unknown in the description of a tool differs from nothing.",
    parameters=[
        {**parameter("a", "The server_id of the first server.", TEXT), "required": True},
        {**parameter("b", "The server_id of the second server.", TEXT), "required": True},
    ],
    answers={
        200: answer(
            "How they differ",
            object_of(
                a=TEXT,
                b=TEXT,
                differs={
                    "type": "object",
                    "description": "The fields of their records that differ.",
                    "additionalProperties": object_of(a=_ANY, b=_ANY),
                },
                alike={**_NAMES, "description": "The fields that are known and equal."},
                tools=object_of(
                    only_a=_NAMES,
                    only_b=_NAMES,
                    changed={"type": "object", "additionalProperties": _NAMES},
                    same=COUNT,
                ),
            ),
        )
    },
    problems=(400, 401, 403, 404, 503),
)


class Compared(NamedTuple):
    """
    Two servers, and how their tools differ.

    Attributes:
        a: The first server.
        b: The second server.
        tools: The differences between their tools.
    """

    a: Sighting
    b: Sighting
    tools: ToolsCompared


async def comparison(request: Request) -> Response:
    """Answer with the differences between the records and the tools of two servers."""
    query = compare_query(request)
    found = services(request)
    pair = [await _server(found, server_id) for server_id in (query.a, query.b)]
    return await found.calls.read(_answer, await compared(found, *pair))


async def compared(found: Services, a: Sighting, b: Sighting) -> Compared:
    """Compare the tools of two servers. Raises StoreUnavailable."""
    described = [await found.fleet.tools(each.record.server_id) for each in (a, b)]
    first, second = (() if each is None else each.tools or () for each in described)
    return await found.calls.read(_compared, a, b, first, second)


def _compared(a: Sighting, b: Sighting, first: Sequence[Tool], second: Sequence[Tool]) -> Compared:
    names = (a.record.capabilities or (), b.record.capabilities or ())
    return Compared(a, b, compare_tools(names, (first, second)))


async def _server(found: Services, server_id: str) -> Sighting:
    server = await found.fleet.get(server_id)
    if server is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    return server


def _answer(pair: Compared) -> Response:
    a, b = (_fields(each.record) for each in (pair.a, pair.b))
    names = [name for name in {**a, **b} if name != "capabilities"]
    differs = {
        name: {"a": a.get(name), "b": b.get(name)} for name in names if a.get(name) != b.get(name)
    }
    content = {
        "a": pair.a.record.server_id,
        "b": pair.b.record.server_id,
        "differs": differs,
        "alike": [name for name in names if name not in differs and a.get(name) is not None],
        "tools": {
            "only_a": pair.tools.only_a,
            "only_b": pair.tools.only_b,
            "changed": pair.tools.changed,
            "same": pair.tools.same,
        },
    }
    return Response(orjson.dumps(content), media_type="application/json")


def _fields(record: ServerRecord) -> dict[str, Any]:
    return dict(unstructure(record))
