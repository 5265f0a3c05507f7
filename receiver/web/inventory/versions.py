"""The versions of Odoo and of MCP servers that the fleet runs, and how many servers run each."""

from collections.abc import Mapping, Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response

from receiver.domain.inventory.software import Software, VersionCount, version_counts
from receiver.web.context import Services, services
from receiver.web.exports import FileFormat, Sheet, whole_file
from receiver.web.headers import json_answer, tag_of
from receiver.web.openapi import COUNT, TEXT, Json, answer, listed, object_of, operation

__all__ = ["VERSIONS", "counted_versions", "versions", "versions_file"]

_SHEET = Sheet(name="versions", columns=["software", "version", "stage", "servers"])

_COUNTS = listed(
    object_of(
        version={**TEXT, "description": "Empty for servers that have not reported theirs."},
        servers=COUNT,
        stages={
            "type": "object",
            "additionalProperties": COUNT,
            "description": "How many of them there are in each stage; the empty name stands for "
            "servers without one.",
        },
    )
)
VERSIONS: Json = operation(
    "versions",
    "Which versions of Odoo and of MCP servers run where",
    description="Of the servers that lists show. The oldest version comes first.",
    answers={
        200: answer("The versions", object_of(odoo_version=_COUNTS, version=_COUNTS, count=COUNT))
    },
    problems=(401, 403, 503),
)


async def versions(request: Request) -> Response:
    """Answer with the versions that servers run, and the number of servers that run each."""
    found = await counted_versions(services(request))
    content = {
        **{software.value: list(map(_as_json, counts)) for software, counts in found.items()},
        "count": sum(each.servers for each in found[Software.ODOO]),
    }
    body = orjson.dumps(content)
    return json_answer(request, body, tag_of(body))


async def versions_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file that has a row for each software, version and stage."""
    found = await counted_versions(services(request))
    rows = [
        {"software": software.value, "version": each.version, "stage": stage, "servers": servers}
        for software, counts in found.items()
        for each in counts
        for stage, servers in each.stages
    ]
    return await whole_file(request, file_format, _SHEET, rows)


async def counted_versions(found: Services) -> Mapping[Software, Sequence[VersionCount]]:
    """
    How many servers run which version of Odoo and of the MCP server, the oldest version first.

    Raises StoreUnavailable.
    """
    return await found.calls.read(_counted, found)


def _counted(found: Services) -> Mapping[Software, Sequence[VersionCount]]:
    running = found.store.inventory.running()
    return {software: version_counts(running, software) for software in Software}


def _as_json(count: VersionCount) -> Json:
    return {"version": count.version, "servers": count.servers, "stages": dict(count.stages)}
