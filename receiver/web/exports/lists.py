"""The lists of servers and of events as files."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any

import orjson
from attrs import fields
from starlette.requests import Request
from starlette.responses import Response

from contract import Problem, ServerRecord
from contract.fields import format_moment
from receiver.domain.errors import Refusal
from receiver.domain.queries import Order, Place
from receiver.service.fleet import MAX_EVENTS_BYTES, Page
from receiver.service.problems.silences import open_silences, urgency
from receiver.web.context import Services, services
from receiver.web.exports.answers import AnyPart, Part, file_answer
from receiver.web.exports.formats import FileFormat, Sheet
from receiver.web.requests import EventQuery, event_query, list_query

__all__ = ["events_file", "events_of_server_file", "servers_file"]


async def servers_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the servers that match the query, in the order that it asks for."""
    query = list_query(request)
    if query.total:
        problem = Problem("total", "is told in JSON only, not in a file")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    found = services(request)

    def render(page: Page) -> AnyPart[Place]:
        return _servers(found, page, query.order, file_format), page.next_after

    def read(after: Place | None, limit: int) -> Awaitable[AnyPart[Place]]:
        return found.fleet.rendered_page(
            render, query.matching, query.order, after=after, limit=limit
        )

    return await file_answer(
        request,
        file_format,
        _SERVERS,
        read,
        begin=query.after,
        most=query.limit if _LIMIT in request.query_params else None,
    )


def _servers(found: Services, page: Page, order: Order, file_format: FileFormat) -> Part:
    """A part of a file of servers; in CSV, with what people have said of them. Blocks."""
    servers = page.servers
    until = open_silences(found.store, found.clock()).until(each.record for each in servers)
    if order is Order.TROUBLE:  # as on the page
        servers = sorted(
            servers,
            key=lambda each: urgency(each.record, is_silenced=each.record.server_id in until),
        )
    further: dict[str, dict[str, str | None]] = {}
    if file_format is FileFormat.CSV:
        notes = found.store.labels.notes(each.record for each in servers)
        further = {
            each.record.server_id: {
                "silenced_until": _moment(until.get(each.record.server_id)),
                "note": notes.get(each.record.server_id),
            }
            for each in servers
        }
    encoded = (each.encode(**further.get(each.record.server_id, {})) for each in servers)
    items = map(orjson.Fragment, encoded)
    return Part(_SERVERS.part(file_format, items), len(servers))


async def events_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the events that match the query, newest first."""
    return await _events(request, file_format, event_query(request))


async def events_of_server_file(request: Request, file_format: FileFormat) -> Response:
    """
    Answer with a file of the events of a server and of those that it superseded, newest first.

    A server supersedes another one when it takes over the database of that one.
    """
    query = event_query(request, server_id=request.path_params["server_id"])
    return await _events(request, file_format, query)


async def _events(request: Request, file_format: FileFormat, query: EventQuery) -> Response:
    found = services(request)

    def read_and_render(before: int | None, limit: int) -> AnyPart[int]:
        page = found.store.events.page(
            query.matching, before=before, limit=limit, max_bytes=MAX_EVENTS_BYTES
        )
        content = _EVENTS.part(file_format, (each.to_json() for each in page.events))
        return Part(content, len(page.events)), page.next_before

    return await file_answer(
        request,
        file_format,
        _EVENTS,
        lambda before, limit: found.calls.read(read_and_render, before, limit),
        begin=query.before,
        most=query.limit if _LIMIT in request.query_params else None,
    )


_LIMIT = "limit"
_APART = {"capabilities": "tool_count", "ip_addresses": "ip_address"}
"""The fields of a record that have a column of another name and content."""

_SERVERS = Sheet(
    name="servers",
    columns=[
        *(_APART.get(each.name, each.name) for each in fields(ServerRecord)),
        "lapsed",
        "silenced_until",
        "note",
    ],
    special={
        "tool_count": lambda server: _count(server["capabilities"]),
        "ip_address": lambda server: (server["ip_addresses"] or {}).get("primary"),
        "labels": lambda server: ", ".join(server["labels"] or ()),
    },
)
_EVENTS = Sheet(name="events", columns=["id", "at", "kind", "server_id", "details"])


def _moment(at: datetime | None) -> str | None:
    return None if at is None else format_moment(at)


def _count(names: list[Any] | None) -> int | None:
    return None if names is None else len(names)
