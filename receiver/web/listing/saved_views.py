"""The saved views of the list of servers, which a page makes and opens, over HTTP."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from contract.fields import format_moment
from receiver.domain.keys import Power
from receiver.domain.lists.saved_views import SavedView
from receiver.web.context import services
from receiver.web.exports import FileFormat, Sheet, described, or_file, whole_file
from receiver.web.openapi import COUNT, MOMENT, TEXT, Json, answer, listed, object_of, operation
from receiver.web.routing import Guarded

__all__ = ["routes"]


def routes() -> list[Guarded]:
    return [
        Guarded(
            "/views",
            or_file(list_views, views_file),
            methods=["GET"],
            needs=Power.READ,
            describes=described(_LIST),
        ),
    ]


_VIEW = object_of(
    id=TEXT,
    name=TEXT,
    query={**TEXT, "description": "The filters as one text, as `GET /servers` takes it."},
    sort={"type": ["string", "null"], "description": "The order; null for trouble first."},
    author={**TEXT, "description": "The name of the key that saved it, or empty."},
    created_at=MOMENT,
)
_LIST = operation(
    "listViews",
    "The saved views of the list of servers, sorted by name",
    answers={200: answer("The views", object_of(views=listed(_VIEW), count=COUNT))},
    problems=(401, 403, 503),
)
_VIEWS = Sheet(name="views", columns=[*_VIEW["properties"]])


async def list_views(request: Request) -> Response:
    """Answer with all saved views of the list of servers."""
    views = await _all_views(request)
    return Response(
        orjson.dumps({"views": views, "count": len(views)}), media_type="application/json"
    )


async def views_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of all saved views of the list of servers."""
    return await whole_file(request, file_format, _VIEWS, await _all_views(request))


async def _all_views(request: Request) -> list[Json]:
    found = services(request)
    return [_as_json(each) for each in await found.calls.read(found.store.saved_views.all)]


def _as_json(view: SavedView) -> Json:
    """A view without the id of the key that saved it, which only administrators may know."""
    return {
        "id": view.id,
        "name": view.name,
        "query": view.query,
        "sort": view.sort,
        "author": view.author,
        "created_at": format_moment(view.created_at),
    }
