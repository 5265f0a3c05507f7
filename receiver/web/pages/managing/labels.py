"""The page on which the labels and the note of a database are changed."""

from functools import partial

from attrs import evolve
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from receiver.domain.databases import LONGEST_NOTE, Relabelling, labels_in
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.web import cookies
from receiver.web.context import services
from receiver.web.databases.labels import annotation_of, relabel
from receiver.web.pages.form_handlers import Fields, form
from receiver.web.pages.rendering import PageRoute, answer, label_url, redirect, server_url
from receiver.web.routing import with_ids_in_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The routes of the page and its form."""
    page = partial(PageRoute, needs=Power.MANAGE)
    both = ["GET", "POST"]
    # A server_id may contain slashes.
    return [*with_ids_in_query([page("/server/{server_id:path}/labels", labels, methods=both)])]


async def labels(request: Request) -> Response:
    """Show the form for the labels and the note of a database (GET), or change them (POST)."""
    return await (_changed(request) if request.method == "POST" else _shown(request, None, None))


async def _shown(request: Request, fields: Fields | None, refused: Refusal | None) -> Response:
    server_id = request.path_params["server_id"]
    found = services(request)
    said = await annotation_of(request, server_id)
    if fields is None:
        fields = {"labels": ", ".join(said.labels), "note": said.note}
    return answer(
        request,
        "labels.html",
        status=200 if refused is None else refused.status,
        server_id=server_id,
        said=said,
        fields=fields,
        refused=refused,
        known=await found.calls.read(found.store.labels.all),
        LONGEST_NOTE=LONGEST_NOTE,
    )


async def _change(request: Request, fields: Fields) -> RedirectResponse:
    server_id = request.path_params["server_id"]
    asked = Relabelling.of(
        {"labels": labels_in(fields.get("labels", "")), "note": fields.get("note", "")}
    )
    await relabel(request, [server_id], asked, seen=fields.get("seen"))
    notice = cookies.Notice(text="The labels and the note were saved.")
    if asked.labels:
        label = asked.labels[0]
        notice = evolve(notice, link=label_url(label), label=f"All with {label}")
    return redirect(request, f"/{server_url(server_id)}", notice=notice)


async def _shown_again(request: Request, fields: Fields, refused: Refusal) -> Response:
    if refused.status == 404:
        raise refused
    return await _shown(request, fields, refused)


_changed = form(_change, refused=_shown_again)
