"""The description of the HTTP interface (OpenAPI 3.1), its schemas made from `contract`."""

from functools import cache
from typing import Any

from attrs import fields

from contract import EventKind, Heartbeat, Registration, ServerRecord, State, json_schema
from receiver.domain.keys import NewKey
from receiver.service.availability import WINDOWS
from receiver.store.merging import SUPERSEDED
from receiver.store.server_list import Filter, Order
from receiver.web.requests import DEFAULT_LIMIT, MAX_LIMIT

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
            "/servers/{server_id}/events": {
                "parameters": [_SERVER_ID],
                "get": _list_events_of_server(),
            },
            "/servers/{server_id}/owner": {
                "parameters": [_SERVER_ID],
                "get": _get_owner(),
                "put": _hand_over(),
            },
            "/events": {"get": _list_events()},
            "/events/stream": {"get": _event_stream()},
            "/health": {"get": _health()},
            "/metrics": {"get": _metrics()},
            "/sd/prometheus": {"get": _discovery()},
            "/keys": {"get": _list_keys(), "post": _add_key()},
            "/keys/{key_id}": {"parameters": [_KEY_ID], "delete": _revoke_key()},
            "/keys/{key_id}/rotate": {"parameters": [_KEY_ID], "post": _rotate_key()},
        },
        "security": [{"key": []}],
        "components": {
            "schemas": {
                "Registration": json_schema(Registration),
                "Heartbeat": json_schema(Heartbeat),
                "Server": _server_schema(),
                "ServerWithAvailability": _server_with_availability(),
                "Event": _event_schema(),
                "Key": _key_schema(),
                "NewKey": {**json_schema(NewKey), "additionalProperties": False},
                "Owner": _OWNER,
                "Counted": _COUNTED,
                "Rejected": _REJECTED,
                "Problem": _PROBLEM,
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": _KEYS},
            },
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
            **_problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
    }


def _heartbeat() -> Json:
    return {
        "summary": "A server is alive",
        "operationId": "heartbeat",
        "requestBody": _body(_ref("Heartbeat")),
        "responses": {
            "200": _answer("Merged and committed", _ref("Counted")),
            **_problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
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
            **_problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
    }


def _list_servers() -> Json:
    return {
        "summary": "The fleet, but servers that others have superseded",
        "operationId": "listServers",
        "parameters": [
            _LIMIT,
            _CURSOR,
            _parameter(
                "sort",
                "The order; with a minus the other way round. By last_seen costs a scan.",
                {"enum": [order.value for order in Order], "default": Order.SERVER_ID.value},
            ),
            _parameter(
                "total",
                "Whether to count all servers that match, which costs a scan.",
                {"type": "boolean", "default": False},
            ),
            *_filters(),
        ],
        "responses": {"200": _answer("A page", _page_schema()), **_problems(400, 401, 403, 503)},
    }


def _filters() -> list[Json]:
    described = {
        "state": (
            "Only servers that were last noticed in it; superseded ones are not listed otherwise.",
            {"enum": [*(state.value for state in State), SUPERSEDED]},
        ),
        "stage": ("Only servers with it; when empty, those without one.", _FILTER),
        "q": (_Q, {**_TEXT, "maxLength": 1000}),
    }
    return [
        _parameter(field.name, *described.get(field.name, ("Only servers with it.", _FILTER)))
        for field in fields(Filter)
    ]


def _get_server() -> Json:
    return {
        "summary": "One server",
        "operationId": "getServer",
        "responses": {
            "200": _answer("Its record", _ref("ServerWithAvailability")),
            **_problems(401, 403, 404, 503),
        },
    }


def _list_events() -> Json:
    return {
        "summary": "What happened, newest first",
        "description": _PARTS,
        "operationId": "listEvents",
        "parameters": [_LIMIT, _CURSOR, _SINCE, _KIND, _OF_SERVER],
        "responses": {"200": _answer("A page", _events_schema()), **_problems(400, 401, 403, 503)},
    }


def _list_events_of_server() -> Json:
    return {
        "summary": "What happened to a server and to those that it superseded, newest first",
        "description": _PARTS,
        "operationId": "listEventsOfServer",
        "parameters": [_LIMIT, _CURSOR, _SINCE, _KIND],
        "responses": {
            "200": _answer("A page", _events_schema()),
            **_problems(400, 401, 403, 404, 503),
        },
    }


def _event_stream() -> Json:
    return {
        "summary": "What happens, as server-sent events",
        "description": "Each has the number of the event as its id, the kind as its event, and "
        "an Event in JSON as its data. At most 1,000 streams may be open at once.",
        "operationId": "streamEvents",
        "parameters": [
            _KIND,
            _OF_SERVER,
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "The last event that is known; it goes on after that.",
                "schema": _COUNT,
            },
        ],
        "responses": {
            "200": {
                "description": "Events until the connection ends",
                "content": {"text/event-stream": {"schema": _TEXT}},
            },
            **_problems(400, 401, 403, 503),
        },
    }


def _metrics() -> Json:
    return {
        "summary": "Metrics for Prometheus",
        "operationId": "metrics",
        "responses": {
            "200": {
                "description": (
                    "In the format that is accepted. "
                    "The workers of one parent process tell of all of them together"
                ),
                "content": {"text/plain": {"schema": _TEXT}},
            },
            **_problems(401, 403),
        },
    }


def _discovery() -> Json:
    group = _object(
        targets={"type": "array", "items": {"type": "string"}},
        labels={"type": "object", "additionalProperties": {"type": "string"}},
    )
    return {
        "summary": "The servers that are alive, for Prometheus' HTTP service discovery",
        "operationId": "discover",
        "parameters": _filters(),
        "responses": {
            "200": _answer("All of them", {"type": "array", "items": group}),
            **_problems(400, 401, 403, 503),
        },
    }


def _delete_server() -> Json:
    return {
        "summary": "Forget a server",
        "description": (
            "Those that it superseded are superseded by its own successor, or else are back "
            "in the list."
        ),
        "operationId": "deleteServer",
        "responses": {
            "200": _answer("Forgotten", _done("deleted")),
            **_problems(401, 403, 404, 503),
        },
    }


def _get_owner() -> Json:
    return {
        "summary": "To which key a server belongs",
        "operationId": "getOwner",
        "responses": {
            "200": _answer("Its id", _ref("Owner")),
            **_problems(401, 403, 404, 503),
        },
    }


def _hand_over() -> Json:
    return {
        "summary": "Let a server belong to another key, or to the agent's that writes it next",
        "operationId": "handOver",
        "requestBody": _body({**_object(key_id=_ID_OR_NULL), "additionalProperties": False}),
        "responses": {
            "200": _answer("It does", _ref("Owner")),
            **_problems(400, 401, 403, 404, 408, 413, 415, 422, 503),
        },
    }


def _list_keys() -> Json:
    listed = _object(keys={"type": "array", "items": _ref("Key")}, count=_COUNT)
    return {
        "summary": "All keys that were ever made, without their secrets, oldest first",
        "operationId": "listKeys",
        "responses": {"200": _answer("The keys", listed), **_problems(401, 403, 503)},
    }


def _add_key() -> Json:
    return {
        "summary": "Make a key",
        "operationId": "addKey",
        "requestBody": _body(_ref("NewKey")),
        "responses": {
            "201": _answer(
                "The key, which is not shown again", _object(key=_ref("Key"), token=_TEXT)
            ),
            **_problems(400, 401, 403, 408, 413, 415, 422, 503),
        },
    }


def _revoke_key() -> Json:
    return {
        "summary": "Take a key back; receivers refuse it within seconds",
        "operationId": "revokeKey",
        "responses": {
            "200": _answer("Revoked", _object(status={"const": "revoked"}, id=_TEXT)),
            **_problems(401, 403, 404, 503),
        },
    }


def _rotate_key() -> Json:
    return {
        "summary": "Give a key another secret; its servers stay its own",
        "operationId": "rotateKey",
        "responses": {
            "200": _answer(
                "The key, which is not shown again",
                _object(status={"const": "rotated"}, id=_TEXT, token=_TEXT),
            ),
            **_problems(401, 403, 404, 409, 503),
        },
    }


def _health() -> Json:
    return {
        "summary": "Whether the receiver and its store work",
        "operationId": "health",
        "security": [],
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


def _server_with_availability() -> Json:
    schema = _server_schema()
    share = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    schema["properties"]["availability"] = {
        **_object(**dict.fromkeys(WINDOWS, share)),
        "description": "The part of the last so much time in which it was neither late nor down; "
        "of its database, when it has superseded others.",
    }
    schema["required"] = list(schema["properties"])
    return schema


def _event_schema() -> Json:
    return _object(
        id={**_COUNT, "description": "It rises in the order of the events."},
        kind={"enum": [kind.value for kind in EventKind]},
        at={"type": "string", "format": "date-time"},
        server_id={"type": ["string", "null"], "description": "Null for the fleet as a whole."},
        details={"type": "object"},
    )


def _key_schema() -> Json:
    schema = json_schema(NewKey)["properties"]
    moment = {"type": ["string", "null"], "format": "date-time"}
    return _object(
        id=_TEXT,
        name=schema["name"],
        scope=schema["scope"],
        servers=schema["servers"],
        created_at={"type": "string", "format": "date-time"},
        expires_at=moment,
        revoked_at=moment,
        last_used_at=moment,
        messages=_COUNT,
        standing={"enum": ["active", "expired", "revoked"]},
    )


def _events_schema() -> Json:
    return _object(
        events={"type": "array", "items": _ref("Event")},
        count=_COUNT,
        next_cursor={"type": ["string", "null"]},
    )


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


_Q = (
    "Only servers with this text in hostname, database or server_id, in either case; on "
    "SQLite letters beyond ASCII are found in their own case only."
)
_PARTS = (
    "A page may hold fewer than limit, when their JSON would have more than about 1 MiB: "
    "there are more as long as there is a next_cursor."
)

_KEYS = (
    "fleetkey_<id>_<secret>. One of the scope agent sends messages of servers, a viewer reads, an "
    "admin may do all. As long as no key was ever made, none is needed on the receiver's own "
    "machine, but for /keys."
)

_STATUSES = {
    400: "The request cannot be read",
    401: "There is no key, or one that is good no more",
    403: "The key is not good for this, or not for this server; or there are no keys yet",
    404: "There is no such server, or key",
    408: "The body does not arrive",
    409: "The key has expired",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "What is sent breaks the contract",
    429: "Too much came from this key or address; try again after Retry-After seconds",
    503: "The store does not answer, or too much is asked at once; try again after Retry-After "
    "seconds. Nothing was changed, unless the code is outcome_unknown",
}

_COUNT: Json = {"type": "integer", "minimum": 0}
_TEXT: Json = {"type": "string"}
_FILTER: Json = {**_TEXT, "maxLength": 4000, "description": "At most 4,000 bytes in UTF-8."}
_LIMIT = _parameter(
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
_CURSOR = _parameter("cursor", "The next_cursor of an earlier answer.", _TEXT)
_SINCE = _parameter("since", "Not before this time.", {"type": "string", "format": "date-time"})
_KIND = _parameter(
    "kind",
    "Only events of this kind; may be there several times.",
    {"type": "array", "items": {"enum": [kind.value for kind in EventKind]}},
)
_OF_SERVER = _parameter("server_id", "Only of this server and those that it superseded.", _FILTER)

_SERVER_ID: Json = {
    "name": "server_id",
    "in": "path",
    "required": True,
    "schema": json_schema(ServerRecord)["properties"]["server_id"],
}

_KEY_ID: Json = {
    "name": "key_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}
_ID_OR_NULL: Json = {"type": ["string", "null"], "description": "The id of a key."}
_OWNER = _object(server_id=_TEXT, key_id=_ID_OR_NULL)

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
