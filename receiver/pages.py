"""The receiver's pages for people."""

from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import humanize
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from receiver.fleet import Fleet
from receiver.requests import list_query, write_cursor
from receiver.store import EVERYTHING

__all__ = ["routes"]

_HERE = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[BaseRoute]:
    """Each page, and what it is made of."""
    return [
        Route("/", fleet_page, methods=["GET"]),
        Mount("/static", StaticFiles(directory=_HERE / "static", check_dir=False)),
    ]


async def fleet_page(request: Request) -> Response:
    """The fleet as a table."""
    query = list_query(request)
    fleet: Fleet = request.app.state.fleet
    page = await fleet.page(query.matching, after=query.after, limit=query.limit)

    return _TEMPLATES.TemplateResponse(
        request,
        "fleet.html",
        {
            "servers": page.servers,
            "total": await fleet.count(query.matching),
            "next_page": page.next_after and _with_cursor(request, write_cursor(page.next_after)),
            "whole_fleet": query.after is None and query.matching == EVERYTHING,
            "now": fleet.now(),
            "base_url": str(request.base_url).rstrip("/"),
        },
        headers=_HEADERS,
    )


def _with_cursor(request: Request, cursor: str) -> str:
    return f"./?{request.url.include_query_params(cursor=cursor).query}"


def _ago(moment: datetime, now: datetime) -> str:
    return humanize.naturaltime(now - moment)


def _exactly(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _in_path(text: str) -> str:
    """As one segment of a path, slashes and all."""
    return quote(text, safe="")


def _make_templates() -> Jinja2Templates:
    templates = Jinja2Templates(directory=_HERE / "templates")
    templates.env.filters.update(ago=_ago, exactly=_exactly, in_path=_in_path)
    return templates


_TEMPLATES = _make_templates()
