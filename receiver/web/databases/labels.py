"""
The labels and notes that people give to databases, over HTTP.

Labels are short texts by which servers can be listed; a note is one longer text. All servers of a
database have the same. Everybody who may read the fleet reads them; administrators change them.
Each change is logged to `receiver.audit`.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from contract import json_schema
from receiver.domain.databases import Annotation, Relabelling
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.web import openapi
from receiver.web.admin_api import audited, author_of, decoded_json
from receiver.web.context import services
from receiver.web.exports import FileFormat, Sheet, described, or_file, whole_file
from receiver.web.openapi import answer, operation
from receiver.web.routing import Guarded

__all__ = ["annotation_of", "relabel", "routes"]


def routes() -> list[Guarded]:
    """The routes of labels and notes."""
    path = "/servers/{server_id:path}/labels"  # a server_id may contain slashes
    return [
        Guarded(
            "/labels",
            or_file(list_labels, labels_file),
            methods=["GET"],
            needs=Power.READ,
            describes=described(_LIST),
        ),
        Guarded(path, get_labels, methods=["GET"], needs=Power.READ, describes=_GET),
        Guarded(path, patch_labels, methods=["PATCH"], needs=Power.MANAGE, describes=_PATCH),
    ]


_LABELS = {
    **openapi.listed(openapi.TEXT),
    "description": "Sorted; all servers with one database_uuid have the same.",
}
_ANNOTATION = openapi.object_of(
    server_id=openapi.TEXT,
    labels=_LABELS,
    note=openapi.TEXT,
    changed_at={"type": ["string", "null"], "format": "date-time"},
    changed_by={"type": ["string", "null"], "description": "The name of a key."},
)
_LIST = operation(
    "listLabels",
    "All labels, and how many servers of the list have each",
    answers={
        200: answer(
            "The labels, sorted",
            openapi.object_of(
                labels=openapi.listed(
                    openapi.object_of(label=openapi.TEXT, server_count=openapi.COUNT)
                ),
                count=openapi.COUNT,
            ),
        )
    },
    problems=(401, 403, 503),
)
_GET = operation(
    "getLabels",
    "The labels and the note of the database of a server",
    answers={200: answer("They", _ANNOTATION)},
    problems=(401, 403, 404, 503),
)
_PATCH = operation(
    "changeLabels",
    "Change the labels and the note of the database of a server",
    description="What is not named stays as it is. They are kept over a rebuild of the database, "
    "and deleted with its last server.",
    request_body=openapi.body({**json_schema(Relabelling), "additionalProperties": False}),
    answers={200: answer("As they are now", _ANNOTATION)},
    problems=(400, 401, 403, 404, 408, 413, 415, 422, 503),
)


async def list_labels(request: Request) -> Response:
    """Answer with all labels, sorted, and the number of listed servers that have each."""
    labels = await _all_labels(request)
    return _json({"labels": labels, "count": len(labels)})


async def labels_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of all labels, sorted, and the number of servers that have each."""
    return await whole_file(request, file_format, _LABELS_SHEET, await _all_labels(request))


async def _all_labels(request: Request) -> list[openapi.Json]:
    found = services(request)
    labels = await found.calls.read(found.store.labels.all)
    return [{"label": label, "server_count": count} for label, count in labels]


_LABELS_SHEET = Sheet(name="labels", columns=["label", "server_count"])


async def get_labels(request: Request) -> Response:
    """Answer with the labels and the note of the database of a server."""
    server_id = request.path_params["server_id"]
    return _json((await annotation_of(request, server_id)).to_json(server_id))


async def patch_labels(request: Request) -> Response:
    """Change the labels and the note of the database of a server, and answer with them."""
    server_id = request.path_params["server_id"]
    asked = Relabelling.of(await decoded_json(request))
    stored = await relabel(request, [server_id], asked)
    return _json(stored[server_id].to_json(server_id))


async def annotation_of(request: Request, server_id: str) -> Annotation:
    """The labels and the note of the database of a server. Raises Refusal for an unknown server."""
    found = services(request)
    annotation = await found.calls.read(found.store.labels.of, server_id)
    if annotation is None:
        raise _no_such_server(server_id)
    return annotation


async def relabel(
    request: Request,
    ids: Sequence[str],
    asked: Relabelling,
    *,
    seen: str | None = None,
    must_exist: bool = True,
) -> dict[str, Annotation]:
    """
    Change the labels and notes of the databases of some servers, in one transaction.

    Returns the labels and notes as they are stored then, by the ids of those of the servers that
    exist. Raises InvalidMessage when a database would have too many labels.

    Args:
        request: Tells who changes them.
        ids: The ids of the servers.
        asked: The change.
        seen: The version (`Annotation.version`) of the labels and the note that the client has
            seen. Raises Refusal if they have been changed since. None for any version.
        must_exist: Whether to raise Refusal when none of the servers exists.
    """
    found = services(request)
    at, by = found.clock(), author_of(request)
    with audited(request, f"changed labels ({_summary(asked)}) of", ", ".join(ids)):
        stored = await found.calls.change(
            found.store.labels.change, ids, asked, at=at, by=by, seen=seen
        )
        if must_exist and not stored:
            raise _no_such_server(ids[0])
    return stored


def _summary(asked: Relabelling) -> str:
    """What a change is, for the audit log; the text of a note is not in it."""
    parts = [] if asked.labels is None else [f"={','.join(asked.labels)}"]
    parts += [f"+{label}" for label in asked.add] + [f"-{label}" for label in asked.remove]
    return " ".join(parts if asked.note is None else [*parts, "note"])


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _no_such_server(server_id: str) -> Refusal:
    return Refusal(404, "not_found", f"There is no server {server_id!r}.")
