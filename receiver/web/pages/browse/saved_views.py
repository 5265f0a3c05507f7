"""
Saves views of the list of servers, opens and deletes them.

A view is a filter and an order of the list, under a name, for all who may read the fleet.
"""

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlencode

from attrs import frozen
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute

from receiver.domain.errors import Refusal
from receiver.domain.filter_text import FilterText
from receiver.domain.keys import Power
from receiver.domain.lists.saved_views import LONGEST_NAME, SavedView
from receiver.domain.queries import Order
from receiver.web.context import Visitor, services, visitor
from receiver.web.pages.form_handlers import Fields, form
from receiver.web.pages.rendering import PageRoute, redirect
from receiver.web.pages.wording import is_seen

__all__ = ["ShownView", "routes", "shown_views"]


def routes() -> list[BaseRoute]:
    page = partial(PageRoute, needs=Power.READ)
    return [
        page("/views/new", form(save), methods=["POST"]),
        page("/views/{view_id}", open_view, methods=["GET"]),
        page("/views/{view_id}/delete", form(delete), methods=["POST"]),
    ]


@frozen(kw_only=True)
class ShownView:
    """
    A saved view, in the form in which a page shows it.

    Attributes:
        view: The view.
        is_current: Whether the page shows the list of this view.
        may_go: Whether the visitor may delete the view.
    """

    view: SavedView
    is_current: bool
    may_go: bool


def shown_views(request: Request, *, query: str, sort: str | None) -> Sequence[ShownView]:
    """
    All saved views, for a page that shows a list. Blocks, because it reads the database.

    Args:
        request: Tells who the visitor is.
        query: The filters of the list, as a text.
        sort: The order of the list; None for the order that the page has by default.
    """
    found = services(request)
    who = visitor(request)
    return [
        ShownView(
            view=view,
            is_current=(view.query, view.sort) == (query, sort),
            may_go=_may_delete(who, view),
        )
        for view in found.store.saved_views.all()
    ]


async def open_view(request: Request) -> RedirectResponse:
    """Redirect to the list of a view. Raises Refusal (404) when there is no such view."""
    return redirect(request, _list_of(await _view(request)))


async def save(request: Request, fields: Fields) -> RedirectResponse:
    """
    Save the view that the form describes; redirect to the list that it shows.

    Raises Refusal for a wrong name, filter or order.
    """
    found = services(request)
    key = visitor(request).key
    view = SavedView(
        name=_name(fields.get("name", "")),
        query=_query(fields.get("query", "")),
        sort=_sort(fields.get("sort", "")),
        key_id=None if key is None else key.id,
        author="" if key is None else key.name,
        created_at=found.clock(),
    )
    await found.calls.change(found.store.saved_views.add, view)
    notice = f"The view {view.name} is saved, for all who may read the fleet."
    return redirect(request, _list_of(view), notice=notice)


async def delete(request: Request, _: Fields) -> RedirectResponse:
    """
    Delete a view; redirect to the list that it showed.

    Raises Refusal when there is no such view, and for a visitor who is neither its author nor an
    administrator.
    """
    view = await _view(request)
    if not _may_delete(visitor(request), view):
        raise Refusal(403, "not_allowed", "Only its author and administrators may delete a view.")
    found = services(request)
    await found.calls.change(found.store.saved_views.delete, view.id)
    return redirect(request, _list_of(view), notice=f"The view {view.name} is deleted.")


async def _view(request: Request) -> SavedView:
    found = services(request)
    view = await found.calls.read(found.store.saved_views.find, request.path_params["view_id"])
    if view is None:
        raise Refusal(404, "not_found", "There is no such view; somebody has deleted it.")
    return view


def _may_delete(who: Visitor, view: SavedView) -> bool:
    """Whether a visitor may delete a view: its author, and administrators."""
    return who.may_manage or (who.key is not None and who.key.id == view.key_id)


def _list_of(view: SavedView) -> str:
    """The path of the list that a view shows."""
    wanted = {"query": view.query, "sort": view.sort}
    query = urlencode({name: text for name, text in wanted.items() if text})
    return f"/?{query}" if query else "/"


def _name(text: str) -> str:
    name = text.strip()
    if not is_seen(name) or len(name) > LONGEST_NAME:
        raise Refusal(
            422, "invalid_form", f"The name of a view has 1 to {LONGEST_NAME} characters."
        )
    return name


def _query(text: str) -> str:
    try:
        return str(FilterText.asked(text))
    except ValueError as error:
        raise Refusal(422, "invalid_form", str(error)) from error


def _sort(text: str) -> str | None:
    if not text or text == Order.TROUBLE.value:
        return None
    if text not in [order.value for order in Order]:
        raise Refusal(422, "invalid_form", "There is no such order.")
    return text
