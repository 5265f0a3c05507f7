"""The description of the HTTP interface (OpenAPI 3.1), its schemas made from `contract`."""

from functools import cache
from typing import Any

from attrs import fields

from contract import Heartbeat, Registration, ServerRecord, State, json_schema
from receiver.requests import DEFAULT_LIMIT, MAX_LIMIT
from receiver.store import Filter

__all__ = ["document"]

Json = dict[str, Any]


@cache
def document() -> Json:
    """The OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Odoo MCP Fleet",
            "summary": "The one true list of the Odoo databases that offer MCP tools.",
            "version": "1",
        },
        "paths": {
            "/register": {"post": _register()},
            "/heartbeat": {"post": _heartbeat()},
            "/heartbeats": {"post": _heartbeats()},
            "/servers": {"get": _list_servers()},
            "/servers/{server_id}": {
                "parameters": [_SERVER_ID],
                "get": _get_server(),
                "delete": _delete_server(),
            },
            "/health": {"get": _health()},
        },
        "components": {
            "schemas": {
                "Registration": json_schema(Registration),
                "Heartbeat": json_schema(Heartbeat),
                "Server": _server_schema(),
                "Counted": _COUNTED,
                "Rejected": _REJECTED,
                "Problem": _PROBLEM,
            }
        },
    }


def _register() -> Json:
    return {
        "summary": "A server has started",
        "operationId": "register",
        "requestBody": _body(_ref("Registration")),
        "responses": {
            "200": _answer("A known server", _done("registered")),
            "201": _answer("A new server", _done("registered")),
            **_problems(400, 408, 413, 415, 422, 503),
        },
    }


def _heartbeat() -> Json:
    return {
        "summary": "A server is alive",
        "operationId": "heartbeat",
        "requestBody": _body(_ref("Heartbeat")),
        "responses": {
            "200": _answer("Merged and committed", _ref("Counted")),
            **_problems(400, 408, 413, 415, 422, 503),
        },
    }


def _heartbeats() -> Json:
    # The items are not typed here: one that is no Heartbeat is answered, not refused.
    return {
        "summary": "Many servers are alive",
        "description": "Each item is read as a Heartbeat; one that is none refuses itself only.",
        "operationId": "heartbeats",
        "requestBody": _body({"type": "array", "maxItems": 1000, "items": {}}),
        "responses": {
            "200": _answer(
                "What became of each, in order; those accepted are committed",
                _object(
                    accepted=_COUNT,
                    rejected=_COUNT,
                    results={
                        "type": "array",
                        "items": {"oneOf": [_ref("Counted"), _ref("Rejected")]},
                    },
                ),
            ),
            **_problems(400, 408, 413, 415, 422, 503),
        },
    }


def _list_servers() -> Json:
    return {
        "summary": "The fleet, in the order of server_id",
        "operationId": "listServers",
        "parameters": [
            _parameter(
                "limit",
                "How many servers at most.",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            ),
            _parameter("cursor", "The next_cursor of an earlier answer.", {"type": "string"}),
            _parameter(
                "total",
                "Whether to count all servers that match, which costs a scan.",
                {"type": "boolean", "default": False},
            ),
            *(
                _parameter(field.name, "Only servers with it.", {"type": "string"})
                for field in fields(Filter)
            ),
        ],
        "responses": {"200": _answer("A page", _page_schema()), **_problems(400, 503)},
    }


def _get_server() -> Json:
    return {
        "summary": "One server",
        "operationId": "getServer",
        "responses": {"200": _answer("Its record", _ref("Server")), **_problems(404, 503)},
    }


def _delete_server() -> Json:
    return {
        "summary": "Forget a server",
        "operationId": "deleteServer",
        "responses": {"200": _answer("Forgotten", _done("deleted")), **_problems(404, 503)},
    }


def _health() -> Json:
    return {
        "summary": "Whether the receiver and its store work",
        "operationId": "health",
        "responses": {
            "200": _answer(
                "They do",
                _object(
                    status={"const": "healthy"},
                    uptime_seconds={"type": "number", "minimum": 0},
                    server_count=_COUNT,
                ),
            ),
            **_problems(503),
        },
    }


def _page_schema() -> Json:
    schema = _object(
        servers={"type": "array", "items": _ref("Server")},
        count=_COUNT,
        next_cursor={"type": ["string", "null"]},
    )
    schema["properties"]["total"] = {**_COUNT, "description": "Those that match; if asked for."}
    return schema


def _server_schema() -> Json:
    schema = json_schema(ServerRecord)
    schema["properties"]["state"] = {"enum": [state.value for state in State]}
    schema["properties"]["stale"] = {"type": "boolean", "description": "Whether late or down."}
    schema["required"] = list(schema["properties"])
    return schema


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _done(status: str) -> Json:
    return _object(status={"const": status}, server_id={"type": "string"})


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _body(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problems(*statuses: int) -> Json:
    return {
        str(status): {
            "description": _STATUSES[status],
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        }
        for status in statuses
    }


_STATUSES = {
    400: "The request cannot be read",
    404: "There is no such server",
    408: "The body does not arrive",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "The message breaks the contract",
    503: "The store does not answer; try again after Retry-After seconds. Nothing was changed, "
    "unless the code is outcome_unknown",
}

_COUNT: Json = {"type": "integer", "minimum": 0}

_SERVER_ID: Json = {
    "name": "server_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}

_COUNTED = _object(
    status={"const": "ok"}, server_id={"type": "string"}, heartbeat_count={**_COUNT, "minimum": 1}
)

_ERRORS: Json = {
    "type": "array",
    "items": _object(path={"type": "string"}, message={"type": "string"}),
}

_REJECTED = _object(status={"const": "rejected"}, code={"type": "string"}, errors=_ERRORS)

_PROBLEM = _object(
    type={"type": "string"},
    title={"type": "string"},
    status={"type": "integer"},
    detail={"type": "string"},
    code={"type": "string", "description": "What went wrong, for machines; it never changes."},
)
_PROBLEM["properties"]["errors"] = _ERRORS
