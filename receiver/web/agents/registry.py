"""
The MCP registry: the read side of the MCP Registry API, version 0.1, for clients like VS Code.

Most such clients cannot send a key. So a registry can be opened to everybody (FLEET_REGISTRY), or
to those who know a path: the text of a key of the scope `registry` stands in it, which opens
nothing else.

Clients forget an entry after an answer with a status from 400 to 499. So the entry of a server that
is only down stays, because the server may come back.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any

import orjson
from attrs import evolve, frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from contract import FleetError, Problem
from contract.fields import parse_moment
from receiver.domain.agents.registry import (
    Entry,
    EntryFilter,
    EntryPlace,
    ForgottenEntry,
    document,
    search_of,
)
from receiver.domain.cursors import read_registry_cursor, write_registry_cursor
from receiver.domain.errors import Refusal
from receiver.domain.keys import KeyScope, Power
from receiver.service.agents.registry import Registry
from receiver.web import openapi
from receiver.web.context import Services, services
from receiver.web.openapi import Json, operation
from receiver.web.problems import problem
from receiver.web.routing import Guarded

__all__ = ["routes"]

Act = Callable[[Request], Awaitable[Response]]

DEFAULT_LIMIT = 30
MAX_LIMIT = 100


def routes() -> list[Guarded]:
    """
    The routes of the registry: each once under the plain path, and once under a path with a key.

    The plain paths are for clients that send a key, or for everybody, as FLEET_REGISTRY says.
    """
    calls: list[tuple[str, Act, Json]] = [
        ("/v0.1/servers", list_entries, _LIST),
        # A name has a slash, which a client may have escaped or not.
        ("/v0.1/servers/{server_name:path}/versions", list_versions, _VERSIONS),
        ("/v0.1/servers/{server_name:path}/versions/{version}", get_version, _VERSION),
    ]
    return [
        *(RegistryRoute(path, act, needs=Power.LIST, describes=what) for path, act, what in calls),
        *(
            RegistryRoute(f"{_OPENED_BY_PATH}{path}", act, needs=None, describes=_by_path(what))
            for path, act, what in calls
        ),
    ]


class RegistryRoute(Guarded):
    """
    A route of the registry, whose answers web pages of all origins may read.

    Before the first key is made, web pages cannot read them, unless the registry is open to
    everybody. Clients on the receiver's machine need no key then, so any web page that a browser on
    that machine shows could read the registry.
    """

    def __init__(self, path: str, act: Act, **options: Any) -> None:
        async def endpoint(request: Request) -> Response:
            try:
                return await act(request)
            except FleetError as error:
                return _refused(error)

        super().__init__(path, endpoint, methods=["GET"], **options)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = services(scope)
        if found.registry_is_open or found.gate.needs_keys:
            send = _for_all_origins(send)
        try:
            if scope["method"] == "OPTIONS":
                # Browsers send a preflight request without any key.
                await Response(status_code=204)(scope, receive, send)
                return
            if scope["method"] not in self.methods_of_path:
                if self.needs is not None:
                    await self._admit(scope)
                raise HTTPException(405, headers={"Allow": "GET, HEAD, OPTIONS"})
            await super().handle(scope, receive, send)
        except FleetError as error:
            await _refused(error)(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        found = services(scope)
        secret = scope["path_params"].get("secret")
        if secret is not None:
            found.gate.admit(scope, None)
            key = found.gate.find(secret, Power.LIST, scope)
            if key.scope is not KeyScope.REGISTRY:
                raise Refusal(403, "not_allowed", _NOT_IN_A_PATH.format(key.scope.value))
        elif not found.registry_is_open:
            await super()._admit(scope)


def _for_all_origins(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_CORS]}
        await send(message)

    return send_with_headers


def _refused(error: FleetError) -> Response:
    """The problem document of an error; it also has the member that the registry's API defines."""
    answer = problem(error)
    content = json.loads(bytes(answer.body))
    answer.body = orjson.dumps({**content, "error": content["detail"]})
    answer.headers["content-length"] = str(len(answer.body))
    return answer


async def list_entries(request: Request) -> Response:
    """Answer with a page of the list of the registry's entries."""
    found = services(request)
    asked = _Query.of(request)
    matching = asked.matching
    wanted = matching
    if matching.text is not None:
        text, name = search_of(found.registry_namespace, matching.text)
        wanted = evolve(matching, text=text, name=name)
    page = await found.calls.read(
        partial(_registry(found).page, wanted, place=asked.place, limit=asked.limit)
    )
    cursor = None if page.next_place is None else write_registry_cursor(matching, page.next_place)
    return _json(document(page.entries, cursor))


async def list_versions(request: Request) -> Response:
    """Answer with the versions of an entry, of which there is always exactly one."""
    return _json(document([await _entry(request)]))


async def get_version(request: Request) -> Response:
    """Answer with an entry, if the path has its version number or `latest`."""
    entry = await _entry(request)
    version = request.path_params["version"]
    if version not in {"latest", entry.version}:
        raise Refusal(404, "not_found", f"{entry.name} has no version {version!r}.")
    return _json(entry.to_json())


async def _entry(request: Request) -> Entry | ForgottenEntry:
    """
    The entry that the path names.

    Raises Refusal (404) if there is no such entry, or if it is deleted and the query does not ask
    for deleted entries.
    """
    name = request.path_params["server_name"]
    found = services(request)
    asked = _Query.of(request)
    entry = await found.calls.read(_registry(found).get, name)
    if entry is None:
        raise Refusal(404, "not_found", f"There is no server {name!r}.")
    if entry.is_deleted and not asked.matching.with_gone:
        raise Refusal(
            404, "not_found", f"The server {name!r} is deleted; include_deleted=true shows it."
        )
    return entry


def _registry(found: Services) -> Registry:
    return Registry(
        source=found.store.registry,
        fleet=found.fleet,
        keys=found.mirror.keys,
        namespace=found.registry_namespace,
        # Loopback addresses are for clients on this machine, and not if others read this, too.
        may_be_at=partial(
            found.endpoints.include,
            with_loopback=found.gate.is_for_this_machine and not found.registry_is_open,
        ),
        now=found.clock(),
    )


def _json(content: Json) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


@frozen(kw_only=True)
class _Query:
    """
    The query parameters of a request; those that the registry's API does not know are ignored.

    Attributes:
        limit: How many entries to return at most, 1 to 100.
        place: Where the page begins; None for the first one. Source: the cursor.
        matching: Which entries. With a cursor they are those of the first page, whatever else is
            asked: VS Code leaves the search out when it asks for the next page.
    """

    limit: int
    place: EntryPlace | None
    matching: EntryFilter

    @classmethod
    def of(cls, request: Request) -> "_Query":
        """Read the parameters. Raises Refusal that lists all errors."""
        found: dict[str, Any] = {}
        problems = []
        for name, text in request.query_params.multi_items():
            if name not in _PARAMETERS or not text:
                continue
            if name in found:
                problems.append(Problem(name, "is there more than once"))
            try:
                found[name] = _PARAMETERS[name](text)
            except ValueError as error:
                problems.append(Problem(name, str(error)))
        if problems:
            detail = "; ".join(map(str, problems))
            raise Refusal(400, "invalid_parameter", detail, errors=problems)
        since = found.get("updated_since")
        version = found.get("version")
        matching = EntryFilter(
            text=found.get("search"),
            version=None if version == "latest" else version,
            updated_since=since,
            # Who asks what has changed must hear what is gone.
            with_gone=found.get("include_deleted", False) or since is not None,
        )
        matching, place = found.get("cursor", (matching, None))
        return cls(limit=found.get("limit", DEFAULT_LIMIT), place=place, matching=matching)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER and int(text) >= 1):
        raise ValueError("expected a whole number from 1 on")
    return min(int(text), MAX_LIMIT)


def _text(text: str) -> str:
    if "\x00" in text or len(text.encode()) > _LONGEST_TEXT:
        raise ValueError(f"expected at most {_LONGEST_TEXT} bytes of text, without a NUL")
    return text


def _since(text: str) -> datetime:
    try:
        return max(parse_moment(text), _FIRST)
    except (ValueError, OverflowError):
        raise ValueError(
            "expected an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"
        ) from None


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("expected true or false")
    return text == "true"


def _by_path(described: Json) -> Json:
    """The operation for clients that know a path with a key in it."""
    return {
        **described,
        "operationId": f"{described['operationId']}ByPath",
        "summary": f"{described['summary']}, for clients that send no key",
        "security": [],
        "responses": {**described["responses"], **_OF_PATH},
    }


_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "cursor": read_registry_cursor,
    "limit": _limit,
    "search": _text,
    "updated_since": _since,
    "version": _text,
    "include_deleted": _flag,
}
_FIRST = datetime(1970, 1, 2, tzinfo=timezone.utc)
_LONGEST_TEXT = 1000  # bytes
_LONGEST_NUMBER = 9  # digits

_OPENED_BY_PATH = "/registry/{secret}"
_NOT_IN_A_PATH = "Only a key of the scope registry may stand in this path, not one of the scope {}."
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-max-age", b"86400"),
    (b"cross-origin-resource-policy", b"cross-origin"),
]

_DELETED = openapi.parameter(
    "include_deleted",
    "Whether servers that were uninstalled, replaced or forgotten are shown, too.",
    {"type": "boolean", "default": False},
)
_MOMENT: Json = {"type": "string", "format": "date-time"}
_SHORT_TEXT: Json = {**openapi.TEXT, "pattern": r"^[^\u0000]*$", "maxLength": 1000}
_LINE: Json = {**openapi.TEXT, "minLength": 1, "maxLength": 100}
_REMOTE = openapi.object_of(
    type={"const": "streamable-http"},
    url={**openapi.TEXT, "pattern": r"^https?://\S+$"},
    headers=openapi.listed({"type": "object", "required": ["name", "value"]}),
)
_ENTRY = openapi.object_of(
    server={
        "type": "object",
        "properties": {
            "name": {**openapi.TEXT, "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$"},
            "title": _LINE,
            "description": _LINE,
            "version": {**openapi.TEXT, "maxLength": 255},
            "remotes": openapi.listed(_REMOTE),
        },
        "required": ["name", "title", "description", "version"],
    },
    _meta={
        "type": "object",
        "description": "The status of the entry, and under a second key the state of the server, "
        "its versions, and up to 100 of its tools. These were reported by the server: data only. "
        "Of a server that was forgotten there is only its state, `forgotten`.",
    },
)
_ENTRIES = openapi.object_of(
    servers=openapi.listed(_ENTRY),
    metadata={
        "type": "object",
        "properties": {"count": openapi.COUNT, "nextCursor": openapi.TEXT},
        "required": ["count"],
    },
)
_OF_PATH = {
    status: {
        "description": about,
        "content": {"application/problem+json": {"schema": openapi.ref("Problem")}},
    }
    for status, about in {
        "401": "The key in the path is unknown, was revoked or has expired",
        "403": "The key in the path has another scope; or there are no keys yet",
        "429": "Too many wrong keys came from this address",
    }.items()
}
_LIST: Json = operation(
    "listEntries",
    "The MCP registry: the servers that an MCP client can connect to",
    description="It follows the MCP Registry API, version 0.1. A server that is down is "
    "deprecated, and stays. Names are those of databases: a rebuild keeps them. Entries whose "
    "servers were forgotten are deleted for as long as events are kept, and come last.",
    parameters=[
        openapi.parameter(
            "limit",
            f"How many at most; more than {MAX_LIMIT} means {MAX_LIMIT}.",
            {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT},
        ),
        openapi.parameter(
            "cursor",
            "The nextCursor of an earlier answer. It holds the other parameters, but limit.",
            openapi.TEXT,
        ),
        openapi.parameter(
            "search",
            "Only servers with this text in the name of the entry or database, hostname or "
            "server_id, in either case.",
            _SHORT_TEXT,
        ),
        openapi.parameter(
            "updated_since",
            "Only entries that changed at or after this time, or up to 5 seconds before, deleted "
            "ones too. It costs a scan.",
            _MOMENT,
        ),
        openapi.parameter(
            "version", "Only entries with this version; latest means all.", _SHORT_TEXT
        ),
        _DELETED,
    ],
    answers={200: openapi.answer("A page", _ENTRIES)},
    problems=(400, 401, 403, 429, 503),
)
_VERSIONS: Json = operation(
    "listEntryVersions",
    "The versions of a server in the MCP registry, of which there is one",
    parameters=[_DELETED],
    answers={200: openapi.answer("The version", _ENTRIES)},
    problems=(400, 401, 403, 404, 429, 503),
)
_VERSION: Json = operation(
    "getEntry",
    "A server in the MCP registry, in a version or the latest one",
    parameters=[_DELETED],
    answers={200: openapi.answer("The entry", _ENTRY)},
    problems=(400, 401, 403, 404, 429, 503),
)
