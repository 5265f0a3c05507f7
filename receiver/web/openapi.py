"""
The OpenAPI 3.1 description of the API. The schemas of messages come from the package `contract`.

Each route has its own operation, made with `operation`; `document` puts the operations together.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from contract import (
    EventKind,
    Heartbeat,
    HeartbeatAnswer,
    Registration,
    RegistrationAnswer,
    RejectedAnswer,
    ServerRecord,
    State,
    Tool,
    json_schema,
)
from receiver.domain.agents.client_files import Client
from receiver.domain.filter_text import MAX_LENGTH, MOST_WORDS
from receiver.domain.forgetting import FORGETTABLE
from receiver.domain.keys import NewKey
from receiver.domain.queries import NODE, SUPERSEDED, Order
from receiver.service.availability import WINDOWS
from receiver.web.requests import DEFAULT_LIMIT, FILTER_NAMES, MAX_DAYS, MAX_LIMIT
from receiver.web.routing import Guarded

__all__ = [
    "CLIENT",
    "COUNT",
    "CURSOR",
    "EVENTS_PAGE",
    "FILTERS",
    "FORGET",
    "FORGOTTEN",
    "ID_OR_NULL",
    "KIND",
    "LIMIT",
    "MOMENT",
    "OF_SERVER",
    "QUERY",
    "SEARCH",
    "SERVERS_PAGE",
    "SINCE",
    "SORT",
    "TEXT",
    "TOOLS",
    "TOOLS_PAGE",
    "TOTAL",
    "WHICH_TO_FORGET",
    "Json",
    "answer",
    "body",
    "document",
    "done",
    "listed",
    "object_of",
    "operation",
    "parameter",
    "ref",
    "text_answer",
]

Json = dict[str, Any]


def document(routes: Iterable[Guarded]) -> Json:
    """The OpenAPI document of those routes that have an operation."""
    paths: dict[str, Json] = {}
    for route in routes:
        if route.describes is None:
            continue
        path = route.path.replace(":path}", "}")
        described = paths.setdefault(path, {})
        parameters = [_PATH_PARAMETERS[name] for name in route.param_convertors]
        if route.id_in_query:
            parameters.append(_ID)
        if parameters:
            described["parameters"] = parameters
        for method in (route.methods or set()) - {"HEAD"}:
            described[method.lower()] = _with_common_problems(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Odoo MCP Fleet",
            "summary": "The one true list of the Odoo databases that offer MCP tools.",
            "version": "1",
        },
        "paths": paths,
        "security": [{"key": []}],
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": _KEYS},
            },
        },
    }


def _with_common_problems(route: Guarded) -> Json:
    """The operation of a route, with the error responses that it shares with other routes."""
    described: Json = route.describes or {}
    common = _PROBLEMS_OF_ALL if route.needs is None else _PROBLEMS_OF_ALL | _PROBLEMS_OF_KEYS
    responses = {**_problems(common), **described["responses"]}
    described = {**described, "responses": dict(sorted(responses.items()))}
    if route.id_in_query:
        described["operationId"] += "ById"
        described["summary"] += "; for a server_id that no path can hold, such as `..`"
    return described


def _problems(statuses: Iterable[int]) -> Json:
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {
        str(status): {"description": _STATUSES[status], "content": content} for status in statuses
    }


def _schemas() -> dict[str, Json]:
    return {
        "Registration": json_schema(Registration),
        "Heartbeat": json_schema(Heartbeat),
        "Server": _server_schema(),
        "ServerWithAvailability": _server_with_availability(),
        "Event": _event_schema(),
        "Tool": json_schema(Tool),
        "Key": _key_schema(),
        "NewKey": {**json_schema(NewKey), "additionalProperties": False},
        "Owner": object_of(server_id=TEXT, key_id=ID_OR_NULL),
        "Registered": json_schema(RegistrationAnswer),
        "Counted": json_schema(HeartbeatAnswer),
        "Rejected": json_schema(RejectedAnswer),
        "Problem": _problem_schema(),
    }


def operation(  # noqa: PLR0913 - all by name
    operation_id: str,
    summary: str,
    *,
    answers: Mapping[int, Json],
    problems: Iterable[int],
    description: str | None = None,
    parameters: Iterable[Json] = (),
    request_body: Json | None = None,
) -> Json:
    """
    Make an OpenAPI operation object.

    Args:
        operation_id: The unique name of the operation.
        summary: What the operation does, in one line.
        answers: The answers by status, made with `answer` or `text_answer`.
        problems: The statuses of its problem documents (errors), without those that `document` adds
            to each operation.
        description: A longer text about the operation.
        parameters: The query and header parameters.
        request_body: The request body, made with `body`.
    """
    described: Json = {"summary": summary, "operationId": operation_id}
    if description is not None:
        described["description"] = description
    if parameters:
        described["parameters"] = [*parameters]
    if request_body is not None:
        described["requestBody"] = request_body
    described["responses"] = {
        **{str(status): each for status, each in answers.items()},
        **_problems(problems),
    }
    return described


def answer(description: str, schema: Json) -> Json:
    """An OpenAPI response object for an answer in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def tagged(operation: Json) -> Json:
    """The operation, with the `ETag` of its answer and the parameter `If-None-Match` added."""
    tag = {"description": "Changes when the answer does.", "schema": TEXT}
    parameter = {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag of an answer that the client still has: if it is the same, the "
        "answer is 304 without a body.",
        "schema": TEXT,
    }
    responses = {
        **operation["responses"],
        "200": {**operation["responses"]["200"], "headers": {"ETag": tag}},
        "304": {"description": "The answer is that with the ETag.", "headers": {"ETag": tag}},
    }
    parameters = [*operation.get("parameters", ()), parameter]
    return {**operation, "parameters": parameters, "responses": responses}


def text_answer(description: str, media_type: str) -> Json:
    """An OpenAPI response object for a text of another media type, such as `text/csv`."""
    return {"description": description, "content": {media_type: {"schema": TEXT}}}


def body(schema: Json) -> Json:
    """An OpenAPI object for a required request body in JSON."""
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def ref(name: str) -> Json:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(**properties: Json) -> Json:
    """The schema of an object that has all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def done(status: str) -> Json:
    """The schema of an answer with a constant `status`, such as "deleted", and a `server_id`."""
    return object_of(status={"const": status}, server_id=TEXT)


def listed(items: Json) -> Json:
    """The schema of a list whose items have the schema `items`."""
    return {"type": "array", "items": items}


def _server_schema() -> Json:
    schema = json_schema(ServerRecord)
    schema["properties"]["state"] = {"enum": [state.value for state in State]}
    schema["properties"]["stale"] = {"type": "boolean", "description": "Whether late or down."}
    schema["properties"]["lapsed"] = {
        "type": "boolean",
        "description": "Whether the key that it belongs to was revoked or has expired, so that it "
        "cannot send any more. Counts of what is alive leave it out.",
    }
    schema["properties"]["nodes"] = {
        **listed(
            object_of(
                server_id=TEXT,
                hostname={"type": ["string", "null"]},
                last_seen=MOMENT,
            )
        ),
        "description": "The other nodes of the database that the server stands for.",
    }
    schema["required"] = list(schema["properties"])
    return schema


def _server_with_availability() -> Json:
    schema = _server_schema()
    share = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    schema["properties"]["availability"] = {
        **object_of(**dict.fromkeys(WINDOWS, share)),
        "description": "The part of the last so much time in which it was neither late nor down; "
        "of its database, when it has superseded others. Time in which it was flapping is left "
        "out.",
    }
    schema["properties"]["availability_since"] = {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "Where the availability begins later, since the server changed its state "
        "more often than is read: the time since when it is computed. Otherwise null.",
    }
    schema["required"] = list(schema["properties"])
    return schema


def _event_schema() -> Json:
    return object_of(
        id={**COUNT, "description": "It rises in the order of the events."},
        kind={"enum": [kind.value for kind in EventKind]},
        at=MOMENT,
        server_id={"type": ["string", "null"], "description": "Null for the fleet as a whole."},
        details={"type": "object"},
    )


def _key_schema() -> Json:
    schema = json_schema(NewKey)["properties"]
    moment = {"type": ["string", "null"], "format": "date-time"}
    return object_of(
        id=TEXT,
        name=schema["name"],
        scope=schema["scope"],
        servers=schema["servers"],
        created_at=MOMENT,
        expires_at=moment,
        revoked_at=moment,
        last_used_at=moment,
        messages=COUNT,
        standing={"enum": ["active", "expired", "revoked"]},
    )


def _problem_schema() -> Json:
    schema = object_of(
        type=TEXT,
        title=TEXT,
        status={"type": "integer"},
        detail=TEXT,
        code={**TEXT, "description": "What went wrong, for machines; it never changes."},
    )
    schema["properties"]["errors"] = _ERRORS
    return schema


def _page(name: str, items: Json) -> Json:
    """The schema of a page of a list, which has its items as the property `name`."""
    return object_of(**{name: listed(items)}, count=COUNT, next_cursor={"type": ["string", "null"]})


def _servers_page() -> Json:
    schema = _page("servers", ref("Server"))
    schema["properties"]["total"] = {**COUNT, "description": "Those that match; if asked for."}
    return schema


def parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _filters(**described: tuple[str, Json]) -> list[Json]:
    """
    The parameters of filters, each of which may be there several times, as a list of values.

    `described` holds, by the name of a parameter, another description and another schema of a
    value.
    """
    described = {
        "state": (
            _STATE,
            {"enum": [*(state.value for state in State), SUPERSEDED, NODE]},
        ),
        "stage": ("Only servers with it, or one of them; when empty, without one.", _FILTER),
        "key": ("Only servers of a key with this id or name; when empty, of no key.", _FILTER),
        "network": (
            "Only servers whose primary address is in this network of 24 bits, or of 64 for IPv6.",
            {**TEXT, "minLength": 1, "maxLength": 100, "examples": ["10.0.3.0/24"]},
        ),
        "q": (_Q, {**_WITHOUT_NUL, "maxLength": 1000}),
        **described,
    }
    each = {
        name: described.get(name, ("Only servers with it, or one of them.", _FILTER))
        for name in FILTER_NAMES
    }
    most = {"q": {"maxItems": MOST_WORDS}}
    return [
        parameter(name, says, {**listed(schema), **most.get(name, {})})
        for name, (says, schema) in each.items()
    ]


def _which_to_forget() -> list[Json]:
    states = {"enum": [*FORGETTABLE]}
    return [
        parameter(
            "dry_run",
            "Whether only to say which servers would be forgotten.",
            {"type": "boolean", "default": False},
        ),
        parameter(
            "limit",
            "About how many at most: a database goes with all of its servers.",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": MAX_LIMIT},
        ),
        parameter(
            "silent_for_days",
            "Only servers whose last message was received more than so many days ago.",
            {"type": "integer", "minimum": 1, "maximum": MAX_DAYS},
        ),
        QUERY,
        *_filters(
            state=("Only servers that were last noticed in it; all three otherwise.", states),
            q=(_Q, {**_WITHOUT_NUL, "minLength": 1, "maxLength": 1000}),
        ),
    ]


_STATE = (
    "Only servers that were last noticed in it, or one of them, as state=down&state=late or "
    "state=down,late; those that have left, that are superseded, or are a node of another one, are "
    "not listed otherwise."
)
_Q = (
    "Only servers with this text, in either case, in hostname, database, server_id, host and port "
    "of the endpoint, the name of a tool, a label or the note of the database, or at the beginning "
    "of a version or, if it has a dot or a colon, of an IP address; or with each of several texts."
)
_KEYS = (
    "fleetkey_<id>_<secret>. One of the scope agent sends messages of servers, a viewer reads, a "
    "registry's reads the MCP registry, a badge's reads badges, an admin may do all. As long as no "
    "key was ever made, none is needed on the receiver's own machine, but for /keys, for testing a "
    "channel and for acknowledging an alarm."
)

_STATUSES = {
    400: "The request cannot be read",
    401: "There is no key, or one that is good no more",
    403: "The key is not good for this, or not for this server; or there are no keys yet",
    404: "There is no such thing",
    406: "The answer would be JSON, which the request does not accept",
    408: "The headers or the body do not arrive in time",
    409: "What is there does not allow it: a key has expired, an alarm or a silence is over, there "
    "are too many, or no key for secrets is set, or none that fits",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "What is sent breaks the contract",
    429: "Too much came from this key or address; try again after Retry-After seconds",
    431: "The headers are too large, or too many",
    500: "The receiver failed; its log says why",
    503: "The store does not answer, or too much is asked at once; try again after Retry-After "
    "seconds. Nothing was changed, unless the code is outcome_unknown",
}

_PROBLEMS_OF_ALL = {400, 403, 408, 431, 500}
"""The statuses of errors with which any request may be answered."""

_PROBLEMS_OF_KEYS = {401, 429, 503}
"""The statuses of errors with which any request that needs a key may be answered."""

COUNT: Json = {"type": "integer", "minimum": 0}
TEXT: Json = {"type": "string"}
MOMENT: Json = {"type": "string", "format": "date-time"}
ID_OR_NULL: Json = {"type": ["string", "null"], "description": "The id of a key."}
_WITHOUT_NUL: Json = {**TEXT, "pattern": r"^[^\u0000]*$"}
_FILTER: Json = {
    **_WITHOUT_NUL,
    "maxLength": 4000,
    "description": "At most 4,000 bytes in UTF-8.",
}
_ERRORS: Json = listed(object_of(path=TEXT, message=TEXT))

LIMIT = parameter(
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
CURSOR = parameter(
    "cursor",
    "The next_cursor of an earlier answer, which is never empty; leave it out for the first page.",
    {**TEXT, "minLength": 4, "pattern": "^[A-Za-z0-9_-]+={0,2}$"},
)
SORT = parameter(
    "sort",
    "The order; with a minus the other way round. By last_seen costs a scan, and servers that "
    "were heard since the first page come at the end, sorted by server_id. By trouble those come "
    "first that are down, then those that are late, flap, have a twin or a conflict, are new, and "
    "are up; a server whose state changes between two pages may be missed, or be there twice.",
    {"enum": [order.value for order in Order], "default": Order.SERVER_ID.value},
)
TOTAL = parameter(
    "total",
    "Whether to count all servers that match, which costs a scan.",
    {"type": "boolean", "default": False},
)
QUERY = parameter(
    "query",
    "Filters as one text, such as `stage:production state:down,late -tool:sale_order_confirm`, in "
    "place of the others. A minus before a name finds the servers without it. Of words without a "
    f"name there are {MOST_WORDS} at most.",
    {
        **_WITHOUT_NUL,
        "maxLength": MAX_LENGTH,
        "examples": ["stage:production state:down,late", 'database:"my database"'],
    },
)
OF_SERVERS = parameter(
    "query",
    "Only of servers that match these filters now, which are written as in `GET /servers`. Unless "
    "they name a state, also servers that have left, are superseded or nodes match.",
    {
        **_WITHOUT_NUL,
        "maxLength": MAX_LENGTH,
        "examples": ["stage:production", 'database:"my database"'],
    },
)
CLIENT = {
    **parameter(
        "client",
        "The MCP client whose configuration file it is.",
        {"enum": [client.value for client in Client]},
    ),
    "required": True,
}
FORGET = parameter(
    "forget",
    "Whether to forget the servers of the key too, each in a transaction of its own. With it, a "
    "key may be revoked already.",
    {"type": "boolean", "default": False},
)
SEARCH: Json = {
    "name": "search",
    "in": "query",
    "required": True,
    "description": "What a tool is to do, in words, such as `confirm a sale order`.",
    "schema": {"type": "string", "maxLength": 1000},
}
_TIME = {
    "type": "string",
    "anyOf": [
        {"format": "date-time"},
        {
            "pattern": r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?"
            r"([Zz]|[+-]\d\d:?[0-5]\d)$"
        },
    ],
}
SINCE = parameter(
    "since",
    "Not before this time. A space may stand for the T, and the offset may lack its colon.",
    _TIME,
)
UNTIL = parameter("until", "Not after this time, which is written as `since` is.", _TIME)
KIND = parameter(
    "kind",
    "Only events of this kind; may be there several times.",
    listed({"enum": [kind.value for kind in EventKind]}),
)
OF_SERVER = parameter("server_id", "Only of this server and those that it superseded.", _FILTER)
FILTERS = [QUERY, *_filters()]
WHICH_TO_FORGET = _which_to_forget()

SERVERS_PAGE = _servers_page()
EVENTS_PAGE = _page("events", ref("Event"))
TOOLS_PAGE = _page(
    "tools",
    {"allOf": [ref("Tool"), object_of(server_ids=listed(TEXT), server_count=COUNT)]},
)
TOOLS = object_of(
    server_id=TEXT,
    is_current={
        "type": "boolean",
        "description": "Whether the server has the same tools now, by its latest message.",
    },
    tools={
        "anyOf": [listed(ref("Tool")), {"type": "null"}],
        "description": "As the server last described them; null if it has never done so.",
    },
)
FORGOTTEN = object_of(
    status={"enum": ["forgotten", "dry_run"]},
    count=COUNT,
    server_ids=listed(TEXT),
    more={"type": "boolean", "description": "Whether the same call would find more servers."},
)

_PATH_PARAMETERS: Mapping[str, Json] = {
    "server_id": {
        "name": "server_id",
        "in": "path",
        "required": True,
        "schema": json_schema(ServerRecord)["properties"]["server_id"],
    },
    "key_id": {
        "name": "key_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    },
    **{
        name: {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("channel_id", "rule_id", "silence_id", "alarm_id")
    },
    "badge_key": {
        "name": "badge_key",
        "in": "path",
        "required": True,
        "description": "The whole text of a key of the scope badge.",
        "schema": {"type": "string", "minLength": 1},
    },
    "secret": {
        "name": "secret",
        "in": "path",
        "required": True,
        "description": "The whole text of a key of the scope registry.",
        "schema": {"type": "string", "minLength": 1},
    },
    "server_name": {
        "name": "server_name",
        "in": "path",
        "required": True,
        "description": "The name of an entry; its slash may be escaped.",
        "schema": {"type": "string", "minLength": 1},
    },
    "version": {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "The version of the entry, or latest.",
        "schema": {"type": "string", "minLength": 1},
    },
}

_ID: Json = {**_PATH_PARAMETERS["server_id"], "name": "id", "in": "query"}
