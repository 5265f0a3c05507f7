"""The HTTP API for programs: all its routes, and the servers, events, health and metrics."""

from functools import cache, partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from contract.fields import format_moment
from receiver.domain.cursors import write_cursor, write_event_cursor
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.service.availability import LONGEST, WINDOWS, History
from receiver.service.fleet import Page, Sighting
from receiver.web import admin_api, databases, exports, listing, messages, openapi
from receiver.web.agents import registry
from receiver.web.agents.connection import CONNECTION, CONNECTIONS, connection, connections
from receiver.web.agents.mcp_server import MCP, Mcp
from receiver.web.agents.tool_list import (
    FIND_TOOLS,
    TOOLS_OF_SERVER,
    find_tools,
    find_tools_file,
    tools_of_server,
    tools_of_server_file,
)
from receiver.web.alerts import api as alerts_api
from receiver.web.alerts import badges
from receiver.web.context import services
from receiver.web.headers import json_answer, tag_of
from receiver.web.history.figures import HISTORY, history_as_json
from receiver.web.inventory.comparison import COMPARISON, comparison
from receiver.web.inventory.tools import TOOLS_OF_FLEET, fleet_tools, fleet_tools_file
from receiver.web.inventory.versions import VERSIONS, versions, versions_file
from receiver.web.openapi import Json, answer, operation, ref
from receiver.web.prometheus_sd import DISCOVERY, discovery
from receiver.web.requests import EventQuery, event_query, list_query
from receiver.web.routing import Guarded, with_ids_in_query
from receiver.web.sse import EVENT_STREAM, NEWS_STREAM, event_stream, news_stream

__all__ = ["routes"]


def routes() -> list[Guarded]:
    """The routes of the API, each with its description for the OpenAPI document."""
    # A key in a path must stand in paths of one kind only, because proxies log none of these.
    calls = [*with_ids_in_query(_calls()), *badges.routes()]
    document = cache(lambda: orjson.dumps(openapi.document(calls)))

    async def get_document(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    return [*calls, _get("/openapi.json", get_document, None)]


def _calls() -> list[Guarded]:
    """
    The routes of the API, without those of the badges and of the OpenAPI document.

    The function is long because the order of the routes matters, and is seen best in one list.
    """
    return [
        # First, because `/servers/{server_id:path}` matches longer paths, too: ids have slashes.
        *admin_api.routes(),
        *alerts_api.routes(),
        *listing.routes(),
        *databases.routes(),
        *messages.routes(),
        _list("/servers", list_servers, exports.servers_file, _LIST_SERVERS),
        _list("/events", list_events, exports.events_file, _LIST_EVENTS),
        _get("/events/stream", event_stream, EVENT_STREAM),
        _get("/events/news", news_stream, NEWS_STREAM),
        _list(
            "/servers/{server_id:path}/events",
            list_events_of_server,
            exports.events_of_server_file,
            _LIST_EVENTS_OF_SERVER,
        ),
        _get("/servers/{server_id:path}/connection", connection, CONNECTION),
        _list(
            "/servers/{server_id:path}/tools",
            tools_of_server,
            tools_of_server_file,
            TOOLS_OF_SERVER,
        ),
        _get("/servers/{server_id:path}", get_server, _GET_SERVER),
        Guarded(
            "/servers/{server_id:path}",
            delete_server,
            methods=["DELETE"],
            needs=Power.MANAGE,
            describes=_DELETE_SERVER,
        ),
        # A load balancer and an orchestrator ask from elsewhere, also before there is a key: they
        # would end a receiver that refuses them before anybody could make one.
        _get("/health", health, _HEALTH, needs=None, is_for_all=True),
        _get("/health/live", live, _LIVE, needs=None, is_for_all=True),
        _get("/connections", connections, CONNECTIONS),
        _list("/tools", find_tools, find_tools_file, FIND_TOOLS),
        _list("/tools.json", fleet_tools, fleet_tools_file, TOOLS_OF_FLEET),
        _list("/versions.json", versions, versions_file, VERSIONS),
        _get("/compare.json", comparison, COMPARISON),
        *registry.routes(),
        Guarded("/mcp", Mcp(), methods=["POST"], needs=Power.READ, describes=MCP),
        _get("/metrics", metrics, _METRICS),
        _get("/history.json", history_as_json, HISTORY),
        _get("/sd/prometheus", discovery, DISCOVERY),
    ]


def _get(
    path: str,
    endpoint: Any,
    describes: Json | None,
    *,
    needs: Power | None = Power.READ,
    is_for_all: bool = False,
) -> Guarded:
    return Guarded(
        *(path, endpoint),
        methods=["GET"],
        needs=needs,
        is_for_all=is_for_all,
        describes=describes,
    )


def _list(path: str, as_json: Any, as_file: Any, describes: Json) -> Guarded:
    """A list that is answered in JSON, or as a file."""
    return _get(path, exports.or_file(as_json, as_file), exports.described(describes))


_LIST_SERVERS = openapi.tagged(
    operation(
        "listServers",
        "The fleet: a server for each database, but those that have left or are superseded",
        description="Whoever follows next_cursor to the end gets every server that matches all the "
        "time: exactly once, and sorted by last_seen at least once.",
        parameters=[
            openapi.LIMIT,
            openapi.CURSOR,
            openapi.SORT,
            openapi.TOTAL,
            *openapi.FILTERS,
        ],
        answers={200: answer("A page", openapi.SERVERS_PAGE)},
        problems=(400, 401, 403, 503),
    )
)


async def list_servers(request: Request) -> Response:
    """Answer with a page of the list of servers."""
    query = list_query(request)
    found = services(request)
    more: dict[str, Any] = {}
    if query.total:
        more["total"] = await found.calls.read(found.store.servers.count, query.matching)

    def as_json(page: Page) -> Response:
        after = page.next_after and write_cursor(query.order, page.next_after)
        servers = [orjson.Fragment(each.encode()) for each in page.servers]
        answer = {"servers": servers, "count": len(servers), "next_cursor": after, **more}
        body = orjson.dumps(answer)
        return json_answer(request, body, tag_of(body))

    return await found.fleet.rendered_page(
        as_json, query.matching, query.order, after=query.after, limit=query.limit
    )


_GET_SERVER = openapi.tagged(
    operation(
        "getServer",
        "One server",
        answers={200: answer("Its record", ref("ServerWithAvailability"))},
        problems=(401, 403, 404, 503),
    )
)


async def get_server(request: Request) -> Response:
    """Answer with the record of a server, and its availability in several periods."""
    server_id = request.path_params["server_id"]
    answer = await services(request).fleet.past(
        partial(_with_availability, request), server_id, within=LONGEST
    )
    if answer is None:
        raise _no_such_server(server_id)

    return answer


def _with_availability(request: Request, sighting: Sighting, history: History) -> Response:
    shares = {name: history.availability(time) for name, time in WINDOWS.items()}
    cut = history.cut_within(LONGEST)
    since = cut and format_moment(cut)
    record = sighting.encode()
    more = orjson.dumps({"availability": shares, "availability_since": since})
    # Shares of a time up to now change at every moment; a difference of 0.01 % means nothing.
    rounded = {name: share and round(share, 4) for name, share in shares.items()}
    tag = "W/" + tag_of(record, orjson.dumps(rounded))
    return json_answer(request, b"%b,%b" % (record[:-1], more[1:]), tag)


_PAGES_OF_EVENTS = (
    "A page may hold fewer than limit, or none, when their JSON would have more than about 1 MiB, "
    "or when few of the last 10,000 events of a server are of a kind that was asked for: "
    "there are more as long as there is a next_cursor."
)
_LIST_EVENTS = operation(
    "listEvents",
    "What happened, newest first",
    description=_PAGES_OF_EVENTS,
    parameters=[
        openapi.LIMIT,
        openapi.CURSOR,
        openapi.SINCE,
        openapi.UNTIL,
        openapi.KIND,
        openapi.OF_SERVER,
        openapi.OF_SERVERS,
    ],
    answers={200: answer("A page", openapi.EVENTS_PAGE)},
    problems=(400, 401, 403, 503),
)


async def list_events(request: Request) -> Response:
    """Answer with a page of the events of all servers, newest first."""
    return await _events(request, event_query(request))


_LIST_EVENTS_OF_SERVER = operation(
    "listEventsOfServer",
    "What happened to a server and to those that it superseded, newest first",
    description=_PAGES_OF_EVENTS,
    parameters=[openapi.LIMIT, openapi.CURSOR, openapi.SINCE, openapi.UNTIL, openapi.KIND],
    answers={200: answer("A page", openapi.EVENTS_PAGE)},
    problems=(400, 401, 403, 404, 503),
)


async def list_events_of_server(request: Request) -> Response:
    """Answer with a page of the events of a server and of those that it superseded (replaced)."""
    query = event_query(request, server_id=request.path_params["server_id"])
    return await _events(request, query)


async def _events(request: Request, query: EventQuery) -> Response:
    page = await services(request).fleet.events(
        query.matching, before=query.before, limit=query.limit
    )
    return _json(
        {
            "events": [each.to_json() for each in page.events],
            "count": len(page.events),
            "next_cursor": page.next_before and write_event_cursor(page.next_before),
        }
    )


_DELETE_SERVER = operation(
    "deleteServer",
    "Forget a server",
    description="Those that it superseded are superseded by its own successor, or else are back "
    "in the list.",
    answers={200: answer("Forgotten", openapi.done("deleted"))},
    problems=(401, 403, 404, 503),
)


async def delete_server(request: Request) -> Response:
    """Delete a server. Its next message creates it anew."""
    await admin_api.delete_server(request)

    return _json({"status": "deleted", "server_id": request.path_params["server_id"]})


_HEALTH: Json = {
    **operation(
        "health",
        "Whether messages can be received and written",
        answers={
            200: answer(
                "They do",
                openapi.object_of(
                    status={"const": "healthy"},
                    uptime_seconds={"type": "number", "minimum": 0},
                    server_count=openapi.COUNT,
                    alerts=openapi.object_of(
                        waiting=openapi.COUNT,
                        given_up=openapi.COUNT,
                        oldest_waiting_seconds={"type": ["number", "null"], "minimum": 0},
                    ),
                ),
            )
        },
        problems=[503],
    ),
    "security": [],
}


async def health(request: Request) -> Response:
    """
    Health check: succeeds when messages can be received and written.

    In the answer, `alerts` says how many messages about alarms wait to be delivered, for how many
    seconds the oldest of them has waited, and how many were given up within the last day.
    """
    fleet, alerts = services(request).fleet, services(request).alerts
    if services(request).is_stopping():
        raise Refusal(503, "stopping", _STOPPING)
    count = await fleet.count()

    return _json(
        {
            "status": "healthy",
            "uptime_seconds": fleet.uptime_seconds(),
            "server_count": count,
            "alerts": {
                "waiting": alerts.counts.waiting,
                "given_up": alerts.counts.given_up,
                "oldest_waiting_seconds": alerts.oldest_waiting_seconds(),
            },
        }
    )


_STOPPING = "The receiver was asked to stop, and serves a little while yet; ask another one."

_LIVE: Json = {
    **operation(
        "live",
        "Whether the process runs",
        answers={
            200: answer(
                "It does, whatever its database does",
                openapi.object_of(status={"const": "alive"}),
            )
        },
        problems=(),
    ),
    "security": [],
}


async def live(_: Request) -> Response:
    """Liveness check: always succeeds, because the process runs if it answers."""
    return _json({"status": "alive"})


_METRICS = operation(
    "metrics",
    "Metrics for Prometheus",
    answers={
        200: openapi.text_answer(
            "In the format that is accepted. "
            "The workers of one parent process tell of all of them together",
            "text/plain",
        )
    },
    problems=(401, 403),
)


async def metrics(request: Request) -> Response:
    """Answer with the metrics of this receiver, in a format that the header Accept asks for."""
    page, media_type = await services(request).exposition.page(request.headers.get("accept", ""))
    return Response(page, headers={"Content-Type": media_type})


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _no_such_server(server_id: str) -> Refusal:
    return Refusal(404, "not_found", f"There is no server {server_id!r}.")
